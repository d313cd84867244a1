//! The two tenants, and everything that they hold for one run. All of it by the admin API.

use std::{collections::BTreeSet, io::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use ids::{OsEntropy, RandomId};
use probe::Plan;
use serde_json::{Value, json};
use server::selfprobe::{Commission, ENVIRONMENTS, Endpoint, TENANTS};

use super::{CHAT, EMBED, MESSAGE, OWN_ENGINE, PROVIDERS, SIMILAR};
use crate::{admin::Admin, print::field, secret::Text, standin::StandIn};

/// What their tokens grant: everything that there is for tenants.
const GRANTS: &str = "model:* cache:* state:* memory:* audit:read records:read";
/// The workflow of both; their run has one name, too, another one each time.
const WORKFLOW: &str = "bulkhead-probe";
/// How long tokens live.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// Why, in every log.
const REASON: &str = "the deployment probes itself";

/// The operator of a run, and where everything is.
pub(super) struct Cast {
    admin: Admin,
    data: Endpoint,
    control: Endpoint,
    operator: String,
    run: String,
    /// The certificates of both listeners, with TLS.
    bundle: Option<tempfile::NamedTempFile>,
}

impl Cast {
    pub(super) fn of(commission: &Commission) -> Result<Self> {
        let operator = commission.operator.expose().to_owned();
        let admin = Admin::own(&commission.control, Text::new(operator.clone()))?;
        let (data, control) = (commission.data.clone(), commission.control.clone());
        let run = format!("bulkhead-probe-{}", RandomId::draw(&OsEntropy).short());
        let bundle = bundle([&data, &control])?;
        Ok(Self { admin, data, control, operator, run, bundle })
    }

    /// Makes what is missing, and says it as a target file does.
    pub(super) async fn enter(&self, standin: &StandIn) -> Result<Plan> {
        let account = format!("sk-{}", RandomId::draw(&OsEntropy));
        standin.open(vec![(account.clone(), "the account of all".to_owned())]);
        for tenant in TENANTS {
            self.tenant(tenant).await.with_context(|| format!("tenant {tenant}"))?;
            for environment in ENVIRONMENTS {
                self.wallet(tenant, environment, &account).await?;
            }
        }
        let [a, b] = TENANTS;
        let (token_a, token_b) = (self.mint(a).await?, self.mint(b).await?);
        let dead = self.mint(a).await?;
        let void = json!({ "token": dead, "reason": REASON });
        self.admin.post("/revocations", &void).await.context("revoking a token")?;
        self.plan((&token_a, &token_b, &dead), &account)
    }

    /// Voids what they hold, and suspends them: whatever fails, the rest is done. The error is the
    /// first one.
    pub(super) async fn leave(&self) -> Result<()> {
        let [a, b] = TENANTS;
        let (first, second) = (self.end(a).await, self.end(b).await);
        first.and(second)
    }

    async fn end(&self, id: &str) -> Result<()> {
        let (path, why) = (format!("/tenants/{id}"), json!({ "reason": REASON }));
        match self.admin.find(&path, &[]).await {
            Ok(None) => return Ok(()),
            Ok(Some(known)) => ours(&known, id)?,
            // Whose it is is not known.
            Err(unknown) => return Err(unknown.context(format!("tenant {id}"))),
        }
        let revoked = self.admin.post(&format!("{path}/revoke"), &why).await;
        let suspended = self.admin.post(&format!("{path}/suspend"), &why).await;
        revoked.and(suspended).map(drop).with_context(|| format!("tenant {id}"))
    }

    async fn tenant(&self, id: &str) -> Result<()> {
        let path = format!("/tenants/{id}");
        let Some(known) = self.admin.find(&path, &[]).await? else {
            let new = json!({ "id": id, "aliases": [alias(id)], "environments": ENVIRONMENTS,
                "reason": REASON });
            self.admin.post("/tenants", &new).await?;
            return Ok(());
        };
        ours(&known, id)?;
        if field(&known, "status") != "active" {
            self.admin.post(&format!("{path}/resume"), &json!({ "reason": REASON })).await?;
        }
        Ok(())
    }

    /// The one account of the stand-in, at each of its providers.
    async fn wallet(&self, tenant: &str, environment: &str, account: &str) -> Result<()> {
        for (provider, _) in PROVIDERS {
            let path = format!("/tenants/{tenant}/environments/{environment}/credentials");
            let held = json!({ "secret": account, "shared": true, "reason": REASON });
            self.admin
                .put(&format!("{path}/{provider}"), &[], &held)
                .await
                .with_context(|| format!("the credential of {tenant} for {provider}"))?;
        }
        Ok(())
    }

    async fn mint(&self, tenant: &str) -> Result<String> {
        let ask = json!({
            "tenant": tenant, "environment": ENVIRONMENTS[0], "workflow": WORKFLOW, "run": self.run,
            "scope": GRANTS, "ttl_seconds": LIFE.as_secs(), "reason": REASON,
        });
        let minted = self.admin.post("/tokens", &ask).await.context("minting a token")?;
        let token = field(&minted, "token");
        anyhow::ensure!(!token.is_empty(), "the server's answer has no token");
        Ok(token)
    }

    fn plan(&self, (a, b, dead): (&str, &str, &str), account: &str) -> Result<Plan> {
        let text = self.file((a, b, dead), account);
        Plan::parse("bulkhead", &text).context("the plan of the run")
    }

    /// With TLS: where the listeners' names are, and what vouches for them.
    fn pinned(&self) -> String {
        let Some((at, _)) = self.data.pinned.as_ref().or(self.control.pinned.as_ref()) else {
            return String::new();
        };
        let ca = self.bundle.as_ref().map(|file| file.path().display().to_string());
        let ca = ca.map(|path| format!("ca = {}\n", Value::from(path))).unwrap_or_default();
        format!("connect = {}\n{ca}", Value::from(at.ip().to_string()))
    }

    /// As somebody would write it who has these credentials.
    fn file(&self, (a, b, dead): (&str, &str, &str), account: &str) -> String {
        let text = |value: &str| Value::from(value).to_string();
        let [name_a, name_b] = TENANTS;
        format!(
            "[budget]\nrequests = 100000\nminutes = 12.0\n\n\
             [tenant.a]\ntoken = {a}\nexpired = {dead}\nnames = {names_a}\n\n\
             [tenant.b]\ntoken = {b}\nnames = {names_b}\n\n\
             [target.bulkhead]\nkind = \"bulkhead\"\nurl = {data}\ncontrol = {control}\n{pinned}\
             operator = {operator}\nmodel = {chat}\nmessages_model = {message}\n\
             similar_model = {similar}\nengine_model = {engine}\nembedding_model = {embed}\n\
             run = {run}\nenvironments = {environments}\nhidden = {hidden}\n",
            a = text(a),
            b = text(b),
            dead = text(dead),
            names_a = json!([name_a, alias(name_a)]),
            names_b = json!([name_b, alias(name_b)]),
            pinned = self.pinned(),
            data = text(&self.data.url),
            control = text(&self.control.url),
            operator = text(&self.operator),
            chat = text(CHAT),
            message = text(MESSAGE),
            similar = text(SIMILAR),
            engine = text(OWN_ENGINE),
            embed = text(EMBED),
            run = text(&self.run),
            environments = json!(ENVIRONMENTS),
            hidden = json!([account]),
        )
    }
}

/// Whether a tenant is as this makes it. One that is not was made by somebody, before such names
/// were the deployment's own: it is not touched. A name may be another's alias, too.
fn ours(known: &Value, id: &str) -> Result<()> {
    let names = |of: &str| {
        let names = known[of].as_array().map_or(&[][..], Vec::as_slice);
        names.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>()
    };
    let alias = alias(id);
    let why = if known["id"] != id {
        format!("it is a name of {}", field(known, "id"))
    } else if names("aliases") != BTreeSet::from([alias.as_str()]) {
        format!("its aliases are not just {alias}")
    } else if names("environments") != BTreeSet::from(ENVIRONMENTS) {
        format!("its environments are not {}", ENVIRONMENTS.join(" and "))
    } else {
        return Ok(());
    };
    anyhow::bail!("a tenant of this name is somebody's: {why}; it was not touched")
}

/// What the listeners show, in one file.
fn bundle(endpoints: [&Endpoint; 2]) -> Result<Option<tempfile::NamedTempFile>> {
    let mut pem = Vec::new();
    for (_, path) in endpoints.iter().filter_map(|endpoint| endpoint.pinned.as_ref()) {
        pem.extend(std::fs::read(path).with_context(|| path.display().to_string())?);
        pem.push(b'\n');
    }
    if pem.is_empty() {
        return Ok(None);
    }
    let mut file = tempfile::NamedTempFile::new().context("the certificates")?;
    file.write_all(&pem).context("the certificates")?;
    Ok(Some(file))
}

fn alias(tenant: &str) -> String {
    format!("org-{tenant}")
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::{body::Incoming, service::service_fn};
    use hyper_util::rt::TokioIo;
    use server::selfprobe::Depth;
    use tokio::net::TcpListener;

    use super::*;

    /// What was asked of an admin API: methods and paths.
    type Asked = std::sync::Mutex<Vec<String>>;

    /// An admin API in which every tenant is like this one. What is revoked there fails.
    #[expect(clippy::disallowed_methods, reason = "a server of one test, for no tenant")]
    async fn api(tenant: Value) -> (Endpoint, Arc<Asked>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Asked>::default();
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, tenant) = (Arc::clone(&heard), tenant.clone());
                let answer = move |request: Request<Incoming>| {
                    let (path, mut known) = (request.uri().path().to_owned(), tenant.clone());
                    heard.lock().unwrap().push(format!("{} {path}", request.method()));
                    if path.contains(TENANTS[1]) && known["id"] == TENANTS[0] {
                        known["id"] = TENANTS[1].into();
                        known["aliases"] = json!([alias(TENANTS[1])]);
                    }
                    let mut response = Response::new(Full::<bytes::Bytes>::from(known.to_string()));
                    if path.ends_with("/revoke") {
                        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                    }
                    async move { Ok::<_, Infallible>(response) }
                };
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer)),
                );
            }
        });
        (Endpoint { url, pinned: None }, asked)
    }

    fn cast(at: &Endpoint) -> Cast {
        // As `main` does; another test may have.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let commission = Commission {
            data: at.clone(),
            control: at.clone(),
            operator: scope::Secret::draw(scope::Kind::Operator, &OsEntropy),
            depth: Depth::Quick,
            flood: false,
            only: Vec::new(),
            seed: None,
            stop: Arc::default(),
            progress: Arc::default(),
        };
        Cast::of(&commission).unwrap()
    }

    fn own() -> Value {
        json!({ "id": TENANTS[0], "aliases": [alias(TENANTS[0])], "environments": ENVIRONMENTS,
            "status": "suspended" })
    }

    #[tokio::test]
    async fn a_tenant_of_somebodys_is_not_touched() {
        for (what, value) in [
            ("id", json!("acme")),
            ("aliases", json!([])),
            ("aliases", json!([alias(TENANTS[0]), "acme"])),
            ("environments", json!(["live"])),
            ("environments", json!(["probe", "probe-other", "live"])),
        ] {
            let mut theirs = own();
            theirs[what] = value;
            let (at, asked) = api(theirs).await;
            let cast = cast(&at);
            let why = cast.tenant(TENANTS[0]).await.unwrap_err().to_string();
            assert!(why.starts_with("a tenant of this name is somebody's: "), "{why}");
            cast.end(TENANTS[0]).await.unwrap_err();
            let asked = asked.lock().unwrap();
            assert!(asked.iter().all(|asked| asked.starts_with("GET ")), "{asked:?}");
        }
        let (at, asked) = api(own()).await;
        cast(&at).tenant(TENANTS[0]).await.unwrap();
        assert!(asked.lock().unwrap().iter().any(|asked| asked.ends_with("-a/resume")));
    }

    /// An answer that is an error keeps nothing else from being voided.
    #[tokio::test]
    async fn every_step_of_leaving_is_tried() {
        let (at, asked) = api(own()).await;
        let why = format!("{:#}", cast(&at).leave().await.unwrap_err());
        assert!(why.contains(TENANTS[0]), "{why}");
        let asked = asked.lock().unwrap();
        for tenant in TENANTS {
            for step in ["revoke", "suspend"] {
                let step = format!("POST /admin/v1/tenants/{tenant}/{step}");
                assert!(asked.contains(&step), "{step}: {asked:?}");
            }
        }
    }
}
