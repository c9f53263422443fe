//! Options of the local driver: `type`, `o`, `device` say what is mounted at the volume's data.

use super::{VolumeError, VolumeStore, io_error};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Words of `o` that are flags of the mount and not the file system's.
const FLAGS: [(&str, MountFlags, bool); 16] = [
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("relatime", MountFlags::RELATIME, true),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("bind", MountFlags::BIND, true),
    ("rbind", MountFlags::BIND.union(MountFlags::REC), true),
    ("defaults", MountFlags::empty(), true),
];

impl VolumeStore {
    /// Where the data of a volume is, mounted if its driver options say so; then with a descriptor that
    /// is to be kept open for as long as the mount is used. After that: [`Self::release`].
    ///
    /// # Errors
    /// No such volume; what it says can't be mounted.
    pub(crate) fn ready(&self, name: &str) -> Result<(PathBuf, Option<OwnedFd>), VolumeError> {
        let info = self.inspect(name)?;
        let options = &info.spec.driver_opts;
        let Some(device) = options.get("device").filter(|device| !device.is_empty()) else {
            return Ok((info.mountpoint, None));
        };
        let (flags, data) = parse(options);
        if flags.contains(MountFlags::BIND) {
            return Ok((PathBuf::from(device), None));
        }
        let _guard = self.lock(name)?;
        // Never held by anybody else while the lock is.
        let users = self.users(name, FlockOperation::NonBlockingLockShared)?;
        if is_mount_point(&info.mountpoint).map_err(io_error("look at", &info.mountpoint))? {
            return Ok((info.mountpoint, users));
        }
        let kind = options.get("type").map_or("none", String::as_str);
        let text = CString::new(data).map_err(|error| io_error("mount", &info.mountpoint)(error.into()))?;
        rustix::mount::mount(device.as_str(), &info.mountpoint, kind, flags, text.as_c_str())
            .map_err(|error| io_error("mount", &info.mountpoint)(error.into()))?;
        Ok((info.mountpoint, users))
    }

    /// Unmounts what [`Self::ready`] has mounted if nobody uses it any more. Users that were killed are
    /// none: what they held was a lock on a descriptor.
    ///
    /// # Errors
    /// It can't be unmounted.
    pub(crate) fn release(&self, name: &str) -> Result<(), VolumeError> {
        // Most are no mounts, and some are gone.
        if !is_mount_point(&self.data(name)).unwrap_or(false) {
            return Ok(());
        }
        let _guard = self.lock(name)?;
        match self.users(name, FlockOperation::NonBlockingLockExclusive)? {
            Some(_nobody_else) => self.unmount(name),
            None => Ok(()),
        }
    }

    /// The file that users of the mount hold a shared lock on; `None` if that lock is not to be had.
    fn users(&self, name: &str, lock: FlockOperation) -> Result<Option<OwnedFd>, VolumeError> {
        let path = self.folder(name).join("users");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| io_error("open", &path)(error.into()))?;
        match rustix::fs::flock(&file, lock) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(io_error("lock", &path)(error.into())),
        }
    }

    /// Unmounts what [`Self::ready`] has mounted; containers that still have it keep it.
    ///
    /// # Errors
    /// It can't be unmounted.
    pub(crate) fn unmount(&self, name: &str) -> Result<(), VolumeError> {
        let data = self.data(name);
        match is_mount_point(&data) {
            Ok(true) => rustix::mount::unmount(&data, UnmountFlags::DETACH)
                .map_err(|error| io_error("unmount", &data)(error.into())),
            _ => Ok(()),
        }
    }

    /// Held while something is done to a volume that must not be done twice.
    pub(super) fn lock(&self, name: &str) -> Result<OwnedFd, VolumeError> {
        let path = self.folder(name);
        let folder = fs::File::open(&path).map_err(io_error("open", &path))?;
        rustix::fs::flock(&folder, FlockOperation::LockExclusive)
            .map_err(|error| io_error("lock", &path)(error.into()))?;
        Ok(folder.into())
    }
}

fn parse(options: &BTreeMap<String, String>) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in options.get("o").map_or("", String::as_str).split(',').filter(|word| !word.is_empty()) {
        match FLAGS.iter().find(|(known, _, _)| *known == word) {
            Some((_, flag, true)) => flags |= *flag,
            Some((_, flag, false)) => flags &= !*flag,
            None => data.push(word),
        }
    }
    (flags, data.join(","))
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
    let facts = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
    Ok(facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::VolumeSpec;

    #[test]
    fn flags_are_told_from_the_file_system_s_own_options() {
        let options = |o: &str| BTreeMap::from([("o".to_owned(), o.to_owned())]);
        assert_eq!(parse(&options("ro,size=1m,noexec,uid=5")).1, "size=1m,uid=5");
        assert_eq!(parse(&options("ro,noexec")).0, MountFlags::RDONLY | MountFlags::NOEXEC);
        assert_eq!(parse(&options("ro,rw")).0, MountFlags::empty());
    }

    #[test]
    fn a_volume_of_memory_is_mounted_when_used() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let store = VolumeStore::new(folder.path().to_owned());
        let opts = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,mode=700")];
        let driver_opts = opts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        store.create(&VolumeSpec { name: "memory".to_owned(), driver_opts, ..VolumeSpec::default() }).unwrap();
        let (data, first) = store.ready("memory").unwrap();
        assert!(first.is_some() && is_mount_point(&data).unwrap());
        let (again, second) = store.ready("memory").unwrap();
        assert_eq!(again, data);
        drop(first);
        store.release("memory").unwrap();
        assert!(second.is_some() && is_mount_point(&data).unwrap());
        drop(second);
        store.release("memory").unwrap();
        assert!(!is_mount_point(&data).unwrap());
        let (_, _third) = store.ready("memory").unwrap();
        let bind = [("type", "none"), ("device", "/srv"), ("o", "bind")];
        let driver_opts = bind.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        store.create(&VolumeSpec { name: "bound".to_owned(), driver_opts, ..VolumeSpec::default() }).unwrap();
        assert_eq!(store.ready("bound").unwrap().0, Path::new("/srv"));
        store.remove("memory").unwrap();
        assert!(!data.exists());
    }
}
