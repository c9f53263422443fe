//! Three managers on three machines (network namespaces), beside a swarm of three Docker Engines: what a stack takes
//! there, and what is lost when a machine is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Lab, Options, eventually, eventually_some};

use crate::memory::rss;
use crate::swarm::Swarm;
use crate::table::{Bar, Table, say};
use crate::writes::{Dialect, configs};

/// Of each cluster; all of them manage.
pub(crate) const MACHINES: usize = 3;
/// What takes longer is broken, not slow.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// How often a machine is lost.
const LOSSES: usize = 7;
const CLIENTS: usize = 64;
/// What a figure of writes is given for.
const WRITES: usize = 10_000;
/// The peer gets fewer, and is given the same figure.
const WRITES_OF_PEER: usize = 2_000;
const SINGLE_WRITES: usize = 1_000;
/// How long nothing happens.
const REST: Duration = Duration::from_secs(60);
/// How long everybody is busy.
const BUSY: Duration = Duration::from_secs(180);

/// A stack of one service.
pub(crate) struct Loads {
    pub(crate) replicas: u32,
}

impl Loads {
    pub(crate) fn file(&self) -> String {
        format!(
            "version: '3.8'\nservices:\n  web:\n    image: {BUSYBOX}\n    command: sleep 100000\n    stop_grace_period: 0s\n    deploy: {{replicas: {}}}\n",
            self.replicas
        )
    }
}

/// Machines that manage each other.
pub(crate) trait Cluster {
    /// The machine that leads, as it says itself.
    fn leader(&self) -> usize;
    /// Cuts a machine's wire, or mends it and waits until all is as before.
    fn cut(&self, index: usize, cut: bool);
    /// Asks a machine for a small write. Was it taken?
    fn write(&self, by: usize, name: &str) -> bool;
    /// Returns when all replicas run.
    fn deploy(&self, by: usize, loads: &Loads);
    /// Returns when nothing is left of them.
    fn remove(&self, by: usize);
    /// How many containers run on the other machines.
    fn running(&self, besides: usize) -> usize;
    /// Where a machine's API is.
    fn socket(&self, index: usize) -> PathBuf;
    fn dialect(&self) -> Dialect;
}

pub(crate) fn measure(peer: Option<&Path>, wanted: &dyn Fn(&str) -> bool, table: &mut Table) {
    let Some(lab) = Lab::wired(MACHINES, true) else { return };
    let ours = Ours(lab.into_cluster(MACHINES));
    let swarm = peer.and_then(Swarm::start);
    let both = |job: &str, table: &mut Table, rounds: [usize; 2], bar: Bar, one: &dyn Fn(&dyn Cluster) -> Duration| {
        let many = |cluster: &dyn Cluster, rounds: usize| (0..rounds).map(|_| one(cluster)).collect::<Vec<_>>();
        let mine = many(&ours, rounds[0]);
        let theirs = swarm.as_ref().map_or_else(Vec::new, |swarm| many(swarm, rounds[1]));
        say(&format!("{job}: {mine:?} beside {theirs:?}"));
        table.times(job, &mine, &theirs, bar);
    };
    if wanted("cluster") {
        idle(&ours, table);
        at_rest(table);
        both("100 replicas on three nodes", table, [3, 3], Bar::Times(8.0), &|cluster| {
            let leader = cluster.leader();
            let began = Instant::now();
            cluster.deploy(leader, &Loads { replicas: 100 });
            let took = began.elapsed();
            cluster.remove(leader);
            took
        });
    }
    if wanted("losses") {
        both("node lost, until its replicas run elsewhere", table, [LOSSES, 3], Bar::AtMost(5000.0), &node_lost);
        both("leader lost, until a write is taken", table, [LOSSES, 3], Bar::AtMost(1500.0), &leader_lost);
    }
    if wanted("busy") {
        busy(table);
    }
    if wanted("writes") {
        writes(&ours, swarm.as_ref().map(|swarm| swarm as _), table);
    }
}

