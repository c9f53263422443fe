//! Several hosts on one wire: each a network namespace with a daemon of its own, joined by a bridge in yet
//! another namespace.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::run::{Output, run};
use crate::{Host, Options, eventually, eventually_some};

/// The port of a cluster.
const PORT: u16 = 2377;

/// How long the tasks of [`Lab::create_web`] sleep, which tells them from all else.
pub const WEB: &str = "10000";

/// Hosts that reach each other. Dropping it removes all, and counts what is left on each.
#[derive(Debug)]
pub struct Lab {
    /// The hosts, called `host1`, `host2`, …
    pub hosts: Vec<Host>,
    hub: String,
}

impl Lab {
    /// So many machines of their own, each with a daemon and the busybox image; `None`, loudly, where we are not
    /// root.
    ///
    /// # Panics
    /// They cannot be set up.
    pub fn new(count: usize) -> Option<Lab> {
        Lab::with(count, |_, options| options)
    }

    /// The same with other options for some, by their index.
    ///
    /// # Panics
    /// They cannot be set up.
    pub fn with(count: usize, change: impl Fn(usize, Options) -> Options) -> Option<Lab> {
        Lab::wire(count, change).map(Lab::started)
    }

    /// Machines on a wire that run nothing yet. `quiet`: what daemons log is what users' do, not what tests want.
    ///
    /// # Panics
    /// They cannot be set up.
    pub fn wired(count: usize, quiet: bool) -> Option<Lab> {
        Lab::wire(count, |_, options| Options { quiet, ..options })
    }

