//! A hop in the words of the policy language.

use std::{
    collections::{HashMap, HashSet},
    sync::OnceLock,
};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression as Expr, Schema,
};
use ids::ProviderId;
use scope::{Access, Actor, Scope};

use crate::{
    Hop,
    hop::{KINDS, Resource},
};

/// What policies may speak of; shown by `GET /admin/v1/policy`.
pub const SCHEMA: &str = include_str!("bulkhead.cedarschema");

/// What a policy can know about whoever asks. Everything here is part of the scope's
/// fingerprint; a test holds the two together.
pub(crate) struct Facts<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) environment: &'a str,
    pub(crate) workflow: Option<&'a str>,
    pub(crate) agent: Option<&'a str>,
    pub(crate) run: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
    pub(crate) grants: Vec<&'a str>,
    /// By which kind of credential.
    pub(crate) credential: &'static str,
}

impl<'a> Facts<'a> {
    pub(crate) fn of<A: Access>(scope: &'a Scope<A>) -> Self {
        Self {
            tenant: scope.tenant().as_str(),
            environment: scope.environment().as_str(),
            workflow: scope.workflow().map(ids::WorkflowId::as_str),
            agent: scope.agent().map(ids::AgentId::as_str),
            run: scope.run().map(ids::RunId::as_str),
            subject: scope.subject().map(ids::Subject::as_str),
            grants: scope.grants().iter().collect(),
            credential: match scope.actor() {
                Actor::Token(_) => "token",
                Actor::Issuer(..) => "issuer",
                Actor::Key(_) => "key",
                Actor::Mandate(_) => "mandate",
                Actor::Operator(_) => "operator",
            },
        }
    }
}

/// The schema and its names, parsed once.
pub(crate) struct Vocabulary {
    pub(crate) schema: Schema,
    tenant: EntityTypeName,
    workflow: EntityTypeName,
    agent: EntityTypeName,
    route: EntityTypeName,
    account: EntityTypeName,
    shelf: EntityTypeName,
    run: EntityTypeName,
    collection: EntityTypeName,
    log: EntityTypeName,
    tool: EntityTypeName,
    inbox: EntityTypeName,
    /// By the index of the hop's kind.
    actions: [EntityUid; KINDS.len()],
    action_entities: Vec<Entity>,
}

/// By the index of a hop's kind.
pub(crate) type Actions = [Vec<Entity>; KINDS.len()];

/// The one vocabulary.
pub(crate) fn vocabulary() -> &'static Vocabulary {
    static ONE: OnceLock<Vocabulary> = OnceLock::new();
    ONE.get_or_init(|| {
        #[expect(clippy::expect_used, reason = "a constant, held valid by a test")]
        Vocabulary::parse().expect("the schema is valid")
    })
}

type Anything = Box<dyn std::error::Error + Send + Sync>;

impl Vocabulary {
    fn parse() -> Result<Self, Anything> {
        let (schema, _warnings) = Schema::from_cedarschema_str(SCHEMA)?;
        let named = |name: &str| -> Result<EntityTypeName, Anything> {
            Ok(format!("Bulkhead::{name}").parse()?)
        };
        let action = named("Action")?;
        let actions = KINDS.each_ref().map(|kind| uid(&action, kind.grant));
        Ok(Self {
            tenant: named("Tenant")?,
            workflow: named("Workflow")?,
            agent: named("Agent")?,
            route: named("Route")?,
            account: named("Account")?,
            shelf: named("Shelf")?,
            run: named("Run")?,
            collection: named("Collection")?,
            log: named("Log")?,
            tool: named("Tool")?,
            inbox: named("Inbox")?,
            action_entities: schema.action_entities()?.into_iter().collect(),
            schema,
            actions,
        })
    }

    /// The actions that these policies can tell anything of, by the index of the hop's kind: the one that is
    /// asked about and those that they name, each with all that it is in. Others would make no difference,
    /// and putting them in order for each question costs more than all the rest.
    pub(crate) fn told_apart(&self, policies: &PolicySet) -> Actions {
        let named: HashSet<EntityUid> =
            policies.policies().flat_map(cedar_policy::Policy::entity_literals).collect();
        self.actions.each_ref().map(|asked| {
            let matters = |action: &&Entity| {
                action.uid() == *asked
                    || (named.contains(&action.uid()) && !ids::planted::is("gate-actions-unnamed"))
            };
            self.action_entities.iter().filter(matters).cloned().collect()
        })
    }

