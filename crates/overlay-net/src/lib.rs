//! Layer: edge.
//!
//! The network of one host. The daemon hands over one whole [`model::HostNet`]; a process of its own,
//! [`netd`], makes the kernel agree with it: bridges, veth pairs, named network namespaces, one
//! nftables table, reserved ports, and a DNS server at 127.0.0.11 in every namespace that wants one.
//!
//! It works as observe → diff → apply: [`kernel::Kernel`] is what should be or what is, `diff` compares
//! two of them, and every step can be repeated. Nothing is remembered that the kernel cannot tell,
//! except the last wanted value itself, so `netd` may die at any instant. (What makes connecting to a service cheaper
//! dies with it: rules take over, and a call that nobody had answered in just that moment may not be answered.)
//!
//! Invariants: this crate is the only speaker of netlink and nftables, and of programs that the kernel asks about
//! addresses; every link it makes carries a group number derived from the run root, so that daemons that share a machine
//! leave each other alone.

pub mod client;
pub mod dns;
pub mod kernel;
mod memory;
pub mod mesh;
pub mod names;
pub mod netd;
mod pending;
mod ports;
mod relay;
mod report;
mod routes;
mod rules;
mod sockaddr;
mod vips;
mod wire;

pub use dns::resolv::resolv_conf;
pub use kernel::cleanup;
pub use names::netns_path;
pub use pending::Pending;
pub use report::Applied;
pub use routes::{host_addresses, host_routes, link_mtu};
