//! An archive → files of a tree.

use super::{INSIDE, io, land, open, wrong};
use crate::archive::{Entry, Kind, Reader};
use crate::error::{Error, Result};
use crate::layer::place::{Clean, kind_at, os, write_at};
use crate::limits::Limits;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// What of an archive is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its one thing, as `cp` would put it.
    Thing,
    /// What is in its one folder.
    Contents,
    /// Every entry by its name, in a folder that must be there.
    Entries,
}

/// Whose the files will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// As the archive says.
    Kept,
    /// This user's and group's.
    Given(u32, u32),
    /// Whoever runs this. Set-user-id, set-group-id and capabilities are left out: they are promises of
    /// another owner.
    Mine,
}

/// Within a tree that is being made no link is followed: none is honest there.
const BELOW: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Unpacks an archive (plain, gzip or zstd) at `to` of a tree. A file appears whole or not at all.
/// Blocks.
///
/// # Errors
/// There is no such place; the archive is damaged, or tries to leave it; the disk fails.
pub fn unpack(root: impl AsFd, to: &[u8], how: How, owners: Owners, input: &mut (dyn Read + Send)) -> Result<()> {
    let limits = Limits::default();
    let mut input = BufReader::with_capacity(256 << 10, crate::layer::open(input).map_err(crate::layer::source_error)?);
    let mut reader = Reader::new(&mut input, &limits, ());
    let mut entry = reader.next()?;
    let mut unpacker = match (how, &entry) {
        (How::Entries, _) => {
            let _is_there =
                open(&root, to, OFlags::PATH | OFlags::DIRECTORY, INSIDE).map_err(|errno| wrong(to, errno))?;
            let root = root.as_fd().try_clone_to_owned().map_err(Error::on("open", Path::new("/")))?;
            Unpacker::new(root, [to, b"/".as_slice()].concat(), INSIDE, None, owners, &limits)
        }
        (_, None) => return Err(Error::Invalid("the archive is empty".to_owned())),
        (_, Some(first)) => {
            let top = top(first, &limits)?;
            let place = land::find(root.as_fd(), to, first.kind == Kind::Dir, &top, how == How::Contents)?;
            Unpacker::new(place.folder, Vec::new(), BELOW, Some((top, place.name)), owners, &limits)
        }
    };
    let mut all = || {
        while let Some(found) = &entry {
            unpacker.entry(&mut reader, found)?;
            entry = reader.next()?;
        }
        Ok(())
    };
    let done = all();
    // Those that are made get their modes whatever comes after them.
    let dressed = unpacker.dress_folders();
    done.and(dressed)
}

/// Name of the thing that all entries belong to; `.` for a root.
fn top(first: &Entry, limits: &Limits) -> Result<Vec<u8>> {
    let path = Clean::new(&first.path, limits)?;
    let name = path.bytes().split(|&byte| byte == b'/').next().unwrap_or_default();
    Ok(if name.is_empty() { b".".to_vec() } else { name.to_vec() })
}

type Archive<'a> = Reader<'a, ()>;

struct Unpacker<'a> {
    root: OwnedFd,
    /// Stands before every path.
    base: Vec<u8>,
    resolve: ResolveFlags,
    /// Name of the top in the archive, and here.
    rename: Option<(Vec<u8>, Vec<u8>)>,
    owners: Owners,
    limits: &'a Limits,
    /// The folder used last: archives come folder by folder.
    last: Option<(Clean, Arc<OwnedFd>)>,
    /// To be dressed when nothing is made in them any more.
    folders: Vec<(Vec<u8>, Entry)>,
    /// Of temporary names.
    counter: u32,
}

impl<'a> Unpacker<'a> {
    fn new(
        root: OwnedFd,
        base: Vec<u8>,
        resolve: ResolveFlags,
        rename: Option<(Vec<u8>, Vec<u8>)>,
        owners: Owners,
        limits: &'a Limits,
    ) -> Self {
        Unpacker { root, base, resolve, rename, owners, limits, last: None, folders: Vec::new(), counter: 0 }
    }

