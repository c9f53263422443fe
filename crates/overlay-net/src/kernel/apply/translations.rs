//! Virtual addresses in the namespaces of their clients.
//!
//! A change of one service concerns every namespace of its networks, so it is worked out and written down once, and
//! the same letter goes to each of them, over a socket that stays open: nothing waits for the kernel to free what
//! was replaced.

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

/// After which a backend that is there would have answered: less than TCP waits before it asks again.
const UNANSWERED: Duration = Duration::from_millis(600);

/// The one who tells namespaces what to translate.
#[derive(Debug)]
pub(super) struct Translations {
    run_root: PathBuf,
    inside: BTreeMap<TaskId, Inside>,
    /// The tables told last, by the networks that a namespace is attached to.
    tables: BTreeMap<BTreeSet<NetworkId>, Arc<Table>>,
}

/// What is known of one namespace.
#[derive(Debug, Default)]
struct Inside {
    /// Speaks to it; made when there is something to say.
    socket: Option<Socket>,
    /// `None`: nobody knows what is there.
    told: Option<Arc<Table>>,
    /// Of the kernel, after that was told. Another one: somebody touched something since.
    generation: Option<u32>,
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
}

impl Translations {
    pub(super) fn new(run_root: &Path) -> Translations {
        Translations { run_root: run_root.to_owned(), inside: BTreeMap::new(), tables: BTreeMap::new() }
    }

    /// The namespace is gone, or about to go: an open socket would keep it in being.
    pub(super) fn forget(&mut self, task: TaskId) {
        self.inside.remove(&task);
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
        let mut tables: BTreeMap<BTreeSet<NetworkId>, Arc<Table>> = BTreeMap::new();
        let mut messages: BTreeMap<(usize, usize), Arc<Message>> = BTreeMap::new();
        let mut jobs = Vec::new();
        for (task, endpoint) in net.endpoints.iter().filter(|(task, _)| there.contains_key(task)) {
            let networks: BTreeSet<NetworkId> = endpoint.attachments.iter().map(|it| it.network).collect();
            let after = match tables.get(&networks) {
                Some(table) => table.clone(),
                None => {
                    let table = self.table(net, &networks);
                    tables.insert(networks, table.clone());
                    table
                }
            };
            let nothing = || Inside { told: Some(Arc::default()), ..Inside::default() };
            let inside = self.inside.entry(*task).or_insert_with(|| match fresh.contains(task) {
                true => nothing(),
                false => Inside::default(),
            });
            if look {
                inside.suspect();
            }
            if inside.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &after) || *told == after) {
                continue;
            }
            let told = inside.told.clone().filter(|told| told.grows_into(&after));
            let between = (told.as_ref().map_or(0, |told| Arc::as_ptr(told) as usize), Arc::as_ptr(&after) as usize);
            let message = messages.entry(between).or_insert_with(|| Arc::new(Message::new(told.as_deref(), &after)));
            jobs.push(Job { task: *task, inside: std::mem::take(inside), after, message: message.clone() });
        }
        self.tables = tables;
        self.run(jobs)
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
        let mut unanswered = Unanswered::new();
        for (task, outcome) in outcomes {
            match outcome {
                Ok((inside, waiting)) => {
                    self.inside.insert(task, inside);
                    unanswered.extend((!waiting.is_empty()).then_some((task, waiting)));
                }
                Err(error) => {
                    self.inside.remove(&task);
                    errors.insert(task, error);
                }
            }
        }
        if !unanswered.is_empty() {
            let run_root = run_root.clone();
            let later = move || forget_unanswered(&run_root, unanswered);
            // Without it they wait until nobody tries any more.
            let _best_effort = std::thread::Builder::new().name("unanswered".to_owned()).spawn(later);
        }
        errors
    }
}

/// Connections to backends that went before they had answered, by whose they are.
type Unanswered = BTreeMap<TaskId, BTreeSet<conntrack::Entry>>;

/// Gives backends that may only be slow the time to answer: a connection that is forgotten in the moment when it is
/// answered would be cut.
fn forget_unanswered(run_root: &Path, unanswered: Unanswered) {
    std::thread::sleep(UNANSWERED);
    for (task, suspects) in unanswered {
        let forgotten = open(run_root, task).and_then(|socket| conntrack::forget_unanswered(&socket, &suspects));
        if let Err(error) = forgotten {
            tracing::debug!(%task, %error, "cannot forget what a backend that is gone never answered");
        }
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
    fn new(told: Option<&Table>, after: &Table) -> Message {
        let lost = told.map(|told| told.lost(after)).unwrap_or_default();
        Message { letter: Letter::new(told, after), lost }
    }
}

impl Job {
    /// Gives what it is now, and what was asked of backends that are gone.
    fn run(self, run_root: &Path) -> io::Result<(Inside, BTreeSet<conntrack::Entry>)> {
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
            inside.socket = Some(socket);
        }
        inside.told = Some(after);
        Ok((inside, unanswered))
    }
}

/// A socket that speaks to the namespace of a task, for ever. Moves the calling thread.
fn open(run_root: &Path, task: TaskId) -> io::Result<Socket> {
    let namespace = netns::open(&names::netns_path(run_root, task))?;
    netns::enter(namespace.ok_or_else(|| io::Error::other("its network namespace has vanished"))?)?;
    Socket::netfilter()
}
