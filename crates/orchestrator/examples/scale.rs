//! What the brain costs against the size of the cluster, on one core:
//! `cargo run --release -p orchestrator --example scale [TASKS NODES]...`.
//!
//! Each line is a cluster of services with a hundred tasks each, two services to a network, and one service
//! on every node. `place`: from the request to the proposal that makes and places every task. `told`: that
//! proposal becomes state and every node gets its assignment. `rest`: a plan when nothing has happened.
//! `lost`: from the silence of a node that is up until its tasks are placed elsewhere; `after`: that becomes
//! state and everybody is told. `bytes`: of a snapshot, by task. `MiB`: what the process has in memory when all runs,
//! the agents' copies among it; of one size alone, or it has what is left of the sizes before. Times are those on the
//! processor.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "it measures and prints"
)]

use model::*;
use orchestrator::{Entry, Manager, ManagerInput, ManagerOutput};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const REPLICAS: u32 = 100;

fn main() {
    let words: Vec<u32> = std::env::args().skip(1).map(|word| word.parse().expect("a number")).collect();
    let named: Vec<(u32, u128)> = words.chunks_exact(2).map(|size| (size[0], u128::from(size[1]))).collect();
    let usual = vec![(1_000, 10), (10_000, 100), (30_000, 300), (100_000, 1_000)];
    let sizes = if named.is_empty() { usual } else { named };
    println!(
        "{:>8} {:>6} {:>10} {:>10} {:>10} {:>10} {:>10} {:>6} {:>6}",
        "tasks", "nodes", "place", "told", "rest", "lost", "after", "bytes", "MiB"
    );
    for (tasks, nodes) in sizes {
        measure(tasks, nodes);
    }
}

/// Time on the processor, where the kernel tells (in steps of a tick): others may use the machine too.
fn spent() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let (start, before) = (Instant::now(), spent());
    let result = work();
    let on_cpu = before.and_then(|before| Some(spent()?.saturating_sub(before)));
    (result, on_cpu.unwrap_or_else(|| start.elapsed()))
}

/// Memory of this process in MiB, where the kernel tells.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn measure(tasks: u32, nodes: u128) {
    let mut lab = Lab::new(nodes);
    let (entry, place) = timed(|| lab.decide(ManagerInput::Request(RequestId(1), Box::new(deploy(tasks)))));
    let ((), told) = timed(|| lab.commit(entry));
    lab.run_all();
    let resident = resident();
    let rounds = 30;
    let ((), rest) = timed(|| {
        for _ in 0..rounds {
            lab.manager.handle(lab.now, ManagerInput::Tick);
            assert!(lab.manager.poll().is_none(), "at rest");
        }
    });
    let snapshot = serde_json::to_vec(&lab.manager.snapshot()).map_or(0, |text| text.len());
    let count = lab.manager.state(lab.now).tasks.len();
    lab.manager.handle(lab.now, ManagerInput::SessionLost(NodeId(1)));
    lab.drain();
    lab.now = lab.now.after(Duration::from_secs(4));
    let (entry, lost) = timed(|| lab.decide(ManagerInput::Tick));
    let ((), after) = timed(|| lab.commit(entry));
    println!(
        "{count:>8} {nodes:>6} {place:>10.2?} {told:>10.2?} {:>10.2?} {lost:>10.2?} {after:>10.2?} {:>6} {resident:>6}",
        rest / rounds,
        snapshot / count.max(1)
    );
}

/// A manager, and agents that do at once what they are told.
struct Lab {
    manager: Manager,
    now: Time,
    told: BTreeMap<NodeId, Box<Assignment>>,
    proposed: Option<Box<Entry>>,
}

impl Lab {
    fn new(nodes: u128) -> Lab {
        let mut lab = Lab { manager: Manager::new(7), now: Time(1_000_000), told: BTreeMap::new(), proposed: None };
        lab.manager.handle(lab.now, ManagerInput::Leading { term: 1 });
        for number in 1..=nodes {
            lab.manager.handle(lab.now, ManagerInput::SessionUp(Box::new(node(number))));
        }
        lab.drain();
        lab
    }

    /// Lets the manager do what it wants; its proposal is kept.
    fn drain(&mut self) {
        while let Some(output) = self.manager.poll() {
            match output {
                ManagerOutput::Propose { entry, .. } => self.proposed = Some(entry),
                ManagerOutput::Assign(assignment) => drop(self.told.insert(assignment.node, assignment)),
                ManagerOutput::Reply(..) | ManagerOutput::Changed { .. } => {}
            }
        }
    }

