//! What `netd` keeps for the one after it, in files of the run root. Those are never half written.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Keeps a value. No fsync: after a power cut there is no network left to remember.
pub(crate) fn keep(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    std::fs::rename(&fresh, path)
}

/// What is kept there; nothing where it can't be read.
pub(crate) fn kept<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = std::fs::read(path).ok()?;
    let read = serde_json::from_slice(&bytes);
    read.inspect_err(|error| tracing::warn!(%error, path = %path.display(), "cannot read what was kept")).ok()
}
