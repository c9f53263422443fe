//! Sources: where stacks are followed from, and how that goes.

use crate::diagnostic::Diagnostic;
use crate::ids::NodeId;
use crate::stack::StackSpec;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

/// Records that are kept of each source.
pub const SYNC_HISTORY: usize = 50;

/// Where stacks come from, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// Its name; the stack's too, where `stacks` and the files name none.
    pub name: String,
    /// Where.
    pub origin: Origin,
    /// Compose files and folders inside of it, `*` for any one name; none: its root.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Stacks that it may touch, `*` for any characters. One plain name with one path is the project's name.
    #[serde(default)]
    pub stacks: Vec<String>,
    /// How often to ask whether there is something new; zero: only when told.
    pub interval: Duration,
    /// Remove what is no longer in the files; volumes excepted.
    #[serde(default)]
    pub prune: bool,
    /// Remove volumes too, with their data.
    #[serde(default)]
    pub prune_volumes: bool,
    /// Put right what somebody changed by hand.
    #[serde(default)]
    pub self_heal: bool,
    /// Refuse a commit of a branch that does not come after the one that runs (a force-push).
    #[serde(default)]
    pub forward_only: bool,
    /// Go back as a whole when the services do not become healthy.
    #[serde(default)]
    pub rollback: bool,
    /// How long they may take to.
    pub patience: Duration,
    /// What its files may ask of the host.
    #[serde(default)]
    pub allow: BTreeSet<Allowance>,
    /// Variables for the files.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Keys and tokens.
    #[serde(default)]
    pub credentials: Credentials,
}

/// Where a source is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A file or folder of one node.
    Path {
        /// Absolute.
        path: String,
        /// Whose.
        node: NodeId,
    },
    /// A git repository.
    Git {
        /// `https://`, `ssh://`, `file://`, or `USER@HOST:PATH`.
        url: String,
        /// Branch, tag or commit; `HEAD` for what the server calls so.
        reference: String,
    },
}

/// What files of a source are refused unless they were allowed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allowance {
    /// Paths of the host.
    Bind,
    /// `privileged`, added capabilities, and less than the default confinement.
    Privileged,
    /// Namespaces of the host.
    Host,
    /// Devices of the host.
    Device,
    /// Networks, volumes, configs and secrets of other stacks.
    External,
}

/// Keys and tokens of a source. They are shown to nobody.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// For https: `TOKEN` or `USER:TOKEN`.
    pub token: Option<String>,
    /// For ssh: a private key.
    pub ssh_key: Option<String>,
    /// For ssh: lines of a `known_hosts` file.
    pub known_hosts: Option<String>,
    /// Commits must be signed by one of these: lines of an allowed signers file (ssh-keygen(1)), and public
    /// keys of OpenPGP in armor (`gpg --export --armor`).
    pub allowed_signers: Option<String>,
    /// What the server of the repository signs its webhooks with.
    pub webhook: Option<String>,
    /// What configs and secrets are opened with that were encrypted with age: lines of a key file (age-keygen(1)).
    pub age_keys: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credentials { token, ssh_key, known_hosts, allowed_signers, webhook, age_keys } = self;
        f.debug_struct("Credentials")
            .field("token", &token.is_some())
            .field("ssh_key", &ssh_key.is_some())
            .field("known_hosts", &known_hosts.is_some())
            .field("allowed_signers", &allowed_signers.is_some())
            .field("webhook", &webhook.is_some())
            .field("age_keys", &age_keys.is_some())
            .finish()
    }
}

/// A source as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// As asked for.
    pub spec: SourceSpec,
    /// Counts the changes of the spec; what was found by an earlier one is not taken.
    pub version: u64,
    /// Nothing is applied.
    #[serde(default)]
    pub suspended: bool,
    /// Only this commit is wanted (`gitops rollback`), until it is resumed.
    #[serde(default)]
    pub pinned: Option<String>,
    /// How it goes.
    pub status: SourceStatus,
}

