//! Layer: edge.
//!
//! What must survive a crash, on disk: the replicated log with its snapshots ([`Store`]) and small
//! values that are replaced as a whole ([`Ledger`], [`write_atomic`]). All of it is sealed with the
//! node's key ([`NodeKey`], in a [`KeyFile`]), because secrets are in it; so are backups, with a key of their own
//! ([`seal_backup`]).
//!
//! The promise: what [`Store::persist`] has returned `Ok` for is there after any crash, and what
//! is found damaged is refused by name and place, never skipped. The one thing that is cut away is
//! an unfinished write at the very end of the log, which nobody was ever told about.

mod atomic;
mod backup;
mod error;
mod key;
mod key_file;
mod record;
mod sealed;
mod segment;
mod snapshot;
mod store;
mod timings;

pub use atomic::{Ledger, write_atomic};
pub use backup::{open_backup, seal_backup};
pub use error::StoreError;
pub use key::NodeKey;
pub use key_file::{Found, KeyBytes, KeyFile, Locked};
pub use store::{Recovered, Store};
pub use timings::{BOUNDS, Histogram, Timings};
