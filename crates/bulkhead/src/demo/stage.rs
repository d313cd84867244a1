//! The set: a deployment in a temporary directory, a provider, tenants and what they hold.
//! All of it by the doors that everybody has: the admin API and the token endpoint.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use ids::OperatorName;
use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    caller::{Caller, Heard},
    canary::Canaries,
    crm::Crm,
    provider::{MESSAGES, Provider, SHARED},
    tools,
};
use crate::{
    admin::Admin,
    config, init,
    print::field,
    secret::Text,
    serve::Running,
    standin::{Manner, StandIn},
};

const GRANTS: &str = "model:* cache:* state:* memory:* tools:*";
/// The secret of the stand-in's account that all share.
const OF_ALL: &str = "sk-standin-of-all";
/// How long the token lasts that is shown expired.
const BRIEF: Duration = Duration::from_secs(1);
const USUAL: Duration = Duration::from_secs(15 * 60);

/// What everybody holds.
#[derive(Clone)]
pub(super) struct Cast {
    /// acme's token.
    pub(super) acme: String,
    /// acme's, for staging.
    pub(super) staging: String,
    /// acme's, for another workflow.
    pub(super) billing: String,
    /// acme's, for listing models only.
    pub(super) narrow: String,
    /// acme's, good for a second from `minted`.
    pub(super) brief: String,
    /// acme's, for another deployment.
    pub(super) elsewhere: String,
    /// A run grant of acme's.
    pub(super) grant: String,
    /// acme's API key.
    pub(super) key: String,
    /// globex's token.
    pub(super) globex: String,
    /// The API key of a third tenant.
    pub(super) initech: String,
    /// The operator's credential.
    pub(super) operator: String,
    /// When the brief token was minted.
    pub(super) minted: Instant,
}

/// The set.
pub(super) struct Stage {
    /// Everybody's credentials.
    pub(super) cast: Cast,
    /// Who asks.
    pub(super) caller: Caller,
    /// What must not show up elsewhere.
    pub(super) canaries: Canaries,
    /// The model that everybody names.
    pub(super) model: String,
    /// The stand-in for a CRM, which tools are of.
    pub(super) crm: Crm,
    /// The stand-in, unless there is a real provider.
    pub(super) standin: Option<StandIn>,
    admin: Admin,
    running: Running,
    dir: TempDir,
}

impl Stage {
    /// Sets everything up.
    pub(super) async fn set(provider: &Provider) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bulkhead-demo-").tempdir()?;
        let (accounts, standin) = match provider {
            Provider::Real(_) => (Vec::new(), None),
            Provider::StandIn => {
                let accounts = accounts();
                let mut said: Vec<(String, String)> =
                    accounts.iter().map(|a| (a.secret.clone(), a.word.clone())).collect();
                said.push((OF_ALL.to_owned(), "of-all".to_owned()));
                (accounts, Some(StandIn::start(Manner::Shown, said).await?))
            }
        };
        let url = standin.as_ref().map(StandIn::url);
        let (crm, words) = tools::start().await?;
        let text = provider.configuration(url.as_deref()) + &tools::configuration(&crm.url());
        let file = dir.path().join("bulkhead.toml");
        let ada = OperatorName::parse("ada")?;
        let operator = init::create(&config::parse(&file, &text)?, &ada, &file).await?;
        let elsewhere = elsewhere(&file, &text, &operator).await?;
        let running = Running::start(config::parse(&file, &text)?, &file).await?;
        keep_at_hand(&running, &file, &text, &operator)?;
        let admin = admin(&running, &operator)?;
        let mut canaries = Canaries::default();
        for (tenant, word) in &words {
            canaries.add(tenant, "invoice in the CRM", word);
        }
        people(&admin).await?;
        keys_of_tools(&admin, &mut canaries).await?;
        wallets(&admin, provider, &accounts, &mut canaries).await?;
        let cast = cast(&admin, &operator, elsewhere).await?;
        let mut stage = Self {
            cast,
            caller: Caller::new()?,
            canaries,
            model: super::provider::MODEL.to_owned(),
            crm,
            standin,
            admin,
            running,
            dir,
        };
        stage.know_the_cast();
        Ok(stage)
    }

    fn know_the_cast(&mut self) {
        let Cast { acme, staging, billing, narrow, brief, elsewhere, grant, key, .. } =
            self.cast.clone();
        for token in [acme, staging, billing, narrow, brief, elsewhere] {
            self.canaries.add("acme", "tenant token", &token);
        }
        self.canaries.add("acme", "run grant", &grant);
        self.canaries.add("acme", "API key", &key);
        self.canaries.add("globex", "tenant token", &self.cast.globex);
        self.canaries.add("initech", "API key", &self.cast.initech);
        self.canaries.add("operator", "operator credential", &self.cast.operator);
    }

    /// What came back holds things that are its receiver's alone from now on.
    pub(super) fn learn(&mut self, heard: &Heard) {
        // The first to get an answer is whose it is; who gets it later is found by that.
        self.canaries.add(&heard.who, "answer", &heard.id);
        self.canaries.add(&heard.who, "request id", &heard.request);
    }

    /// An address on the data plane.
    pub(super) fn data(&self, path: &str) -> Result<Url> {
        address(self.running.data_url(), path)
    }

    /// An address on the control plane.
    pub(super) fn control(&self, path: &str) -> Result<Url> {
        address(self.running.control_url(), path)
    }

    /// The directory of the deployment.
    pub(super) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// A fresh tenant token; a canary from now on.
    pub(super) async fn token(
        &mut self,
        tenant: &str,
        environment: &str,
        workflow: &str,
        life: Duration,
    ) -> Result<String> {
        let token = self.mint(tenant, environment, workflow, life).await?;
        self.canaries.add(tenant, "tenant token", &token);
        Ok(token)
    }

    /// A fresh tenant token.
    pub(super) async fn mint(
        &self,
        tenant: &str,
        environment: &str,
        workflow: &str,
        life: Duration,
    ) -> Result<String> {
        mint(&self.admin, tenant, (environment, workflow, GRANTS), life).await
    }

    /// Revokes a token.
    pub(super) async fn revoke(&self, tenant: &str, token: &str) -> Result<()> {
        let ask = json!({ "tenant": tenant, "token": token });
        self.admin.post("/revocations", &ask).await.map(drop)
    }

    /// Suspends a tenant.
    pub(super) async fn suspend(&self, tenant: &str) -> Result<()> {
        let ask = json!({ "reason": "demo" });
        self.admin.post(&format!("/tenants/{tenant}/suspend"), &ask).await.map(drop)
    }

    /// Ends in order; if it is to be kept, when told to.
    pub(super) async fn strike(self, keep: bool) -> Result<()> {
        if keep { self.running.until_signal().await } else { self.running.stop().await }
    }
}

