//! A file, or a folder with all that is in it → an archive.

use super::{INSIDE, io, open, wrong};
use crate::archive::write::Writer;
use crate::archive::{Entry, Kind};
use crate::error::{Error, Result};
use crate::limits::Limits;
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{self, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::Write;

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;
/// Files that say they are empty are read up to here: those of procfs and sysfs are not.
const UNTOLD: usize = 1 << 20;

/// File systems whose files are views of the kernel: they are empty folders in a copy of what is
/// around them (statfs(2): proc, sysfs, cgroup, cgroup2, devpts, mqueue, securityfs, tracefs, debugfs,
/// bpf).
const VIEWS: [u64; 10] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x1980_0202,
    0x7363_6673,
    0x7472_6163,
    0x6462_6720,
    0xcafe_4a11,
];

/// Writes what is at `path` of a tree, by the name of the path's last part (`.` where it has none). A
/// last part that is a link is written as one, unless `follow`. Sockets are left out. Blocks.
///
/// # Errors
/// There is nothing at the path; a file cannot be read; `out` takes no more.
pub fn pack(root: impl AsFd, path: &[u8], follow: bool, out: &mut dyn Write) -> Result<()> {
    let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
    let top = open(root, path, flags, INSIDE).map_err(|errno| wrong(path, errno))?;
    let stat = fs::fstat(&top).map_err(|errno| io("look at", path, errno))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
        return Err(Error::Invalid(format!("{} is a socket, which no archive holds", String::from_utf8_lossy(path))));
    }
    let mut packer = Packer { out: Writer::new(out), links: BTreeMap::new(), piece: vec![0; PIECE] };
    packer.thing(&top, &stat, last_part(path), Limits::default().depth)?;
    packer.out.end()
}

fn last_part(path: &[u8]) -> &[u8] {
    let mut parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && part != b".");
    parts.next_back().filter(|part| *part != b"..").unwrap_or(b".")
}

struct Packer<'a> {
    out: Writer<'a>,
    /// First names of files that have several.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    piece: Vec<u8>,
}

