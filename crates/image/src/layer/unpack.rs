//! Entries of a layer's archive → files, in the form that overlayfs wants below.
//!
//! The meaning is Docker's: later entries replace earlier ones, missing folders are made, `.wh.NAME`
//! hides NAME of the layers below, `.wh..wh..opq` hides all of a folder. Nothing is synced here; the
//! store does that once per image.

use super::place::{Clean, Folder, Place, kind_at, os, write_at};
use super::recipe::{REPLACED, Recipe};
use crate::archive::{Entry, Kind, Reader};
use crate::error::{Error, Result};
use crate::limits::Limits;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::io::BufRead;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Tape<'a> = Reader<'a, Recipe>;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names of AUFS's own, which say nothing about files.
const AUFS: &[u8] = b".wh..wh.";

/// Unpacks all entries; returns the bytes in files.
///
/// # Errors
/// As [`super::unpack()`].
pub(super) fn unpack(input: &mut dyn BufRead, folder: &Path, limits: &Limits) -> Result<u64> {
    let files = folder.join(super::FILES);
    std::fs::create_dir(&files).map_err(Error::on("make the folder", &files))?;
    let mut reader = Reader::new(input, limits, Recipe::create(folder)?);
    let mut unpacker = Unpacker {
        place: Place::open(&files, limits)?,
        limits: limits.clone(),
        folder: folder.to_owned(),
        replaced: None,
        times: Vec::new(),
        size: 0,
    };
    let root = unpacker.place.folder(&Clean::new(b"", limits)?, b"/")?;
    fs::fchmod(root.fd(), Mode::from_raw_mode(0o755))
        .map_err(|errno| unpacker.place.io("set the mode of", b"", errno))?;
    while let Some(entry) = reader.next()? {
        unpacker.entry(&mut reader, &entry)?;
    }
    unpacker.set_times()?;
    let Reader { tape, .. } = reader;
    tape.finish()?;
    Ok(unpacker.size)
}

struct Unpacker {
    place: Place,
    limits: Limits,
    folder: PathBuf,
    /// Where replaced content goes, once there is some.
    replaced: Option<OwnedFd>,
    /// Of folders, to be set when nothing is made in them any more.
    times: Vec<(Vec<u8>, (i64, u32))>,
    size: u64,
}

/// What made way for a new entry.
#[derive(PartialEq, Eq)]
enum Cleared {
    /// Nothing, or something without a meaning for the layers below.
    Plain,
    /// A whiteout.
    Whiteout,
}

impl Unpacker {
    fn entry(&mut self, reader: &mut Tape<'_>, entry: &Entry) -> Result<()> {
        let path = Clean::new(&entry.path, &self.limits)?;
        let Some((parent, name)) = path.split() else {
            return self.root(entry);
        };
        if (name.starts_with(AUFS) && name != OPAQUE) || parent.has_part(|part| part.starts_with(AUFS)) {
            return Ok(());
        }
        let parent = self.place.folder(&parent, &entry.path)?;
        if name == OPAQUE {
            return self.opaque(&parent);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(&parent, hidden, entry);
        }
        match entry.kind {
            Kind::File => self.file(reader, &parent, name, entry),
            Kind::Dir => self.dir(reader, &parent, name, entry),
            Kind::Symlink => self.symlink(reader, &parent, name, entry),
            Kind::Hardlink => self.hardlink(reader, &parent, name, entry),
            Kind::Char | Kind::Block | Kind::Fifo => self.node(reader, &parent, name, entry),
            // The reader resolves these.
            Kind::Sparse | Kind::Extended | Kind::Global | Kind::LongName | Kind::LongLink => {
                Err(Error::hostile(&entry.path, "an extension without an entry"))
            }
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Dir {
            return Err(Error::hostile(&entry.path, "the root is a folder"));
        }
        let root = self.place.folder(&Clean::new(b"", &self.limits)?, &entry.path)?;
        self.times.push((b".".to_vec(), entry.mtime));
        self.dress(root.fd(), b"", entry)
    }

    fn file(&mut self, reader: &mut Tape<'_>, parent: &Arc<Folder>, name: &[u8], entry: &Entry) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let path = parent.path.join(name);
        let file = self.make(reader, parent, name, entry, "make", |fd| fs::openat(fd, os(name), flags, mode))?;
        match &entry.sparse {
            None => self.content(reader, file.as_fd(), &path, 0, entry.size)?,
            Some((size, pieces)) => {
                fs::ftruncate(&file, *size).map_err(|errno| self.place.io("set the length of", &path, errno))?;
                for &(offset, length) in pieces {
                    self.content(reader, file.as_fd(), &path, offset, length)?;
                }
            }
        }
        self.dress(file.as_fd(), &path, entry)?;
        let times = times(entry.mtime);
        fs::futimens(&file, &times).map_err(|errno| self.place.io("set the times of", &path, errno))
    }

    /// Writes a piece of a file.
    fn content(
        &mut self,
        reader: &mut Tape<'_>,
        file: BorrowedFd<'_>,
        path: &[u8],
        mut offset: u64,
        length: u64,
    ) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        self.size += length;
        reader.tape.content(path, offset, length)?;
        let place = &self.place;
        reader.payload(length, &mut |bytes| {
            write_at(file, bytes, &mut offset).map_err(|errno| place.io("write", path, errno))
        })
    }

