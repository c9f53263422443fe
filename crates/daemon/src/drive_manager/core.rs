//! The loop of the manager's thread.

use super::group::Others;
use crate::clock;
use crate::cluster::{Group, Leader, Message};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use consensus::{Input, Output, Persist, Proposals, Raft, Role};
use model::diagnostic::Diagnostic;
use model::{Assignment, NodeId, RefusalKind, RequestId, Response, State, Time};
use orchestrator::{Manager, ManagerInput, ManagerOutput};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;
use store::Store;
use tokio::sync::{oneshot, watch};

/// The log is cut after so many entries, or so many bytes of them, whichever comes first.
const SNAPSHOT_ENTRIES: u64 = 4096;
const SNAPSHOT_BYTES: usize = 32 << 20;

/// Messages taken before the machines are polled: what came together is persisted together.
const BATCH: usize = 256;

/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Where the assignments of a node go.
type Assign = watch::Sender<Option<Arc<Assignment>>>;

/// Consensus, log and manager of one member.
pub(super) struct Core {
    pub(super) store: Store,
    pub(super) raft: Raft,
    pub(super) manager: Manager,
    changed: watch::Sender<u64>,
    pub(super) group: watch::Sender<Group>,
    pub(super) others: Others,
    /// Agents that are connected: session, and where their assignments go.
    agents: BTreeMap<NodeId, (u64, Assign)>,
    clients: BTreeMap<RequestId, Vec<oneshot::Sender<Response>>>,
    pub(super) proposals: Proposals,
    /// Writes that the disk has no room for.
    pub(super) unwritten: Vec<Persist>,
    /// That was told.
    full: bool,
    /// Since the last snapshot.
    entries: u64,
    bytes: usize,
    /// Index of the last entry handed to the manager.
    last: u64,
    /// What clients were shown last; `None` when it is out of date.
    pub(super) shown: Option<Arc<State>>,
    /// Last time handed to the manager: its clock never runs backwards.
    now: Time,
}

