//! A manager, its log, and hosts: time moves when it is told to.

use crate::host::Host;
use model::{Assignment, Node, NodeId, Request, RequestId, Response, State, Task, TaskId, TaskState, TaskStatus, Time};
use orchestrator::{Entry, Manager, ManagerInput, ManagerOutput, Snapshot};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Everything there is.
pub(crate) struct World {
    pub(crate) manager: Manager,
    pub(crate) now: Time,
    pub(crate) hosts: BTreeMap<NodeId, Host>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) log: Vec<Entry>,
    proposed: VecDeque<Entry>,
    replies: BTreeMap<RequestId, Response>,
    next_request: u128,
    /// Assignments that were sent.
    pub(crate) assignments: usize,
    /// Look at each rest whether it is one.
    checked: bool,
}

/// A machine with room.
pub(crate) fn node(number: u128) -> Node {
    Node {
        id: NodeId(number),
        hostname: format!("n{number}"),
        platform: "linux/amd64".to_owned(),
        labels: BTreeMap::new(),
        engine_labels: BTreeMap::new(),
        manager: true,
        availability: model::Availability::Active,
        ready: true,
        nano_cpus: 4_000_000_000,
        memory: 8 << 30,
        generic: BTreeMap::new(),
        host_routes: vec!["10.0.0.0/24".to_owned()],
        incarnation: 1,
        ..Node::new(NodeId(number), "")
    }
}

impl World {
    /// A leader without nodes.
    pub(crate) fn new(seed: u64) -> World {
        let mut world = World {
            manager: Manager::new(seed),
            now: Time(1_000_000),
            hosts: BTreeMap::new(),
            nodes: BTreeMap::new(),
            log: Vec::new(),
            proposed: VecDeque::new(),
            replies: BTreeMap::new(),
            next_request: 1,
            assignments: 0,
            checked: true,
        };
        world.tell(ManagerInput::Leading { term: 1 });
        world
    }

    /// The same without checks, to measure.
    pub(crate) fn unchecked(seed: u64) -> World {
        World { checked: false, ..World::new(seed) }
    }

    /// Whether each rest is looked at.
    pub(crate) fn check(&mut self, checked: bool) {
        self.checked = checked;
    }

    /// It leads again, with the nodes that are there.
    pub(crate) fn lead_again(&mut self) {
        self.tell(ManagerInput::Leading { term: 2 });
        let here: Vec<Node> = self
            .nodes
            .values()
            .filter(|node| self.hosts.get(&node.id).is_some_and(|host| !host.silent))
            .cloned()
            .collect();
        here.into_iter().for_each(|node| self.join(node));
    }

    pub(crate) fn tell(&mut self, input: ManagerInput) {
        self.manager.handle(self.now, input);
    }

    /// A node joins, or joins again.
    pub(crate) fn join(&mut self, node: Node) {
        let id = node.id;
        self.hosts.entry(id).or_default().tell_all();
        self.nodes.insert(id, node.clone());
        self.tell(ManagerInput::SessionUp(Box::new(node)));
        self.settle();
    }

    /// Asks, and lets everything settle that does so without time.
    pub(crate) fn ask(&mut self, request: Request) -> Response {
        let id = self.post(request);
        self.settle();
        self.replies.get(&id).cloned().unwrap_or_else(|| panic!("no answer to {id}"))
    }

    /// The same with an id of one's own.
    pub(crate) fn ask_as(&mut self, id: RequestId, request: Request) -> Response {
        self.replies.remove(&id);
        self.tell(ManagerInput::Request(id, Box::new(request)));
        self.settle();
        self.replies.get(&id).cloned().unwrap_or_else(|| panic!("no answer to {id}"))
    }

    /// The answer, if there is one.
    pub(crate) fn reply(&self, id: RequestId) -> Option<&Response> {
        self.replies.get(&id)
    }

    /// What is proposed next never gets into the log.
    pub(crate) fn lose_proposal(&mut self) -> u64 {
        while self.turn() {}
        self.proposed.pop_front().expect("a proposal").ticket
    }

    /// Asks only.
    pub(crate) fn post(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.tell(ManagerInput::Request(id, Box::new(request)));
        id
    }

    /// Polls the manager once; is there more?
    fn turn(&mut self) -> bool {
        let Some(output) = self.manager.poll() else { return false };
        match output {
            ManagerOutput::Propose { entry, .. } => {
                // What is in the log is what was written.
                let written = serde_json::to_vec(&entry).expect("entries can be written");
                let read: Entry = serde_json::from_slice(&written).expect("and read");
                assert_eq!(read, *entry);
                self.proposed.push_back(read);
            }
            ManagerOutput::Reply(id, response) => drop(self.replies.insert(id, *response)),
            ManagerOutput::Assign(assignment) => {
                self.assignments += 1;
                let now = self.now;
                if let Some(host) = self.hosts.get_mut(&assignment.node)
                    && !host.silent
                {
                    host.assign(now, assignment);
                }
            }
            ManagerOutput::Changed { .. } => {}
        }
        true
    }

