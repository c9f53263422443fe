//! Volumes: folders that outlive containers, at ROOT/NAME/_data.

mod copy_up;
mod driver;

pub(crate) use copy_up::seed;

use crate::record::{self, Durable};
use model::{TaskId, Time, VolumeSpec};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A volume that could not be made, read or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// Names are `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 255 bytes.
    #[error("`{0}` is no volume name: letters, digits, `_`, `.` and `-`, beginning with a letter or digit")]
    BadName(String),
    /// Only `local` is known.
    #[error("volume {name}: driver `{driver}` is not known, only `local` is")]
    UnknownDriver {
        /// Which volume.
        name: String,
        /// Which driver.
        driver: String,
    },
    /// It does not exist.
    #[error("no volume {0}")]
    NotFound(String),
    /// A file operation failed.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// A volume on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// As asked for.
    pub spec: VolumeSpec,
    /// When it was made.
    pub created: Time,
    /// Made for one container only, named by 64 hex digits.
    pub anonymous: bool,
    /// Its data on the host.
    #[serde(skip)]
    pub mountpoint: PathBuf,
}

/// How much a volume holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Bytes allocated on disk.
    pub bytes: u64,
    /// Files and folders.
    pub files: u64,
}

/// All volumes of one host. Its calls block on the disk.
#[derive(Debug, Clone)]
pub struct VolumeStore {
    root: PathBuf,
}

/// What a volume's folder holds beside its data.
const RECORD: &str = "volume.json";

impl VolumeStore {
    /// The store in this folder, which is made when first needed.
    pub fn new(root: PathBuf) -> Self {
        VolumeStore { root }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Could such a volume be made on any host?
    ///
    /// # Errors
    /// Bad name, unknown driver.
    pub fn check(spec: &VolumeSpec) -> Result<(), VolumeError> {
        check_name(&spec.name)?;
        match spec.driver.as_deref() {
            None | Some("" | "local") => Ok(()),
            Some(driver) => Err(VolumeError::UnknownDriver { name: spec.name.clone(), driver: driver.to_owned() }),
        }
    }

    /// Makes a volume; one of that name that exists is returned as it is.
    ///
    /// # Errors
    /// Bad name, unknown driver, the disk.
    pub fn create(&self, spec: &VolumeSpec) -> Result<VolumeInfo, VolumeError> {
        self.make(spec, false)
    }

    /// Makes a volume that nobody has named, under a name of [`anonymous_name`].
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn create_anonymous(&self, name: &str) -> Result<VolumeInfo, VolumeError> {
        self.make(&VolumeSpec { name: name.to_owned(), ..VolumeSpec::default() }, true)
    }

    fn make(&self, spec: &VolumeSpec, anonymous: bool) -> Result<VolumeInfo, VolumeError> {
        Self::check(spec)?;
        match self.inspect(&spec.name) {
            Err(VolumeError::NotFound(_)) => {}
            other => return other,
        }
        let info =
            VolumeInfo { spec: spec.clone(), created: record::now(), anonymous, mountpoint: self.data(&spec.name) };
        // Made beside and moved into place, so that there is never half a volume.
        fs::create_dir_all(&self.root).map_err(io_error("make folder", &self.root))?;
        let fresh = self.root.join(format!(".{}.{}", spec.name.get(..64).unwrap_or(&spec.name), unique()));
        let made = fs::create_dir(&fresh)
            .and_then(|()| fs::create_dir(fresh.join("_data")))
            .and_then(|()| record::write(&fresh.join(RECORD), &info, Durable::No));
        made.map_err(io_error("make volume", &fresh))?;
        match fs::rename(&fresh, self.folder(&spec.name)) {
            Ok(()) => Ok(info),
            // Somebody was faster.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => {
                record::remove_all(&fresh).map_err(io_error("remove", &fresh))?;
                self.inspect(&spec.name)
            }
            Err(error) => Err(io_error("make volume", &fresh)(error)),
        }
    }