pub(super) enum Next {
    Go,
    Retire(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

impl Core {
    pub(super) fn new(
        store: Store,
        raft: Raft,
        manager: Manager,
        changed: watch::Sender<u64>,
        group: watch::Sender<Group>,
        others: Others,
    ) -> Core {
        Core {
            store,
            raft,
            manager,
            changed,
            group,
            others,
            agents: BTreeMap::new(),
            clients: BTreeMap::new(),
            proposals: Proposals::default(),
            unwritten: Vec::new(),
            full: false,
            entries: 0,
            bytes: 0,
            last: 0,
            shown: None,
            now: Time(0),
        }
    }

    /// Runs until told to stop, or until all who could tell are gone.
    ///
    /// # Errors
    /// The disk failed in a way that makes going on unsafe, or the log holds what this version cannot read.
    pub(super) fn run(&mut self, inbox: &std_mpsc::Receiver<Message>) -> Result<()> {
        loop {
            self.settle()?;
            let first = match self.wait() {
                None => inbox.recv().map_err(|_| std_mpsc::RecvTimeoutError::Disconnected),
                Some(wait) => inbox.recv_timeout(wait),
            };
            let mut next = match first {
                Ok(message) => self.take(message),
                Err(std_mpsc::RecvTimeoutError::Timeout) => {
                    self.tell(ManagerInput::Tick);
                    Next::Go
                }
                Err(std_mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            };
            for _ in 1..BATCH {
                match (&next, inbox.try_recv()) {
                    (Next::Go, Ok(message)) => next = self.take(message),
                    _ => break,
                }
            }
            self.beat()?;
            match next {
                Next::Go => {}
                Next::Retire(done) => {
                    self.retire(inbox)?;
                    let _nobody_waits = done.send(());
                }
                Next::Stop(done) => {
                    self.settle()?;
                    self.store.flush().context("write the log of the cluster")?;
                    let _nobody_waits = done.send(());
                    return Ok(());
                }
            }
        }
    }

    /// Until when nothing has to be done; `None`: until a message comes.
    fn wait(&mut self) -> Option<Duration> {
        let wake = self.manager.next_wake().map(|wake| wake.since(self.tick()));
        let wake = [wake, self.until_tick()].into_iter().flatten().min();
        match self.unwritten.is_empty() {
            true => wake,
            false => Some(wake.unwrap_or(RETRY).clamp(Duration::from_millis(1), RETRY)),
        }
    }

    /// Does it not learn what the others decide, because its disk is full?
    pub(super) fn lags(&self) -> bool {
        !self.unwritten.is_empty() && !self.manager.leads()
    }

    fn tick(&mut self) -> Time {
        self.now = self.now.max(clock::steady());
        self.now
    }

    pub(super) fn take(&mut self, message: Message) -> Next {
        match message {
            Message::Request(id, request, client) if *request == model::Request::Read && self.others.is_cluster() => {
                // Dropping the client tells it to ask the one that leads.
                if !self.lags() {
                    self.read(id, client);
                }
            }
            // Dropping the client tells it that this member does not lead.
            Message::Request(..) if self.others.is_cluster() && !self.manager.leads() => {}
            Message::Request(id, request, client) => {
                if !self.unwritten.is_empty() {
                    let _left = client.send(full());
                    return Next::Go;
                }
                self.clients.entry(id).or_default().push(client);
                self.tell(ManagerInput::Request(id, request));
            }
            Message::State(client) => {
                let _left = client.send(self.state());
            }
            Message::Snapshot(client) => {
                let _left = client.send(Box::new(self.manager.snapshot()));
            }
            Message::Sources(client) => {
                let _left = client.send((self.manager.leads(), self.manager.sources()));
            }
            Message::Logins(stack, client) => {
                let _left = client.send(self.manager.logins(&stack));
            }
            Message::Info(client) => {
                let _left = client.send(self.manager.cluster_info());
            }
            Message::SessionUp { node, session, assign } => {
                self.agents.insert(node.id, (session, assign));
                self.tell(ManagerInput::SessionUp(node));
            }
            Message::Described(node) => {
                if self.agents.contains_key(&node.id) {
                    self.tell(ManagerInput::SessionUp(node));
                }
            }
            Message::SessionLost { node, session, silent } => {
                // The next one may have begun before this one was seen to end.
                if self.agents.get(&node).is_some_and(|(newest, _)| *newest == session) {
                    self.agents.remove(&node);
                    self.tell(match silent {
                        true => ManagerInput::SessionSilent(node),
                        false => ManagerInput::SessionLost(node),
                    });
                }
            }
            Message::Report(node, report) => self.tell(ManagerInput::Report(node, Box::new(report))),
            Message::Raft(input) => {
                if let Err(error) = self.raft.handle(input) {
                    tracing::debug!("tell consensus: {error}");
                }
            }
            Message::Step(from, message) => self.step(from, message),
            Message::Survive(done) => {
                let _left = done.send(self.survive().map_err(|error| format!("{error:#}")));
            }
            Message::Retire(done) => return Next::Retire(done),
            Message::Stop(done) => return Next::Stop(done),
        }
        Next::Go
    }

    pub(super) fn state(&mut self) -> Arc<State> {
        if let Some(shown) = &self.shown {
            return shown.clone();
        }
        let now = self.tick();
        let mut state = self.manager.state(now);
        let leader = match self.group.borrow().leader {
            Leader::Me => Some(self.others.config.member.0),
            Leader::Member(member) => Some(member),
            Leader::Unknown => None,
        };
        let managers = self.manager.managers();
        state.leader = managers.iter().find(|(_, member)| Some(*member) == leader).map(|it| it.0);
        let voters = &self.group.borrow().voters;
        state.voters = managers.iter().filter(|(_, member)| voters.contains(member)).map(|it| it.0).collect();
        let state = Arc::new(state);
        self.shown = Some(state.clone());
        state
    }

    /// Hands an input to the manager. A panic in there is our bug: it is told, and the cluster keeps to
    /// the last facts.
    pub(super) fn tell(&mut self, input: ManagerInput) {
        let now = self.tick();
        let manager = &mut self.manager;
        if std::panic::catch_unwind(AssertUnwindSafe(|| manager.handle(now, input))).is_err() {
            tracing::error!("the manager failed at an input; this is a bug of rswarm, please report it with this log");
        }
    }

    fn propose(&mut self, ticket: u64, entry: &orchestrator::Entry) {
        let proposed = serde_json::to_vec(entry)
            .context("write an entry")
            .and_then(|data| Ok(self.raft.handle(Input::Propose { ticket, data: Bytes::from(data) })?));
        if let Err(error) = proposed {
            tracing::error!("propose: {error:#}");
            self.proposals.refused(ticket);
        }
    }

    /// Polls both machines until neither wants anything more.
    pub(super) fn settle(&mut self) -> Result<()> {
        loop {
            let mut busy = false;
            while let Some(output) = self.manager.poll() {
                busy = true;
                self.manager_output(output);
            }
            let mut writes = std::mem::take(&mut self.unwritten);
            while let Some(output) = self.raft.poll() {
                busy = true;
                match output {
                    Output::Persist(persist) => writes.push(persist),
                    output => self.raft_output(output)?,
                }
            }
            if let Some(last) = writes.last().map(|persist| persist.seq) {
                match self.store.persist(&writes) {
                    Ok(()) => {
                        if std::mem::take(&mut self.full) {
                            tracing::info!("there is room on the disk again");
                        }
                        self.raft.handle(Input::Persisted(last))?;
                        continue;
                    }
                    Err(error) if error.is_full() => {
                        if !std::mem::replace(&mut self.full, true) {
                            tracing::warn!("this manager can take no part in decisions until there is room: {error}");
                        }
                        self.unwritten = writes;
                    }
                    Err(error) => return Err(error).context("write the log of the cluster"),
                }
            }
            self.cut();
            if !busy {
                return Ok(());
            }
        }
    }

    fn manager_output(&mut self, output: ManagerOutput) {
        match output {
            ManagerOutput::Propose { ticket, entry } => self.propose(ticket, &entry),
            ManagerOutput::Reply(id, response) => {
                for client in self.clients.remove(&id).unwrap_or_default() {
                    let _left = client.send((*response).clone());
                }
            }
            ManagerOutput::Assign(assignment) => {
                if let Some((_, assign)) = self.agents.get(&assignment.node) {
                    assign.send_replace(Some(Arc::new(*assignment)));
                }
            }
            ManagerOutput::Changed { revision } => {
                self.shown = None;
                self.others.look = true;
                self.changed.send_replace(revision);
            }
        }
    }

    fn raft_output(&mut self, output: Output) -> Result<()> {
        match output {
            Output::Committed { index, term, data } => self.committed(index, term, &data)?,
            Output::Restore(snapshot) => {
                if !snapshot.data.is_empty() {
                    let state = serde_json::from_slice(&snapshot.data).context("read a snapshot of the leader")?;
                    self.manager.restore(state);
                }
                for lost in self.proposals.restored(snapshot.index) {
                    self.tell(ManagerInput::Lost(lost));
                }
                (self.entries, self.bytes, self.last) = (0, 0, snapshot.index);
                self.shown = None;
            }
            Output::Role(Role::Leader { term }) => {
                self.tell(ManagerInput::Leading { term });
                self.others.look = true;
                self.shown = None;
                self.group.send_modify(|group| group.leader = Leader::Me);
            }
            Output::Role(Role::Follower { leader, .. }) => {
                self.clients.clear();
                self.tell(ManagerInput::Following);
                let leader = leader.map_or(Leader::Unknown, |member| Leader::Member(member.0));
                self.shown = None;
                self.group.send_modify(|group| group.leader = leader);
            }
            Output::Accepted { ticket, index, term } => {
                if let Some(lost) = self.proposals.accepted(index, term, ticket) {
                    self.tell(ManagerInput::Lost(lost));
                }
            }
            Output::Refused { ticket, .. } => self.proposals.refused(ticket),
            output => self.group_output(output),
        }
        Ok(())
    }

    fn committed(&mut self, index: u64, term: u64, data: &[u8]) -> Result<()> {
        if let Some(lost) = self.proposals.committed(index, term) {
            self.tell(ManagerInput::Lost(lost));
        }
        self.entries += 1;
        self.bytes += data.len();
        self.last = index;
        // Skipping what we can't read would make this member disagree with all others.
        let entry = serde_json::from_slice(data)
            .with_context(|| format!("read entry {index} of the log: was it written by a newer version?"))?;
        self.tell(ManagerInput::Committed(Box::new(entry)));
        for refused in self.manager.take_refused() {
            tracing::error!("entry {index} could not be applied as it stands, which is a bug of rswarm: {refused}");
        }
        Ok(())
    }

    /// Cuts the log when it has become long.
    fn cut(&mut self) {
        let long = self.entries >= SNAPSHOT_ENTRIES || self.bytes >= SNAPSHOT_BYTES;
        if !(long || self.others.snapshot_wanted) || !self.unwritten.is_empty() {
            return;
        }
        (self.entries, self.bytes, self.others.snapshot_wanted) = (0, 0, false);
        let made = serde_json::to_vec(&self.manager.snapshot()).context("write a snapshot").and_then(|data| {
            Ok(self.raft.handle(Input::Snapshot { index: self.raft.applied(), data: data.into() })?)
        });
        if let Err(error) = made {
            tracing::warn!("cut the log: {error:#}");
        }
    }
}

fn full() -> Response {
    let text = "the disk of the daemon is full: nothing can be changed until there is room";
    let diagnostic =
        Diagnostic::error("RS9001", text).hint("free some space below the data root; the daemon goes on by itself");
    Response::Refused { kind: RefusalKind::Conflict, diagnostics: vec![diagnostic] }
}
