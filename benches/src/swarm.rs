//! The peer of a cluster: three Docker Engines, each on a machine of its own, all of them managers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::{Lab, eventually, eventually_some};

use crate::cluster::{Cluster, Loads, MACHINES, SOON};
use crate::docker::{Docker, socket_path};
use crate::writes::Dialect;

/// Three engines on a wire.
pub(crate) struct Swarm {
    // the engines end before the wire
    engines: Vec<Docker>,
    lab: Lab,
}

impl Swarm {
    /// Starts the engines that are unpacked below `peer`, and makes a swarm of them.
    pub(crate) fn start(peer: &Path) -> Option<Swarm> {
        let mut lab = Lab::wired(MACHINES, true)?;
        let engines: Vec<_> = std::mem::take(&mut lab.hosts).into_iter().map(|host| Docker::on(host, peer)).collect();
        let swarm = Swarm { engines, lab };
        let address = Lab::address;
        let listen =
            |index| ["--advertise-addr".to_owned(), address(index), "--listen-addr".to_owned(), address(index)];
        let call = |index: usize, words: Vec<String>| {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            swarm.engines[index].call(&words).ok()
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        call(0, [words(&["swarm", "init"]), listen(0).to_vec()].concat());
        let token = call(0, words(&["swarm", "join-token", "-q", "manager"])).text();
        for index in 1..MACHINES {
            let at = [words(&["--token", &token]), words(&[&format!("{}:2377", address(0))])].concat();
            call(index, [words(&["swarm", "join"]), listen(index).to_vec(), at].concat());
        }
        swarm.all_ready();
        Some(swarm)
    }

    fn all_ready(&self) {
        eventually("all engines are ready", SOON, || {
            let nodes = self.engines[self.leader()].call(&["node", "ls", "--format", "{{.Status}} {{.ManagerStatus}}"]);
            let ready = |line: &&String| line.starts_with("Ready ") && !line.ends_with("Unreachable");
            nodes.lines().iter().filter(ready).count() == MACHINES
        });
    }
}

impl Cluster for Swarm {
    fn leader(&self) -> usize {
        eventually_some("an engine leads", SOON, || {
            (0..MACHINES).find(|index| {
                let rows = self.engines[*index].call(&["node", "ls", "--format", "{{.Self}} {{.ManagerStatus}}"]);
                rows.lines().contains(&"true Leader".to_owned())
            })
        })
    }

    fn cut(&self, index: usize, cut: bool) {
        self.lab.cut(index, cut);
        if !cut {
            self.all_ready();
        }
    }

    fn write(&self, by: usize, name: &str) -> bool {
        let mut command = self.engines[by].host.command("timeout");
        command.args(["20", "docker", "-H"]).arg(format!("unix://{}", self.socket(by).display()));
        e2e::run_with_input(command.args(["config", "create", name, "-"]), b"a small write").succeeded()
    }

    fn deploy(&self, by: usize, loads: &Loads) {
        let engine = &self.engines[by];
        let file = engine.host.write("stack.yaml", &loads.file());
        engine.call(&["stack", "deploy", "--resolve-image", "never", "-c", &file, "s"]).ok();
        let wanted = format!("{0}/{0}", loads.replicas);
        eventually("all replicas run", Duration::from_secs(120), || {
            engine.call(&["service", "ls", "--format", "{{.Replicas}}"]).text() == wanted
        });
    }

    fn remove(&self, by: usize) {
        let gone = || {
            self.engines[by].call(&["stack", "rm", "s"]);
            self.engines.iter().all(|engine| {
                let none = |words: &[&str]| engine.call(words).text().is_empty();
                none(&["ps", "-aq"]) && none(&["network", "ls", "-qf", "name=s_"])
            })
        };
        eventually("all is removed", Duration::from_secs(120), gone);
    }

    fn running(&self, besides: usize) -> usize {
        let others = self.engines.iter().enumerate().filter(|(index, _)| *index != besides);
        others.map(|(_, engine)| engine.call(&["ps", "-q"]).lines().len()).sum()
    }

    fn socket(&self, index: usize) -> PathBuf {
        socket_path(&self.engines[index].host)
    }

    fn dialect(&self) -> Dialect {
        Dialect::Docker
    }
}
