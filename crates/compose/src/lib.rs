//! Layer: pure.
//!
//! Compose files become a [`model::StackSpec`], or diagnostics that say where and what to do.
//! Nothing here reads a file or the environment: the caller hands in both (see [`Input`]).
//!
//! The way of a file: text → [`yaml`] tree with places → [`interpolate`] → [`check`] against the
//! tables of [`schema`] → [`canon`] form → `include` and `extends` ([`loader`]) → [`merge`] →
//! [`finish`] and [`normalize`] (what `config` prints) → [`consistency`] → [`lower`].

#![forbid(unsafe_code)]

mod build;
mod canon;
mod check;
pub mod codes;
mod consistency;
mod context;
pub mod discover;
mod dotenv;
mod emit;
mod explain;
mod finish;
pub mod input;
mod interpolate;
mod loader;
mod lower;
mod map;
mod merge;
mod names;
mod normalize;
mod paths;
mod pipeline;
pub mod project;
pub mod render;
mod scalar;
mod schema;
pub mod short;
mod tree;
pub mod units;
mod yaml;

pub use build::{Build, SecretSource};
pub use explain::{Explanation, NotThere, Step};
pub use input::{FileError, FileErrorKind, Files, Input, Options};
pub use project::{Loaded, Places, Project};
pub use render::render;

/// Loads the project that `input` describes. Never fails: what is wrong is in
/// [`Loaded::diagnostics`], all of it, and [`Loaded::stack`] is `None` when any of it is an error (or
/// when variables or defaults were to be left out).
pub fn load(input: &Input<'_>) -> Loaded {
    pipeline::run(input)
}

/// The same for one who has to say more about it later, with the places.
pub fn load_with_places(input: &Input<'_>) -> (Loaded, Places) {
    pipeline::run_with_places(input)
}

/// Loads the project, and tells where the value at `path` (such as `services.web.ports[0].published`)
/// came from: places in files, aliases and merges, `extends`, variables and who set them, or the rule
/// that made it. `None` beside the loaded project when there is none.
pub fn explain(input: &Input<'_>, path: &str) -> (Loaded, Option<Result<Explanation, NotThere>>) {
    explain::explain(input, path)
}

/// `docs/compose.schema.json`: a JSON Schema (draft 2020-12) of Compose files, for editors.
pub fn json_schema() -> String {
    schema::json_schema()
}

/// `docs/compose.md`: every key that the loader knows, and what is done about it.
pub fn keys_markdown() -> String {
    schema::markdown()
}
