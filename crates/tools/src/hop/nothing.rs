//! One answer for what is not there and for what is another's: else whoever guesses ids learns
//! which there are. The tenant's log and the quarantine tell the two apart.
//!
//! That is for reads whose contract says where owners stand. Of an HTTP API, `404` (also `403` and `410`),
//! an answer that is withheld and one that is too large are the same refusal; of a database, rows of
//! another's are no rows; of an MCP server, whatever failure has no record of the tenant's, and an answer
//! that is withheld, are the same refusal. What stays: an upstream that says by an empty list, or by
//! another success or status, that there is none, is not told from here what it would have said of another's;
//! and an answer of several records that is no rows cannot be cut: one of another's among them withholds all.

use http::StatusCode;
use ids::{json::Json, planted};
use scope::{Scope, Write};

use crate::{
    Content, Effect, Error, Facts, Fault, FaultKind,
    contract::{Final, Form, Tool},
};

/// Whether what is not there and what is another's are told apart by nobody.
pub(super) fn is_one(tool: &Tool) -> bool {
    tool.contract.effect == Effect::Read
        && !tool.contract.owner.is_empty()
        && !planted::is("tools-missing-told-from-foreign")
}

/// What is said of an answer that is withheld.
pub(super) fn withheld(
    scope: &Scope<Write>,
    tool: &Tool,
    call: &Final,
    content: &Content,
    most: usize,
) -> Result<Content, Error> {
    if !is_one(tool) {
        return Err(Error::OutOfScope);
    }
    let Content::Rows(Json::Array(rows)) = content else { return Err(Error::NoRecord) };
    let facts = Facts::of(scope, tool.upstream.system());
    let own = tool.owners.own_rows(&facts, call, rows, most);
    let none = own.is_empty();
    let own = Content::Rows(Json::Array(own));
    if none {
        return Ok(own);
    }
    if planted::is("tools-guess-beside-own-told") {
        return Err(Error::OutOfScope);
    }
    // Together they may be too many. To say that there are none would be a lie.
    tool.owners.hold(&facts, call, &own, most).map_err(|_| Error::OutOfScope)
}

/// What a read answers its caller.
pub(super) fn answered(
    scope: &Scope<Write>,
    tool: &Tool,
    answer: Result<Content, Error>,
) -> Result<Content, Error> {
    if !is_one(tool) {
        return answer;
    }
    match answer {
        Ok(Content::Http {
            status: StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE,
            ..
        }) => Err(Error::NoRecord),
        Ok(Content::Mcp(result)) if has_nothing(&result) => Err(Error::NoRecord),
        Err(Error::Refused(_)) => Err(Error::NoRecord),
        Err(Error::Upstream(fault)) if says_that_it_is_there(tool, &fault) => {
            tracing::warn!(
                tenant = scope.tenant().as_str(),
                environment = scope.environment().as_str(),
                tool = tool.contract.name,
                %fault,
                "a read is answered as if there were no such record"
            );
            Err(Error::NoRecord)
        }
        answer => answer,
    }
}

/// Whether a fault may be of a record that is there. Of a database no rows would be said, which is a lie.
fn says_that_it_is_there(tool: &Tool, fault: &Fault) -> bool {
    let too_large = fault.sent && matches!(fault.kind, FaultKind::TooLarge(_));
    !matches!(tool.form, Form::Sql(_)) && (too_large || fault.is_refusal())
}

