//! Layer: edge.
//!
//! What crosses the daemon's socket: HTTP/1.1 with JSON bodies. Four kinds of exchange:
//!
//! | path | request | answer |
//! |---|---|---|
//! | `POST /v1/call` | a [`Call`] | 200 and a [`Reply`], or an [`ApiError`] |
//! | `POST /v1/stream` | a [`StreamCall`] | lines of JSON [`StreamItem`]s until it ends |
//! | `POST /v1/session` with `Upgrade: rswarm` | a [`SessionCall`] in the `X-Rswarm-Call` header (base64 JSON) | 101, then [`frame`]s both ways |
//! | `POST /v1/upload` | a [`UploadCall`] in that header, an archive as the body | lines of [`StreamItem`]s |
//! | `POST /v1/download` | a [`DownloadCall`] | an archive |

pub mod call;
pub mod client;
pub mod cluster;
pub mod container;
pub mod frame;
pub mod image;
pub mod names;
pub mod road;
pub mod stream;

pub use call::*;
pub use cluster::*;
pub use container::*;
pub use image::*;
pub use stream::*;

/// Version of this interface, in `X-Rswarm-Version` of every request and answer.
pub const VERSION: u32 = 1;

/// The header that carries the call where the body is taken by data.
pub const CALL_HEADER: &str = "x-rswarm-call";
