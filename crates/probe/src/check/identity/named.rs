//! One tenant's credential, and the other one's name: in headers, in the address, in the body.

use serde_json::{Value, json};

use super::{Heard, Left, Thing, apart, ask, forged, heard, owner, secret, served};
use crate::{
    canary::Side,
    drive::app::naming as naming_by,
    lab::Caller,
    place::Twist,
    run::Depth,
    target::Auth,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// Headers by which proxies and SDKs name a tenant.
const TENANT_HEADERS: &[&str] = &[
    "x-tenant-id",
    "x-tenant",
    "x-org-id",
    "x-organization-id",
    "x-account-id",
    "x-workspace-id",
    "openai-organization",
    "openai-project",
];
/// Fields, of the body or the address, that name a tenant.
const TENANT_FIELDS: &[&str] =
    &["tenant_id", "tenant", "org_id", "organization_id", "workspace_id", "user"];
/// Headers by which proxies name a person, or somebody acts for another.
const PERSON_HEADERS: &[&str] = &[
    "x-user-email",
    "x-user-id",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-auth-request-email",
    "x-remote-user",
    "x-impersonate-user",
    "x-on-behalf-of",
    "x-tenant-id",
];
/// Fields that name a person.
const PERSON_FIELDS: &[&str] = &["user", "email", "user_id", "on_behalf_of", "impersonate"];

/// B's credential naming A's tenant.
pub(super) async fn tenant(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let names = names(left, Side::A, |name| !name.contains('@'))?;
    let twists = |own: &Exchange| twists(own, TENANT_HEADERS, TENANT_FIELDS, &names);
    naming(left, trial, Side::B, "served A's to B that names A", twists).await
}

/// A's credential naming B, or one of B's people.
pub(super) async fn person(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    if !left.place.takes_headers() {
        return by_user(left, trial).await;
    }
    let mut names = names(left, Side::B, |_| true)?;
    names.sort_by_key(|name| !name.contains('@'));
    let twists = |own: &Exchange| twists(own, PERSON_HEADERS, PERSON_FIELDS, &names);
    naming(left, trial, Side::A, "served B's to A that names B", twists).await
}

/// `attacker` names the other one, asking for what is the other one's.
async fn naming(
    left: &mut Left<'_>,
    trial: &mut Trial,
    attacker: Side,
    what: &str,
    twists: impl Fn(&Exchange) -> Vec<(String, Twist)>,
) -> Result<(), Halt> {
    let victim = attacker.other();
    let (thing, mine) = (left.plant(victim).await?, left.plant(attacker).await?);
    let Some(own) = owner(left, trial, victim, &thing).await? else { return Ok(()) };
    let known = owner(left, trial, attacker, &mine).await?;
    if known.is_none() || !apart(left, trial, attacker, &thing).await? {
        return Ok(());
    }
    let mut twists = twists(&own);
    // Where the file says how a tenant is named, that is a way, too.
    twists.extend(naming_by(left.lab, victim).map(|twist| ("{tenant}".to_owned(), twist)));
    for (name, twist) in &twists {
        let label = format!("{}, naming {} by {name}", attacker.name(), victim.name());
        let by = Caller { label, ..left.lab.caller(attacker).clone() };
        let (heard, exchange) = ask(left, trial, &by, &thing, twist).await?;
        if heard == Heard::Served {
            served(trial, &format!("{what} by {name}"), &thing, &[&own, &exchange]);
        }
    }
    if left.lab.target.auth == Auth::Basic {
        shared_password(left, trial, (attacker, &thing, &own)).await?;
    }
    let refused = contradicted(left, trial, (attacker, &mine), &twists).await?;
    owner(left, trial, victim, &thing).await?;
    owner(left, trial, attacker, &mine).await?;
    let tried = twists.len();
    trial.summary(match refused {
        true => format!("{tried} ways of naming another: refused"),
        false => format!("{tried} ways of naming another: ignored, not refused"),
    });
    Ok(())
}

/// Whether naming another is refused also where one asks for one's own.
async fn contradicted(
    left: &Left<'_>,
    trial: &mut Trial,
    (attacker, mine): (Side, &Thing),
    twists: &[(String, Twist)],
) -> Result<bool, Halt> {
    let Some((_, twist)) = twists.first() else { return Ok(false) };
    let by = left.lab.caller(attacker);
    let exchange = left.read(trial, by, &mine.planted, twist).await?;
    Ok(heard(left, &exchange, mine) == Heard::Refused)
}

/// The other one's user name with one's own password.
async fn shared_password(
    left: &Left<'_>,
    trial: &mut Trial,
    (attacker, thing, own): (Side, &Thing, &Exchange),
) -> Result<(), Halt> {
    let lab = left.lab;
    let user = secret(lab, attacker.other()).split_once(':').map(|(user, _)| user);
    let password = secret(lab, attacker).split_once(':').map(|(_, password)| password);
    let (Some(user), Some(password)) = (user, password) else { return Ok(()) };
    let mixed = format!("{user}:{password}");
    if mixed == secret(lab, attacker.other()) || mixed == secret(lab, attacker) {
        return Ok(());
    }
    let shown = format!("{user}:${}[password]", attacker.name().to_uppercase());
    let label = format!("{}'s name, {}'s password", attacker.other().name(), attacker.name());
    let by = forged(lab, attacker.other(), &label, &mixed, Some(&shown));
    let (heard, exchange) = ask(left, trial, &by, thing, &Twist::none()).await?;
    if heard == Heard::Served {
        served(trial, "another's password passes for one's own", thing, &[own, &exchange]);
    }
    Ok(())
}

/// Where there are no headers: A's password for B's user.
async fn by_user(left: &mut Left<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = (left.plant(Side::A).await?, left.plant(Side::B).await?);
    let Some(own) = owner(left, trial, Side::B, &b).await? else { return Ok(()) };
    let known = owner(left, trial, Side::A, &a).await?;
    if known.is_none() || !apart(left, trial, Side::A, &b).await? {
        return Ok(());
    }
    let password = secret(left.lab, Side::A).to_owned();
    let by = forged(left.lab, Side::B, "b's name, a's password", &password, Some("$A"));
    let (heard, exchange) = ask(left, trial, &by, &b, &Twist::none()).await?;
    if heard == Heard::Served {
        served(trial, "A's credential passes for B's", &b, &[&own, &exchange]);
    }
    owner(left, trial, Side::B, &b).await?;
    trial.summary("A's password for B's user: refused");
    Ok(())
}

/// What a tenant is called; the kind that is asked for, or whatever there is.
fn names(left: &Left<'_>, side: Side, fit: fn(&str) -> bool) -> Result<Vec<String>, Halt> {
    let known = left.lab.target.known(side).map(|tenant| tenant.names.clone());
    let mut known = known.unwrap_or_default();
    // Of few that are tried, one is an address of a person.
    known.sort_by_key(|name| !name.contains('@'));
    if known.is_empty() {
        let side = side.name();
        return Err(Halt::Lacking(format!("say what tenant {side} is called: names = [\"…\"]")));
    }
    let most = if left.lab.options.depth == Depth::Quick { 3 } else { 8 };
    let fitting: Vec<String> = known.iter().filter(|name| fit(name)).take(most).cloned().collect();
    if !fitting.is_empty() {
        return Ok(fitting);
    }
    Ok(known.into_iter().take(most).collect())
}

/// Every way of naming somebody, one a request: a target that refuses one of them may believe
/// another.
fn twists(
    own: &Exchange,
    headers: &[&str],
    fields: &[&str],
    names: &[String],
) -> Vec<(String, Twist)> {
    let body = own.body.as_deref().and_then(|body| serde_json::from_slice::<Value>(body).ok());
    let has_body = body.is_some_and(|body| body.is_object());
    let mut twists = Vec::new();
    for name in names {
        let headers =
            headers.iter().map(|header| ((*header).to_owned(), Twist::header(header, name)));
        twists.extend(headers);
        for field in fields {
            let query = vec![((*field).to_owned(), name.clone())];
            twists.push((format!("?{field}"), Twist { query, ..Twist::none() }));
            if has_body {
                let fields = vec![((*field).to_owned(), json!(name))];
                twists.push((format!("`{field}`"), Twist { fields, ..Twist::none() }));
            }
        }
    }
    twists
}
