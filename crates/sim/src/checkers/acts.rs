//! Properties of what agents ask for and what hosts become.

use crate::world::World;
use model::{Assignment, Desired, TaskId};
use node_agent::{AgentInput, Effect, Net};
use orchestrator::ManagerInput;
use std::collections::{BTreeMap, BTreeSet};

/// Every so many looks at an agent its word on when to wake it is tested.
const WAKES: u64 = 8;

impl World {
    /// Looks at an effect before it is begun.
    pub(crate) fn check_effect(&mut self, node: usize, effect: &Effect) {
        let Some(sim) = self.nodes.get(node) else { return };
        let busy = |id: TaskId| sim.open.values().any(|open| task_of(open) == Some(id));
        let problem = match task_of(effect) {
            Some(task) if busy(task) => Some(format!("two effects at once for {}", task.short())),
            _ => None,
        };
        let problem = problem.or_else(|| match effect {
            Effect::CreateAndStart(launch) | Effect::Start(launch) => {
                let order = sim.order.as_deref();
                let order = order.or(sim.ledger.as_ref().and_then(|ledger| ledger.assignment.as_ref()));
                let wanted = order.is_some_and(|order| is_wanted(order, launch.task, launch.attempt));
                (!wanted).then(|| format!("{} is started, which the newest order does not want", launch.task.short()))
            }
            Effect::EnsureNet(_) if sim.open.values().any(|open| matches!(open, Effect::EnsureNet(_))) => {
                Some("two networks at once".to_owned())
            }
            Effect::Stop { task, grace, .. } if !grace.is_zero() => self.check_drain(node, *task),
            _ => None,
        });
        if let Some(what) = problem {
            self.fail(format!("n{}: {what}", node + 1));
        }
    }

    /// Looks at a host after something was done there.
    pub(crate) fn check_host(&mut self, node: usize) {
        let Some(sim) = self.nodes.get(node) else { return };
        let mut problem = None;
        let mut ports = BTreeSet::new();
        for port in &sim.host.net.ports {
            if !ports.insert((port.protocol, port.host_port, port.host_ip)) {
                problem = Some(format!("port {} is published twice", port.host_port));
            }
        }
        let mut writes = BTreeMap::new();
        for (task, container) in sim.host.containers.iter().filter(|(_, it)| it.running_since().is_some()) {
            if let Some(other) = writes.insert(container.volumes_of, task) {
                problem = Some(format!("{} and {} write to the same volumes", other.short(), task.short()));
            }
        }
        if let Some(order) = &sim.order {
            let running = sim.host.containers.iter().filter(|(_, it)| it.running_since().is_some());
            for (task, container) in running.filter(|(task, it)| is_wanted(order, **task, it.attempt)) {
                if let Net::Task(owner) = container.net
                    && !sim.host.net.endpoints.contains_key(&owner)
                {
                    problem = Some(format!("the network of {} is torn down under it", task.short()));
                }
            }
        }
        if let Some(what) = problem {
            self.fail(format!("n{}: {what}", node + 1));
        }
    }

    /// Looks at an agent after it has taken an input: until the time that it named there is nothing to do.
    pub(crate) fn check_agent(&mut self, node: usize) {
        let now = self.now;
        self.checkers.looks += 1;
        let Some(agent) = self.nodes.get(node).and_then(|sim| sim.agent.as_ref()) else { return };
        let wake = agent.next_wake();
        let now = self.nodes.get(node).map_or(now, |sim| sim.clock(now));
        if wake.is_some_and(|wake| wake <= now) {
            self.fail(format!("n{} wants to wake at {}, which is not ahead", node + 1, wake.unwrap_or_default().0));
            return;
        }
        if !self.checkers.looks.is_multiple_of(WAKES) {
            return;
        }
        let mut early = agent.clone();
        let at = wake.map_or(now.after(std::time::Duration::from_secs(3600)), |wake| model::Time(wake.0 - 1));
        early.handle(at, AgentInput::Tick);
        if let Some(output) = early.poll() {
            self.fail(format!("n{} had something to do before the time that it named: {output:?}", node + 1));
        }
    }

    /// Wakes the manager although it did not ask for it: a plan that was empty stays empty.
    pub(crate) fn check_spurious(&mut self) {
        let now = self.now;
        if let Some(joint) = &mut self.joint {
            if let Some(what) = joint.group.wake_early(now) {
                self.fail(what);
            }
            return;
        }
        let Some(manager) = self.member.manager.as_mut() else { return };
        if !self.member.open.is_empty() || manager.next_wake().is_some_and(|wake| wake <= now) {
            return;
        }
        let before = manager.next_wake();
        manager.handle(now, ManagerInput::Tick);
        if let Some(output) = manager.poll() {
            self.fail(format!(
                "the manager had something to do before the time that it named ({before:?}): {output:?}"
            ));
        }
    }
}

/// The task of an effect, but for probes, which may run beside others.
fn task_of(effect: &Effect) -> Option<TaskId> {
    match effect {
        Effect::Prepare(it) => Some(it.task),
        Effect::CreateAndStart(it) | Effect::Start(it) => Some(it.task),
        Effect::WriteHosts(it) => Some(it.task),
        Effect::Stop { task, .. } | Effect::Remove { task, .. } => Some(*task),
        Effect::EnsureNet(_) | Effect::Probe { .. } | Effect::RemoveVolume(_) => None,
    }
}

/// Does the order want this start of a task?
fn is_wanted(order: &Assignment, task: TaskId, attempt: u32) -> bool {
    order.tasks.get(&task).is_some_and(|assigned| {
        let task = &assigned.task;
        task.desired == Desired::Running && !task.stopped_by_user && task.attempt == attempt
    })
}
