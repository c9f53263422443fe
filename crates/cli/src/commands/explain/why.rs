//! Why is it so? Sentences about a service, a task or a node, from the state alone.

use crate::commands::node::has_no_vote;
use crate::commands::tasks;
use crate::render::human::{ago, span};
use model::{
    Availability, ContainerState, Desired, Mode, Node, Service, State, Task, TaskState, Time, UpdateState, Verdict,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most of a check's words that are shown.
const WORDS: usize = 200;

/// What is to be said of a service: how many of its tasks serve, how its update goes, and why the others do not serve.
pub(super) fn service(state: &State, service: &Service, now: u64) -> Vec<String> {
    let tasks = || state.tasks.iter().filter(|task| task.service == service.id);
    let wanted: Vec<&Task> = tasks().filter(|task| is_wanted(task)).map(AsRef::as_ref).collect();
    let serving = wanted.iter().filter(|task| task.is_serving()).count();
    let of = service.replicas().map_or_else(|| wanted.len().to_string(), |replicas| replicas.to_string());
    let name = &service.spec.name;
    let mut lines = vec![match service.spec.mode {
        Mode::Replicated { .. } => format!("service {name}: {serving} of {of} replicas serve"),
        Mode::Global => format!("service {name}: serves on {serving} of {of} nodes that fit"),
        Mode::ReplicatedJob { .. } | Mode::GlobalJob => {
            let done = tasks().filter(|task| task.status.state == TaskState::Complete).count();
            format!("job {name}: {done} of {of} runs are complete")
        }
    }];
    if service.removing {
        lines.push("it is being removed: what depends on it stops first".to_owned());
    }
    lines.extend(update(service, now));
    lines.extend(places(state, &wanted));
    let avoided = state.avoided.iter().filter(|avoided| avoided.service == service.id && avoided.until.0 > now);
    lines.extend(avoided.map(|avoided| {
        let node = state.nodes.iter().find(|node| node.id == avoided.node);
        let name = node.map_or_else(|| avoided.node.short(), |node| node.hostname.clone());
        format!("avoids {name} until {}: it failed there {} times lately", clock(avoided.until), avoided.failures)
    }));
    for task in wanted.iter().filter(|task| !task.is_serving()) {
        lines.extend(self::task(state, task, now));
    }
    lines
}

fn is_wanted(task: &Task) -> bool {
    task.desired <= Desired::Running
}

fn update(service: &Service, now: u64) -> Option<String> {
    let status = service.update_status.as_ref()?;
    let word = match status.state {
        UpdateState::Completed => return None,
        UpdateState::Updating => "its update goes on",
        UpdateState::Paused => "its update is paused",
        UpdateState::RollbackStarted => "its update is being taken back",
        UpdateState::RollbackPaused => "taking back its update is paused",
        UpdateState::RollbackCompleted => "its update was taken back",
    };
    let began = ago(status.started.0, now);
    let why = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
    let next = match status.state {
        UpdateState::Paused | UpdateState::RollbackPaused => {
            format!("; `rswarm service update {0}` goes on, `rswarm service rollback {0}` goes back", service.spec.name)
        }
        _ => String::new(),
    };
    Some(format!("{word} (begun {began}){why}{next}"))
}

/// Where its tasks are.
fn places(state: &State, tasks: &[&Task]) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks.iter().filter(|task| task.node.is_some()) {
        *counts.entry(tasks::node(state, task, false)).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(node, count)| format!("{count} on {node}")).collect();
    (!counts.is_empty()).then(|| format!("where: {}", counts.join(", ")))
}

/// What is to be said of a task: where it stands, why, and what became of those before it in its slot.
pub(super) fn task(state: &State, task: &Task, now: u64) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", tasks::name(task), stands(state, task, now))];
    lines.extend(lost(state, task));
    lines.extend(before(state, task, now));
    lines
}

fn stands(state: &State, task: &Task, now: u64) -> String {
    let on = match tasks::node(state, task, false) {
        node if node.is_empty() => String::new(),
        node => format!(" on {node}"),
    };
    let (since, message) = (ago(task.status.since.0, now), task.status.message.as_str());
    let because = if message.is_empty() { String::new() } else { format!(": {message}") };
    match task.status.state {
        _ if task.stopped_by_user => format!("a person stopped it{on}; `rswarm start` starts it again"),
        TaskState::New | TaskState::Pending => match state.waiting.get(&task.id) {
            Some(why) => format!("waits {}: {why}", for_time(task.created.0, now)),
            None => format!("is about to be placed, {since}"),
        },
        TaskState::Ready if task.desired == Desired::Ready => match state.waiting.get(&task.id) {
            Some(why) => format!("is prepared{on} and waits: {why}"),
            None => format!("is prepared{on} and waits for its turn, {since}"),
        },
        TaskState::Assigned => format!("was placed{on} {since}; the node has not taken notice yet"),
        TaskState::Accepted | TaskState::Preparing | TaskState::Ready => {
            format!("image, networks and volumes are being made ready{on}, begun {since}{because}")
        }
        TaskState::Starting => format!("is being started{on}, begun {since}{because}"),
        TaskState::Running => format!("runs{on}, begun {since}{}", container(task).unwrap_or_default()),
        TaskState::Complete => format!("ended well{on} {since}"),
        TaskState::Shutdown => format!("was stopped{on} {since}{because}"),
        TaskState::Failed => format!("failed{on} {since}{because}{}", container(task).unwrap_or_default()),
        TaskState::Rejected => format!("could not be started{on} {since}{because}"),
        TaskState::Orphaned => format!("its node{on} was lost {since}, and what it does there is not known"),
    }
}

