//! Bounds of collections and of what their indexes cost.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{Error, WorkflowFilter, reach::Rules};

/// `[memory]`. Bounds are per tenant's environment unless they say otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySettings {
    /// Where indexes are kept. They can be removed at any time: they are made again from the
    /// rows. Default: `index` in the data directory.
    pub index_dir: Option<PathBuf>,
    /// Payload fields (JSON paths from the top) whose content is sealed and stands in no index.
    /// Default `page_content`, `text`, `document`, `_node_content`.
    pub content_fields: Vec<String>,
    /// Most collections. Default 1,000.
    pub collections: u64,
    /// Most points of a collection. Default 1,000,000.
    pub points: u64,
    /// Most bytes of rows, over all collections. Default 4 GiB.
    pub bytes: u64,
    /// Most dimensions of a dense vector. Default 4,096.
    pub dimensions: usize,
    /// Most vectors by name of a collection. Default 16.
    pub vectors: usize,
    /// Most bytes of a point's payload. Default 256 KiB.
    pub payload_bytes: usize,
    /// Most points of one request that writes. Default 10,000.
    pub batch: usize,
    /// Most results of a query, a page, a count of groups times their size. Default 10,000.
    pub results: usize,
    /// Most bytes of points that one answer, or one write, has in memory. Default 128 MiB.
    pub answer_bytes: usize,
    /// Most queries of one batch. Default 64.
    pub queries: usize,
    /// Most conditions of a request's filters, over all of its sub-queries. Default 1,000.
    pub conditions: usize,
    /// Deepest nesting of filters and of prefetches. Default 8.
    pub depth: usize,
    /// Queries and writes of one tenant that may wait. Default 256.
    pub waiting: usize,
    /// Threads that search, for all tenants in turn; no tenant has the last one. 0 for one more
    /// than there are processors. Default 0.
    pub threads: usize,
    /// Indexes that are kept open, of the whole deployment. Default 1,000.
    pub open_indexes: usize,
    /// Bytes that open indexes may have, of the whole deployment. Default 1 GiB.
    pub open_bytes: u64,
    /// Points that are ranked without a graph; beyond it one is built in the background.
    /// Default 20,000.
    pub graph_from: usize,
    /// Seconds within which nothing of a deleted point is left in any index. Default 3,600.
    pub forget_seconds: u64,
    /// Seconds that a query may take. Default 30.
    pub query_seconds: u64,
    /// Seconds for which an agent's memory is kept if it does not say. Default: for good.
    pub ttl_seconds: Option<u64>,
    /// The route of embeddings for `/v1/memory`. Without it, words are compared (BM25).
    pub embedding: Option<String>,
    /// What workflows are held to. Default: nothing.
    pub filters: Vec<WorkflowFilter>,
}

impl Default for MemorySettings {
    fn default() -> Self {
        let content = ["page_content", "text", "document", "_node_content"];
        Self {
            index_dir: None,
            content_fields: content.map(str::to_owned).to_vec(),
            collections: 1_000,
            points: 1_000_000,
            bytes: 4 << 30,
            dimensions: 4_096,
            vectors: 16,
            payload_bytes: 256 << 10,
            batch: 10_000,
            results: 10_000,
            answer_bytes: 128 << 20,
            queries: 64,
            conditions: 1_000,
            depth: 8,
            waiting: 256,
            threads: 0,
            open_indexes: 1_000,
            open_bytes: 1 << 30,
            graph_from: 20_000,
            forget_seconds: 3_600,
            query_seconds: 30,
            ttl_seconds: None,
            embedding: None,
            filters: Vec::new(),
        }
    }
}

impl MemorySettings {
    /// # Errors
    /// What cannot be held, by name.
    pub fn check(&self) -> Result<(), Error> {
        let at_least_one = [
            ("dimensions", self.dimensions as u64),
            ("vectors", self.vectors as u64),
            ("payload_bytes", self.payload_bytes as u64),
            ("batch", self.batch as u64),
            ("results", self.results as u64),
            ("answer_bytes", self.answer_bytes as u64),
            ("queries", self.queries as u64),
            ("conditions", self.conditions as u64),
            ("depth", self.depth as u64),
            ("waiting", self.waiting as u64),
            ("open_indexes", self.open_indexes as u64),
            ("open_bytes", self.open_bytes),
            ("query_seconds", self.query_seconds),
            ("ttl_seconds", self.ttl_seconds.unwrap_or(1)),
        ];
        for (name, value) in at_least_one {
            if value == 0 {
                return Err(Error::Settings(format!("{name} is at least 1")));
            }
        }
        // What is asked of the engine grows with them.
        for (name, value, most) in [
            ("dimensions", self.dimensions, 65_536),
            ("threads", self.threads, 1_024),
            ("depth", self.depth, 64),
        ] {
            if value > most {
                return Err(Error::Settings(format!("{name} is at most {most}")));
            }
        }
        self.content_fields.iter().try_for_each(|field| content_path(field))?;
        Rules::of(self).map(drop)
    }
}

/// A path is keys with dots between them. That a list may be on the way need not be said, and
/// can: `list[].text`.
fn content_path(field: &str) -> Result<(), Error> {
    let key = |key: &str| {
        let key = key.strip_suffix("[]").unwrap_or(key);
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-".contains(c))
    };
    let last_is_a_list = field.ends_with("[]");
    if !field.split('.').all(key) || last_is_a_list {
        return Err(Error::Settings(format!(
            "content_fields: `{field}` is no path; write keys of letters, digits, `_` and `-` \
             with dots between them, such as `metadata.body`"
        )));
    }
    if field.split('.').next() == Some("_bulkhead") {
        return Err(Error::Settings("content_fields: `_bulkhead` is not a caller's field".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut MemorySettings)) -> Result<(), Error> {
        let mut settings = MemorySettings::default();
        change(&mut settings);
        settings.check()
    }

    #[test]
    fn defaults_hold_and_bounds_of_nothing_do_not() {
        with(|_| {}).unwrap();
        with(|s| (s.collections, s.points, s.forget_seconds, s.graph_from) = (0, 0, 0, 0)).unwrap();
        let zero: [fn(&mut MemorySettings); 6] = [
            |s| s.dimensions = 0,
            |s| s.waiting = 0,
            |s| s.open_indexes = 0,
            |s| s.open_bytes = 0,
            |s| s.query_seconds = 0,
            |s| s.ttl_seconds = Some(0),
        ];
        for zero in zero {
            assert_eq!(with(zero).unwrap_err().code(), "config.invalid");
        }
        assert!(with(|s| s.threads = 100_000).is_err());
    }

    #[test]
    fn content_fields_are_paths() {
        for good in ["text", "meta.body", "list[].text", "größe", "a-b.c_d"] {
            with(|s| s.content_fields = vec![good.into()]).unwrap();
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "\"a\"", "a[0]", "list[]", "_bulkhead.x"] {
            assert!(with(|s| s.content_fields = vec![bad.into()]).is_err(), "{bad}");
        }
    }
}
