//! The image store against real registries and tools: Debian's `docker-registry`, `skopeo`, `umoci`,
//! GNU tar, and a registry of our own that misbehaves on demand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod archives;
mod crash;
mod fake;
mod hostile;
mod lab;
mod logins;
mod pull;
mod real;
mod remove;
mod trust;
