//! One call of git: within its time, its output and its processes.

use super::{GitError, HOST_KEY};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// Longest that one call may take.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Most that is read of what it prints.
const OUTPUT: u64 = 64 << 20;

/// Largest file that it may write: bounds what a server can send.
const FILE: u64 = 512 << 20;

/// Why a call gave nothing.
pub(super) enum Trouble {
    /// Something on this machine.
    Own(GitError),
    /// What it wrote to standard error.
    Said(String),
}

/// What went wrong on this machine.
pub(super) fn own(what: &str, result: Result<Vec<u8>, Trouble>) -> Result<Vec<u8>, GitError> {
    result.map_err(|error| match error {
        Trouble::Own(error) => error,
        Trouble::Said(said) => GitError::Failed { what: what.to_owned(), said },
    })
}

/// Runs git, or a program beside it, to its end.
pub(super) async fn run(command: &mut std::process::Command, what: &str) -> Result<Vec<u8>, Trouble> {
    let program = command.get_program().to_string_lossy().into_owned();
    let io = |source| Trouble::Own(GitError::Io { what: format!("run {program} to {what}"), source });
    limit(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let command = std::mem::replace(command, std::process::Command::new("git"));
    let mut child = Command::from(command).kill_on_drop(true).spawn().map_err(io)?;
    let group = Group(child.id());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let read = async {
            if let Some(out) = out {
                out.take(OUTPUT).read_to_end(&mut output).await?;
            }
            std::io::Result::Ok(())
        };
        let complain = async {
            if let Some(err) = err {
                err.take(64 << 10).read_to_end(&mut errors).await?;
            }
            std::io::Result::Ok(())
        };
        let (read, complained) = tokio::join!(read, complain);
        read.and(complained)?;
        Ok((child.wait().await?, output, errors))
    };
    let Ok(done) = tokio::time::timeout(LIMIT, work).await else {
        return Err(Trouble::Own(GitError::Slow { what: what.to_owned() }));
    };
    let (status, output, errors) = done.map_err(io)?;
    group.ended();
    match status.success() {
        true => Ok(output),
        false => Err(Trouble::Said(brief(&errors))),
    }
}

/// The processes of one call; those that are left are killed with it.
struct Group(Option<u32>);

impl Group {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            let _ended = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A process group of its own, and no file larger than is good.
fn limit(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
    // SAFETY: setrlimit is async-signal-safe and reads a value on the stack.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: FILE, rlim_max: FILE };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// The lines that matter of what git says, as one.
fn brief(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    if text.contains(HOST_KEY) {
        return format!("the server's key is not the one in --known-hosts ({HOST_KEY})");
    }
    // What is said to everybody helps nobody.
    const NOISE: [&str; 4] = ["hint:", "Please make sure", "and the repository exists", "Could not read from remote"];
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !NOISE.iter().any(|noise| line.contains(noise)));
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix("fatal: ").unwrap_or(line)).take(4).collect();
    lines.join("; ").chars().filter(|c| !c.is_control()).take(500).collect()
}
