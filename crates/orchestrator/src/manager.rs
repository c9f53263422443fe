//! Cluster, sessions and requests as one machine: inputs in, proposals, answers and assignments out.

mod flight;
mod view;

use crate::apply::{Outcome, apply};
use crate::assign::Desk;
use crate::cluster::{Brief, Cluster, TaskExt as _};
use crate::draft::Draft;
use crate::entry::Entry;
use crate::explain::Wait;
use crate::plan::liveness::Liveness;
use crate::snapshot::Snapshot;
use crate::{observe, plan, request};
use flight::{Flight, Inbox};
use model::{
    AgentReport, Assignment, ClusterInfo, Ids, Logins, Node, NodeId, Request, RequestId, Response, Source, State,
    TaskId, TaskState, Time,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What can happen to a manager.
#[derive(Debug, Clone, PartialEq)]
pub enum ManagerInput {
    /// This member leads and has seen all that was committed before.
    Leading {
        /// Its term.
        term: u64,
    },
    /// It does not lead (any more): requests that wait are answered by nobody here.
    Following,
    /// An entry of the log, in order; the same on every member, and again after a restart.
    Committed(Box<Entry>),
    /// A proposal was not taken, or was lost to another leader.
    Lost(u64),
    /// A client asks. For [`Request::Read`] the driver has made sure that this member leads.
    Request(RequestId, Box<Request>),
    /// A node's agent is connected; also said again when what it tells of the machine changes.
    SessionUp(Box<Node>),
    /// Its connection is gone.
    SessionLost(NodeId),
    /// Nothing was heard of it for so long that its session was given up.
    SessionSilent(NodeId),
    /// It tells.
    Report(NodeId, Box<AgentReport>),
    /// The time of [`Manager::next_wake`] has come.
    Tick,
}

/// What a manager asks of its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum ManagerOutput {
    /// Put this into the log; `Committed` or `Lost` answers.
    Propose {
        /// Mark for `Lost`.
        ticket: u64,
        /// What.
        entry: Box<Entry>,
    },
    /// Answer a client.
    Reply(RequestId, Box<Response>),
    /// Tell a node what it should do.
    Assign(Box<Assignment>),
    /// The state that clients see has changed.
    Changed {
        /// Its revision.
        revision: u64,
    },
}

/// How long requests are held back while no node has said yet which routes its host has: address pools
/// keep away from those.
const PATIENCE: Duration = Duration::from_secs(3);

/// The manager of one member. One entry is under way at a time: what comes meanwhile is decided
/// together, upon the state that the entry leaves, so that nothing is ever decided upon a guess.
#[derive(Debug)]
pub struct Manager {
    cluster: Cluster,
    ids: Ids,
    now: Time,
    /// Term and begin, while leading.
    leading: Option<(u64, Time)>,
    /// Connected agents, as they describe their machines.
    sessions: BTreeMap<NodeId, Node>,
    liveness: Liveness,
    inbox: Inbox,
    flight: Option<Flight>,
    ticket: u64,
    /// Something has happened since the last plan.
    undecided: bool,
    /// The state has changed since assignments were made.
    unassigned: bool,
    wake: Option<Time>,
    waits: BTreeMap<TaskId, Wait>,
    desk: Desk,
    outbox: VecDeque<ManagerOutput>,
    /// Facts that could not be.
    refused: Vec<String>,
}

impl Manager {
    /// One that has seen nothing. `seed`: where ids are drawn from.
    pub fn new(seed: u64) -> Manager {
        Manager {
            cluster: Cluster::default(),
            ids: Ids::new(seed),
            now: Time(0),
            leading: None,
            sessions: BTreeMap::new(),
            liveness: Liveness::default(),
            inbox: Inbox::default(),
            flight: None,
            ticket: 0,
            undecided: false,
            unassigned: false,
            wake: None,
            waits: BTreeMap::new(),
            desk: Desk::default(),
            outbox: VecDeque::new(),
            refused: Vec::new(),
        }
    }

