//! Calls with many answers: events, stats, pull, watch; logs are in [`crate::logs`].

use crate::api_server::{Body, Scope};
use crate::shared::Daemon;
use crate::{calls, events, failure, logs};
use api::{ApiError, StreamCall, StreamItem};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use model::State;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

/// Where the items of a stream go; a closed one means that the client has left.
pub(crate) type Sender = mpsc::Sender<StreamItem>;

/// Begins a stream. What is wrong with the call is told at once, what fails later as the last item.
///
/// # Errors
/// The call makes no sense.
pub(crate) async fn open(daemon: Arc<Daemon>, call: StreamCall, scope: Scope) -> Result<Body, ApiError> {
    let (sender, body) = channel(&daemon);
    match call {
        StreamCall::Logs { containers, stack, services, follow, tail, since, until } => {
            let query = runtime::logs::LogQuery {
                follow,
                tail,
                since_ns: since.map(|millis| millis.saturating_mul(1_000_000)),
                until_ns: until.map(|millis| millis.saturating_mul(1_000_000)),
            };
            logs::open(daemon, containers, stack, services, query, scope, sender).await?;
        }
        StreamCall::Events { since, until } => {
            // Listened to from this moment on: what happens after the answer's head is in.
            let (past, receiver) = daemon.events.listen(since);
            if scope == Scope::Cluster {
                tokio::spawn(events::of_others(daemon, since, until, sender.clone()));
            }
            tokio::spawn(follow_events(past, receiver, until, sender));
        }
        StreamCall::Stats(containers) => {
            calls::looks::chosen(&daemon, &containers).await?;
            tokio::spawn(follow_stats(daemon, containers, scope, sender));
        }
        StreamCall::Pull { reference, logins } => {
            tokio::spawn(async move {
                if let Err(error) = crate::images::pull(&daemon, &reference, &logins, Some(&sender)).await {
                    let _left = sender.send(StreamItem::Error(error)).await;
                }
            });
        }
        StreamCall::Watch { stack } => {
            crate::worker::refuse(&daemon)?;
            tokio::spawn(async move {
                if let Err(error) = watch(&daemon, &stack, &sender).await {
                    let _left = sender.send(StreamItem::Error(error)).await;
                }
            });
        }
    }
    Ok(body)
}

/// A stream's two ends: items go in, lines of JSON come out. It ends with the daemon.
pub(crate) fn channel(daemon: &Daemon) -> (Sender, Body) {
    let (sender, receiver) = mpsc::channel::<StreamItem>(64);
    let stop = daemon.stop.clone();
    let frames = futures_util::stream::unfold((receiver, stop), |(mut receiver, stop)| async move {
        let item = tokio::select! {
            item = receiver.recv() => item?,
            () = stop.cancelled() => return None,
        };
        let mut bytes = Vec::new();
        push(&mut bytes, &item);
        // What is there already goes out with it.
        while bytes.len() < 64 * 1024 {
            match receiver.try_recv() {
                Ok(item) => push(&mut bytes, &item),
                Err(_) => break,
            }
        }
        Some((Ok(Frame::data(Bytes::from(bytes))), (receiver, stop)))
    });
    (sender, BodyExt::boxed(StreamBody::new(SyncStream::new(frames))))
}

fn push(bytes: &mut Vec<u8>, item: &StreamItem) {
    if serde_json::to_writer(&mut *bytes, item).is_ok() {
        bytes.push(b'\n');
    }
}

async fn follow_events(
    past: Vec<api::Event>,
    mut receiver: broadcast::Receiver<api::Event>,
    until: Option<u64>,
    sender: Sender,
) {
    let over = |event: &api::Event| until.is_some_and(|until| events::millis(event) > until);
    for event in past {
        if over(&event) || sender.send(StreamItem::Event(event)).await.is_err() {
            return;
        }
    }
    let left = |until: u64| Duration::from_millis(until.saturating_sub(crate::clock::now().0));
    let deadline = until.map(|until| Instant::now() + left(until));
    loop {
        let ended = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            event = receiver.recv() => event,
            () = ended => return,
            () = sender.closed() => return,
        };
        match event {
            Ok(event) if over(&event) => return,
            Ok(event) => {
                if sender.send(StreamItem::Event(event)).await.is_err() {
                    return;
                }
            }
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                let text = format!("{lost} events were lost: the client reads too slowly");
                let _left = sender.send(StreamItem::Error(failure::failed(text))).await;
                return;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn follow_stats(daemon: Arc<Daemon>, containers: Vec<String>, scope: Scope, sender: Sender) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sender.closed() => return,
        }
        let item = match calls::looks::stats(&daemon, &containers, scope).await {
            Ok(stats) => StreamItem::Stats(stats),
            Err(error) => StreamItem::Error(error),
        };
        let last = matches!(item, StreamItem::Error(_));
        if sender.send(item).await.is_err() || last {
            return;
        }
    }
}

