//! One point of our own making, put where the others are.

use std::sync::Arc;

use scope::Write;

use super::{Collections, writer::Writer};
use crate::{CollectionName, Error, Point};

impl Collections<'_, Write> {
    /// Whoever stops waiting does not stop it.
    pub(crate) async fn keep(self, name: &CollectionName, point: Point) -> Result<(), Error> {
        let (inner, name) = (Arc::clone(self.inner), name.clone());
        let done = self.scope.spawn(|scope| async move {
            let writer = Writer::of(inner, scope, &name).await?;
            writer.put(point).await?;
            writer.finish().await;
            Ok(())
        });
        done.await.map_err(|_| Error::Store(store::Error::Panicked))?
    }
}
