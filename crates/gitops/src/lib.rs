//! Layer: edge.
//!
//! Where stacks come from when they are followed: folders that are watched, and git repositories. What
//! becomes of what was found is decided in `orchestrator`; here it is only found, read and checked.

pub mod age;
pub mod files;
pub mod git;
pub mod policy;
pub mod projects;
pub mod schedule;
pub mod tree;
pub mod watch;
pub mod webhook;
