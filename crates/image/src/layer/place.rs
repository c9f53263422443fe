//! Where entries go: folders of a layer reached by descriptor, so that no name and no link in an
//! archive ever leads out of the layer.
//!
//! A path is resolved by the kernel with the layer as its root (`openat2`, RESOLVE_IN_ROOT): links
//! mean inside the layer what they will mean inside the container. The last component is never
//! followed.

use crate::error::{Error, Result};
use crate::limits::Limits;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A path of an archive, made relative and plain; empty: the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Clean(Vec<u8>);

impl Clean {
    /// Cleans a path: absolute ones are relative to the root, `.` and double slashes go away.
    ///
    /// # Errors
    /// It climbs out of the root, or is too long or too deep.
    pub(crate) fn new(path: &[u8], limits: &Limits) -> Result<Clean> {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in path.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() {
                        return Err(Error::hostile(path, "the path leads out of the root (..)"));
                    }
                }
                part if part.len() > 255 => return Err(Error::hostile(path, "a name of more than 255 bytes")),
                part => parts.push(part),
            }
        }
        if parts.len() > limits.depth {
            return Err(Error::hostile(path, format!("a path of more than {} folders", limits.depth)));
        }
        let clean = parts.join(&b'/');
        match clean.len() >= limits.path {
            true => Err(Error::hostile(path, format!("a path of {} bytes", clean.len()))),
            false => Ok(Clean(clean)),
        }
    }

    /// Folder and name; `None` for the root.
    pub(crate) fn split(&self) -> Option<(Clean, &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => Some((Clean(self.0[..slash].to_vec()), &self.0[slash + 1..])),
            None => Some((Clean(Vec::new()), &self.0)),
        }
    }

    pub(crate) fn join(&self, name: &[u8]) -> Vec<u8> {
        match self.0.is_empty() {
            true => name.to_vec(),
            false => [self.0.as_slice(), b"/", name].concat(),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Is there such a part in it?
    pub(crate) fn has_part(&self, is_it: impl Fn(&[u8]) -> bool) -> bool {
        self.0.split(|&byte| byte == b'/').any(is_it)
    }
}

/// An open folder of the layer.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    /// Its path with links resolved.
    pub(crate) path: Clean,
}

impl Folder {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The folders of one layer.
#[derive(Debug)]
pub(crate) struct Place {
    root: OwnedFd,
    root_path: PathBuf,
    limits: Limits,
    /// The folder used last: archives come folder by folder.
    last: Option<(Clean, Arc<Folder>)>,
}

/// The name as the kernel takes it.
pub(crate) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

impl Place {
    pub(crate) fn open(root: &Path, limits: &Limits) -> Result<Place> {
        let root_path = std::fs::canonicalize(root).map_err(Error::on("resolve", root))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::open(&root_path, flags, Mode::empty()).map_err(|errno| failed("open", &root_path, errno))?;
        Ok(Place { root: fd, root_path, limits: limits.clone(), last: None })
    }

    /// Forgets what it knows of folders: one may have been replaced.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// The folder of that path; what is missing is made, as root's with mode 0755.
    pub(crate) fn folder(&mut self, path: &Clean, entry: &[u8]) -> Result<Arc<Folder>> {
        if let Some((known, folder)) = &self.last
            && known == path
        {
            return Ok(folder.clone());
        }
        let folder = Arc::new(self.find(path, entry)?);
        self.last = Some((path.clone(), folder.clone()));
        Ok(folder)
    }

    /// The folder of that path if there is one.
    pub(crate) fn existing(&self, path: &Clean, entry: &[u8]) -> Result<Option<Folder>> {
        match self.resolve(path.bytes()) {
            Ok(fd) => self.named(fd, path, entry).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(self.refuse(entry, errno)),
        }
    }

    fn find(&self, path: &Clean, entry: &[u8]) -> Result<Folder> {
        match self.resolve(path.bytes()) {
            Ok(fd) => return self.named(fd, path, entry),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.refuse(entry, errno)),
        }
        let Some((parent, name)) = path.split() else {
            return Err(self.refuse(entry, Errno::NOENT));
        };
        let parent = self.find(&parent, entry)?;
        match fs::mkdirat(parent.fd(), os(name), Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Error::hostile(entry, "its folder is a link that leads nowhere")),
            Err(errno) => return Err(self.io("make the folder", &parent.path.join(name), errno)),
        }
        self.by_name(&parent, name)
    }

    /// A folder by its name in another, not following a link.
    pub(crate) fn by_name(&self, parent: &Folder, name: &[u8]) -> Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = parent.path.join(name);
        let fd = fs::openat(parent.fd(), os(name), flags, Mode::empty())
            .map_err(|errno| self.io("open the folder", &path, errno))?;
        self.check(&path, &path)?;
        Ok(Folder { fd, path: Clean(path) })
    }

    fn resolve(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: a rename elsewhere on the machine raced with the walk; it is not about us.
        for _ in 0..64 {
            match fs::openat2(&self.root, os(path), flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Its true path, which differs where a link was followed.
    fn named(&self, fd: OwnedFd, path: &Clean, entry: &[u8]) -> Result<Folder> {
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let target = std::fs::read_link(&link).map_err(Error::on("read the link", Path::new(&link)))?;
        let inside = target
            .strip_prefix(&self.root_path)
            .map_err(|_| Error::hostile(entry, "its folder is outside of the root"))?;
        let inside = inside.as_os_str().as_bytes();
        if inside != path.bytes() {
            self.check(inside, entry)?;
        }
        Ok(Folder { fd, path: Clean(inside.to_vec()) })
    }

    /// Links can make paths deeper than any name in the archive is.
    fn check(&self, path: &[u8], entry: &[u8]) -> Result<()> {
        let depth = path.iter().filter(|&&byte| byte == b'/').count() + 1;
        match path.len() >= self.limits.path || depth > self.limits.depth {
            true => Err(Error::hostile(entry, "the folder that it leads to is too deep")),
            false => Ok(()),
        }
    }

    fn refuse(&self, entry: &[u8], errno: Errno) -> Error {
        match errno {
            Errno::NOTDIR => Error::hostile(entry, "a part of its path is no folder"),
            Errno::LOOP => Error::hostile(entry, "links in its path go round in circles"),
            Errno::NAMETOOLONG => Error::hostile(entry, "its path is too long"),
            Errno::NOENT => Error::hostile(entry, "its folder is a link that leads nowhere"),
            errno => self.io("open the folder of", entry, errno),
        }
    }

    /// An error about a path of the layer.
    pub(crate) fn io(&self, action: &'static str, path: &[u8], errno: Errno) -> Error {
        failed(action, &self.root_path.join(os(path)), errno)
    }
}

fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    Error::io(action, path, errno.into())
}

/// Writes all of `bytes` at `offset`, which moves behind them.
pub(crate) fn write_at(file: impl AsFd, mut bytes: &[u8], offset: &mut u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&file, bytes, *offset) {
            Ok(written) => {
                *offset += written as u64;
                bytes = bytes.get(written..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// What is at a name; links are not followed.
pub(crate) fn kind_at(folder: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Option<(FileType, u64)>> {
    match fs::statat(folder, os(name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some((FileType::from_raw_mode(stat.st_mode), stat.st_rdev))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
