//! The file that holds a node's key, which may itself be sealed with a key that is kept elsewhere: then nothing of
//! this node opens before somebody brings that one.

use crate::atomic::write_atomic;
use crate::error::{StoreError, io_error};
use crate::key::{self, NodeKey};
use crate::sealed::{self, Kind};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes of a key.
pub type KeyBytes = [u8; 32];

/// An opened key file.
pub struct KeyFile {
    path: PathBuf,
    bytes: KeyBytes,
    held: Mutex<Held>,
}

/// How the file is on disk.
#[derive(Clone, Copy)]
struct Held {
    /// What it is sealed with.
    lock: Option<KeyBytes>,
    /// It is to be open for good: this node is on its way to be something that is never locked.
    released: bool,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// The key.
    Open(KeyFile),
    /// Something that opens with another key only.
    Locked(Locked),
}

/// A key file that is sealed.
#[derive(Debug)]
pub struct Locked {
    path: PathBuf,
    file: Vec<u8>,
}

impl Locked {
    /// Opens it.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`]: not with this key. The file is damaged.
    pub fn unlock(&self, with: &KeyBytes) -> Result<KeyFile, StoreError> {
        let opened = sealed::decode(Kind::Key, &self.path, &self.file, &NodeKey::from_bytes(*with))?;
        let no_key = |_| StoreError::BadKey { path: self.path.clone(), why: "it is not a node key" };
        let bytes = opened.plain.concat().try_into().map_err(no_key)?;
        let held = Mutex::new(Held { lock: Some(*with), released: false });
        Ok(KeyFile { path: self.path.clone(), bytes, held })
    }
}

impl KeyFile {
    /// Reads the file, or makes one with a new key if there is none. Its folder must exist.
    ///
    /// # Errors
    /// [`StoreError::BadKey`] when others may read the file or it holds no key.
    pub fn find(path: &Path) -> Result<Found, StoreError> {
        match fs::read(path) {
            Ok(file) if Kind::Key.begins(&file) => {
                // One that was damaged must not be taken for one that waits for its key.
                sealed::Header::read(Kind::Key, path, &file)?;
                key::refuse_readable(&fs::metadata(path).map_err(io_error("look at", path))?, path)?;
                Ok(Found::Locked(Locked { path: path.to_owned(), file }))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("read", path)(error)),
            _ => {
                let held = Mutex::new(Held { lock: None, released: false });
                Ok(Found::Open(KeyFile { path: path.to_owned(), bytes: key::load_or_create(path)?, held }))
            }
        }
    }

    /// The key.
    pub fn key(&self) -> NodeKey {
        NodeKey::from_bytes(self.bytes)
    }

    /// What the file is sealed with.
    pub fn lock(&self) -> Option<KeyBytes> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).lock
    }

    /// Seals the file with this key, or has it open; `true`: that is news. A crash at any moment leaves it as it was
    /// or as it is to be.
    ///
    /// # Errors
    /// The disk fails; the file is as it was.
    pub fn set_lock(&self, lock: Option<KeyBytes>) -> Result<bool, StoreError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.lock == lock || held.released {
            return Ok(false);
        }
        self.write(lock)?;
        held.lock = lock;
        Ok(true)
    }

    /// Has the file open from now on, whatever is asked later.
    ///
    /// # Errors
    /// The disk fails; the file is as it was.
    pub fn release(&self) -> Result<(), StoreError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.lock.is_some() {
            self.write(None)?;
        }
        *held = Held { lock: None, released: true };
        Ok(())
    }

    fn write(&self, lock: Option<KeyBytes>) -> Result<(), StoreError> {
        let file = match lock {
            None => key::text(&self.bytes).into_bytes(),
            Some(lock) => sealed::encode(Kind::Key, 0, &self.path, &NodeKey::from_bytes(lock), &self.bytes)?,
        };
        write_atomic(&self.path, &file)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::Ledger;
    use std::os::unix::fs::PermissionsExt as _;

    fn open(path: &Path) -> KeyFile {
        match KeyFile::find(path).unwrap() {
            Found::Open(file) => file,
            Found::Locked(_) => panic!("it is locked"),
        }
    }

    fn locked(path: &Path) -> Locked {
        match KeyFile::find(path).unwrap() {
            Found::Locked(locked) => locked,
            Found::Open(_) => panic!("it is open"),
        }
    }

    #[test]
    fn a_locked_file_opens_with_its_newest_lock_only_and_the_key_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let file = open(&path);
        Ledger::new(folder.path().join("value"), file.key()).write(b"kept").unwrap();
        let opens = |file: &KeyFile| Ledger::new(folder.path().join("value"), file.key()).read().unwrap().unwrap();
        assert!(!file.set_lock(None).unwrap());
        assert!(file.set_lock(Some([1; 32])).unwrap());
        assert!(!file.set_lock(Some([1; 32])).unwrap());
        assert!(NodeKey::load_or_create(&path).is_err());
        assert!(matches!(locked(&path).unlock(&[2; 32]), Err(StoreError::WrongKey { .. })));
        let file = locked(&path).unlock(&[1; 32]).unwrap();
        assert_eq!((opens(&file), file.lock()), (b"kept".to_vec(), Some([1; 32])));
        assert!(file.set_lock(Some([2; 32])).unwrap());
        assert!(matches!(locked(&path).unlock(&[1; 32]), Err(StoreError::WrongKey { .. })));
        let file = locked(&path).unlock(&[2; 32]).unwrap();
        file.set_lock(None).unwrap();
        assert_eq!(opens(&open(&path)), b"kept");
    }

    #[test]
    fn what_was_released_is_locked_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let file = open(&path);
        file.set_lock(Some([1; 32])).unwrap();
        file.release().unwrap();
        assert!(!file.set_lock(Some([1; 32])).unwrap());
        assert_eq!(open(&path).lock(), None);
    }

    #[test]
    fn a_damaged_or_readable_file_is_told_from_a_locked_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        open(&path).set_lock(Some([1; 32])).unwrap();
        let file = fs::read(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(KeyFile::find(&path), Err(StoreError::BadKey { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for cut in 8..40 {
            fs::write(&path, &file[..cut]).unwrap();
            assert!(matches!(KeyFile::find(&path), Err(StoreError::Corrupt { .. })), "cut at {cut}");
        }
        for at in (40..file.len()).step_by(7) {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let opened = locked(&path).unlock(&[1; 32]);
            assert!(matches!(opened, Err(StoreError::Corrupt { .. })), "damaged at {at}");
        }
    }
}
