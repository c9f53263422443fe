//! Several machines, from outside: real daemons in network namespaces of their own, joined to clusters. A file
//! for each theme.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod clients;
mod disks;
mod gitops;
mod leader;
mod locks;
mod losses;
mod machines;
mod members;
mod overlay;
mod partitions;
mod registries;
mod replaced;
mod rolling;
mod rotation;
mod storm;
mod upkeep;
