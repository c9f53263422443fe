//! `image load`: archives of `docker save` and OCI image layouts.
//!
//! What says which blob is what comes at the end of such an archive as often as at its beginning, so
//! its files are put aside under numbers first, and read then. (Unpacking layers while they come,
//! without knowing what they should be, would save the copy and unpack much that nobody wants.)

mod docker;
mod layout;

use crate::archive::{Kind, Reader};
use crate::digest;
use crate::error::{Error, Result};
use crate::layer;
use crate::layer::place::Clean;
use crate::limits::Limits;
use crate::schema::Config;
use crate::store::Store;
use crate::store::layers::{Hold, Stage};
use model::image::{Digest, Reference};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::path::PathBuf;

/// Most links on the way to a file of an archive.
const MAX_LINKS: usize = 8;

/// An image that an archive had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// The names that it got, as people write them.
    pub names: Vec<String>,
}

/// An image as an archive describes it.
struct Found {
    config: Vec<u8>,
    /// Names within the archive, bottom first, with the digest that the file should have.
    layers: Vec<(String, Option<Digest>)>,
    names: Vec<Reference>,
    documents: Vec<(Digest, Vec<u8>)>,
}

impl Store {
    /// Takes the images of an archive (plain or compressed). Blocks.
    ///
    /// # Errors
    /// It is no such archive, damaged or hostile; the disk. Images before the one that failed stay.
    pub fn load(&self, source: &mut (dyn Read + Send)) -> Result<Vec<Loaded>> {
        self.load_some(source, |_| true)
    }

    /// Takes one image of an archive, by its id and under no name, and leaves whatever else is in there. Blocks.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_one(&self, source: &mut (dyn Read + Send), id: &str) -> Result<Vec<Loaded>> {
        self.load_some(source, |found| {
            found.names.clear();
            digest::of(&found.config).as_str() == id
        })
    }

    fn load_some(
        &self,
        source: &mut (dyn Read + Send),
        mut wants: impl FnMut(&mut Found) -> bool,
    ) -> Result<Vec<Loaded>> {
        let stage = self.inner.stage()?;
        let files = Files::read(source, stage, &self.inner.limits)?;
        let found = match (files.has("manifest.json"), files.has("index.json")) {
            (true, _) => docker::images(&files)?,
            (false, true) => layout::images(&files)?,
            (false, false) => {
                let why = "has neither a manifest.json (docker save) nor an index.json (OCI layout); \
                           a root file system is taken by `image import`";
                return Err(Error::corrupt("the archive", why));
            }
        };
        let wanted = found.into_iter().filter_map(|mut found| wants(&mut found).then_some(found));
        wanted.map(|found| self.take(&files, found)).collect()
    }

    fn take(&self, files: &Files, found: Found) -> Result<Loaded> {
        let id = digest::of(&found.config);
        let config = Config::parse(&found.config, id.as_str())?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != found.layers.len() || diff_ids.len() > self.inner.limits.layers {
            let why = format!("has {} layers and a config for {}", found.layers.len(), diff_ids.len());
            return Err(Error::corrupt(format!("image {}", id.short()), why));
        }
        let hold = Hold::new(&self.inner, diff_ids.iter().chain([&id]).cloned().collect());
        for ((name, digest), diff_id) in found.layers.iter().zip(diff_ids) {
            if !self.inner.has_layer(diff_id) {
                self.take_layer(files, name, digest.as_ref(), diff_id)?;
            }
        }
        self.inner.add(&id, &found.config, &found.documents, |table| {
            for name in &found.names {
                table.name(name.tagged(), id.clone(), None);
            }
        })?;
        drop(hold);
        Ok(Loaded { names: found.names.iter().map(Reference::familiar).collect(), id })
    }

    fn take_layer(&self, files: &Files, name: &str, digest: Option<&Digest>, diff_id: &Digest) -> Result<()> {
        let mut file = files.open(name)?;
        let stage = self.inner.stage()?;
        let unpacked = layer::unpack(&mut file, stage.path(), &self.inner.limits)?;
        if digest.is_some_and(|digest| *digest != unpacked.blob.0) {
            return Err(Error::corrupt(name, format!("it has the digest {}", unpacked.blob.0)));
        }
        if unpacked.diff_id != *diff_id {
            let why = format!("its archive has the digest {}, the config says {diff_id}", unpacked.diff_id);
            return Err(Error::corrupt(name, why));
        }
        self.inner.add_layer(&stage, &unpacked)
    }
}

/// The files of an archive, put aside.
struct Files {
    stage: Stage,
    limits: Limits,
    files: BTreeMap<Vec<u8>, (PathBuf, u64)>,
    links: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Files {
    fn read(source: &mut (dyn Read + Send), stage: Stage, limits: &Limits) -> Result<Files> {
        let mut files = Files { stage, limits: limits.clone(), files: BTreeMap::new(), links: BTreeMap::new() };
        let plain = layer::open(source).map_err(layer::source_error)?;
        let mut input = BufReader::with_capacity(256 << 10, plain);
        let mut reader = Reader::new(&mut input, limits, ());
        let mut total = 0u64;
        while let Some(entry) = reader.next()? {
            let path = Clean::new(&entry.path, limits)?;
            match entry.kind {
                Kind::File if entry.sparse.is_none() => {
                    total += entry.size;
                    if total > limits.layer_bytes {
                        return Err(Error::hostile(&entry.path, "the archive is too long"));
                    }
                    files.put(&mut reader, path.bytes(), entry.size)?;
                }
                Kind::Symlink => {
                    let target = match (entry.link.starts_with(b"/"), path.split()) {
                        (false, Some((folder, _))) => folder.join(&entry.link),
                        _ => entry.link.clone(),
                    };
                    files.links.insert(path.bytes().to_vec(), Clean::new(&target, limits)?.bytes().to_vec());
                }
                Kind::Hardlink => {
                    files.links.insert(path.bytes().to_vec(), Clean::new(&entry.link, limits)?.bytes().to_vec());
                }
                _ => {}
            }
        }
        Ok(files)
    }

    fn put(&mut self, reader: &mut Reader<'_, ()>, path: &[u8], size: u64) -> Result<()> {
        let to = self.stage.path().join(self.files.len().to_string());
        if self.files.contains_key(path) {
            return Err(Error::hostile(path, "the archive has it twice"));
        }
        let mut file = File::create_new(&to).map_err(Error::on("make", &to))?;
        reader.payload(size, &mut |bytes| file.write_all(bytes).map_err(Error::on("write", &to)))?;
        self.files.insert(path.to_vec(), (to, size));
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&(PathBuf, u64)> {
        let mut name = Clean::new(name.as_bytes(), &self.limits).ok()?.bytes().to_vec();
        for _ in 0..MAX_LINKS {
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        self.files.get(&name)
    }

    fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn open(&self, name: &str) -> Result<File> {
        let (path, _) = self.find(name).ok_or_else(|| missing(name))?;
        File::open(path).map_err(Error::on("open", path))
    }

    /// A small file as a whole.
    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let (path, size) = self.find(name).ok_or_else(|| missing(name))?;
        if *size > self.limits.document {
            return Err(Error::corrupt(name, format!("has {size} bytes, more than {}", self.limits.document)));
        }
        std::fs::read(path).map_err(Error::on("read", path))
    }
}

fn missing(name: &str) -> Error {
    Error::corrupt("the archive", format!("{name} is missing"))
}

/// The digest that a file's name claims, if it does: `blobs/sha256/HEX`, `HEX.json`, `HEX.tar`.
fn claimed(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    let stem = last.split('.').next()?;
    format!("sha256:{stem}").parse().ok()
}
