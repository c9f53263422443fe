//! The command line of an OCI runtime, `rswarm oci …`: what engines call in place of runc.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `EXE oci ARGS…`; `args` are those after `oci`. To be called before any thread is started.
pub fn main(args: &[OsString]) -> ExitCode {
    let _ = args;
    ExitCode::FAILURE
}
