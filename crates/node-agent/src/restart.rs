//! Who starts again what has ended: the agent, in place, or managers, in another task's.

use crate::task::{Host, Local};
use model::{Desired, Exit, Mode, RestartCondition, RestartPolicy, RestartScope, TaskState};
use std::time::Duration;

impl Local {
    /// The shortest pause before it is started again.
    pub(crate) fn delay(&self) -> Duration {
        let policy = self.assigned.as_ref().map(|assigned| assigned.task.spec.restart);
        policy.filter(|policy| policy.scope == RestartScope::Replace).map_or(Duration::ZERO, |policy| policy.delay)
    }

    /// Does the restart policy have the agent start it again?
    pub(crate) fn comes_back(&self, exit: Exit) -> bool {
        self.assigned.as_ref().is_some_and(|it| {
            let policy = &it.task.spec.restart;
            policy.scope == RestartScope::InPlace && restarts_after(policy, exit.code, self.restarts)
        })
    }

    /// It ended and that was told, and the manager that should have replaced it is gone before it did: had it, the task
    /// would not be wanted any more.
    pub(crate) fn is_left(&self) -> bool {
        let wanted = self.assigned.as_ref().is_some_and(|it| it.task.desired == Desired::Running);
        let told = matches!(self.state, TaskState::Failed | TaskState::Complete);
        let ended = matches!(self.host, Host::Exited(exit) if self.is_replaced(exit.code));
        wanted && told && ended && !self.told_to_stop() && self.attempt == self.wanted_attempt()
    }

    /// Would managers, if there were any, have another task take its place after such an ending?
    pub(crate) fn is_replaced(&self, code: i32) -> bool {
        let Some(assigned) = &self.assigned else { return false };
        let spec = &assigned.task.spec;
        let is_job = matches!(spec.mode, Mode::ReplicatedJob { .. } | Mode::GlobalJob);
        spec.restart.scope == RestartScope::Replace
            && !(is_job && code == 0)
            && restarts_after(&spec.restart, code, self.restarts)
    }
}

/// Does an ending lead to a restart, wherever? `restarts`: how many there were in this attempt.
fn restarts_after(policy: &RestartPolicy, code: i32, restarts: u32) -> bool {
    let condition = match policy.condition {
        RestartCondition::None => false,
        RestartCondition::OnFailure => code != 0,
        RestartCondition::Any | RestartCondition::UnlessStopped => true,
    };
    condition && policy.max_attempts.is_none_or(|most| restarts < most)
}
