//! `image save`: an archive that is an OCI image layout and what `docker load` reads at once, as
//! `docker save` writes it since version 25.

use crate::archive::write::Writer;
use crate::archive::{Entry, Kind};
use crate::digest::{self, Hasher};
use crate::error::{Error, Result};
use crate::layer::recipe;
use crate::schema::{Descriptor, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use crate::store::Store;
use crate::store::layers::{Hold, LayerInfo};
use crate::store::table::{By, Table};
use model::image::{Digest, Reference};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

impl Store {
    /// Writes an archive of images; a repository without a tag means all of its tags. Blocks.
    ///
    /// # Errors
    /// [`Error::NotFound`] before anything is written; the disk, and `out`.
    pub fn save(&self, texts: &[String], out: &mut dyn Write) -> Result<()> {
        let images = self.chosen(texts)?;
        let digests = images.iter().flat_map(|image| image.layers.iter().map(|(digest, _)| digest.clone()));
        let hold = Hold::new(&self.inner, digests.chain(images.iter().map(|image| image.id.clone())).collect());
        let mut archive = Archive { tar: Writer::new(out) };
        archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive.header("blobs/", 0, Kind::Dir)?;
        archive.header("blobs/sha256/", 0, Kind::Dir)?;
        let mut written = BTreeSet::new();
        let mut index = Vec::new();
        let mut list = Vec::new();
        for image in &images {
            for (digest, layer) in &image.layers {
                if written.insert(digest.clone()) {
                    archive.layer(digest, layer, &self.inner.limits)?;
                }
            }
            let path = self.inner.blob(&image.id);
            let config = std::fs::read(&path).map_err(Error::on("read", &path))?;
            let manifest = image.manifest(config.len() as u64)?;
            for bytes in [&config, &manifest] {
                let digest = digest::of(bytes);
                if written.insert(digest.clone()) {
                    archive.file(&blob(&digest), bytes)?;
                }
            }
            index.extend(image.index(&manifest));
            list.push(json!({
                "Config": blob(&image.id),
                "RepoTags": image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
                "Layers": image.layers.iter().map(|(digest, _)| blob(digest)).collect::<Vec<_>>(),
            }));
        }
        let index = Index { schema_version: 2, media_type: OCI_INDEX.to_owned(), manifests: index };
        archive.file("index.json", &text(&index)?)?;
        archive.file("manifest.json", &text(&list)?)?;
        archive.tar.end()?;
        drop(hold);
        Ok(())
    }

    fn chosen(&self, texts: &[String]) -> Result<Vec<Chosen>> {
        let state = self.inner.state();
        let mut images: BTreeMap<Digest, Chosen> = BTreeMap::new();
        for text in texts {
            for (id, name) in find(&state.table, text)? {
                let layers = state.table.images.get(&id).map(|record| record.layers.as_slice()).unwrap_or_default();
                let layers = layers.iter().map(|digest| Some((digest.clone(), state.layers.get(digest)?.clone())));
                let layers = layers.collect::<Option<Vec<_>>>().ok_or_else(|| Error::NotFound(text.clone()))?;
                let image = images.entry(id.clone()).or_insert_with(|| Chosen { id, names: Vec::new(), layers });
                image.names.extend(name.filter(|name| !image.names.contains(name)));
            }
        }
        Ok(images.into_values().collect())
    }
}

fn find(table: &Table, text: &str) -> Result<Vec<(Digest, Option<Reference>)>> {
    if let Ok(reference) = text.parse::<Reference>()
        && reference.tag().is_none()
        && reference.digest().is_none()
    {
        let parsed = table.names.iter().filter_map(|(name, named)| Some((name.parse::<Reference>().ok()?, named)));
        let of = parsed.filter(|(name, _)| name.repository() == reference.repository());
        let all: Vec<_> = of.map(|(name, named)| (named.id.clone(), Some(name))).collect();
        if !all.is_empty() {
            return Ok(all);
        }
    }
    let (id, by) = table.find(text)?;
    let name = match by {
        By::Name(name) => name.parse().ok(),
        By::Digest(..) | By::Id => None,
    };
    Ok(vec![(id, name)])
}

/// An image to be written.
struct Chosen {
    id: Digest,
    names: Vec<Reference>,
    layers: Vec<(Digest, LayerInfo)>,
}

impl Chosen {
    fn manifest(&self, config_size: u64) -> Result<Vec<u8>> {
        let descriptor = |kind: &str, digest: &Digest, size| Descriptor {
            media_type: kind.to_owned(),
            digest: digest.clone(),
            size,
            platform: None,
            annotations: None,
        };
        let layers = self.layers.iter().map(|(digest, layer)| descriptor(OCI_LAYER, digest, layer.archive_bytes));
        text(&Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config: descriptor(OCI_CONFIG, &self.id, config_size),
            layers: layers.collect(),
        })
    }

    /// Its entries in the index: one for each name.
    fn index(&self, manifest: &[u8]) -> Vec<Descriptor> {
        let entry = |name: Option<&Reference>| Descriptor {
            media_type: OCI_MANIFEST.to_owned(),
            digest: digest::of(manifest),
            size: manifest.len() as u64,
            platform: None,
            annotations: name.map(|name| {
                BTreeMap::from([
                    ("io.containerd.image.name".to_owned(), name.tagged()),
                    ("org.opencontainers.image.ref.name".to_owned(), name.tag_or_latest().to_owned()),
                ])
            }),
        };
        match self.names.is_empty() {
            true => vec![entry(None)],
            false => self.names.iter().map(|name| entry(Some(name))).collect(),
        }
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn text(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Invalid(error.to_string()))
}

/// An archive of blobs and small files being written.
struct Archive<'a> {
    tar: Writer<'a>,
}

impl Archive<'_> {
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.header(name, bytes.len() as u64, Kind::File)?;
        self.tar.bytes(bytes)?;
        self.tar.pad(bytes.len() as u64)
    }

    fn layer(&mut self, digest: &Digest, layer: &LayerInfo, limits: &crate::limits::Limits) -> Result<()> {
        self.header(&blob(digest), layer.archive_bytes, Kind::File)?;
        let mut hashing = Hashing { out: self.tar.content(), hasher: Hasher::default(), length: 0 };
        recipe::replay(&layer.folder, limits, &mut hashing)?;
        let (found, length) = (hashing.hasher.finish(), hashing.length);
        if found != *digest || length != layer.archive_bytes {
            let why = "its files have changed: the archive came out differently; remove the image and pull it again";
            return Err(Error::corrupt(format!("layer {digest}"), why));
        }
        self.tar.pad(length)
    }

    fn header(&mut self, name: &str, size: u64, kind: Kind) -> Result<()> {
        let mode = if kind == Kind::Dir { 0o755 } else { 0o644 };
        self.tar.header(&Entry { path: name.as_bytes().to_vec(), kind, mode, size, ..Entry::default() })
    }
}

struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
    length: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
