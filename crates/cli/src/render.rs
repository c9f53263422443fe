//! Data → text.

pub(crate) mod human;
pub(crate) mod list;
pub(crate) mod plan;
pub(crate) mod status;
pub(crate) mod table;
