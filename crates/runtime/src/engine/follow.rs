//! Reading and following logs.

use super::entry::{Entry, Phase};
use super::{Engine, Error, Result};
use crate::logs::{Cursor, LogQuery, LogRecord};
use rustix::fs::inotify;
use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};

/// Records that wait for whoever reads them.
const QUEUE: usize = 256;

/// Where the kernel says nothing (no inotify left, say), the log is looked at so often.
const LOOK: Duration = Duration::from_secs(1);

/// Begins to send the records that the query asks for.
pub(super) async fn open(engine: &Engine, entry: &Arc<Entry>, query: LogQuery) -> Result<mpsc::Receiver<LogRecord>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let path = engine.folder(entry.task).log();
    // Before the first read, so that nothing is missed between.
    let changes = query.follow.then(|| engine.inner.follower.watch(path.parent().unwrap_or(&path)));
    let begin = path.clone();
    let follow = query.follow;
    let cursor = engine
        .block(move |_| {
            Cursor::open(&begin, &query).map_err(|source| Error::Io { what: "open the log", path: begin, source })
        })
        .await?;
    let entry = entry.clone();
    tokio::spawn(async move {
        if let Err(error) = send(cursor, &sender, changes.filter(|_| follow), &entry).await {
            tracing::warn!("read {}: {error}", path.display());
        }
    });
    Ok(receiver)
}

/// Sends until all is read and nothing more can come.
async fn send(
    mut cursor: Cursor,
    sender: &mpsc::Sender<LogRecord>,
    changes: Option<Arc<Watch>>,
    entry: &Entry,
) -> io::Result<()> {
    let mut seen = entry.seen.subscribe();
    loop {
        // Asked before the read: what was written before the end is then still read.
        let over = matches!(seen.borrow_and_update().phase, Phase::Exited(_) | Phase::Absent);
        let changed = changes.as_ref().map(|changes| changes.notify.notified());
        let mut changed = std::pin::pin!(changed);
        if let Some(changed) = changed.as_mut().as_pin_mut() {
            changed.enable();
        }
        loop {
            let (back, batch) = tokio::task::spawn_blocking(move || {
                let batch = cursor.batch();
                (cursor, batch)
            })
            .await
            .map_err(io::Error::other)?;
            cursor = back;
            let batch = batch?;
            if batch.is_empty() {
                break;
            }
            for record in batch {
                if sender.send(record).await.is_err() {
                    return Ok(());
                }
            }
        }
        let Some(changed) = changed.as_pin_mut() else { return Ok(()) };
        if over || cursor.is_done() {
            return Ok(());
        }
        tokio::select! {
            () = changed => {}
            changed = seen.changed() => if changed.is_err() {
                return Ok(());
            },
            () = tokio::time::sleep(LOOK) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// One inotify instance for all followers: a user has few of them.
#[derive(Debug)]
pub(super) struct Watcher {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    inotify: Option<Arc<AsyncFd<OwnedFd>>>,
    watches: BTreeMap<i32, Weak<Watch>>,
    by_path: BTreeMap<PathBuf, i32>,
}

/// Says that something in a folder has changed, as long as it is held.
#[derive(Debug)]
pub(super) struct Watch {
    notify: Notify,
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl Watcher {
    pub(super) fn new() -> Self {
        Watcher { state: Arc::default() }
    }

    /// Watches a folder. Where that is impossible the watch never says anything.
    fn watch(&self, path: &Path) -> Arc<Watch> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = state.by_path.get(path).and_then(|id| state.watches.get(id)).and_then(Weak::upgrade) {
            return known;
        }
        let watch = Arc::new(Watch { notify: Notify::new(), state: self.state.clone(), path: path.to_owned() });
        match self.add(&mut state, path) {
            Ok(id) => {
                state.watches.insert(id, Arc::downgrade(&watch));
                state.by_path.insert(path.to_owned(), id);
            }
            Err(error) => tracing::debug!("watch {}: {error}", path.display()),
        }
        watch
    }

    fn add(&self, state: &mut State, path: &Path) -> io::Result<i32> {
        use inotify::WatchFlags as W;
        let inotify = match &state.inotify {
            Some(inotify) => inotify.clone(),
            None => {
                let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
                let inotify = Arc::new(crate::sys::wait_on(fd)?);
                tokio::spawn(pump(Arc::downgrade(&inotify), self.state.clone()));
                state.inotify = Some(inotify.clone());
                inotify
            }
        };
        let flags = W::MODIFY | W::CREATE | W::MOVED_TO | W::DELETE_SELF | W::ONLYDIR;
        Ok(inotify::add_watch(inotify.get_ref(), path, flags)?)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(id) = state.by_path.get(&self.path).copied() else { return };
        // Somebody may have begun to watch the same folder meanwhile.
        if state.watches.get(&id).is_some_and(|watch| watch.strong_count() == 0) {
            state.watches.remove(&id);
            state.by_path.remove(&self.path);
            if let Some(inotify) = &state.inotify {
                // The folder may be gone, and the watch with it.
                let _gone = inotify::remove_watch(inotify.get_ref(), id);
            }
            if state.watches.is_empty() {
                state.inotify = None;
            }
        }
    }
}

/// Hands the kernel's words on, until nobody watches.
async fn pump(inotify: Weak<AsyncFd<OwnedFd>>, state: Arc<Mutex<State>>) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    loop {
        let Some(held) = inotify.upgrade() else { return };
        // Not held while waiting, so that the last watch can close it.
        let ready = tokio::time::timeout(LOOK, held.readable()).await;
        let Ok(Ok(mut ready)) = ready else {
            if Arc::strong_count(&held) == 1 {
                return;
            }
            continue;
        };
        let mut ids = Vec::new();
        let mut reader = inotify::Reader::new(held.get_ref(), &mut buffer);
        while let Ok(event) = reader.next() {
            ids.push(event.wd());
        }
        ready.clear_ready();
        let watches: Vec<Arc<Watch>> = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            ids.iter().filter_map(|id| state.watches.get(id)).filter_map(Weak::upgrade).collect()
        };
        for watch in watches {
            watch.notify.notify_waiters();
        }
    }
}
