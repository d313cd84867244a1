//! A stack that leaks on purpose, in this process: every class of leak, each with a switch, and
//! its fixed twin. It is a stand-in, and says so; it is also what the prober is tested with.

mod app;
mod gateway;
mod mcp;
mod redis;
pub(crate) mod vectors;

use std::{collections::BTreeSet, sync::Arc};

use tokio::task::JoinSet;

use crate::{Error, Plan, catalog::Check};

/// One thing that can be wrong with the stack.
#[derive(Debug)]
pub struct Flaw {
    /// Its switch.
    pub name: &'static str,
    /// The check that must find it.
    pub check: &'static Check,
    /// Checks that may find it, too.
    pub also: &'static [&'static Check],
    /// What is done wrong, as one would write it by mistake.
    pub what: &'static str,
}

/// What is wrong with a stack.
#[derive(Clone, Debug, Default)]
pub struct Flaws(BTreeSet<&'static str>);

impl Flaws {
    /// Nothing: the fixed twin.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(flaws().map(|flaw| flaw.name).collect())
    }

    /// One thing alone.
    #[must_use]
    pub fn one(name: &'static str) -> Self {
        Self([name].into())
    }

    /// These, by their names. `None` if one of them is no flaw.
    #[must_use]
    pub fn named(names: &[String]) -> Option<Self> {
        let known = |name: &String| flaws().map(|flaw| flaw.name).find(|known| known == name);
        names.iter().map(known).collect::<Option<BTreeSet<_>>>().map(Self)
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|name| (*name).to_owned()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// Everything that can be wrong.
pub fn flaws() -> impl Iterator<Item = &'static Flaw> {
    [gateway::FLAWS, app::FLAWS, mcp::FLAWS, vectors::FLAWS, redis::FLAWS].into_iter().flatten()
}

/// The stack's two customers, with credentials of this run alone.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) a: String,
    pub(crate) b: String,
    /// Was a's, and is dead.
    pub(crate) expired: String,
}

/// A stack that runs until this is dropped.
pub struct Stack {
    file: String,
    _tasks: JoinSet<()>,
}

impl Stack {
    /// Starts one on loopback.
    ///
    /// # Errors
    /// No port is to be had.
    pub async fn start(flaws: Flaws) -> Result<Self, Error> {
        // Clients are made in it; whoever starts it may have none yet.
        let _known = rustls::crypto::ring::default_provider().install_default();
        let draw = |of: &str| format!("tok-{of}-{}", ids::RandomId::draw(&ids::OsEntropy));
        let cast = Arc::new(Cast { a: draw("a"), b: draw("b"), expired: draw("a") });
        let (flaws, mut tasks) = (Arc::new(flaws), JoinSet::new());
        let Cast { a, b, expired } = &*cast;
        let mut file = format!(
            "[budget]\nrequests = 200000\nusd = 5.0\nminutes = 10.0\n\n\
             [tenant.a]\ntoken = \"{a}\"\nexpired = \"{expired}\"\nnames = [\"acme\", \"org_acme\", \"ops@acme.test\"]\n\n\
             [tenant.b]\ntoken = \"{b}\"\nnames = [\"globex\", \"org_globex\", \"ops@globex.test\"]\n\n"
        );
        file.push_str(&gateway::start(&cast, &flaws, &mut tasks).await?);
        file.push_str(&app::start(&cast, &flaws, &mut tasks).await?);
        file.push_str(&mcp::start(&cast, &flaws, &mut tasks).await?);
        file.push_str(&vectors::start(&cast, &flaws, &mut tasks).await?);
        file.push_str(&redis::start(&cast, &flaws, &mut tasks).await?);
        Ok(Self { file, _tasks: tasks })
    }

    /// The target file that names it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What that says.
    ///
    /// # Errors
    /// Never, if the stack is right.
    pub fn plan(&self) -> Result<Plan, Error> {
        Plan::parse("the demo", &self.file)
    }
}