fn for_time(then: u64, now: u64) -> String {
    format!("for {}", span(Duration::from_millis(now.saturating_sub(then))))
}

/// What its container adds to that.
fn container(task: &Task) -> Option<String> {
    let container = task.status.container.as_ref()?;
    let mut more = Vec::new();
    if container.oom_killed {
        more.push("it was killed for using more memory than it may".to_owned());
    }
    match container.state {
        ContainerState::Paused => more.push("it is frozen; `rswarm unpause` thaws it".to_owned()),
        ContainerState::Restarting => {
            let code = container.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
            more.push(format!("it ended{code} and waits for its next start"));
        }
        _ => {}
    }
    if container.restart_count > 0 {
        more.push(format!("it was restarted {} times", container.restart_count));
    }
    let health = container.health.as_ref().filter(|health| health.verdict != Verdict::Healthy);
    if let Some(health) = health {
        let last = health.log.last().map(|last| {
            let words = crate::render::human::ellipsis(last.output.trim(), WORDS);
            format!(", the last one with exit code {}: {words}", last.exit_code)
        });
        let word = if health.verdict == Verdict::Starting { "is not known to be healthy yet" } else { "is unhealthy" };
        more.push(format!("it {word} ({} checks failed in a row{})", health.failing_streak, last.unwrap_or_default()));
    }
    (!more.is_empty()).then(|| format!("; {}", more.join("; ")))
}

/// Its node is not there: whether it goes elsewhere, and why not.
fn lost(state: &State, task: &Task) -> Option<String> {
    let node = state.nodes.iter().find(|node| Some(node.id) == task.node).filter(|node| !node.ready)?;
    is_wanted(task).then(|| match task.spec.standalone {
        true => format!("  {} is down; a container of `run` waits for its own machine", node.hostname),
        false => format!("  {} is down; it is replaced elsewhere as soon as a node fits", node.hostname),
    })
}

/// How those before it in its slot ended, if badly.
fn before(state: &State, task: &Task, now: u64) -> Option<String> {
    let same = |other: &&std::sync::Arc<Task>| {
        other.service == task.service
            && other.slot == task.slot
            && other.id != task.id
            && (task.slot != 0 || other.node == task.node)
            && matches!(other.status.state, TaskState::Failed | TaskState::Rejected | TaskState::Orphaned)
    };
    let failed: Vec<_> = state.tasks.iter().filter(same).collect();
    let last = failed.iter().max_by_key(|other| other.status.since)?;
    let message = if last.status.message.is_empty() { String::new() } else { format!(": {}", last.status.message) };
    Some(format!(
        "  {} before it in this slot failed, the last one on {} {}{message}",
        failed.len(),
        tasks::node(state, last, false),
        ago(last.status.since.0, now)
    ))
}

/// A moment of this day.
fn clock(at: Time) -> String {
    let second = at.0.div_ceil(1000);
    format!("{:02}:{:02}:{:02} UTC", second / 3600 % 24, second / 60 % 60, second % 60)
}

/// What is to be said of a node: what it may do, and what it has.
pub(super) fn node(state: &State, node: &Node, now: u64) -> Vec<String> {
    let here = || state.tasks.iter().filter(|task| task.node == Some(node.id));
    let is_up = if node.ready { "is up" } else { "is down: nothing is heard of it" };
    let mut lines = vec![format!("node {}: {}", node.hostname, if node.left { "has left the cluster" } else { is_up })];
    lines.push(
        match node.availability {
            Availability::Active => "it takes tasks",
            Availability::Pause => "it is paused: it keeps its tasks and takes no new ones",
            Availability::Drain => "it is drained: its tasks go elsewhere, and it takes none",
        }
        .to_owned(),
    );
    if node.manager {
        let leads = match state.leader == Some(node.id) {
            true => " and leads",
            false if node.ready && has_no_vote(state, node) => " that has no vote yet: it catches up first",
            false => "",
        };
        lines.push(format!("it is a manager{leads}"));
    }
    let avoided = state.avoided.iter().filter(|avoided| avoided.node == node.id && avoided.until.0 > now);
    lines.extend(avoided.map(|avoided| {
        let service = state.services.iter().find(|service| service.id == avoided.service);
        let name = service.map_or_else(|| avoided.service.short(), |service| service.spec.name.clone());
        let until = clock(avoided.until);
        format!("service {name} avoids it until {until}: it failed here {} times lately", avoided.failures)
    }));
    let expires = node.trust.expires.0;
    if expires > 0 && expires < now {
        lines.push(format!("its certificate has ended {}: it must join again", ago(expires, now)));
    }
    let (wanted, serving) =
        (here().filter(|task| is_wanted(task)).count(), here().filter(|task| task.is_serving()).count());
    lines.push(format!("{serving} of its {wanted} tasks serve"));
    for task in here().filter(|task| is_wanted(task) && !task.is_serving()) {
        lines.extend(self::task(state, task, now));
    }
    lines
}

#[cfg(test)]
mod tests;
