//! The agent driven by a host of a test's own: what it asks for, and what it tells.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod drains;
mod health;
mod launches;
mod laws;
mod networks;
mod recovery;
mod rig;
mod stories;
