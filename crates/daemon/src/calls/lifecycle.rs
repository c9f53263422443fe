//! `stop`, `start`, `restart`, `kill`, `pause`, `wait`, `rm`: return when it is done.

use super::looks;
use crate::failure;
use crate::shared::Daemon;
use api::ApiError;
use model::{ContainerState, PowerAction, Request, RestartCondition, RestartScope, Task, TaskId, TaskState};
use runtime::signal::Signal;
use std::sync::Arc;

/// Stops, starts or restarts.
///
/// # Errors
/// No such container; it could not be started.
pub(crate) async fn power(daemon: &Arc<Daemon>, name: &str, action: PowerAction) -> Result<(), ApiError> {
    let task = looks::task(daemon, name).await?;
    if let PowerAction::Stop { signal: Some(signal), .. } = &action {
        signal.parse::<Signal>().map_err(|error| failure::invalid(error.to_string()))?;
    }
    let stops = matches!(action, PowerAction::Stop { .. });
    let restarts = matches!(action, PowerAction::Restart { .. });
    daemon.cluster.ask(Request::Power { task: task.id, action }).await?;
    if stops {
        stopped(daemon, task.id).await
    } else {
        started(daemon, task.id).await?;
        if restarts {
            daemon.container_event(&task, "restart", &[]);
        }
        Ok(())
    }
}

/// Returns when nothing of it runs.
async fn stopped(daemon: &Daemon, task: TaskId) -> Result<(), ApiError> {
    daemon.cluster.until_task(task, |task| task.is_none_or(|task| !runs(task)).then_some(())).await
}

fn runs(task: &Task) -> bool {
    let state = task.status.container.as_ref().map(|container| container.state);
    match state {
        Some(ContainerState::Running | ContainerState::Paused | ContainerState::Restarting) => true,
        Some(ContainerState::Created | ContainerState::Exited) | None => task.status.state == TaskState::Starting,
    }
}

/// Returns when it has been started, be it that it has ended since.
///
/// # Errors
/// It could not be started, or is gone.
pub(crate) async fn started(daemon: &Daemon, task: TaskId) -> Result<(), ApiError> {
    let look = |task: Option<&Arc<Task>>| {
        let Some(task) = task else {
            return Some(Err(failure::not_found("the container was removed before it started")));
        };
        let status = &task.status;
        if status.attempt < task.attempt {
            return None;
        }
        match status.state {
            TaskState::Rejected | TaskState::Orphaned => {
                Some(Err(failure::failed(format!("start container {}: {}", task.name(), status.message))))
            }
            state if state >= TaskState::Running => Some(Ok(())),
            _ => None,
        }
    };
    daemon.cluster.until_task(task, look).await?
}

/// Sends a signal. SIGKILL and the container's own stop signal count as a stop by hand: nothing
/// starts it again (as in moby).
///
/// # Errors
/// No such container, no such signal, it does not run.
pub(crate) async fn kill(daemon: &Arc<Daemon>, name: &str, signal: &str) -> Result<(), ApiError> {
    let task = looks::task(daemon, name).await?;
    let signal: Signal =
        signal.parse().map_err(|error: runtime::signal::ParseSignalError| failure::invalid(error.to_string()))?;
    if !runs(&task) {
        return Err(failure::conflict(format!("container {} is not running", task.name())));
    }
    if signal == Signal::KILL {
        let action = PowerAction::Stop { timeout: Some(0), signal: Some("KILL".to_owned()) };
        daemon.cluster.ask(Request::Power { task: task.id, action }).await?;
        daemon.container_event(&task, "kill", &[("signal", signal.0.to_string())]);
        return stopped(daemon, task.id).await;
    }
    let image_signal =
        daemon.engine.inspect(task.id).await.ok().and_then(|inspect| inspect.create.image.config.stop_signal);
    let stop_signal = task.spec.container.stop_signal.clone().or(image_signal);
    let stop_signal = stop_signal.and_then(|text| text.parse().ok()).unwrap_or(Signal::TERM);
    let comes_back =
        task.spec.restart.scope == RestartScope::InPlace && task.spec.restart.condition != RestartCondition::None;
    if signal == stop_signal && comes_back {
        daemon.endings.mean(task.id);
    }
    daemon.engine.kill(task.id, signal).await.map_err(|error| failure::engine(&error))?;
    daemon.container_event(&task, "kill", &[("signal", signal.0.to_string())]);
    Ok(())
}

