//! A credential in the address, where logs, caches and referrers have it (MCP, Authorization: access
//! tokens must not be in the query).

use super::bench::Bench;
use crate::{
    canary::Side,
    lab::Caller,
    place::Twist,
    target::Credential,
    verdict::{Halt, Trial},
};

/// What such parameters are called.
const NAMES: [&str; 6] = ["access_token", "token", "api_key", "apikey", "key", "authorization"];

/// A's credential in the query and nowhere else. Only done on this machine.
pub(super) async fn by_query(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let a = bench.own(Side::A).await?;
    let way = bench.way()?;
    let own = bench.read(trial, &way, (Side::A, &a)).await?;
    trial
        .positive(a.seen_in(&own).is_some(), "a gets its own with its credential where it belongs");
    let Some(secret) = bench.by(Side::A).credential.as_ref().map(Credential::expose) else {
        return Err(Halt::Lacking("a has no credential of its own".into()));
    };
    let message = bench.asking(&way, (Side::A, &a))?;
    let nonsense: String = secret.chars().rev().collect();
    for (secret, real) in [(nonsense.as_str(), false), (secret, true)] {
        for name in NAMES {
            let value = match name {
                "authorization" => format!("Bearer {secret}"),
                _ => secret.to_owned(),
            };
            let by = Caller { label: format!("a by ?{name}"), ..bench.lab.nobody() };
            let twist = Twist { query: vec![(name.to_owned(), value)], ..Twist::none() };
            let exchange = bench.mcp.send(bench.lab, &by, &message, &twist).await?;
            bench.pass(trial, &exchange);
            let seen = a.seen_in(&exchange);
            if !real {
                trial.negative(seen.is_none(), "nonsense in the address is served, too");
            } else if let Some(seen) = seen {
                trial.attacked();
                trial.leaked(
                    &format!("?{name} is taken for a credential"),
                    &seen,
                    &[&own, &exchange],
                );
            } else {
                bench.attacked(trial, (&a, "?"), &[&exchange]);
            }
        }
    }
    trial.summary(format!("{} names of a parameter: none is a credential", NAMES.len()));
    Ok(())
}