    /// The question that a hop to this provider is, with [`Self::told_apart`] of the policies that are asked.
    /// An error here is an error of ours, and a denial.
    pub(crate) fn question(
        &self,
        actions: &Actions,
        facts: &Facts<'_>,
        hop: &Hop,
        provider: Option<&ProviderId>,
    ) -> Result<(Request, Entities), String> {
        let actions = actions[hop.kind].clone();
        self.ask(actions, facts, (hop, provider), None).map_err(|error| error.to_string())
    }

    /// With a schema, request and entities are held against it; they always conform (a test
    /// says so), and the check costs more than the decision.
    fn ask(
        &self,
        mut entities: Vec<Entity>,
        facts: &Facts<'_>,
        (hop, provider): (&Hop, Option<&ProviderId>),
        schema: Option<&Schema>,
    ) -> Result<(Request, Entities), Anything> {
        let tenant = uid(&self.tenant, facts.tenant);
        let mut above = HashSet::from([tenant.clone()]);
        entities.push(Entity::with_uid(tenant));
        if let Some(workflow) = facts.workflow {
            let name = format!("{}/{}/{workflow}", facts.tenant, facts.environment);
            let workflow = uid(&self.workflow, &name);
            entities.push(Entity::new_no_attrs(workflow.clone(), above.clone()));
            above.insert(workflow);
        }
        let agent = format!(
            "{}/{}/{}/{}",
            facts.tenant,
            facts.environment,
            facts.workflow.unwrap_or_default(),
            facts.agent.unwrap_or_default()
        );
        let agent = uid(&self.agent, &agent);
        entities.push(Entity::new(agent.clone(), attributes(facts), above)?);
        let resource = self.resource(hop, provider)?;
        let asked = resource.uid();
        entities.push(resource);
        let context = Context::from_pairs(context(facts, hop))?;
        let action = self.actions[hop.kind].clone();
        let request = Request::new(agent, action, asked, context, schema)?;
        Ok((request, Entities::from_entities(entities, schema)?))
    }

    fn resource(&self, hop: &Hop, provider: Option<&ProviderId>) -> Result<Entity, Anything> {
        let (kind, of_provider) = match hop.resource {
            Resource::Route => (&self.route, true),
            Resource::Account => (&self.account, true),
            Resource::Shelf => (&self.shelf, false),
            Resource::Run => (&self.run, false),
            Resource::Collection => (&self.collection, false),
            Resource::Log => (&self.log, false),
            Resource::Tool => (&self.tool, false),
            Resource::Inbox => (&self.inbox, false),
        };
        let mut about = HashMap::from([("name".to_owned(), text(&hop.target))]);
        if let Some(provider) = provider.filter(|_| of_provider) {
            about.insert("provider".to_owned(), text(provider.as_str()));
        }
        if let Some(call) = &hop.call {
            about.insert("upstream".to_owned(), text(call.upstream.as_str()));
            if let Some(account) = &call.account {
                about.insert("account".to_owned(), text(account.as_str()));
            }
        }
        Ok(Entity::new(uid(kind, &hop.target), about, HashSet::new())?)
    }
}

/// What is asked, beside by whom and of what.
fn context(facts: &Facts<'_>, hop: &Hop) -> Vec<(String, Expr)> {
    let bytes = i64::try_from(hop.bytes_in).unwrap_or(i64::MAX);
    let mut context = vec![
        ("bytes".to_owned(), Expr::new_long(bytes)),
        ("stream".to_owned(), Expr::new_bool(hop.stream)),
    ];
    if let Some(call) = &hop.call {
        let arguments = call.arguments.iter().map(|argument| text(argument));
        context.push(("effect".to_owned(), text(call.effect.name())));
        context.push(("environment".to_owned(), text(facts.environment)));
        context.push(("arguments".to_owned(), Expr::new_set(arguments)));
        if let Some(amount) = call.amount {
            context.push(("amount".to_owned(), Expr::new_long(amount)));
        }
    }
    context
}

