//! A host as a value: does what the agent asks for, at once or when the test says so.

use model::*;
use node_agent::{Agent, AgentInput, AgentOutput, Effect, EffectError, EffectId, Ledger, NetFault, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const NODE: NodeId = NodeId(1);
pub(crate) const NET: NetworkId = NetworkId(7);

/// An agent, its clock and its host.
pub(crate) struct Rig {
    pub(crate) agent: Agent,
    pub(crate) now: Time,
    pub(crate) order: Assignment,
    /// Effects that were asked for and not answered.
    pub(crate) open: Vec<(EffectId, Effect)>,
    /// Everything that was asked for, as words.
    pub(crate) said: Vec<String>,
    /// Reports in the order that they were sent.
    pub(crate) reports: Vec<AgentReport>,
    /// The newest status of each task.
    pub(crate) told: BTreeMap<TaskId, TaskReport>,
    pub(crate) ledger: Option<Box<Ledger>>,
    pub(crate) ledgers: usize,
    pub(crate) image_health: Option<HealthCheck>,
    pub(crate) faults: Vec<NetFault>,
    pid: u32,
}

impl Rig {
    /// A fresh host with a manager that listens.
    pub(crate) fn new() -> Rig {
        Rig::on(Vec::new(), None)
    }

    /// A host that has these containers.
    pub(crate) fn on(observed: Vec<Observed>, ledger: Option<Box<Ledger>>) -> Rig {
        let mut rig = Rig::silent(observed, ledger);
        rig.input(AgentInput::SessionUp);
        rig
    }

    /// The same, and no manager in sight.
    pub(crate) fn silent(observed: Vec<Observed>, ledger: Option<Box<Ledger>>) -> Rig {
        let mut rig = Rig {
            agent: Agent::new(NODE, 1),
            now: Time(1_000_000),
            order: assignment(),
            open: Vec::new(),
            said: Vec::new(),
            reports: Vec::new(),
            told: BTreeMap::new(),
            ledger: None,
            ledgers: 0,
            image_health: None,
            faults: Vec::new(),
            pid: 100,
        };
        rig.input(AgentInput::Found { observed, ledger });
        rig
    }

    pub(crate) fn input(&mut self, input: AgentInput) {
        self.agent.handle(self.now, input);
        while let Some(output) = self.agent.poll() {
            match output {
                AgentOutput::Do(id, effect) => {
                    self.said.push(words(&effect));
                    self.open.push((id, *effect));
                }
                AgentOutput::Report(report) => {
                    for task in &report.tasks {
                        self.told.insert(task.task, task.clone());
                    }
                    self.reports.push(report);
                }
                AgentOutput::Remember(number, ledger) => {
                    self.ledger = Some(ledger);
                    self.ledgers += 1;
                    self.agent.handle(self.now, AgentInput::Remembered(number));
                }
            }
        }
        if let Some(wake) = self.agent.next_wake() {
            assert!(wake > self.now || !self.open.is_empty(), "it wants to wake at {wake:?}, which is not ahead");
        }
    }

    /// Hands over the order as it is now, under a newer generation.
    pub(crate) fn assign(&mut self) {
        self.order.generation.revision += 1;
        self.input(AgentInput::Assignment(Box::new(self.order.clone())));
    }

    /// Changes a task of the order.
    pub(crate) fn change(&mut self, id: TaskId, change: impl FnOnce(&mut Task)) {
        if let Some(assigned) = self.order.tasks.get_mut(&id) {
            let mut task = Task::clone(&assigned.task);
            change(&mut task);
            assigned.task = Arc::new(task);
        }
    }

    /// Answers the first open effect whose words begin so.
    pub(crate) fn answer(&mut self, begin: &str, result: Result<Outcome, EffectError>) -> Effect {
        let at = self.open.iter().position(|(_, effect)| words(effect).starts_with(begin));
        let at = at.unwrap_or_else(|| panic!("no open effect `{begin}` among {:?}", self.open_words()));
        let (id, effect) = self.open.remove(at);
        self.input(AgentInput::Done(id, result));
        effect
    }

    /// Lets the host do everything that is asked for, and what follows, at this instant.
    pub(crate) fn work(&mut self) {
        while !self.open.is_empty() {
            let (id, effect) = self.open.remove(0);
            let result = self.succeed(&effect);
            self.input(AgentInput::Done(id, result));
        }
    }

    /// The result of an effect on a host where all goes well.
    pub(crate) fn succeed(&mut self, effect: &Effect) -> Result<Outcome, EffectError> {
        Ok(match effect {
            Effect::Prepare(_) => Outcome::Prepared { healthcheck: self.image_health.clone() },
            Effect::EnsureNet(_) => Outcome::Net { faults: self.faults.clone(), settles: Duration::ZERO },
            Effect::CreateAndStart(_) | Effect::Start(_) => {
                self.pid += 1;
                Outcome::Started { pid: self.pid, started_at: self.now }
            }
            Effect::WriteHosts(_) => Outcome::HostsWritten,
            Effect::Stop { .. } => Outcome::Stopped(Some(self.exit(143))),
            Effect::Remove { .. } => Outcome::Removed,
            Effect::Probe { .. } => Outcome::Probed { start: self.now, exit_code: 0, output: String::new() },
            Effect::RemoveVolume(_) => Outcome::VolumeRemoved,
        })
    }

    /// An ending now, of a run that began a second ago.
    pub(crate) fn exit(&self, code: i32) -> Exit {
        Exit { code, oom_killed: false, started_at: Time(self.now.0 - 1), finished_at: self.now }
    }

    /// The container of a task ends by itself.
    pub(crate) fn dies(&mut self, id: TaskId, code: i32) {
        let started_at = self.told[&id].status.container.as_ref().and_then(|it| it.started_at).unwrap_or(self.now);
        let exit = Exit { code, oom_killed: false, started_at, finished_at: self.now };
        let attempt = self.order.tasks[&id].task.attempt;
        self.input(AgentInput::Exited { task: id, attempt, exit });
    }

    /// Lets time pass, waking the agent whenever it wants; effects stay open.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(wake) = self.agent.next_wake().filter(|wake| *wake <= end) {
            self.now = wake.max(self.now);
            self.input(AgentInput::Tick);
        }
        self.now = end;
    }

    /// Lets time pass with a host that does all at once.
    pub(crate) fn live(&mut self, time: Duration) {
        let end = self.now.after(time);
        self.work();
        while let Some(wake) = self.agent.next_wake().filter(|wake| *wake <= end) {
            self.now = wake.max(self.now);
            self.input(AgentInput::Tick);
            self.work();
        }
        self.now = end;
    }

    /// The newest network value that is asked for and not answered.
    pub(crate) fn asked(&self) -> HostNet {
        let net = self.open.iter().rev().find_map(|(_, effect)| match effect {
            Effect::EnsureNet(net) => Some(HostNet::clone(net)),
            _ => None,
        });
        net.expect("a network value is asked for")
    }

    pub(crate) fn open_words(&self) -> Vec<String> {
        self.open.iter().map(|(_, effect)| words(effect)).collect()
    }

    /// What was asked for since the last call.
    pub(crate) fn words(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    pub(crate) fn state(&self, id: TaskId) -> TaskState {
        self.told[&id].status.state
    }

    pub(crate) fn message(&self, id: TaskId) -> &str {
        &self.told[&id].status.message
    }

    pub(crate) fn container(&self, id: TaskId) -> &ContainerStatus {
        self.told[&id].status.container.as_ref().unwrap_or_else(|| panic!("{id} has no container"))
    }
}

