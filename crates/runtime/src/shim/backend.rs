//! A running container behind either runtime: the built-in one, or a program.

use super::external::External;
use super::job::Streams;
use super::launch::refused;
use crate::container::{self, Cgroup, CreateOptions, Rootfs, Stdio};
use crate::engine::{CreateContainer, ExecCommand};
use crate::layout::Folder;
use crate::spec::{self, Host};
use crate::users::{Accounts, User};
use crate::wire::{Reply, Start};
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::io;
use std::os::fd::OwnedFd;

/// What has to be known of it to run more in it and to end it.
pub(super) struct Running {
    create: CreateContainer,
    spec: Spec,
    host: Host,
    pid: i32,
    cgroup: Cgroup,
    external: Option<External>,
}

/// Moves a process that a program has started, and what it has started itself by now, to a cgroup.
/// (Not all such programs can start it there, and version 1 not at all.)
fn gather(pid: i32, cgroup: &Cgroup) -> io::Result<()> {
    let mut files = cgroup.join_files().map_err(io::Error::other)?;
    if let Some(folder) = cgroup.v2_folder() {
        files.push(std::fs::OpenOptions::new().write(true).open(folder.join("cgroup.procs"))?.into());
    }
    let mut moved = std::collections::BTreeSet::new();
    let mut found = vec![pid];
    while let Some(pid) = found.pop() {
        if moved.insert(pid) {
            for file in &files {
                match rustix::io::write(file, pid.to_string().as_bytes()) {
                    // It has ended.
                    Ok(_) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| !moved.contains(pid)));
    }
    Ok(())
}

/// A variable by which the processes of a probe are known.
fn mark(cgroup: &Cgroup) -> String {
    format!("RSWARM_PROBE={}", cgroup.path().rsplit('/').next().unwrap_or_default())
}

/// Pipes for a process, and the shim's ends of them. Without `stdin` it reads end-of-file; without
/// `output` what it says goes nowhere.
pub(super) fn pipes(stdin: bool, output: bool) -> io::Result<(Stdio, Streams)> {
    let null = || rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let mut ours = Streams::default();
    let input = match stdin {
        true => {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            ours.stdin = Some(write);
            read
        }
        false => null()?,
    };
    let mut one = |slot: fn(&mut Streams) -> &mut Option<OwnedFd>| -> io::Result<OwnedFd> {
        if !output {
            return Ok(null()?);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        *slot(&mut ours) = Some(read);
        Ok(write)
    };
    let stdout = one(|streams| &mut streams.stdout)?;
    let stderr = one(|streams| &mut streams.stderr)?;
    Ok((Stdio::Pipes { stdin: input, stdout, stderr }, ours))
}

/// What the engine is told of a failure: some of the kernel's refusals pass.
pub(super) fn why(error: &container::Error) -> Reply {
    let passing = [libc::EAGAIN, libc::ENOMEM, libc::ENOSPC, libc::EMFILE, libc::ENFILE, libc::EINTR, libc::EIO];
    let code = error.io_error().and_then(io::Error::raw_os_error);
    if error.exit_code() == 125 && code.is_some_and(|code| passing.contains(&code)) {
        return Reply::Failed { message: error.to_string() };
    }
    Reply::Refused { exit_code: error.exit_code(), message: error.to_string() }
}

/// A refusal of an OCI runtime that is a program, with the exit code that Docker gives for it.
pub(super) fn refusal(message: String) -> Reply {
    let has = |words: [&str; 2]| words.iter().any(|word| message.contains(word));
    let exit_code = if has(["executable file", "o such file or directory"]) {
        127
    } else if has(["ermission denied", "xec format error"]) {
        126
    } else {
        125
    };
    Reply::Refused { exit_code, message }
}

/// The last line that waits on the error output of something that never ran.
pub(super) fn last_words(streams: &Streams) -> Option<String> {
    let stderr = streams.stderr.as_ref()?;
    rustix::io::ioctl_fionbio(stderr, true).ok()?;
    let mut buffer = [0; 4096];
    let count = rustix::io::read(stderr, &mut buffer).ok()?;
    let text = String::from_utf8_lossy(buffer.get(..count)?);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Creates and starts; gives the terminal's master if there is one.
pub(super) fn begin(
    start: &Start,
    folder: &Folder,
    create: CreateContainer,
    spec: Spec,
    host: Host,
    root: OwnedFd,
    stdio: Stdio,
) -> Result<(Running, Option<OwnedFd>), Reply> {
    if let Some(program) = &start.oci_runtime {
        let id = start.task.to_string();
        let (external, pid, console) = External::begin(program, folder, &id, &spec, &root, stdio)?;
        let cgroup = Cgroup::open(&start.cgroup).map_err(|error| why(&error))?;
        return Ok((Running { create, spec, host, pid, cgroup, external: Some(external) }, console));
    }
    let id = start.task.to_string();
    let options = CreateOptions::new(&id, &folder.run, &spec, Rootfs::Mount(root), stdio);
    let mut created = container::create(options).map_err(|error| why(&error))?;
    for warning in &created.warnings {
        super::complain(warning);
    }
    if let Err(error) = created.start() {
        let reply = why(&error);
        let cgroup = created.cgroup.clone();
        drop(created);
        // What was begun must not be left, whatever `start` has cleared up itself.
        if let Err(error) = cgroup.kill_all().and_then(|()| cgroup.delete()) {
            super::complain(&error.to_string());
        }
        return Err(reply);
    }
    let pid = created.pid.as_raw_nonzero().get();
    let console = created.console.take();
    let cgroup = created.cgroup.clone();
    Ok((Running { create, spec, host, pid, cgroup, external: None }, console))
}

impl Running {
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// A cgroup for one probe, so that all that it starts can be found. Without one (a container
    /// that may not have any, say) only its first process is.
    pub(super) fn probe_cgroup(&self, number: u64) -> Option<Cgroup> {
        let path = format!("{}/probe-{number}", self.cgroup.path());
        match Cgroup::create(&path, None) {
            Ok(cgroup) => Some(cgroup),
            Err(error) => {
                super::complain(&format!("cgroup of a probe: {error}"));
                None
            }
        }
    }

    /// Runs a command in it.
    pub(super) fn exec(&self, command: &ExecCommand, cgroup: Option<&Cgroup>) -> Result<(i32, Streams), Reply> {
        let mut process = self.process(command)?;
        if let (Some(_), Some(cgroup)) = (&self.external, cgroup) {
            let env = process.env().iter().flatten().cloned().chain([mark(cgroup)]).collect();
            process.set_env(Some(env));
        }
        let broken = |error: io::Error| Reply::Failed { message: format!("make pipes: {error}") };
        let (stdio, mut streams) = match command.tty {
            true => (Stdio::Terminal { size: command.size }, Streams::default()),
            false => pipes(command.stdin, !command.detach).map_err(broken)?,
        };
        if let Some(external) = &self.external {
            let (pid, console) = external.exec(&process, stdio)?;
            if let Some(cgroup) = cgroup
                && let Err(error) = gather(pid, cgroup)
            {
                super::complain(&format!("cgroup of a probe: {error}"));
            }
            streams.console = console;
            return Ok((pid, streams));
        }
        let pid = Pid::from_raw(self.pid).ok_or_else(|| refused("the container has no process"))?;
        let target = container::Running { pid, spec: &self.spec, cgroup: cgroup.unwrap_or(&self.cgroup) };
        let execed = container::exec(&target, &process, stdio).map_err(|error| why(&error))?;
        streams.console = execed.console;
        Ok((execed.pid.as_raw_nonzero().get(), streams))
    }

    /// Kills all that a probe has started. A program starts it outside of its cgroup, so that a child
    /// may have got away before it was moved: such ones are known by the mark that they inherited.
    pub(super) fn end_probe(&self, cgroup: &Cgroup) -> Result<(), container::Error> {
        if self.external.is_some() {
            let marked = |pid: &i32| {
                let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                env.split(|byte| *byte == 0).any(|variable| variable == mark(cgroup).as_bytes())
            };
            for pid in self.cgroup.pids()?.into_iter().filter(marked) {
                if let Err(error) = gather(pid, cgroup) {
                    super::complain(&format!("cgroup of a probe: {error}"));
                }
            }
        }
        cgroup.kill_all()
    }

    fn process(&self, command: &ExecCommand) -> Result<Process, Reply> {
        let other = match command.user.as_deref().filter(|user| !user.is_empty()) {
            Some(user) => Some(self.find_user(user)?),
            None => None,
        };
        spec::exec_process(&self.create, &self.spec, &self.host, other.as_ref(), command).map_err(refused)
    }

    fn find_user(&self, user: &str) -> Result<User, Reply> {
        let root = format!("/proc/{}/root", self.pid);
        let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Reply::Failed { message: format!("open the container's root: {error}") })?;
        Accounts::read(&root).find(user, &self.create.spec.container.group_add).map_err(refused)
    }

    /// Kills whatever is left in it.
    pub(super) fn end(&self) {
        if let Err(error) = self.cgroup.kill_all() {
            super::complain(&error.to_string());
        }
    }

    /// Removes what the runtime has made on the host.
    pub(super) fn clear(&self) {
        if let Some(external) = &self.external {
            external.delete();
        }
        if let Err(error) = self.cgroup.delete() {
            super::complain(&error.to_string());
        }
    }
}
