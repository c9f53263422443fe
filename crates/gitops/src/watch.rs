//! Watches files, however they are written: in place, by rename, by a swap of symbolic links, by
//! `git checkout`, on file systems that tell nobody.

use crate::files::{Folder, Touched, stamp};
use notify::event::EventKind;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// After the last event, before a change counts as complete.
const QUIET: Duration = Duration::from_millis(50);

/// Somebody who saves without end is followed at this distance.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often files are looked at where the kernel tells of them, in case it could not.
const SELDOM: Duration = Duration::from_secs(5);

/// The same where it does not: on file systems that others write to.
const OFTEN: Duration = Duration::from_secs(1);

/// Most symbolic links on the way to one file (Linux's own limit).
const LINKS: usize = 40;

/// Every name of a folder matters; none can be called so.
const ANY: &str = "/";

/// Folders, and the names in them that matter.
type Names = BTreeMap<PathBuf, BTreeSet<OsString>>;

/// Watches a set of files that changes with what is in them.
pub struct Watch {
    /// `None`: the kernel gives us no more watches, so we look ourselves.
    watcher: Option<RecommendedWatcher>,
    shared: Arc<Shared>,
    folders: BTreeSet<PathBuf>,
    touched: Touched,
    stamps: BTreeMap<PathBuf, Option<(i64, i64, u64, u64)>>,
    remote: bool,
    /// Something may have happened that was not looked into yet, since then.
    since: Option<Instant>,
    /// When the files were looked at last because of the time.
    looked: Instant,
}

#[derive(Default)]
struct Shared {
    names: Mutex<Names>,
    event: Notify,
}

impl Default for Watch {
    fn default() -> Self {
        Watch::new()
    }
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Watch {
        let shared = Arc::new(Shared::default());
        let told = shared.clone();
        let watcher = notify::recommended_watcher(move |event| told.take(event));
        let watcher = watcher.inspect_err(|error| tracing::warn!("files are looked at once a second: {error}")).ok();
        Watch {
            watcher,
            shared,
            folders: BTreeSet::new(),
            touched: Touched::default(),
            stamps: BTreeMap::new(),
            remote: false,
            since: None,
            looked: Instant::now(),
        }
    }

    /// From now on these files, as they were when they were read.
    pub fn follow(&mut self, touched: Touched) {
        self.place(touched);
        // What happened between reading and this is found by looking once more.
        self.since = Some(Instant::now());
    }

    fn place(&mut self, touched: Touched) {
        let mut names = Names::new();
        for path in touched.paths() {
            trail(path, &mut names);
        }
        for folder in touched.folders().filter(|folder| folder.is_dir()) {
            names.entry(folder.to_owned()).or_default().insert(ANY.into());
        }
        let wanted: BTreeSet<PathBuf> = names.keys().cloned().collect();
        *self.shared.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        if let Some(watcher) = &mut self.watcher {
            for gone in self.folders.difference(&wanted) {
                let _not_there_any_more = watcher.unwatch(gone);
            }
            // Also those that are watched already: another folder may be in their place.
            self.remote = false;
            for folder in &wanted {
                self.remote |= is_remote(folder) || watcher.watch(folder, RecursiveMode::NonRecursive).is_err();
            }
        }
        self.folders = wanted;
        self.touched = touched;
    }

    /// Returns when the files differ from what was read and nobody writes them any more. Files that were
    /// written with the same content do not count. Nothing is lost when it is given up and asked again.
    pub async fn changed(&mut self, files: &(dyn Folder + Sync)) {
        loop {
            let began = match self.since {
                Some(since) => since,
                None => {
                    self.event().await;
                    *self.since.insert(Instant::now())
                }
            };
            loop {
                let more = tokio::time::timeout(QUIET, self.shared.event.notified()).await.is_ok();
                if (!more || began.elapsed() >= PATIENCE) && !self.touched.is_being_written() {
                    break;
                }
            }
            // Before the files are read: who changes one meanwhile is seen at the next look.
            self.stamps = self.touched.paths().map(|path| (path.to_owned(), stamp(path))).collect();
            if self.touched.is_stale(files) {
                return;
            }
            self.since = None;
            // A folder that came back is another one.
            self.place(self.touched.clone());
        }
    }

    /// Something may have happened.
    async fn event(&mut self) {
        let often = self.remote || self.watcher.is_none();
        let pause = if often { OFTEN } else { SELDOM };
        loop {
            tokio::select! {
                () = self.shared.event.notified() => return,
                () = tokio::time::sleep_until(self.looked + pause) => {
                    self.looked = Instant::now();
                    if self.stamps.iter().any(|(path, known)| stamp(path) != *known) {
                        return;
                    }
                }
            }
        }
    }
}

impl Shared {
    fn take(&self, event: notify::Result<notify::Event>) {
        let matters = match event {
            // Reading is none of our business; we do it ourselves.
            Ok(event) if matches!(event.kind, EventKind::Access(access) if !is_end_of_writing(access)) => false,
            Ok(event) if event.need_rescan() => true,
            Ok(event) => {
                let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                event.paths.iter().any(|path| concerns(&names, path))
            }
            Err(_) => true,
        };
        if matters {
            self.event.notify_one();
        }
    }
}

fn is_end_of_writing(access: notify::event::AccessKind) -> bool {
    matches!(access, notify::event::AccessKind::Close(notify::event::AccessMode::Write))
}

/// Is it one of the names, or a folder of theirs itself?
fn concerns(names: &Names, path: &Path) -> bool {
    let named = path.parent().zip(path.file_name()).is_some_and(|(folder, name)| {
        names.get(folder).is_some_and(|names| names.contains(name) || names.contains(OsStr::new(ANY)))
    });
    named || names.contains_key(path)
}

/// Every name that decides what is found at `path`: its own, those of symbolic links on the way, and those
/// of the two folders above, which `git checkout` may make anew.
fn trail(path: &Path, names: &mut Names) {
    let mut todo = vec![path.to_owned()];
    let mut links = 0;
    while let Some(path) = todo.pop() {
        let ancestors: Vec<&Path> = path.ancestors().collect();
        for (above, place) in ancestors.iter().enumerate() {
            let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else { continue };
            let target = std::fs::read_link(place).ok();
            if (above < 3 || target.is_some()) && folder.is_dir() {
                names.entry(folder.to_owned()).or_default().insert(name.to_owned());
            }
            if let Some(target) = target.filter(|_| links < LINKS) {
                links += 1;
                let rest = path.strip_prefix(place).unwrap_or(Path::new(""));
                todo.push(clean(&folder.join(target).join(rest)));
                break;
            }
        }
    }
}

/// Without `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            std::path::Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

/// File systems whose changes by others the kernel does not see (statfs(2)).
fn is_remote(path: &Path) -> bool {
    const REMOTE: [u64; 9] = [
        0x6969,      // NFS
        0x517b,      // SMB
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB2
        0x6573_5546, // FUSE
        0x0102_1997, // 9P
        0x00c3_6400, // Ceph
        0x5346_414f, // AFS
        0x786f_4256, // vboxsf
    ];
    // As an unsigned number of 32 bits, whatever the architecture has.
    rustix::fs::statfs(path).is_ok_and(|stat| REMOTE.contains(&((stat.f_type as u64) & 0xffff_ffff)))
}

#[cfg(test)]
mod tests;
