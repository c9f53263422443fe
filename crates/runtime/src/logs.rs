//! Container logs in Docker's json-file form: `{"log":"…\n","stream":"stdout","time":"…"}` a line.

mod attrs;
mod line;
mod options;
mod pack;
mod read;
mod write;

pub(crate) use attrs::{Attrs, Subject};
pub(crate) use options::{LogOptions, Policy};
pub use read::Cursor;
pub(crate) use write::LogWriter;

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// `stdout` or `stderr`.
    pub fn name(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
        }
    }
}

/// Which lines to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on as lines come.
    pub follow: bool,
    /// The last so many lines; `None` all.
    pub tail: Option<u64>,
    /// Not before, nanoseconds since the epoch.
    pub since_ns: Option<u64>,
    /// Not after.
    pub until_ns: Option<u64>,
}

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it was written.
    pub stream: LogStream,
    /// When it was read by the shim, nanoseconds since the epoch.
    pub time_ns: u64,
    /// The text without its newline, at most 16 KiB; longer lines come in several records. Bytes
    /// that are no UTF-8 were replaced.
    pub line: String,
    /// Whether a newline ended it.
    pub newline: bool,
}