/// What the /etc/hosts of the container of a task says, as the rig's tasks have their addresses.
pub(crate) fn lines(task: u128) -> Vec<(IpAddr, Vec<String>)> {
    vec![(IpAddr::from([10, 0, 1, u8::try_from(task).unwrap()]), vec![TaskId(task).short()])]
}

/// An effect in a word or two.
pub(crate) fn words(effect: &Effect) -> String {
    match effect {
        Effect::Prepare(prepare) => format!("prepare {}", prepare.task.0),
        Effect::EnsureNet(net) => {
            let ids: Vec<String> = net.endpoints.keys().map(|id| id.0.to_string()).collect();
            let ports: BTreeSet<String> =
                net.ports.iter().map(|port| format!("{}x{}", port.host_port, port.backends.len())).collect();
            let ports: Vec<String> = ports.into_iter().collect();
            format!("net [{}] [{}]", ids.join(" "), ports.join(" "))
        }
        Effect::CreateAndStart(launch) => format!("create {}", launch.task.0),
        Effect::Start(launch) => format!("start {} restarts={}", launch.task.0, launch.restarts),
        Effect::WriteHosts(write) => {
            let lines: Vec<String> = write.hosts.lines.iter().map(|(address, _)| address.to_string()).collect();
            format!("hosts {} [{}]", write.task.0, lines.join(" "))
        }
        Effect::Stop { task, signal, grace, receives, sends } => {
            let first = match (receives, sends) {
                (true, true) => " drained",
                (true, false) => " receives",
                _ => "",
            };
            format!("stop {} {} {}{first}", task.0, signal.as_deref().unwrap_or("-"), grace.as_secs())
        }
        Effect::Remove { task, volumes } => format!("remove {} volumes={volumes}", task.0),
        Effect::Probe { task, .. } => format!("probe {}", task.0),
        Effect::RemoveVolume(name) => format!("rmvolume {name}"),
    }
}

