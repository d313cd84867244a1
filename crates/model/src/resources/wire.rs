//! One request to the provider that keeps something, and its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use ids::ProviderId;
use scope::{Scope, Write};
use serde::de::DeserializeOwned;
use serde_json::Value;
use vault::Credential;

use crate::{
    Dialect, Error, Fault, Provider,
    answer::JSON,
    hop::{Refusal, Supplier, refusal},
    upstream::{Call, Exchange},
};

/// A provider that keeps something for a scope, with the scope's credential for it.
pub(crate) struct Keeper<'a> {
    pub(crate) scope: &'a Scope<Write>,
    pub(crate) supplier: &'a Arc<Supplier>,
    pub(crate) credential: Arc<Credential>,
}

/// What it answered.
pub(crate) enum Reply {
    /// A document, bounded, in which the credential is not.
    Json { status: StatusCode, body: Bytes },
    /// An error, rebuilt.
    Refused(Refusal),
}

impl Keeper<'_> {
    pub(crate) fn provider(&self) -> &Provider {
        &self.supplier.provider
    }

    pub(crate) fn id(&self) -> &ProviderId {
        &self.supplier.provider.id
    }

    /// Asks for a document.
    pub(crate) async fn ask(&self, call: Call) -> Result<Reply, Error> {
        let exchange = match self.open(call).await? {
            Ok(exchange) => exchange,
            Err(refused) => return Ok(Reply::Refused(refused)),
        };
        if !exchange.is(JSON) {
            return Err(Fault::Malformed("it is not JSON").into());
        }
        let (status, secret) = (exchange.status, exchange.secret());
        let body = exchange.collect().await?;
        if secret.found_in(&body) {
            return Err(Fault::REPEATS.into());
        }
        Ok(Reply::Json { status, body })
    }

    /// Asks for anything.
    pub(crate) async fn open(&self, call: Call) -> Result<Result<Box<Exchange>, Refusal>, Error> {
        let exchange = self.supplier.upstream.send(self.scope, &self.credential, call).await?;
        let status = exchange.status;
        match status {
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(Fault::Credential(status).into()),
            status if status.is_success() => Ok(Ok(exchange)),
            status if status.is_client_error() || status.is_server_error() => {
                Ok(Err(refusal(Dialect::OpenAi, exchange, &self.credential).await))
            }
            _ => Err(Fault::Malformed("its status is no answer").into()),
        }
    }
}

/// What stands in a document.
pub(crate) fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|_| Fault::Malformed("it is not the object that was asked for").into())
}

/// The object of this id, and of no other.
pub(crate) fn object_of(body: &[u8], id: &str) -> Result<Value, Error> {
    let object: Value = document(body)?;
    if object.get("id").and_then(Value::as_str) == Some(id) {
        return Ok(object);
    }
    Err(Fault::Malformed("it is not the object that was asked for").into())
}
