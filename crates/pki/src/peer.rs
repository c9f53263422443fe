//! Who a certificate says its holder is.

use crate::error::Error;
use model::{ClusterId, NodeId};
use rustls_pki_types::CertificateDer;
use std::fmt;
use std::str::FromStr;

/// What the holder of a certificate may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerRole {
    /// A node that keeps the replicated state.
    Manager,
    /// A node that only runs tasks.
    Worker,
    /// No node: a person or a program elsewhere that may use the API.
    Client,
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerRole::Manager => "manager",
            PeerRole::Worker => "worker",
            PeerRole::Client => "client",
        })
    }
}

impl From<model::Role> for PeerRole {
    fn from(role: model::Role) -> PeerRole {
        match role {
            model::Role::Manager => PeerRole::Manager,
            model::Role::Worker => PeerRole::Worker,
        }
    }
}

/// Who a peer is, by its certificate; written there as `rswarm://CLUSTER/ROLE/NODE?since=REVISION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Which node; of a client, a name drawn for it.
    pub node: NodeId,
    /// As what.
    pub role: PeerRole,
    /// The revision of the state when this was signed. It tells a node that a lagging manager has not heard
    /// of yet (revision to come) from one that was removed (revision past, and it is not there).
    pub since: u64,
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rswarm://{}/{}/{}?since={}", self.cluster, self.role, self.node, self.since)
    }
}

impl FromStr for PeerIdentity {
    type Err = Error;

    fn from_str(text: &str) -> Result<PeerIdentity, Error> {
        parse(text).ok_or(Error::Certificate("the name in it is none of a node"))
    }
}

fn parse(text: &str) -> Option<PeerIdentity> {
    let (names, since) = text.strip_prefix("rswarm://")?.split_once("?since=")?;
    let mut names = names.split('/');
    let cluster = names.next()?.parse().ok()?;
    let role = match names.next()? {
        "manager" => PeerRole::Manager,
        "worker" => PeerRole::Worker,
        "client" => PeerRole::Client,
        _ => return None,
    };
    let node = names.next()?.parse().ok()?;
    let identity = PeerIdentity { cluster, node, role, since: since.parse().ok()? };
    // One way to write each: `+5`, `05` and a fourth part are none.
    (names.next().is_none() && identity.to_string() == text).then_some(identity)
}

/// Reads it from a certificate whose signature was (or will be) verified elsewhere.
pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, Error> {
    let certificate =
        webpki::EndEntityCert::try_from(certificate).map_err(|_| Error::Certificate("it cannot be read"))?;
    let mut names = certificate.valid_uri_names();
    match (names.next(), names.next()) {
        (Some(name), None) => name.parse(),
        _ => Err(Error::Certificate("it does not have exactly one name")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_read_as_it_was_written(cluster in any::<u128>(), node in any::<u128>(), since in any::<u64>(), role in 0..3) {
            let role = [PeerRole::Manager, PeerRole::Worker, PeerRole::Client][usize::try_from(role).unwrap()];
            let identity = PeerIdentity { cluster: ClusterId(cluster), node: NodeId(node), role, since };
            prop_assert_eq!(identity.to_string().parse::<PeerIdentity>().unwrap(), identity);
        }

        #[test]
        fn any_text_is_refused_without_panic(text in "\\PC{0,120}") {
            prop_assert!(text.parse::<PeerIdentity>().is_err());
        }
    }

    #[test]
    fn there_is_one_way_to_write_it() {
        let identity = PeerIdentity { cluster: ClusterId(1), node: NodeId(2), role: PeerRole::Worker, since: 5 };
        let text = identity.to_string();
        for bad in [
            text.replace("?since=5", ""),
            text.replace("=5", "=05"),
            text.replace("=5", "=+5"),
            text.replace("worker", "Manager"),
            text.replace("?", "/x?"),
            text.replace("rswarm:", "https:"),
        ] {
            bad.parse::<PeerIdentity>().unwrap_err();
        }
    }
}
