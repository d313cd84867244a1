//! Listings, page by page.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    admin::Admin,
    fault::Fault,
    print::{self, field},
};

/// The reason on the record where none is given.
pub(crate) const BY_CLI: &str = "by the command line";
/// The reason on the record for a credential that is made, where none is given.
pub(crate) const TRYING: &str = "trying out";
/// Rows of one page.
const PAGE: usize = 500;

/// Which part of a listing.
#[derive(Debug, clap::Args)]
pub(crate) struct Part {
    /// The most to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Go on after this one
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// List all, however many there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// What was listed.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The rows.
    pub(crate) items: Vec<Value>,
    /// Where more begin, if there may be more.
    pub(crate) next: Option<String>,
}

impl Part {
    /// Everything.
    pub(crate) const fn whole() -> Self {
        Self { limit: 0, after: None, all: true }
    }

    /// Reads it.
    pub(crate) async fn read(
        &self,
        admin: &Admin,
        path: &str,
        more: &[(&str, String)],
    ) -> Result<Listed> {
        let most = if self.all { usize::MAX } else { self.limit.max(1) };
        let mut listed = Listed { items: Vec::new(), next: self.after.clone() };
        loop {
            let page = (most - listed.items.len()).min(PAGE);
            let mut query = more.to_vec();
            query.push(("limit", page.to_string()));
            query.extend(listed.next.take().map(|next| ("after", next)));
            let mut answer = admin.get(path, &query).await?;
            let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) else {
                return Err(Fault::failed("the server's answer has no `items`").into());
            };
            let none = items.is_empty();
            listed.items.extend(items);
            let next = field(&answer, "next");
            if next.is_empty() || none {
                return Ok(listed);
            }
            listed.next = Some(next);
            if listed.items.len() >= most {
                return Ok(listed);
            }
        }
    }
}

impl Listed {
    /// As JSON: `items`, and `next` to go on with, or null.
    pub(crate) fn json(&self) -> Value {
        json!({ "items": self.items, "next": self.next })
    }

    /// Says on standard error how to go on.
    pub(crate) fn say_if_more(&self) {
        if let Some(next) = &self.next {
            print::note(format!("there are more: --after {} or --all", print::tame(next)));
        }
    }
}
