//! The manager with its log and hosts that are values: stories as scripts, laws, and what they cost.

mod attach;
mod contents;
mod drains;
mod group;
mod heritage;
mod host;
mod laws;
mod logins;
mod restarts;
mod scale;
mod script;
mod spec;
mod world;
