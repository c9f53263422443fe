//! Layer: edge.
fn main() {}
