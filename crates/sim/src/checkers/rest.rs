//! What holds when nothing is left to do.

use crate::group::is_register;
use crate::host::Container;
use crate::world::World;
use model::{Desired, Endpoint, Mode, NetworkMode, ObservedState, State, Task, TaskId, UpdateState};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl World {
    /// At rest, hosts run exactly what is wanted, and what was acknowledged is wanted.
    pub(crate) fn check_rest(&self) -> Result<(), String> {
        let state = self.state().ok_or("the manager is down")?;
        if let Some((id, _)) = &self.operator.open {
            return Err(format!("request {} was never answered", id.0));
        }
        self.check_managers()?;
        self.acknowledged(&state)?;
        self.check_placement(&state)?;
        replicas(&state)?;
        updates(&state)?;
        let tasks: BTreeMap<TaskId, &Task> = state.tasks.iter().map(|task| (task.id, &**task)).collect();
        let mut running = BTreeSet::new();
        for (at, sim) in self.nodes.iter().enumerate() {
            let node = format!("n{}", at + 1);
            if sim.lost {
                continue;
            }
            if sim.session.is_none() {
                return Err(format!("{node} is not connected"));
            }
            for (id, container) in &sim.host.containers {
                let task = tasks.get(id).filter(|task| task.node == Some(sim.id));
                let task =
                    task.ok_or_else(|| format!("{node} has a container of {}, which is not its task", id.short()))?;
                if container.running_since().is_some() {
                    runs_rightly(&node, task, container)?;
                    running.insert(*id);
                }
            }
            self.check_network(&node, sim, &state)?;
            let spaces: BTreeSet<TaskId> = sim.host.net.endpoints.keys().copied().collect();
            let wanted = sim.host.containers.values().filter(|it| it.running_since().is_some());
            let wanted: BTreeSet<TaskId> = wanted.filter_map(Container::space).collect();
            if let Some(id) = wanted.difference(&spaces).next() {
                return Err(format!("{node}: {} runs without a network", id.short()));
            }
            for id in spaces.difference(&wanted) {
                if !tasks.get(id).is_some_and(|task| is_awaited(task)) {
                    return Err(format!("{node}: a network is left of {}", id.short()));
                }
            }
            for volume in &sim.host.volumes {
                if !state.volumes.iter().any(|known| known.name == *volume) {
                    return Err(format!("{node}: volume {volume} is left"));
                }
            }
        }
        let lost = |task: &Task| self.nodes.iter().any(|sim| sim.lost && task.node == Some(sim.id));
        for task in tasks.values() {
            if lost(task) {
                given_up(task)?;
                continue;
            }
            settled(task, running.contains(&task.id), &state)?;
        }
        Ok(())
    }

    /// What the operator was told is so.
    fn acknowledged(&self, state: &State) -> Result<(), String> {
        for (name, expected) in self.operator.services.iter().filter(|(_, it)| !it.fleeting) {
            let service = state.services.iter().find(|service| service.spec.name == *name && !service.removing);
            let service = service.ok_or_else(|| format!("service {name} was acknowledged and is not there"))?;
            let rolled_back = service.update_status.as_ref().is_some_and(|status| {
                matches!(
                    status.state,
                    UpdateState::RollbackCompleted | UpdateState::RollbackStarted | UpdateState::RollbackPaused
                )
            });
            if rolled_back {
                continue;
            }
            if service.spec.container.image != expected.image || service.spec.mode != expected.mode {
                return Err(format!("service {name} is not as it was acknowledged: {expected:?}"));
            }
        }
        for service in &state.services {
            if service.removing {
                return Err(format!("service {} is still being removed", service.spec.name));
            }
            let own = self.joint.is_some() && is_register(&service.spec.name);
            if !own && !self.operator.services.contains_key(&service.spec.name) {
                return Err(format!("service {} is there, and should have been removed", service.spec.name));
            }
        }
        Ok(())
    }
}

fn runs_rightly(node: &str, task: &Task, container: &Container) -> Result<(), String> {
    let name = task.id.short();
    if task.desired != Desired::Running || task.stopped_by_user {
        return Err(format!("{node}: {name} runs, and should not"));
    }
    if container.attempt != task.attempt {
        return Err(format!("{node}: {name} runs for attempt {}, not {}", container.attempt, task.attempt));
    }
    if !matches!(container.state, ObservedState::Running { .. }) || task.status.state != model::TaskState::Running {
        return Err(format!("{node}: {name} runs, and is held to be {:?}", task.status.state));
    }
    let own: BTreeSet<IpAddr> = task.endpoints.iter().flat_map(Endpoint::addresses).collect();
    let known: BTreeSet<IpAddr> = container.hosts.iter().map(|(address, _)| *address).collect();
    if own != known {
        return Err(format!("{node}: {name} has {own:?}, and its /etc/hosts says {known:?}"));
    }
    Ok(())
}

