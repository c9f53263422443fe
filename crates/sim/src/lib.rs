//! Layer: pure.
//!
//! The simulator: the real manager and the real agents in a world of one thread, where everything that
//! may go wrong does, by a seed. A run is a storm (daemons die, answers get lost, hosts reboot, an
//! operator deploys, scales, stops and removes all the while), then healing, then the demand that the
//! cluster comes to rest, rests, and that hosts run exactly what was acknowledged.
//!
//! The same seed gives the same history, so a failure can be lived again: `sim --seed N --trace`.

#![forbid(unsafe_code)]

mod acting;
mod chance;
mod checkers;
mod faults;
mod group;
mod happen;
mod host;
mod joint;
mod managing;
mod member;
mod node;
mod operator;
mod specs;
mod trace;
mod world;

pub use faults::Sabotage;
pub use group::{Flaw, GroupSummary, run_group};
pub use joint::Slip;
pub use world::{Failure, Summary};

use world::World;

/// Runs the world of a seed. `whole`: keep the whole history.
///
/// # Errors
/// Something that must hold did not.
pub fn run(seed: u64, whole: bool) -> Result<Summary, Box<Failure>> {
    run_with(seed, whole, None)
}

/// The same with a bug planted.
///
/// # Errors
/// The bug was caught.
pub fn run_with(seed: u64, whole: bool, sabotage: Option<Sabotage>) -> Result<Summary, Box<Failure>> {
    finish(seed, whole, World::new(seed, whole, sabotage))
}

/// Runs the whole cluster of a seed: several managers, their nodes, an operator; with a bug planted if `slip` names
/// one.
///
/// # Errors
/// Something that must hold did not.
pub fn run_joint(seed: u64, whole: bool, slip: Option<Slip>) -> Result<Summary, Box<Failure>> {
    finish(seed, whole, World::joint(seed, whole, slip))
}

fn finish(seed: u64, whole: bool, mut world: World) -> Result<Summary, Box<Failure>> {
    let result = world.run();
    let trace: Vec<String> = world.trace.lines().map(str::to_owned).collect();
    match result {
        Ok(()) => {
            let trace = if whole { trace } else { Vec::new() };
            Ok(Summary { hash: world.trace.hash(), trace, ..world.summary })
        }
        Err(what) => Err(Box::new(Failure { seed, at: world.now, what, trace })),
    }
}