    fn entry(&mut self, archive: &mut Archive<'_>, entry: &Entry) -> Result<()> {
        let path = self.place(&entry.path)?;
        let Some((parent, name)) = path.split() else {
            // The folder that was there before stays as it is.
            return Ok(());
        };
        let parent = self.parent(&parent, &entry.path)?;
        let is_folder = kind_at(parent.as_fd(), name).map_err(|errno| io("look at", path.bytes(), errno))?;
        let is_folder = is_folder.map(|(kind, _)| kind == FileType::Directory);
        let shown = String::from_utf8_lossy(&entry.path);
        match (entry.kind == Kind::Dir, is_folder) {
            (true, Some(false)) => {
                return Err(Error::Invalid(format!("{shown}: a folder cannot take the place of a file")));
            }
            (false, Some(true)) => {
                return Err(Error::Invalid(format!("{shown}: a file cannot take the place of a folder")));
            }
            _ => {}
        }
        match entry.kind {
            Kind::File => self.file(archive, parent.as_fd(), name, entry),
            Kind::Dir => {
                if is_folder.is_none() {
                    let mode = Mode::from_raw_mode(0o700);
                    fs::mkdirat(&*parent, os(name), mode).map_err(|errno| io("make the folder", &entry.path, errno))?;
                }
                self.folders.push((path.bytes().to_vec(), entry.clone()));
                Ok(())
            }
            Kind::Symlink => {
                self.replace(parent.as_fd(), name, entry, |to, name| fs::symlinkat(os(&entry.link), to, name))
            }
            Kind::Hardlink => self.hardlink(parent.as_fd(), name, entry),
            Kind::Char | Kind::Block | Kind::Fifo => {
                let (kind, device) = match entry.kind {
                    Kind::Fifo => (FileType::Fifo, 0),
                    Kind::Block => (FileType::BlockDevice, fs::makedev(entry.device.0, entry.device.1)),
                    _ => (FileType::CharacterDevice, fs::makedev(entry.device.0, entry.device.1)),
                };
                let mode = Mode::from_raw_mode(entry.mode);
                self.replace(parent.as_fd(), name, entry, |to, name| fs::mknodat(to, name, kind, mode, device))
            }
            // The reader resolves these.
            Kind::Sparse | Kind::Extended | Kind::Global | Kind::LongName | Kind::LongLink => {
                Err(Error::hostile(&entry.path, "an extension without an entry"))
            }
        }
    }

    /// Where an entry of that path goes, from the root.
    fn place(&self, path: &[u8]) -> Result<Clean> {
        let clean = Clean::new(path, self.limits)?;
        let Some((from, to)) = &self.rename else { return Ok(clean) };
        let rest = match clean.bytes().strip_prefix(from.as_slice()) {
            _ if from == b"." => clean.bytes(),
            Some([]) => b"",
            Some([b'/', rest @ ..]) => rest,
            _ => return Err(Error::hostile(path, "it does not belong to what is copied")),
        };
        Clean::new(&[to, b"/".as_slice(), rest].concat(), self.limits)
    }

    fn open(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        open(&self.root, &[&self.base, path].concat(), flags, self.resolve)
    }

    /// The folder of that path; what is missing is made.
    fn parent(&mut self, path: &Clean, entry: &[u8]) -> Result<Arc<OwnedFd>> {
        if let Some((known, folder)) = &self.last
            && known == path
        {
            return Ok(folder.clone());
        }
        let folder = Arc::new(self.find(path, entry)?);
        self.last = Some((path.clone(), folder.clone()));
        Ok(folder)
    }

