//! Where the hierarchies of this machine are mounted.

use super::Error;
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Superblock magic of cgroup version 2.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// The mounted hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Those of version 1.
    pub v1: Vec<Hierarchy>,
    /// Root of version 2.
    pub v2: Option<PathBuf>,
    /// Version 2 has the controllers; version 1 is not used.
    pub unified: bool,
}

/// One hierarchy of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// As its folder is named, `cpu,cpuacct` say.
    pub name: String,
    /// Where it is mounted.
    pub root: PathBuf,
}

impl Hierarchy {
    /// Its controllers.
    pub fn controllers(&self) -> impl Iterator<Item = &str> {
        self.name.split(',')
    }
}

impl Layout {
    /// What is mounted at `/sys/fs/cgroup`, as every distribution does it.
    pub fn host() -> Result<Self, Error> {
        let root = Path::new("/sys/fs/cgroup");
        let failed = |error: Errno| Error::io("look at /sys/fs/cgroup", error);
        if is_v2(root).map_err(failed)? {
            return Ok(Self { v1: Vec::new(), v2: Some(root.to_owned()), unified: true });
        }
        let mut v1 = Vec::new();
        for entry in std::fs::read_dir(root).map_err(|error| Error::io("list /sys/fs/cgroup", error))? {
            let entry = entry.map_err(|error| Error::io("list /sys/fs/cgroup", error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // `cpu` is a symlink to `cpu,cpuacct` where they are mounted together; `unified` and
            // `systemd` have no controllers.
            let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if folder && name != "unified" && name != "systemd" {
                v1.push(Hierarchy { name, root: entry.path() });
            }
        }
        v1.sort_by(|a, b| a.name.cmp(&b.name));
        let unified = root.join("unified");
        let v2 = matches!(is_v2(&unified), Ok(true)).then_some(unified);
        Ok(Self { v1, v2, unified: false })
    }
}

fn is_v2(path: &Path) -> Result<bool, Errno> {
    Ok(rustix::fs::statfs(path)?.f_type as u64 == CGROUP2_MAGIC)
}
