//! The manager with its log and hosts that are values: stories as scripts, laws, and what they cost.

mod host;
mod script;
mod spec;
mod world;
