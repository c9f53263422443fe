//! The program that is PID 1 of a container with `init: true`: it starts the real one, hands signals on
//! and reaps what is left to it.

/// A static executable of a few kilobytes, built from `init/main.rs`.
pub(super) const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));