/// What three managers cost when nothing happens.
fn idle(ours: &Ours, table: &mut Table) {
    std::thread::sleep(Duration::from_secs(10));
    for host in &ours.0.hosts {
        say(&format!("a manager of three at rest: {:.1} MiB", rss(host.daemon_pid())));
    }
    table.sizes("a manager of three at rest, resident", rss(ours.0.hosts[0].daemon_pid()), None, Bar::AtMost(25.0));
}

/// What a worker and its manager say to each other when nothing happens: what they hand to TCP, both directions
/// together; and all that passes the wire of the worker.
fn at_rest(table: &mut Table) {
    let Some(lab) = Lab::wired(2, true).map(|lab| lab.into_cluster(1)) else { return };
    lab.create_web(0, &["--replicas", "2"]);
    eventually("both run", SOON, || lab.places(0, "web").len() == 2);
    let worker = &lab.hosts[1];
    let at = format!("{}:2377", Lab::address(0));
    let said = || {
        let sockets = e2e::run(worker.command("ss").args(["-tinH", "state", "established", "dst", &at])).ok().text();
        let words = sockets.split_whitespace().filter_map(|word| word.split_once(':'));
        let counts = words.filter(|(key, _)| matches!(*key, "bytes_sent" | "bytes_received"));
        counts.map(|(_, count)| count.parse::<f64>().unwrap()).collect::<Vec<_>>()
    };
    let wire = || {
        let link = e2e::run(worker.command("ip").args(["-s", "-j", "link", "show", "eth0"])).ok().text();
        let links: Vec<serde_json::Value> = serde_json::from_str(&link).unwrap();
        let bytes = |way: &str| links[0]["stats64"][way]["bytes"].as_f64().unwrap();
        bytes("rx") + bytes("tx")
    };
    std::thread::sleep(Duration::from_secs(5));
    let before = (said(), wire());
    std::thread::sleep(REST);
    let after = (said(), wire());
    assert_eq!(before.0.len(), after.0.len(), "another connection was made meanwhile");
    let rate = |bytes: f64| bytes / REST.as_secs_f64();
    let sum = |figures: &[f64]| figures.iter().sum::<f64>();
    say(&format!("a worker at rest: {:.0} bytes/s on its wire, of everything", rate(after.1 - before.1)));
    table.rates("an agent at rest, both ways", rate(sum(&after.0) - sum(&before.0)), Bar::AtMost(100.0));
}

/// All cores have twice as much to do as they can for a while: nobody may be taken for gone because of that.
fn busy(table: &mut Table) {
    let daemon = ["--metrics-addr", "127.0.0.1:9323"].map(str::to_owned);
    let Some(lab) = Lab::with(MACHINES, |_, options| Options { daemon: daemon.to_vec(), quiet: true, ..options })
    else {
        return;
    };
    lab.form(MACHINES, 0);
    lab.create_web(0, &["--replicas", "6"]);
    eventually("all run", SOON, || lab.places(0, "web").len() == 6);
    let places = lab.places(0, "web");
    let term = || {
        let page = eventually_some("numbers", SOON, || lab.hosts[0].get("http://127.0.0.1:9323/metrics"));
        let line = page.lines().find_map(|line| line.strip_prefix("rswarm_raft_term ").map(str::to_owned));
        line.unwrap().parse::<f64>().unwrap()
    };
    let before = term();
    let threads = 2 * std::thread::available_parallelism().unwrap().get();
    let end = Instant::now() + BUSY;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| while std::hint::black_box(Instant::now()) < end {});
        }
    });
    table.counts("elections while all cores are busy for three minutes", term() - before, Bar::AtMost(0.0));
    let moved = lab.places(0, "web").iter().zip(&places).filter(|(now, before)| now != before).count();
    table.counts("replicas moved meanwhile", moved as f64, Bar::AtMost(0.0));
}

/// A machine that does not lead is cut off.
fn node_lost(cluster: &dyn Cluster) -> Duration {
    let leader = cluster.leader();
    let lost = (leader + 1) % MACHINES;
    let loads = Loads { replicas: 6 };
    cluster.deploy(leader, &loads);
    let began = Instant::now();
    cluster.cut(lost, true);
    eventually("all replicas run elsewhere", SOON, || cluster.running(lost) == loads.replicas as usize);
    let took = began.elapsed();
    cluster.cut(lost, false);
    cluster.remove(cluster.leader());
    took
}

