//! Bundles of a static busybox, and the command line that runs them.
#![expect(clippy::print_stderr, reason = "a test that is skipped has to say so")]

use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Programs that tests use inside.
const APPLETS: [&str; 27] = [
    "cat", "chmod", "dd", "echo", "grep", "head", "hostname", "id", "kill", "ls", "mkdir", "mknod", "mount", "ps",
    "pwd", "readlink", "sh", "sleep", "stat", "tail", "touch", "true", "tty", "umount", "unshare", "wc", "ln",
];

/// Whether tests that make containers can run; says so if not.
pub(crate) fn possible() -> bool {
    let root = rustix::process::geteuid().is_root();
    let busybox = Path::new("/bin/busybox").exists();
    if !root {
        eprintln!("SKIPPED: needs root");
    } else if !busybox {
        eprintln!("SKIPPED: needs /bin/busybox (package busybox-static)");
    }
    root && busybox
}

/// A bundle in a folder of its own. All of its containers are gone when it is dropped.
pub(crate) struct Bundle {
    folder: tempfile::TempDir,
    /// The `config.json` to be.
    pub(crate) config: Value,
    /// Name of the container.
    pub(crate) id: String,
    helper: PathBuf,
}

impl Bundle {
    /// One that runs `script` in a shell, without terminal, on a writable root.
    pub(crate) fn new(script: &str) -> Self {
        Self::with_helper(script, PathBuf::from(env!("CARGO_BIN_EXE_runtime-test-helper")))
    }

    /// One that is run by another copy of the runtime.
    pub(crate) fn with_helper(script: &str, helper: PathBuf) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().expect("tempdir");
        let bin = folder.path().join("rootfs/bin");
        std::fs::create_dir_all(&bin).expect("mkdir");
        std::fs::create_dir(folder.path().join("rootfs/etc")).expect("mkdir");
        std::fs::write(folder.path().join("rootfs/etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("write");
        std::fs::copy("/bin/busybox", bin.join("busybox")).expect("copy busybox");
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).expect("symlink");
        }
        let id = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut bundle = Self { folder, config: Value::Null, id, helper };
        bundle.oci(&["spec", "-b", &bundle.path().to_string_lossy()]);
        let text = std::fs::read(bundle.path().join("config.json")).expect("read");
        bundle.config = serde_json::from_slice(&text).expect("json");
        bundle.config["process"]["terminal"] = false.into();
        bundle.config["process"]["args"] = json!(["sh", "-c", script]);
        bundle.config["root"]["readonly"] = false.into();
        bundle.config["linux"]["cgroupsPath"] = format!("/oci-test-{}", bundle.id).into();
        bundle
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// Adds a mount.
    pub(crate) fn mount(&mut self, target: &str, kind: &str, source: &str, options: &[&str]) {
        let mount = json!({ "destination": target, "type": kind, "source": source, "options": options });
        self.config["mounts"].as_array_mut().expect("mounts").push(mount);
    }

    fn save(&self) {
        std::fs::write(self.path().join("config.json"), self.config.to_string()).expect("write config.json");
    }

    /// The runtime's command line, ready to be run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.save_if_ready();
        let mut command = Command::new(&self.helper);
        command.arg("oci").arg("--root").arg(self.path().join("state")).args(args).stdin(Stdio::null());
        command
    }

    fn save_if_ready(&self) {
        if !self.config.is_null() {
            self.save();
        }
    }

    /// Runs the runtime's command line.
    pub(crate) fn oci(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run the helper")
    }

    /// Runs it and expects that it works; gives what it says.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.oci(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "oci {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs the container to its end.
    pub(crate) fn run(&self) -> Ran {
        let output = self.oci(&["run", "-b", &self.path().to_string_lossy(), &self.id]);
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Creates the container; its output goes to the file `out` of the bundle. (A pipe would be held
    /// open by init.)
    pub(crate) fn create(&self) {
        let out = std::fs::File::create(self.path().join("out")).expect("create");
        let status = self
            .command(&["create", "-b", &self.path().to_string_lossy(), &self.id])
            .stdout(out.try_clone().expect("clone"))
            .stderr(out)
            .status()
            .expect("run the helper");
        assert!(status.success(), "create: {}", self.out());
    }

    /// What the container and its creator have said so far.
    pub(crate) fn out(&self) -> String {
        std::fs::read_to_string(self.path().join("out")).unwrap_or_default()
    }

    /// Creates and starts.
    pub(crate) fn start(&self) {
        self.create();
        self.ok(&["start", &self.id]);
    }

    /// Runs a script in the running container; gives exit code and both streams.
    pub(crate) fn exec(&self, script: &str) -> Ran {
        let output = self.oci(&["exec", &self.id, "sh", "-c", script]);
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.oci(&["delete", "--force", &self.id]);
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}
