//! A collection as a place.

use ids::BoxFuture;
use serde_json::json;
use tokio::sync::OnceCell;

use super::{Layout, MARK, Point, Store, TOPIC, done, send};
use crate::{
    canary::Side,
    catalog::Surface,
    lab::{Caller, Lab},
    place::{Place, Planted, Twist},
    verdict::Halt,
    wire::{Exchange, Request},
};

/// What is left is a point with the text in its payload. The collection is made when something
/// is first left there.
pub(crate) struct Points<'l> {
    layout: &'l Layout,
    store: OnceCell<Result<Store, Halt>>,
}

impl<'l> Points<'l> {
    pub(crate) fn new(layout: &'l Layout) -> Self {
        Self { layout, store: OnceCell::new() }
    }

    /// Removes what was made.
    pub(crate) async fn close(&self, lab: &Lab) {
        if let Some(Ok(store)) = self.store.get() {
            store.close(lab).await;
        }
    }

    async fn store(&self, lab: &Lab) -> Result<&Store, Halt> {
        let opened = self.store.get_or_init(|| Store::open(lab, self.layout)).await;
        opened.as_ref().map_err(Clone::clone)
    }

    /// Whether words weigh by how rare they are; also if that is not known.
    pub(crate) fn counts_words(&self) -> bool {
        !matches!(self.store.get(), Some(Ok(store)) if store.sparse.is_none())
    }

    fn id(planted: &Planted) -> &str {
        let found = planted.handles.iter().find(|(own, _)| own == "id");
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// The collection that it was left in, as its path has it. It is no handle: an id that leads to
/// nothing is one that is in the same collection.
fn collection(planted: &Planted) -> &str {
    let path = planted.exchange.line.split_once("/collections/");
    path.and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default()
}

impl Place for Points<'_> {
    fn name(&self) -> &str {
        "points"
    }

    fn surface(&self) -> Surface {
        Surface::Memory
    }

    fn remembers(&self) -> bool {
        true
    }

    fn plant<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Planted, Halt>> {
        Box::pin(async move {
            let store = self.store(lab).await?;
            let side = by.side.unwrap_or(Side::A);
            let mut dense = vec![0.0; store.size];
            dense[lab.below(store.size)] = 1.0;
            let point = Point::new(dense).with(MARK, text).with(TOPIC, "planted");
            let request = store.put_request(side, std::slice::from_ref(&point));
            let exchange = send(lab, by, request).await?;
            done(&exchange, &format!("{} puts a point", by.label))?;
            let handles = vec![("id".to_owned(), point.id)];
            Ok(Planted { text: text.to_owned(), handles, exchange })
        })
    }

    /// By id; where an application holds tenants apart by a filter, by id within that.
    fn read<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
        twist: &'a Twist,
    ) -> BoxFuture<'a, Result<Exchange, Halt>> {
        Box::pin(async move {
            let store = self.store(lab).await?;
            let found = json!([{ "id": Self::id(planted), "payload": { MARK: planted.text } }]);
            let collection = collection(planted);
            let path = format!("{}/collections/{collection}/points", store.layout.base);
            let request = if store.layout.views() {
                Request::get(format!("{path}/{}", Self::id(planted)))
                    .example(json!({ "result": found[0] }))
            } else {
                let own = json!({ "must": [{ "has_id": [Self::id(planted)] }] });
                let body = json!({ "limit": 1, "with_payload": true });
                let body = store.body(by.side.unwrap_or(Side::A), body, Some(own));
                Request::new(http::Method::POST, format!("{path}/scroll"))
                    .json(&body)
                    .example(json!({ "result": { "points": found } }))
            };
            send(lab, by, request.twisted(twist)).await
        })
    }

    fn remove<'a>(
        &'a self,
        lab: &'a Lab,
        by: &'a Caller,
        planted: &'a Planted,
    ) -> BoxFuture<'a, Result<Option<Exchange>, Halt>> {
        Box::pin(async move {
            let store = self.store(lab).await?;
            let ids = json!([Self::id(planted)]);
            let body = match store.filter(by.side.unwrap_or(Side::A), None) {
                None => json!({ "points": ids }),
                Some(filter) => json!({ "filter": { "must": [filter, { "has_id": ids }] } }),
            };
            let collection = collection(planted);
            let path = format!("{}/collections/{collection}", store.layout.base);
            let path = format!("{path}/points/delete?wait=true");
            let request = Request::new(http::Method::POST, path)
                .json(&body)
                .example(json!({ "result": { "status": "completed" } }));
            send(lab, by, request).await.map(Some)
        })
    }
}
