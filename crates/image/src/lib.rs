//! Layer: edge.
//!
//! Images: a store of what they consist of, and the ways in and out.

mod archive;
mod digest;
mod error;
mod import;
mod layer;
mod limits;
mod platform;
mod pull;
mod pulls;
mod registry;
mod remove;
mod schema;
mod store;
mod view;

pub use error::{Error, Result};
pub use limits::Limits;
pub use pulls::{Progress, Pull, Pulled};
pub use remove::{Removed, Use, Uses};
pub use schema::{Config, Health, History, RootFs, RunConfig};
pub use store::{Image, Options, Store};
pub use view::{Row, Step};
