//! The process beside each running container: it keeps the container's input and output, its log and
//! its exit status, so that the daemon may be killed, restarted or upgraded at any moment.
//!
//! ```text
//! daemon ──spawns──▶ nursery (EXE shim nursery) ──forks──▶ shim ──clone3──▶ container
//! ```
//!
//! The nursery is there for speed and memory: it executes and relocates the binary once, and its
//! copies share those pages. It holds nothing; it goes when its daemon goes, and shims stay.
//!
//! No tokio and no second thread: forked processes go on running ordinary code.

mod backend;
mod conn;
mod epoll;
mod external;
mod guests;
mod init;
mod job;
mod keeper;
mod launch;
mod nursery;
mod reap;

pub(crate) use nursery::{MOST_FDS, ROOM};

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `EXE shim ARGS…`; `args` are those after `shim`. To be called before any thread is started.
pub fn main(args: &[OsString]) -> ExitCode {
    let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
    match words.as_slice() {
        ["nursery", cgroup, ..] => match nursery::run(cgroup) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("nursery: {error}"));
                ExitCode::FAILURE
            }
        },
        _ => {
            complain("this command is for the daemon's own use");
            // EX_USAGE of sysexits.h.
            ExitCode::from(64)
        }
    }
}

/// Says it on standard error: the daemon's in the nursery, `shim.log` in a shim.
fn complain(message: &str) {
    use std::io::Write as _;
    // Nobody may listen any more.
    let _unheard = writeln!(std::io::stderr(), "rswarm shim: {message}");
}
