//! Named network namespaces: files under `RUN-ROOT/netns` that an nsfs mount keeps alive.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const NSFS_MAGIC: u64 = 0x6e73_6673;
const OWN: &str = "/proc/thread-self/ns/net";

/// Makes the directory a mount point of its own whose unmounts reach every other mount namespace;
/// otherwise a container's shim that copied the host's mounts would keep dead namespaces alive.
pub(crate) fn prepare_dir(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    if mount_change(dir, MountPropagationFlags::SHARED).is_err() {
        mount_bind(dir, dir)?;
        mount_change(dir, MountPropagationFlags::SHARED)?;
    }
    Ok(())
}

/// Undoes `prepare_dir` when no namespace is left.
pub(crate) fn release_dir(dir: &Path) {
    let empty = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    if empty {
        let _not_mounted = unmount(dir, UnmountFlags::DETACH);
        let _kept = std::fs::remove_dir(dir);
    }
}

/// The namespace of the calling thread.
pub(crate) fn current() -> io::Result<OwnedFd> {
    Ok(openat(CWD, OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Moves the calling thread.
pub(crate) fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Does something inside of a namespace, on a thread of its own that ends with it.
pub(crate) fn within<T: Send>(
    namespace: impl AsFd + Sync,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    aside(|| enter(&namespace).and_then(|()| work()))
}

/// Does something on a thread that moves between namespaces and must end there.
pub(crate) fn aside<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|_| Err(io::Error::other("a thread in a network namespace panicked")))
}

/// Moves the calling thread into a new namespace.
#[expect(unsafe_code, reason = "rustix marks unshare unsafe because of flags not used here")]
pub(crate) fn unshare() -> io::Result<OwnedFd> {
    // SAFETY: only the file descriptor table would be dangerous to unshare, and it stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    current()
}

/// Gives the calling thread's namespace a name.
pub(crate) fn persist(path: &Path) -> io::Result<()> {
    std::fs::File::create(path)?;
    mount_bind(OWN, path)?;
    Ok(())
}

/// Opens a named namespace; `None` when the file is none (a crash came before its mount).
pub(crate) fn open(path: &Path) -> io::Result<Option<OwnedFd>> {
    let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((rustix::fs::fstatfs(&fd)?.f_type as u64 == NSFS_MAGIC).then_some(fd))
}

/// The same where there may be no such name.
pub(crate) fn find(path: &Path) -> io::Result<Option<OwnedFd>> {
    match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found,
    }
}

/// The namespace of the mesh.
pub(crate) fn open_mesh(run_root: &Path) -> io::Result<OwnedFd> {
    let namespace = find(&crate::names::mesh_netns_path(run_root))?;
    namespace.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the namespace of the mesh is not there"))
}

/// Takes the name away; the namespace ends with its last process.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // Several mounts can be stacked on one file if a crash fell between two; none may stay behind.
    while unmount(path, UnmountFlags::DETACH).is_ok() {}
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
