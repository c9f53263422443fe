//! Images made by hand, stores to put them in, and looks at what came out.

use image::{Limits, Options, Store};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Unpacking sets owners, devices and overlay attributes.
pub(crate) fn skipped() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: needs root");
    }
    !is_root
}

/// Is a program here?
pub(crate) fn has(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).exists());
    if !found {
        eprintln!("SKIPPED: needs {program}");
    }
    found
}

/// Runs a program that must succeed; returns what it said.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A store in a folder of its own.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) options: Options,
}

pub(crate) fn options(root: &Path, insecure: &[&str]) -> Options {
    Options {
        root: root.to_owned(),
        insecure_registries: insecure.iter().map(|&host| host.to_owned()).collect(),
        docker_config: None,
        certificates: root.join("../certs.d"),
        limits: Limits::default(),
    }
}

impl Lab {
    pub(crate) fn new(insecure: &[&str]) -> Lab {
        Lab::with(insecure, |_, _| {})
    }

    pub(crate) fn with(insecure: &[&str], change: impl FnOnce(&mut Options, &Path)) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(&folder.path().join("images"), insecure);
        change(&mut options, folder.path());
        Lab { store: Store::open(options.clone()).unwrap(), folder, options }
    }

    /// One that has this file of Docker's.
    pub(crate) fn knowing(insecure: &[&str], text: &str) -> Lab {
        Lab::with(insecure, |options, folder| {
            std::fs::write(folder.join("config.json"), text).unwrap();
            options.docker_config = Some(folder.to_owned());
        })
    }

    /// Opens the store anew, as after a restart.
    pub(crate) fn reopen(&mut self) {
        self.store = Store::open(self.options.clone()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names in one of the store's folders.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.options.root.join(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Where the part of a blob is kept that was fetched so far.
    pub(crate) fn partial(&self, digest: &str) -> PathBuf {
        self.options.root.join("partial").join(digest.trim_start_matches("sha256:"))
    }

    /// Nothing is half done.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.names("staging"), Vec::<String>::new());
        assert_eq!(self.names("partial"), Vec::<String>::new());
    }

    /// Where a file of an image is: the topmost layer that has it.
    pub(crate) fn file(&self, reference: &str, path: &str) -> Option<PathBuf> {
        let image = self.store.lookup(reference).unwrap();
        let mut places = image.layers.iter().rev().map(|layer| layer.join(path));
        places.find(|place| place.symlink_metadata().is_ok())
    }

    pub(crate) fn text(&self, reference: &str, path: &str) -> String {
        std::fs::read_to_string(self.file(reference, path).unwrap()).unwrap()
    }
}

/// A tar archive of plain files.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// Bytes that don't compress, always the same.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image to be served: its manifest, and its blobs.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) manifest: Vec<u8>,
    pub(crate) kind: &'static str,
    pub(crate) config: Vec<u8>,
    pub(crate) blobs: Vec<Vec<u8>>,
}

pub(crate) const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const SCHEMA2: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// How a layer travels.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Plain,
    Gzip,
    Zstd,
}

pub(crate) fn config(diff_ids: &[String], architecture: &str) -> Vec<u8> {
    let history: Vec<Value> = diff_ids
        .iter()
        .enumerate()
        .map(|(number, _)| json!({"created": "2024-05-06T07:08:09Z", "created_by": format!("step {number}")}))
        .collect();
    serde_json::to_vec(&json!({
        "architecture": architecture, "os": "linux", "created": "2024-05-06T07:08:09Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["A=1"], "Entrypoint": null, "Volumes": {"/data": {}}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    }))
    .unwrap()
}

/// This machine's architecture in Go's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An image of these archives.
pub(crate) fn image(kind: &'static str, layers: &[(Vec<u8>, Form)]) -> Made {
    let diff_ids: Vec<String> = layers.iter().map(|(archive, _)| digest(archive)).collect();
    let blobs: Vec<(Vec<u8>, &str)> = layers
        .iter()
        .map(|(archive, form)| match form {
            Form::Plain => (archive.clone(), ""),
            Form::Gzip => (gzip(archive), "+gzip"),
            Form::Zstd => (zstd(archive), "+zstd"),
        })
        .collect();
    let config = config(&diff_ids, architecture());
    let is_oci = kind == OCI;
    let list: Vec<Value> = blobs
        .iter()
        .map(|(blob, suffix)| {
            let media_type = match is_oci {
                true => format!("application/vnd.oci.image.layer.v1.tar{suffix}"),
                false => "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned(),
            };
            json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
        })
        .collect();
    let config_type = match is_oci {
        true => "application/vnd.oci.image.config.v1+json",
        false => "application/vnd.docker.container.image.v1+json",
    };
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": config_type, "digest": digest(&config), "size": config.len()},
        "layers": list,
    }))
    .unwrap();
    Made { manifest, kind, config, blobs: blobs.into_iter().map(|(blob, _)| blob).collect() }
}

/// An entry of an archive with whatever it says of itself.
pub(crate) struct Raw<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: u8,
    pub(crate) link: &'a [u8],
    pub(crate) content: &'a [u8],
}

pub(crate) fn raw<'a>(name: &'a (impl AsRef<[u8]> + ?Sized), kind: u8, link: &'a str, content: &'a [u8]) -> Raw<'a> {
    Raw { name: name.as_ref(), kind, link: link.as_bytes(), content }
}

/// An archive of entries that no honest writer writes.
pub(crate) fn raw_tar(entries: &[Raw<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        {
            let old = header.as_old_mut();
            old.name[..entry.name.len()].copy_from_slice(entry.name);
            old.linkname[..entry.link.len()].copy_from_slice(entry.link);
        }
        header.set_entry_type(tar::EntryType::new(entry.kind));
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

/// One record of an extended header.
pub(crate) fn pax(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

impl Lab {
    pub(crate) fn import(&self, archive: &[u8], name: &str) -> image::Result<model::image::Digest> {
        let mut source = archive;
        self.store.import(&mut source, name, &[], None)
    }
}
