//! The command line of an OCI runtime, `rswarm oci …`: what engines call in place of runc.

mod args;
mod create;
mod exec;
mod foreground;
mod lifecycle;
mod spec;
mod state;

use crate::container::{Error, exe};
use args::Args;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where states are kept unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/rswarm-oci";

const USAGE: &str = "usage: oci [--root DIR] [--log FILE] [--log-format text|json] COMMAND

  create   [-b DIR] [--console-socket PATH] [--pid-file FILE] [--preserve-fds N]
           [--no-pivot] [--no-new-keyring] ID
  start    ID
  run      [flags of create] [-d] [--keep] ID
  exec     [-t] [-d] [-u UID[:GID]] [-e NAME=VALUE] [--cwd DIR] [-p FILE] [--pid-file FILE]
           [--console-socket PATH] [--cap NAME] [--no-new-privs] ID COMMAND [ARG...]
  kill     [--all] ID [SIGNAL]
  delete   [--force] ID
  state    ID
  list     [-q] [-f table|json]
  ps       [-f table|json] ID
  pause    ID
  resume   ID
  update   -r FILE ID
  spec     [-b DIR]
  features
";

/// What all commands share.
struct Global {
    root: PathBuf,
    log: Option<PathBuf>,
    json_log: bool,
}

/// Runs `EXE oci ARGS…`; `args` are those after `oci`. To be called before any thread is started.
pub fn main(args: &[OsString]) -> ExitCode {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let (global, command, rest) = match parse_global(&args) {
        Ok(parsed) => parsed,
        Err(error) => return fail(None, &error),
    };
    match dispatch(&global, &command, &rest) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(Some(&global), &error),
    }
}

fn parse_global(args: &[String]) -> Result<(Global, String, Vec<String>), Error> {
    let known = [
        ("root", "", true),
        ("log", "", true),
        ("log-format", "", true),
        ("rootless", "", true),
        ("criu", "", true),
        ("systemd-cgroup", "s", false),
        ("debug", "", false),
        ("version", "v", false),
        ("help", "h", false),
    ];
    let parsed = Args::parse(args, &known, true)?;
    if parsed.has("systemd-cgroup") {
        return Err(Error::text("--systemd-cgroup is not supported: cgroups are made directly, give a path"));
    }
    let global = Global {
        root: parsed.last("root").map_or(PathBuf::from(DEFAULT_ROOT), PathBuf::from),
        log: parsed.last("log").map(PathBuf::from),
        json_log: parsed.last("log-format") == Some("json"),
    };
    let mut rest = parsed.rest;
    let command = if parsed.flags.iter().any(|(name, _)| *name == "version") {
        "version".to_owned()
    } else if parsed.flags.iter().any(|(name, _)| *name == "help") || rest.is_empty() {
        "help".to_owned()
    } else {
        rest.remove(0)
    };
    Ok((global, command, rest))
}

fn dispatch(global: &Global, command: &str, rest: &[String]) -> Result<u8, Error> {
    // Whatever forks container processes runs from a clone of the binary that they can't write to.
    if matches!(command, "create" | "run" | "exec") {
        exe::ensure_sealed().map_err(|error| Error::io("seal the binary", error))?;
    }
    match command {
        "create" => create::create(global, rest),
        "run" => create::run(global, rest),
        "start" => lifecycle::start(global, rest),
        "exec" => exec::exec(global, rest),
        "kill" => lifecycle::kill(global, rest),
        "delete" => lifecycle::delete(global, rest),
        "state" => lifecycle::state(global, rest),
        "list" => lifecycle::list(global, rest),
        "ps" => lifecycle::ps(global, rest),
        "pause" => lifecycle::freeze(global, rest, true),
        "resume" => lifecycle::freeze(global, rest, false),
        "update" => lifecycle::update(global, rest),
        "spec" => spec::write(rest),
        "features" => say(&format!("{:#}\n", spec::features())).map(|()| 0),
        "version" => {
            say(&format!("rswarm-oci version {}\nspec: {}\n", env!("CARGO_PKG_VERSION"), spec::OCI_VERSION)).map(|()| 0)
        }
        "help" => say(USAGE).map(|()| 0),
        other => Err(Error::text(format!("unknown command {other:?}\n\n{USAGE}"))),
    }
}

/// Writes to standard output.
fn say(text: &str) -> Result<(), Error> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Error::io("write to standard output", error))
}

/// Says why on standard error and in the log that the engine reads.
fn fail(global: Option<&Global>, error: &Error) -> ExitCode {
    // There is nowhere left to say that these can't be written.
    let _ = writeln!(std::io::stderr(), "rswarm oci: {error}");
    if let Some((path, json)) = global.and_then(|global| Some((global.log.as_deref()?, global.json_log))) {
        let _ = log(path, json, &error.to_string());
    }
    ExitCode::from(match error.exit_code() {
        code @ (126 | 127) => code as u8,
        _ => 1,
    })
}

fn log(path: &Path, json: bool, message: &str) -> std::io::Result<()> {
    let time = jiff::Timestamp::now().to_string();
    let line = if json {
        serde_json::json!({ "level": "error", "msg": message, "time": time }).to_string()
    } else {
        format!("time={time:?} level=error msg={message:?}")
    };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{line}")
}