/// Leaves the files with which other commands find a deployment that is kept.
fn keep_at_hand(running: &Running, file: &Path, text: &str, operator: &Text) -> Result<()> {
    let real = |url: String| format!("\"{}\"", url.trim_start_matches("http://"));
    let text = text.replacen("\"127.0.0.1:0\"", &real(running.data_url()), 1).replacen(
        "\"127.0.0.1:0\"",
        &real(running.control_url()),
        1,
    );
    init::write_new(file, text.as_bytes(), 0o644)?;
    let token = file.with_file_name("operator.token");
    init::write_new(&token, operator.expose().as_bytes(), 0o600)
}

fn address(base: String, path: &str) -> Result<Url> {
    Url::parse(&base)?.join(path).with_context(|| format!("the address {path}"))
}

fn admin(running: &Running, operator: &Text) -> Result<Admin> {
    let url = Url::parse(&running.control_url())?;
    Admin::new(url, Text::new(operator.expose().to_owned()), None)
}

/// A token for another deployment, signed with the very same key: the same files, served for
/// a moment under another audience.
async fn elsewhere(file: &Path, text: &str, operator: &Text) -> Result<String> {
    let other = text.replace("audience = \"demo\"", "audience = \"another-deployment\"");
    let running = Running::start(config::parse(file, &other)?, file).await?;
    let admin = admin(&running, operator)?;
    let spec = json!({
        "id": "acme", "environments": ["live", "staging"],
        "accounts": { tools::CRM: [tools::account("acme")] },
    });
    admin.post("/tenants", &spec).await?;
    let token = mint(&admin, "acme", ("live", "support", GRANTS), USUAL).await?;
    running.stop().await?;
    Ok(token)
}

async fn people(admin: &Admin) -> Result<()> {
    for (id, alias) in [("globex", "org_globex"), ("initech", "org_initech")] {
        let spec = json!({
            "id": id, "environments": ["live"], "aliases": [alias],
            "accounts": { tools::CRM: [tools::account(id)] },
        });
        admin.post("/tenants", &spec).await?;
    }
    Ok(())
}

/// A tenant's account at the stand-in.
struct Account {
    tenant: &'static str,
    environment: &'static str,
    secret: String,
    word: String,
}

fn accounts() -> Vec<Account> {
    let draw = || ids::RandomId::draw(&ids::OsEntropy).to_string();
    [("acme", "live"), ("acme", "staging"), ("globex", "live")]
        .map(|(tenant, environment)| Account {
            tenant,
            environment,
            secret: format!("sk-standin-{}", draw()),
            word: format!("{tenant}-{}", &draw()[..12]),
        })
        .into()
}

