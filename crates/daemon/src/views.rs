//! State → what clients see: rows of `ps`, and inspections in Docker's JSON shape.

pub(crate) mod container;
pub(crate) mod inspect;
pub(crate) mod objects;
