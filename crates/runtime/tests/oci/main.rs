//! The built-in runtime by its command line: each property is looked at from inside a container.

mod lifecycle;
mod security;
mod setup;
mod support;
