//! An OCI runtime that is a program of its own (crun, runc).

use crate::container::Stdio;
use crate::layout::Folder;
use crate::wire::Reply;
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, MoveMountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::Winsize;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as Std};
use std::sync::atomic::{AtomicU32, Ordering};

/// A container that such a program has made.
#[derive(Debug)]
pub(super) struct External {
    program: PathBuf,
    run: PathBuf,
    id: String,
}

/// File that the program writes its own messages to.
const COMPLAINTS: &str = "complaints";

fn failed(what: &str, error: impl std::fmt::Display) -> Reply {
    Reply::Failed { message: format!("{what}: {error}") }
}

impl External {
    /// Writes the bundle, creates and starts.
    pub(super) fn begin(
        program: &Path,
        folder: &Folder,
        id: &str,
        spec: &Spec,
        root: &OwnedFd,
        stdio: Stdio,
    ) -> Result<(External, i32, Option<OwnedFd>), Reply> {
        let run = std::path::absolute(&folder.run).map_err(|error| failed("find the run folder", error))?;
        let external = External { program: program.to_owned(), run, id: id.to_owned() };
        let bundle = folder.run.join("bundle");
        fs::create_dir_all(bundle.join("rootfs")).map_err(|error| failed("make the bundle", error))?;
        let text = serde_json::to_vec(spec).map_err(|error| failed("write the bundle", error))?;
        fs::write(bundle.join("config.json"), text).map_err(|error| failed("write the bundle", error))?;
        let result = with_root(root, &bundle.join("rootfs"), || {
            let made = external.create(stdio)?;
            external.start().map(|()| made)
        });
        match result.map_err(|error| failed("attach the root file system", error))? {
            Ok((pid, console)) => Ok((external, pid, console)),
            Err(reply) => {
                external.delete();
                Err(reply)
            }
        }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        // Its state is the container's own. All names are absolute: crun goes to the bundle before it uses them.
        command.current_dir(&self.run).arg("--root").arg(self.run.join("runtime"));
        command.arg("--log").arg(self.run.join(COMPLAINTS)).args(["--log-format", "json"]).arg(verb);
        command.stdin(Std::null());
        let _none = fs::remove_file(self.run.join(COMPLAINTS));
        command
    }

    fn create(&self, stdio: Stdio) -> Result<(i32, Option<OwnedFd>), Reply> {
        let mut command = self.command("create");
        let pid = self.run.join("pid");
        command.arg("--bundle").arg(self.run.join("bundle")).arg("--pid-file").arg(&pid);
        self.run_with(command, stdio, &pid)
    }

    fn start(&self) -> Result<(), Reply> {
        let status = self.command("start").arg(&self.id).stdout(Std::null()).stderr(Std::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(self.refusal()),
            Err(error) => Err(failed("run the OCI runtime", error)),
        }
    }

    /// Runs a further process.
    pub(super) fn exec(&self, process: &Process, stdio: Stdio) -> Result<(i32, Option<OwnedFd>), Reply> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = self.run.join(format!("exec-{number}.json"));
        let pid = self.run.join(format!("exec-{number}.pid"));
        let text = serde_json::to_vec(process).map_err(|error| failed("write the process", error))?;
        fs::write(&file, text).map_err(|error| failed("write the process", error))?;
        let mut command = self.command("exec");
        command.arg("--detach").arg("--process").arg(&file).arg("--pid-file").arg(&pid);
        let result = self.run_with(command, stdio, &pid);
        for path in [file, pid] {
            // Left behind they go with the folder.
            let _left = fs::remove_file(path);
        }
        result
    }

    /// Runs a command that leaves a process behind, which becomes this shim's child.
    fn run_with(&self, mut command: Command, stdio: Stdio, pid: &Path) -> Result<(i32, Option<OwnedFd>), Reply> {
        let mut listener = None;
        let size = if let Stdio::Terminal { size } = &stdio { *size } else { None };
        // By a name that is short, and the same wherever the program stands.
        let place = rustix::fs::open(&self.run, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("open the run folder", error))?;
        let path = format!("/proc/{}/fd/{}/console.sock", std::process::id(), place.as_raw_fd());
        match stdio {
            Stdio::Pipes { stdin, stdout, stderr } => {
                command.stdin(stdin).stdout(stdout).stderr(stderr);
            }
            Stdio::Terminal { .. } | Stdio::Inherit => {
                let _none = fs::remove_file(self.run.join("console.sock"));
                listener = Some(UnixListener::bind(&path).map_err(|error| failed("open the console socket", error))?);
                command.args(["--console-socket", &path]).stdout(Std::null()).stderr(Std::null());
            }
        }
        command.arg(&self.id);
        let mut child = command.spawn().map_err(|error| failed("run the OCI runtime", error))?;
        // The streams belong to the container from here on.
        drop(command);
        let status = child.wait().map_err(|error| failed("wait for the OCI runtime", error))?;
        if !status.success() {
            return Err(self.refusal());
        }
        let console = match listener {
            Some(listener) => Some(receive_console(&listener).map_err(|error| failed("receive the terminal", error))?),
            None => None,
        };
        if let (Some(console), Some((ws_row, ws_col))) = (&console, size) {
            // crun does not do it for further processes, whatever their terminal is told to be.
            let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(console, size).map_err(|error| failed("set the terminal's size", error))?;
        }
        let text = fs::read_to_string(pid).map_err(|error| failed("read the pid", error))?;
        let pid = text.trim().parse().map_err(|error| failed("read the pid", error))?;
        Ok((pid, console))
    }

    /// Lets the program forget the container.
    pub(super) fn delete(&self) {
        let status =
            self.command("delete").args(["--force", &self.id]).stdout(Std::null()).stderr(Std::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            super::complain(&self.complaint());
        }
    }

    /// What it said last.
    fn complaint(&self) -> String {
        let text = fs::read_to_string(self.run.join(COMPLAINTS)).unwrap_or_default();
        let message = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(value.get("msg")?.as_str()?.to_owned())
        };
        text.lines().rev().find_map(message).unwrap_or_else(|| format!("{} failed", self.program.display()))
    }

    /// Its complaint with the exit code that Docker gives for it.
    fn refusal(&self) -> Reply {
        super::backend::refusal(self.complaint())
    }
}

/// Does the work while the root is attached where only this process and its children see it.
fn with_root<T>(root: &OwnedFd, place: &Path, work: impl FnOnce() -> T) -> io::Result<T> {
    let home = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    crate::sys::unshare_mounts()?;
    // What the host unmounts meanwhile goes here too.
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    let attached = rustix::mount::move_mount(root, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(io::Error::from);
    let result = attached.map(|()| work());
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Mount))?;
    rustix::process::chdir("/")?;
    result
}

/// The terminal's master, which the program sends over its console socket.
fn receive_console(listener: &UnixListener) -> io::Result<OwnedFd> {
    let (stream, _) = listener.accept()?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut rights) = message
            && let Some(console) = rights.next()
        {
            return Ok(console);
        }
    }
    Err(io::Error::other("the OCI runtime sent no terminal"))
}
