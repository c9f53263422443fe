//! Layer: pure.
//!
//! To be written.

#![forbid(unsafe_code)]
