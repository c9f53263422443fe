//! Connections that were translated when they began, and whose backend left without having answered. A packet of such
//! a one asks for the backend, not for the virtual address, so somebody has to remember where it may go instead, for as
//! long as TCP goes on asking. One thread does, by itself: nobody waits for it, and what it is told is small.
//!
//! What it knows ends with the process. Connections that ask in just those seconds go on asking for who has left.

use super::translations::enter;
use crate::kernel::conntrack::{self, Asked, Unanswered};
use crate::kernel::netlink::Socket;
use crate::kernel::netns;
use crate::kernel::nft::translate::{self, generation};
use crate::vips::Table;
use model::TaskId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After which a backend that is there would have answered: less than TCP waits before it asks again. A connection that
/// is forgotten in the moment when it is answered would be cut.
pub(super) const ANSWERED: Duration = Duration::from_millis(600);
/// By when those that were not have been led elsewhere.
const SETTLED: Duration = Duration::from_millis(700);
/// As long as TCP tries to begin a connection (`tcp_syn_retries`).
const TRIED: Duration = Duration::from_secs(130);
/// Until what could not be done is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// When all that was not answered when backends left has been, or was led elsewhere.
#[derive(Debug, Default)]
pub(super) struct Settling(Option<Instant>);

impl Settling {
    /// Some were not answered just now.
    pub(super) fn begin(&mut self) {
        self.0 = Some(Instant::now() + SETTLED);
    }

    /// How long backends that left may still be called.
    pub(super) fn left(&self) -> Duration {
        self.0.map_or(Duration::ZERO, |settled| settled.saturating_duration_since(Instant::now()))
    }
}

/// Something was told to a namespace.
#[derive(Debug)]
pub(super) struct News {
    pub(super) task: TaskId,
    /// Where virtual addresses lead now.
    pub(super) table: Arc<Table>,
    /// Connections to backends that it led to before, which were not answered yet.
    pub(super) unanswered: BTreeSet<Unanswered>,
    /// Nothing of what was there before is there any more.
    pub(super) anew: bool,
}

/// The way to the one who remembers.
#[derive(Debug)]
pub(super) struct Calls {
    run_root: PathBuf,
    thread: Option<Sender<News>>,
    steps: Steps,
    pub(super) settling: Settling,
}

/// Changes of rules that the thread made, from one number of the namespace's to the next.
type Steps = Arc<Mutex<BTreeMap<TaskId, BTreeMap<u32, u32>>>>;

impl Calls {
    pub(super) fn new(run_root: &Path) -> Calls {
        Calls { run_root: run_root.to_owned(), thread: None, steps: Steps::default(), settling: Settling::default() }
    }

    /// Without anybody unanswered nobody has to remember anything.
    pub(super) fn tell(&mut self, news: News) {
        if !news.unanswered.is_empty() {
            self.settling.begin();
        }
        if self.thread.is_none() && !news.unanswered.is_empty() {
            let (sender, receiver) = channel();
            let (run_root, steps) = (self.run_root.clone(), self.steps.clone());
            let work = move || keep(&run_root, &receiver, &steps);
            self.thread = std::thread::Builder::new().name("unanswered".to_owned()).spawn(work).ok().map(|_| sender);
        }
        if self.thread.as_ref().is_some_and(|thread| thread.send(news).is_err()) {
            self.thread = None;
        }
    }

    /// The namespace is gone.
    pub(super) fn forget(&self, task: TaskId) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
    }

    /// Where this number has come to by what the thread did since.
    pub(super) fn since(&self, task: TaskId, mut generation: Option<u32>) -> Option<u32> {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner).remove(&task).unwrap_or_default();
        while let Some(next) = generation.and_then(|number| steps.get(&number)) {
            generation = Some(*next);
        }
        generation
    }
}

/// Until nobody tells anything any more.
fn keep(run_root: &Path, receiver: &Receiver<News>, steps: &Steps) {
    let Ok(home) = netns::current() else { return };
    let mut places: BTreeMap<TaskId, Place> = BTreeMap::new();
    loop {
        let due = places.values().filter_map(Place::due).min();
        let first = match due.map(|due| receiver.recv_timeout(due.saturating_duration_since(Instant::now()))) {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(heard) => heard,
        };
        match first {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(first) => std::iter::once(first).chain(receiver.try_iter()).for_each(|news| {
                if !news.unanswered.is_empty() || places.contains_key(&news.task) {
                    places.entry(news.task).or_default().hear(news, Instant::now());
                }
            }),
        }
        for (task, place) in &mut places {
            let now = Instant::now();
            if place.due().is_none_or(|due| due > now) {
                continue;
            }
            let worked = enter(run_root, *task).and_then(|()| place.work(&Socket::netfilter()?, *task, steps, now));
            if let Err(error) = worked {
                tracing::debug!(%task, %error, "cannot lead elsewhere what a backend that is gone never answered");
                place.give_up(now);
            }
        }
        places.retain(|_, place| place.due().is_some());
        // A namespace with a thread in it would live for ever.
        if netns::enter(&home).is_err() {
            return;
        }
    }
}

