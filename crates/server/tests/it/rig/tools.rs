//! Tools in the rig: accounts in the CRM, credentials for it, and calls.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{ENVIRONMENTS, Headers, Reply, Rig};

/// A tenant's account in the CRM.
pub(crate) fn account_of(tenant: &str) -> String {
    format!("acct-{tenant}")
}

/// The credential that a tenant's environment has there.
pub(crate) fn crm_secret(tenant: &str, environment: &str, upstream: &str) -> String {
    format!("key-{upstream}-{tenant}-{environment}-0123456789abcdef")
}

/// The code of a failure of a tool; empty for an answer.
pub(crate) fn failure(result: &Value) -> &str {
    match result["isError"] == true {
        true => result["_meta"]["bulkhead/code"].as_str().unwrap_or("upstream"),
        false => "",
    }
}

impl Rig {
    /// Gives a tenant its account in the CRM, and a credential for it in each environment.
    pub(crate) async fn tooled(&self, tenant: &str) {
        let accounts = json!({"accounts": {"crm": [account_of(tenant)]}});
        let path = format!("/admin/v1/tenants/{tenant}");
        self.admin(Method::PATCH, &path, accounts).await.good();
        for environment in ENVIRONMENTS {
            for upstream in ["crm", "crm-mcp"] {
                let body = json!({"secret": crm_secret(tenant, environment, upstream)});
                self.set_credential_of(upstream, tenant, environment, body).await.good();
            }
        }
    }

    /// Lets the CRM answer one call that waits.
    pub(crate) fn crm_goes_on(&self) {
        self.crm.release();
    }

    /// One message to `/mcp`, of the version with `initialize`.
    pub(crate) async fn mcp(&self, token: &str, message: Value) -> Reply {
        self.mcp_with(token, &[("mcp-protocol-version", "2025-11-25")], message.to_string()).await
    }

    pub(crate) async fn mcp_with(
        &self,
        token: &str,
        headers: Headers<'_>,
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut all = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        all.extend_from_slice(headers);
        self.call(token, Method::POST, "/mcp", &all, body).await
    }

    /// A call of a tool: its result.
    pub(crate) async fn tool(&self, token: &str, name: &str, arguments: Value) -> Value {
        self.tool_with(token, name, arguments, json!({})).await
    }

    pub(crate) async fn tool_with(
        &self,
        token: &str,
        name: &str,
        arguments: Value,
        meta: Value,
    ) -> Value {
        let params = json!({"name": name, "arguments": arguments, "_meta": meta});
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        let reply = self.mcp(token, call).await.good().json();
        assert_eq!(reply["id"], 7, "{reply}");
        reply["result"].clone()
    }
}