/// The machine that leads is cut off; another is asked until it has taken a write.
fn leader_lost(cluster: &dyn Cluster) -> Duration {
    let leader = cluster.leader();
    let other = (leader + 1) % MACHINES;
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("after-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let began = Instant::now();
    cluster.cut(leader, true);
    eventually("a write is taken", SOON, || cluster.write(other, &name));
    let took = began.elapsed();
    cluster.cut(leader, false);
    took
}

/// Many clients at once, and one after the other.
fn writes(ours: &Ours, swarm: Option<&dyn Cluster>, table: &mut Table) {
    let of = |cluster: &dyn Cluster, clients, count, name: &str| {
        configs(cluster.dialect(), &cluster.socket(cluster.leader()), clients, count, name)
    };
    let scaled = |took: Duration, count: usize| took * WRITES as u32 / count as u32;
    let mine = scaled(of(ours, CLIENTS, WRITES, "many").0, WRITES);
    let theirs: Vec<_> =
        swarm.iter().map(|swarm| scaled(of(*swarm, CLIENTS, WRITES_OF_PEER, "many").0, WRITES_OF_PEER)).collect();
    say(&format!("{CLIENTS} clients: {:.0} writes/s", WRITES as f64 / mine.as_secs_f64()));
    table.times(&format!("{WRITES} writes by {CLIENTS} clients"), &[mine], &theirs, Bar::AtMost(2000.0));
    let fsync = fsync(&ours.0.hosts[0].work());
    say(&format!("fsync of 4 KiB on this disk: {fsync:?}"));
    let single = |cluster: &dyn Cluster| percentile(of(cluster, 1, SINGLE_WRITES, "one").1);
    let theirs: Vec<_> = swarm.iter().map(|swarm| single(*swarm)).collect();
    table.times("one write at a time, 99 of 100 within", &[single(ours)], &theirs, Bar::AtMost(15.0));
}

/// The sample that 99 of 100 do not exceed.
fn percentile(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    say(&format!("{} samples: half within {:?}", samples.len(), samples[samples.len() / 2]));
    samples[samples.len() * 99 / 100]
}

/// The median of what it takes this disk to keep four kilobytes.
fn fsync(folder: &Path) -> Duration {
    let path = folder.join("fsync");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut samples: Vec<_> = (0..200)
        .map(|_| {
            std::io::Write::write_all(&mut file, &[0; 4096]).unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    samples.sort();
    samples[samples.len() / 2]
}

/// Our cluster.
struct Ours(Lab);

impl Cluster for Ours {
    fn leader(&self) -> usize {
        eventually_some("a manager leads", SOON, || {
            (0..MACHINES).find(|index| {
                // As the machine itself sees it: one that was cut off may not know yet who leads.
                let words = ["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"];
                self.0.hosts[*index].rswarm(words).lines().contains(&format!("host{} Leader", index + 1))
            })
        })
    }

    fn cut(&self, index: usize, cut: bool) {
        self.0.cut(index, cut);
        if !cut {
            self.0.all_ready(MACHINES);
        }
    }

    fn write(&self, by: usize, name: &str) -> bool {
        self.0.hosts[by].rswarm_with_input(["config", "create", name, "-"], b"a small write").succeeded()
    }

    fn deploy(&self, by: usize, loads: &Loads) {
        let host = &self.0.hosts[by];
        let file = host.write("stack.yaml", &loads.file());
        host.rswarm(["up", "-p", "s", "-f", &file]).ok();
    }

    fn remove(&self, by: usize) {
        self.0.hosts[by].rswarm(["down", "-p", "s"]).ok();
    }

    fn running(&self, besides: usize) -> usize {
        let lost = format!("host{}", besides + 1);
        let other = (besides + 1) % MACHINES;
        self.0.places(other, "s_web").into_iter().filter(|place| *place != lost).count()
    }

    fn socket(&self, index: usize) -> PathBuf {
        self.0.hosts[index].socket()
    }

    fn dialect(&self) -> Dialect {
        Dialect::Ours
    }
}
