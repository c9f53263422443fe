//! What the tests of the engine run as shims.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((verb, rest)) if verb == "shim" => runtime::shim::main(rest),
        _ => ExitCode::from(64),
    }
}
