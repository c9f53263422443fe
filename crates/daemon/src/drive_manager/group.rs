//! What the manager's thread does because there are others like it: ticks, messages, reads that are up to
//! date, who belongs to the group, and handing over.

use super::core::Core;
use crate::cluster::{Group, Leader};
use crate::raft_net::Outgoing;
use anyhow::{Context as _, Result};
use consensus::{Config, Input, Member, Members, Output, Persist, Progress, Raft, Role, Step, next_step};
use model::{NodeId, RequestId, Response};
use orchestrator::ManagerInput;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// The unit of time of elections: a leader is heard of each tick, one that is not heard of for ten to twenty of
/// them is replaced.
const TICK: Duration = Duration::from_millis(100);

/// How often the leader looks whether the group is as it should be, in ticks.
const LOOK: u64 = 2;

/// How long an orderly end waits for another leader.
const HAND_OVER: Duration = Duration::from_millis(1500);

/// One who reads.
pub(super) struct Reader {
    id: RequestId,
    client: oneshot::Sender<Response>,
    asked: Instant,
}

/// A member's view of the others.
pub(super) struct Others {
    pub(super) config: Config,
    /// Where messages go; `None` on a machine of its own.
    outgoing: Option<mpsc::Sender<Outgoing>>,
    next_tick: Instant,
    ticks: u64,
    /// Reads under way, by their tickets.
    reads: BTreeMap<u64, Reader>,
    /// Reads that have to be asked again.
    again: Vec<Reader>,
    ticket: u64,
    /// A follower waits for a snapshot.
    pub(super) snapshot_wanted: bool,
    /// The state has changed since the group was compared with it. Without others nothing else asks for a tick.
    pub(super) look: bool,
}

impl Others {
    pub(super) fn new(config: Config, outgoing: Option<mpsc::Sender<Outgoing>>) -> Others {
        Others {
            config,
            outgoing,
            next_tick: Instant::now() + TICK,
            ticks: 0,
            reads: BTreeMap::new(),
            again: Vec::new(),
            ticket: 0,
            snapshot_wanted: false,
            look: true,
        }
    }

    /// Is this machine part of a cluster?
    pub(super) fn is_cluster(&self) -> bool {
        self.outgoing.is_some()
    }
}

/// How two members learn that they are there, and what they have: settings of every member.
pub(super) fn config(member: Member, seed: u64) -> Config {
    Config { trailing_entries: 4096, ..Config::new(member, seed) }
}

/// The group of these members, with no leader yet.
pub(super) fn group(members: &Members) -> Group {
    let Members { voters, learners, voters_outgoing, learners_next, auto_leave: _ } = members;
    let all = [voters, learners, voters_outgoing, learners_next].into_iter().flatten().copied();
    Group { leader: Leader::Unknown, members: all.collect(), voters: voters.iter().copied().collect() }
}

impl Core {
    fn has_company(&self) -> bool {
        self.others.is_cluster() && self.group.borrow().members.iter().any(|it| *it != self.others.config.member.0)
    }

    /// Until the next tick; `None` where nobody is waited for.
    pub(super) fn until_tick(&self) -> Option<Duration> {
        let reads = !self.others.again.is_empty() || !self.others.reads.is_empty();
        let needed =
            self.has_company() || reads || self.proposals.has_refused() || self.others.look && self.others.is_cluster();
        needed.then(|| self.others.next_tick.saturating_duration_since(Instant::now()))
    }

    /// One tick if it is time for it. A thread that was held up (a slow disk, a busy machine) makes up for
    /// nothing: what the others said meanwhile was read first, and counts more than a clock.
    pub(super) fn beat(&mut self) -> Result<()> {
        let now = Instant::now();
        if now < self.others.next_tick || self.until_tick().is_none() {
            return Ok(());
        }
        self.others.next_tick = now + TICK;
        self.others.ticks += 1;
        if self.has_company() {
            self.raft.handle(Input::Tick)?;
            if self.others.ticks.is_multiple_of(LOOK) {
                self.shape();
                self.make_way()?;
            }
        } else if self.others.look {
            self.shape();
        }
        for lost in self.proposals.tick() {
            self.tell(ManagerInput::Lost(lost));
        }
        self.read_again(now);
        Ok(())
    }

    /// One step towards the group that the state asks for, if this member leads.
    pub(super) fn shape(&mut self) {
        self.others.look = false;
        if !self.others.is_cluster() || !matches!(self.raft.role(), Role::Leader { .. }) {
            return;
        }
        let wanted = self.manager.managers().into_iter().map(|(_, member)| Member(member)).collect();
        let raft = &self.raft;
        let progress = |member| -> Option<Progress> { raft.progress(member) };
        let step = next_step(self.others.config.member, &wanted, raft.members(), progress);
        self.others.look = step.is_some();
        let input = match step {
            None => return,
            Some(Step::Change { voters, learners }) => {
                tracing::info!(?voters, ?learners, "changing the managers' group");
                Input::ChangeMembers { voters, learners }
            }
            Some(Step::HandOver(to)) => {
                tracing::info!("{to} is to lead: this manager goes");
                Input::HandOver(to)
            }
        };
        if let Err(error) = self.raft.handle(input) {
            // The change before is still under way, mostly.
            tracing::debug!("change the managers' group: {error}");
        }
    }