    /// Until nothing happens without time.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            while self.turn() {}
            if let Some(entry) = self.proposed.pop_front() {
                self.log.push(entry.clone());
                self.tell(ManagerInput::Committed(Box::new(entry)));
                continue;
            }
            let reports: Vec<_> =
                self.hosts.iter_mut().filter_map(|(id, host)| Some((*id, Box::new(host.report()?)))).collect();
            assert_eq!(self.manager.take_refused(), Vec::<String>::new());
            if reports.is_empty() {
                return self.check_rest();
            }
            for (id, report) in reports {
                self.tell(ManagerInput::Report(id, report));
            }
        }
        panic!("it never comes to rest");
    }

    /// At rest it stays at rest: nothing is proposed until it said it would wake.
    fn check_rest(&mut self) {
        if !self.checked {
            return;
        }
        let before = self.manager.next_wake();
        let last = before.map_or(self.now.after(Duration::from_secs(3600)), |wake| Time(wake.0 - 1));
        for at in [self.now, Time(self.now.0.midpoint(last.0)), last] {
            if at < self.now {
                continue;
            }
            // A copy is asked, for the real one can't be told that time has passed when it has not.
            let mut copy = self.copy();
            copy.handle(at, ManagerInput::Tick);
            while let Some(output) = copy.poll() {
                match output {
                    ManagerOutput::Propose { entry, .. } => {
                        panic!("it was at rest at {:?} until {before:?}, but at {at:?}: {entry:#?}", self.now)
                    }
                    ManagerOutput::Assign(whole) => self.check_told(*whole),
                    ManagerOutput::Reply(..) | ManagerOutput::Changed { .. } => {}
                }
            }
        }
    }

    /// What a node was told, bit by bit, is what a leader that knows only the state tells it.
    fn check_told(&self, mut whole: Assignment) {
        let Some(host) = self.hosts.get(&whole.node).filter(|host| !host.silent) else { return };
        let mut told = (**host.assignment.as_ref().expect("every host was told")).clone();
        told.generation = whole.generation;
        for assigned in whole.tasks.values_mut().chain(told.tasks.values_mut()) {
            let task = Arc::make_mut(&mut assigned.task);
            let (attempt, state) = (0, TaskState::New);
            task.status = TaskStatus { attempt, state, since: Time(0), message: String::new(), container: None };
        }
        assert_eq!(told, whole, "what a node was told is out of date");
    }

    /// Another member that leads, made from a snapshot.
    fn copy(&self) -> Manager {
        let text = serde_json::to_vec(&self.manager.snapshot()).expect("snapshots can be written");
        let read: Snapshot = serde_json::from_slice(&text).expect("and read");
        let mut copy = Manager::new(9);
        copy.restore(read);
        assert_eq!(copy.snapshot(), self.manager.snapshot(), "a snapshot holds everything");
        copy.handle(self.now, ManagerInput::Leading { term: 2 });
        for (id, node) in &self.nodes {
            if self.hosts.get(id).is_some_and(|host| !host.silent) {
                copy.handle(self.now, ManagerInput::SessionUp(Box::new(node.clone())));
            }
        }
        copy
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        loop {
            let hosts = self.hosts.values().filter_map(Host::next_wake);
            let next = hosts.chain(self.manager.next_wake()).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            assert!(
                next > self.now || self.manager.next_wake().is_none_or(|wake| wake > self.now),
                "time stands still"
            );
            self.now = self.now.max(next);
            let now = self.now;
            self.hosts.values_mut().for_each(|host| host.tick(now));
            self.tell(ManagerInput::Tick);
            self.settle();
        }
        self.now = end;
        self.tell(ManagerInput::Tick);
        self.settle();
    }

    /// A node goes silent.
    pub(crate) fn cut(&mut self, id: NodeId) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.silent = true;
        }
        self.tell(ManagerInput::SessionLost(id));
        self.settle();
    }

    pub(crate) fn state(&self) -> State {
        self.manager.state(self.now)
    }

    /// The task that holds a slot now: `web.1`, or the name of a container.
    pub(crate) fn task(&self, name: &str) -> Option<Arc<Task>> {
        let state = self.state();
        let mut tasks: Vec<_> =
            state.tasks.into_iter().filter(|task| short(task) == name || task.name() == name).collect();
        tasks.sort_by_key(|task| (task.desired <= model::Desired::Running, task.created, task.id));
        tasks.pop()
    }

    pub(crate) fn host_of(&mut self, task: TaskId) -> Option<&mut Host> {
        let state = self.state();
        let node = state.tasks.iter().find(|candidate| candidate.id == task)?.node?;
        self.hosts.get_mut(&node)
    }
}

/// `web.1`.
pub(crate) fn short(task: &Task) -> String {
    match task.node {
        _ if task.spec.standalone => task.spec.name.clone(),
        Some(node) if task.slot == 0 => format!("{}@n{}", task.spec.key, node.0),
        _ => format!("{}.{}", task.spec.key, task.slot),
    }
}
