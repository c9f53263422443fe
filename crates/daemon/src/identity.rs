//! Who this node is in its cluster: `DATA-ROOT/cluster.json`. Without that file the machine is one of its
//! own: a group of one, with no port open.
//!
//! What a daemon is (of its own, manager, worker) never changes while it runs: whoever changes it writes the
//! file and asks for a new beginning ([`crate::shared::Daemon::again`]), upon which the daemon stops in order
//! and executes itself. Containers do not notice.

use crate::mesh::DataPath;
use anyhow::{Context as _, Result};
use model::{ClusterId, Node, NodeId, Role};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Version of the file's format.
const FORMAT: u32 = 1;

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

impl Peer {
    /// That node, if it is a manager that others can reach.
    pub(crate) fn of(node: &Node) -> Option<Peer> {
        let (member, address) = (node.member?, node.address.clone()?);
        (node.manager && !node.left).then_some(Peer { node: node.id, member, address })
    }
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
    /// Where traffic between containers goes.
    #[serde(default)]
    pub(crate) data_path: DataPath,
    /// What the next start has to clear away.
    #[serde(default)]
    pub(crate) past: Past,
}

/// What is on disk of a former life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Past {
    /// Nothing.
    #[default]
    None,
    /// It has just joined: what it did as a machine of its own is over.
    Joined,
    /// It has just left: it becomes a machine of its own with a new name.
    Left,
}

impl Identity {
    /// The same with this version's format.
    pub(crate) fn new(cluster: ClusterId, node: NodeId, role: Role, listen: SocketAddr, advertise: String) -> Identity {
        Identity {
            format: FORMAT,
            cluster,
            node,
            role,
            member: None,
            listen,
            advertise,
            managers: Vec::new(),
            data_path: DataPath::default(),
            past: Past::None,
        }
    }

    /// That of a cluster's first manager, the only one.
    pub(crate) fn first(cluster: ClusterId, node: NodeId, listen: SocketAddr, advertise: String) -> Identity {
        let managers = vec![Peer { node, member: 1, address: advertise.clone() }];
        let identity = Identity::new(cluster, node, Role::Manager, listen, advertise);
        Identity { member: Some(1), managers, ..identity }
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

    /// Where the log of this member is. Each membership has a folder of its own, so that none begins with
    /// what another one knew.
    pub(crate) fn log_folder(data_root: &Path, identity: Option<&Identity>) -> PathBuf {
        match identity.and_then(|identity| identity.member) {
            None | Some(1) => data_root.join("raft"),
            Some(member) => data_root.join(format!("raft-{member:016x}")),
        }
    }
}

/// Where this node's certificate and key are.
pub(crate) fn certificates(data_root: &Path) -> PathBuf {
    data_root.join("certificates")
}

/// Clears away what is left of a former life, before anything is opened. May be cut short anywhere: the
/// next start goes on.
///
/// # Errors
/// The disk fails, or the file makes no sense.
pub(crate) fn settle(data_root: &Path) -> Result<Option<Identity>> {
    let Some(mut identity) = Identity::load(data_root)? else { return Ok(None) };
    let log = (identity.role == Role::Manager && identity.past != Past::Left)
        .then(|| Identity::log_folder(data_root, Some(&identity)));
    for entry in std::fs::read_dir(data_root).with_context(|| format!("list {}", data_root.display()))? {
        let entry = entry.with_context(|| format!("list {}", data_root.display()))?;
        let name = entry.file_name();
        let is_log = name == "raft" || name.to_str().is_some_and(|name| name.starts_with("raft-"));
        if is_log && Some(entry.path()) != log {
            remove(&entry.path())?;
        }
    }
    if identity.past != Past::None {
        // The generations of another cluster mean nothing here.
        remove(&data_root.join("agent-ledger"))?;
    }
    match identity.past {
        Past::None => {}
        Past::Joined => {
            identity.past = Past::None;
            identity.save(data_root)?;
        }
        Past::Left => {
            remove(&certificates(data_root))?;
            remove(&data_root.join("node-id"))?;
            // It may be sealed with a key of that cluster; all that it has sealed is gone.
            remove(&data_root.join("node-key"))?;
            remove(&path(data_root))?;
            return Ok(None);
        }
    }
    Ok(Some(identity))
}

/// Removes a file or a folder with all that is in it, if it is there.
///
/// # Errors
/// The disk fails.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
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
    /// A manager has said that the cluster does not know this node any more.
    forgotten: AtomicBool,
}

