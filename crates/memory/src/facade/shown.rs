//! What of a row is shown.

use super::Record;
use crate::{
    Collection, Error, Point,
    engine::Verdict,
    path::{self, Path},
    request::{Show, ShowPayload, ShowVectors},
};

/// What is asked for, held against the collection.
pub(super) struct Shown<'a> {
    payload: Fields,
    vectors: &'a ShowVectors,
}

enum Fields {
    All(bool),
    Only(Vec<Path>),
    Without(Vec<Path>),
}

impl<'a> Shown<'a> {
    /// # Errors
    /// A field that is no path; a vector that there is not.
    pub(super) fn of(show: &'a Show, collection: &Collection) -> Result<Self, Error> {
        let paths = |texts: &Vec<String>| {
            let path = |text: &String| {
                let wrong =
                    || Error::Invalid(format!("Wrong input: `{text}` is no path of a field"));
                Path::parse(text).ok_or_else(wrong)
            };
            texts.iter().map(path).collect::<Result<Vec<_>, _>>()
        };
        let payload = match &show.payload {
            ShowPayload::All(all) => Fields::All(*all),
            ShowPayload::Only(texts) => Fields::Only(paths(texts)?),
            ShowPayload::Without(texts) => Fields::Without(paths(texts)?),
        };
        if let ShowVectors::Only(names) = &show.vectors {
            names.iter().try_for_each(|name| collection.schema.check_name(name))?;
        }
        Ok(Self { payload, vectors: &show.vectors })
    }

    pub(super) fn record(&self, row: Point, verdict: Verdict) -> Record {
        let Verdict { id, score, order } = verdict;
        Record { score, order, id, ..self.row(row) }
    }

    /// Of a row that was not ranked.
    pub(super) fn row(&self, row: Point) -> Record {
        let Point { id, version, mut vectors, payload, .. } = row;
        let payload = match &self.payload {
            Fields::All(all) => all.then_some(payload),
            Fields::Only(paths) => Some(path::only(&payload, paths)),
            Fields::Without(paths) => Some(path::without(&payload, paths)),
        };
        let vectors = match self.vectors {
            ShowVectors::All(all) => all.then_some(vectors),
            ShowVectors::Only(names) => {
                vectors.retain(|name, _| names.contains(name));
                Some(vectors)
            }
        };
        Record { id, version, score: 0.0, order: None, payload, vectors }
    }
}