/// Freezes or thaws.
///
/// # Errors
/// No such container; it does not run, or is so already.
pub(crate) async fn pause(daemon: &Arc<Daemon>, name: &str, pause: bool) -> Result<(), ApiError> {
    let task = looks::task(daemon, name).await?;
    let paused = task.status.container.as_ref().is_some_and(|container| container.state == ContainerState::Paused);
    if paused == pause {
        let word = if pause { "already paused" } else { "not paused" };
        return Err(failure::conflict(format!("container {} is {word}", task.name())));
    }
    let result = if pause { daemon.engine.pause(task.id).await } else { daemon.engine.unpause(task.id).await };
    result.map_err(|error| failure::engine(&error))?;
    let wanted = |task: Option<&Arc<Task>>| {
        let state = task.and_then(|task| task.status.container.as_ref()).map(|container| container.state);
        let there = match state {
            Some(ContainerState::Paused) => pause,
            Some(ContainerState::Running) => !pause,
            _ => true,
        };
        there.then_some(())
    };
    daemon.cluster.until_task(task.id, wanted).await
}

/// Waits until it has ended; its exit code.
///
/// # Errors
/// No such container.
pub(crate) async fn wait(daemon: &Arc<Daemon>, name: &str) -> Result<i32, ApiError> {
    let task = looks::task(daemon, name).await?;
    let mut last = None;
    let look = |task: Option<&Arc<Task>>| {
        let Some(task) = task else { return Some(None) };
        if let Some(container) = &task.status.container {
            last = container.exit_code.or(last);
            if container.state == ContainerState::Exited {
                return Some(container.exit_code);
            }
        }
        // Ended before there was a container, or before it ran.
        task.status
            .state
            .is_terminal()
            .then_some(task.status.container.as_ref().and_then(|container| container.exit_code))
    };
    let seen = daemon.cluster.until_task(task.id, look).await?;
    Ok(seen.or_else(|| daemon.endings.code(task.id)).or(last).unwrap_or(0))
}

/// Removes a container that `run` made; returns when nothing is left of it.
///
/// # Errors
/// No such container; it runs and `force` is not given; it belongs to a service.
pub(crate) async fn remove(daemon: &Arc<Daemon>, name: &str, force: bool, volumes: bool) -> Result<(), ApiError> {
    let task = looks::task(daemon, name).await?;
    if !task.spec.standalone {
        let error = failure::conflict(format!("container {} belongs to service {}", task.name(), task.spec.name));
        return Err(failure::hint(
            error,
            "`rswarm down` takes its stack away, `rswarm up --scale` makes it smaller; ended containers go with their service",
        ));
    }
    if !force && runs(&task) {
        let error = failure::conflict(format!("container {} is running", task.name()));
        return Err(failure::hint(error, "stop it first, or use -f"));
    }
    if runs(&task)
        && let Err(error) = kill(daemon, name, "KILL").await
    {
        // It has ended meanwhile, mostly; what still runs is stopped by the removal.
        tracing::debug!(%name, "kill what is to be removed: {error}");
    }
    match daemon.cluster.ask(Request::RemoveService { id: task.service, force, volumes }).await {
        // One of `run --rm` goes by itself once it has ended.
        Err(error) if error.kind == api::ErrorKind::NotFound => {}
        removed => drop(removed?),
    }
    daemon.cluster.until_task(task.id, |task| task.is_none().then_some(())).await
}