    fn wire(count: usize, change: impl Fn(usize, Options) -> Options) -> Option<Lab> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let bare = |number| Options {
            no_daemon: true,
            one_of_many: true,
            hostname: Some(format!("host{number}")),
            ..Options::default()
        };
        let host = |index| Host::with(change(index, bare(index + 1)));
        let hosts: Vec<Host> = (0..count).map(host).collect::<Option<_>>()?;
        // Told from the hosts' own namespaces by its last letter; swept with them.
        let hub = format!("rse{}-{}h", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &hub]);
        ip(&["-n", &hub, "link", "add", "wire", "type", "bridge"]);
        ip(&["-n", &hub, "link", "set", "wire", "up"]);
        let lab = Lab { hosts, hub };
        for index in 0..count {
            lab.plug(index);
        }
        Some(lab)
    }

    /// Starts the daemons.
    fn started(mut self) -> Lab {
        // The same image everywhere, as from a registry: an import is another image each time.
        for index in 0..self.hosts.len() {
            self.hosts[index].start_daemon();
            if index == 0 {
                self.hosts[0].import_busybox();
                self.hosts[0].rswarm(["save", "-o", &self.archive(), crate::BUSYBOX]).ok();
            } else {
                self.load_image(index);
            }
            self.hosts[index].count();
        }
        self
    }

    /// A cluster: the first hosts manage, the others work.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn cluster(managers: usize, workers: usize) -> Option<Lab> {
        Lab::wired(managers + workers, false).map(|lab| lab.into_cluster(managers))
    }

    /// Makes a cluster of machines that run nothing yet: the first ones manage, the others work.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn into_cluster(self, managers: usize) -> Lab {
        let lab = self.started();
        lab.form(managers, lab.hosts.len() - managers);
        lab
    }

    /// Makes a cluster of the first hosts, whose daemons run; those behind them stay machines of their own.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn form(&self, managers: usize, workers: usize) {
        self.hosts[0].rswarm(["init", "--advertise-addr", &Lab::address(0)]).ok();
        for index in 1..managers + workers {
            let role = if index < managers { "manager" } else { "worker" };
            self.join(index, role).ok();
        }
        self.all_ready(managers + workers);
    }

    /// Gives each host an address in IPv6 too.
    ///
    /// # Panics
    /// It has one already.
    pub fn add_ipv6(&self) {
        for (index, host) in self.hosts.iter().enumerate() {
            let address = format!("{}/64", Lab::address6(index));
            ip(&["-n", host.namespace(), "address", "add", &address, "dev", "eth0", "nodad"]);
        }
    }

    /// Lets a host join the cluster of the first.
    ///
    /// # Panics
    /// The command does not end.
    pub fn join(&self, index: usize, role: &str) -> Output {
        self.join_by(0, index, role)
    }

    /// The same by way of another manager.
    ///
    /// # Panics
    /// The command does not end.
    pub fn join_by(&self, by: usize, index: usize, role: &str) -> Output {
        // What was agreed upon is there: a leader may be on its way, though.
        let token = eventually_some("a join token", Duration::from_secs(20), || {
            let token = self.hosts[by].rswarm(["join-token", "-q", role]);
            token.succeeded().then(|| token.text())
        });
        let manager = format!("{}:{PORT}", Lab::address(by));
        self.hosts[index].rswarm(["join", "--token", &token, "--advertise-addr", &Lab::address(index), &manager])
    }

    /// Waits until so many nodes are ready, as the first host sees it.
    ///
    /// # Panics
    /// They never are.
    pub fn all_ready(&self, count: usize) {
        self.ready_by(0, count);
    }

    /// The same as another manager sees it.
    ///
    /// # Panics
    /// They never are.
    pub fn ready_by(&self, by: usize, count: usize) {
        eventually(&format!("{count} nodes are ready"), Duration::from_secs(30), || {
            let nodes = self.hosts[by].rswarm(["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]);
            nodes.lines().iter().filter(|line| line.ends_with("Ready")).count() == count
        });
    }

    /// Has one of the managers make the service `web`, whose tasks sleep. `flags`: of `service create`.
    ///
    /// # Panics
    /// It refuses.
    pub fn create_web(&self, by: usize, flags: &[&str]) {
        let begin = ["service", "create", "-d", "--name", "web", "--stop-grace-period", "0s"];
        self.hosts[by].rswarm(begin.iter().chain(flags).chain(&[crate::BUSYBOX, "sleep", WEB])).ok();
    }

    /// The address of a host on the wire.
    pub fn address(index: usize) -> String {
        format!("10.77.0.{}", index + 1)
    }

    /// The same in IPv6.
    pub fn address6(index: usize) -> String {
        format!("fd77::{:x}", index + 1)
    }

    /// Has a host's link carry packets of at most so many bytes.
    ///
    /// # Panics
    /// There is no such host.
    pub fn shrink(&self, index: usize, mtu: u16) {
        let mtu = mtu.to_string();
        ip(&["-n", &self.hub, "link", "set", &format!("wire{index}"), "mtu", &mtu]);
        ip(&["-n", self.hosts[index].namespace(), "link", "set", "eth0", "mtu", &mtu]);
    }

    /// Where tasks of a service run: `host2` for each, sorted; those that are to run and do.
    ///
    /// # Panics
    /// There is no such service.
    pub fn places(&self, by: usize, service: &str) -> Vec<String> {
        let format = "{{.Node}} {{.CurrentState}}";
        let filter = "desired-state=running";
        let rows = self.hosts[by].rswarm(["service", "ps", "--filter", filter, "--format", format, service]).ok();
        let running = rows.lines().into_iter().filter(|line| line.contains(" Running"));
        let mut places: Vec<_> = running.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
        places.sort();
        places
    }

    /// Cuts a host's wire, or mends it.
    ///
    /// # Panics
    /// There is no such host.
    pub fn cut(&self, index: usize, cut: bool) {
        let wire = format!("wire{index}");
        ip(&["-n", &self.hub, "link", "set", &wire, if cut { "down" } else { "up" }]);
    }

    fn archive(&self) -> String {
        self.hosts[0].work().join("busybox.tar").display().to_string()
    }

    /// Puts the image into the store of a host.
    pub(crate) fn load_image(&self, index: usize) {
        self.hosts[index].rswarm(["load", "-q", "-i", &self.archive()]).ok();
    }

    /// The namespace that the wires are in.
    pub(crate) fn hub(&self) -> &str {
        &self.hub
    }

    /// Does a host have a wire?
    pub(crate) fn is_plugged(&self, index: usize) -> bool {
        run(Command::new("ip").args(["-n", &self.hub, "link", "show", &format!("wire{index}")])).succeeded()
    }

    pub(crate) fn plug(&self, index: usize) {
        let (host, wire) = (self.hosts[index].namespace(), format!("wire{index}"));
        let peer = ["peer", "name", "eth0", "netns", host];
        let add = ["-n", &self.hub, "link", "add", &wire, "type", "veth"];
        ip(&[add.as_slice(), peer.as_slice()].concat());
        ip(&["-n", &self.hub, "link", "set", &wire, "master", "wire", "up"]);
        ip(&["-n", host, "address", "add", &format!("{}/24", Lab::address(index)), "dev", "eth0"]);
        ip(&["-n", host, "link", "set", "eth0", "up"]);
    }

    /// Takes every stack and service away, as a user would, and waits until no host has anything left.
    fn clear(&self) {
        let Some(manager) = self.hosts.iter().find(|host| host.runs() && host.sh("node ls").succeeded()) else {
            return;
        };
        for stack in manager.sh("ls -a -q").lines() {
            manager.rswarm(["down", "-v", "-p", &stack]).ok();
        }
        let services = manager.sh("service ls -q").ok().lines();
        if !services.is_empty() {
            manager.rswarm(["service", "rm"].into_iter().map(str::to_owned).chain(services)).ok();
        }
        manager.sh("network prune -f").ok();
        for host in self.hosts.iter().filter(|host| host.runs()) {
            host.expect_no_leak();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        /// Sweeps even when the count of leaks panics.
        struct Sweep<'a>(&'a str);
        impl Drop for Sweep<'_> {
            fn drop(&mut self) {
                drop(Command::new("ip").args(["netns", "del", self.0]).output());
            }
        }
        let _sweep = Sweep(&self.hub);
        if !std::thread::panicking() {
            self.clear();
        }
    }
}

pub(crate) fn ip(words: &[&str]) {
    run(Command::new("ip").args(words)).ok();
}
