//! Who this node is in its cluster: `DATA-ROOT/cluster.json`. Without that file the machine is one of its
//! own: a group of one, with no port open.
//!
//! What a daemon is (of its own, manager, worker) never changes while it runs: whoever changes it writes the
//! file and asks for a new beginning ([`crate::shared::Daemon::again`]), upon which the daemon stops in order
//! and executes itself. Containers do not notice.

use anyhow::{Context as _, Result};
use model::{ClusterId, NodeId, Role};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Version of the file's format.
const FORMAT: u32 = 1;

/// The port of the cluster, where none is named (Swarm's).
pub(crate) const PORT: u16 = 2377;

/// A manager as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// Which node.
    pub(crate) node: NodeId,
    /// Its number in the managers' group.
    pub(crate) member: u64,
    /// `host:port`.
    pub(crate) address: String,
}

/// A node's place in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Of the file.
    pub(crate) format: u32,
    /// Which cluster.
    pub(crate) cluster: ClusterId,
    /// Which node.
    pub(crate) node: NodeId,
    /// What it is.
    pub(crate) role: Role,
    /// Its number in the managers' group, as a manager.
    pub(crate) member: Option<u64>,
    /// Where its port listens.
    pub(crate) listen: SocketAddr,
    /// Where others reach that: `host:port`.
    pub(crate) advertise: String,
    /// The managers, as far as it was told; whom to ask first.
    pub(crate) managers: Vec<Peer>,
}

impl Identity {
    /// The same with this version's format.
    pub(crate) fn new(cluster: ClusterId, node: NodeId, role: Role, listen: SocketAddr, advertise: String) -> Identity {
        Identity { format: FORMAT, cluster, node, role, member: None, listen, advertise, managers: Vec::new() }
    }

    /// Reads it; `None`: the machine is one of its own.
    ///
    /// # Errors
    /// The file cannot be read, or was written by a newer version.
    pub(crate) fn load(data_root: &Path) -> Result<Option<Identity>> {
        let path = path(data_root);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let identity: Identity =
            serde_json::from_slice(&text).with_context(|| format!("make sense of {}", path.display()))?;
        anyhow::ensure!(
            identity.format == FORMAT,
            "{} is of format {}, this version knows {FORMAT}: use the version that wrote it",
            path.display(),
            identity.format
        );
        Ok(Some(identity))
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn save(&self, data_root: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("write down who this node is")?;
        store::write_atomic(&path(data_root), &text)?;
        Ok(())
    }

    /// Makes the machine one of its own again (which is so from the next start).
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn forget(data_root: &Path) -> Result<()> {
        let path = path(data_root);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

fn path(data_root: &Path) -> PathBuf {
    data_root.join("cluster.json")
}

/// The identity of a running daemon, as it is now.
#[derive(Debug)]
pub(crate) struct Membership {
    data_root: PathBuf,
    identity: Mutex<Arc<Identity>>,
}

impl Membership {
    pub(crate) fn new(data_root: PathBuf, identity: Identity) -> Membership {
        Membership { data_root, identity: Mutex::new(Arc::new(identity)) }
    }

    /// As it is now.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it, on disk first. `false`: that is as it was.
    ///
    /// # Errors
    /// The disk fails; then nothing has changed.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Identity)) -> Result<bool> {
        let mut current = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = (**current).clone();
        change(&mut changed);
        if changed == **current {
            return Ok(false);
        }
        changed.save(&self.data_root)?;
        *current = Arc::new(changed);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn is_read_as_it_was_written_and_forgotten() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(root.path()).unwrap(), None);
        let listen = "0.0.0.0:2377".parse().unwrap();
        let identity = Identity::new(ClusterId(1), NodeId(2), Role::Manager, listen, "10.0.0.1:2377".to_owned());
        identity.save(root.path()).unwrap();
        assert_eq!(Identity::load(root.path()).unwrap().as_ref(), Some(&identity));
        let membership = Membership::new(root.path().to_owned(), identity);
        assert!(membership.change(|identity| identity.member = Some(7)).unwrap());
        assert!(!membership.change(|identity| identity.member = Some(7)).unwrap());
        assert_eq!(Identity::load(root.path()).unwrap().unwrap().member, Some(7));
        Identity::forget(root.path()).unwrap();
        assert_eq!(Identity::load(root.path()).unwrap(), None);
    }
}