impl Packer<'_> {
    /// Writes one thing; `at` names it and can do nothing else.
    fn thing(&mut self, at: &OwnedFd, stat: &Stat, name: &[u8], deeper: usize) -> Result<()> {
        let mut entry = about(stat, name);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(at, stat, entry),
            FileType::Directory => self.folder(at, stat, entry, deeper),
            FileType::Symlink => {
                let link = fs::readlinkat(at, c"", Vec::new()).map_err(|errno| io("read the link", name, errno))?;
                (entry.kind, entry.link) = (Kind::Symlink, link.into_bytes());
                self.out.header(&entry)
            }
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                entry.kind = if kind == FileType::BlockDevice { Kind::Block } else { Kind::Char };
                entry.device = (fs::major(stat.st_rdev), fs::minor(stat.st_rdev));
                self.out.header(&entry)
            }
            FileType::Fifo => {
                entry.kind = Kind::Fifo;
                self.out.header(&entry)
            }
            FileType::Socket | FileType::Unknown => Ok(()),
        }
    }

    fn file(&mut self, at: &OwnedFd, stat: &Stat, mut entry: Entry) -> Result<()> {
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino))
        {
            (entry.kind, entry.link) = (Kind::Hardlink, first.clone());
            return self.out.header(&entry);
        }
        let file = again(at, OFlags::RDONLY | OFlags::NONBLOCK).map_err(|errno| io("open", &entry.path, errno))?;
        entry.xattrs = xattrs(file.as_fd(), &entry.path)?;
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        if entry.size == 0 {
            return self.untold(&file, entry);
        }
        self.out.header(&entry)?;
        let mut left = entry.size;
        while left > 0 {
            let most = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
            match rustix::io::read(&file, self.piece.get_mut(..most).unwrap_or_default()) {
                Ok(0) => {
                    let name = String::from_utf8_lossy(&entry.path).into_owned();
                    return Err(Error::corrupt(name, "it became shorter while it was read"));
                }
                Ok(count) => {
                    self.out.bytes(self.piece.get(..count).unwrap_or_default())?;
                    left -= count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io("read", &entry.path, errno)),
            }
        }
        self.out.pad(entry.size)?;
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), entry.path);
        }
        Ok(())
    }

    /// A file that says it is empty.
    fn untold(&mut self, file: &OwnedFd, mut entry: Entry) -> Result<()> {
        let mut content = Vec::new();
        while content.len() < UNTOLD {
            match rustix::io::read(file, &mut self.piece[..]) {
                Ok(0) => break,
                Ok(count) => content.extend_from_slice(self.piece.get(..count).unwrap_or_default()),
                Err(Errno::INTR) => {}
                // Of those there are some that only privileged calls can read, or that wait.
                Err(_) => break,
            }
        }
        entry.size = content.len() as u64;
        self.out.header(&entry)?;
        self.out.bytes(&content)?;
        self.out.pad(entry.size)
    }

    fn folder(&mut self, at: &OwnedFd, stat: &Stat, mut entry: Entry, deeper: usize) -> Result<()> {
        let name = std::mem::take(&mut entry.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = fs::openat(at, c".", flags, Mode::empty()).map_err(|errno| io("open the folder", &name, errno))?;
        entry.kind = Kind::Dir;
        entry.xattrs = xattrs(folder.as_fd(), &name)?;
        entry.path = [&name, b"/".as_slice()].concat();
        self.out.header(&entry)?;
        let Some(deeper) = deeper.checked_sub(1) else {
            return Err(Error::hostile(&name, "its folders are too deep"));
        };
        let listed = Dir::read_from(&folder).and_then(Iterator::collect::<rustix::io::Result<Vec<_>>>);
        let mut names: Vec<Vec<u8>> = listed
            .map_err(|errno| io("list", &name, errno))?
            .iter()
            .map(|entry| entry.file_name().to_bytes().to_vec())
            .filter(|name| name != b"." && name != b"..")
            .collect();
        names.sort_unstable();
        for inner in names {
            let path = [&name, b"/".as_slice(), &inner].concat();
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let at = match fs::openat(&folder, inner.as_slice(), flags, Mode::empty()) {
                Ok(at) => at,
                // It was removed since it was listed.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(io("open", &path, errno)),
            };
            let inner = fs::fstat(&at).map_err(|errno| io("look at", &path, errno))?;
            if inner.st_dev != stat.st_dev && is_view(&at) {
                let empty = Entry { kind: Kind::Dir, path: [&path, b"/".as_slice()].concat(), ..about(&inner, b"") };
                self.out.header(&empty)?;
                continue;
            }
            self.thing(&at, &inner, &path, deeper)?;
        }
        Ok(())
    }
}

fn is_view(at: &OwnedFd) -> bool {
    let kind = fs::fstatfs(at).map(|facts| u64::try_from(facts.f_type).unwrap_or(0));
    kind.is_ok_and(|kind| VIEWS.contains(&(kind & 0xffff_ffff)))
}

/// What was named, opened: not what has that name now.
fn again(at: &OwnedFd, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    fs::open(format!("/proc/self/fd/{}", at.as_raw_fd()), flags | OFlags::CLOEXEC, Mode::empty())
}

fn about(stat: &Stat, name: &[u8]) -> Entry {
    Entry {
        path: name.to_vec(),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        ..Entry::default()
    }
}

fn xattrs(file: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let failed = |errno| io("read an extended attribute of", path, errno);
    let mut list = vec![0; 64 << 10];
    let length = match fs::flistxattr(file, &mut list[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => return Ok(Vec::new()),
        result => result.map_err(failed)?,
    };
    let mut xattrs = Vec::new();
    let names = list.get(..length).unwrap_or_default().split(|&byte| byte == 0);
    for name in names.filter(|name| super::is_kept(name)) {
        let mut value = vec![0; 64 << 10];
        match fs::fgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                xattrs.push((name.to_vec(), value));
            }
            // Gone since, or not for everybody.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(xattrs)
}
