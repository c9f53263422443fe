//! A volume that is used for the first time begins with what the image has at that place.
//!
//! A mark in the volume's folder says that copying has begun and not ended. A copy that was cut short
//! is done again by the next start, over what is there: it brings nothing but the image's own files.

use super::{VolumeError, VolumeStore, io_error};
use rustix::fs::{self as at, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const MARK: &str = "copying";

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Fills an unused volume with the content, owner and permissions of `target` in the root.
///
/// # Errors
/// The disk.
pub(crate) fn seed(store: &VolumeStore, name: &str, root: impl AsFd, target: &str) -> Result<(), VolumeError> {
    let folder = store.folder(name);
    let data = folder.join("_data");
    let mark = folder.join(MARK);
    let failed = |what: &'static str| {
        let data = data.clone();
        move |error: io::Error| io_error(what, &data)(error)
    };
    if !mark.exists() && !is_empty(&data).map_err(failed("read"))? {
        return Ok(());
    }
    let _guard = store.lock(name)?;
    if !mark.exists() && !is_empty(&data).map_err(failed("read"))? {
        return Ok(());
    }
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = match at::openat2(root, target, flags, Mode::empty(), inside) {
        Ok(source) => source,
        // The image has nothing there, or no folder.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(error) => return Err(failed("copy the image's content to")(error.into())),
    };
    std::fs::write(&mark, "").map_err(failed("mark"))?;
    let volume = at::open(&data, FOLDER, Mode::empty()).map_err(|error| failed("open")(error.into()))?;
    let mut links = BTreeMap::new();
    let copied = copy_folder(&source, &volume, &mut links)
        .and_then(|()| if is_empty(&data)? { Ok(()) } else { Ok(at::syncfs(&volume)?) });
    copied.map_err(failed("copy the image's content to"))?;
    std::fs::remove_file(&mark).map_err(failed("mark"))
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(folder)?.next().is_none())
}

/// Where an inode with several names was copied to, to be linked to.
type Links = BTreeMap<(u64, u64), CString>;

/// Content first, then what the folder itself is like.
fn copy_folder(from: &OwnedFd, to: &OwnedFd, links: &mut Links) -> io::Result<()> {
    copy_content(from, to, links, to.as_fd(), c"")?;
    dress(from.as_fd(), to.as_fd(), &at::fstat(from)?)
}

fn copy_content(from: &OwnedFd, to: &OwnedFd, links: &mut Links, top: BorrowedFd<'_>, prefix: &CStr) -> io::Result<()> {
    for entry in at::Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut path = prefix.to_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let path = CString::new(path)?;
        let facts = at::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(facts.st_mode) == FileType::Directory {
            match at::mkdirat(to, name, Mode::RWXU) {
                Err(error) if error != Errno::EXIST => return Err(error.into()),
                _ => {}
            }
            let source = at::openat(from, name, FOLDER, Mode::empty())?;
            let copy = at::openat(to, name, FOLDER, Mode::empty())?;
            copy_content(&source, &copy, links, top, &path)?;
            dress(source.as_fd(), copy.as_fd(), &facts)?;
            continue;
        }
        // Left by a copy that was cut short.
        match at::unlinkat(to, name, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => return Err(error.into()),
            _ => {}
        }
        let id = (facts.st_dev, facts.st_ino);
        if facts.st_nlink > 1 {
            if let Some(first) = links.get(&id) {
                at::linkat(top, first.as_c_str(), to, name, AtFlags::empty())?;
                continue;
            }
            links.insert(id, path);
        }
        copy_leaf(from, to, name, &facts)?;
    }
    Ok(())
}

fn copy_leaf(from: &OwnedFd, to: &OwnedFd, name: &CStr, facts: &at::Stat) -> io::Result<()> {
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let source = at::openat(from, name, flags, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let copy = at::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
            let (source, copy) = (std::fs::File::from(source), std::fs::File::from(copy));
            io::copy(&mut &source, &mut &copy)?;
            dress(source.as_fd(), copy.as_fd(), facts)
        }
        FileType::Symlink => {
            let target = at::readlinkat(from, name, Vec::new())?;
            at::symlinkat(target.as_c_str(), to, name)?;
            own(to, name, facts)
        }
        kind => {
            at::mknodat(to, name, kind, Mode::from_raw_mode(facts.st_mode), facts.st_rdev)?;
            own(to, name, facts)?;
            Ok(at::chmodat(to, name, Mode::from_raw_mode(facts.st_mode), AtFlags::empty())?)
        }
    }
}