/// Shortest time between two looks at a stack: an `up` of hundreds changes thousands of times.
const WATCH_PAUSE: Duration = Duration::from_millis(10);

async fn watch(daemon: &Daemon, stack: &str, sender: &Sender) -> Result<(), ApiError> {
    let mut changes = daemon.cluster.changes();
    let mut last: Option<State> = None;
    loop {
        let pause = Instant::now() + WATCH_PAUSE;
        changes.borrow_and_update();
        let state = of_stack(&*daemon.cluster.state().await?, stack);
        if state.services.is_empty() && state.tasks.is_empty() && state.networks.is_empty() {
            return Ok(());
        }
        let unchanged = last.as_ref().is_some_and(|last| {
            (&last.services, &last.tasks, &last.networks, &last.waiting)
                == (&state.services, &state.tasks, &state.networks, &state.waiting)
        });
        if !unchanged {
            if sender.send(StreamItem::Watch(Box::new(state.clone()))).await.is_err() {
                return Ok(());
            }
            last = Some(state);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = sender.closed() => return Ok(()),
        }
        // The first change after a while is told at once.
        tokio::time::sleep_until(pause).await;
    }
}

/// The part of the state that is of one stack; for an empty name: services that are of none.
pub(crate) fn of_stack(state: &State, stack: &str) -> State {
    let of = |owner: &Option<String>| owner.as_deref().unwrap_or_default() == stack;
    let is_in = |spec: &model::ServiceSpec| of(&spec.stack) && !spec.standalone;
    let tasks: Vec<_> = state.tasks.iter().filter(|task| is_in(&task.spec)).cloned().collect();
    let ids: BTreeSet<_> = tasks.iter().map(|task| task.id).collect();
    let own = || state.services.iter().filter(|service| is_in(&service.spec));
    let services: BTreeSet<_> = own().map(|service| service.id).collect();
    State {
        sources: Vec::new(),
        cluster: state.cluster.clone(),
        revision: state.revision,
        services: own().cloned().collect(),
        networks: state.networks.iter().filter(|network| of(&network.spec.stack)).cloned().collect(),
        volumes: state.volumes.iter().filter(|volume| of(&volume.stack)).cloned().collect(),
        nodes: state.nodes.clone(),
        configs: state.configs.iter().filter(|content| of(&content.stack)).cloned().collect(),
        secrets: state.secrets.iter().filter(|content| of(&content.stack)).cloned().collect(),
        leader: state.leader,
        voters: state.voters.clone(),
        avoided: state.avoided.iter().filter(|avoided| services.contains(&avoided.service)).copied().collect(),
        waiting: state.waiting.iter().filter(|(id, _)| ids.contains(id)).map(|(id, why)| (*id, why.clone())).collect(),
        leaving: state.leaving.clone(),
        tasks,
    }
}

/// `BoxBody` wants its stream to be `Sync`, which a future that is only ever polled through `&mut`
/// need not be.
struct SyncStream<S>(std::sync::Mutex<std::pin::Pin<Box<S>>>);

impl<S> SyncStream<S> {
    fn new(stream: S) -> Self {
        SyncStream(std::sync::Mutex::new(Box::pin(stream)))
    }
}

impl<S: futures_util::Stream + Send> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut().poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_stack_is_seen_alone() {
        let task = |id, stack| Arc::new(testing::task(id, &testing::service("x", "x", stack), 1));
        let state = State {
            tasks: vec![task(1, Some("a")), task(2, Some("b")), task(3, None)],
            waiting: [(model::TaskId(1), "why".to_owned()), (model::TaskId(2), "why".to_owned())].into(),
            ..State::default()
        };
        let seen = of_stack(&state, "a");
        assert_eq!(seen.tasks.len(), 1);
        assert_eq!(seen.waiting.keys().map(|id| id.0).collect::<Vec<_>>(), [1]);
    }
}
