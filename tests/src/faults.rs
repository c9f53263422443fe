//! What befalls machines: power cuts, frozen processes, wires that are cut in two.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::census::Census;
use crate::lab::ip;
use crate::{Host, Lab, eventually, eventually_some};

/// How long a leader may take to be there.
const SOON: Duration = Duration::from_secs(20);

impl Host {
    /// The power is cut: no process, mount, cgroup or network of it is left, and nothing of the run root. Its disk
    /// stays.
    ///
    /// # Panics
    /// The run root cannot be removed.
    pub fn cut_power(&self) {
        self.forget_daemon();
        let data = self.data();
        Census::sweep(self.namespace(), &self.dir, |mount| *mount != data);
        ip(&["netns", "del", self.namespace()]);
        std::fs::remove_dir_all(self.run_root()).unwrap();
        std::fs::create_dir(self.run_root()).unwrap();
    }

    /// Freezes every process of the host, or lets them go on: daemon, netd, shims and containers.
    pub fn freeze(&self, freeze: bool) {
        let signal = if freeze { Signal::STOP } else { Signal::CONT };
        // Those that are born meanwhile are found the second time.
        for _ in 0..2 {
            for (pid, _) in Census::processes(self.namespace(), &self.dir) {
                let _gone_meanwhile = kill_process(pid, signal);
            }
        }
    }

    /// The processes of containers whose command line has this in it, whatever the daemon says.
    pub fn processes(&self, word: &str) -> BTreeSet<i32> {
        let all = Census::inside(self.namespace());
        all.into_iter().filter(|(_, words)| words.contains(word)).map(|(pid, _)| pid.as_raw_nonzero().get()).collect()
    }
}

impl Lab {
    /// Which host leads, as a manager tells.
    ///
    /// # Panics
    /// None does for long.
    pub fn leader(&self, by: usize) -> usize {
        eventually_some("a leader", SOON, || {
            let rows = self.hosts[by].rswarm(["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]);
            let host = |line: &String| line.strip_prefix("host")?.strip_suffix(" Leader")?.parse::<usize>().ok();
            rows.lines().iter().find_map(host).map(|number| number - 1)
        })
    }

    /// Puts these hosts on a wire of their own: they reach each other, and nobody else.
    ///
    /// # Panics
    /// There are no such hosts.
    pub fn part(&self, apart: &[usize]) {
        let wire = format!("apart{}", apart.iter().map(ToString::to_string).collect::<String>());
        // It is there already when they were parted before.
        drop(Command::new("ip").args(["-n", self.hub(), "link", "add", &wire, "type", "bridge"]).output());
        ip(&["-n", self.hub(), "link", "set", &wire, "up"]);
        for index in apart {
            ip(&["-n", self.hub(), "link", "set", &format!("wire{index}"), "master", &wire]);
        }
    }

    /// Puts all hosts on one wire again.
    ///
    /// # Panics
    /// The wires cannot be moved.
    pub fn heal(&self) {
        for index in (0..self.hosts.len()).filter(|index| self.is_plugged(*index)) {
            ip(&["-n", self.hub(), "link", "set", &format!("wire{index}"), "master", "wire"]);
        }
    }

    /// The machine burns down, or is reinstalled: what is on its disk does not come back.
    ///
    /// # Panics
    /// It is gone already.
    pub fn lose(&self, index: usize) {
        ip(&["-n", self.hub(), "link", "del", &format!("wire{index}")]);
        self.hosts[index].cut_power();
        std::fs::remove_dir_all(self.hosts[index].data()).unwrap();
        std::fs::create_dir(self.hosts[index].data()).unwrap();
    }

    /// Cuts the power of a host and boots it again. Its daemon is up when this returns.
    ///
    /// # Panics
    /// It does not come up.
    pub fn reboot(&self, index: usize) {
        ip(&["-n", self.hub(), "link", "del", &format!("wire{index}")]);
        self.hosts[index].cut_power();
        self.boot(index);
    }

    /// Boots a host whose power was cut, or which was lost: then it is a new one. Its daemon is up when this returns.
    ///
    /// # Panics
    /// It does not come up.
    pub fn boot(&self, index: usize) {
        crate::host::add_netns(self.hosts[index].namespace());
        self.plug(index);
        self.hosts[index].start_daemon();
        if !self.hosts[index].sh(&format!("image inspect {}", crate::BUSYBOX)).succeeded() {
            self.load_image(index);
        }
    }

    /// A host answers at the address of another one, too, which is gone.
    ///
    /// # Panics
    /// There is no such host.
    pub fn take_address(&self, index: usize, of: usize) {
        let address = format!("{}/24", Lab::address(of));
        ip(&["-n", self.hosts[index].namespace(), "address", "add", &address, "dev", "eth0"]);
        // A machine that boots with an address says so to its neighbours.
        for host in self.hosts.iter().filter(|host| host.runs()) {
            ip(&["-n", host.namespace(), "neigh", "flush", "dev", "eth0"]);
        }
    }

    /// Waits until so many containers of the service `web` run, and no process of it beyond them, on the hosts that
    /// are there.
    ///
    /// # Panics
    /// It never is so.
    pub fn runs_once(&self, by: usize, replicas: usize, limit: Duration) {
        let count = || self.hosts.iter().map(|host| host.processes(crate::lab::WEB).len()).sum::<usize>();
        eventually(&format!("web runs {replicas} times, and no more"), limit, || {
            self.places(by, "web").len() == replicas && count() == replicas
        });
    }
}

/// A container on each of some managers, started by a person, that nothing but that person may end: whatever happens
/// to daemons and wires.
#[derive(Debug)]
pub struct Keepers<'l>(Vec<(&'l Host, BTreeSet<i32>)>);

impl<'l> Keepers<'l> {
    /// Starts them.
    ///
    /// # Panics
    /// One does not start.
    pub fn start(hosts: impl IntoIterator<Item = &'l Host>) -> Keepers<'l> {
        let start = |host: &'l Host| {
            let name = format!("keeper-{}", host.namespace());
            host.rswarm(["run", "-d", "--name", &name, crate::BUSYBOX, "sleep", KEEPER]).ok();
            (host, host.processes(KEEPER))
        };
        Keepers(hosts.into_iter().map(start).collect())
    }

    /// They run, and did all the time.
    ///
    /// # Panics
    /// One does not, or another process does.
    #[track_caller]
    pub fn expect(&self) {
        for (host, processes) in &self.0 {
            assert_eq!(processes.len(), 1, "one process on {}", host.namespace());
            assert_eq!(host.processes(KEEPER), *processes, "on {}", host.namespace());
        }
    }

    /// They are removed, through this manager.
    ///
    /// # Panics
    /// One is not.
    pub fn end(self, by: &Host) {
        self.expect();
        let names = self.0.iter().map(|(host, _)| format!("keeper-{}", host.namespace()));
        by.rswarm(["rm", "-f"].into_iter().map(str::to_owned).chain(names)).ok();
    }
}

/// How long keepers sleep, which tells them from all else.
const KEEPER: &str = "20000";
