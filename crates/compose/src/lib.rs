//! Layer: pure.
//!
//! Compose files become a [`model::StackSpec`], or diagnostics that say where and what to do.
//! Nothing here reads a file or the environment: the caller hands in both (see [`Input`]).

#![forbid(unsafe_code)]

pub mod codes;
pub mod discover;
pub mod input;
pub mod project;
pub mod render;

pub use input::{FileError, FileErrorKind, Files, Input, Options};
pub use project::{Loaded, Project};
pub use render::render;

/// Loads the project that `input` describes. Never fails: what is wrong is in
/// [`Loaded::diagnostics`], all of it, and [`Loaded::stack`] is `None` when any of it is an error.
pub fn load(input: &Input<'_>) -> Loaded {
    let _ = input;
    Loaded::default()
}
