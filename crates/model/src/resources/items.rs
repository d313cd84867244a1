//! Responses and conversations, and what was said in them.

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::{
    Done, Found, Resource, ResourceAsk,
    ask::Content,
    body, call,
    wire::{Keeper, Reply, document, object_of},
};
use crate::{
    Api, Error, HandleKind, Made, ModelHop, document as answers, request::Terms, scrub,
    upstream::Call,
};

impl ModelHop {
    /// Everything about responses and conversations but that they are deleted.
    pub(super) async fn talk(&self, found: &Found<'_>, ask: &ResourceAsk) -> Result<Done, Error> {
        let keeper = &found.keeper;
        if let Some(after) = &ask.query.after {
            self.owned(keeper, HandleKind::Item, after, "after").await?;
        }
        if let Some(item) = ask.ids.get(1) {
            self.owned(keeper, HandleKind::Item, item, "item").await?;
        }
        let mut call = call(ask);
        if let Content::Items { items, metadata } = &ask.content {
            if let Some(items) = items {
                self.may_stand(keeper, items).await?;
            }
            let body = body::write(items.as_deref(), metadata.as_ref());
            call = Call { query: call.query, ..Call::post(call.path, body, false) };
        }
        let reply = keeper.ask(call).await?;
        let account = keeper.whole_account();
        match &reply {
            Reply::Json { status, body } => {
                let Shown { made, error } = shown(ask, *status, body)?;
                if !account || found.owned.is_some() || made_new(ask.resource) {
                    self.handles().claim(keeper.scope, keeper.account(), &made).await?;
                }
                if error {
                    let secret = keeper.credential.secret.expose();
                    let body = scrub::answer(Api::Responses, *status, body, secret);
                    return Ok(Done::Whole(*status, body.into()));
                }
            }
            Reply::Refused(_) => return Ok(reply.into()),
        }
        if ask.resource == Resource::DeleteItem
            && let Some(item) = ask.ids.get(1)
        {
            self.handles().release(keeper.scope, keeper.id(), HandleKind::Item, item).await?;
        }
        Ok(reply.into())
    }

    /// Holds items to what holds for the input of a request.
    async fn may_stand(&self, keeper: &Keeper<'_>, items: &body::Items) -> Result<(), Error> {
        items.request.judge(&Terms {
            shared: keeper.credential.shared,
            extra_fields: &keeper.provider().extra_fields,
            hosted_tools: &[],
            kind: keeper.provider().kind,
        })?;
        if keeper.whole_account() {
            return Ok(());
        }
        self.handles().all_owned(keeper.scope, keeper.account(), items.request.cited()).await
    }
}

const fn made_new(resource: Resource) -> bool {
    matches!(resource, Resource::CreateConversation)
}

/// What an answer shows.
struct Shown {
    /// What it says is there.
    made: Vec<Made>,
    /// It holds an error, which goes out rebuilt.
    error: bool,
}

fn shown(ask: &ResourceAsk, status: StatusCode, body: &Bytes) -> Result<Shown, Error> {
    if matches!(ask.resource, Resource::Response | Resource::CancelResponse) {
        object_of(body, ask.id())?;
        let answers::Document { made, error, .. } =
            answers::read(Api::Responses, status, body, true)?;
        return Ok(Shown { made, error });
    }
    Ok(Shown { made: made(ask, body)?, error: false })
}

fn made(ask: &ResourceAsk, body: &Bytes) -> Result<Vec<Made>, Error> {
    let item = |id: &Value| {
        let id = id.get("id")?.as_str().filter(|id| !id.is_empty())?;
        Some(Made { kind: HandleKind::Item, id: id.to_owned() })
    };
    match ask.resource {
        Resource::ResponseItems | Resource::ConversationItems | Resource::AddItems => {
            let list: Value = document(body)?;
            let items = list.get("data").and_then(Value::as_array);
            Ok(items.into_iter().flatten().filter_map(item).collect())
        }
        Resource::CreateConversation => {
            let object: Value = document(body)?;
            let id = object.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            Ok(vec![Made { kind: HandleKind::Conversation, id }])
        }
        Resource::Item => {
            object_of(body, ask.ids.get(1).map_or("", String::as_str))?;
            Ok(Vec::new())
        }
        _ => {
            object_of(body, ask.id())?;
            Ok(Vec::new())
        }
    }
}
