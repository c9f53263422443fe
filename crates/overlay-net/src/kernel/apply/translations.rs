//! Virtual addresses in the namespaces of their clients.
//!
//! A change of one service concerns every namespace of its networks, so it is worked out and written down once, and
//! the same letter goes to each of them, over a socket that stays open: nothing waits for the kernel to free what
//! was replaced. Where the kernel can, TCP is translated when it connects; that is told first, so that what goes to a
//! lost backend is tracked by the time when such connections are looked for. (One that waits between the two, for its
//! first write say, may be missed.)

use super::calls::{Calls, News};
use crate::kernel::connect::{self, Connect};
use crate::kernel::netlink::Socket;
use crate::kernel::nft::translate::{Letter, generation};
use crate::kernel::{Namespace, conntrack, netns};
use crate::names;
use crate::vips::Table;
use model::{HostNet, NetworkId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The one who tells namespaces what to translate.
#[derive(Debug)]
pub(super) struct Translations {
    run_root: PathBuf,
    inside: BTreeMap<TaskId, Inside>,
    /// The tables told last, by the networks that a namespace is attached to.
    tables: BTreeMap<BTreeSet<NetworkId>, Arc<Table>>,
    connect: AtConnect,
    calls: Calls,
}

/// The quicker way of TCP.
#[derive(Debug)]
enum AtConnect {
    /// Nobody has tried it; a namespace without virtual addresses needs none.
    Untried,
    Works(Connect),
    /// It worked, and will be tried again.
    Failed,
    /// Rules alone translate.
    Never,
}

/// Has rules alone translate, if it is `packets`.
const TRANSLATE: &str = "RSWARM_TRANSLATE";

/// What is known of one namespace.
#[derive(Debug, Default)]
struct Inside {
    /// Speaks to it; made when there is something to say.
    socket: Option<Socket>,
    /// `None`: nobody knows what is there.
    told: Option<Arc<Table>>,
    /// Of the kernel, after that was told. Another one: somebody touched something since.
    generation: Option<u32>,
    /// The number of the namespace, once something was told to it.
    cookie: Option<u64>,
}

/// A namespace that is to be told something.
struct Job {
    task: TaskId,
    inside: Inside,
    after: Arc<Table>,
    message: Arc<Message>,
}

/// What is the same for all that held the same.
struct Message {
    letter: Letter,
    lost: BTreeSet<(IpAddr, IpAddr)>,
    /// Whatever was there is replaced.
    anew: bool,
}

impl Translations {
    pub(super) fn new(run_root: &Path) -> Translations {
        let by_packet = std::env::var_os(TRANSLATE).is_some_and(|how| how == "packets");
        let connect = if by_packet { AtConnect::Never } else { AtConnect::Untried };
        Translations {
            run_root: run_root.to_owned(),
            inside: BTreeMap::new(),
            tables: BTreeMap::new(),
            connect,
            calls: Calls::new(run_root),
        }
    }

    /// How long a backend that was taken away may still answer.
    pub(super) fn settles(&self) -> Duration {
        self.calls.settling.left()
    }

    /// The namespace is gone, or about to go: an open socket would keep it in being.
    pub(super) fn forget(&mut self, task: TaskId) {
        self.inside.remove(&task);
        self.calls.forget(task);
    }

    /// Makes the namespaces that are there agree with `net`. `fresh`: those that nothing was ever told to. `look`:
    /// somebody else may have changed something since. Gives what could not be done.
    pub(super) fn apply(
        &mut self,
        net: &HostNet,
        there: &BTreeMap<TaskId, Namespace>,
        fresh: &BTreeSet<TaskId>,
        look: bool,
    ) -> BTreeMap<TaskId, io::Error> {
        self.inside.retain(|task, _| there.contains_key(task));
        if look && matches!(self.connect, AtConnect::Failed) {
            self.connect = AtConnect::Untried;
        }
        let marks = !matches!(self.connect, AtConnect::Never);
        let mut tables: BTreeMap<BTreeSet<NetworkId>, Arc<Table>> = BTreeMap::new();
        let mut messages: BTreeMap<(usize, usize), Arc<Message>> = BTreeMap::new();
        let mut jobs = Vec::new();
        let mut places: BTreeMap<TaskId, BTreeSet<NetworkId>> = BTreeMap::new();
        for (task, endpoint) in net.endpoints.iter().filter(|(task, _)| there.contains_key(task)) {
            let networks: BTreeSet<NetworkId> = endpoint.attachments.iter().map(|it| it.network).collect();
            let after = match tables.get(&networks) {
                Some(table) => table.clone(),
                None => {
                    let table = self.table(net, &networks);
                    tables.insert(networks.clone(), table.clone());
                    table
                }
            };
            places.insert(*task, networks);
            let nothing = || Inside { told: Some(Arc::default()), ..Inside::default() };
            let inside = self.inside.entry(*task).or_insert_with(|| match fresh.contains(task) {
                true => nothing(),
                false => Inside::default(),
            });
            if look {
                inside.generation = self.calls.since(*task, inside.generation);
                inside.suspect();
            }
            if inside.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &after) || *told == after) {
                continue;
            }
            let told = inside.told.clone().filter(|told| told.grows_into(&after));
            let between = (told.as_ref().map_or(0, |told| Arc::as_ptr(told) as usize), Arc::as_ptr(&after) as usize);
            let message =
                messages.entry(between).or_insert_with(|| Arc::new(Message::new(told.as_deref(), &after, marks)));
            jobs.push(Job { task: *task, inside: std::mem::take(inside), after, message: message.clone() });
        }
        self.tables = tables;
        self.at_connect(|connect, tables| connect.tell(tables));
        let errors = self.run(jobs);
        let cookie = |task: &TaskId| self.inside.get(task).and_then(|inside| inside.cookie);
        let known = places.into_iter().filter_map(|(task, networks)| Some((cookie(&task)?, networks)));
        let known: BTreeMap<u64, BTreeSet<NetworkId>> = known.collect();
        self.at_connect(|connect, _| connect.admit(&known));
        errors
    }

    /// What goes wrong costs only speed, and that way is given up as a whole: half of it might lead astray.
    fn at_connect(
        &mut self,
        work: impl FnOnce(&mut Connect, &BTreeMap<BTreeSet<NetworkId>, Arc<Table>>) -> io::Result<()>,
    ) {
        let nothing_to_tell = || self.tables.values().all(|table| **table == Table::default());
        if matches!(self.connect, AtConnect::Untried) && !nothing_to_tell() {
            self.connect = match Connect::new() {
                Ok(connect) => AtConnect::Works(connect),
                Err(error) => {
                    tracing::info!(%error, "virtual addresses are translated by packet, not by connection");
                    AtConnect::Never
                }
            };
        }
        let AtConnect::Works(connect) = &mut self.connect else { return };
        if let Err(error) = work(connect, &self.tables) {
            tracing::warn!(%error, "virtual addresses are translated by packet for now");
            self.connect = AtConnect::Failed;
        }
    }

    fn table(&self, net: &HostNet, networks: &BTreeSet<NetworkId>) -> Arc<Table> {
        let nothing = Arc::default();
        let before = self.tables.get(networks).unwrap_or(&nothing);
        let table = Table::wanted(net, networks, before);
        if table == **before { before.clone() } else { Arc::new(table) }
    }

    /// On as many threads as there are processors; they are threads of their own because they move into
    /// namespaces and must end there.
    fn run(&mut self, jobs: Vec<Job>) -> BTreeMap<TaskId, io::Error> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).min(jobs.len());
        let run_root = &self.run_root;
        let queue = Mutex::new(jobs.into_iter());
        let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || std::iter::from_fn(take).map(|job| (job.task, job.run(run_root))).collect::<Vec<_>>();
        let outcomes = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            // What a thread that panicked had in hand counts as unknown, and is told anew.
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect::<Vec<_>>()
        });
        let mut errors = BTreeMap::new();
        for (task, outcome) in outcomes {
            match outcome {
                Ok((inside, news)) => {
                    self.calls.tell(news);
                    self.inside.insert(task, inside);
                }
                Err(error) => {
                    self.inside.remove(&task);
                    errors.insert(task, error);
                }
            }
        }
        errors
    }
}

