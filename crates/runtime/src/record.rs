//! What is written down of a container, and how: each file is replaced as a whole.

use crate::engine::CreateContainer;
use model::{Exit, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// `config.json`: what the container was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// As asked for; contents of files left out.
    pub(crate) create: CreateContainer,
    /// When.
    pub(crate) created: Time,
    /// Its anonymous volumes: path in the container → name of the volume.
    pub(crate) anonymous: BTreeMap<String, String>,
}

/// `run.json`: the last start. Written before the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Counts the starts of this container from 1.
    pub(crate) run: u64,
    /// As in `StartOptions`.
    pub(crate) attempt: u32,
    /// As in `StartOptions`.
    pub(crate) restarts: u32,
    /// When.
    pub(crate) started_at: Time,
}

/// `exit.json`: how the start `run` ended. Whole by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// The start that ended.
    pub(crate) run: Run,
    /// How.
    pub(crate) exit: Exit,
}

/// Whether a file has to be there after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// On disk when the call returns.
    Yes,
    /// Whole or not there, whenever the kernel likes.
    No,
}

/// Writes the value to the file, as a whole or not at all.
///
/// # Errors
/// The disk.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T, durable: Durable) -> io::Result<()> {
    let text = serde_json::to_vec(value).map_err(io::Error::other)?;
    replace(path, &text, durable)
}

/// Replaces a file's content.
///
/// # Errors
/// The disk.
pub(crate) fn replace(path: &Path, content: &[u8], durable: Durable) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    if durable == Durable::Yes {
        file.sync_data()?;
    }
    std::fs::rename(&fresh, path)?;
    if durable == Durable::Yes
        && let Some(folder) = path.parent()
    {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Reads a value back. A file that is not there, or that a power cut has torn, is none.
///
/// # Errors
/// The disk.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file or folder with all in it; gone already is no error. Never follows links.
///
/// # Errors
/// The disk.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    let result = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The time now.
pub(crate) fn now() -> Time {
    Time(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_file_is_none_and_a_whole_one_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        assert_eq!(read::<Run>(&path).unwrap(), None);
        let run = Run { run: 2, attempt: 1, restarts: 0, started_at: Time(5) };
        for durable in [Durable::Yes, Durable::No] {
            write(&path, &run, durable).unwrap();
            assert_eq!(read::<Run>(&path).unwrap().as_ref(), Some(&run));
        }
        std::fs::write(&path, b"{\"run\":").unwrap();
        assert_eq!(read::<Run>(&path).unwrap(), None);
        remove_all(&path).unwrap();
        remove_all(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
