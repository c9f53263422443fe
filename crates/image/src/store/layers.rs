//! Layers: from a staging folder to their names, and away again when nothing needs them.

use super::Inner;
use super::table::sync_folder;
use crate::error::{Error, Result};
use crate::layer::{ABOUT, About, Unpacked};
use model::image::Digest;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Digits of a layer's digest in the name of its folder: 96 bits, and the whole digest is inside.
const NAME: usize = 24;

/// A layer that is here.
#[derive(Debug, Clone)]
pub(crate) struct LayerInfo {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Bytes in its files.
    pub(crate) size: u64,
    /// Length of its archive.
    pub(crate) archive_bytes: u64,
}

impl LayerInfo {
    pub(super) fn new(folder: PathBuf, about: &About) -> LayerInfo {
        LayerInfo { folder, size: about.size, archive_bytes: about.archive_bytes }
    }
}

/// A folder in which something is made; goes away with this value.
#[derive(Debug)]
pub(crate) struct Stage {
    path: PathBuf,
}

impl Stage {
    pub(super) fn make(path: PathBuf) -> Result<Stage> {
        std::fs::create_dir(&path).map_err(Error::on("make the folder", &path))?;
        Ok(Stage { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!("clear up after an image: {error}; it is tried again when the daemon starts");
        }
    }
}

/// Removes a file or a whole folder; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let result = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Keeps blobs and layers from being cleared away while something under way counts on them.
#[derive(Debug)]
pub(crate) struct Hold {
    inner: Arc<Inner>,
    digests: Vec<Digest>,
}

impl Hold {
    pub(crate) fn new(inner: &Arc<Inner>, digests: Vec<Digest>) -> Hold {
        let mut state = inner.state();
        for digest in &digests {
            *state.holds.entry(digest.clone()).or_default() += 1;
        }
        drop(state);
        Hold { inner: inner.clone(), digests }
    }

    /// One more.
    pub(crate) fn add(&mut self, digest: Digest) {
        *self.inner.state().holds.entry(digest.clone()).or_default() += 1;
        self.digests.push(digest);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        for digest in &self.digests {
            if let Some(count) = state.holds.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.holds.remove(digest);
                }
            }
        }
    }
}

impl Inner {
    /// Is that layer here?
    pub(crate) fn has_layer(&self, diff_id: &Digest) -> bool {
        self.state().layers.contains_key(diff_id)
    }

    /// Gives an unpacked layer its name. One that is here already wins.
    pub(crate) fn add_layer(&self, stage: &Stage, unpacked: &Unpacked) -> Result<()> {
        let about = About {
            diff_id: unpacked.diff_id.clone(),
            archive_bytes: unpacked.archive_bytes,
            size: unpacked.size,
            boot: self.boot().to_owned(),
        };
        let path = stage.path().join(ABOUT);
        let text = serde_json::to_vec(&about).map_err(|error| Error::corrupt("layer", error.to_string()))?;
        std::fs::write(&path, text).map_err(Error::on("write", &path))?;
        let name = about.diff_id.hex().get(..NAME).unwrap_or_default();
        let folder = self.root.join("layers").join(name);
        let mut state = self.state();
        if state.layers.contains_key(&about.diff_id) {
            return Ok(());
        }
        std::fs::rename(stage.path(), &folder).map_err(Error::on("rename a layer to", &folder))?;
        state.layers.insert(about.diff_id.clone(), LayerInfo::new(folder, &about));
        Ok(())
    }

    /// Removes layers and blobs that no image and nothing under way needs. Returns the bytes freed.
    ///
    /// # Errors
    /// The disk; what is left is removed at the next start.
    pub(crate) fn collect(&self, blobs: &[Digest]) -> Result<u64> {
        let doomed = self.set_aside(blobs)?;
        sync_folder(&self.root.join("layers"))?;
        let freed = doomed.iter().map(|(_, size)| size).sum();
        // What is set aside is out of everybody's way: the slow part needs no lock.
        doomed.into_iter().try_for_each(|(stage, _)| remove(stage.path()))?;
        Ok(freed)
    }

    fn set_aside(&self, blobs: &[Digest]) -> Result<Vec<(Stage, u64)>> {
        let mut doomed = Vec::new();
        let mut state = self.state();
        let is_needed = |digest: &Digest| state.table.needs(digest) || state.holds.contains_key(digest);
        let unneeded: Vec<Digest> = state.layers.keys().filter(|layer| !is_needed(layer)).cloned().collect();
        for blob in blobs.iter().filter(|blob| !is_needed(blob)) {
            remove(&self.blob(blob))?;
        }
        for layer in unneeded {
            if let Some(info) = state.layers.remove(&layer) {
                let stage = self.stage()?;
                let to = stage.path().join("layer");
                std::fs::rename(&info.folder, &to).map_err(Error::on("set aside", &info.folder))?;
                doomed.push((stage, info.size));
            }
        }
        Ok(doomed)
    }
}
