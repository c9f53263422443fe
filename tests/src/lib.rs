//! Layer: edge.
//!
//! A bench for tests that see rswarm from outside, as its users do: a [`Host`] is a network namespace with a daemon of
//! its own, commands are run and their exit code, stdout and stderr looked at, and when a host is dropped everything it
//! ever made is counted: what is left is a leak and fails the test.
//!
//! Needs root. Elsewhere [`Host::new`] says `SKIPPED` and gives none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, here as in the tests themselves")]

mod census;
mod faults;
mod host;
mod image;
mod lab;
mod load;
mod numbers;
mod pty;
mod registry;
mod run;
mod wait;
mod writer;

pub use faults::Keepers;
pub use host::{Host, Options};
pub use image::{BUSYBOX, rootfs_tar};
pub use lab::{Lab, WEB};
pub use load::{Client, SERVER, Tally, served, under_load};
pub use numbers::Numbers;
pub use pty::Pty;
pub use registry::{Registry, make_layout};
pub use run::{Output, compile, run, run_with_input};
pub use wait::{eventually, eventually_or, eventually_some};
pub use writer::Writer;

use std::path::PathBuf;

/// The checkout: examples and scripts are found below it.
pub fn root() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The binary under test: `RSWARM_BIN`, else what `cargo build -p cli` made for this profile.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RSWARM_BIN") {
        return std::fs::canonicalize(path).unwrap();
    }
    // target/debug/deps/single_host-0123 → target/debug/rswarm
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("rswarm");
    assert!(path.exists(), "{} is not there: `cargo build -p cli` makes it, RSWARM_BIN names another", path.display());
    path
}
