//! The engine with real containers. Needs root and busybox-static.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod crash;
mod life;
mod logs;
mod storage;
mod support;
