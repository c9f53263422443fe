//! Control groups of containers: version 1, version 2 and both at once (hybrid).
//!
//! A process joins as cheaply as the kernel lets it: born into its version 2 group by clone3, and
//! into those of version 1 by writing its own `0` to `tasks`. Moving another process, or writing to
//! `cgroup.procs`, would wait for a grace period of the whole kernel each time (measured: 6 to
//! 14 ms against 0.04 ms).
//!
//! In hybrid mode the version 2 group has no controllers, yet kills and freezes all at once and
//! counts CPU time, so those of version 1 that only do this are not used.

mod device_program;
mod devices;
mod files;
mod layout;
mod limits;
mod stats;

pub use layout::Layout;
pub use stats::CgroupStats;

use super::Error;
use files::Folder;
use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// One container's cgroup, in each hierarchy that it takes part in.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: String,
    /// Controllers of the hierarchy as its folder is named (`cpu,cpuacct`), and the folder.
    v1: Vec<(String, Folder)>,
    v2: Option<Folder>,
    /// Whether version 2 has the controllers.
    unified: bool,
}

/// See [`Cgroup::oom_events`].
#[derive(Debug)]
pub enum OomEvents {
    /// An eventfd; read eight bytes from it after each wake-up.
    V1(OwnedFd),
    /// `memory.events`; poll for `POLLPRI`.
    V2(OwnedFd),
}

/// How long a group that still has dying processes is tried to be removed.
const DELETE_PATIENCE: Duration = Duration::from_secs(2);

impl Cgroup {
    /// Makes the cgroup `path` (`/rswarm/ID`, below the root of each hierarchy) and sets limits; for
    /// `None` it has none of its own, not even the usual rules on devices, only those of the groups
    /// above. One of that name that has no processes is made anew; one that has is an error.
    pub fn create(path: &str, resources: Option<&LinuxResources>) -> Result<Self, Error> {
        Self::create_in(&Layout::host()?, path, resources)
    }

