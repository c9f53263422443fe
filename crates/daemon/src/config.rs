//! What is on disk before anything runs: the folders, who this node is, and the locks that keep two
//! daemons from sharing a root.

use crate::DaemonArgs;
use anyhow::{Context as _, Result, bail};
use model::NodeId;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where one daemon keeps its things. The locks are held as long as this value lives, and the
/// kernel lets go of them when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(crate) data: PathBuf,
    pub(crate) run: PathBuf,
    _locks: [File; 2],
}

impl Roots {
    /// Makes both folders and locks them.
    ///
    /// # Errors
    /// Another daemon has one of them, or the disk fails.
    pub(crate) fn open(args: &DaemonArgs) -> Result<Roots> {
        let data = make_dir(&args.data_root, 0o711)?;
        let run = make_dir(&args.run_root, 0o711)?;
        if data == run {
            bail!("--data-root and --run-root are both {}: give each a folder of its own", data.display());
        }
        let locks = [lock(&data)?, lock(&run)?];
        Ok(Roots { data, run, _locks: locks })
    }

    /// The socket of the API.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("rswarm.sock")
    }
}

/// Makes a folder; returns its absolute path with links resolved, so that names that are hashed
/// from it come out the same however it was written.
fn make_dir(path: &Path, mode: u32) -> Result<PathBuf> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("make the folder {}", path.display()))?;
    std::fs::canonicalize(path).with_context(|| format!("resolve the folder {}", path.display()))
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("daemon.lock");
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _unreadable_is_unknown = file.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
            bail!(
                "another daemon (pid {pid}) uses {}: stop it, or give this one roots of its own with --data-root and --run-root",
                folder.display()
            );
        }
        Err(std::fs::TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", path.display()));
        }
    }
    let write = |file: &mut File| -> std::io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).with_context(|| format!("write {}", path.display()))?;
    Ok(file)
}

/// Random bytes of the kernel.
///
/// # Errors
/// The kernel has none, which does not happen on kernels that we support.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("read random bytes from the kernel: {error}"))?;
    Ok(bytes)
}

/// This node's id: made at the first start, the same ever after.
///
/// # Errors
/// The file cannot be read or written, or holds no id.
pub(crate) fn node_id(data_root: &Path) -> Result<NodeId> {
    let path = data_root.join("node-id");
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().with_context(|| format!("read the id of this node from {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = NodeId(u128::from_be_bytes(random()?));
            write_node_id(data_root, id)?;
            Ok(id)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Writes down the id of this node.
///
/// # Errors
/// The disk fails.
pub(crate) fn write_node_id(data_root: &Path, id: NodeId) -> Result<()> {
    store::write_atomic(&data_root.join("node-id"), format!("{id}\n").as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn args(root: &Path) -> DaemonArgs {
        DaemonArgs {
            data_root: root.join("data"),
            run_root: root.join("run"),
            cgroup_parent: "x".to_owned(),
            oci_runtime: None,
            insecure_registries: Vec::new(),
            labels: Default::default(),
            generic: Default::default(),
            webhook: None,
            metrics: None,
            log_level: "info".to_owned(),
            log_format: crate::LogFormat::Text,
            exe: "/nonexistent".into(),
        }
    }

    #[test]
    fn two_daemons_cannot_share_a_root() {
        let root = tempfile::tempdir().unwrap();
        let args = args(root.path());
        let first = Roots::open(&args).unwrap();
        let refused = Roots::open(&args).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        let mut other = args.clone();
        other.data_root = root.path().join("data2");
        assert!(Roots::open(&other).is_err());
        drop(first);
        Roots::open(&args).unwrap();
        other.run_root = other.data_root.clone();
        assert!(Roots::open(&other).is_err());
    }

    #[test]
    fn a_node_keeps_its_id() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(node_id(root.path()).unwrap(), node_id(root.path()).unwrap());
        std::fs::write(root.path().join("node-id"), b"short").unwrap();
        assert!(node_id(root.path()).is_err());
    }
}
