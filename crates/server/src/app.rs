//! What handlers work with.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use cache::{Cache, Semantic, State};
use directory::Registry;
use gate::Gate;
use http::HeaderValue;
use ids::{Clock, Entropy, Millis};
use memory::Memory;
use model::ModelHop;
use records::{Audit, Recorder};
use reviews::Reviews;
use scope::{Doors, SystemScope, TokenKeys};
use store::Store;
use tools::{ToolKeys, Tools};
use vault::{Credentials, Vault};

use crate::{
    Error, Settings,
    data::mcp::Calls,
    extract::Extract,
    load::Load,
    metrics::Metrics,
    routes::{Need, ROUTES},
};

/// Where tools are, as a resource of its own (RFC 9728, section 3.1).
pub(crate) const MCP: &str = "/mcp";

/// Grants of no route: `memory:subjects` lets its holder reach what every end user of the tenant
/// keeps; which tools lose something, contracts say.
const LIFTING: [&str; 2] = ["memory:subjects", "tools:destructive"];

/// Everything that one deployment consists of.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) started: Millis,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) credentials: Credentials,
    pub(crate) registry: Registry,
    pub(crate) doors: Arc<Doors>,
    pub(crate) keys: Arc<TokenKeys>,
    pub(crate) audit: Audit,
    pub(crate) recorder: Recorder,
    pub(crate) gate: Arc<Gate>,
    pub(crate) cache: Cache,
    pub(crate) state: State,
    pub(crate) semantic: Semantic,
    pub(crate) model: ModelHop,
    pub(crate) memory: Memory,
    pub(crate) reviews: Reviews,
    pub(crate) tools: Tools,
    pub(crate) assertion_keys: ToolKeys,
    pub(crate) receipt_keys: ToolKeys,
    /// Calls of tools that are under way.
    pub(crate) calls: Calls,
    pub(crate) load: Load,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) extract: Extract,
    pub(crate) system: SystemScope,
    pub(crate) ready: AtomicBool,
    pub(crate) public: OnceLock<Public>,
    /// Which providers' credentials are shared.
    pub(crate) shared: crate::control::models::Shared,
    /// What the restore did that was finished while opening.
    pub(crate) restored: parking_lot::Mutex<Option<crate::Restored>>,
    /// Held while signing keys change.
    pub(crate) signing: tokio::sync::Mutex<()>,
    /// What probes this deployment from outside.
    pub(crate) selfprobe: crate::selfprobe::SelfProbe,
    /// Tenants whose erasure has begun and is not at its end.
    pub(crate) erasing: crate::erase::Erasing,
}

/// How the data plane is known outside; decided once it has an address.
pub(crate) struct Public {
    resource: String,
    challenge: HeaderValue,
    mcp_challenge: HeaderValue,
}

impl Public {
    /// A resource's metadata and the challenge that points to it (RFC 9728, section 5.1).
    pub(crate) fn new(resource: String) -> Result<Self, Error> {
        let at = resource.trim_end_matches('/');
        let challenge = |of: &str| {
            let told = format!(
                "Bearer resource_metadata=\"{at}/.well-known/oauth-protected-resource{of}\""
            );
            HeaderValue::from_str(&told).map_err(|_| Error::settings("identity.resource", "a URL"))
        };
        let (challenge, mcp_challenge) = (challenge("")?, challenge(MCP)?);
        Ok(Self { resource, challenge, mcp_challenge })
    }
}

impl App {
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The URL of the data plane.
    pub(crate) fn resource(&self) -> &str {
        self.public.get().map_or("", |public| public.resource.as_str())
    }

    /// What `WWW-Authenticate` says on the data plane, at this path.
    pub(crate) fn challenge(&self, path: &str) -> Option<&HeaderValue> {
        let public = self.public.get()?;
        Some(if path == MCP { &public.mcp_challenge } else { &public.challenge })
    }

    /// Every grant that there is: those that a route needs, and those that lift a bound.
    pub(crate) fn grants(&self) -> Vec<&'static str> {
        let mut grants: Vec<_> = ROUTES
            .iter()
            .filter_map(|route| match route.need() {
                Need::Tenant(grant) => Some(grant),
                _ => None,
            })
            .chain(LIFTING)
            .collect();
        grants.sort_unstable();
        grants.dedup();
        grants
    }
}
