//! Volumes: folders that outlive containers, at ROOT/NAME/_data.

use model::{Time, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

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

impl VolumeStore {
    /// The store in this folder, which is made when first needed.
    pub fn new(root: PathBuf) -> Self {
        VolumeStore { root }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a volume; one of that name that exists is returned as it is.
    ///
    /// # Errors
    /// Bad name, unknown driver, the disk.
    pub fn create(&self, spec: &VolumeSpec) -> Result<VolumeInfo, VolumeError> {
        Err(VolumeError::NotFound(spec.name.clone()))
    }

    /// All, by name.
    ///
    /// # Errors
    /// The disk.
    pub fn list(&self) -> Result<Vec<VolumeInfo>, VolumeError> {
        Ok(Vec::new())
    }

    /// One.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`], the disk.
    pub fn inspect(&self, name: &str) -> Result<VolumeInfo, VolumeError> {
        Err(VolumeError::NotFound(name.to_owned()))
    }

    /// How much it holds.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`], the disk.
    pub fn usage(&self, name: &str) -> Result<VolumeUsage, VolumeError> {
        Err(VolumeError::NotFound(name.to_owned()))
    }
}
