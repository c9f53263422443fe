//! Several managers: the real consensus and the real manager of each member, on a network and on disks that
//! fail, with clients that retry blindly.
//!
//! A run is a storm (messages are lost, late, doubled and out of order; one way is cut, or a member is; members
//! crash without what was not on disk, freeze, have full disks and clocks that jump; the group is changed
//! meanwhile, its leader too), then healing, then the demand that the group comes to rest and agrees. What
//! clients saw has to be what one machine that never fails could have shown them ([`linear`]).

mod clients;
mod drive;
mod flaw;
mod linear;
mod outside;
mod peer;
mod storm;
mod verify;
mod world;

pub(crate) use drive::is_register;
pub use flaw::Flaw;
pub(crate) use outside::Word;
pub(crate) use world::World as Group;

use crate::world::Failure;
use world::World;

/// What a run of a group came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSummary {
    /// The number of its history.
    pub hash: u64,
    /// Events that happened.
    pub events: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Terms that had a leader.
    pub leaders: u64,
    /// Lives of members that ended in a crash.
    pub crashes: u64,
    /// Leaders' snapshots that took the place of a member's state.
    pub restored: u64,
    /// Changes of the group that were seen through.
    pub reshaped: u64,
    /// Whole history, if it was asked for.
    pub trace: Vec<String>,
}

/// Runs the group of a seed, with a bug planted if `flaw` names one. `whole`: keep the whole history.
///
/// # Errors
/// Something that must hold did not.
pub fn run_group(seed: u64, whole: bool, flaw: Option<Flaw>) -> Result<GroupSummary, Box<Failure>> {
    let mut world = World::new(seed, whole, flaw);
    let result = world.run();
    let trace: Vec<String> = world.trace.lines().map(str::to_owned).collect();
    match result {
        Ok(()) => {
            let trace = if whole { trace } else { Vec::new() };
            Ok(GroupSummary { hash: world.trace.hash(), trace, ..world.summary })
        }
        Err(what) => Err(Box::new(Failure { seed, at: world.now, what, trace })),
    }
}
