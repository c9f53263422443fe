//! How often what ends at once is begun again.

use crate::spec::{self, service};
use crate::world::{World, node};
use model::*;
use orchestrator::Change;
use std::time::Duration;

#[test]
fn what_can_not_be_started_is_tried_again_after_its_delay_and_once_a_second_at_most() {
    for (delay, scope, times) in
        [(5, RestartScope::Replace, 2..=3), (0, RestartScope::Replace, 10..=11), (0, RestartScope::InPlace, 10..=11)]
    {
        let mut world = World::new(1);
        world.join(node(1));
        let mut spec = ServiceSpec { standalone: false, ..service(None, "web") };
        spec::set(&mut spec, "reject=the registry denies access");
        let (condition, delay) = (RestartCondition::Any, Duration::from_secs(delay));
        spec.restart = RestartPolicy { condition, scope, delay, ..RestartPolicy::SWARM };
        world.ask(Request::PutService { spec: Box::new(spec), create: true });
        world.run(Duration::from_millis(10_500));
        let made = world.log.iter().flat_map(|entry| &entry.changes).filter(|it| matches!(it, Change::NewTask(_)));
        let made = made.count();
        assert!(times.contains(&made), "{made} tasks within ten seconds with {delay:?} {scope:?}");
        let state = world.state();
        let last = state.tasks.iter().find(|task| task.desired <= Desired::Running).expect("its slot is held");
        assert_eq!(last.status.message, "the registry denies access", "it says why while it waits");
    }
}
