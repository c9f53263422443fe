//! Layer: pure.
//!
//! To be written.
