//! What is known at the start, and what is ordered since.

use crate::agent::Agent;
use crate::health::{Check, Monitor};
use crate::ledger::Ledger;
use crate::memory;
use crate::task::{Host, Local};
use model::{AssignedTask, Assignment, Health, Observed, TaskState, TaskStatus, Time, Verdict};

impl Agent {
    /// Looks before it acts: adopts what the host has, with what was remembered of it.
    pub(crate) fn recover(&mut self, now: Time, observed: &[Observed], ledger: Option<Box<Ledger>>) {
        debug_assert!(self.found.is_none(), "the host is looked at once");
        self.found = Some(now);
        self.deserted = (!self.reporter.is_up()).then_some(now);
        for container in observed {
            self.tasks.insert(container.task, Local::found(container, now));
            self.touched.insert(container.task);
        }
        let Ledger { assignment, statuses } = ledger.map(|ledger| *ledger).unwrap_or_default();
        // A manager was faster than the host.
        let told = self.assignment.take();
        if let Some(assignment) = assignment {
            self.adopt(now, assignment);
            for (id, status) in &statuses {
                if let Some(local) = self.tasks.get_mut(id) {
                    local.remember(status);
                }
            }
        }
        if let Some(assignment) = told {
            self.assigned(now, assignment);
        }
    }

    /// A manager's word. An older one than the newest is ignored.
    pub(crate) fn assigned(&mut self, now: Time, assignment: Box<Assignment>) {
        if assignment.node != self.node() {
            debug_assert!(false, "an assignment for another node");
            return;
        }
        if self.assignment.as_ref().is_some_and(|newest| newest.generation > assignment.generation) {
            return;
        }
        if self.found.is_none() {
            self.assignment = Some(assignment);
            return;
        }
        self.confirmed = true;
        let same = self.assignment.as_ref().is_some_and(|before| memory::same_orders(before, &assignment));
        if same {
            self.memory.soon(now);
        } else {
            self.memory.order(now);
        }
        self.adopt(now, *assignment);
    }

    /// Makes the assignment the one to act upon.
    fn adopt(&mut self, now: Time, assignment: Assignment) {
        for (id, local) in &mut self.tasks {
            local.wanted = assignment.tasks.contains_key(id);
        }
        let mut moved = false;
        for (id, assigned) in &assignment.tasks {
            let local = self.tasks.entry(*id).or_insert_with(|| Local::new(*id, now));
            moved |= local.order(assigned, now);
            self.touched.insert(*id);
        }
        // Whoever joins the namespace of another finds the host where that one does.
        let joins = |local: &&mut Local| local.assigned.as_ref().is_some_and(|it| it.joins.is_some());
        self.tasks.values_mut().filter(|_| moved).filter(joins).for_each(|local| local.hosts_checked = false);
        for local in self.tasks.values_mut() {
            if crate::volumes::awaited(local, &assignment).is_some() {
                // Its volume has to be made anew.
                local.prepared = None;
            }
        }
        self.volumes.assigned(&assignment);
        self.assignment = Some(Box::new(assignment));
        self.nets.shape = None;
    }
}

impl Local {
    /// Takes a new order. Are its addresses others than before?
    fn order(&mut self, assigned: &AssignedTask, now: Time) -> bool {
        let task = &assigned.task;
        let first = self.assigned.is_none();
        let before = self.assigned.as_ref().map(|known| known.task.attempt);
        if before.is_some_and(|before| task.attempt > before)
            || first && task.attempt > self.attempt && self.attempt > 0
        {
            self.begin_attempt(now);
        }
        self.wanted = true;
        let moved = self.assigned.as_ref().is_none_or(|known| known.task.endpoints != task.endpoints);
        self.hosts_checked &= !moved;
        self.assigned = Some(assigned.clone());
        self.volumes_of = task.volumes_of();
        if first {
            self.remember(&task.status);
        } else if task.status.state.is_terminal() {
            self.overrule(&task.status);
        }
        // Managers take a state that falls for old news, and what is said with it: a start of which nothing is left on
        // the host is tried again as what it was.
        let known = &task.status;
        if known.attempt == self.wanted_attempt() && known.state < TaskState::Running {
            self.state = self.state.max(known.state);
        }
        moved
    }

    /// What was known of it before this agent began.
    fn remember(&mut self, status: &TaskStatus) {
        if status.attempt != self.wanted_attempt() {
            return;
        }
        self.overrule(status);
        let Host::Running { started_at, .. } = self.host else { return };
        if self.health.as_ref().is_some_and(Monitor::is_known) {
            return;
        }
        let known = status.container.as_ref().filter(|container| container.started_at == Some(started_at));
        let known = known.and_then(|container| container.health.clone());
        if let Some(health) = known.or_else(|| self.unknown_health()) {
            self.health = Some(Monitor::adopt(health, started_at));
            self.judge();
        }
    }

    /// A run that nobody remembers is not known to be healthy, where there is a check.
    fn unknown_health(&self) -> Option<Health> {
        let container = &self.assigned.as_ref()?.task.spec.container;
        Check::of(container, None)?;
        self.health.is_none().then_some(Health { verdict: Verdict::Starting, failing_streak: 0, log: Vec::new() })
    }

    /// The managers hold that this attempt is over (its node was lost, or it was reported so before):
    /// then it is.
    fn overrule(&mut self, status: &TaskStatus) {
        if status.attempt == self.wanted_attempt() && status.state.is_terminal() && !self.ended() {
            self.state = status.state;
            self.since = status.since;
            self.message.clone_from(&status.message);
            self.start_code = match &status.container {
                Some(container) if self.last.is_none() => container.exit_code,
                _ => None,
            };
        }
    }
}
