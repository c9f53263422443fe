//! What should happen next: whole state in, decisions out. The steps, in order, and nothing else.

pub(crate) mod allocate;
pub(crate) mod dirty;
mod failures;
mod gates;
mod jobs;
pub(crate) mod liveness;
mod reap;
mod restart;
mod schedule;
mod services;
pub(crate) mod slots;
mod sources;
mod survey;
mod unfit;
mod update;

pub(crate) use failures::avoided;
pub(crate) use gates::join_target;
pub(crate) use reap::remove_volume;
pub(crate) use schedule::{has_room, problem as constraint_problem};

use crate::draft::Draft;

/// Decides. An empty plan stays empty until the draft's wake.
pub(crate) fn plan(draft: &mut Draft<'_>, seen: &liveness::Liveness) {
    liveness::step(draft, seen);
    crate::request::rotate(draft);
    sources::step(draft);
    let restless = survey::restless(draft.cluster());
    restart::step(draft, &restless);
    services::step(draft, &restless);
    update::step(draft, &restless);
    gates::step(draft, &restless);
    allocate::step(draft, &restless);
    schedule::step(draft, &restless);
    reap::step(draft, &restless);
}
