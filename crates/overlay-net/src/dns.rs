//! The DNS server of containers: what to answer is pure, who else to ask and the sockets are not.

pub mod answer;
pub mod resolv;

pub(crate) mod forward;
mod quick;
pub(crate) mod serve;
mod services;
