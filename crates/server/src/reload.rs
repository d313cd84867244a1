//! Reading certificates, keys and policies again while serving: what SIGHUP asks for.

use std::sync::Arc;

use scope::{AuditSink as _, Entry};

use crate::{App, tls::Certificate};

/// What a reload did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Files, or pairs of them, that are in force as they are now.
    pub read: usize,
    /// Those that were refused, or could not be read: what was read before stays in force.
    pub kept: usize,
}

impl Reloaded {
    fn note(&mut self, what: &'static str, outcome: Result<(), (&'static str, String)>) {
        match outcome {
            Ok(()) => {
                self.read += 1;
                tracing::info!(what, "read again, and in force");
            }
            Err((code, error)) => {
                self.kept += 1;
                tracing::error!(
                    what,
                    code,
                    error,
                    "not reloaded: what was read before stays in force"
                );
            }
        }
    }
}

/// Reloads whatever was read from files, one by one: a bad one does not keep another back.
pub(crate) async fn all(app: &App, certificates: &[Option<Arc<Certificate>>; 2]) -> Reloaded {
    let mut done = Reloaded::default();
    for (what, certificate) in ["the data plane's certificate", "the control plane's certificate"]
        .into_iter()
        .zip(certificates)
    {
        if let Some(certificate) = certificate.clone() {
            let read = move || certificate.reload().map_err(|e| (e.code(), e.to_string()));
            done.note(what, recorded(app, "certificate.reload", what, read).await);
        }
    }
    if app.settings.policy.file.is_some() {
        let gate = Arc::clone(&app.gate);
        let read =
            move || gate.policies().reload().map(drop).map_err(|e| (e.code(), e.to_string()));
        done.note("the policies", recorded(app, "policy.reload", "policy", read).await);
    }
    done
}

/// Does what blocks once the deployment's log has it, as with everything that an operator does.
async fn recorded(
    app: &App,
    action: &str,
    target: &str,
    read: impl FnOnce() -> Result<(), (&'static str, String)> + Send + 'static,
) -> Result<(), (&'static str, String)> {
    let entry = Entry::allowed("bulkhead", action, target).because("SIGHUP");
    let entered = app.audit.record_deployment(&app.system, entry).await;
    entered.map_err(|error| ("scope.unavailable", error.to_string()))?;
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(("internal", e.to_string())))
}
