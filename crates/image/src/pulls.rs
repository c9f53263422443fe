//! Pulls under way: those who want the same thing at the same time share one.

use crate::error::{Error, Result};
use crate::registry::Asked;
use crate::registry::auth::fingerprint;
use crate::store::Store;
use crate::store::layers::Hold;
use model::Logins;
use model::image::{Digest, Reference};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Layers that are fetched and unpacked at the same time, over all pulls.
const AT_ONCE: usize = 4;

/// Progress of one layer, or of the image as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Short digest of the layer, or the reference.
    pub id: String,
    /// `waiting`, `downloading`, `unpacking`, `retrying`, `exists`, `done`.
    pub status: &'static str,
    /// Bytes so far.
    pub current: u64,
    /// Bytes in all, 0 unknown.
    pub total: u64,
}

/// What a pull came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Image id.
    pub id: Digest,
    /// What the registry calls it: digest of the index if there is one, else of the manifest.
    pub digest: Digest,
    /// It was not here before.
    pub is_new: bool,
}

type Outcome = Option<Result<Pulled, Arc<Error>>>;

/// Keeps what was pulled until all who waited for it have dropped their [`Pull`].
type Kept = Arc<Mutex<Option<Hold>>>;

/// What is pulled, and with whose login.
type Key = (String, Option<Digest>);

/// All pulls under way.
#[derive(Debug)]
pub(crate) struct Pulls {
    running: Mutex<BTreeMap<Key, Weak<Running>>>,
    layers: Mutex<BTreeMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    pub(crate) slots: Semaphore,
}

impl Default for Pulls {
    fn default() -> Self {
        Pulls { running: Mutex::default(), layers: Mutex::default(), slots: Semaphore::new(AT_ONCE) }
    }
}

#[derive(Debug)]
struct Running {
    progress: watch::Receiver<Vec<Progress>>,
    outcome: watch::Receiver<Outcome>,
    cancel: CancellationToken,
    #[expect(dead_code, reason = "it is there to be dropped")]
    kept: Kept,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// A pull that somebody waits for; its image is not removed while this lives. When all who wait have
/// dropped theirs, it is cancelled; what was fetched serves the next one.
#[derive(Debug, Clone)]
pub struct Pull(Arc<Running>);

impl Pull {
    /// Every layer's progress, as it changes.
    pub fn progress(&self) -> watch::Receiver<Vec<Progress>> {
        self.0.progress.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The image could not be had; shared by all who waited.
    pub async fn wait(&self) -> Result<Pulled, Arc<Error>> {
        let mut outcome = self.0.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(Arc::new(Error::Cancelled))),
            Err(_) => Err(Arc::new(Error::Cancelled)),
        }
    }
}

/// One layer at a time is fetched once, whichever images it is in.
pub(crate) type LayerLock = Arc<tokio::sync::Mutex<()>>;

impl Pulls {
    pub(crate) fn layer(&self, digest: &Digest) -> LayerLock {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = layers.get(digest).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = LayerLock::default();
        layers.insert(digest.clone(), Arc::downgrade(&lock));
        lock
    }

    /// Nothing is being fetched or unpacked.
    pub(crate) fn are_idle(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().all(|pull| pull.upgrade().is_none_or(|pull| pull.outcome.borrow().is_some()))
    }
}

impl Store {
    /// Fetches an image, by digest if the reference has one, else by tag; joins a pull of the same
    /// reference with the same login. Of these logins that of its registry is used before what is in Docker's
    /// file. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The text is no reference.
    pub fn pull(&self, reference: &str, logins: &Logins) -> Result<Pull> {
        let reference: Reference = reference.parse()?;
        let login = logins.get(reference.host()).cloned();
        let name = match reference.digest() {
            Some(_) => reference.to_string(),
            None => reference.tagged(),
        };
        let key = (name, login.as_ref().map(fingerprint));
        let mut running = self.inner.pulls.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, pull| pull.strong_count() > 0);
        if let Some(pull) = running.get(&key).and_then(Weak::upgrade)
            && pull.outcome.borrow().is_none()
        {
            return Ok(Pull(pull));
        }
        let (progress_sender, progress) = watch::channel(Vec::new());
        let (outcome_sender, outcome) = watch::channel(None);
        let cancel = CancellationToken::new();
        let kept = Kept::default();
        let pull = Arc::new(Running { progress, outcome, cancel: cancel.clone(), kept: kept.clone() });
        running.insert(key, Arc::downgrade(&pull));
        let store = self.clone();
        tokio::spawn(async move {
            let asked = Asked { reference: &reference, login: login.as_ref() };
            let result = crate::pull::pull(&store, asked, &progress_sender, &cancel).await;
            let result = result.map(|(pulled, hold)| {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold);
                pulled
            });
            drop(kept);
            let _all_have_left = outcome_sender.send(Some(result.map_err(Arc::new)));
        });
        Ok(Pull(pull))
    }
}
