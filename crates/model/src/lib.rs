//! Layer: pure.
//!
//! The nouns of rswarm: ids, specs, tasks, nodes, networks, assignments. Everything that crosses a
//! crate boundary is one of these plain values. No clock, no randomness, no I/O; all collections
//! are ordered, so that every run can be lived again.

#![forbid(unsafe_code)]

pub mod assignment;
pub mod cluster;
pub mod diagnostic;
pub mod ids;
pub mod image;
pub mod mesh;
pub mod mode;
pub mod network;
pub mod node;
pub mod plan;
pub mod registry;
pub mod request;
pub mod source;
pub mod spec;
pub mod stack;
pub mod task;
pub mod time;
pub mod unlock;

pub use assignment::*;
pub use cluster::*;
pub use ids::*;
pub use mesh::*;
pub use mode::*;
pub use network::*;
pub use node::*;
pub use plan::*;
pub use registry::*;
pub use request::*;
pub use source::*;
pub use spec::*;
pub use stack::*;
pub use task::*;
pub use time::Time;
pub use unlock::*;
