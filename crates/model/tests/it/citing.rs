//! A call that names what a provider keeps, on a credential that tenants share: only what the
//! tenant's own calls in the same environment made can be named.

use bulkhead_model::{
    Account, Api, CacheStatus, Caller, Error, HandleKind, HandlePolicy, Kind, Made, ModelHop,
    Route, RouteTarget, Settings,
};
use scope::{Scope, Write};

use super::{
    shapes::{api_of, reply, response, response_events},
    standin::{Seen, StandIn, events, json},
    world::{World, bytes, provider, settings, text},
};

/// Every place where a handle can stand in a request; `@` is the handle.
const PLACES: &[(Api, HandleKind, &str)] = &[
    (Api::Responses, HandleKind::Response, r#""previous_response_id":"@""#),
    (Api::Responses, HandleKind::Response, r#""previousResponseId":"@""#),
    (Api::Responses, HandleKind::Conversation, r#""conversation":"@""#),
    (Api::Responses, HandleKind::Conversation, r#""conversation":{"id":"@"}"#),
    (Api::Responses, HandleKind::Prompt, r#""prompt":{"id":"@","version":"1"}"#),
    (
        Api::Responses,
        HandleKind::File,
        r#""prompt":{"id":"own","variables":{"f":{"type":"input_file","file_id":"@"}}}"#,
    ),
    (Api::Responses, HandleKind::Item, r#""input":[{"type":"item_reference","id":"@"}]"#),
    (Api::Responses, HandleKind::Item, r#""input":[{"id":"@","role":"user","content":"q"}]"#),
    (
        Api::Responses,
        HandleKind::File,
        r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"@"}]}]"#,
    ),
    (
        Api::Responses,
        HandleKind::File,
        r#""input":[{"role":"user","content":[{"type":"input_image","file_id":"@"}]}]"#,
    ),
    (
        Api::Responses,
        HandleKind::File,
        r#""input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_id":"@"}]}]"#,
    ),
    (
        Api::Responses,
        HandleKind::Item,
        r#""input":[{"type":"mcp_approval_response","approval_request_id":"@","approve":true}]"#,
    ),
    (
        Api::Responses,
        HandleKind::VectorStore,
        r#""tools":[{"type":"file_search","vector_store_ids":["@"]}]"#,
    ),
    (
        Api::Responses,
        HandleKind::Container,
        r#""tools":[{"type":"code_interpreter","container":"@"}]"#,
    ),
    (
        Api::Responses,
        HandleKind::File,
        r#""tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["@"]}}]"#,
    ),
    (
        Api::Chat,
        HandleKind::File,
        r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"@"}}]}]"#,
    ),
    (
        Api::Chat,
        HandleKind::File,
        r#""messages":[{"role":"user","content":[{"type":"file","file":{"fileId":"@"}}]}]"#,
    ),
    (
        Api::Chat,
        HandleKind::Audio,
        r#""messages":[{"role":"assistant","audio":{"id":"@"}},{"role":"user","content":"q"}]"#,
    ),
    (Api::Messages, HandleKind::Container, r#""container":"@""#),
    (Api::Messages, HandleKind::Container, r#""container":{"id":"@"}"#),
    (
        Api::Messages,
        HandleKind::File,
        r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"@"}}]}]"#,
    ),
    (
        Api::CountTokens,
        HandleKind::File,
        r#""messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"@"}}]}]"#,
    ),
];

/// One provider of every endpoint, with tools that it runs, and a credential of all tenants.
fn everything(upstream: &StandIn) -> Settings {
    upstream.answers(|_, seen| reply(seen, "x"));
    let mut settings = settings(upstream.address);
    settings.providers[0].apis = Some(Api::ALL.to_vec());
    settings.providers[0].extra_fields.push("previousResponseId".into());
    for route in &mut settings.routes {
        route.hosted_tools = vec!["file_search".into(), "code_interpreter".into()];
    }
    settings
}

async fn shared() -> (World, [Scope<Write>; 3]) {
    let world = World::new().await;
    let scopes =
        [world.acme().await, world.globex().await, world.kit.scope("acme", "staging").await];
    for scope in &scopes {
        world.set(scope, "p", "sk-everybodys-0123", true).await;
    }
    (world, scopes)
}

async fn own(world: &World, scope: &Scope<Write>, provider: &str, kind: HandleKind, id: &str) {
    let made = Made { kind, id: id.to_owned() };
    let provider = provider.parse().unwrap();
    let account = Account { provider: &provider, shared: true };
    world.handles.claim(scope, account, &[made]).await.unwrap();
}