    fn find(&self, path: &Clean, entry: &[u8]) -> Result<OwnedFd> {
        let refuse = |errno| match errno {
            Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Error::hostile(entry, "a part of its path is no folder"),
            errno => io("open the folder of", entry, errno),
        };
        match (self.open(path.bytes(), OFlags::PATH | OFlags::DIRECTORY), path.split()) {
            (Ok(folder), _) => return Ok(folder),
            (Err(Errno::NOENT), Some((above, name))) => {
                let above = self.find(&above, entry)?;
                let mode = Mode::from_raw_mode(0o755);
                fs::mkdirat(&above, os(name), mode).map_err(|errno| io("make the folder", path.bytes(), errno))?;
                if let Owners::Given(uid, gid) = self.owners {
                    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                    fs::chownat(&above, os(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(|errno| io("set the owner of", path.bytes(), errno))?;
                }
            }
            (Err(errno), _) => return Err(refuse(errno)),
        }
        self.open(path.bytes(), OFlags::PATH | OFlags::DIRECTORY).map_err(refuse)
    }

    /// Makes something under a temporary name, and gives it its own when it is whole.
    fn replace(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
        make: impl Fn(BorrowedFd<'_>, &str) -> rustix::io::Result<()>,
    ) -> Result<()> {
        let temporary = self.fresh(entry, |temporary| make(parent, temporary))?.name;
        let done = self.dress_by_name(parent, &temporary, entry).and_then(|()| {
            fs::renameat(parent, temporary.as_str(), parent, os(name))
                .map_err(|errno| io("replace", &entry.path, errno))
        });
        // Also when it is one with what is there already: then a rename does nothing.
        let _moved_away = fs::unlinkat(parent, temporary.as_str(), AtFlags::empty());
        done
    }

    /// Makes something under a name that nothing has.
    fn fresh<T>(&mut self, entry: &Entry, make: impl Fn(&str) -> rustix::io::Result<T>) -> Result<FreshName<T>> {
        loop {
            self.counter += 1;
            let name = format!(".rswarm-cp.{}.{}", std::process::id(), self.counter);
            match make(&name) {
                Ok(made) => return Ok(FreshName { name, made }),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(io("make", &entry.path, errno)),
            }
        }
    }

    fn file(&mut self, archive: &mut Archive<'_>, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let FreshName { name: temporary, made: file } =
            self.fresh(entry, |temporary| fs::openat(parent, temporary, flags, mode))?;
        let done = self.content(archive, &file, entry).and_then(|()| self.dress(file.as_fd(), entry)).and_then(|()| {
            fs::renameat(parent, temporary.as_str(), parent, os(name))
                .map_err(|errno| io("replace", &entry.path, errno))
        });
        if done.is_err() {
            let _nothing_half_done = fs::unlinkat(parent, temporary.as_str(), AtFlags::empty());
        }
        done
    }

    fn content(&self, archive: &mut Archive<'_>, file: &OwnedFd, entry: &Entry) -> Result<()> {
        let whole = [(0, entry.size)];
        let pieces = match &entry.sparse {
            None => &whole[..],
            Some((size, pieces)) => {
                fs::ftruncate(file, *size).map_err(|errno| io("set the length of", &entry.path, errno))?;
                pieces
            }
        };
        for &(mut offset, length) in pieces {
            archive.payload(length, &mut |bytes| {
                write_at(file, bytes, &mut offset).map_err(|errno| io("write", &entry.path, errno))
            })?;
        }
        Ok(())
    }

    fn hardlink(&mut self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
        let refuse = |why: &str| {
            let shown = String::from_utf8_lossy(&entry.link);
            Error::hostile(&entry.path, format!("a hard link to {shown:?}, {why}"))
        };
        let target = self.place(&entry.link)?;
        let (folder, target) = target.split().ok_or_else(|| refuse("which is the root"))?;
        let folder =
            self.open(folder.bytes(), OFlags::PATH | OFlags::DIRECTORY).map_err(|_| refuse("which is not there"))?;
        match kind_at(folder.as_fd(), target) {
            Ok(Some((FileType::RegularFile, _))) => {}
            _ => return Err(refuse("which is no file")),
        }
        let temporary =
            self.fresh(entry, |temporary| fs::linkat(&folder, os(target), parent, temporary, AtFlags::empty()))?.name;
        let done = fs::renameat(parent, temporary.as_str(), parent, os(name));
        // A rename onto another name of the same file does nothing.
        let _moved_away = fs::unlinkat(parent, temporary.as_str(), AtFlags::empty());
        done.map_err(|errno| io("replace", &entry.path, errno))
    }

    fn owner(&self, entry: &Entry) -> Option<(Option<Uid>, Option<Gid>)> {
        let (uid, gid) = match self.owners {
            Owners::Kept => (entry.uid, entry.gid),
            Owners::Given(uid, gid) => (uid, gid),
            Owners::Mine => return None,
        };
        Some((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
    }

    fn mode(&self, entry: &Entry) -> Mode {
        let kept = if self.owners == Owners::Mine { 0o1777 } else { 0o7777 };
        Mode::from_raw_mode(entry.mode & kept)
    }

    /// Owner, mode, attributes and times, in this order: a change of owner takes set-user-id and
    /// capabilities away.
    fn dress(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        let failed = |action| move |errno| io(action, &entry.path, errno);
        if let Some((uid, gid)) = self.owner(entry) {
            fs::fchown(file, uid, gid).map_err(failed("set the owner of"))?;
        }
        fs::fchmod(file, self.mode(entry)).map_err(failed("set the mode of"))?;
        let is_wanted =
            |name: &[u8]| super::is_kept(name) && (self.owners != Owners::Mine || name.starts_with(b"user."));
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_wanted(name) && !name.contains(&0)) {
            match fs::fsetxattr(file, os(name), value, XattrFlags::empty()) {
                // A file system without attributes of a kind gets along without them.
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
                result => result.map_err(failed("set an extended attribute of"))?,
            }
        }
        fs::futimens(file, &times(entry.mtime)).map_err(failed("set the times of"))
    }

    /// The same for what can't be opened without consequences, and was made just now.
    fn dress_by_name(&self, parent: BorrowedFd<'_>, name: &str, entry: &Entry) -> Result<()> {
        let failed = |action| move |errno| io(action, &entry.path, errno);
        if let Some((uid, gid)) = self.owner(entry) {
            fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("set the owner of"))?;
        }
        if entry.kind != Kind::Symlink {
            fs::chmodat(parent, name, self.mode(entry), AtFlags::empty()).map_err(failed("set the mode of"))?;
        }
        fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("set the times of"))
    }

    /// Innermost first, since a mode may forbid to go on. One that is no folder any more is left alone.
    fn dress_folders(&self) -> Result<()> {
        for (path, entry) in self.folders.iter().rev() {
            match self.open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
                Ok(folder) => self.dress(folder.as_fd(), entry)?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(io("open the folder", path, errno)),
            }
        }
        Ok(())
    }
}

/// What was made, and under which name.
struct FreshName<T> {
    name: String,
    made: T,
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
