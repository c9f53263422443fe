//! The process beside each running container.

use std::process::ExitCode;

/// Runs `EXE shim ARGS…`; `args` are those after `shim`. To be called before any thread is started.
pub fn main(args: &[std::ffi::OsString]) -> ExitCode {
    let _ = args;
    ExitCode::FAILURE
}