fn naming(model: &str, place: &str, id: &str, more: &str) -> String {
    format!(r#"{{"model":"{model}",{more}{}}}"#, place.replace('@', id))
}

async fn ask(
    world: &World,
    model: &ModelHop,
    scope: &Scope<Write>,
    api: Api,
    body: &str,
) -> Result<CacheStatus, Error> {
    let got = world.call(model, scope, api, body, Caller::default()).await?;
    assert_eq!(got.status, 200, "{body}");
    let cache = got.cache;
    bytes(got).await;
    Ok(cache)
}

#[tokio::test]
async fn no_handle_of_anothers_is_named_anywhere() {
    let (world, [acme, globex, staging]) = shared().await;
    let upstream = StandIn::new().await;
    let model = world.hop(everything(&upstream));
    for scope in [&acme, &globex, &staging] {
        own(&world, scope, "p", HandleKind::Prompt, &format!("own-{}", scope.jti())).await;
    }
    for (nth, (api, kind, place)) in PLACES.iter().enumerate() {
        let theirs = format!("thing-{nth}");
        own(&world, &acme, "p", *kind, &theirs).await;
        for stream in ["", r#""stream":true,"#] {
            if !stream.is_empty() && !api.streams() {
                continue;
            }
            // The place within a template of one's own.
            let within = |scope: &Scope<Write>| {
                place.replace(r#""id":"own""#, &format!(r#""id":"own-{}""#, scope.jti()))
            };
            upstream.forget();
            let cache =
                ask(&world, &model, &acme, *api, &naming("kept", &within(&acme), &theirs, stream))
                    .await
                    .unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(cache, CacheStatus::Bypass, "{place}");
            assert_eq!(upstream.asked(), 1, "{place}");
            for scope in [&globex, &staging] {
                let place = within(scope);
                let foreign = naming("kept", &place, &theirs, stream);
                let missing = naming("kept", &place, "never-made", stream);
                let foreign = ask(&world, &model, scope, *api, &foreign).await.unwrap_err();
                let missing = ask(&world, &model, scope, *api, &missing).await.unwrap_err();
                assert_eq!(foreign.code(), "model.handle", "{place}");
                assert_eq!(foreign.to_string(), missing.to_string(), "{place}");
                assert!(!foreign.to_string().contains("thing-"), "{foreign}");
            }
            assert_eq!(upstream.asked(), 1, "nothing is sent: {place}");
        }
    }
}

/// What an answer makes is its tenant's, and can be named by it at once.
#[tokio::test]
async fn what_a_call_made_is_its_tenants() {
    let (world, [acme, globex, staging]) = shared().await;
    let upstream = StandIn::new().await;
    let model = world.hop(everything(&upstream));
    let answered = |nth: usize, seen: &Seen| {
        let (id, item) = (format!("resp_{nth}"), format!("msg_{nth}"));
        match seen.json()["stream"] == true {
            true => events(response_events("x", &id, &item)),
            false => json(response("x", &id, &item)),
        }
    };
    upstream.answers(answered);
    for stream in ["", r#""stream":true,"#] {
        let first = format!(r#"{{"model":"plain",{stream}"input":"q"}}"#);
        let nth = upstream.asked();
        ask(&world, &model, &acme, Api::Responses, &first).await.unwrap();
        for place in [
            format!(r#""previous_response_id":"resp_{nth}""#),
            format!(r#""input":[{{"type":"item_reference","id":"msg_{nth}"}}]"#),
        ] {
            let next = format!(r#"{{"model":"plain",{stream}{place}}}"#);
            for scope in [&globex, &staging] {
                let error = ask(&world, &model, scope, Api::Responses, &next).await.unwrap_err();
                assert_eq!(error.code(), "model.handle");
            }
            ask(&world, &model, &acme, Api::Responses, &next).await.unwrap();
        }
    }
}

/// A provider that names another's handle as new: the answer is withheld, whole or as events.
#[tokio::test]
async fn an_answer_with_anothers_handle_is_withheld() {
    let (world, [acme, globex, _]) = shared().await;
    let upstream = StandIn::new().await;
    let model = world.hop(everything(&upstream));
    own(&world, &acme, "p", HandleKind::Response, "resp_of_acme").await;
    upstream.answers(|_, seen| match seen.json()["stream"] == true {
        true => events(response_events("secret", "resp_of_acme", "msg_1")),
        false => json(response("secret", "resp_of_acme", "msg_1")),
    });
    let whole = r#"{"model":"plain","input":"q"}"#;
    let got = world.call(&model, &globex, Api::Responses, whole, Caller::default()).await;
    assert_eq!(got.unwrap_err().code(), "upstream.malformed");
    let streamed = r#"{"model":"plain","stream":true,"input":"q"}"#;
    let got = world.call(&model, &globex, Api::Responses, streamed, Caller::default()).await;
    let got = text(got.unwrap()).await;
    assert!(got.contains("upstream.malformed"), "{got}");
    assert!(!got.contains("secret") && !got.contains("resp_of_acme"), "{got}");
    // Its owner gets it.
    ask(&world, &model, &acme, Api::Responses, whole).await.unwrap();
}

#[tokio::test]
async fn a_handle_leads_to_the_provider_that_keeps_it() {
    let (world, [acme, ..]) = shared().await;
    let (p, q) = (StandIn::new().await, StandIn::new().await);
    world.set(&acme, "q", "sk-of-q-012345", false).await;
    let mut settings = everything(&p);
    q.answers(|_, seen| reply(seen, "x"));
    settings.providers.push(provider("q", Kind::OpenaiCompatible, q.address));
    let target = |id: &str| RouteTarget {
        provider: id.parse().unwrap(),
        upstream_model: None,
        weight: u32::from(id == "p"),
    };
    settings.routes.push(Route {
        provider: None,
        targets: vec![target("p"), target("q")],
        ..Route::new("m".parse().unwrap(), "p".parse().unwrap())
    });
    let model = world.hop(settings);
    own(&world, &acme, "q", HandleKind::File, "file-at-q").await;
    own(&world, &acme, "p", HandleKind::File, "file-at-p").await;
    let file = |id: &str| {
        let file = format!(r#"{{"type":"file","file":{{"file_id":"{id}"}}}}"#);
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{file}]}}]}}"#)
    };
    for _ in 0..5 {
        ask(&world, &model, &acme, Api::Chat, &file("file-at-q")).await.unwrap();
        ask(&world, &model, &acme, Api::Chat, &file("file-at-p")).await.unwrap();
    }
    assert_eq!((p.asked(), q.asked()), (5, 5));
    // Where it is kept, or nowhere.
    q.answers(|_, _| super::standin::status(503, "{}"));
    let got = world.call(&model, &acme, Api::Chat, &file("file-at-q"), Caller::default()).await;
    assert_eq!(got.unwrap().status, 503);
    assert_eq!((p.asked(), q.asked()), (5, 6));
    // What is kept at two places is nowhere whole.
    let two = file("file-at-q")
        .replace(r#""content":["#, r#""content":[{"type":"file","file":{"file_id":"file-at-p"}},"#);
    let error = ask(&world, &model, &acme, Api::Chat, &two).await.unwrap_err();
    assert_eq!(error.code(), "model.handle");
}

#[tokio::test]
async fn an_account_of_ones_own_can_be_trusted_as_a_whole() {
    let world = World::new().await;
    let (acme, upstream) = (world.acme().await, StandIn::new().await);
    let body = naming("plain", PLACES[0].2, "resp_from_elsewhere", "");
    for (policy, shared, passes) in [
        (HandlePolicy::Owned, false, false),
        (HandlePolicy::Owned, true, false),
        (HandlePolicy::Account, false, true),
        (HandlePolicy::Account, true, false),
    ] {
        let mut settings = everything(&upstream);
        settings.providers[0].handles = policy;
        let model = world.hop(settings);
        world.set(&acme, "p", "sk-everybodys-0123", shared).await;
        upstream.forget();
        let got = ask(&world, &model, &acme, Api::Responses, &body).await;
        assert_eq!(got.is_ok(), passes, "{policy:?} {shared}");
        assert_eq!(upstream.asked(), usize::from(passes));
    }
}

#[tokio::test]
async fn tools_that_a_provider_runs_have_to_be_allowed() {
    let (world, [acme, ..]) = shared().await;
    let upstream = StandIn::new().await;
    let mut settings = everything(&upstream);
    let tools = [
        (Api::Responses, r#"{"type":"web_search"}"#, "web_search"),
        (Api::Responses, r#"{"type":"web_search_preview_2025_03_11"}"#, "web_search"),
        (Api::Responses, r#"{"type":"mcp","server_label":"s","server_url":"u"}"#, "mcp"),
        (Api::Responses, r#"{"type":"computer_use_preview"}"#, "computer_use"),
        (Api::Responses, r#"{"type":"image_generation"}"#, "image_generation"),
        (Api::Responses, r#"{"type":"something_new"}"#, "something_new"),
        (Api::Messages, r#"{"type":"web_search_20250305","name":"w"}"#, "web_search"),
        (Api::Messages, r#"{"type":"code_execution_20250522","name":"c"}"#, "code_interpreter"),
    ];
    for (api, tool, family) in tools {
        assert!(api_of(api.path()) == api);
        let body = format!(r#"{{"model":"plain","max_tokens":9,"messages":[],"tools":[{tool}]}}"#);
        let body = match api {
            Api::Messages => body,
            _ => format!(r#"{{"model":"plain","input":"q","tools":[{tool}]}}"#),
        };
        for (allowed, passes) in
            [(vec![], false), (vec!["file_search"], false), (vec![family], true)]
        {
            settings.routes[0].hosted_tools = allowed.iter().map(|a| (*a).to_owned()).collect();
            let model = world.hop(settings.clone());
            upstream.forget();
            match ask(&world, &model, &acme, api, &body).await {
                Ok(_) => assert!(passes, "{tool}"),
                Err(error) => {
                    assert!(!passes, "{tool}: {error}");
                    assert_eq!(error.code(), "model.tool");
                    assert!(error.to_string().contains(family), "{error}");
                }
            }
            assert_eq!(upstream.asked(), usize::from(passes), "{tool}");
        }
    }
}
