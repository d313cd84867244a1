//! The deployment's own scope: maintenance that belongs to no tenant.

use std::future::Future;

use tokio::task::JoinHandle;

/// What maintenance is for. The list says what may run without a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// Opening files, keys and registries when the process starts.
    Start,
    /// The registry of tenants and credentials.
    Directory,
    /// The deployment's own audit log.
    Audit,
    /// Wrapping, rotating and destroying keys.
    Keys,
    /// Backup, restore, integrity checks, and sweeping what has expired.
    Storage,
    /// An operator's action on the whole deployment.
    Administration,
}

/// Proof that code runs for the deployment itself. It opens the deployment's own partition
/// and no tenant's.
#[must_use]
#[derive(Debug)]
pub struct SystemScope(Maintenance);

impl SystemScope {
    /// Claims it. Banned by `clippy.toml`: each place that may do it says so with an
    /// `#[expect]` and a reason.
    pub const fn claim(purpose: Maintenance) -> Self {
        Self(purpose)
    }

    /// What for.
    #[must_use]
    pub const fn purpose(&self) -> Maintenance {
        self.0
    }

    /// Spawns a maintenance task, handing it the scope.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns without a tenant")]
    pub fn spawn<F, Fut>(self, task: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output: Send> + Send + 'static,
    {
        tokio::spawn(task(self))
    }
}
