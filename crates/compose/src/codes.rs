//! Every diagnostic code with a title and an explanation, for `rswarm explain`.

/// One code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Such as `RS0104`.
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// What it means and what to do, some sentences.
    pub explanation: &'static str,
}

/// All codes in order.
pub const ALL: &[Code] = &[];

/// The entry of a code; case does not matter.
pub fn find(code: &str) -> Option<&'static Code> {
    ALL.iter().find(|entry| entry.code.eq_ignore_ascii_case(code))
}