    fn decide(&mut self, input: ManagerInput) -> Box<Entry> {
        if let Some(entry) = self.proposed.take() {
            self.commit(entry);
        }
        self.manager.handle(self.now, input);
        self.drain();
        self.proposed.take().expect("something is decided")
    }

    fn commit(&mut self, entry: Box<Entry>) {
        self.manager.handle(self.now, ManagerInput::Committed(entry));
        self.drain();
    }

    /// Every task comes to run.
    fn run_all(&mut self) {
        let reports: Vec<_> =
            self.told.iter().map(|(node, assignment)| (*node, report(self.now, assignment))).collect();
        for (node, report) in reports {
            self.manager.handle(self.now, ManagerInput::Report(node, Box::new(report)));
        }
        self.drain();
        while let Some(entry) = self.proposed.take() {
            self.commit(entry);
        }
    }
}

fn report(now: Time, assignment: &Assignment) -> AgentReport {
    let container = ContainerStatus {
        state: ContainerState::Running,
        pid: 1,
        exit_code: None,
        oom_killed: false,
        restart_count: 0,
        started_at: Some(now),
        finished_at: None,
        health: None,
        ports: BTreeMap::new(),
    };
    let status = TaskStatus {
        attempt: 1,
        state: TaskState::Running,
        since: now,
        message: String::new(),
        container: Some(container),
    };
    let tasks = assignment.tasks.keys();
    let tasks = tasks.map(|task| TaskReport { task: *task, status: status.clone(), removed: false });
    AgentReport { tasks: tasks.collect(), ..AgentReport::default() }
}

fn node(number: u128) -> Node {
    Node {
        id: NodeId(number),
        hostname: format!("n{number}"),
        platform: "linux/amd64".to_owned(),
        labels: BTreeMap::new(),
        engine_labels: BTreeMap::from([("rack".to_owned(), format!("r{}", number % 10))]),
        manager: number <= 5,
        availability: Availability::Active,
        ready: true,
        nano_cpus: 64_000_000_000,
        memory: 256 << 30,
        generic: BTreeMap::new(),
        host_routes: vec!["192.168.0.0/16".to_owned()],
        incarnation: 1,
        ..Node::new(NodeId(number), "")
    }
}

fn deploy(tasks: u32) -> Request {
    let mut stack = StackSpec { name: "big".to_owned(), ..StackSpec::default() };
    for number in 0..tasks / REPLICAS {
        let net = format!("big_net{}", number / 2);
        let spec = NetworkSpec { name: net.clone(), stack: Some("big".to_owned()), ..NetworkSpec::default() };
        stack.networks.insert(net.clone(), spec);
        let mut spec = service(&format!("web{number}"), Mode::Replicated { replicas: REPLICAS });
        spec.networks.push(NetworkAttachment { network: net, ..NetworkAttachment::default() });
        spec.resources.reserve_memory = Some(128 << 20);
        if number % 2 == 0 {
            spec.placement.constraints.push("node.platform.os == linux".to_owned());
        }
        if number % 10 == 0 {
            spec.placement.spread.push("engine.labels.rack".to_owned());
        }
        stack.services.insert(spec.name.clone(), spec);
    }
    let mut agent = service("agent", Mode::Global);
    agent.network_mode = NetworkMode::Host;
    stack.services.insert(agent.name.clone(), agent);
    Request::Deploy { stack: Box::new(stack), remove_orphans: false, force_recreate: false }
}

fn service(key: &str, mode: Mode) -> ServiceSpec {
    ServiceSpec {
        name: format!("big_{key}"),
        key: key.to_owned(),
        stack: Some("big".to_owned()),
        standalone: false,
        labels: BTreeMap::new(),
        mode,
        container: ContainerSpec { image: "app:1".to_owned(), ..ContainerSpec::default() },
        restart: RestartPolicy::SWARM,
        resources: Resources::default(),
        placement: Placement::default(),
        update: UpdateConfig::default(),
        rollback: UpdateConfig::default(),
        networks: Vec::new(),
        network_mode: NetworkMode::Networks,
        ports: Vec::new(),
        exposed: Default::default(),
        endpoint_mode: EndpointMode::Vip,
        depends_on: BTreeMap::new(),
    }
}
