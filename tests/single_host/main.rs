//! One machine, from outside: real daemons, real images, real containers. A file for each theme.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attach;
mod build;
mod compose_files;
mod compose_keys;
mod cp;
mod crash;
mod examples;
mod gitops;
mod gitops_crash;
mod gitops_servers;
mod harness;
mod health;
mod images;
mod isolation;
mod lifecycle;
mod limits;
mod load;
mod logs;
mod networks;
mod ports;
mod registries;
mod restart;
mod rolling;
mod run;
mod runtimes;
mod secrets;
mod terminal;
mod up;
mod volumes;
