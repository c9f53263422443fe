//! Keys of `deploy`.

use super::{Absent, COUNT, Field, Kind, Unique, field};

const UPDATE: &[Field] = &[
    field("parallelism", COUNT).keep(),
    field("delay", Kind::Duration),
    field("failure_action", Kind::Text),
    field("monitor", Kind::Duration),
    field("max_failure_ratio", Kind::Number),
    field("order", Kind::Choice(&["start-first", "stop-first"])),
];

/// A request for devices.
pub(crate) const DEVICES: &[Field] = &[
    field("capabilities", Kind::Texts(Unique::Once)).required(),
    field("driver", Kind::Text),
    field("count", Kind::Count).absent(Absent::AllDevices),
    field("device_ids", Kind::Texts(Unique::Once)),
    field("options", Kind::Labels),
];

const DISCRETE: &[Field] = &[field("kind", Kind::Text).keep(), field("value", COUNT).keep()];
const GENERIC: &[Field] = &[field("discrete_resource_spec", Kind::Object(DISCRETE)).keep()];

const LIMITS: &[Field] =
    &[field("cpus", Kind::Number), field("memory", Kind::TextBytes), field("pids", Kind::Whole(i64::MIN, i64::MAX))];

const RESERVATIONS: &[Field] = &[
    field("cpus", Kind::Number),
    field("memory", Kind::TextBytes),
    field("devices", Kind::List(&Kind::Object(DEVICES), Unique::No)).not_yet("the container gets no such device"),
    field("generic_resources", Kind::List(&Kind::Object(GENERIC), Unique::No)),
];

const RESOURCES: &[Field] =
    &[field("limits", Kind::Object(LIMITS)).keep(), field("reservations", Kind::Object(RESERVATIONS)).keep()];

const RESTART: &[Field] = &[
    field("condition", Kind::Text),
    field("delay", Kind::Duration).keep(),
    field("max_attempts", COUNT).keep(),
    field("window", Kind::Duration).keep(),
];

const PREFERENCE: &[Field] = &[field("spread", Kind::Text)];
const PLACEMENT: &[Field] = &[
    field("constraints", Kind::Texts(Unique::No)),
    field("preferences", Kind::List(&Kind::Object(PREFERENCE), Unique::No)),
    field("max_replicas_per_node", COUNT),
];

/// `deploy`.
pub(super) const DEPLOY: &[Field] = &[
    field("mode", Kind::Text),
    field("replicas", COUNT).keep(),
    field("labels", Kind::Labels),
    field("update_config", Kind::Object(UPDATE)).keep(),
    field("rollback_config", Kind::Object(UPDATE)).keep(),
    field("resources", Kind::Object(RESOURCES)).keep().absent(Absent::Empty),
    field("restart_policy", Kind::Object(RESTART)).keep(),
    field("placement", Kind::Object(PLACEMENT)).keep().absent(Absent::Empty),
    field("endpoint_mode", Kind::Text),
];