    /// A message of another manager, whose certificate was checked.
    pub(super) fn step(&mut self, from: NodeId, message: bytes::Bytes) {
        let Some(sender) = consensus::sender(&message) else {
            tracing::warn!(node = %from.short(), "a manager sent bytes that are no message");
            return;
        };
        // Until this member has the state, it believes any manager of its cluster.
        let owner = self.manager.managers().into_iter().find(|(_, member)| *member == sender.0);
        if owner.is_some_and(|(node, _)| node != from) {
            tracing::warn!(node = %from.short(), "a manager speaks for {sender}, which it is not");
            return;
        }
        if let Err(error) = self.raft.handle(Input::Step(message)) {
            tracing::debug!(node = %from.short(), "a message of {sender}: {error}");
        }
    }

    pub(super) fn send(&mut self, to: Member, message: bytes::Bytes, snapshot: bool) {
        let Some(outgoing) = &self.others.outgoing else { return };
        let sent = outgoing.try_send(Outgoing { to, message, snapshot });
        if sent.is_err() && snapshot {
            let _ours = self.raft.handle(Input::SnapshotSent { to, arrived: false });
        }
    }

    /// Somebody wants to read what is true now.
    pub(super) fn read(&mut self, id: RequestId, client: oneshot::Sender<Response>) {
        self.ask_read(Reader { id, client, asked: Instant::now() });
    }

    fn ask_read(&mut self, reader: Reader) {
        self.others.ticket += 1;
        let ticket = self.others.ticket;
        self.others.reads.insert(ticket, Reader { asked: Instant::now(), ..reader });
        if let Err(error) = self.raft.handle(Input::Read(ticket)) {
            tracing::debug!("read: {error}");
        }
    }

    pub(super) fn readable(&mut self, ticket: u64) {
        let Some(reader) = self.others.reads.remove(&ticket) else { return };
        tracing::trace!(request = %reader.id, "read");
        let state = Response::State(Box::new((*self.state()).clone()));
        let _left = reader.client.send(state);
    }

    pub(super) fn unreadable(&mut self, ticket: u64) {
        self.others.again.extend(self.others.reads.remove(&ticket));
    }

    /// Reads whose question or answer was lost on the way.
    fn read_again(&mut self, now: Instant) {
        if self.lags() {
            self.others.reads.clear();
            self.others.again.clear();
        }
        let late = |reader: &Reader| now.duration_since(reader.asked) > TICK * 10;
        let lost: Vec<u64> = self.others.reads.iter().filter(|(_, it)| late(it)).map(|(ticket, _)| *ticket).collect();
        for ticket in lost {
            self.unreadable(ticket);
        }
        for reader in std::mem::take(&mut self.others.again) {
            if !reader.client.is_closed() {
                self.ask_read(reader);
            }
        }
    }

    /// A leader whose disk is full decides nothing, and keeps the others from it: another leads meanwhile.
    fn make_way(&mut self) -> Result<()> {
        if self.unwritten.is_empty() || !matches!(self.raft.role(), Role::Leader { .. }) {
            return Ok(());
        }
        if let Some(heir) = self.raft.heir() {
            tracing::warn!("the disk of this manager is full: {heir} is to lead");
            self.raft.handle(Input::HandOver(heir))?;
        }
        Ok(())
    }

    /// Lets another lead before this member ends; returns when one does, when there is nobody, or after a while.
    pub(super) fn retire(&mut self, inbox: &std::sync::mpsc::Receiver<crate::cluster::Message>) -> Result<()> {
        let began = Instant::now();
        while matches!(self.raft.role(), Role::Leader { .. }) && self.has_company() && began.elapsed() < HAND_OVER {
            let Some(heir) = self.raft.heir() else { return Ok(()) };
            self.raft.handle(Input::HandOver(heir))?;
            self.settle()?;
            if let Ok(message) = inbox.recv_timeout(TICK / 4) {
                let _stop_once_more = self.take(message);
            }
            self.beat()?;
            self.settle()?;
        }
        Ok(())
    }

    /// Goes on as the only member, with all that it has.
    pub(super) fn survive(&mut self) -> Result<()> {
        let data = serde_json::to_vec(&self.manager.snapshot()).context("write down the state")?;
        let stable = self.raft.survivor(data.into())?;
        self.store
            .persist(&[Persist {
                seq: 0,
                snapshot: Some(stable.snapshot.clone()),
                entries: stable.entries.clone(),
                hard_state: Some(stable.hard_state),
                must_sync: true,
            }])
            .context("write the log of the cluster")?;
        self.proposals.clear();
        self.unwritten.clear();
        self.raft = Raft::new(self.others.config, stable).context("start consensus")?;
        let now = group(self.raft.members());
        self.group.send_replace(now);
        self.tell(ManagerInput::Following);
        self.settle()
    }

    /// What consensus wants that is about others.
    pub(super) fn group_output(&mut self, output: Output) {
        match output {
            Output::Send { to, message, snapshot } => self.send(to, message, snapshot),
            Output::SnapshotWanted => self.others.snapshot_wanted = true,
            Output::Readable(ticket) => self.readable(ticket),
            Output::Unreadable(ticket) => self.unreadable(ticket),
            Output::Members(members) => {
                let now = group(&members);
                self.shown = None;
                self.group.send_if_modified(|group| {
                    let before = std::mem::replace(group, Group { leader: group.leader, ..now });
                    *group != before
                });
            }
            _ => {}
        }
    }
}
