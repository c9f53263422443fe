//! Files of a tree as an archive, and an archive into a tree: what `cp` does, on both of its sides.
//!
//! A tree is given by a descriptor of its root and may be a container's, which changes it meanwhile
//! as it likes: every path is resolved by the kernel within that root (`openat2`), and what is looked
//! at is what is opened.

mod land;
mod pack;
mod unpack;

pub use pack::pack;
pub use unpack::{How, Owners, unpack};

use crate::error::Error;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Links mean within the root what they mean to whoever lives there.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Opens a path, which must lead to something; the last link is followed only if `flags` allow.
fn open(root: impl AsFd, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b".".as_slice() } else { path };
    // EAGAIN: a rename elsewhere on the machine raced with the walk; it is not about us.
    for _ in 0..64 {
        match fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// Why a path cannot be used, in words for whoever wrote it.
fn wrong(path: &[u8], errno: Errno) -> Error {
    let shown = String::from_utf8_lossy(path);
    match errno {
        Errno::NOENT => Error::Invalid(format!("there is no {shown}")),
        Errno::NOTDIR => Error::Invalid(format!("{shown}: a part of the path is no folder")),
        Errno::LOOP => Error::Invalid(format!("{shown}: its links go round in circles")),
        errno => io("open", path, errno),
    }
}

fn io(action: &'static str, path: &[u8], errno: Errno) -> Error {
    Error::io(action, std::path::Path::new(crate::layer::place::os(path)), errno.into())
}

/// Attributes that belong to the content.
fn is_kept(name: &[u8]) -> bool {
    crate::layer::unpack::is_kept(name)
}

#[cfg(test)]
mod tests;