pub(crate) fn assignment() -> Assignment {
    Assignment {
        networks: BTreeMap::from([(NET, network())]),
        ..Assignment::empty(Generation { term: 1, revision: 1 }, NODE)
    }
}

fn network() -> Network {
    Network {
        id: NET,
        spec: NetworkSpec { name: "shop_default".to_owned(), ..NetworkSpec::default() },
        vni: 256,
        subnet: Subnet::parse("10.0.1.0/24").unwrap(),
        gateway: [10, 0, 1, 1].into(),
        subnet6: None,
        gateway6: None,
        created: Time::default(),
    }
}

pub(crate) fn service() -> ServiceSpec {
    ServiceSpec {
        name: "shop_web".to_owned(),
        key: "web".to_owned(),
        stack: Some("shop".to_owned()),
        standalone: false,
        labels: BTreeMap::new(),
        mode: Mode::Replicated { replicas: 1 },
        container: ContainerSpec { image: "web:1".to_owned(), ..ContainerSpec::default() },
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

pub(crate) fn in_place(condition: RestartCondition, max_attempts: Option<u32>) -> RestartPolicy {
    RestartPolicy {
        condition,
        scope: RestartScope::InPlace,
        delay: Duration::ZERO,
        max_attempts,
        window: Duration::ZERO,
    }
}

/// A task with one address, `10.0.1.ID`.
pub(crate) fn task(id: u128, spec: &ServiceSpec) -> AssignedTask {
    let last = u8::try_from(id % 250).unwrap();
    let task = Task {
        id: TaskId(id),
        service: ServiceId(1),
        slot: 1,
        spec: Arc::new(spec.clone()),
        spec_version: 1,
        node: Some(NODE),
        desired: Desired::Running,
        attempt: 1,
        stopped_by_user: false,
        stop_signal: None,
        stop_timeout: None,
        endpoints: vec![Endpoint {
            network: NET,
            address: [10, 0, 1, last].into(),
            address6: None,
            mac: None,
            aliases: Vec::new(),
            interface: None,
        }],
        status: TaskStatus {
            attempt: 1,
            state: TaskState::Assigned,
            since: Time(0),
            message: String::new(),
            container: None,
        },
        created: Time(0),
        not_before: Time(0),
        restarts: Vec::new(),
        remove_volumes: false,
        inherits: None,
    };
    let ports = spec.ports.clone();
    AssignedTask { name: task.name(), task: Arc::new(task), ports, joins: None }
}

pub(crate) fn port(target: u16, published: u16) -> PortSpec {
    PortSpec {
        target,
        published: Some(published),
        published_range: None,
        host_ip: None,
        protocol: Protocol::Tcp,
        mode: PortMode::Ingress,
    }
}

impl Rig {
    /// Adds a task to the order.
    pub(crate) fn add(&mut self, id: u128, spec: &ServiceSpec) -> TaskId {
        self.order.tasks.insert(TaskId(id), task(id, spec));
        TaskId(id)
    }

    /// A host where one task runs.
    pub(crate) fn running(spec: &ServiceSpec) -> (Rig, TaskId) {
        let mut rig = Rig::new();
        let id = rig.add(1, spec);
        rig.assign();
        rig.live(Duration::from_secs(1));
        assert_eq!(rig.state(id), TaskState::Running);
        rig.words();
        (rig, id)
    }
}
