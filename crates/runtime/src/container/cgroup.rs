//! Control groups of containers: version 1, version 2 and both at once (hybrid).

use super::Error;
use oci_spec::runtime::LinuxResources;
use std::os::fd::OwnedFd;

/// One container's cgroup, in each hierarchy that it takes part in.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: String,
}

/// One reading of a cgroup; counters are totals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupStats {
    /// Nanoseconds of CPU.
    pub cpu_ns: u64,
    /// Bytes without inactive page cache.
    pub memory: u64,
    /// Limit in bytes; `None`: none.
    pub memory_limit: Option<u64>,
    /// Bytes read from block devices.
    pub block_read: u64,
    /// Bytes written to block devices.
    pub block_write: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Cgroup {
    /// Makes the cgroup `path` (`/rswarm/ID`, below the root of each hierarchy) and sets limits.
    /// One of that name that has no processes is taken over.
    pub fn create(path: &str, resources: Option<&LinuxResources>) -> Result<Self, Error> {
        let _ = (path, resources);
        Err(Error::new("cgroup", "not there yet"))
    }

    /// The cgroup `path` wherever it exists, for instance after a crash; no error if nowhere.
    pub fn open(path: &str) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned() })
    }

    /// Its path below the root of each hierarchy.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sets limits; those that `resources` does not name stay.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        let _ = resources;
        Ok(())
    }

    /// Stops (or lets go on) all processes; returns once all have.
    pub fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let _ = frozen;
        Ok(())
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        Ok(false)
    }

    /// All its processes, as the host sees them, those of cgroups below it too.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        Ok(Vec::new())
    }

    /// Sends SIGKILL to every process in it, also to those being forked; frozen ones die too.
    pub fn kill_all(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What it uses.
    pub fn stats(&self) -> Result<CgroupStats, Error> {
        Ok(CgroupStats::default())
    }

    /// How often the out-of-memory killer took one of its processes.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        Ok(0)
    }

    /// A descriptor for poll(2) that says when `oom_kills` may have grown (`POLLIN` on version 1's
    /// eventfd, `POLLPRI` on version 2's `memory.events`); `None` without a memory controller.
    pub fn oom_events(&self) -> Result<Option<OomEvents>, Error> {
        Ok(None)
    }

    /// Removes it and those below it, waiting up to about two seconds for dying processes. No
    /// error if it is gone already.
    pub fn delete(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// See [`Cgroup::oom_events`].
#[derive(Debug)]
pub enum OomEvents {
    /// An eventfd; read eight bytes from it after each wake-up.
    V1(OwnedFd),
    /// `memory.events`; poll for `POLLPRI`.
    V2(OwnedFd),
}
