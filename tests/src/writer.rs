//! Writes to a cluster, all the time and through every manager, and a memory of what was acknowledged: that is
//! there in the end, whatever happened meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Host, eventually};

/// Between two writes of one thread: tests share the cores with what they test.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a manager may take to know what others acknowledged.
const SOON: Duration = Duration::from_secs(30);

/// What was acknowledged, and when.
#[derive(Debug)]
struct Known {
    /// Made, and not removed since.
    there: BTreeSet<String>,
    /// Removed.
    gone: BTreeSet<String>,
    count: usize,
    last: Instant,
    longest: Duration,
}

/// Makes things with labels of their own, and removes each third of them again. What failed may have been done or
/// not: nobody may say.
#[derive(Debug)]
pub struct Writer<'l> {
    hosts: Vec<&'l Host>,
    tag: String,
    over: AtomicBool,
    number: AtomicU64,
    failures: AtomicU64,
    /// What the last one said that failed.
    failure: Mutex<String>,
    known: Mutex<Known>,
}

impl<'l> Writer<'l> {
    /// Through these managers; what it writes begins with `tag`.
    pub fn new(hosts: impl IntoIterator<Item = &'l Host>, tag: &str) -> Writer<'l> {
        let known = Known {
            there: BTreeSet::new(),
            gone: BTreeSet::new(),
            count: 0,
            last: Instant::now(),
            longest: Duration::ZERO,
        };
        Writer {
            hosts: hosts.into_iter().collect(),
            tag: tag.to_owned(),
            over: AtomicBool::new(false),
            number: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failure: Mutex::default(),
            known: Mutex::new(known),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes through each manager at once while something is done.
    ///
    /// # Panics
    /// A thread of it does.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Ends the threads when the work panics, too.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        self.over.store(false, Ordering::Relaxed);
        self.known().last = Instant::now();
        std::thread::scope(|scope| {
            for host in &self.hosts {
                scope.spawn(|| {
                    while !self.over.load(Ordering::Relaxed) {
                        self.write(host);
                        std::thread::sleep(PAUSE);
                    }
                });
            }
            let _over = Over(&self.over);
            work()
        })
    }

    /// One write through one manager.
    fn write(&self, host: &Host) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        // Once it is taken from those that are there it may be so or not, unless its removal is acknowledged.
        let old = (number % 3 == 2).then(|| self.known().there.pop_first()).flatten();
        let name = old.clone().unwrap_or_else(|| format!("{}-{number}", self.tag));
        let output = match &old {
            None => host.rswarm_with_input(["config", "create", &name, "-"], name.as_bytes()),
            Some(old) => host.rswarm(["config", "rm", old]),
        };
        if !output.succeeded() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = output.to_string();
            return;
        }
        let mut known = self.known();
        let now = Instant::now();
        known.longest = known.longest.max(now.duration_since(known.last));
        known.last = now;
        known.count += 1;
        if old.is_some() {
            known.gone.insert(name)
        } else {
            known.there.insert(name)
        };
    }

    /// No write has failed so far.
    ///
    /// # Panics
    /// One has.
    #[track_caller]
    pub fn expect_no_failure(&self) {
        let last = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(self.failures.load(Ordering::Relaxed), 0, "the last of them: {last}");
    }

    /// How many writes were acknowledged so far.
    pub fn count(&self) -> usize {
        self.known().count
    }

    /// The longest time between two acknowledged writes so far.
    pub fn longest_gap(&self) -> Duration {
        self.known().longest
    }

    /// Waits until some more is acknowledged: more than can have been on its way.
    ///
    /// # Panics
    /// It is not, within `limit`.
    pub fn goes_on(&self, limit: Duration) {
        let before = self.count();
        eventually("writes are acknowledged", limit, || self.count() > before + 2 * self.hosts.len());
    }

    /// All that was acknowledged is so, as each of these managers tells.
    ///
    /// # Panics
    /// It is not.
    pub fn expect_all<'h>(&self, through: impl IntoIterator<Item = &'h Host>) {
        for host in through {
            let mut wrong = Vec::new();
            let end = Instant::now() + SOON;
            loop {
                let rows = host.rswarm(["config", "ls", "--format", "{{.Name}}"]);
                if rows.succeeded() {
                    let shown: BTreeSet<String> = rows.lines().into_iter().collect();
                    let known = self.known();
                    let lost = known.there.difference(&shown).map(|name| format!("{name} is lost"));
                    let back = known.gone.intersection(&shown).map(|name| format!("{name} is there again"));
                    wrong = lost.chain(back).collect();
                    if wrong.is_empty() {
                        break;
                    }
                }
                assert!(Instant::now() < end, "as {} tells: {wrong:?} {rows}", host.namespace());
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
