//! Layer: edge.
//!
//! To be written.