/// How a source goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// How its newest commit fared.
    pub outcome: SyncOutcome,
    /// Since when.
    pub since: Time,
    /// Why, for people.
    pub message: String,
    /// What is wrong with the files.
    pub diagnostics: Vec<Diagnostic>,
    /// The newest commit that was looked at.
    pub seen: Option<Commit>,
    /// The commit that the stacks are of.
    pub applied: Option<Commit>,
    /// By which version of the source's spec.
    pub applied_version: u64,
    /// The last one that all services became healthy of.
    pub good: Option<Commit>,
    /// A commit that is not tried again.
    pub refused: Option<String>,
    /// The stacks that it holds.
    pub stacks: BTreeSet<String>,
    /// Where the cluster differs from the commit, as nobody committed it.
    pub drift: Vec<String>,
    /// What was done, oldest first.
    pub history: VecDeque<SyncRecord>,
}

/// How a commit fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncOutcome {
    /// Nothing was found yet.
    #[default]
    New,
    /// It is applied; its services come up.
    Settling,
    /// They are all there.
    Healthy,
    /// They do not come up.
    Unhealthy,
    /// They did not, and the commit before is back.
    RolledBack,
    /// Its files are refused; nothing was changed.
    Invalid,
    /// It can't be fetched; nothing was changed.
    Unreachable,
}

impl SyncOutcome {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            SyncOutcome::New => "new",
            SyncOutcome::Settling => "settling",
            SyncOutcome::Healthy => "healthy",
            SyncOutcome::Unhealthy => "unhealthy",
            SyncOutcome::RolledBack => "rolled back",
            SyncOutcome::Invalid => "invalid",
            SyncOutcome::Unreachable => "unreachable",
        }
    }
}

/// One state of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Commit {
    /// Its hash; of a path the digest of its files.
    pub id: String,
    /// First line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// When.
    pub time: Time,
}

impl Commit {
    /// The first 12 digits.
    pub fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// What was done once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRecord {
    /// Of which commit.
    pub commit: Commit,
    /// When.
    pub at: Time,
    /// What changed: `service shop_web updated (image: …)`.
    pub changes: Vec<String>,
    /// How it fared.
    pub outcome: SyncOutcome,
    /// Why, for people.
    pub message: String,
}

/// What is asked about sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceRequest {
    /// Follow it (`gitops add`), or change how.
    Put {
        /// What.
        spec: Box<SourceSpec>,
        /// There is none of this name yet.
        create: bool,
    },
    /// Follow it no more (`gitops rm`).
    Remove {
        /// Which.
        name: String,
        /// Take its stacks away too.
        down: bool,
    },
    /// Apply nothing for now, or go on; a commit that was wanted by name is wanted no more.
    Suspend {
        /// Which.
        name: String,
        /// Else it goes on.
        suspended: bool,
    },
    /// Want this commit until the source is resumed (`gitops rollback`).
    Pin {
        /// Which.
        name: String,
        /// The whole hash.
        commit: String,
    },
    /// Here is what a commit says.
    Sync(Box<Sync>),
    /// A commit says nothing that can be applied, or could not be fetched.
    Report(Box<SyncReport>),
}

/// All stacks of one commit: applied together or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    /// Of which source.
    pub name: String,
    /// Of which version of its spec.
    pub version: u64,
    /// The commit.
    pub commit: Commit,
    /// Its stacks that differ from what was applied last, images pinned.
    pub stacks: Vec<StackSpec>,
    /// The names of all of its stacks.
    pub names: BTreeSet<String>,
    /// A person asked: also a commit that was not to be tried again.
    pub asked: bool,
    /// What is to be told of the commit: that the branch was rewritten.
    #[serde(default)]
    pub warnings: Vec<Diagnostic>,
}

/// A path source as its node reads it, for whoever leads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceFiles {
    /// As they were.
    Same,
    /// They make sense.
    Read {
        /// Their state.
        commit: Commit,
        /// All stacks; images are not pinned.
        stacks: Vec<StackSpec>,
        /// What is odd in them.
        #[serde(default)]
        warnings: Vec<Diagnostic>,
    },
    /// They do not.
    Invalid {
        /// Their state.
        commit: Commit,
        /// In short.
        message: String,
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
    },
    /// They can't be read.
    Unreadable(String),
}

/// Why nothing came of a commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncReport {
    /// Of which source.
    pub name: String,
    /// Of which version of its spec.
    pub version: u64,
    /// The commit, if it came so far.
    pub commit: Option<Commit>,
    /// `Invalid` or `Unreachable`; `Healthy`: it is reachable again, and nothing is new.
    pub outcome: SyncOutcome,
    /// Why.
    pub message: String,
    /// What is wrong with the files.
    pub diagnostics: Vec<Diagnostic>,
}