/// A task that is ready and waits for its turn.
fn is_awaited(task: &Task) -> bool {
    task.desired <= Desired::Running && !task.status.state.is_terminal()
}

/// A task of a node that is lost: another has its place, unless only that node could have it.
fn given_up(task: &Task) -> Result<(), String> {
    let bound = task.spec.standalone || task.slot == 0;
    match task.desired {
        Desired::Ready | Desired::Running if !bound && !task.status.state.is_terminal() => {
            Err(format!("{} was lost with its node, and is not replaced", task.id.short()))
        }
        Desired::Remove => Err(format!("{} was lost with its node, and is to be removed for ever", task.id.short())),
        _ => Ok(()),
    }
}

/// Is it told what a task waits for, and is that so? An agent tells of a container whose network a task joins: it
/// may have been stopped by hand, and then whoever joins it waits. Where it runs there is nothing to wait for.
fn waits(task: &Task, state: &State) -> bool {
    let awaited = task.status.message.strip_prefix("waits for container ");
    let awaited = awaited.map(|rest| rest.split([',', ' ']).next().unwrap_or_default());
    let runs = |short: &str| {
        let owner = state.tasks.iter().find(|other| other.id.short() == short);
        owner.is_some_and(|it| it.status.state == model::TaskState::Running && it.desired <= Desired::Running)
    };
    let gone = task.status.message.starts_with("waits for the container whose network it joins");
    state.waiting.contains_key(&task.id) || gone || awaited.is_some_and(|owner| !runs(owner))
}

fn settled(task: &Task, runs: bool, state: &State) -> Result<(), String> {
    let name = task.id.short();
    let ended = task.status.state.is_terminal() && task.status.attempt >= task.attempt;
    let waits = waits(task, state);
    match task.desired {
        Desired::Remove => Err(format!("{name} is to be removed, and is not: {:?}", task.status)),
        Desired::Shutdown if !ended => {
            Err(format!("{name} is to be stopped, and is not told to be: {:?}", task.status))
        }
        Desired::Running if task.stopped_by_user && !ended && !waits => {
            Err(format!("{name} was stopped by hand, and is not over: {:?}", task.status))
        }
        Desired::Running if !task.stopped_by_user && !ended && !runs && !waits => {
            Err(format!("{name} should run, does not, and nobody says why: {:?}", task.status))
        }
        Desired::Ready if !waits && !ended => Err(format!("{name} waits, and nobody says why: {:?}", task.status)),
        _ => Ok(()),
    }
}

/// Each service has as many slots filled as was asked for.
fn replicas(state: &State) -> Result<(), String> {
    for service in &state.services {
        let Mode::Replicated { replicas } = service.spec.mode else { continue };
        let of = state.tasks.iter().filter(|task| task.service == service.id && task.desired <= Desired::Running);
        let slots: BTreeSet<u32> = of.map(|task| task.slot).collect();
        if slots.len() != replicas as usize {
            return Err(format!("service {} has {} of {replicas} slots filled", service.spec.name, slots.len()));
        }
    }
    Ok(())
}

/// Every update has come to an end, be it that a person has to decide, or waits for something that is told.
fn updates(state: &State) -> Result<(), String> {
    for service in &state.services {
        let Some(status) = service.update_status.as_ref().filter(|status| status.state.is_active()) else { continue };
        let tasks: Vec<&Task> =
            state.tasks.iter().filter(|task| task.service == service.id).map(|task| &**task).collect();
        // What it depends on comes first, and may wait itself.
        let says_so = ["waits for ", "depends on "].iter().any(|word| status.message.starts_with(word));
        let is_theirs = |key: &String| status.message.contains(key.as_str());
        let shares = matches!(&service.spec.network_mode, NetworkMode::Service(key) if is_theirs(key));
        let forward = status.state == UpdateState::Updating;
        let depends = forward && says_so && (shares || service.spec.depends_on.keys().any(is_theirs));
        if depends || tasks.iter().any(|task| waits(task, state)) {
            continue;
        }
        let shown = tasks.iter().map(|task| {
            let (desired, attempt, version) = (task.desired, task.attempt, task.spec_version);
            format!("{}.{} v{version} {desired:?} {attempt} {:?}", task.slot, task.id.short(), task.status)
        });
        let shown: Vec<String> = shown.collect();
        return Err(format!("the update of service {} never ends: {status:?} {shown:?}", service.spec.name));
    }
    Ok(())
}
