//! One machine, from outside: real daemons, real images, real containers. A file for each theme.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
mod run;
