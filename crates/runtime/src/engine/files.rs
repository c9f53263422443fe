//! A container's files as it sees them itself, for copies in and out.
//!
//! One that runs is looked into through its own root. For one that does not, root and mounts are put
//! together in a mount namespace of one thread: nobody else sees them, and they go with the thread,
//! however the daemon ends.

use super::*;
use crate::container::{Cgroup, TargetKind, attach, mount_target};
use crate::rootfs::{self, Overlay};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// Something of the host that is mounted in the container.
struct Guest {
    source: PathBuf,
    /// Of the source, when a part of it is meant.
    subpath: Option<String>,
    target: String,
    read_only: bool,
}

impl Engine {
    /// Does something with a container's files; `work` gets an open root, within which paths have to be
    /// resolved. One that does not run cannot be started or removed meanwhile. Goes on to its end even if
    /// the caller goes away.
    ///
    /// # Errors
    /// [`Error::NotFound`]; its root or a mount cannot be opened.
    pub async fn with_files<T: Send + 'static>(
        &self,
        task: TaskId,
        work: impl FnOnce(OwnedFd) -> T + Send + 'static,
    ) -> Result<T> {
        let engine = self.clone();
        let working = tokio::spawn(async move { engine.open_files(task, work).await });
        working.await.unwrap_or_else(|error| Err(Error::Shim { task, message: format!("copy its files: {error}") }))
    }

    async fn open_files<T: Send + 'static>(
        &self,
        task: TaskId,
        work: impl FnOnce(OwnedFd) -> T + Send + 'static,
    ) -> Result<T> {
        let entry = self.known(task)?;
        let operation = entry.operation.lock().await;
        if let Phase::Running { pid, .. } = entry.phase() {
            drop(operation);
            return self.block(move |inner| inner.running_root(task, pid).map(work)).await;
        }
        let config = entry.config().ok_or(Error::NotFound(task))?;
        let assemble = move |inner: &Inner| inner.at_rest(task, &config, work);
        let done = self.block(assemble).await;
        drop(operation);
        done
    }
}

impl Inner {
    /// The root of a process, which is known to be the container's.
    fn running_root(&self, task: TaskId, pid: u32) -> Result<OwnedFd> {
        let path = PathBuf::from(format!("/proc/{pid}/root"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(|_| Error::NotRunning(task))?;
        // Another process may have got its number just now.
        let pids = Cgroup::open(&self.disk.cgroup(task)).and_then(|cgroup| cgroup.pids());
        match pids {
            Ok(pids) if pids.iter().any(|found| u32::try_from(*found) == Ok(pid)) => Ok(root),
            _ => Err(Error::NotRunning(task)),
        }
    }

    fn at_rest<T: Send>(&self, task: TaskId, config: &Config, work: impl FnOnce(OwnedFd) -> T + Send) -> Result<T> {
        let folder = self.disk.layout.container(task);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { what: "put together the files of", path, source }
        };
        let overlay = Overlay::of(&config.create, &folder).map_err(failed(&folder.path))?;
        let mut held = Vec::new();
        let guests = self.guests(config, &mut held);
        let place = folder.upper();
        let working = |guests: Vec<Guest>| {
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| assemble(&overlay, &place, &guests).map(work));
                thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread for it panicked")))
            })
        };
        let done = guests.and_then(|guests| working(guests).map_err(failed(&folder.path)));
        for (name, users) in held {
            drop(users);
            if let Err(error) = self.disk.volumes.release(&name) {
                tracing::warn!(volume = name, "release the volume: {}", chain(&error));
            }
        }
        done
    }

    /// Sources of volumes and bind mounts; `held` gets the volumes that are mounted for it.
    fn guests(&self, config: &Config, held: &mut Vec<(String, OwnedFd)>) -> Result<Vec<Guest>> {
        let mut volume = |name: &str| -> Result<PathBuf> {
            let (source, users) = self.disk.volumes.ready(name)?;
            held.extend(users.map(|users| (name.to_owned(), users)));
            Ok(source)
        };
        let mut guests = Vec::new();
        for mount in &config.create.spec.container.mounts {
            let (source, subpath) = match &mount.source {
                MountSource::Volume { name, subpath, .. } => (volume(name)?, subpath.clone()),
                MountSource::Bind { path, .. } => (PathBuf::from(path), None),
                MountSource::Anonymous | MountSource::Tmpfs { .. } => continue,
            };
            let subpath = subpath.filter(|subpath| !subpath.is_empty());
            guests.push(Guest { source, subpath, target: mount.target.clone(), read_only: mount.read_only });
        }
        for (target, name) in &config.anonymous {
            guests.push(Guest { source: volume(name)?, subpath: None, target: target.clone(), read_only: false });
        }
        // What is mounted in another mount comes after it.
        guests.sort_by_key(|guest| guest.target.trim_end_matches('/').matches('/').count());
        Ok(guests)
    }
}

/// Mounts all of it for this thread, which must end afterwards.
fn assemble(overlay: &Overlay, place: &Path, guests: &[Guest]) -> std::io::Result<OwnedFd> {
    crate::sys::unshare_mounts()?;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    // Opened before the root hides what is below it.
    let mut trees = Vec::new();
    for guest in guests {
        trees.push((guest, open_source(guest)?));
    }
    let root = rootfs::mount(overlay)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    attach(&root, rustix::fs::open(place, flags, Mode::empty())?)?;
    for (guest, tree) in trees {
        let facts = rustix::fs::fstat(&tree)?;
        let kind = match rustix::fs::FileType::from_raw_mode(facts.st_mode) {
            rustix::fs::FileType::Directory => TargetKind::Folder,
            _ => TargetKind::File,
        };
        let (target, _) = mount_target(&root, Path::new(&guest.target), kind).map_err(std::io::Error::other)?;
        attach(&tree, &target)?;
        if guest.read_only {
            let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
            rustix::mount::mount_remount(&path, MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
    }
    Ok(root)
}

fn open_source(guest: &Guest) -> std::io::Result<OwnedFd> {
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let mut source = rustix::fs::open(&guest.source, path, Mode::empty())?;
    if let Some(subpath) = &guest.subpath {
        let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        source = rustix::fs::openat2(&source, subpath.as_str(), path, Mode::empty(), strict)?;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let all = OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE;
    Ok(rustix::mount::open_tree(&source, "", flags | all)?)
}
