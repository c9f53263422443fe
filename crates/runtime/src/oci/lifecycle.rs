//! `start`, `kill`, `delete`, `state`, `list`, `ps`, `pause`, `resume`, `update`.

use super::args::Args;
use super::state::{Container, Status, folder, sweep};
use super::{Error, Global, say};
use crate::container::hooks::{self, Point, State};
use crate::container::start_at;
use crate::signal::Signal;
use oci_spec::runtime::LinuxResources;
use std::time::{Duration, Instant};

/// How long `delete --force` waits for the kernel to take a killed process away.
const DEATH: Duration = Duration::from_secs(10);

fn load(global: &Global, words: &[String]) -> Result<(Container, Args), Error> {
    let args = Args::parse(words, &[], false)?;
    let container = Container::load(global, args.id()?)?;
    Ok((container, args))
}

/// `start`.
pub(super) fn start(global: &Global, words: &[String]) -> Result<u8, Error> {
    let (container, _) = load(global, words)?;
    match container.status()? {
        Status::Created => {}
        Status::Stopped => return Err(Error::text("cannot start a container that has stopped")),
        Status::Running | Status::Paused => return Err(Error::text("cannot start an already running container")),
    }
    let started = start_at(&container.gate());
    // Whatever came of it, it can't be started twice.
    let removed = std::fs::remove_file(container.gate());
    started?;
    removed.map_err(|error| Error::io("remove the start socket", error))?;
    let spec = container.spec()?;
    let record = &container.record;
    let state = State { id: &record.id, status: "running", pid: record.pid, bundle: &record.bundle };
    if let Err(error) = hooks::run(&spec, Point::Poststart, &state) {
        tracing::warn!("{error}");
    }
    Ok(0)
}

/// `kill`.
pub(super) fn kill(global: &Global, words: &[String]) -> Result<u8, Error> {
    let args = Args::parse(words, &[("all", "a", false)], false)?;
    let container = Container::load(global, args.id()?)?;
    let word = args.rest.get(1).map_or("SIGTERM", String::as_str);
    let signal: Signal = word.parse().map_err(|error| Error::new("kill", error))?;
    if args.has("all") {
        let cgroup = container.cgroup()?;
        return if signal == Signal::KILL { cgroup.kill_all() } else { cgroup.signal_all(signal.0) }.map(|()| 0);
    }
    if container.status()? == Status::Stopped {
        return Err(Error::text("container not running"));
    }
    signal_init(&container, signal)?;
    Ok(0)
}

/// Sends by pidfd, after the process was seen to be the one that was created.
fn signal_init(container: &Container, signal: Signal) -> Result<(), Error> {
    let failed = |error| Error::io(format!("send {signal} to {}", container.record.id), error);
    let pidfd = rustix::process::pidfd_open(container.pid()?, rustix::process::PidfdFlags::empty()).map_err(failed)?;
    if !container.alive() {
        return Err(Error::text("container not running"));
    }
    crate::container::send_signal(&pidfd, signal.0).map_err(failed)
}

/// `delete`.
pub(super) fn delete(global: &Global, words: &[String]) -> Result<u8, Error> {
    let args = Args::parse(words, &[("force", "f", false)], false)?;
    let (id, force) = (args.id()?, args.has("force"));
    let container = match Container::load(global, id) {
        Ok(container) => container,
        Err(_) if force => return sweep(&folder(global, id)?).map(|()| 0),
        Err(error) => return Err(error),
    };
    match container.status()? {
        Status::Stopped => {}
        // One that was never started has nothing to lose.
        Status::Created => end(&container)?,
        _ if force => end(&container)?,
        status => {
            let status = status.word();
            return Err(Error::text(format!("cannot delete container {id} that is not stopped: {status}")));
        }
    }
    destroy(&container).map(|()| 0)
}