    /// The replicated state, to cut the log with.
    pub fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::from(&self.cluster);
        debug_assert!(Cluster::from(snapshot.clone()) == self.cluster, "indexes say what tasks say");
        snapshot
    }

    /// Begins from a snapshot, in place of all that was.
    pub fn restore(&mut self, snapshot: Snapshot) {
        self.cluster = Cluster::from(snapshot);
        self.undecided = true;
        self.unassigned = true;
        self.desk.clear();
        self.outbox.push_back(ManagerOutput::Changed { revision: self.cluster.revision });
    }

    /// What clients may see, with reasons for what waits.
    pub fn state(&self, now: Time) -> State {
        match self.leads() {
            true => view::state(&self.cluster, &self.waits, now),
            false => view::state(&self.cluster, &self.would_find(now), now),
        }
    }

    /// Why tasks wait, for a member that does not lead: what it would find if it did.
    fn would_find(&self, now: Time) -> BTreeMap<TaskId, Wait> {
        let waits = |task: &Brief| task.is_live() && task.state < TaskState::Running;
        if !self.cluster.services.keys().any(|service| self.cluster.briefs_of(*service).any(waits)) {
            return BTreeMap::new();
        }
        let mut ids = Ids::new(0);
        let mut draft = Draft::new(&self.cluster, now, &mut ids);
        plan::plan(&mut draft, &Liveness::default());
        draft.waits
    }

    /// Does this member lead?
    pub fn leads(&self) -> bool {
        self.leading.is_some()
    }

    /// Sources with their credentials, for whoever fetches.
    pub fn sources(&self) -> Vec<Arc<Source>> {
        self.cluster.sources.values().cloned().collect()
    }

    /// The logins of registries that are kept with the services of a stack.
    pub fn logins(&self, stack: &str) -> Logins {
        request::logins::of_stack(&self.cluster, stack)
    }

    /// The managers that there should be, with their numbers in the group; empty on a machine of its own.
    pub fn managers(&self) -> Vec<(NodeId, u64)> {
        if self.cluster.info.is_none() {
            return Vec::new();
        }
        let nodes = self.cluster.nodes.values().filter(|node| node.manager && !node.left);
        nodes.filter_map(|node| Some((node.id, node.member?))).collect()
    }

    /// What this cluster is, with its secrets; `None` on a machine of its own.
    pub fn cluster_info(&self) -> Option<Arc<ClusterInfo>> {
        self.cluster.info.clone()
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Time, input: ManagerInput) {
        self.now = self.now.max(now);
        match input {
            ManagerInput::Leading { term } => self.lead(term),
            ManagerInput::Following => self.follow(),
            ManagerInput::Committed(entry) => self.committed(&entry),
            ManagerInput::Lost(ticket) => self.lost(ticket),
            ManagerInput::Request(id, request) => self.request(id, request),
            ManagerInput::SessionUp(node) => {
                self.liveness.up(node.id);
                self.desk.forget(node.id);
                self.sessions.insert(node.id, *node);
                self.unassigned = true;
            }
            ManagerInput::SessionLost(node) => {
                self.liveness.down(node, self.now);
                self.session_over(node);
            }
            ManagerInput::SessionSilent(node) => {
                self.liveness.silent(node, self.now);
                self.session_over(node);
            }
            ManagerInput::Report(node, report) => {
                if let Some(generation) = report.network {
                    self.unassigned |= self.desk.follows(&self.cluster, node, generation);
                    if report.tasks.is_empty() && report.volumes_removed.is_empty() {
                        return;
                    }
                }
                self.inbox.report(node, *report);
            }
            ManagerInput::Tick => {}
        }
        self.undecided = true;
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll(&mut self) -> Option<ManagerOutput> {
        if self.outbox.is_empty()
            && let Some((term, since)) = self.leading
        {
            self.assign(term);
            if self.undecided && self.flight.is_none() {
                self.decide(term, since);
            }
        }
        self.outbox.pop_front()
    }

    /// Facts of committed entries that were refused since the last call, which is a bug of ours: for the log.
    pub fn take_refused(&mut self) -> Vec<String> {
        std::mem::take(&mut self.refused)
    }

    /// When it wants a [`ManagerInput::Tick`], if nothing else happens.
    pub fn next_wake(&self) -> Option<Time> {
        self.wake.filter(|_| self.leading.is_some() && self.flight.is_none())
    }

    fn lead(&mut self, term: u64) {
        self.put_back();
        self.leading = Some((term, self.now));
        self.liveness.begin(self.cluster.nodes.keys().copied(), self.now);
        self.desk.clear();
        self.unassigned = true;
    }

    fn follow(&mut self) {
        self.put_back();
        self.leading = None;
        self.inbox.requests.clear();
        self.waits.clear();
        self.desk.clear();
    }

    fn session_over(&mut self, node: NodeId) {
        self.sessions.remove(&node);
        self.desk.forget(node);
        self.unassigned |= self.desk.lost(&self.cluster, node);
    }

    fn request(&mut self, id: RequestId, request: Box<Request>) {
        if let Some(answer) = self.cluster.answer(id) {
            self.outbox.push_back(ManagerOutput::Reply(id, Box::new((**answer).clone())));
            return;
        }
        let waits = self.inbox.requests.iter().chain(self.flight.iter().flat_map(|flight| &flight.inbox.requests));
        if !waits.into_iter().any(|(known, _)| *known == id) {
            self.inbox.requests.push_back((id, request));
        }
    }

    fn committed(&mut self, entry: &Entry) {
        let own = self.leading.is_some_and(|(term, _)| term == entry.term)
            && self.flight.as_ref().is_some_and(|flight| flight.ticket == entry.ticket);
        let follows = entry.base == self.cluster.revision;
        if follows && self.leading.is_some() {
            self.desk.note(&self.cluster, &entry.changes);
        }
        match apply(&mut self.cluster, entry) {
            Outcome::Applied(refused) => {
                if self.leading.is_some() {
                    self.desk.note(&self.cluster, &entry.changes);
                }
                self.refused.extend(refused);
                self.unassigned = true;
                self.outbox.push_back(ManagerOutput::Changed { revision: self.cluster.revision });
                if own {
                    self.flight = None;
                    for (id, response) in &entry.answers {
                        self.outbox.push_back(ManagerOutput::Reply(*id, Box::new(response.clone())));
                    }
                }
            }
            Outcome::Stale if own => self.put_back(),
            Outcome::Stale => {}
        }
    }

    fn lost(&mut self, ticket: u64) {
        if self.flight.as_ref().is_some_and(|flight| flight.ticket == ticket) {
            self.put_back();
        }
    }

    /// What the entry under way was made of is to be decided again.
    fn put_back(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.inbox.put_back(flight.inbox);
        }
    }

    /// Decides all that has come up, and proposes it as one entry.
    fn decide(&mut self, term: u64, since: Time) {
        self.undecided = false;
        let unknown = self.cluster.nodes.is_empty() && self.sessions.is_empty();
        let patience = Some(since.after(PATIENCE)).filter(|end| unknown && *end > self.now);
        let mut inbox = std::mem::take(&mut self.inbox);
        if patience.is_some() {
            std::mem::swap(&mut self.inbox.requests, &mut inbox.requests);
        }
        let (mut told, mut asked) = (Vec::new(), Vec::new());
        for (id, request) in &inbox.requests {
            match (&**request, self.cluster.answer(*id)) {
                // The driver made sure of our leadership, and all that was acknowledged is applied.
                (Request::Read, _) => {
                    let state = view::state(&self.cluster, &self.waits, self.now);
                    told.push((*id, Response::State(Box::new(state))));
                }
                (_, Some(answer)) => told.push((*id, (**answer).clone())),
                (request, None) => asked.push((*id, request)),
            }
        }
        self.outbox.extend(told.into_iter().map(|(id, answer)| ManagerOutput::Reply(id, Box::new(answer))));
        let mut draft = Draft::new(&self.cluster, self.now, &mut self.ids).hasty();
        let mut answers = draw_up(&mut draft, &self.sessions, &inbox, &asked, &self.liveness);
        if draft.is_spoilt() {
            draft = Draft::new(&self.cluster, self.now, &mut self.ids);
            answers = draw_up(&mut draft, &self.sessions, &inbox, &asked, &self.liveness);
        }
        drop(asked);
        inbox.requests.retain(|(id, _)| answers.iter().any(|(answered, _)| answered == id));
        let at = draft.now;
        let (changes, waits, wake) = draft.finish();
        if self.waits != waits {
            self.waits = waits;
            self.outbox.push_back(ManagerOutput::Changed { revision: self.cluster.revision });
        }
        self.wake = [wake, patience].into_iter().flatten().min();
        if changes.is_empty() && answers.is_empty() {
            return;
        }
        self.ticket += 1;
        let entry = Entry { at, base: self.cluster.revision, term, ticket: self.ticket, changes, answers };
        self.flight = Some(Flight { ticket: self.ticket, inbox });
        self.outbox.push_back(ManagerOutput::Propose { ticket: self.ticket, entry: Box::new(entry) });
    }

    /// Tells each connected node whose assignment has changed.
    fn assign(&mut self, term: u64) {
        if !std::mem::take(&mut self.unassigned) {
            return;
        }
        let news = self.desk.write(&self.cluster, term, self.sessions.keys().copied());
        self.outbox.extend(news.into_iter().map(|assignment| ManagerOutput::Assign(Box::new(assignment))));
    }
}

/// All that has come up, decided upon a draft; less than that if it is spoilt.
fn draw_up(
    draft: &mut Draft<'_>,
    sessions: &BTreeMap<NodeId, Node>,
    inbox: &Inbox,
    asked: &[(RequestId, &Request)],
    liveness: &Liveness,
) -> Vec<(RequestId, Response)> {
    for node in sessions.values() {
        observe::node(draft, node);
    }
    for (task, (node, report)) in &inbox.reports {
        debug_assert_eq!(*task, report.task);
        observe::task(draft, *node, report);
    }
    for (node, volume) in &inbox.volumes_removed {
        observe::volume_removed(draft, *node, volume);
    }
    let mut answers = Vec::new();
    for (id, request) in asked {
        answers.push((*id, request::take(draft, request)));
        // What comes on top of what should not be there is worth nothing.
        if draft.is_spoilt() {
            return answers;
        }
    }
    plan::plan(draft, liveness);
    answers
}
