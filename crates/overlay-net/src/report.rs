//! What came of making the kernel agree with a `HostNet`.

use model::{NetworkId, PublishedPort, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What could not be done, each with the reason as a sentence for users. Whatever is not named here
/// is in place: one bad port or endpoint never holds up the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Applied {
    /// Ports that could not be published, most often because someone else has them.
    pub port_errors: Vec<(PublishedPort, String)>,
    /// Tasks whose namespace is missing or incomplete.
    pub endpoint_errors: BTreeMap<TaskId, String>,
    /// Networks whose bridge or rules are missing or incomplete.
    pub network_errors: BTreeMap<NetworkId, String>,
    /// After which nobody goes to a backend any more that was taken away. Until then it may answer connections that had
    /// begun before.
    pub settles: Duration,
}

impl Applied {
    /// Did everything work?
    pub fn is_clean(&self) -> bool {
        self.port_errors.is_empty() && self.endpoint_errors.is_empty() && self.network_errors.is_empty()
    }

    pub(crate) fn endpoint(&mut self, task: TaskId, reason: impl Into<String>) {
        append(self.endpoint_errors.entry(task).or_default(), reason.into());
    }

    pub(crate) fn network(&mut self, network: NetworkId, reason: impl Into<String>) {
        append(self.network_errors.entry(network).or_default(), reason.into());
    }
}

fn append(text: &mut String, reason: String) {
    if text.is_empty() {
        *text = reason;
    } else if !text.contains(&reason) {
        text.push_str("; ");
        text.push_str(&reason);
    }
}
