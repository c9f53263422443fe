//! `logs`: of one container or several, also of those of a stack that come later.

use crate::api_server::Scope;
use crate::shared::Daemon;
use crate::streams::Sender;
use crate::{clock, failure, relay};
use api::client::Items;
use api::{ApiError, ErrorKind, LogLine, StreamCall, StreamItem};
use model::{ContainerState, State, Task, TaskId};
use runtime::logs::{LogQuery, LogRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Begins to send lines.
///
/// # Errors
/// A container that is not there, or whose log driver keeps nothing.
pub(crate) async fn open(
    daemon: Arc<Daemon>,
    containers: Vec<String>,
    stack: Option<String>,
    services: Vec<String>,
    query: LogQuery,
    scope: Scope,
    sender: Sender,
) -> Result<(), ApiError> {
    let state = daemon.cluster.state().await?;
    let mut tasks: Vec<Arc<Task>> =
        containers.iter().map(|name| api::names::container(&state, name).cloned()).collect::<Result<_, _>>()?;
    if let Some(stack) = &stack {
        if !state.services.iter().any(|service| service.spec.stack.as_ref() == Some(stack)) {
            return Err(failure::not_found(format!("there is no stack `{stack}`")));
        }
        let is_there = |key: &&String| {
            state.services.iter().any(|it| it.spec.stack.as_ref() == Some(stack) && it.spec.key == **key)
        };
        if let Some(unknown) = services.iter().find(|key| !is_there(key)) {
            return Err(failure::not_found(format!("stack {stack} has no service `{unknown}`")));
        }
        tasks.extend(of_stack(&state, stack, &services));
    }
    let begun: Vec<_> = tasks
        .into_iter()
        .map(async |task| {
            let lines = begin(&daemon, &task, &query, scope).await;
            (task, lines)
        })
        .collect();
    let several = stack.is_some() || begun.len() > 1;
    let (mut sources, mut missing) = (Vec::new(), BTreeMap::new());
    for (task, lines) in futures_util::future::join_all(begun).await {
        match lines {
            Ok(lines) => sources.push((task, lines)),
            // No container yet, or no more: of a stack that is no news.
            Err(error) if error.kind == ErrorKind::NotFound && (stack.is_some() || task.status.container.is_none()) => {
            }
            // A node that is away takes its own lines with it, and no others.
            Err(error) if several && scope.other(&daemon, &task).is_some() => {
                missing.entry(error.message.clone()).or_insert((Vec::new(), error)).0.push(task.name());
            }
            Err(error) if stack.is_none() => return Err(error),
            Err(error) => tracing::debug!(task = %task.id, "read the log: {error}"),
        }
    }
    if stack.is_none()
        && sources.is_empty()
        && let Some((_, (_, error))) = missing.pop_first()
    {
        return Err(error);
    }
    tokio::spawn(async move {
        for (why, (tasks, _)) in missing {
            let text = format!("the lines of {} are missing: {why}", tasks.join(", "));
            let _left = sender.send(StreamItem::Message(text)).await;
        }
        if query.follow {
            follow(&daemon, sources, stack, &services, &query, scope, &sender).await;
        } else {
            merge(sources, &sender).await;
        }
    });
    Ok(())
}

fn of_stack(state: &State, stack: &str, services: &[String]) -> Vec<Arc<Task>> {
    let tasks = state.tasks.iter().filter(|task| {
        task.spec.stack.as_deref() == Some(stack) && (services.is_empty() || services.contains(&task.spec.key))
    });
    tasks.cloned().collect()
}

/// Where the lines of one container come from.
enum Lines {
    Here(mpsc::Receiver<LogRecord>),
    There(Box<Items>),
}

type Source = (Arc<Task>, Lines);

impl Lines {
    /// The next one, with its time in nanoseconds since the epoch.
    async fn next(&mut self, task: &Task) -> Option<(u64, LogLine)> {
        match self {
            Lines::Here(records) => records.recv().await.map(|record| (record.time_ns, line(task, record))),
            Lines::There(items) => loop {
                match items.next().await {
                    Ok(Some(StreamItem::Log(line))) => return Some((clock::nanoseconds(&line.time), line)),
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => {
                        tracing::warn!(task = %task.id, "read the log on its node: {}", failure::chain(&error));
                        return None;
                    }
                }
            },
        }
    }
}

/// Begins to read the log of a container, wherever that is.
async fn begin(daemon: &Arc<Daemon>, task: &Task, query: &LogQuery, scope: Scope) -> Result<Lines, ApiError> {
    let Some(node) = scope.other(daemon, task) else {
        let lines = daemon.engine.logs(task.id, query.clone()).await.map_err(|error| failure::engine(&error))?;
        return Ok(Lines::Here(lines));
    };
    // Rounded up: the line of that very moment was seen.
    let since = query.since_ns.map(|since| since.div_ceil(1_000_000));
    let call = StreamCall::Logs {
        containers: vec![task.id.to_string()],
        stack: None,
        services: Vec::new(),
        follow: query.follow,
        tail: query.tail,
        since,
        until: query.until_ns.map(|until| until / 1_000_000),
    };
    Ok(Lines::There(Box::new(relay::stream(daemon, node, &call).await?)))
}

/// Lines of all, in order of their time.
async fn merge(mut sources: Vec<Source>, sender: &Sender) {
    let mut heads: Vec<Option<(u64, LogLine)>> = Vec::new();
    for (task, lines) in &mut sources {
        heads.push(lines.next(task).await);
    }
    loop {
        let next = heads.iter().enumerate().filter_map(|(index, head)| Some((head.as_ref()?.0, index))).min();
        let Some((_, index)) = next else { return };
        let (Some((task, lines)), Some(head)) = (sources.get_mut(index), heads.get_mut(index)) else { return };
        let first = std::mem::replace(head, lines.next(task).await);
        if let Some((_, line)) = first
            && sender.send(StreamItem::Log(line)).await.is_err()
        {
            return;
        }
    }
}

/// Lines of all as they come; of a stack also those of containers that are made, or started again,
/// meanwhile.
async fn follow(
    daemon: &Arc<Daemon>,
    sources: Vec<Source>,
    stack: Option<String>,
    services: &[String],
    query: &LogQuery,
    scope: Scope,
    sender: &Sender,
) {
    let mut read: BTreeSet<TaskId> = BTreeSet::new();
    let mut pumps = JoinSet::new();
    for (task, lines) in sources {
        read.insert(task.id);
        pumps.spawn(pump(task, lines, sender.clone()));
    }
    let Some(stack) = stack else {
        tokio::select! {
            () = async { while pumps.join_next().await.is_some() {} } => {}
            () = sender.closed() => {}
        }
        return;
    };
    let mut changes = daemon.cluster.changes();
    // Where the reading of a container that has ended stopped.
    let mut ended: BTreeMap<TaskId, u64> = BTreeMap::new();
    loop {
        changes.borrow_and_update();
        let Ok(state) = daemon.cluster.state().await else { return };
        if !state.services.iter().any(|service| service.spec.stack.as_ref() == Some(&stack)) {
            break;
        }
        for task in of_stack(&state, &stack, services) {
            let Some(container) = &task.status.container else { continue };
            let since_ns = if !read.contains(&task.id) {
                query.since_ns
            } else if container.state == ContainerState::Running
                && let Some(last) = ended.get(&task.id)
            {
                Some(last.saturating_add(1))
            } else {
                continue;
            };
            let query = LogQuery { tail: None, since_ns, ..query.clone() };
            if let Ok(lines) = begin(daemon, &task, &query, scope).await {
                read.insert(task.id);
                ended.remove(&task.id);
                pumps.spawn(pump(task, lines, sender.clone()));
            }
        }
        tokio::select! {
            Some(done) = pumps.join_next() => if let Ok((task, last)) = done {
                ended.insert(task, last);
            },
            changed = changes.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
    while pumps.join_next().await.is_some() {}
}

/// Passes lines on; returns when the last one was written.
async fn pump(task: Arc<Task>, mut lines: Lines, sender: Sender) -> (TaskId, u64) {
    let mut last = 0;
    while let Some((time, line)) = lines.next(&task).await {
        last = time;
        if sender.send(StreamItem::Log(line)).await.is_err() {
            break;
        }
    }
    (task.id, last)
}

fn line(task: &Task, record: LogRecord) -> LogLine {
    LogLine {
        container: task.name(),
        service: task.spec.key.clone(),
        slot: task.slot,
        stream: record.stream.name().to_owned(),
        time: clock::rfc3339_ns(record.time_ns),
        line: record.line,
        newline: record.newline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use runtime::logs::LogStream;

    fn record(time_ns: u64) -> LogRecord {
        LogRecord { stream: LogStream::Stdout, time_ns, line: time_ns.to_string(), newline: true }
    }

    #[tokio::test]
    async fn lines_of_several_come_in_order_of_time() {
        let spec = testing::service("web", "web", None);
        let mut sources = Vec::new();
        for (id, times) in [(1, vec![1, 4, 5]), (2, vec![]), (3, vec![2, 3, 6])] {
            let (sender, receiver) = mpsc::channel(8);
            for time in times {
                let _room = sender.try_send(record(time));
            }
            sources.push((Arc::new(testing::task(id, &spec, 1)), Lines::Here(receiver)));
        }
        let (sender, mut receiver) = mpsc::channel(8);
        merge(sources, &sender).await;
        drop(sender);
        let mut lines = Vec::new();
        while let Some(StreamItem::Log(line)) = receiver.recv().await {
            lines.push(line.line);
        }
        assert_eq!(lines.join(""), "123456");
    }
}