impl Membership {
    pub(crate) fn new(data_root: PathBuf, identity: Identity) -> Membership {
        Membership { data_root, identity: Mutex::new(Arc::new(identity)), forgotten: AtomicBool::new(false) }
    }

    /// A manager has answered whether the cluster knows this node.
    pub(crate) fn set_forgotten(&self, forgotten: bool) {
        self.forgotten.store(forgotten, Ordering::Relaxed);
    }

    /// Has the cluster removed this node, as far as is known here?
    pub(crate) fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Relaxed)
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

    fn identity(role: Role, member: Option<u64>, past: Past) -> Identity {
        let listen = "0.0.0.0:2377".parse().unwrap();
        let identity = Identity::new(ClusterId(1), NodeId(2), role, listen, "10.0.0.1:2377".to_owned());
        Identity { member, past, ..identity }
    }

    #[test]
    fn is_read_as_it_was_written() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(root.path()).unwrap(), None);
        let identity = identity(Role::Manager, Some(1), Past::None);
        identity.save(root.path()).unwrap();
        assert_eq!(Identity::load(root.path()).unwrap().as_ref(), Some(&identity));
        let membership = Membership::new(root.path().to_owned(), identity);
        assert!(membership.change(|identity| identity.member = Some(7)).unwrap());
        assert!(!membership.change(|identity| identity.member = Some(7)).unwrap());
        assert_eq!(Identity::load(root.path()).unwrap().unwrap().member, Some(7));
        let newer = std::fs::read_to_string(path(root.path())).unwrap().replace("\"format\": 1", "\"format\": 2");
        std::fs::write(path(root.path()), newer).unwrap();
        assert!(Identity::load(root.path()).unwrap_err().to_string().contains("format 2"));
    }

    #[test]
    fn each_life_begins_without_the_one_before() {
        let there = |root: &Path, name: &str| root.join(name).exists();
        for (identity, log, ledger, is_left) in [
            (identity(Role::Manager, Some(1), Past::None), Some("raft"), true, false),
            (identity(Role::Manager, Some(0xab), Past::None), Some("raft-00000000000000ab"), true, false),
            (identity(Role::Manager, Some(0xab), Past::Joined), Some("raft-00000000000000ab"), false, false),
            (identity(Role::Worker, None, Past::Joined), None, false, false),
            (identity(Role::Worker, None, Past::None), None, true, false),
            (identity(Role::Manager, Some(1), Past::Left), None, false, true),
        ] {
            let root = tempfile::tempdir().unwrap();
            let root = root.path();
            for folder in ["raft", "raft-00000000000000ab", "raft-00000000000000cd", "certificates", "volumes"] {
                std::fs::create_dir(root.join(folder)).unwrap();
                std::fs::write(root.join(folder).join("file"), b"x").unwrap();
            }
            std::fs::write(root.join("agent-ledger"), b"x").unwrap();
            std::fs::write(root.join("node-id"), b"x").unwrap();
            identity.save(root).unwrap();
            let settled = settle(root).unwrap();
            assert_eq!(settled.is_none(), is_left);
            assert!(settled.is_none_or(|settled| settled.past == Past::None));
            for folder in ["raft", "raft-00000000000000ab", "raft-00000000000000cd"] {
                assert_eq!(there(root, folder), log == Some(folder), "{folder} of {identity:?}");
            }
            assert_eq!(there(root, "agent-ledger"), ledger);
            assert_eq!((there(root, "certificates"), there(root, "node-id")), (!is_left, !is_left));
            assert!(there(root, "volumes/file"), "data stays");
            assert_eq!(settle(root).unwrap().is_none(), is_left);
        }
    }
}
