//! A host of one test's own: roots, an image of busybox, containers of it.

use model::{ContainerSpec, ServiceSpec, TaskId};
use runtime::Engine;
use runtime::engine::{
    CreateContainer, EngineConfig, ImageConfig, ImageInfo, NetMode, Output, RuntimeEvent, Session, StartOptions,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// Longer than anything here should take, on a busy machine too.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Applets that the tests use.
const APPLETS: [&str; 40] = [
    "cat", "chmod", "cut", "date", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ln", "ls",
    "mkdir", "mknod", "mount", "ping", "printf", "ps", "pwd", "readlink", "rm", "seq", "setsid", "sh", "sleep", "sort",
    "stat", "stty", "sync", "tail", "test", "touch", "tr", "true", "tty", "umount", "yes",
];

/// Roots and an image.
pub(crate) struct Host {
    pub(crate) root: tempfile::TempDir,
    pub(crate) layer: PathBuf,
    pub(crate) config: EngineConfig,
}

/// A file that names a network namespace.
pub(crate) struct Netns(PathBuf);

impl Netns {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

/// What runs the containers of a test.
#[derive(Debug, Clone, Copy)]
pub(crate) enum With {
    BuiltIn,
    /// A program of this name.
    Program(&'static str),
}

/// Whoever runs the tests has to see what was not tried.
fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

impl With {
    fn find(self) -> Option<Option<PathBuf>> {
        let With::Program(name) = self else { return Some(None) };
        let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
        let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
        if found.is_none() {
            skip(&format!("{name} is not installed"));
        }
        found.map(Some)
    }
}

/// Runs its arguments where the first version of cgroups is all there is. The folder of the second must not be there
/// either: crun makes its own in each.
const ONE_VERSION: &str = r#"
d=$(mktemp -d) && mount -t tmpfs cgroups "$d" && cd /sys/fs/cgroup || exit
for tree in *; do
    [ "$tree" = unified ] || { mkdir "$d/$tree" && mount --move "$tree" "$d/$tree"; } || exit
done
cd / && umount -l /sys/fs/cgroup && mount --move "$d" /sys/fs/cgroup && rmdir "$d" && exec "$@""#;

/// crun refuses hosts where both versions of cgroups have controllers. Its tests run again there in a process that
/// sees the first version only. True if that is done, and the test with it.
pub(crate) fn done_elsewhere(with: With, test: &str) -> bool {
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
    let refused = matches!(with, With::Program("crun")) && !controllers.trim().is_empty();
    if !refused || !rustix::process::geteuid().is_root() {
        return false;
    }
    let again = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", ONE_VERSION, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout).into_owned() + &String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && said.contains("1 passed"), "{said}");
    true
}

impl Host {
    /// `None` where it can't be tried, which is said.
    pub(crate) fn new(with: With) -> Option<Host> {
        if !rustix::process::geteuid().is_root() {
            skip("needs root");
            return None;
        }
        let oci_runtime = with.find()?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let root = tempfile::tempdir().unwrap();
        let layer = root.path().join("layer");
        make_layer(&layer);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let config = EngineConfig {
            data_root: root.path().join("data"),
            run_root: root.path().join("run"),
            cgroup_parent: format!("rswarm-test-{}-{number}", std::process::id()),
            exe: PathBuf::from(env!("CARGO_BIN_EXE_runtime-test-helper")),
            oci_runtime,
        };
        Some(Host { root, layer, config })
    }

    pub(crate) async fn open(&self) -> (Engine, UnboundedReceiver<RuntimeEvent>) {
        Engine::open(self.config.clone()).await.unwrap()
    }

    /// A container that runs `sh -c SCRIPT`.
    pub(crate) fn sh(&self, task: TaskId, script: &str) -> CreateContainer {
        self.with(task, ContainerSpec { command: Some(words(&["sh", "-c", script])), ..ContainerSpec::default() })
    }

    pub(crate) fn with(&self, task: TaskId, container: ContainerSpec) -> CreateContainer {
        create(&self.layer, task, container)
    }

    /// A network namespace with nothing but loopback.
    pub(crate) fn netns(&self) -> Netns {
        let path = self.root.path().join("netns");
        std::fs::write(&path, "").unwrap();
        let target = path.clone();
        std::thread::spawn(move || {
            // SAFETY: a network namespace is this thread's own affair, and the thread ends here.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
            let own = format!("/proc/self/task/{}/ns/net", rustix::thread::gettid().as_raw_nonzero());
            rustix::mount::mount_bind(own, &target).unwrap();
        })
        .join()
        .unwrap();
        Netns(path)
    }

    /// Waits for what is on its way out, then insists that nothing is left.
    pub(crate) async fn assert_clean(&self) {
        let until = std::time::Instant::now() + LONG;
        loop {
            let left: Vec<String> = self.leftovers();
            if left.is_empty() && self.shims() == 0 {
                return;
            }
            assert!(std::time::Instant::now() < until, "left: {left:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Shims that live, beside the nursery of the engine that is open.
    pub(crate) fn shims(&self) -> usize {
        self.processes().len().saturating_sub(1)
    }

    /// What is left on the host: mounts, cgroups, files.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        let root = self.root.path().to_str().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        found.extend(mounts.lines().filter(|line| line.contains(root)).map(|line| format!("mount {line}")));
        for tree in trees() {
            let folder = tree.join(&self.config.cgroup_parent);
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let shims = entry.file_name() == "shims";
                if entry.path().is_dir() && !shims {
                    found.push(format!("cgroup {}", entry.path().display()));
                }
            }
        }
        for folder in ["data/containers", "run/tasks", "run/files"] {
            let entries = std::fs::read_dir(self.root.path().join(folder)).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| format!("file {}", entry.path().display())));
        }
        found
    }

    /// Shims of this host that still live.
    pub(crate) fn processes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for tree in trees() {
            let procs = std::fs::read_to_string(tree.join(&self.config.cgroup_parent).join("shims/cgroup.procs"));
            for pid in procs.unwrap_or_default().lines() {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                found.push(format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for tree in trees() {
            let folder = tree.join(&self.config.cgroup_parent);
            for _ in 0..100 {
                let _there = std::fs::remove_dir(folder.join("shims"));
                if std::fs::remove_dir(&folder).is_ok() || !folder.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Roots of the cgroup hierarchies.
fn trees() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    if root.join("cgroup.procs").exists() {
        return vec![root];
    }
    std::fs::read_dir(root).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn make_layer(layer: &Path) {
    for folder in ["bin", "etc", "tmp", "root", "srv", "proc", "sys", "dev", "run"] {
        std::fs::create_dir_all(layer.join(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", layer.join("bin/busybox")).expect("busybox-static has to be installed");
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", layer.join("bin").join(applet)).unwrap();
    }
    std::fs::write(layer.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\n").unwrap();
    std::fs::write(layer.join("etc/group"), "root:x:0:\nwww:x:34:\nadm:x:4:web\n").unwrap();
}

pub(crate) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

pub(crate) fn create(layer: &Path, task: TaskId, container: ContainerSpec) -> CreateContainer {
    let spec = ServiceSpec {
        name: "test".to_owned(),
        key: "test".to_owned(),
        stack: None,
        standalone: true,
        labels: BTreeMap::new(),
        mode: model::Mode::Replicated { replicas: 1 },
        container,
        restart: model::RestartPolicy::SWARM,
        resources: model::Resources::default(),
        placement: model::Placement::default(),
        update: model::UpdateConfig::default(),
        rollback: model::UpdateConfig::default(),
        networks: Vec::new(),
        network_mode: model::NetworkMode::Host,
        ports: Vec::new(),
        exposed: Default::default(),
        endpoint_mode: model::EndpointMode::Vip,
        depends_on: BTreeMap::new(),
    };
    CreateContainer {
        task,
        name: format!("test-{}", task.short()),
        spec: Arc::new(spec),
        image: ImageInfo {
            id: "sha256:test".to_owned(),
            config: ImageConfig::default(),
            layers: vec![layer.to_owned()],
        },
        net: NetMode::Host,
        hostname: "tester".to_owned(),
        hosts: vec![("10.9.8.7".parse().unwrap(), vec!["elsewhere".to_owned()])],
        resolv_conf: "nameserver 10.9.8.1\n".to_owned(),
        files: Vec::new(),
        labels: BTreeMap::new(),
        volumes: BTreeMap::new(),
        volumes_of: None,
    }
}

/// All that a session brings: output, error output, exit code.
pub(crate) async fn collect(session: &mut Session) -> (String, String, i32) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match tokio::time::timeout(LONG, session.output.recv()).await.expect("the session says nothing") {
            Some(Output::Stdout(data)) => out.extend(data),
            Some(Output::Stderr(data)) => err.extend(data),
            Some(Output::Exit(code)) => {
                return (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned(), code);
            }
            other => panic!("{other:?} after {:?} {:?}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err)),
        }
    }
}

/// Runs a container to its end and removes it.
pub(crate) async fn run(engine: &Engine, create: CreateContainer) -> (String, String, i32) {
    let task = create.task;
    let mut session = engine.attach(task).await.unwrap();
    engine.create_and_start(create, StartOptions::default()).await.unwrap();
    let all = collect(&mut session).await;
    engine.remove(task, true).await.unwrap();
    all
}

/// The next event that is no report of being frozen.
pub(crate) async fn exited(events: &mut UnboundedReceiver<RuntimeEvent>) -> (TaskId, model::Exit) {
    loop {
        match tokio::time::timeout(LONG, events.recv()).await.expect("nothing happens") {
            Some(RuntimeEvent::Exited { task, exit, .. }) => return (task, exit),
            Some(_) => {}
            None => panic!("the engine is gone"),
        }
    }
}

/// Lines of a log.
pub(crate) async fn lines(engine: &Engine, task: TaskId, query: runtime::logs::LogQuery) -> Vec<String> {
    let mut receiver = engine.logs(task, query).await.unwrap();
    let mut lines = Vec::new();
    while let Some(record) = tokio::time::timeout(LONG, receiver.recv()).await.expect("the log says nothing") {
        lines.push(record.line);
    }
    lines
}

/// Waits until the log has this line.
pub(crate) async fn wait_until(engine: &Engine, task: TaskId, line: &str) {
    let query = runtime::logs::LogQuery { follow: true, ..runtime::logs::LogQuery::default() };
    let mut receiver = engine.logs(task, query).await.unwrap();
    while let Some(record) = tokio::time::timeout(LONG, receiver.recv()).await.expect("the log says nothing") {
        if record.line == line {
            return;
        }
    }
    panic!("the log of {task} ended without `{line}`");
}