fn attributes(facts: &Facts<'_>) -> HashMap<String, Expr> {
    let grants = facts.grants.iter().map(|grant| text(grant));
    let always = [
        ("tenant", text(facts.tenant)),
        ("environment", text(facts.environment)),
        ("grants", Expr::new_set(grants)),
        ("credential", text(facts.credential)),
    ];
    let sometimes = [
        ("workflow", facts.workflow),
        ("agent", facts.agent),
        ("run", facts.run),
        ("subject", facts.subject),
    ];
    let sometimes = sometimes.into_iter().filter_map(|(name, value)| Some((name, text(value?))));
    always.into_iter().chain(sometimes).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(value: &str) -> Expr {
    Expr::new_string(value.to_owned())
}

#[cfg(test)]
mod tests {
    use ids::{RandomId, RequestId};

    use super::*;
    use crate::{Action, Kept, Reading, Touch, Use};

    fn called(effect: crate::Effect) -> crate::ToolCall {
        crate::ToolCall {
            effect,
            tool: "refund".to_owned(),
            upstream: "crm".parse().unwrap(),
            account: (effect != crate::Effect::Read).then(|| "acct \"\\".parse().unwrap()),
            arguments: vec!["/currency=EUR".to_owned(), "/a~1b=\"".to_owned()],
            amount: (effect != crate::Effect::Write).then_some(i64::MIN),
        }
    }

    /// The shortcut of [`Vocabulary::ask`] without a schema is sound: what is built conforms,
    /// whatever is present or absent, however large.
    #[test]
    fn every_question_conforms_to_the_schema() {
        let request = RequestId(RandomId::from_bytes([0; 16]));
        let provider: ids::ProviderId = "openai".parse().unwrap();
        let hops = [
            Hop::model(Action::Chat, "gpt-5", request).bytes_in(u64::MAX).stream(true),
            Hop::model(Action::Chat, "a\"b\\", request),
            Hop::model(Action::Models, "*", request),
            Hop::model(Action::Responses, "m", request),
            Hop::model(Action::Embeddings, "m", request),
            Hop::model(Action::Messages, "m", request),
            Hop::resource(Kept::Responses, Touch::Read, request),
            Hop::resource(Kept::Conversations, Touch::Write, request),
            Hop::resource(Kept::Files, Touch::Write, request),
            Hop::resource(Kept::Batches, Touch::Write, request),
            Hop::cache(Touch::Read, "\u{c4} \"\\", request),
            Hop::cache(Touch::Write, "prices", request),
            Hop::state(Touch::Read, "run_1", request),
            Hop::state(Touch::Write, "run_1", request),
            Hop::memory(Use::Read, "*", request),
            Hop::memory(Use::Write, "\u{c4} \"docs\" ", request),
            Hop::memory(Use::Collections, "docs", request),
            Hop::records(Reading::Audit, request),
            Hop::records(Reading::Runs, request),
            Hop::tools(request),
            Hop::tool(called(crate::Effect::Read), request),
            Hop::tool(called(crate::Effect::Write), request),
            Hop::tool(called(crate::Effect::Destructive), request),
            Hop::review(Touch::Read, request),
            Hop::review(Touch::Write, request),
        ];
        let words = vocabulary();
        for mask in 0..16_u8 {
            let some = |bit: u8, text| (mask & 1 << bit != 0).then_some(text);
            let facts = Facts {
                tenant: "acme",
                environment: "live",
                workflow: some(0, "support"),
                agent: some(1, "a:1"),
                run: some(2, "run_1"),
                subject: some(3, "\u{c4}d\u{e4} \"\\ <a@b>"),
                grants: if mask % 2 == 0 { Vec::new() } else { vec!["model:*", "audit:read"] },
                credential: "token",
            };
            for (hop, provider) in hops.iter().flat_map(|hop| [(hop, None), (hop, Some(&provider))])
            {
                let actions = words.action_entities.clone();
                let asked = words.ask(actions, &facts, (hop, provider), Some(&words.schema));
                assert!(asked.is_ok(), "{mask} {hop:?}: {}", asked.unwrap_err());
            }
        }
    }

    #[test]
    fn the_schema_and_the_hops_know_the_same_actions() {
        let words = vocabulary();
        let mut known: Vec<String> = words
            .action_entities
            .iter()
            .map(|action| action.uid().id().unescaped().to_owned())
            .filter(|name| name.contains(':'))
            .collect();
        known.sort_unstable();
        let mut asked: Vec<_> = KINDS.iter().map(|kind| kind.grant.to_owned()).collect();
        asked.sort_unstable();
        assert_eq!(known, asked);
    }

    /// `("a", "b/c")` and `("a/b", "c")` are not one workflow: names hold no slash.
    #[test]
    fn names_of_entities_are_told_apart() {
        for text in ["a/b", "/"] {
            assert!(ids::TenantId::parse(text).is_err());
            assert!(ids::Environment::parse(text).is_err());
            assert!(ids::WorkflowId::parse(text).is_err());
            assert!(ids::AgentId::parse(text).is_err());
        }
    }
}
