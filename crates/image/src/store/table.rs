//! Names → digests → images: one small file, replaced as a whole.

use crate::error::{Error, Result};
use model::image::{Digest, Reference};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// What the store knows. An image that is in here is complete on disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Table {
    /// Full names with tags.
    pub(crate) names: BTreeMap<String, Named>,
    /// Manifests and indexes, as registries know images.
    pub(crate) digests: BTreeMap<Digest, Known>,
    /// Images by id (digest of the config).
    pub(crate) images: BTreeMap<Digest, Record>,
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    /// Id.
    pub(crate) id: Digest,
    /// What the registry called it when the name was pulled.
    pub(crate) digest: Option<Digest>,
}

/// What a registry's digest means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Id.
    pub(crate) id: Digest,
    /// Full names of the repositories that have it.
    pub(crate) repositories: BTreeSet<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Digests of its layers' archives, bottom first.
    pub(crate) layers: Vec<Digest>,
    /// Manifests that are kept with it.
    #[serde(default)]
    pub(crate) documents: BTreeSet<Digest>,
    /// When a name was last given to it, seconds since the epoch.
    #[serde(default)]
    pub(crate) tagged: i64,
}

/// How a text names an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// By this full name.
    Name(String),
    /// By a registry's digest and repository.
    Digest(Digest, String),
    /// By (a prefix of) its id.
    Id,
}

impl Table {
    /// Reads the table; an empty one if there is none.
    pub(crate) fn read(path: &Path) -> Result<Table> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Table::default()),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        serde_json::from_slice(&bytes).map_err(|error| Error::corrupt(path.display().to_string(), error.to_string()))
    }

    /// Writes it: after a crash there is the old or the new one.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::corrupt(path.display().to_string(), error.to_string()))?;
        write_atomically(path, &bytes)
    }

    /// The image that a name, digest, id or prefix of an id means.
    pub(crate) fn find(&self, text: &str) -> Result<(Digest, By)> {
        let missing = || Error::NotFound(text.to_owned());
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() {
            if self.images.contains_key(&digest) {
                return Ok((digest, By::Id));
            }
            let known = self.digests.get(&digest).ok_or_else(missing)?;
            return Ok((known.id.clone(), By::Id));
        }
        let reference = text.parse::<Reference>();
        if let Ok(reference) = &reference {
            if let Some(digest) = reference.digest() {
                let repository = reference.repository();
                return match self.digests.get(digest) {
                    Some(known) if known.repositories.contains(&repository) => {
                        Ok((known.id.clone(), By::Digest(digest.clone(), repository)))
                    }
                    _ => Err(missing()),
                };
            }
            if let Some(named) = self.names.get(&reference.tagged()) {
                return Ok((named.id.clone(), By::Name(reference.tagged())));
            }
        }
        if !hex.is_empty() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            let mut found = self.images.keys().filter(|id| id.hex().starts_with(hex));
            return match (found.next(), found.next()) {
                (Some(id), None) => Ok((id.clone(), By::Id)),
                (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
                _ => Err(missing()),
            };
        }
        Err(reference.map_or_else(Error::from, |_| missing()))
    }

    /// Full names of an image.
    pub(crate) fn names_of(&self, id: &Digest) -> Vec<String> {
        self.names.iter().filter(|(_, named)| named.id == *id).map(|(name, _)| name.clone()).collect()
    }

    /// Its digests in registries, each with a repository.
    pub(crate) fn digests_of(&self, id: &Digest) -> Vec<(Digest, String)> {
        let known = self.digests.iter().filter(|(_, known)| known.id == *id);
        known
            .flat_map(|(digest, known)| {
                known.repositories.iter().map(|repository| (digest.clone(), repository.clone()))
            })
            .collect()
    }

    /// A registry has it under this digest.
    pub(crate) fn know(&mut self, digest: &Digest, repository: String, id: &Digest) {
        let known = self
            .digests
            .entry(digest.clone())
            .or_insert_with(|| Known { id: id.clone(), repositories: BTreeSet::new() });
        known.id = id.clone();
        known.repositories.insert(repository);
    }

    /// A repository's digest means nothing any more.
    pub(crate) fn forget(&mut self, digest: &Digest, repository: &str) {
        if let Some(known) = self.digests.get_mut(digest) {
            known.repositories.remove(repository);
            if known.repositories.is_empty() {
                self.digests.remove(digest);
            }
        }
    }

    /// Every blob and layer that something in here needs.
    pub(crate) fn needs(&self, digest: &Digest) -> bool {
        self.images.contains_key(digest)
            || self.images.values().any(|it| it.layers.contains(digest) || it.documents.contains(digest))
    }
}

/// Writes a file so that a crash leaves the old or the new content.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written {
        let _not_there = std::fs::remove_file(&temporary);
        return Err(Error::io("write", path, error));
    }
    std::fs::rename(&temporary, path).map_err(Error::on("rename to", path))?;
    match path.parent() {
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Makes renames within a folder last.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::on("sync", path))
}
