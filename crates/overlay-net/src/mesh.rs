//! The mesh: WireGuard between the nodes of a cluster.

mod key;

pub use key::own_key;
