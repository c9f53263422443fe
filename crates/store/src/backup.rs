//! Backups: one sealed file with a key of its own, which is kept somewhere else.

use crate::error::StoreError;
use crate::key::NodeKey;
use crate::sealed::{self, Kind};
use std::path::Path;

/// Seals a backup.
///
/// # Errors
/// The system gives no random bytes.
pub fn seal_backup(key: &NodeKey, value: &[u8]) -> Result<Vec<u8>, StoreError> {
    sealed::encode(Kind::Backup, 0, Path::new("the backup"), key, value)
}

/// Opens what [`seal_backup`] made.
///
/// # Errors
/// It is damaged, cut short, no backup, of a newer format, or sealed with another key.
pub fn open_backup(key: &NodeKey, file: &[u8]) -> Result<Vec<u8>, StoreError> {
    sealed::decode(Kind::Backup, Path::new("the backup"), file, key).map(|file| file.plain.concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn opens_with_its_key_whole_and_not_otherwise() {
        let (key, other) = (NodeKey::from_bytes([7; 32]), NodeKey::from_bytes([8; 32]));
        let value: Vec<u8> = (0..9 << 20).map(|at: u32| at.to_le_bytes()[0]).collect();
        let file = seal_backup(&key, &value).unwrap();
        assert_eq!(open_backup(&key, &file).unwrap(), value);
        assert!(matches!(open_backup(&other, &file), Err(StoreError::WrongKey { .. })));
        for cut in [0, 39, 40, 100, file.len() / 2, file.len() - 1] {
            assert!(matches!(open_backup(&key, &file[..cut]), Err(StoreError::Corrupt { .. })), "cut at {cut}");
        }
        for at in (0..file.len()).step_by(611_953) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            assert!(open_backup(&key, &damaged).is_err(), "damaged at {at}");
        }
    }
}