    /// As [`Cgroup::create`] on hierarchies that are mounted somewhere else.
    pub fn create_in(layout: &Layout, path: &str, resources: Option<&LinuxResources>) -> Result<Self, Error> {
        let path = clean(path)?;
        let needed = limits::needed_v1(resources.unwrap_or(&LinuxResources::default()), layout.v2.is_some());
        let cgroup = Self::at(layout, &path, |controller| needed.contains(&controller));
        let made = cgroup.make_folders(layout).and_then(|()| {
            let Some(resources) = resources else { return Ok(()) };
            cgroup.apply(resources)?;
            cgroup.restrict_devices(resources)
        });
        match made {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // What was made is useless; the reason is worth more than another error.
                let _ = cgroup.delete();
                Err(error)
            }
        }
    }

    /// The cgroup `path` wherever it exists, for instance after a crash; no error if nowhere.
    pub fn open(path: &str) -> Result<Self, Error> {
        Self::open_in(&Layout::host()?, path)
    }

    /// As [`Cgroup::open`] on hierarchies that are mounted somewhere else.
    pub fn open_in(layout: &Layout, path: &str) -> Result<Self, Error> {
        let mut cgroup = Self::at(layout, &clean(path)?, |_| true);
        cgroup.v1.retain(|(_, folder)| folder.exists());
        cgroup.v2 = cgroup.v2.filter(Folder::exists);
        Ok(cgroup)
    }

    fn at(layout: &Layout, path: &str, wanted: impl Fn(&str) -> bool) -> Self {
        let v1 = layout.v1.iter().filter(|hierarchy| hierarchy.controllers().any(&wanted));
        Self {
            path: path.to_owned(),
            v1: v1.map(|hierarchy| (hierarchy.name.clone(), Folder::new(hierarchy.root.join(&path[1..])))).collect(),
            v2: layout.v2.as_ref().map(|root| Folder::new(root.join(&path[1..]))),
            unified: layout.unified,
        }
    }

    fn make_folders(&self, layout: &Layout) -> Result<(), Error> {
        for (name, folder) in &self.v1 {
            folder.make()?;
            if name.split(',').any(|controller| controller == "cpuset") {
                // A new one of version 1 has no CPU and no memory, and lets nobody in.
                files::inherit_cpuset(folder, &self.path)?;
            }
        }
        if let Some(folder) = &self.v2 {
            folder.make()?;
            if let (true, Some(root)) = (self.unified, &layout.v2) {
                files::delegate(root, &self.path)?;
            }
        }
        Ok(())
    }

    /// Its path below the root of each hierarchy.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.folders().any(Folder::exists)
    }

    fn folders(&self) -> impl Iterator<Item = &Folder> {
        self.v1.iter().map(|(_, folder)| folder).chain(&self.v2)
    }

    /// The folder of a controller, of whichever version has it.
    fn controller(&self, controller: &str) -> Option<&Folder> {
        if self.unified {
            return self.v2.as_ref();
        }
        self.v1.iter().find(|(name, _)| name.split(',').any(|part| part == controller)).map(|(_, folder)| folder)
    }

    /// The names of version 1's hierarchies and the folders there.
    pub(crate) fn v1_folders(&self) -> Vec<(String, PathBuf)> {
        self.v1.iter().map(|(name, folder)| (name.clone(), folder.path().to_owned())).collect()
    }

    /// The folder of version 2.
    pub(crate) fn v2_folder(&self) -> Option<PathBuf> {
        self.v2.as_ref().map(|folder| folder.path().to_owned())
    }

    /// For clone3: the folder that a new process is born into.
    pub(crate) fn birth_folder(&self) -> Result<Option<OwnedFd>, Error> {
        self.v2.as_ref().map(Folder::open).transpose()
    }

    /// Files to which a single-threaded process writes `0` to join the rest.
    pub(crate) fn join_files(&self) -> Result<Vec<OwnedFd>, Error> {
        self.v1.iter().map(|(_, folder)| folder.open_for_writing("tasks")).collect()
    }

    /// Sets limits; those that `resources` does not name stay. Limits of controllers that it was
    /// not created with are an error.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        self.apply(resources)?;
        if resources.devices().is_some() { self.restrict_devices(resources) } else { Ok(()) }
    }

    fn apply(&self, resources: &LinuxResources) -> Result<(), Error> {
        let settings = if self.unified { limits::v2(resources)? } else { limits::v1(resources)? };
        for (at, setting) in settings.iter().enumerate() {
            let tried = self.set(setting);
            let next = settings.get(at + 1).filter(|next| next.file == "memory.memsw.limit_in_bytes");
            match (tried, next) {
                // Version 1 refuses more memory than memory and swap together: raise those first.
                (Err(error), Some(next)) if error.raw_os_error() == Some(libc::EINVAL) => {
                    self.set(next)?;
                    self.set(setting)?;
                }
                (tried, _) => tried?,
            }
        }
        Ok(())
    }

    fn set(&self, setting: &limits::Setting) -> Result<(), Error> {
        let Some(folder) = self.controller(setting.controller) else {
            let (path, file) = (&self.path, &setting.file);
            return Err(Error::text(format!("cgroup {path}: no controller {} for {file}", setting.controller)));
        };
        match folder.write(&setting.file, &setting.value) {
            Err(error) if setting.optional && is_missing(&error) => Ok(()),
            result => result,
        }
    }

    fn restrict_devices(&self, resources: &LinuxResources) -> Result<(), Error> {
        let rules = devices::Rules::of(resources.devices().as_deref().unwrap_or_default());
        if rules.allow_all() {
            return Ok(());
        }
        match (self.unified, &self.v2, self.controller("devices")) {
            (true, Some(folder), _) => device_program::attach(folder, &rules),
            (false, _, Some(folder)) => rules.v1_lines().iter().try_for_each(|(file, line)| folder.write(file, line)),
            _ => Err(Error::text(format!("cgroup {}: this kernel has no devices controller", self.path))),
        }
    }

    /// Stops (or lets go on) all processes; returns once all have.
    pub fn freeze(&self, frozen: bool) -> Result<(), Error> {
        if let Some(folder) = self.v2.as_ref().filter(|folder| folder.has("cgroup.freeze")) {
            folder.write("cgroup.freeze", if frozen { "1" } else { "0" })?;
            return files::wait_until(Duration::from_secs(10), || {
                Ok(folder.read("cgroup.events")?.lines().any(|line| line == format!("frozen {}", u8::from(frozen))))
            })
            .and_then(|done| if done { Ok(()) } else { Err(self.slow_freeze()) });
        }
        let folder = self.controller("freezer").ok_or_else(|| self.missing("freezer"))?;
        let state = if frozen { "FROZEN" } else { "THAWED" };
        folder.write("freezer.state", state)?;
        let done = files::wait_until(Duration::from_secs(10), || Ok(folder.read("freezer.state")?.trim() == state))?;
        if done { Ok(()) } else { Err(self.slow_freeze()) }
    }

    fn slow_freeze(&self) -> Error {
        Error::text(format!("cgroup {}: some process can't be frozen or thawed", self.path))
    }

    fn missing(&self, controller: &str) -> Error {
        Error::text(format!("cgroup {}: no controller {controller}", self.path))
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        if let Some(folder) = self.v2.as_ref().filter(|folder| folder.has("cgroup.freeze")) {
            return Ok(folder.read("cgroup.freeze")?.trim() == "1");
        }
        match self.controller("freezer") {
            Some(folder) => Ok(folder.read("freezer.state")?.trim() != "THAWED"),
            None => Ok(false),
        }
    }

    /// All its processes, as the host sees them, those of cgroups below it too.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let Some(folder) = self.folders().last() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        folder.collect_pids(&mut pids)?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Sends a signal to every process that is in it now.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        for pid in self.pids()? {
            match files::kill(pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(Error::io(format!("signal process {pid}"), error)),
            }
        }
        Ok(())
    }

    /// Sends SIGKILL to every process in it, also to those being forked; frozen ones die too.
    pub fn kill_all(&self) -> Result<(), Error> {
        if let Some(folder) = self.v2.as_ref().filter(|folder| folder.has("cgroup.kill")) {
            return folder.write("cgroup.kill", "1");
        }
        // Frozen, none of them can fork while the list is read. Where that does not work they are
        // chased: each round leaves fewer.
        let frozen = self.freeze(true).is_ok();
        for _ in 0..if frozen { 1 } else { 10 } {
            if self.pids()?.is_empty() {
                break;
            }
            self.signal_all(libc::SIGKILL)?;
        }
        if frozen { self.freeze(false) } else { Ok(()) }
    }

    /// A descriptor for poll(2) that says when [`Cgroup::oom_kills`] may have grown; `None` without
    /// a memory controller.
    pub fn oom_events(&self) -> Result<Option<OomEvents>, Error> {
        let Some(folder) = self.controller("memory") else { return Ok(None) };
        if self.unified {
            return folder.open_for_reading("memory.events").map(OomEvents::V2).map(Some);
        }
        let failed = |error: Errno| Error::io(format!("watch the memory of cgroup {}", self.path), error);
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).map_err(failed)?;
        let control = folder.open_for_reading("memory.oom_control")?;
        use std::os::fd::AsRawFd;
        folder.write("cgroup.event_control", &format!("{} {}", event.as_raw_fd(), control.as_raw_fd()))?;
        Ok(Some(OomEvents::V1(event)))
    }

    /// How often the out-of-memory killer took one of its processes.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let Some(folder) = self.controller("memory") else { return Ok(0) };
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        Ok(stats::field(&folder.read(file)?, "oom_kill").unwrap_or(0))
    }

    /// What it uses.
    pub fn stats(&self) -> Result<CgroupStats, Error> {
        stats::read(self)
    }

    /// Removes it and those below it, waiting up to about two seconds for dying processes. No
    /// error if it is gone already. Live processes are not killed, and are an error in the end.
    pub fn delete(&self) -> Result<(), Error> {
        self.folders().try_for_each(|folder| folder.remove(DELETE_PATIENCE))
    }
}

/// `/a/b` from what a spec may say; nothing that leads out of a hierarchy.
fn clean(path: &str) -> Result<String, Error> {
    let refused = |why: &str| Err(Error::text(format!("cgroup path {path:?} {why}")));
    if path.contains(':') && !path.contains('/') {
        return refused("is systemd's slice:prefix:name, which is not supported; give a path");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return refused("names the root of the hierarchy");
    }
    if parts.contains(&"..") || path.contains(['\0', '\n']) {
        return refused("is not allowed");
    }
    Ok(format!("/{}", parts.join("/")))
}

fn is_missing(error: &Error) -> bool {
    error.raw_os_error() == Some(Errno::NOENT.raw_os_error())
}

#[cfg(test)]
mod tests;
