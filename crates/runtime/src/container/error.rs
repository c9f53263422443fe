//! Why a container or one of its processes could not be made.

use std::fmt;
use std::io;

/// A failed step. Its text is a sentence that names the path or value which did not work.
#[derive(Debug)]
pub struct Error {
    message: String,
    exit_code: i32,
    source: Option<io::Error>,
}

impl Error {
    /// `what` failed because of `why`, both as text.
    pub fn new(what: &str, why: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {why}"), exit_code: 125, source: None }
    }

    /// A text that is whole already.
    pub fn text(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 125, source: None }
    }

    /// `what` failed with an error of the kernel.
    pub fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { message: what.into(), exit_code: 125, source: Some(source.into()) }
    }

    /// The same error with another exit code.
    #[must_use]
    pub fn with_exit_code(mut self, exit_code: i32) -> Self {
        self.exit_code = exit_code;
        self
    }

    /// What a command line that ran this container should exit with, in Docker's numbers: 127 the
    /// program was not found, 126 it could not be executed, 125 anything else.
    pub fn exit_code(&self) -> i32 {
        self.exit_code
    }

    /// The text without the error of the kernel.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The number of the kernel's error.
    pub(crate) fn raw_os_error(&self) -> Option<i32> {
        self.source.as_ref().and_then(io::Error::raw_os_error)
    }

    /// The error of the kernel beneath it.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.source.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {}", Cause(source)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// An error of the kernel in the words that Docker users know: no number, lower case.
struct Cause<'a>(&'a io::Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text);
        let mut letters = text.chars();
        match letters.next() {
            Some(first) => write!(f, "{}{}", first.to_lowercase(), letters.as_str()),
            None => Ok(()),
        }
    }
}
