//! The form of `docker save`: a `manifest.json` that lists images.

use super::{Files, Found, claimed};
use crate::digest;
use crate::error::{Error, Result};
use model::image::Reference;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of such an archive.
pub(super) fn images(files: &Files) -> Result<Vec<Found>> {
    let list: Vec<Item> = serde_json::from_slice(&files.document("manifest.json")?)
        .map_err(|error| Error::corrupt("manifest.json", format!("malformed: {error}")))?;
    list.into_iter().map(|item| image(files, item)).collect()
}

fn image(files: &Files, item: Item) -> Result<Found> {
    let config = files.document(&item.config)?;
    let found = digest::of(&config);
    if claimed(&item.config).is_some_and(|claimed| claimed != found) {
        return Err(Error::corrupt(item.config, format!("it has the digest {found}")));
    }
    // Layers are called by their digest in some versions, by that of something else in others; the
    // config's digest of the archive decides.
    let layers = item.layers.unwrap_or_default().into_iter();
    let layers = layers.map(|name| {
        let digest = if name.starts_with("blobs/sha256/") { claimed(&name) } else { None };
        (name, digest)
    });
    let names = item.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| name.parse::<Reference>()).collect::<Result<Vec<_>, _>>()?;
    Ok(Found { config, layers: layers.collect(), names, documents: Vec::new() })
}