fn own(folder: &OwnedFd, name: &CStr, facts: &at::Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(facts.st_uid), Gid::from_raw(facts.st_gid));
    Ok(at::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Owner, permissions, extended attributes and times, in an order that lets none undo another.
fn dress(from: BorrowedFd<'_>, to: BorrowedFd<'_>, facts: &at::Stat) -> io::Result<()> {
    at::fchown(to, Some(Uid::from_raw(facts.st_uid)), Some(Gid::from_raw(facts.st_gid)))?;
    copy_attributes(from, to)?;
    at::fchmod(to, Mode::from_raw_mode(facts.st_mode))?;
    let time =
        |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) };
    let times = Timestamps {
        last_access: time(facts.st_atime, facts.st_atime_nsec),
        last_modification: time(facts.st_mtime, facts.st_mtime_nsec),
    };
    Ok(at::futimens(to, &times)?)
}

fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let count = match at::flistxattr(from, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(()),
        other => other?,
    };
    let names = names.get(..count).unwrap_or_default();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Overlayfs's own are none of the image's.
        if name.starts_with(b"trusted.") {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let name = OsStr::from_bytes(name);
        let count = at::fgetxattr(from, name, &mut value[..])?;
        let set = at::fsetxattr(to, name, value.get(..count).unwrap_or_default(), at::XattrFlags::empty());
        match set {
            Err(Errno::NOTSUP) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::VolumeSpec;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn setting() -> (tempfile::TempDir, VolumeStore, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("srv/deep")).unwrap();
        std::fs::write(root.join("srv/a"), "one").unwrap();
        std::fs::hard_link(root.join("srv/a"), root.join("srv/deep/b")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("srv/link")).unwrap();
        std::fs::set_permissions(root.join("srv"), std::fs::Permissions::from_mode(0o2750)).unwrap();
        let store = VolumeStore::new(folder.path().join("volumes"));
        store.create(&VolumeSpec { name: "v".to_owned(), ..VolumeSpec::default() }).unwrap();
        let root = at::open(&root, FOLDER, Mode::empty()).unwrap();
        (folder, store, root)
    }

    #[test]
    fn content_owner_and_permissions_come_along() {
        let (folder, store, root) = setting();
        seed(&store, "v", &root, "/srv").unwrap();
        let data = folder.path().join("volumes/v/_data");
        assert_eq!(std::fs::read_to_string(data.join("deep/b")).unwrap(), "one");
        assert_eq!(std::fs::metadata(data.join("a")).unwrap().nlink(), 2);
        assert_eq!(std::fs::read_link(data.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(std::fs::metadata(&data).unwrap().mode() & 0o7777, 0o2750);
        // Once used, always as it is.
        std::fs::write(data.join("a"), "two").unwrap();
        seed(&store, "v", &root, "/srv").unwrap();
        assert_eq!(std::fs::read_to_string(data.join("a")).unwrap(), "two");
    }

    #[test]
    fn a_copy_that_was_cut_short_is_done_again() {
        let (folder, store, root) = setting();
        let data = folder.path().join("volumes/v/_data");
        std::fs::write(folder.path().join("volumes/v").join(MARK), "").unwrap();
        std::fs::write(data.join("a"), "o").unwrap();
        std::fs::write(data.join("theirs"), "kept").unwrap();
        seed(&store, "v", &root, "srv/").unwrap();
        assert_eq!(std::fs::read_to_string(data.join("a")).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(data.join("deep/b")).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(data.join("theirs")).unwrap(), "kept");
        assert!(!folder.path().join("volumes/v").join(MARK).exists());
    }

    #[test]
    fn nothing_there_is_nothing_copied() {
        let (folder, store, root) = setting();
        for target in ["/nowhere", "/srv/a", "/srv/link"] {
            seed(&store, "v", &root, target).unwrap();
        }
        assert!(is_empty(&folder.path().join("volumes/v/_data")).unwrap());
    }
}
