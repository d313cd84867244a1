//! Sessions: a session is a name, and whoever has the name has nothing by it.

use http::Method;

use super::bench::{Bench, Own};
use crate::{
    canary::Side,
    drive::{
        app::told,
        mcp::{SESSION, Version, Way, Within, result},
    },
    lab::Caller,
    verdict::{Halt, Trial},
    wire::Exchange,
};

/// A stream that says nothing is listened to for so long.
const LISTEN: std::time::Duration = std::time::Duration::from_millis(400);

/// A reads its own and B its own, in sessions; then B, and nobody, in A's.
pub(super) async fn reused(bench: &Bench<'_>, trial: &mut Trial) -> Result<(), Halt> {
    let (a, b) = bench.both().await?;
    let way = bench.way()?;
    let none = crate::place::Twist::none();
    let (hello, name) = bench.mcp.open(bench.lab, bench.by(Side::A), &none).await?;
    bench.pass(trial, &hello);
    let name = name.or(bench.lab.options.dry_run.then(|| "example".to_owned()));
    let ring = Ring { bench, way: &way };
    let Some(name) = name else { return ring.without(trial, (&a, &b), &hello).await };
    let (_, theirs) = bench.mcp.open(bench.lab, bench.by(Side::B), &none).await?;
    let theirs = theirs.unwrap_or_else(|| name.clone());
    let mine = ring.read(trial, (bench.by(Side::A), &a), &name).await?;
    let own = ring.read(trial, (bench.by(Side::B), &b), &theirs).await?;
    trial.positive(a.seen_in(&mine).is_some(), "a works in its own session");
    trial.positive(b.seen_in(&own).is_some(), "b works in its own session");
    // Where any name will do there are no sessions that could be taken over.
    let unknown: String = name.chars().rev().collect();
    let nowhere = ring.read(trial, (bench.by(Side::B), &b), &unknown).await?;
    let refused = b.seen_in(&nowhere).is_none();
    trial.negative(refused, "a session that nobody opened is refused");
    ring.entered(trial, (&a, &b), (&name, &hello), refused).await?;
    ring.listened(trial, (&name, &unknown)).await?;
    ring.ended(trial, &a, &name).await?;
    for (side, name) in [(Side::A, &name), (Side::B, &theirs)] {
        let _cleaning = bench.lab.wire.cleaning();
        // It may be gone, or end by itself.
        let _ = bench.lab.send(bench.by(side), bench.mcp.bare(Method::DELETE, name)).await;
    }
    trial.summary("A's session is refused to B and to nobody: calls, stream and end");
    Ok(())
}

/// Who asks whom, and how.
struct Ring<'a> {
    bench: &'a Bench<'a>,
    way: &'a Way,
}

impl Ring<'_> {
    /// Asks for a record, in this session.
    async fn read(
        &self,
        trial: &mut Trial,
        (by, own): (&Caller, &Own),
        session: &str,
    ) -> Result<Exchange, Halt> {
        let side = by.side.unwrap_or(Side::B);
        let message = self.bench.asking(self.way, (side, own))?.version(Version::Sessions);
        let message = message.within(Within::Named(session.to_owned()));
        let exchange = self.bench.say(by, &message).await?;
        self.bench.pass(trial, &exchange);
        Ok(exchange)
    }

    /// In A's session: B for its own and for A's, and somebody with nothing but the session.
    async fn entered(
        &self,
        trial: &mut Trial,
        (a, b): (&Own, &Own),
        (name, hello): (&str, &Exchange),
        refused: bool,
    ) -> Result<(), Halt> {
        let bench = self.bench;
        let nobody = Caller { label: "nobody, in a's session".into(), ..bench.lab.nobody() };
        for (by, own) in [(bench.by(Side::B), b), (bench.by(Side::B), a), (&nobody, a)] {
            let exchange = self.read(trial, (by, own), name).await?;
            let who = if by.side.is_some() { "B" } else { "whoever has its name" };
            let what = format!("{who} reads A's in A's session");
            let proof = [hello, &exchange];
            let leaked = bench.attacked(trial, (a, &what), &proof);
            if !leaked && refused && own.side == Side::B && b.seen_in(&exchange).is_some() {
                trial.leak("B works in A's session", &proof);
            }
        }
        let after = self.read(trial, (bench.by(Side::A), a), name).await?;
        let what = "A got B's in its session, after B was in it";
        bench.attacked(trial, (b, what), &[hello, &after]);
        Ok(())
    }

    /// B listens to what the server says to A.
    async fn listened(&self, trial: &mut Trial, (name, unknown): (&str, &str)) -> Result<(), Halt> {
        let bench = self.bench;
        let mut heard = Vec::new();
        for (side, session) in [(Side::A, name), (Side::B, unknown), (Side::B, name)] {
            let mut request = bench.mcp.bare(Method::GET, session);
            request.timeout = LISTEN;
            let exchange = bench.lab.send(bench.by(side), request).await?;
            bench.pass(trial, &exchange);
            heard.push(exchange);
        }
        let [own, none, crossed] = &heard[..] else { return Ok(()) };
        if own.accepted() && !none.accepted() {
            trial.attacked();
            if crossed.accepted() {
                trial.leak("B listens in on A's session", &[own, none, crossed]);
            }
        }
        Ok(())
    }

    /// B ends A's session.
    async fn ended(&self, trial: &mut Trial, a: &Own, name: &str) -> Result<(), Halt> {
        let bench = self.bench;
        let before = self.read(trial, (bench.by(Side::A), a), name).await?;
        let ended = bench.lab.send(bench.by(Side::B), bench.mcp.bare(Method::DELETE, name)).await?;
        bench.pass(trial, &ended);
        let after = self.read(trial, (bench.by(Side::A), a), name).await?;
        let anew = bench.read(trial, self.way, (Side::A, a)).await?;
        match (a.seen_in(&before).is_some(), a.seen_in(&after).is_some(), a.seen_in(&anew)) {
            (true, false, Some(_)) if !after.inconclusive() => {
                trial.attacked();
                trial.leak("B ended A's session", &[&before, &ended, &after]);
            }
            (true, true, _) => trial.attacked(),
            _ => trial.doubt(format!("A, after B ended its session: {}", told(&after))),
        }
        Ok(())
    }

    /// A server without sessions: a name of one changes nothing, whoever made it up.
    async fn without(
        &self,
        trial: &mut Trial,
        (a, b): (&Own, &Own),
        hello: &Exchange,
    ) -> Result<(), Halt> {
        let bench = self.bench;
        bench.each_its_own(trial, self.way, (a, b)).await?;
        let version = match result(hello).is_some() {
            true => Version::Sessions,
            false => Version::Stateless,
        };
        let made_up = format!("{}-{}", bench.lab.canaries.run(), bench.lab.below(1_000_000));
        let nobody = Caller { label: "nobody, with a session".into(), ..bench.lab.nobody() };
        for (by, own) in [(bench.by(Side::A), a), (bench.by(Side::B), a), (&nobody, a)] {
            let side = by.side.unwrap_or(Side::B);
            let message = bench.asking(self.way, (side, own))?.version(version);
            let message = message.within(Within::Named(made_up.clone()));
            let exchange = bench.say(by, &message).await?;
            bench.pass(trial, &exchange);
            if side == Side::A {
                continue;
            }
            let what = "A's is read by whoever names A's session";
            bench.attacked(trial, (a, what), &[&exchange]);
            if exchange.header(SESSION).is_some_and(|name| name == made_up) {
                trial.doubt("a made-up session is taken for one");
            }
        }
        trial.summary("no sessions are made, and a name of one changes nothing");
        Ok(())
    }
}
