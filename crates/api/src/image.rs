//! Images as clients see them.

use serde::{Deserialize, Serialize};

/// One line of `image ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    /// `sha256:…` of the config.
    pub id: String,
    /// Familiar repository, or `<none>`.
    pub repository: String,
    /// Tag, or `<none>`.
    pub tag: String,
    /// Manifest digest, if it came from a registry.
    pub digest: Option<String>,
    /// Seconds since the epoch; 0 unknown.
    pub created: i64,
    /// Unpacked size in bytes.
    pub size: u64,
}

/// One line of `image history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Image id for the newest, `<missing>` for the rest.
    pub id: String,
    /// Seconds since the epoch; 0 unknown.
    pub created: i64,
    /// What made it.
    pub created_by: String,
    /// Unpacked size of its layer in bytes.
    pub size: u64,
    /// Comment.
    pub comment: String,
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PruneReport {
    /// What was removed, a line each.
    pub removed: Vec<String>,
    /// Bytes freed.
    pub reclaimed: u64,
}
