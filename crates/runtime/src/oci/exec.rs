//! `exec`.

use super::args::{Args, Flag};
use super::create::{preserve_fds, write_pid};
use super::state::{Container, Status};
use super::{Error, Global, foreground};
use crate::container::{self, Running, Stdio};
use oci_spec::runtime::{Capabilities, Capability, Process, Spec};
use std::path::{Path, PathBuf};

const FLAGS: [Flag; 17] = [
    ("process", "p", true),
    ("tty", "t", false),
    ("detach", "d", false),
    ("user", "u", true),
    ("additional-gids", "g", true),
    ("env", "e", true),
    ("cwd", "", true),
    ("cap", "c", true),
    ("no-new-privs", "", false),
    ("pid-file", "", true),
    ("console-socket", "", true),
    ("process-label", "", true),
    ("apparmor", "", true),
    ("preserve-fds", "", true),
    ("cgroup", "", true),
    ("ignore-paused", "", false),
    ("pidfd-socket", "", true),
];

/// `exec`.
pub(super) fn exec(global: &Global, words: &[String]) -> Result<u8, Error> {
    let args = Args::parse(words, &FLAGS, true)?;
    let container = Container::load(global, args.id()?)?;
    if matches!(container.status()?, Status::Stopped) {
        return Err(Error::text("cannot exec in a stopped container"));
    }
    let spec = container.spec()?;
    let process = process(&args, &spec)?;
    let terminal = process.terminal().unwrap_or(false);
    let detach = args.has("detach");
    if terminal && detach && args.last("console-socket").is_none() {
        return Err(Error::text("cannot allocate tty if runc will detach without setting console socket"));
    }
    let stdio = if terminal { Stdio::Terminal { size: None } } else { Stdio::Inherit };
    let cgroup = container.cgroup()?;
    let target = Running { pid: container.pid()?, spec: &spec, cgroup: &cgroup };
    let mut execed = container::exec_preserving(&target, &process, stdio, preserve_fds(&args)?)?;
    if let (Some(socket), Some(console)) = (args.last("console-socket"), execed.console.take()) {
        foreground::hand_over(console, Path::new(socket))?;
    }
    if let Some(path) = args.last("pid-file") {
        write_pid(Path::new(path), execed.pid.as_raw_nonzero().get())?;
    }
    if detach { Ok(0) } else { foreground::attend(execed.pid, &execed.pidfd, execed.console.take()) }
}

/// The process of a file, or the container's own with what the flags change.
fn process(args: &Args, spec: &Spec) -> Result<Process, Error> {
    if let Some(path) = args.last("process") {
        let text = std::fs::read(path).map_err(|error| Error::io(format!("read {path}"), error))?;
        return serde_json::from_slice(&text).map_err(|error| Error::new(path, error));
    }
    let mut process = spec.process().clone().ok_or_else(|| Error::text("the container's spec has no process"))?;
    let command: Vec<String> = args.rest.iter().skip(1).cloned().collect();
    if command.is_empty() {
        return Err(Error::text("exec what? give a command"));
    }
    process.set_args(Some(command));
    process.set_terminal(Some(args.has("tty")));
    if let Some(cwd) = args.last("cwd") {
        process.set_cwd(PathBuf::from(cwd));
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(args.all("env").map(str::to_owned));
    process.set_env(Some(env));
    if args.has("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(profile) = args.last("apparmor") {
        process.set_apparmor_profile(Some(profile.to_owned()));
    }
    if let Some(label) = args.last("process-label") {
        process.set_selinux_label(Some(label.to_owned()));
    }
    set_user(args, &mut process)?;
    add_capabilities(args, &mut process)?;
    Ok(process)
}

fn set_user(args: &Args, process: &mut Process) -> Result<(), Error> {
    let number = |text: &str| {
        text.parse::<u32>().map_err(|_| Error::text(format!("user and group are numbers here, {text:?} is none")))
    };
    let mut user = process.user().clone();
    if let Some(text) = args.last("user") {
        let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
        user.set_uid(number(uid)?);
        if let Some(gid) = gid {
            user.set_gid(number(gid)?);
        }
    }
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    for gid in args.all("additional-gids") {
        groups.push(number(gid)?);
    }
    user.set_additional_gids(Some(groups));
    process.set_user(user);
    Ok(())
}

/// To the sets that a program keeps; not to the inheritable one, by which a file could get them
/// that the user has not (CVE-2022-29162).
fn add_capabilities(args: &Args, process: &mut Process) -> Result<(), Error> {
    let names: Vec<&str> = args.all("cap").collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut added = Capabilities::new();
    for name in names {
        let json = serde_json::Value::from(name.to_ascii_uppercase());
        let capability: Capability =
            serde_json::from_value(json).map_err(|_| Error::text(format!("there is no capability {name}")))?;
        added.insert(capability);
    }
    let mut sets = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(added.iter().copied());
        Some(set)
    };
    let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding);
    sets.set_effective(effective);
    sets.set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}