/// Kills all of it and waits until init is gone.
fn end(container: &Container) -> Result<(), Error> {
    container.cgroup()?.kill_all()?;
    match signal_init(container, Signal::KILL) {
        Err(_) if !container.alive() => {}
        result => result?,
    }
    let until = Instant::now() + DEATH;
    while container.alive() {
        if Instant::now() > until {
            return Err(Error::text(format!("container {} does not die", container.record.id)));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Removes what is left of one that has stopped.
pub(super) fn destroy(container: &Container) -> Result<(), Error> {
    let cgroup = container.cgroup()?;
    if cgroup.exists() {
        // Without a pid namespace of its own a container can leave processes behind.
        cgroup.kill_all()?;
        cgroup.delete()?;
    }
    let spec = container.spec()?;
    let record = &container.record;
    let state = State { id: &record.id, status: "stopped", pid: 0, bundle: &record.bundle };
    if let Err(error) = hooks::run(&spec, Point::Poststop, &state) {
        tracing::warn!("{error}");
    }
    std::fs::remove_dir_all(&container.folder)
        .map_err(|error| Error::io(format!("remove {}", container.folder.display()), error))
}

fn state_json(container: &Container) -> Result<serde_json::Value, Error> {
    let (record, status) = (&container.record, container.status()?);
    let pid = if status == Status::Stopped { 0 } else { record.pid };
    let state = State { id: &record.id, status: status.word(), pid, bundle: &record.bundle };
    let mut json = state.json(&container.spec()?);
    json["pid"] = pid.into();
    json["rootfs"] = record.rootfs.to_string_lossy().into();
    json["created"] = record.created.clone().into();
    json["owner"] = "".into();
    Ok(json)
}

/// `state`.
pub(super) fn state(global: &Global, words: &[String]) -> Result<u8, Error> {
    let (container, _) = load(global, words)?;
    say(&format!("{:#}\n", state_json(&container)?)).map(|()| 0)
}

/// `list`.
pub(super) fn list(global: &Global, words: &[String]) -> Result<u8, Error> {
    let args = Args::parse(words, &[("quiet", "q", false), ("format", "f", true)], false)?;
    let mut containers = Vec::new();
    for entry in std::fs::read_dir(&global.root).into_iter().flatten().flatten() {
        // One that is being created has no state yet; one that is being deleted has none any more.
        if let Ok(container) = Container::load(global, &entry.file_name().to_string_lossy()) {
            containers.push(container);
        }
    }
    containers.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    if args.last("format") == Some("json") {
        let states = containers.iter().map(state_json).collect::<Result<Vec<_>, _>>()?;
        return say(&format!("{}\n", serde_json::Value::from(states))).map(|()| 0);
    }
    let mut text = String::new();
    if !args.has("quiet") {
        text.push_str(&format!("{:24} {:8} {:8} {:30} BUNDLE\n", "ID", "PID", "STATUS", "CREATED"));
    }
    for container in &containers {
        let (record, status) = (&container.record, container.status()?);
        text.push_str(&match args.has("quiet") {
            true => format!("{}\n", record.id),
            false => {
                let pid = if status == Status::Stopped { 0 } else { record.pid };
                let bundle = record.bundle.display();
                format!("{:24} {pid:<8} {:8} {:30} {bundle}\n", record.id, status.word(), record.created)
            }
        });
    }
    say(&text).map(|()| 0)
}

/// `ps`.
pub(super) fn ps(global: &Global, words: &[String]) -> Result<u8, Error> {
    let args = Args::parse(words, &[("format", "f", true)], true)?;
    let pids = Container::load(global, args.id()?)?.cgroup()?.pids()?;
    let text = match args.last("format") {
        Some("json") => format!("{}\n", serde_json::Value::from(pids)),
        _ => pids.iter().fold("PID\n".to_owned(), |text, pid| text + &format!("{pid}\n")),
    };
    say(&text).map(|()| 0)
}

/// `pause` and `resume`.
pub(super) fn freeze(global: &Global, words: &[String], frozen: bool) -> Result<u8, Error> {
    let (container, _) = load(global, words)?;
    match (container.status()?, frozen) {
        (Status::Running | Status::Created, true) | (Status::Paused, false) => {}
        (status, _) => return Err(Error::text(format!("container {} is {}", container.record.id, status.word()))),
    }
    container.cgroup()?.freeze(frozen).map(|()| 0)
}

/// `update`.
pub(super) fn update(global: &Global, words: &[String]) -> Result<u8, Error> {
    let args = Args::parse(words, &[("resources", "r", true)], false)?;
    let container = Container::load(global, args.id()?)?;
    let path = args.last("resources").ok_or_else(|| Error::text("update needs -r FILE (or - for standard input)"))?;
    let read = if path == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    let text = read.map_err(|error| Error::io(format!("read {path}"), error))?;
    let resources: LinuxResources = serde_json::from_str(&text).map_err(|error| Error::new(path, error))?;
    container.cgroup()?.update(&resources).map(|()| 0)
}
