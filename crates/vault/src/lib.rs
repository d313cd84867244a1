//! Floor 3: keys, sealing, and tenants' outside credentials.
//!
//! The second lock of every surface. What belongs to a tenant in an environment is sealed
//! under that unit's own data key and bound to its place ([`Sealer`]); data keys lie in a
//! keystore apart from the data, wrapped under a root key that comes from outside
//! ([`KeyProvider`]). A foreign value does not open: it is [`Error::Foreign`], never data.
//! Destroying a unit's data keys ([`Vault::shred`]) destroys its data in every backup.
//!
//! The keystore is the one store that is only ever reached with a
//! [`SystemScope`](scope::SystemScope): here keys are the data, and their owner is in the row
//! key and in the associated data of each.

mod credential;
mod error;
mod file;
mod keystore;
mod leak;
mod ring;
mod root;
mod rotate;
mod seal;
mod secret;
mod shred;
mod signing;
mod vault;

pub use credential::{
    CREDENTIALS, Credential, CredentialInfo, Credentials, FINGERPRINTS, SharedCredential, Wallet,
};
pub use error::Error;
pub use file::FileRoot;
pub use keystore::{Erasure, KeyVersion, LEDGER, UNITS, WRAPPED};
pub use leak::Forms;
pub use root::{EnvRoot, KeyProvider, Root, Roots};
pub use rotate::{Progress, Rotation};
pub use seal::{OVERHEAD, Place, Sealed, Sealer};
pub use secret::{Plain, SecretText};
pub use signing::Seed;
pub use vault::Vault;
