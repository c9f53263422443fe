//! What is asked of one daemon about its place in a cluster.

use model::{Availability, Role};
use serde::{Deserialize, Serialize};

/// `init`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitCluster {
    /// Where other nodes reach this one: `ADDRESS[:PORT]` or `INTERFACE[:PORT]`; chosen where `None`.
    pub advertise: Option<String>,
    /// Where the port listens: `ADDRESS[:PORT]` or `INTERFACE[:PORT]`.
    pub listen: Option<String>,
    /// May this node take tasks?
    pub availability: Option<Availability>,
    /// Where traffic between containers goes.
    #[serde(default)]
    pub data_path: DataPath,
    /// Go on alone with what this manager knows, when the majority is lost for good.
    pub force_new_cluster: bool,
    /// Managers ask for a key after a restart.
    #[serde(default)]
    pub autolock: bool,
}

/// Where traffic between containers of different nodes goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataPath {
    /// `ADDRESS` or `INTERFACE`; the advertised address where `None`.
    pub address: Option<String>,
    /// UDP port; chosen where `None`.
    pub port: Option<u16>,
}

/// `join`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinCluster {
    /// The join token.
    pub token: String,
    /// Managers, any of which is enough: `HOST[:PORT]`.
    pub managers: Vec<String>,
    /// As in [`InitCluster::advertise`].
    pub advertise: Option<String>,
    /// As in [`InitCluster::listen`].
    pub listen: Option<String>,
    /// May this node take tasks?
    pub availability: Option<Availability>,
    /// Where traffic between containers goes.
    #[serde(default)]
    pub data_path: DataPath,
}

impl std::fmt::Debug for JoinCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinCluster").field("managers", &self.managers).finish_non_exhaustive()
    }
}

/// What became of `init` and `join`. The daemon begins anew right after this answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// This node's id.
    pub node: String,
    /// What it is now.
    pub role: Role,
    /// Where it is reached: `host:port`.
    pub address: String,
}

/// The answer to `join-token`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The token.
    pub token: String,
    /// A manager to join at: `host:port`.
    pub address: String,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken").field("address", &self.address).finish_non_exhaustive()
    }
}

/// `ca client create`: what a client shows to get a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmitClient {
    /// What people call it.
    pub name: String,
    /// PKCS#10, DER in base64: its private key stays where it was made.
    pub request: String,
    /// How long the certificate is to hold, in seconds.
    pub lifetime: u64,
}

/// What it is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientGrant {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Certificates of the authorities that it is to trust, PEM.
    pub roots: Vec<String>,
    /// Managers, any of which it may call: `host:port`.
    pub managers: Vec<String>,
}

/// What a backup of the cluster opens with: `RWMKEY-1-` and 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupKey(String);

impl std::fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackupKey(…)")
    }
}

const BACKUP_KEY: &str = "RWMKEY-1-";

impl BackupKey {
    /// The key of these bytes.
    pub fn of(bytes: [u8; 32]) -> BackupKey {
        BackupKey(model::key_text(BACKUP_KEY, bytes))
    }

    /// A key as it was shown; blanks around it do no harm.
    pub fn parse(text: &str) -> Option<BackupKey> {
        let key = BackupKey(text.trim().to_owned());
        key.bytes().map(|_| key)
    }

    /// As it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bytes; `None` where a client sent something else.
    pub fn bytes(&self) -> Option<[u8; 32]> {
        model::key_bytes(BACKUP_KEY, &self.0)
    }
}

/// `cluster restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreCluster {
    /// What the backup opens with.
    pub key: BackupKey,
    /// As in [`InitCluster::advertise`]; that of the manager that made the backup where `None`.
    pub advertise: Option<String>,
    /// As in [`InitCluster::listen`]; that of the manager that made the backup where `None`.
    pub listen: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_shown_and_not_told_when_printed_for_debugging() {
        let key = BackupKey::of(std::array::from_fn(|at| at as u8 * 7));
        let read = BackupKey::parse(&format!("  {}\n", key.as_str())).unwrap();
        assert_eq!((read.bytes(), &read), (key.bytes(), &key));
        assert_eq!(format!("{key:?}"), "BackupKey(…)");
        for bad in ["", "RWMKEY-1-", "RWMKEY-1-+f", &key.as_str().replace('0', "+"), &key.as_str()[..70]] {
            assert_eq!(BackupKey::parse(bad), None, "{bad}");
        }
    }
}