    fn dir(&mut self, reader: &mut Tape<'_>, parent: &Arc<Folder>, name: &[u8], entry: &Entry) -> Result<()> {
        let mode = Mode::from_raw_mode(0o700);
        let path = parent.path.join(name);
        let mut cleared = Cleared::Plain;
        loop {
            match fs::mkdirat(parent.fd(), os(name), mode) {
                Ok(()) => break,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.place.io("make the folder", &path, errno)),
            }
            match self.kind_at(parent, name)? {
                Some((FileType::Directory, _)) => break,
                _ => cleared = self.clear(reader, parent, name)?,
            }
        }
        let folder = self.place.by_name(parent, name)?;
        if cleared == Cleared::Whiteout {
            // It hides what is below, as the whiteout did.
            self.opaque(&folder)?;
        }
        self.times.push((path.clone(), entry.mtime));
        self.dress(folder.fd(), &path, entry)
    }

    fn symlink(&mut self, reader: &mut Tape<'_>, parent: &Arc<Folder>, name: &[u8], entry: &Entry) -> Result<()> {
        if entry.link.is_empty() || entry.link.len() >= self.limits.path {
            return Err(Error::hostile(&entry.path, "a link without a target, or with one that is too long"));
        }
        self.make(reader, parent, name, entry, "make the link", |fd| fs::symlinkat(os(&entry.link), fd, os(name)))?;
        self.dress_by_name(parent, name, entry)
    }

    fn hardlink(&mut self, reader: &mut Tape<'_>, parent: &Arc<Folder>, name: &[u8], entry: &Entry) -> Result<()> {
        let shown = String::from_utf8_lossy(&entry.link).into_owned();
        let refuse = |why: &str| Error::hostile(&entry.path, format!("a hard link to {shown:?}, {why}"));
        let target = Clean::new(&entry.link, &self.limits).map_err(|_| refuse("which is outside of the root"))?;
        let (folder, target) = target.split().ok_or_else(|| refuse("which is the root"))?;
        let Some(folder) = self.place.existing(&folder, &entry.path)? else {
            return Err(refuse("which is not in the same layer before it"));
        };
        if folder.path == parent.path && target == name {
            return Ok(());
        }
        let kind = self.kind_at(&folder, target)?;
        match kind {
            None => return Err(refuse("which is not in the same layer before it")),
            Some((FileType::Directory, _)) => return Err(refuse("which is a folder")),
            Some(_) => {}
        }
        self.make(reader, parent, name, entry, "make the hard link", |fd| {
            fs::linkat(folder.fd(), os(target), fd, os(name), AtFlags::empty())
        })
    }

    fn node(&mut self, reader: &mut Tape<'_>, parent: &Arc<Folder>, name: &[u8], entry: &Entry) -> Result<()> {
        let (kind, device) = match entry.kind {
            Kind::Fifo => (FileType::Fifo, 0),
            Kind::Block => (FileType::BlockDevice, fs::makedev(entry.device.0, entry.device.1)),
            _ => (FileType::CharacterDevice, fs::makedev(entry.device.0, entry.device.1)),
        };
        let mode = Mode::from_raw_mode(entry.mode);
        self.make(reader, parent, name, entry, "make the device", |fd| fs::mknodat(fd, os(name), kind, mode, device))?;
        self.dress_by_name(parent, name, entry)
    }

    fn whiteout(&mut self, parent: &Arc<Folder>, name: &[u8], entry: &Entry) -> Result<()> {
        if name.is_empty() || name == b"." || name == b".." {
            return Err(Error::hostile(&entry.path, "a whiteout of nothing"));
        }
        match self.kind_at(parent, name)? {
            // What this layer itself has there hides what is below; a folder has to be told to.
            Some((FileType::Directory, _)) => {
                let folder = self.place.by_name(parent, name)?;
                self.opaque(&folder)
            }
            Some(_) => Ok(()),
            None => {
                let mode = Mode::from_raw_mode(0o000);
                fs::mknodat(parent.fd(), os(name), FileType::CharacterDevice, mode, 0)
                    .map_err(|errno| self.place.io("make the whiteout", &parent.path.join(name), errno))
            }
        }
    }

    fn opaque(&self, folder: &Folder) -> Result<()> {
        fs::fsetxattr(folder.fd(), "trusted.overlay.opaque", b"y", XattrFlags::empty())
            .map_err(|errno| self.place.io("make opaque", folder.path.bytes(), errno))
    }

    /// Makes something that must be new; what is in its way makes way first.
    fn make<F>(
        &mut self,
        reader: &mut Tape<'_>,
        parent: &Arc<Folder>,
        name: &[u8],
        entry: &Entry,
        action: &'static str,
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<F>,
    ) -> Result<F> {
        loop {
            match make(parent.fd()) {
                Ok(made) => return Ok(made),
                Err(Errno::EXIST) => {
                    // What it hid, the new one hides as well.
                    let _whiteout_or_not = self.clear(reader, parent, name)?;
                }
                Err(Errno::NAMETOOLONG | Errno::INVAL) => {
                    return Err(Error::hostile(&entry.path, "a name that no file can have"));
                }
                Err(errno) => return Err(self.place.io(action, &parent.path.join(name), errno)),
            }
        }
    }

    /// Takes away what is at a name. Content that the recipe speaks of is kept aside.
    fn clear(&mut self, reader: &mut Tape<'_>, parent: &Arc<Folder>, name: &[u8]) -> Result<Cleared> {
        let Some((kind, device)) = self.kind_at(parent, name)? else {
            return Ok(Cleared::Plain);
        };
        self.place.forget();
        let path = parent.path.join(name);
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            let number = reader.tape.moved(&path)?;
            let replaced = self.replaced()?;
            fs::renameat(parent.fd(), os(name), replaced, number.to_string().as_str())
                .map_err(|errno| self.place.io("set aside", &path, errno))?;
            return Ok(Cleared::Plain);
        }
        fs::unlinkat(parent.fd(), os(name), AtFlags::empty())
            .map_err(|errno| self.place.io("replace", &path, errno))?;
        match kind == FileType::CharacterDevice && device == 0 {
            true => Ok(Cleared::Whiteout),
            false => Ok(Cleared::Plain),
        }
    }

    fn replaced(&mut self) -> Result<BorrowedFd<'_>> {
        if self.replaced.is_none() {
            let path = self.folder.join(REPLACED);
            std::fs::create_dir(&path).map_err(Error::on("make the folder", &path))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = fs::open(&path, flags, Mode::empty()).map_err(|errno| Error::io("open", &path, errno.into()))?;
            self.replaced = Some(fd);
        }
        self.replaced.as_ref().map(AsFd::as_fd).ok_or(Error::Cancelled)
    }

    fn kind_at(&self, parent: &Folder, name: &[u8]) -> Result<Option<(FileType, u64)>> {
        kind_at(parent.fd(), name).map_err(|errno| self.place.io("look at", &parent.path.join(name), errno))
    }

    /// Owner, mode and attributes, in this order: a change of owner takes set-user-id and file
    /// capabilities away.
    fn dress(&self, file: BorrowedFd<'_>, path: &[u8], entry: &Entry) -> Result<()> {
        let failed = |action| move |errno| self.place.io(action, path, errno);
        fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
            .map_err(failed("set the owner of"))?;
        fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(failed("set the mode of"))?;
        for (name, value) in &entry.xattrs {
            if is_kept(name) {
                check_xattr(name, value, entry)?;
                ignoring(fs::fsetxattr(file, os(name), value, XattrFlags::empty()), name, path)
                    .map_err(failed("set an extended attribute of"))?;
            }
        }
        Ok(())
    }

    /// The same, and the times, for what can't be opened without consequences.
    fn dress_by_name(&self, parent: &Folder, name: &[u8], entry: &Entry) -> Result<()> {
        let path = parent.path.join(name);
        let (place, path) = (&self.place, &path);
        let failed = |action| move |errno| place.io(action, path, errno);
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        fs::chownat(parent.fd(), os(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the owner of"))?;
        if entry.kind != Kind::Symlink {
            // It is a device or pipe that was made just now: there is no link to follow.
            fs::chmodat(parent.fd(), os(name), Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(failed("set the mode of"))?;
        }
        for (key, value) in entry.xattrs.iter().filter(|(key, _)| is_kept(key)) {
            check_xattr(key, value, entry)?;
            let by_fd = PathBuf::from(format!("/proc/self/fd/{}", parent.fd().as_raw_fd())).join(os(name));
            ignoring(fs::lsetxattr(&by_fd, os(key), value, XattrFlags::empty()), key, path)
                .map_err(failed("set an extended attribute of"))?;
        }
        fs::utimensat(parent.fd(), os(name), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the times of"))
    }

    /// Times of folders. One that has been replaced since is left alone.
    fn set_times(&self) -> Result<()> {
        let files = self.folder.join(super::FILES);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(&files, flags, Mode::empty()).map_err(|errno| Error::io("open", &files, errno.into()))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        for (path, mtime) in &self.times {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match fs::openat2(&root, os(path), flags, Mode::empty(), resolve) {
                Ok(folder) => fs::futimens(&folder, &times(*mtime))
                    .map_err(|errno| self.place.io("set the times of", path, errno))?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(self.place.io("open the folder", path, errno)),
            }
        }
        Ok(())
    }
}

/// Attributes that belong to the content. Those of overlayfs would let an archive speak to the
/// kernel's overlay code; labels and signatures of security modules are the host's affair.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name == b"security.capability"
        || name.starts_with(b"system.posix_acl_")
}

fn check_xattr(name: &[u8], value: &[u8], entry: &Entry) -> Result<()> {
    // The kernel's own limits (XATTR_NAME_MAX, XATTR_SIZE_MAX).
    match name.len() > 255 || value.len() > 64 << 10 || name.contains(&0) {
        true => Err(Error::hostile(&entry.path, "an extended attribute that no file can have")),
        false => Ok(()),
    }
}

/// A file system without attributes of a kind gets along without them, as with Docker.
fn ignoring(result: rustix::io::Result<()>, name: &[u8], path: &[u8]) -> rustix::io::Result<()> {
    match result {
        Err(errno @ (Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL)) => {
            let (name, path) = (String::from_utf8_lossy(name), String::from_utf8_lossy(path));
            tracing::debug!(%name, %path, "an extended attribute is left out: {errno}");
            Ok(())
        }
        result => result,
    }
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