impl Inside {
    /// Whoever changed anything in there may have changed this too.
    fn suspect(&mut self) {
        if let Some(socket) = &self.socket {
            let now = generation(socket).ok().flatten();
            if now.is_none() || now != self.generation {
                self.told = None;
            }
        }
    }
}

impl Message {
    fn new(told: Option<&Table>, after: &Table, marks: bool) -> Message {
        let lost = told.map(|told| told.lost(after)).unwrap_or_default();
        Message { letter: Letter::new(told, after, marks), lost, anew: told.is_none() }
    }
}

impl Job {
    /// Gives what it is now, and what was asked of backends that are gone.
    fn run(self, run_root: &Path) -> io::Result<(Inside, News)> {
        let Job { task, mut inside, after, message } = self;
        let mut unanswered = BTreeSet::new();
        if !message.letter.is_empty() {
            let socket = match inside.socket.take() {
                Some(socket) => socket,
                None => open(run_root, task)?,
            };
            let before = generation(&socket)?;
            message.letter.send(&socket)?;
            let now = generation(&socket)?;
            // More than one step: somebody else was there at the same time.
            inside.generation = now.filter(|now| before.map(|before| before.wrapping_add(1)) == Some(*now));
            match conntrack::forget_lost(&socket, &message.lost) {
                Ok(waiting) => unanswered = waiting,
                Err(error) => tracing::warn!(%task, %error, "cannot forget conversations with a backend that is gone"),
            }
            if inside.cookie.is_none() {
                // Without it rules alone translate.
                inside.cookie = connect::cookie(&socket).ok();
            }
            inside.socket = Some(socket);
        }
        inside.told = Some(after.clone());
        Ok((inside, News { task, table: after, unanswered, anew: message.anew }))
    }
}

/// A socket that speaks to the namespace of a task, for ever. Moves the calling thread.
fn open(run_root: &Path, task: TaskId) -> io::Result<Socket> {
    /// What has got out of step with its connection is translated all the same. Otherwise an answer comes in from the
    /// backend's address, to which nobody speaks, and the kernel resets the backend's end.
    const LIBERAL: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";
    enter(run_root, task)?;
    if let Err(error) = std::fs::write(LIBERAL, "1") {
        tracing::debug!(%error, "{LIBERAL}");
    }
    Socket::netfilter()
}

/// Moves the calling thread into the namespace of a task.
pub(super) fn enter(run_root: &Path, task: TaskId) -> io::Result<()> {
    let namespace = netns::open(&names::netns_path(run_root, task))?;
    netns::enter(namespace.ok_or_else(|| io::Error::other("its network namespace has vanished"))?)
}
