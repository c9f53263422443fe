//! Layer: edge.
//!
//! Containers of one host. [`engine`] is what the daemon calls; each running container has a
//! [`shim`] process of its own that keeps its output, its log and its exit status, so that the
//! daemon may come and go.

pub mod container;
pub mod engine;
mod layout;
pub mod logs;
pub mod oci;
mod record;
mod rootfs;
pub mod shim;
pub mod signal;
mod spec;
mod sys;
mod users;
pub mod volume;
mod wire;

pub use engine::Engine;
pub use spec::check;
pub use sys::let_go_of_code;