/// Stores each tenant's provider credential; with a real provider, the one that there is, for
/// both, which has to be said.
async fn wallets(
    admin: &Admin,
    provider: &Provider,
    accounts: &[Account],
    canaries: &mut Canaries,
) -> Result<()> {
    let at = |tenant: &str, environment: &str, provider: &str| {
        format!("/tenants/{tenant}/environments/{environment}/credentials/{provider}")
    };
    let path = |tenant, environment| at(tenant, environment, super::provider::ID);
    if let Provider::Real(real) = provider {
        let body = json!({ "secret": real.secret.expose(), "shared": true, "reason": "demo" });
        for (tenant, environment) in [("acme", "live"), ("acme", "staging"), ("globex", "live")] {
            admin.put(&path(tenant, environment), &[], &body).await?;
        }
        canaries.add("the provider", "provider credential", real.secret.expose());
    }
    for account in accounts {
        let body = json!({ "secret": account.secret, "shared": false, "reason": "demo" });
        let Account { tenant, environment, .. } = account;
        admin.put(&path(tenant, environment), &[], &body).await?;
        admin.put(&at(tenant, environment, MESSAGES), &[], &body).await?;
        let of_all = json!({ "secret": OF_ALL, "shared": true, "reason": "demo" });
        admin.put(&at(tenant, environment, SHARED), &[], &of_all).await?;
        canaries.add("the provider", "provider credential", &account.secret);
        canaries.add(account.tenant, "word in the provider's answers", &account.word);
    }
    Ok(())
}

/// Each tenant's own key to the CRM.
async fn keys_of_tools(admin: &Admin, canaries: &mut Canaries) -> Result<()> {
    for tenant in ["acme", "globex"] {
        let secret = format!("crm-{}", ids::RandomId::draw(&ids::OsEntropy));
        let path = format!("/tenants/{tenant}/environments/live/credentials/{}", tools::CRM);
        let body = json!({ "secret": secret, "shared": false, "reason": "demo" });
        admin.put(&path, &[], &body).await?;
        canaries.add("the CRM", "credential for tools", &secret);
    }
    Ok(())
}

async fn cast(admin: &Admin, operator: &Text, elsewhere: String) -> Result<Cast> {
    let key = async |tenant: &str| {
        let ask = json!({ "workflow": "support", "scope": GRANTS, "reason": "demo" });
        let made = admin.post(&format!("/tenants/{tenant}/environments/live/keys"), &ask).await?;
        secret(&made, "secret")
    };
    let service = json!({
        "name": "backend", "tenants": ["acme"], "environments": ["live"],
        "workflows": ["support"], "scope": GRANTS,
    });
    let service = secret(&admin.post("/services", &service).await?, "secret")?;
    let support = ("live", "support", GRANTS);
    let own = async |terms| mint(admin, "acme", terms, USUAL).await;
    Ok(Cast {
        minted: Instant::now(),
        brief: mint(admin, "acme", support, BRIEF).await?,
        acme: own(support).await?,
        staging: own(("staging", "support", GRANTS)).await?,
        billing: own(("live", "billing", GRANTS)).await?,
        narrow: own(("live", "support", "model:models")).await?,
        grant: grant(admin, &Text::new(service)).await?,
        key: key("acme").await?,
        globex: mint(admin, "globex", support, USUAL).await?,
        initech: key("initech").await?,
        operator: operator.expose().to_owned(),
        elsewhere,
    })
}

async fn mint(
    admin: &Admin,
    tenant: &str,
    (environment, workflow, grants): (&str, &str, &str),
    life: Duration,
) -> Result<String> {
    let ask = json!({
        "tenant": tenant, "environment": environment, "workflow": workflow, "scope": grants,
        "ttl_seconds": life.as_secs(), "reason": "demo", "run": super::surfaces::RUN,
    });
    secret(&admin.post("/tokens", &ask).await?, "token")
}

/// A run grant, as a backend gets it.
async fn grant(admin: &Admin, service: &Text) -> Result<String> {
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:bulkhead:params:oauth:token-type:tenant"),
        ("subject_token", "acme"),
        ("requested_token_type", "urn:bulkhead:params:oauth:token-type:run-grant"),
        ("environment", "live"),
        ("workflow", "support"),
        ("scope", GRANTS),
    ];
    let form: Vec<(&str, String)> = form.map(|(name, value)| (name, value.to_owned())).into();
    secret(&admin.exchange(service, &form).await?, "access_token")
}

fn secret(made: &Value, name: &str) -> Result<String> {
    let secret = field(made, name);
    anyhow::ensure!(!secret.is_empty(), "the server's answer has no {name:?}");
    Ok(secret)
}
