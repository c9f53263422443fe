//! What a stack would change if it were applied, as a value: printed, compared, saved, refused.

use crate::diagnostic::Diagnostic;
use crate::stack::StackSpec;
use serde::{Deserialize, Serialize};

/// A stack, and how far applying it may go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// The stack, images pinned as far as they are here.
    pub stack: StackSpec,
    /// Remove services of the project that are not in it.
    pub remove_orphans: bool,
    /// Replace tasks even where nothing changed.
    pub force_recreate: bool,
    /// Remove networks, configs and secrets of the project that are not in it, once nobody uses them.
    pub prune: bool,
    /// The same for volumes, with their data.
    pub prune_volumes: bool,
    /// The plan shows values of variables too. Nothing else depends on it.
    pub show_values: bool,
}

/// What applying a [`Wanted`] would change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StackPlan {
    /// Project name.
    pub stack: String,
    /// Revision of the state that it was made on.
    pub revision: u64,
    /// Digest of all that it was made on: specs of the project and of what it uses. Another digest means
    /// that the plan might be another one; revisions turn with every report of a container.
    pub basis: String,
    /// Services, in the order of their names.
    pub services: Vec<ServicePlan>,
    /// Networks, volumes, configs and secrets that change.
    pub objects: Vec<ObjectPlan>,
    /// What happens to replicas, round by round, if every one of them comes up.
    pub rounds: Vec<Vec<ReplicaStep>>,
    /// There are more rounds than were looked at.
    pub unfinished: bool,
    /// Replicas that would wait, and why: (`web.3`, `no suitable node: …`).
    pub waiting: Vec<(String, String)>,
    /// Warnings.
    pub warnings: Vec<Diagnostic>,
}

impl StackPlan {
    /// Would anything change?
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.services.iter().all(|service| service.action == PlanAction::Stay)
    }

    /// Is anything removed that a person may miss?
    pub fn removes(&self) -> bool {
        let services = self.services.iter().map(|service| service.action);
        services.chain(self.objects.iter().map(|object| object.action)).any(|action| action == PlanAction::Remove)
    }
}

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanAction {
    /// It is made.
    Create,
    /// It changes.
    Change,
    /// It goes.
    Remove,
    /// Nothing.
    Stay,
}

/// What becomes of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// Full name.
    pub name: String,
    /// Its key in the file.
    pub key: String,
    /// What becomes of it.
    pub action: PlanAction,
    /// Its image, as written.
    pub image: String,
    /// Replicas before and after; `None` where there are none, or where nodes decide.
    pub replicas: (Option<u32>, Option<u32>),
    /// Tasks that exist are replaced.
    pub replaces: bool,
    /// How, when they are: `1 at a time, the old one stops first`.
    pub how: String,
    /// Fields that differ.
    pub fields: Vec<FieldChange>,
    /// What else happens: `restarts with db`, `2 containers started again`.
    pub notes: Vec<String>,
}

/// What becomes of something that is no service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPlan {
    /// `network`, `volume`, `config`, `secret`.
    pub kind: String,
    /// Full name.
    pub name: String,
    /// What becomes of it.
    pub action: PlanAction,
    /// What differs, by the names of the fields.
    pub fields: Vec<String>,
}

/// A field of a service that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// In words of the Compose file: `deploy.update_config.parallelism`.
    pub path: String,
    /// Before; `None`: not set, or not to be shown.
    pub old: Option<String>,
    /// After.
    pub new: Option<String>,
    /// Values are kept back: they may be secret.
    pub hidden: bool,
}

/// What happens to one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStep {
    /// `web.1`; `web@HOST` where the node is the slot.
    pub replica: String,
    /// It starts, else it stops.
    pub starts: bool,
    /// Host name of its node.
    pub node: String,
}

/// A plan that was saved: applied only on the state that it was made on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// Of this form; 1.
    pub version: u32,
    /// What to apply, contents of secrets included.
    pub wanted: Wanted,
    /// What was shown.
    pub plan: StackPlan,
}
