//! Layer: edge.
//!
//! Containers of one host. [`engine`] is what the daemon calls; each running container has a
//! [`shim`] process of its own that keeps its output, its log and its exit status, so that the
//! daemon may come and go.

pub mod container;
pub mod engine;
pub mod logs;
pub mod oci;
pub mod shim;
pub mod signal;
pub mod volume;

pub use engine::Engine;