    /// All, by name.
    ///
    /// # Errors
    /// The disk.
    pub fn list(&self) -> Result<Vec<VolumeInfo>, VolumeError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io_error("read", &self.root))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry.map_err(io_error("read", &self.root))?.file_name();
            match name.to_str().map(|name| self.inspect(name)) {
                Some(Ok(info)) => all.push(info),
                None | Some(Err(VolumeError::NotFound(_) | VolumeError::BadName(_))) => {}
                Some(Err(error)) => return Err(error),
            }
        }
        all.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(all)
    }

    /// One.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`], the disk.
    pub fn inspect(&self, name: &str) -> Result<VolumeInfo, VolumeError> {
        check_name(name)?;
        let folder = self.folder(name);
        let read = record::read::<VolumeInfo>(&folder.join(RECORD)).map_err(io_error("read", &folder))?;
        let data = self.data(name);
        match read {
            Some(info) => Ok(VolumeInfo { mountpoint: data, ..info }),
            // A power cut took the record of a volume; its data is what matters.
            None if data.is_dir() => Ok(VolumeInfo {
                spec: VolumeSpec { name: name.to_owned(), ..VolumeSpec::default() },
                created: model::Time(0),
                anonymous: false,
                mountpoint: data,
            }),
            None => Err(VolumeError::NotFound(name.to_owned())),
        }
    }

    /// How much it holds.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`], the disk.
    pub fn usage(&self, name: &str) -> Result<VolumeUsage, VolumeError> {
        let info = self.inspect(name)?;
        let mut usage = VolumeUsage::default();
        let mut seen = std::collections::BTreeSet::new();
        measure(&info.mountpoint, &mut usage, &mut seen).map_err(io_error("read", &info.mountpoint))?;
        Ok(usage)
    }

    /// Removes it and its data; gone already is no error.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn remove(&self, name: &str) -> Result<(), VolumeError> {
        check_name(name)?;
        let folder = self.folder(name);
        self.unmount(name)?;
        // Out of sight first: what can't be removed at once is swept at the next start.
        let gone = self.root.join(format!(".{}.{}", name.get(..64).unwrap_or(name), unique()));
        match fs::rename(&folder, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(io_error("remove", &folder))?,
        }
        record::remove_all(&gone).map_err(io_error("remove", &gone))
    }

    /// Removes what half-done creations and removals left. Only while nothing else uses the store.
    pub(crate) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".")) {
            if let Err(error) = record::remove_all(&entry.path()) {
                tracing::warn!("sweep {}: {error}", entry.path().display());
            }
        }
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder(name).join("_data")
    }
}

/// The name of what a task has at `target` without a name: 64 hex digits, as Docker's. It follows from both, so that
/// who goes on with the volumes of another needs no record of it.
pub(crate) fn anonymous_name(of: TaskId, target: &str) -> String {
    let hash = Sha256::digest(format!("{of} {}", target.trim_end_matches('/')));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> VolumeError + 'a {
    move |source| VolumeError::Io { what, path: path.to_owned(), source }
}

/// A name that no other creation of this moment has.
fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn check_name(name: &str) -> Result<(), VolumeError> {
    let good = |(at, byte): (usize, u8)| byte.is_ascii_alphanumeric() || (at > 0 && matches!(byte, b'_' | b'.' | b'-'));
    if !name.is_empty() && name.len() <= 255 && name.bytes().enumerate().all(good) {
        Ok(())
    } else {
        Err(VolumeError::BadName(name.to_owned()))
    }
}

fn measure(
    folder: &Path,
    usage: &mut VolumeUsage,
    seen: &mut std::collections::BTreeSet<(u64, u64)>,
) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Whatever lives there may go while it is looked at.
        let Ok(metadata) = entry.metadata() else { continue };
        usage.files += 1;
        if metadata.nlink() < 2 || metadata.is_dir() || seen.insert((metadata.dev(), metadata.ino())) {
            usage.bytes += metadata.blocks() * 512;
        }
        if metadata.is_dir() {
            match measure(&entry.path(), usage, seen) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_listed_measured_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = VolumeStore::new(folder.path().join("volumes"));
        assert_eq!(store.list().unwrap(), []);
        let spec = VolumeSpec { name: "web_data".to_owned(), stack: Some("web".to_owned()), ..VolumeSpec::default() };
        let made = store.create(&spec).unwrap();
        assert_eq!(made.mountpoint, folder.path().join("volumes/web_data/_data"));
        let again = VolumeSpec { stack: None, ..spec.clone() };
        assert_eq!(store.create(&again).unwrap(), made);
        std::fs::write(made.mountpoint.join("a"), vec![1; 5000]).unwrap();
        std::fs::hard_link(made.mountpoint.join("a"), made.mountpoint.join("b")).unwrap();
        assert_eq!(store.usage("web_data").unwrap(), VolumeUsage { bytes: 8192, files: 2 });
        let anonymous = store.create_anonymous(&anonymous_name(TaskId(1), "/data")).unwrap();
        assert!(anonymous.anonymous && anonymous.spec.name.len() == 64);
        assert_eq!(store.list().unwrap().len(), 2);
        // A creation and a removal that were cut short.
        std::fs::create_dir(store.root().join(".half.1")).unwrap();
        assert_eq!(store.list().unwrap().len(), 2);
        store.sweep();
        store.remove("web_data").unwrap();
        store.remove("web_data").unwrap();
        store.remove(&anonymous.spec.name).unwrap();
        assert_eq!(std::fs::read_dir(store.root()).unwrap().count(), 0);
        assert!(matches!(store.inspect("web_data"), Err(VolumeError::NotFound(_))));
    }

    #[test]
    fn names_lead_nowhere_else() {
        let store = VolumeStore::new(PathBuf::from("/nonexistent"));
        for bad in ["", ".", "..", "../etc", "a/b", "-a", "_a", "a b", &"x".repeat(256)] {
            let spec = VolumeSpec { name: bad.to_owned(), ..VolumeSpec::default() };
            assert!(matches!(store.create(&spec), Err(VolumeError::BadName(_))), "{bad}");
            assert!(matches!(store.remove(bad), Err(VolumeError::BadName(_))), "{bad}");
        }
        let driver = VolumeSpec { name: "a".to_owned(), driver: Some("nfs".to_owned()), ..VolumeSpec::default() };
        assert!(matches!(store.create(&driver), Err(VolumeError::UnknownDriver { .. })));
    }
}
