//! What a request says about itself besides its credential. It decides nothing; it may only
//! agree.

/// What a claim names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// A tenant, by id or alias.
    Tenant,
    /// An environment.
    Environment,
}

/// A header, field or argument that names a tenant or an environment.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Where it stands, for the error: `header x-tenant-id`, `body metadata.tenant_id`.
    pub place: &'a str,
    /// What it names.
    pub names: Names,
    /// What it says.
    pub value: &'a str,
}
