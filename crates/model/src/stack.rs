//! A stack: what one Compose project asks for; and the objects beside services.

use crate::spec::ServiceSpec;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One Compose project, complete. Keys of the maps are full names (`PROJECT_KEY`, `name:`, or an
/// external object's own name); external objects are not listed but in `external_*`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StackSpec {
    /// Project name.
    pub name: String,
    /// Services by full name.
    pub services: BTreeMap<String, ServiceSpec>,
    /// Networks to create.
    pub networks: BTreeMap<String, NetworkSpec>,
    /// Volumes to create.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Configs with their content.
    pub configs: BTreeMap<String, ContentSpec>,
    /// Secrets with their content.
    pub secrets: BTreeMap<String, ContentSpec>,
    /// Networks that must exist already.
    pub external_networks: Vec<String>,
    /// Volumes that must exist already.
    pub external_volumes: Vec<String>,
    /// Configs that must exist already.
    pub external_configs: Vec<String>,
    /// Secrets that must exist already.
    pub external_secrets: Vec<String>,
}

/// A network as asked for (Compose `networks`, `docker network create`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Full name.
    pub name: String,
    /// Owning stack.
    pub stack: Option<String>,
    /// `bridge` or `overlay` as written; one host makes no difference.
    pub driver: Option<String>,
    /// `driver_opts`.
    pub driver_opts: BTreeMap<String, String>,
    /// No way out.
    pub internal: bool,
    /// Standalone containers may join.
    pub attachable: bool,
    /// `enable_ipv6`.
    pub ipv6: bool,
    /// `ipam.config`, at most one of each family.
    pub ipam: Vec<IpamConfig>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// `ipam.config` entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamConfig {
    /// CIDR.
    pub subnet: Option<String>,
    /// Part of the subnet that addresses come from.
    pub ip_range: Option<String>,
    /// Address of the bridge.
    pub gateway: Option<String>,
    /// Reserved addresses.
    pub aux_addresses: BTreeMap<String, String>,
}

/// A volume as asked for (Compose `volumes`, `docker volume create`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSpec {
    /// Full name.
    pub name: String,
    /// Owning stack.
    pub stack: Option<String>,
    /// `local`.
    pub driver: Option<String>,
    /// `type`, `o`, `device` of the local driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A config's or secret's content. `Debug` never shows it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentSpec {
    /// Full name.
    pub name: String,
    /// Owning stack.
    pub stack: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The bytes, at most 1 MiB.
    pub data: Vec<u8>,
    /// Expand `{{…}}` placeholders.
    pub template: bool,
    /// When its name was first given a content; zero in what is asked for.
    pub created: Time,
    /// When this content was.
    pub updated: Time,
}

/// Which of the two kinds of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentKind {
    /// Anybody may read it.
    Config,
    /// Nobody may but those who run with it.
    Secret,
}

impl fmt::Display for ContentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContentKind::Config => "config",
            ContentKind::Secret => "secret",
        })
    }
}

/// A config or secret as clients see it: all but the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentView {
    /// Id of the content that the name means now.
    pub id: String,
    /// Full name.
    pub name: String,
    /// Owning stack.
    pub stack: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When its name was first given a content.
    pub created: Time,
    /// When this content was.
    pub updated: Time,
}

impl fmt::Debug for ContentSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentSpec").field("name", &self.name).field("bytes", &self.data.len()).finish_non_exhaustive()
    }
}
