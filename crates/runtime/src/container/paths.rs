//! Paths inside a root file system whose content is hostile: every lookup stays inside it.
//!
//! The fast way is one openat2 with `RESOLVE_IN_ROOT`. What has to be made is made by walking
//! component by component on descriptors, so that no rename or symlink put in between leads out.

use super::Error;
use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// As many symlinks as the kernel follows.
const MAX_SYMLINKS: u32 = 40;

/// What a mount target has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
}

/// Opens `path` inside `root` as a handle (`O_PATH`), following symlinks inside the root only.
pub(crate) fn open(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    open_with(root, path, OFlags::PATH, ResolveFlags::empty())
}

/// Like [`open`], with other flags and further restrictions.
pub(crate) fn open_with(root: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // Renames elsewhere on the host can make the kernel give up on `..`; it asks to try again.
    for _ in 0..64 {
        match fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The target of a mount at `path`: opened, or made if it is not there. Also says whether it was.
pub(crate) fn target(root: impl AsFd, path: &Path, kind: Kind) -> Result<(OwnedFd, bool), Error> {
    match open(&root, path) {
        Ok(fd) => return Ok((fd, true)),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(Error::io(format!("open {}", path.display()), error)),
    }
    let made = Walk::new(&root)
        .and_then(|walk| walk.make(path, kind))
        .map_err(|error| Error::io(format!("create {}", path.display()), error))?;
    Ok((made, false))
}

/// The folder that holds the last component of `path` (made if missing), and that component's name.
pub(crate) fn parent(root: impl AsFd, path: &Path) -> Result<(OwnedFd, OsString), Error> {
    let name = path.file_name().ok_or_else(|| Error::new("path", format!("{} has no name", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let (folder, _) = target(root, folder, Kind::Folder)?;
    Ok((folder, name.to_owned()))
}

/// A walk that holds a descriptor of every folder from the root to where it stands.
struct Walk {
    stack: Vec<OwnedFd>,
    symlinks: u32,
}

impl Walk {
    fn new(root: impl AsFd) -> Result<Self, Errno> {
        let root = fs::openat(root, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { stack: vec![root], symlinks: 0 })
    }

    fn here(&self) -> &OwnedFd {
        // `..` never pops the last one.
        &self.stack[self.stack.len() - 1]
    }

    fn make(mut self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        let mut todo: Vec<OsString> = parts(path);
        while let Some(part) = todo.pop() {
            if part.as_bytes() == b".." {
                if self.stack.len() > 1 {
                    self.stack.pop();
                }
                continue;
            }
            let wanted = if todo.is_empty() { kind } else { Kind::Folder };
            let fd = self.step(&part, wanted)?;
            if FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) != FileType::Symlink {
                self.stack.push(fd);
                continue;
            }
            self.symlinks += 1;
            if self.symlinks > MAX_SYMLINKS {
                return Err(Errno::LOOP);
            }
            let link = PathBuf::from(OsString::from_vec(fs::readlinkat(&fd, "", Vec::new())?.into_bytes()));
            if link.is_absolute() {
                self.stack.truncate(1);
            }
            todo.extend(parts(&link));
        }
        self.stack.pop().ok_or(Errno::NOENT)
    }

    /// Opens `part` without following it, making it first if it is not there.
    fn step(&self, part: &OsString, kind: Kind) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(self.here(), part, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let made = match kind {
            Kind::Folder => fs::mkdirat(self.here(), part, Mode::from_raw_mode(0o755)),
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                fs::openat(self.here(), part, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => fs::openat(self.here(), part, flags, Mode::empty()),
            Err(error) => Err(error),
        }
    }
}

/// The components of a path, last first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root(folder: &tempfile::TempDir) -> OwnedFd {
        std::fs::File::open(folder.path()).expect("open").into()
    }

    #[test]
    fn targets_are_made_inside_through_any_link() {
        let outer = tempfile::tempdir().expect("tempdir");
        let inner = outer.path().join("rootfs");
        std::fs::create_dir(&inner).expect("mkdir");
        symlink("/run", inner.join("var-run")).expect("symlink");
        symlink("../../../../escape", inner.join("up")).expect("symlink");
        symlink("loop", inner.join("loop")).expect("symlink");
        let root: OwnedFd = std::fs::File::open(&inner).expect("open").into();
        target(&root, Path::new("/var-run/a/b"), Kind::Folder).expect("through an absolute link");
        assert!(inner.join("run/a/b").is_dir());
        target(&root, Path::new("/up/file"), Kind::File).expect("through a link with ..");
        assert!(inner.join("escape/file").is_file());
        target(&root, Path::new("/../../x/../y"), Kind::Folder).expect("dots");
        assert!(inner.join("y").is_dir());
        assert!(target(&root, Path::new("/loop/x"), Kind::Folder).is_err());
        assert_eq!(std::fs::read_dir(outer.path()).expect("list").count(), 1, "nothing beside the root");
    }

    #[test]
    fn an_open_stays_inside() {
        let folder = tempfile::tempdir().expect("tempdir");
        symlink("/etc/passwd", folder.path().join("out")).expect("symlink");
        symlink("/proc/self/root/etc/passwd", folder.path().join("magic")).expect("symlink");
        let root = root(&folder);
        assert_eq!(open(&root, Path::new("out")).err(), Some(Errno::NOENT));
        assert_eq!(open(&root, Path::new("magic")).err(), Some(Errno::NOENT));
        assert_eq!(open(&root, Path::new("../../etc/passwd")).err(), Some(Errno::NOENT));
    }
}
