//! Which faults a seed has: not every seed has all of them, so that each shows what it does alone
//! (swarm testing).

use crate::chance::Chance;

/// A bug that is planted to see that the checkers bark. Each breaks one promise that something keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// An agent is not told what its host already runs.
    HostUnseen,
    /// The disk of the manager loses the last entry that it acknowledged.
    TailLost,
    /// Agents are not woken.
    AgentAsleep,
    /// The manager is not woken.
    ManagerAsleep,
    /// The ends of containers are not told.
    ExitsUntold,
    /// A stop says that it was done, and was not.
    StopLies,
    /// A removal says that it was done, and was not.
    RemoveLies,
    /// The network leaves out one namespace, and says nothing.
    NetForgets,
    /// An order that was sent before is delivered again, as if it were new.
    OldOrders,
    /// Reports get lost though their session stands.
    ReportsLost,
    /// Orders get lost though their session stands.
    OrdersLost,
    /// A volume says that it was deleted, and was not.
    VolumeStays,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 12] = [
        Sabotage::HostUnseen,
        Sabotage::TailLost,
        Sabotage::AgentAsleep,
        Sabotage::ManagerAsleep,
        Sabotage::ExitsUntold,
        Sabotage::StopLies,
        Sabotage::RemoveLies,
        Sabotage::NetForgets,
        Sabotage::OldOrders,
        Sabotage::ReportsLost,
        Sabotage::OrdersLost,
        Sabotage::VolumeStays,
    ];
}

/// How often what goes wrong; zero: never. Rates are in thousandths of occasions, spans in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    /// Nodes of the cluster.
    pub(crate) nodes: usize,
    /// An effect fails and has done nothing.
    pub(crate) effect_fails: u64,
    /// An effect is done, and its answer is lost.
    pub(crate) answer_lost: u64,
    /// The longest time an image takes to come.
    pub(crate) pull: u64,
    /// The longest time that any other effect takes.
    pub(crate) effect: u64,
    /// A proposal is lost.
    pub(crate) proposal_lost: u64,
    /// The longest time until an entry is committed.
    pub(crate) commit: u64,
    /// The longest time that a message takes.
    pub(crate) message: u64,
    /// The longest time until a ledger is on disk.
    pub(crate) disk: u64,
    /// A container that should run on ends.
    pub(crate) exits: u64,
    /// A probe fails.
    pub(crate) sick: u64,
    /// Mean span between crashes of an agent; 0: never.
    pub(crate) agent_crash: u64,
    /// Of those, how many are reboots of the whole host.
    pub(crate) reboot: u64,
    /// Mean span between crashes of the manager.
    pub(crate) manager_crash: u64,
    /// Mean span between breaks of a node's session.
    pub(crate) session_cut: u64,
    /// A host port is taken by a stranger.
    pub(crate) foreign_port: bool,
    /// The last node dies in the storm and never comes back.
    pub(crate) node_lost: bool,
}

impl Faults {
    /// Draws the faults of a seed.
    pub(crate) fn draw(chance: &mut Chance) -> Faults {
        let mut maybe = |value: u64| if chance.coin() { chance.between(1, value) } else { 0 };
        let (effect_fails, answer_lost, proposal_lost) = (maybe(200), maybe(60), maybe(100));
        let (exits, sick, reboot, foreign) = (maybe(300), maybe(300), maybe(500), maybe(2) == 1);
        let mut span = |shortest: u64| if chance.coin() { chance.between(shortest, shortest * 10) } else { 0 };
        let (agent_crash, manager_crash, session_cut) = (span(3_000), span(5_000), span(3_000));
        let slow = [1, 10, 300, 3_000];
        let time = |chance: &mut Chance| slow.get(usize::try_from(chance.below(4)).unwrap_or(0)).copied().unwrap_or(1);
        Faults {
            nodes: usize::try_from(1 + chance.below(4) * chance.below(2)).unwrap_or(1),
            effect_fails,
            answer_lost,
            pull: time(chance) * 5,
            effect: time(chance),
            proposal_lost,
            commit: time(chance),
            message: time(chance).min(300),
            disk: time(chance),
            exits,
            sick,
            agent_crash,
            reboot,
            manager_crash,
            session_cut,
            foreign_port: foreign,
            node_lost: chance.below(3) == 0,
        }
    }

    /// Draws those of a whole cluster: what becomes of its managers and sessions is drawn elsewhere.
    pub(crate) fn draw_joint(chance: &mut Chance) -> Faults {
        let nodes = usize::try_from(chance.between(2, 6)).unwrap_or(2);
        let faults = Faults::draw(chance);
        Faults { nodes, manager_crash: 0, session_cut: 0, proposal_lost: 0, ..faults }
    }

    /// Nothing goes wrong any more; how fast things are stays.
    pub(crate) fn heal(&mut self) {
        let Faults { nodes, pull, effect, commit, message, disk, node_lost, .. } = *self;
        *self = Faults {
            nodes,
            pull: pull.min(300),
            effect: effect.min(300),
            commit: commit.min(300),
            message,
            disk,
            effect_fails: 0,
            answer_lost: 0,
            proposal_lost: 0,
            exits: 0,
            sick: 0,
            agent_crash: 0,
            reboot: 0,
            manager_crash: 0,
            session_cut: 0,
            foreign_port: false,
            node_lost,
        };
    }
}
