//! One source: when to look, and what to tell the manager.

use super::Nudge;
use super::elsewhere;
use super::fetch::{self, Found, Known, Trouble};
use crate::shared::Daemon;
use crate::{clock, config, pin};
use ::gitops::files::Touched;
use ::gitops::schedule::Schedule;
use ::gitops::watch::Watch;
use api::ApiError;
use model::diagnostic::Diagnostic;
use model::{Commit, Origin, Request, RequestId, Response, Source, SourceRequest, Sync, SyncOutcome, SyncReport};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// A file that makes no sense may be about to: it is told when it stays so.
const DOUBT: Duration = Duration::from_millis(500);

/// How often a path is looked at that can't be read.
const AGAIN: Duration = Duration::from_secs(5);

/// What is said of an image that was not to be had, and that runs.
const KEPT: &str = "what runs under this name already goes on; `gitops sync` asks for it again";

/// Why it is looked now.
#[derive(Default)]
struct Reason {
    asked: bool,
    done: Vec<oneshot::Sender<()>>,
}

/// Follows until the source is forgotten or the daemon stops.
pub(super) async fn follow(
    daemon: Arc<Daemon>,
    mut sources: watch::Receiver<Arc<Source>>,
    mut nudges: mpsc::UnboundedReceiver<Nudge>,
) {
    let source = sources.borrow_and_update().clone();
    let mut follower = Follower {
        schedule: schedule(&source),
        version: source.version,
        known: Known::default(),
        watch: None,
        read: None,
        daemon,
    };
    let mut reason = Some(Reason::default());
    loop {
        let source = sources.borrow_and_update().clone();
        if source.version != follower.version {
            follower.version = source.version;
            follower.schedule = schedule(&source);
            reason.get_or_insert_default();
        }
        if let Some(reason) = reason.take() {
            if reason.asked || !source.suspended {
                follower.look(&source, reason.asked).await;
            }
            for done in reason.done {
                let _left = done.send(());
            }
        }
        tokio::select! {
            changed = sources.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            nudge = nudges.recv() => {
                let Some(first) = nudge else { return };
                let mut all = Reason::default();
                let mut next = Some(first);
                // Those that came meanwhile are answered by the same look.
                while let Some(Nudge { asked, done }) = next {
                    all.asked |= asked;
                    all.done.extend(done);
                    next = nudges.try_recv().ok();
                }
                reason = Some(all);
            }
            () = follower.due(&source) => reason = Some(Reason::default()),
        }
    }
}

fn schedule(source: &Source) -> Schedule {
    let mut hasher = DefaultHasher::new();
    source.spec.name.hash(&mut hasher);
    Schedule::new(source.spec.interval, hasher.finish(), clock::steady())
}

struct Follower {
    daemon: Arc<Daemon>,
    schedule: Schedule,
    version: u64,
    known: Known,
    /// Of a path.
    watch: Option<Watch>,
    /// The state of the files of another node when they were read last.
    read: Option<String>,
}

impl Follower {
    /// Returns when it is time to look again by itself.
    async fn due(&mut self, source: &Source) {
        if let Some((node, path)) = elsewhere::place(&self.daemon, source) {
            let known = self.read.as_deref();
            return elsewhere::changed(&self.daemon, source, node, path, known).await;
        }
        let files = fetch::files(source);
        match (&source.spec.origin, &mut self.watch) {
            (Origin::Path { .. }, Some(watch)) => watch.changed(&*files).await,
            (Origin::Path { .. }, None) => tokio::time::sleep(AGAIN).await,
            (Origin::Git { .. }, _) => match self.schedule.next() {
                Some(next) => tokio::time::sleep(next.since(clock::steady())).await,
                None => std::future::pending().await,
            },
        }
    }

    /// Looks once, and tells what is new.
    async fn look(&mut self, source: &Arc<Source>, asked: bool) {
        match self.look_at(source, asked).await {
            Ok(answered) => self.schedule.asked(clock::steady(), answered),
            Err(error) => {
                tracing::warn!(source = %source.spec.name, "follow: {}", error.message);
                self.schedule.asked(clock::steady(), false);
            }
        }
    }

    async fn look_at(&mut self, source: &Arc<Source>, asked: bool) -> Result<bool, ApiError> {
        if let Origin::Git { url, reference } = &source.spec.origin
            && !asked
        {
            // The usual case: one question, and nothing is new.
            match fetch::resolve(&self.daemon, source, url, reference).await {
                Ok((commit, _)) if is_known(source, &commit) => {
                    self.reachable(source, commit).await?;
                    return Ok(true);
                }
                Ok(_) => {}
                Err(trouble) => return self.tell(source, trouble).await,
            }
        }
        let found = fetch::newest(&self.daemon, source, &mut self.known, asked).await;
        self.read = match &found {
            Ok(found) => Some(found.commit.id.clone()),
            Err(Trouble::Invalid(refused)) => Some(refused.commit.id.clone()),
            Err(Trouble::Unreachable(_)) => None,
        };
        match found {
            Ok(found) => {
                self.watch(&found.touched, source);
                if !asked && is_known(source, &found.commit.id) {
                    self.reachable(source, found.commit.id).await?;
                    return Ok(true);
                }
                self.apply(source, found, asked).await
            }
            Err(Trouble::Invalid(refused)) => {
                self.watch(&refused.touched, source);
                if !asked && is_known(source, &refused.commit.id) {
                    return Ok(true);
                }
                // A path may be in the middle of being written.
                if self.watch.is_some() && tokio::time::timeout(DOUBT, self.due(source)).await.is_ok() {
                    return Box::pin(self.look_at(source, asked)).await;
                }
                self.tell(source, Trouble::Invalid(refused)).await
            }
            Err(trouble) => self.tell(source, trouble).await,
        }
    }

