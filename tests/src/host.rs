//! A host: a network namespace with a daemon that has folders, a cgroup parent and a socket of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::census::Census;
use crate::run::{Output, run, run_with_input};
use crate::{BUSYBOX, binary, eventually, rootfs_tar};

/// How a host differs from the plain one.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further words for `rswarm daemon`.
    pub daemon: Vec<String>,
    /// Leave the image store empty.
    pub no_image: bool,
    /// Do not start the daemon.
    pub no_daemon: bool,
    /// Let the daemon log as it does for users; tests want more.
    pub quiet: bool,
    /// Put the data root on a tmpfs of so many bytes.
    pub disk: Option<u64>,
    /// What the daemon takes the machine to be called.
    pub hostname: Option<String>,
    /// It is one of several: whoever has them all cleans up.
    pub one_of_many: bool,
}

/// A machine of its own, as far as rswarm can see. Dropping it removes all and counts what is left.
#[derive(Debug)]
pub struct Host {
    name: String,
    /// Everything of this host; tests may put files here.
    pub dir: PathBuf,
    options: Options,
    /// What the daemon is started from; `None`: the binary under test.
    program: Mutex<Option<PathBuf>>,
    daemon: Mutex<Option<Child>>,
    before: Census,
}

/// The folder of this run of the tests, on a real disk: overlayfs does not stack on overlayfs. Short, because a
/// socket's path has at most 107 bytes.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(format!("/var/tmp/rswarm-e2e-{}", std::process::id()))
}

