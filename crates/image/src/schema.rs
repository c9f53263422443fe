//! Manifests, indexes and configs, as registries and archives have them (OCI image spec 1.1 and
//! Docker's schema 2, which differ in names of media types only).

use crate::error::{Error, Result};
use model::image::Digest;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Media types of manifests that we ask for.
pub(crate) const MANIFESTS: [&str; 4] = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST];
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Points to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// What a manifest of an index is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// One image.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// Images for several platforms.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

/// What a document turned out to be.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a manifest or index.
    ///
    /// # Errors
    /// It is neither, or could be taken for both.
    pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Document> {
        let wrong = |why: String| Error::corrupt(what, why);
        let shape: Shape = serde_json::from_slice(bytes).map_err(|error| wrong(format!("no manifest: {error}")))?;
        if shape.schema_version != Some(2) {
            return Err(wrong("a manifest of an old or unknown schema: push the image again with newer tools".into()));
        }
        let is_index = shape.manifests.is_some();
        let is_manifest = shape.layers.is_some() || shape.config.is_some();
        if is_index == is_manifest {
            return Err(wrong("neither a manifest nor an index, or both at once".into()));
        }
        let says = shape.media_type.unwrap_or_default();
        let fits = match is_index {
            true => says.is_empty() || says == OCI_INDEX || says == DOCKER_INDEX,
            false => says.is_empty() || says == OCI_MANIFEST || says == DOCKER_MANIFEST,
        };
        if !fits {
            return Err(wrong(format!("its media type {says:?} does not fit its content")));
        }
        let document = match is_index {
            true => serde_json::from_slice(bytes).map(Document::Index),
            false => serde_json::from_slice(bytes).map(Document::Manifest),
        };
        document.map_err(|error| wrong(format!("malformed manifest: {error}")))
    }
}

impl Manifest {
    /// Is that an image, with layers that we can unpack?
    pub(crate) fn check(&self, what: &str, limits: &crate::limits::Limits) -> Result<()> {
        let kind = &self.config.media_type;
        if !(kind.is_empty() || kind == OCI_CONFIG || kind == DOCKER_CONFIG || kind == "application/octet-stream") {
            return Err(Error::corrupt(what, format!("no image but an artifact of type {kind:?}")));
        }
        if self.layers.len() > limits.layers {
            return Err(Error::corrupt(what, format!("has {} layers, more than {}", self.layers.len(), limits.layers)));
        }
        for layer in &self.layers {
            let kind = layer.media_type.as_str();
            let is_known = kind.is_empty() || (kind.contains(".tar") && !kind.contains("+encrypted"));
            if !is_known || kind.contains("foreign") {
                return Err(Error::corrupt(what, format!("has a layer of type {kind:?}, which can't be unpacked")));
            }
        }
        Ok(())
    }
}

/// The config of an image; what we don't use is kept in the bytes that it was read from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Config {
    /// `amd64`, …
    #[serde(default)]
    pub architecture: String,
    /// `v7`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Comment, where Docker puts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// How to run it.
    #[serde(default, deserialize_with = "or_default")]
    pub config: RunConfig,
    /// What it consists of.
    pub rootfs: RootFs,
    /// How it came about, oldest first.
    #[serde(default, deserialize_with = "or_default")]
    pub history: Vec<History>,
}

/// Layers by the digests of their archives, bottom first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Digests.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Command.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub created_by: String,
    /// Comment.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub comment: String,
    /// It made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The part of a config that containers are made from. Docker writes `null` for what is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// USER.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// EXPOSE.
    #[serde(deserialize_with = "keys", serialize_with = "as_keys", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// ENV.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// ENTRYPOINT.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// CMD.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// VOLUME.
    #[serde(deserialize_with = "keys", serialize_with = "as_keys", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// WORKDIR.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// LABEL.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// STOPSIGNAL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// SHELL.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// HEALTHCHECK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Health>,
}

/// HEALTHCHECK in Docker's form: durations in nanoseconds, 0 for the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `NONE`, or `CMD` or `CMD-SHELL` and what to run; empty: inherited.
    #[serde(deserialize_with = "or_default")]
    pub test: Vec<String>,
    /// Between checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Until failures count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between checks until then.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures that mean unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Config {
    /// Reads a config.
    ///
    /// # Errors
    /// It is none, or not for Linux.
    pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Config> {
        let config: Config = serde_json::from_slice(bytes)
            .map_err(|error| Error::corrupt(what, format!("malformed image config: {error}")))?;
        if !config.os.is_empty() && config.os != "linux" {
            return Err(Error::corrupt(what, format!("an image for {}, not for linux", config.os)));
        }
        Ok(config)
    }

    /// When it was made, seconds since the epoch; 0 unknown.
    pub fn created_seconds(&self) -> i64 {
        seconds(self.created.as_deref())
    }
}

/// Seconds since the epoch of an RFC 3339 time; 0 unknown.
pub(crate) fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|time| time.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_second)
}

/// `null` is as good as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// A set, written as an object with empty values.
fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    let map = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(from)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn as_keys<S: serde::Serializer>(set: &BTreeSet<String>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(set.iter().map(|key| (key, BTreeMap::<String, String>::new())))
}