/// Connections of one namespace.
#[derive(Debug, Default)]
struct Place {
    table: Arc<Table>,
    /// Those that may be answered yet, until then.
    suspects: Vec<(Instant, Unanswered)>,
    calls: BTreeMap<Asked, Call>,
    /// Since when the kernel has not been told all.
    stale: Option<Instant>,
    /// How those are tracked whose way has changed since.
    moved: BTreeSet<Vec<u8>>,
    /// Not before that.
    pause: Option<Instant>,
}

#[derive(Debug)]
struct Call {
    vip: IpAddr,
    original: Vec<u8>,
    /// `None`: nobody is there. It waits for somebody.
    to: Option<IpAddr>,
    until: Instant,
}

impl Place {
    /// When there is something to do. `None`: never.
    fn due(&self) -> Option<Instant> {
        let suspects = self.suspects.iter().map(|(due, _)| *due);
        let due = suspects.chain(self.calls.values().map(|call| call.until)).chain(self.stale).min()?;
        Some(self.pause.map_or(due, |pause| pause.max(due)))
    }

    fn hear(&mut self, news: News, now: Instant) {
        self.table = news.table;
        self.suspects.extend(news.unanswered.into_iter().map(|it| (now + ANSWERED, it)));
        if news.anew {
            self.moved.extend(self.calls.values().filter(|call| call.to.is_some()).map(|call| call.original.clone()));
            self.stale.get_or_insert(now);
        }
        self.lead(now);
    }

    /// Who goes where.
    fn lead(&mut self, now: Instant) {
        for (asked, call) in &mut self.calls {
            let backends = self.table.backends(call.vip);
            if call.to.is_some_and(|to| backends.contains(&to)) {
                continue;
            }
            let to = usize::from(asked.port).checked_rem(backends.len()).and_then(|at| backends.get(at)).copied();
            if call.to != to {
                call.to = to;
                self.moved.insert(call.original.clone());
                self.stale.get_or_insert(now);
            }
        }
    }

    /// Does what is due, in the calling thread's namespace.
    fn work(&mut self, socket: &Socket, task: TaskId, steps: &Steps, now: Instant) -> io::Result<()> {
        self.pause = None;
        if self.suspects.iter().any(|(due, _)| *due <= now) {
            let silent = conntrack::unanswered(socket)?;
            let suspects = std::mem::take(&mut self.suspects).into_iter();
            let (ripe, green): (Vec<_>, Vec<_>) = suspects.partition(|(due, _)| *due <= now);
            self.suspects = green;
            let mut translated = Vec::new();
            for (_, Unanswered { entry, asked }) in ripe.into_iter().filter(|(_, it)| silent.contains(&it.entry)) {
                match asked {
                    Some((asked, vip)) => {
                        let call = Call { vip, original: entry.original, to: None, until: now + TRIED };
                        self.calls.insert(asked, call);
                    }
                    None => translated.push(entry),
                }
            }
            // The next packet begins anew, and is translated to somebody else.
            conntrack::delete(socket, &translated)?;
        }
        let count = self.calls.len();
        self.calls.retain(|_, call| now < call.until);
        if count != self.calls.len() {
            self.stale.get_or_insert(now);
        }
        self.lead(now);
        if self.stale.is_none() {
            return Ok(());
        }
        let before = generation(socket)?;
        translate::lead(&self.calls.iter().filter_map(|(asked, call)| Some((*asked, call.to?))).collect())?;
        if let (Some(before), Some(after)) = (before, generation(socket)?)
            && before.wrapping_add(1) == after
        {
            // More would be somebody else's.
            let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.entry(task).or_default().insert(before, after);
        }
        // Where a connection goes is kept with what is tracked of it. Who was answered meanwhile stays.
        if !self.moved.is_empty() {
            let unanswered = conntrack::unanswered(socket)?;
            conntrack::delete(socket, unanswered.iter().filter(|entry| self.moved.contains(&entry.original)))?;
        }
        self.moved.clear();
        self.stale = None;
        Ok(())
    }

    /// For now; and of those that nobody could be found for, for good. (The namespace may be gone.)
    fn give_up(&mut self, now: Instant) {
        self.pause = Some(now + PAUSE);
        self.suspects.retain(|(due, _)| now < *due + TRIED);
        self.calls.retain(|_, call| now < call.until + PAUSE);
        self.stale = self.stale.filter(|since| now < *since + TRIED);
    }
}