/// Whether a result is a failure without a record.
fn has_nothing(result: &Json) -> bool {
    result.get("isError") == Some(&Json::Bool(true)) && result.get("structuredContent").is_none()
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::Arc};

    use futures_util::FutureExt;
    use ids::BoxFuture;

    use super::{super::traces::MOST, *};
    use crate::{
        Limits, Progress, Settings, Tools,
        catalog::Definition,
        contract::table,
        outside::{Errand, Network},
        upstream::Reply,
        world::World,
    };

    const TOOLS: &str = r#"
        [[upstreams]]
        id = "crm"
        kind = "postgres"
        url = "postgres://127.0.0.1/crm"
        auth = { kind = "none" }

        [[contracts]]
        name = "rows"
        upstream = "crm"
        effect = "read"
        parameters = { type = "object", properties = { id = { type = "string" } } }
        query = { sql = "SELECT * FROM notes WHERE id = $1", parameters = ["/id"] }
        owner = [{ records = "$[*]", owner = "/account" }]
    "#;

    fn rows(text: &str) -> Content {
        Content::Rows(Json::parse(text.as_bytes(), &ids::json::Limits::default()).unwrap())
    }

    /// A database that has these rows for everybody.
    struct Crm(&'static str);

    impl Network for Crm {
        fn send<'a>(&'a self, _: Errand<'a>) -> BoxFuture<'a, Result<Reply, Error>> {
            Box::pin(async { Ok(Reply::of(rows(self.0))) })
        }

        fn definition<'a>(
            &'a self,
            _: &'a Scope<Write>,
            _: &'a Arc<Tool>,
        ) -> BoxFuture<'a, Result<Definition, Error>> {
            Box::pin(async { Err(Error::Unknown) })
        }
    }

    struct Bench {
        world: World,
        tools: Tools,
        tool: Arc<Tool>,
        call: Final,
    }

    impl Bench {
        async fn of(all: &'static str) -> Self {
            let world = World::new().await;
            let settings: Settings = toml::from_str(TOOLS).unwrap();
            let tools = table(&settings).unwrap();
            let tool = Arc::clone(&tools["rows"]);
            let acme = world.acme().await;
            let call = tool.finalize(&acme, br#"{"id":"1"}"#, &Limits::default()).unwrap();
            let crm = Arc::new(Crm(all));
            let parts = Arc::new(world.parts());
            let tools = Tools::over(settings, tools, parts, (crm, None)).unwrap();
            Self { world, tools, tool, call }
        }

        async fn read(&self, scope: &Scope<Write>) -> String {
            let progress = &Progress::none();
            let Self { tool, call, .. } = self;
            let errand = Errand { scope, tool, call, intent: None, progress, round: None };
            format!("{:?}", self.tools.0.read(errand).await)
        }

        /// What was withheld, on record.
        fn withheld(&self) -> usize {
            let entries = self.world.kit.audit.of("acme/live");
            entries.iter().filter(|entry| entry.action == "tool.result_out_of_scope").count()
        }
    }

    const FOREIGN: &str = r#"[{"id":1,"account":"acct_globex"}]"#;

    fn said(all: &str) -> String {
        format!("{:?}", Ok::<_, Error>(rows(all)))
    }

    #[tokio::test]
    async fn a_row_of_anothers_is_no_row() {
        for foreign in [
            FOREIGN,
            r#"[{"id":1,"account":"acct_globex"},{"id":2,"account":"acct_globex"}]"#,
            r#"[{"id":1,"account":null}]"#,
            r#"[{"id":1}]"#,
        ] {
            let bench = Bench::of(foreign).await;
            assert_eq!(bench.read(&bench.world.acme().await).await, said("[]"), "{foreign}");
        }
    }

    #[tokio::test]
    async fn a_guess_beside_ones_own_is_no_row_either() {
        let mixed = r#"[{"id":1,"account":"acct_globex"},{"id":2,"account":"acct_acme"},
            {"id":3,"account":"acct_acme","by":{"account":"acct_globex"}},{"id":4}]"#;
        let bench = Bench::of(mixed).await;
        let acme = bench.world.acme().await;
        let own = said(r#"[{"id":2,"account":"acct_acme"}]"#);
        assert_eq!(bench.read(&acme).await, own);
        // On record and in quarantine all the same.
        while bench.withheld() == 0 {
            tokio::task::yield_now().await;
        }
        // Whoever concludes from what is not there is not told of a part.
        let Bench { tool, call, .. } = &bench;
        let progress = &Progress::none();
        let errand = Errand { scope: &acme, tool, call, intent: None, progress, round: None };
        let missed = bench.tools.0.ask(errand).await.unwrap_err();
        assert!(matches!(missed.error, Error::OutOfScope), "{missed:?}");
        // More of one's own than are looked at are not said to be none.
        let many =
            rows(r#"[{"account":"acct_acme"},{"account":"acct_acme"},{"account":"acct_x"}]"#);
        let error = withheld(&acme, tool, call, &many, 1).unwrap_err();
        assert_eq!(error.code(), "tool.result_out_of_scope");
        assert!(withheld(&acme, tool, call, &many, 2).is_ok());
    }

    #[tokio::test]
    async fn nobody_waits_for_the_trace_of_what_is_not_there() {
        let bench = Bench::of(FOREIGN).await;
        let acme = bench.world.acme().await;
        // Polled once: no other task had a turn.
        assert_eq!(bench.read(&acme).now_or_never(), Some(said("[]")));
        assert_eq!(bench.withheld(), 0);
        while bench.withheld() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.world.told.0.lock().len(), 1, "it is in quarantine");
    }

    #[tokio::test]
    async fn traces_behind_answers_are_few_and_each_tenants_own() {
        let bench = Bench::of(FOREIGN).await;
        let (acme, globex) = (bench.world.acme().await, bench.world.globex().await);
        for _ in 0..MOST {
            assert!(bench.read(&acme).now_or_never().is_some());
        }
        let mut next = pin!(bench.read(&acme));
        assert_eq!((&mut next).now_or_never(), None, "it waits");
        assert!(bench.read(&globex).now_or_never().is_some(), "and nobody else does");
        assert_eq!(next.await, said("[]"));
        while bench.withheld() <= MOST {
            tokio::task::yield_now().await;
        }
    }
}
