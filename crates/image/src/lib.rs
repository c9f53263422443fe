//! Layer: edge.
//!
//! Images: a [`Store`] of what they consist of, and the ways in and out. Registries ([`Store::pull`]),
//! archives ([`Store::load`], [`Store::save`]) and root file systems ([`Store::import`]) end in the
//! same place: each layer unpacked once into a folder that overlayfs takes as a lower one, shared by
//! all images that have it, and a table that names only what is whole.
//!
//! Everything that comes in is hostile until its digest is checked, and its archive even then: see
//! `layer` for how it is unpacked, `archive` for how it is read, [`Limits`] for how much it may ask.

mod archive;
mod digest;
mod error;
mod import;
mod layer;
mod limits;
mod load;
mod platform;
mod pull;
mod pulls;
mod registry;
mod remove;
mod resolve;
mod save;
mod schema;
mod store;
pub mod tree;
mod view;

pub use error::{Error, Result, TlsProblem};
pub use limits::Limits;
pub use load::Loaded;
pub use platform::architecture;
pub use pulls::{Progress, Pull, Pulled};
pub use registry::credentials;
pub use remove::{Removed, Use, Uses};
pub use resolve::Registries;
pub use schema::{Config, Health, History, RootFs, RunConfig};
pub use store::{Image, Lease, Options, Store};
pub use view::{Row, Step};