/// How many hosts there are; whoever holds it may make or remove what they share.
pub(crate) fn live() -> MutexGuard<'static, usize> {
    static LIVE: Mutex<usize> = Mutex::new(0);
    LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Host {
    /// A host with a running daemon and the busybox image; `None`, loudly, where we are not root.
    ///
    /// # Panics
    /// It cannot be set up.
    pub fn new() -> Option<Host> {
        Host::with(Options::default())
    }

    /// The same with options.
    ///
    /// # Panics
    /// It cannot be set up.
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    pub fn with(options: Options) -> Option<Host> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return None;
        }
        static STALE: Once = Once::new();
        STALE.call_once(sweep_stale);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        *live() += 1;
        let name = format!("rse{}-{number}", std::process::id());
        let dir = folder().join(number.to_string());
        for sub in ["data", "run", "work"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        add_netns(&name);
        if let Some(bytes) = options.disk {
            mount_tmpfs(&dir.join("data"), bytes);
        }
        let mut host =
            Host { name, dir, options, program: Mutex::new(None), daemon: Mutex::new(None), before: Census::default() };
        if !host.options.no_daemon {
            host.start_daemon();
        }
        if !host.options.no_daemon && !host.options.no_image {
            host.import_busybox();
        }
        host.before = host.census();
        Some(host)
    }

    /// From now on only what comes beyond this counts as left behind.
    pub(crate) fn count(&mut self) {
        self.before = self.census();
    }

    /// The name of its network namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.name
    }

    /// Puts the busybox image into the store.
    ///
    /// # Panics
    /// That fails.
    pub fn import_busybox(&self) {
        self.rswarm([OsStr::new("image"), OsStr::new("import"), rootfs_tar().as_os_str(), OsStr::new(BUSYBOX)]).ok();
    }

    /// The data root.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The run root.
    pub fn run_root(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// A folder for the test's own files; relative paths of its commands start here.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// The cgroup below which its containers are.
    pub fn cgroup(&self) -> &str {
        &self.name
    }

    /// Writes a file below [`Host::work`]; gives its path.
    ///
    /// # Panics
    /// The disk fails.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Any command, run inside the host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command.current_dir(self.work()).env_remove("RSWARM_HOST").env("NO_COLOR", "1");
        // never the credentials of whoever runs the tests
        command.env("DOCKER_CONFIG", self.work().join("docker"));
        command
    }

    /// `rswarm` with these words, to this host's daemon, not yet run. It never starts a daemon of its own.
    pub fn rswarm_command<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Command {
        let mut command = self.command(binary());
        command.arg("-H").arg(format!("unix://{}", self.socket().display())).args(words);
        command
    }

    /// The same by this host's roots: how the daemon is started, and a client that starts one if none runs.
    pub fn rooted_command<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Command {
        let program = self.program.lock().unwrap().clone().unwrap_or_else(binary);
        let mut command = match &self.options.hostname {
            None => self.command(program),
            Some(name) => {
                let mut command = self.command("unshare");
                command.args(["--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", name]).arg(program);
                command
            }
        };
        command.arg("--data-root").arg(self.data()).arg("--run-root").arg(self.run_root());
        command.arg("--cgroup-parent").arg(&self.name).args(words);
        command
    }

    /// Where the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.run_root().join("rswarm.sock")
    }

    /// Runs `rswarm` with these words.
    ///
    /// # Panics
    /// It does not end.
    pub fn rswarm<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Output {
        run(&mut self.rswarm_command(words))
    }

    /// Runs `rswarm` as somebody whose logins are in this folder of the host's.
    pub fn rswarm_as<I: AsRef<OsStr>>(&self, folder: &str, words: impl IntoIterator<Item = I>) -> Output {
        run(self.rswarm_command(words).env("DOCKER_CONFIG", self.work().join(folder)))
    }

    /// Runs `rswarm` with words split at white space: `host.sh("ps -a")`.
    ///
    /// # Panics
    /// It does not end.
    pub fn sh(&self, words: &str) -> Output {
        self.rswarm(words.split_whitespace())
    }

    /// Runs `rswarm` with this on its stdin.
    ///
    /// # Panics
    /// It does not end.
    pub fn rswarm_with_input<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>, input: &[u8]) -> Output {
        run_with_input(&mut self.rswarm_command(words), input)
    }

    /// Starts a container that sleeps; gives its id.
    ///
    /// # Panics
    /// It does not start.
    pub fn sleeper(&self, flags: &str) -> String {
        let words = ["run", "-d"].into_iter().chain(flags.split_whitespace());
        self.rswarm(words.chain([BUSYBOX, "sleep", "10000"])).ok().text()
    }

    /// `inspect --format TEMPLATE NAME`.
    ///
    /// # Panics
    /// There is no such thing.
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.rswarm(["inspect", "--format", template, name]).ok().text()
    }

    /// Brings a Compose text up.
    ///
    /// # Panics
    /// It does not end.
    pub fn up(&self, name: &str, text: &str) -> Output {
        let file = self.write(&format!("{name}.yaml"), text);
        self.rswarm(["up", "-p", name, "-f", &file])
    }

    /// Takes a project down.
    ///
    /// # Panics
    /// It does not end.
    pub fn down(&self, name: &str) -> Output {
        self.rswarm(["down", "-p", name])
    }

    /// Gets a page from inside the host, but outside any container; `None` if nobody answers within two seconds.
    ///
    /// # Panics
    /// There is no curl.
    pub fn get(&self, url: &str) -> Option<String> {
        let output = run(self.command("curl").args(["-s", "-f", "-m", "2", url]));
        output.succeeded().then_some(output.stdout)
    }

    /// From its next start on the daemon is this program.
    ///
    /// # Panics
    /// A test has panicked.
    pub fn upgrade(&self, program: PathBuf) {
        *self.program.lock().unwrap() = Some(program);
    }

    /// Starts the daemon and waits until it listens.
    ///
    /// # Panics
    /// It does not come up.
    pub fn start_daemon(&self) {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let level = if self.options.quiet { "info" } else { "info,daemon=debug" };
        let mut command = self.rooted_command(["daemon", "--log-level", level]);
        command.args(&self.options.daemon).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut daemon = self.daemon.lock().unwrap();
        assert!(daemon.is_none(), "the daemon runs already");
        let child = daemon.insert(command.spawn().unwrap());
        let socket = self.socket();
        eventually(&format!("the daemon listens; its log: {}", self.log_tail()), Duration::from_secs(20), || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {}; its log:\n{}", ended.unwrap(), self.log_tail());
            UnixStream::connect(&socket).is_ok()
        });
    }

    /// Kills the daemon as a crash would.
    ///
    /// # Panics
    /// None runs.
    pub fn kill_daemon(&self) {
        self.end_daemon(Signal::KILL);
    }

    /// Asks the daemon to stop, as systemd would.
    ///
    /// # Panics
    /// None runs.
    pub fn stop_daemon(&self) {
        self.end_daemon(Signal::TERM);
    }

    /// Kills the daemon, if one runs.
    pub(crate) fn forget_daemon(&self) {
        if let Some(mut child) = self.daemon.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    fn end_daemon(&self, signal: Signal) {
        let mut child = self.daemon.lock().unwrap().take().expect("a daemon runs");
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
    }

    /// Freezes the daemon, or lets it go on: it is not gone, and says nothing.
    ///
    /// # Panics
    /// None runs.
    pub fn freeze_daemon(&self, freeze: bool) {
        let signal = if freeze { Signal::STOP } else { Signal::CONT };
        let daemon = self.daemon.lock().unwrap();
        kill_process(Pid::from_child(daemon.as_ref().expect("a daemon runs")), signal).unwrap();
    }

    /// Does the daemon run, as far as this host started it?
    pub fn runs(&self) -> bool {
        self.daemon.lock().is_ok_and(|daemon| daemon.is_some())
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// None runs.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.lock().unwrap().as_ref().expect("a daemon runs").id()
    }

    /// The address that a container knows for a name.
    ///
    /// # Panics
    /// It knows none.
    pub fn address_of(&self, container: &str, name: &str) -> IpAddr {
        let shown = self.rswarm(["exec", container, "nslookup", name]).ok();
        // The server's own comes first.
        let last = shown.stdout.lines().rev().find_map(|line| line.strip_prefix("Address:")?.trim().parse().ok());
        last.unwrap_or_else(|| panic!("{name} has no address: {shown}"))
    }

    /// The process id of the `netd` of this host, if one listens.
    pub fn netd_pid(&self) -> Option<Pid> {
        let stream = UnixStream::connect(self.run_root().join("netd.sock")).ok()?;
        rustix::net::sockopt::socket_peercred(&stream).ok().map(|peer| peer.pid)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("daemon.log")
    }

    /// The last lines of the daemon's log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// What of this host is on the machine right now.
    pub fn census(&self) -> Census {
        Census::take(&self.name, &self.dir)
    }

    /// A port that nothing listens on; each call gives another.
    pub fn free_port(&self) -> u16 {
        static NEXT: AtomicU32 = AtomicU32::new(20_000);
        u16::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap()
    }

    /// The address of the host's loopback.
    pub const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

    /// Removes every container, stack, network and volume, as a user would.
    fn clear(&self) {
        for stack in self.sh("ls -a -q").lines() {
            self.rswarm(["down", "-v", "-p", &stack]).ok();
        }
        let containers = self.sh("ps -a -q --no-trunc").ok().lines();
        if !containers.is_empty() {
            let words = ["rm", "-f", "-v"].into_iter().map(str::to_owned).chain(containers);
            self.rswarm(words).ok();
        }
        self.sh("network prune -f").ok();
        self.sh("volume prune -a -f").ok();
    }

    /// Waits until nothing is left that was not there at the beginning.
    pub(crate) fn expect_no_leak(&self) {
        let mut leaks = Vec::new();
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while std::time::Instant::now() < end {
            leaks = self.census().beyond(&self.before);
            if leaks.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("left behind:\n{}\nthe daemon's log:\n{}", leaks.join("\n"), self.log_tail());
    }

    /// Ends and removes by force whatever there is, so that a failed test leaves the machine clean.
    fn sweep(&self) {
        self.forget_daemon();
        Census::sweep(&self.name, &self.dir, |_| true);
        drop(Command::new("ip").args(["netns", "del", &self.name]).output());
        if std::env::var_os("RSWARM_TEST_KEEP").is_none() {
            drop(std::fs::remove_dir_all(&self.dir));
        }
        // the last host of this run takes the common folder along
        let mut live = live();
        *live -= 1;
        if *live == 0 && std::env::var_os("RSWARM_TEST_KEEP").is_none() {
            drop(std::fs::remove_dir_all(folder()));
        }
    }
}

impl Drop for Host {
    #[expect(clippy::print_stderr, reason = "the daemon's log explains a failure")]
    fn drop(&mut self) {
        /// Sweeps even when the count of leaks panics.
        struct Sweep<'a>(&'a Host);
        impl Drop for Sweep<'_> {
            fn drop(&mut self) {
                self.0.sweep();
            }
        }
        let _sweep = Sweep(self);
        if std::thread::panicking() {
            eprintln!("----- the daemon's log\n{}\n-----", self.log_tail());
            return;
        }
        let running = self.daemon.lock().is_ok_and(|daemon| daemon.is_some());
        if running && !self.options.one_of_many {
            self.clear();
            self.expect_no_leak();
        }
    }
}

/// Removes the hosts of earlier runs that were killed: their folder names a process that is gone.
fn sweep_stale() {
    for entry in std::fs::read_dir("/var/tmp").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("rswarm-e2e-") else { continue };
        if Path::new("/proc").join(pid).exists() {
            continue;
        }
        for host in std::fs::read_dir(entry.path()).unwrap().flatten() {
            let name = format!("rse{pid}-{}", host.file_name().to_string_lossy());
            Census::sweep(&name, &host.path(), |_| true);
            drop(Command::new("ip").args(["netns", "del", &name]).output());
        }
        drop(std::fs::remove_dir_all(entry.path()));
    }
}

pub(crate) fn add_netns(name: &str) {
    // the first one makes /run/netns, which is not safe to do twice at once
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    run(Command::new("ip").args(["netns", "add", name])).ok();
    run(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"])).ok();
}

fn mount_tmpfs(path: &Path, bytes: u64) {
    let size = format!("size={bytes},mode=0755");
    run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path)).ok();
}
