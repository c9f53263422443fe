//! The OCI image layout: an `index.json`, and blobs by digest.

use super::{Files, Found};
use crate::digest;
use crate::error::{Error, Result};
use crate::platform;
use crate::schema::{Descriptor, Document, Index, Manifest};
use model::image::{Digest, Reference};

/// Full name, written by containerd and Docker.
const FULL_NAME: &str = "io.containerd.image.name";
/// A tag, or a full name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Deepest nesting of indexes.
const MAX_DEPTH: usize = 4;

/// The images of a layout, one for each name (or one for all that have none), for this machine.
pub(super) fn images(files: &Files) -> Result<Vec<Found>> {
    let index = match Document::parse(&files.document("index.json")?, "index.json")? {
        Document::Index(index) => index,
        Document::Manifest(_) => return Err(Error::corrupt("index.json", "it is a manifest")),
    };
    let mut groups: Vec<(Option<Reference>, Vec<Descriptor>)> = Vec::new();
    for descriptor in index.manifests {
        let name = name(&descriptor);
        match groups.iter_mut().find(|(known, _)| *known == name && descriptor.platform.is_some()) {
            Some((_, group)) => group.push(descriptor),
            None => groups.push((name, vec![descriptor])),
        }
    }
    let mut found: Vec<Found> = Vec::new();
    for (name, group) in groups {
        let chosen = match group.as_slice() {
            [only] => only,
            many => platform::choose(many, "index.json")?,
        };
        let image = image(files, chosen, name, Vec::new())?;
        // One image under several names is one image.
        match found.iter_mut().find(|known| known.config == image.config && !image.names.is_empty()) {
            Some(known) => known.names.extend(image.names),
            None => found.push(image),
        }
    }
    Ok(found)
}

fn name(descriptor: &Descriptor) -> Option<Reference> {
    let annotations = descriptor.annotations.as_ref()?;
    if let Some(name) = annotations.get(FULL_NAME) {
        return name.parse().ok();
    }
    let name = annotations.get(REF_NAME)?;
    // A bare word is a tag of nothing in particular.
    name.contains(['/', ':']).then(|| name.parse().ok())?
}

fn image(
    files: &Files,
    descriptor: &Descriptor,
    name: Option<Reference>,
    mut documents: Vec<(Digest, Vec<u8>)>,
) -> Result<Found> {
    if documents.len() > MAX_DEPTH {
        return Err(Error::corrupt("index.json", "indexes within indexes within indexes"));
    }
    let bytes = blob(files, descriptor)?;
    let document = Document::parse(&bytes, descriptor.digest.as_str())?;
    documents.push((descriptor.digest.clone(), bytes));
    match document {
        Document::Manifest(manifest) => of(files, &manifest, name, documents),
        Document::Index(Index { manifests, .. }) => {
            image(files, platform::choose(&manifests, descriptor.digest.as_str())?, name, documents)
        }
    }
}

fn of(files: &Files, manifest: &Manifest, name: Option<Reference>, documents: Vec<(Digest, Vec<u8>)>) -> Result<Found> {
    manifest.check("the image", &files.limits)?;
    let layers = manifest.layers.iter().map(|layer| (path(&layer.digest), Some(layer.digest.clone())));
    Ok(Found {
        config: blob(files, &manifest.config)?,
        layers: layers.collect(),
        names: name.into_iter().collect(),
        documents,
    })
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn blob(files: &Files, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let name = path(&descriptor.digest);
    let bytes = files.document(&name)?;
    let found = digest::of(&bytes);
    match found == descriptor.digest {
        true => Ok(bytes),
        false => Err(Error::corrupt(name, format!("it has the digest {found}"))),
    }
}