    fn watch(&mut self, touched: &Touched, source: &Source) {
        let is_far = elsewhere::place(&self.daemon, source).is_some();
        if matches!(source.spec.origin, Origin::Path { .. }) && !is_far {
            self.watch.get_or_insert_with(Watch::new).follow(touched.clone());
        }
    }

    /// It answers, and says nothing new.
    async fn reachable(&self, source: &Source, commit: String) -> Result<(), ApiError> {
        let status = &source.status;
        let refused = status.refused.as_ref() == Some(&commit);
        match status.outcome {
            SyncOutcome::Unreachable => {}
            // The commit that made no sense was taken back.
            SyncOutcome::Invalid if !refused => {}
            _ => return Ok(()),
        }
        let report = SyncReport {
            name: source.spec.name.clone(),
            version: source.version,
            // The branch may have gone back to what runs.
            commit: [&status.seen, &status.applied].into_iter().flatten().find(|known| known.id == commit).cloned(),
            outcome: SyncOutcome::Healthy,
            message: String::new(),
            diagnostics: Vec::new(),
        };
        self.ask(SourceRequest::Report(Box::new(report))).await.map(|_| ())
    }

    /// Pins the images and hands all stacks over; they are applied together or not at all.
    async fn apply(&mut self, source: &Source, mut found: Found, asked: bool) -> Result<bool, ApiError> {
        let mut leases = Vec::new();
        for stack in &mut found.stacks {
            match pin::stack_or_as_it_runs(&self.daemon, stack).await {
                Ok((more, kept)) => {
                    leases.extend(more);
                    found.warnings.extend(kept.into_iter().map(|text| Diagnostic::warning("RS8022", text).hint(KEPT)));
                }
                // The registry may be back before the commit is another.
                Err(error) => return self.tell(source, Trouble::Unreachable(error.message)).await,
            }
        }
        let name = source.spec.name.clone();
        let Found { commit, stacks, names, known, warnings, .. } = found;
        let id = commit.id.clone();
        let sync = Sync { name: name.clone(), version: source.version, commit, stacks, names, asked, warnings };
        match self.ask(SourceRequest::Sync(Box::new(sync))).await? {
            Response::Done { changes, .. } => {
                self.known = known;
                self.daemon.events.emit("source", "sync", name.as_str(), &[("name", &name), ("commit", &id)]);
                tracing::info!(source = %name, commit = %id, changes = changes.len(), "synced");
                Ok(true)
            }
            Response::Refused { diagnostics, .. } => {
                // The source was changed meanwhile: the new one is looked at anew.
                let why = diagnostics.first().map_or("", |diagnostic| diagnostic.message.as_str());
                tracing::info!(source = %name, commit = %id, "not synced: {why}");
                self.reachable(source, id).await?;
                Ok(true)
            }
            Response::State(_) => Ok(true),
        }
    }

    async fn tell(&self, source: &Source, trouble: Trouble) -> Result<bool, ApiError> {
        let message = trouble.message();
        let name = &source.spec.name;
        let (outcome, commit, diagnostics): (_, Option<Commit>, _) = match trouble {
            Trouble::Unreachable(_) => (SyncOutcome::Unreachable, None, Vec::new()),
            Trouble::Invalid(refused) => (SyncOutcome::Invalid, Some(refused.commit), refused.diagnostics),
        };
        if source.status.message != message {
            tracing::warn!(source = %name, "{}: {message}", outcome.word());
            self.daemon.events.emit("source", outcome.word(), name.as_str(), &[("name", name), ("message", &message)]);
        }
        let answered = outcome != SyncOutcome::Unreachable;
        let report = SyncReport { name: name.clone(), version: source.version, commit, outcome, message, diagnostics };
        self.ask(SourceRequest::Report(Box::new(report))).await?;
        Ok(answered)
    }

    async fn ask(&self, request: SourceRequest) -> Result<Response, ApiError> {
        let id = config::random().map_err(|error| crate::failure::failed(format!("{error:#}")))?;
        let request = Request::Source(Box::new(request));
        crate::calls::propose(&self.daemon, RequestId(u128::from_be_bytes(id)), request).await
    }
}

/// Has the commit been applied as the source is now, or been refused?
fn is_known(source: &Source, commit: &str) -> bool {
    let status = &source.status;
    // What is wrong with a commit is told again after the way to it was.
    let refused = status.refused.as_deref() == Some(commit) && status.outcome != SyncOutcome::Unreachable;
    let applied = status.applied.as_ref().is_some_and(|applied| applied.id == commit);
    applied && status.applied_version == source.version || refused
}
