//! Files of another node: whoever leads asks that node what they say, and the node answers when they change.
//! The node remembers nothing, so a leader or a node that dies loses nothing either.

use super::fetch::{self, Found, Known, Refused, Trouble};
use crate::shared::Daemon;
use crate::{failure, relay};
use ::gitops::files::Touched;
use ::gitops::watch::Watch;
use api::{ApiError, Call, Reply};
use model::{Credentials, NodeId, Origin, Source, SourceFiles, SourceSpec, SourceStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a node waits for a change before it says that there is none.
const WAIT: Duration = Duration::from_secs(20);

/// How long it may take to read the files, and to reach the node.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a node is asked again that could not be, or could not read the files.
const AGAIN: Duration = Duration::from_secs(5);

/// A file that makes no sense may be about to: it is told when it stays so.
const DOUBT: Duration = Duration::from_millis(500);

/// The node and path of a source whose files are on another node than this one.
pub(super) fn place<'a>(daemon: &Daemon, source: &'a Source) -> Option<(NodeId, &'a str)> {
    match &source.spec.origin {
        Origin::Path { path, node } if *node != daemon.node => Some((*node, path)),
        _ => None,
    }
}

/// Reads the files on their node.
///
/// # Errors
/// As for those of this node; or the node can't be reached.
pub(super) async fn read(
    daemon: &Arc<Daemon>,
    source: &Arc<Source>,
    node: NodeId,
    path: &str,
) -> Result<Found, Trouble> {
    let unreachable = |error: ApiError| Trouble::Unreachable(format!("{path} on node {}: {error}", node.short()));
    match ask(daemon, source, node, None).await.map_err(unreachable)? {
        SourceFiles::Read { commit, stacks, warnings } => {
            let names = stacks.iter().map(|stack| stack.name.clone()).collect();
            let known = Known::of(source.version);
            Ok(Found { commit, stacks, names, known, warnings, ..Found::default() })
        }
        SourceFiles::Invalid { commit, message, diagnostics } => {
            let touched = Touched::default();
            Err(Trouble::Invalid(Box::new(Refused { commit, message, diagnostics, touched })))
        }
        SourceFiles::Unreadable(said) => Err(Trouble::Unreachable(said)),
        SourceFiles::Same => Err(unreachable(failure::failed("it answers something else than was asked"))),
    }
}

/// Returns when the files are not as they were known, or the node has been lost.
pub(super) async fn changed(daemon: &Arc<Daemon>, source: &Source, node: NodeId, path: &str, known: Option<&str>) {
    let Some(known) = known else { return sleep(AGAIN).await };
    loop {
        match ask(daemon, source, node, Some(known)).await {
            Ok(SourceFiles::Same) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(source = %source.spec.name, "wait for {path} on node {}: {error}", node.short());
                return;
            }
        }
    }
}

async fn ask(
    daemon: &Arc<Daemon>,
    source: &Source,
    node: NodeId,
    known: Option<&str>,
) -> Result<SourceFiles, ApiError> {
    // Only what is needed to read the files leaves this node.
    let age_keys = source.spec.credentials.age_keys.clone();
    let credentials = Credentials { age_keys, ..Credentials::default() };
    let spec = SourceSpec { credentials, ..source.spec.clone() };
    let source = Box::new(Source { spec, status: SourceStatus::default(), ..source.clone() });
    let call = Call::ReadSource { source, known: known.map(str::to_owned) };
    let limit = if known.is_some() { WAIT + PATIENCE } else { PATIENCE };
    let late = |_| failure::failed(format!("it did not answer within {limit:?}"));
    match timeout(limit, relay::ask(daemon, node, &call)).await.map_err(late)?? {
        Reply::SourceFiles(files) => Ok(*files),
        _ => Err(failure::failed("it answers something else than was asked")),
    }
}

/// Answers whoever leads: at once when the files are not as they were known.
///
/// # Errors
/// They are not on this node.
pub(crate) async fn read_here(daemon: &Daemon, source: Source, known: Option<String>) -> Result<Reply, ApiError> {
    let source = Arc::new(source);
    let path = match &source.spec.origin {
        Origin::Path { path, node } if *node == daemon.node => path,
        _ => return Err(failure::invalid(format!("source {} is not on this node", source.spec.name))),
    };
    let files = fetch::files(&source);
    let deadline = Instant::now() + WAIT;
    let mut watch: Option<Watch> = None;
    loop {
        let (answer, id, touched) = said(fetch::here(&source, path).await);
        let is_new = known.is_none() || id.is_none() || id != known;
        let is_doubtful = matches!(answer, SourceFiles::Invalid { .. });
        if is_new && !is_doubtful {
            return Ok(Reply::SourceFiles(Box::new(answer)));
        }
        let watch = watch.get_or_insert_with(Watch::new);
        watch.follow(touched);
        let left = if is_new { DOUBT } else { deadline.saturating_duration_since(Instant::now()) };
        if timeout(left, watch.changed(&*files)).await.is_err() {
            let answer = if is_new { answer } else { SourceFiles::Same };
            return Ok(Reply::SourceFiles(Box::new(answer)));
        }
    }
}

/// What is said of what was read; its state, if there is one; and what to watch.
fn said(read: Result<Found, Trouble>) -> (SourceFiles, Option<String>, Touched) {
    match read {
        Ok(Found { commit, stacks, touched, warnings, .. }) => {
            let id = commit.id.clone();
            (SourceFiles::Read { commit, stacks, warnings }, Some(id), touched)
        }
        Err(Trouble::Invalid(refused)) => {
            let Refused { commit, message, diagnostics, touched } = *refused;
            let id = commit.id.clone();
            (SourceFiles::Invalid { commit, message, diagnostics }, Some(id), touched)
        }
        Err(Trouble::Unreachable(said)) => (SourceFiles::Unreadable(said), None, Touched::default()),
    }
}
