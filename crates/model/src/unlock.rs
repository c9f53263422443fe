//! Keys that people keep: what a locked manager and a backup open with.

use serde::{Deserialize, Serialize};
use std::fmt;

const UNLOCK: &str = "RWMUNLOCK-1-";

/// What every manager of a cluster with `--autolock` asks for after a restart: `RWMUNLOCK-1-` and 64 hexadecimal
/// digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlockKey(String);

impl fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockKey(…)")
    }
}

impl UnlockKey {
    /// The key of these bytes.
    pub fn of(bytes: [u8; 32]) -> UnlockKey {
        UnlockKey(key_text(UNLOCK, bytes))
    }

    /// A key as it was shown; blanks around it do no harm.
    pub fn parse(text: &str) -> Option<UnlockKey> {
        let key = UnlockKey(text.trim().to_owned());
        key.bytes().map(|_| key)
    }

    /// As it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bytes; `None` where a client sent something else.
    pub fn bytes(&self) -> Option<[u8; 32]> {
        key_bytes(UNLOCK, &self.0)
    }
}

/// A key as people see it: what kind it is, and its bytes in hex.
pub fn key_text(kind: &str, bytes: [u8; 32]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kind}{digits}")
}

/// Its bytes; `None` if it is none of this kind.
pub fn key_bytes(kind: &str, text: &str) -> Option<[u8; 32]> {
    let is_key = |digits: &&str| digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let digits = text.strip_prefix(kind).filter(is_key)?;
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_shown_and_not_told_when_printed_for_debugging() {
        let key = UnlockKey::of(std::array::from_fn(|at| at as u8 * 7));
        let read = UnlockKey::parse(&format!("  {}\n", key.as_str())).unwrap();
        assert_eq!((read.bytes(), &read), (key.bytes(), &key));
        assert_eq!(format!("{key:?}"), "UnlockKey(…)");
        for bad in ["", "RWMUNLOCK-1-", "RWMUNLOCK-1-+f", &key.as_str().replace('0', "+"), &key.as_str()[..70]] {
            assert_eq!(UnlockKey::parse(bad), None, "{bad}");
        }
    }
}
