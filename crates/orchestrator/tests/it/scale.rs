//! What it costs. Printed, and loosely held: a bend in the curve is what this is to show.

use crate::spec::service;
use crate::world::{World, node};
use model::*;
use orchestrator::ManagerInput;
use std::time::Duration;

#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn deploy(count: u32) -> Request {
    let mut stack = StackSpec { name: "big".to_owned(), ..StackSpec::default() };
    let ipam = vec![IpamConfig { subnet: Some("10.64.0.0/16".to_owned()), ..IpamConfig::default() }];
    let net =
        NetworkSpec { name: "big_default".to_owned(), stack: Some("big".to_owned()), ipam, ..NetworkSpec::default() };
    stack.networks.insert(net.name.clone(), net);
    let mut spec = service(Some("big"), "web");
    spec.mode = Mode::Replicated { replicas: count };
    stack.services.insert(spec.name.clone(), spec);
    Request::Deploy { stack: Box::new(stack), remove_orphans: false, force_recreate: false }
}

#[test]
fn cost_against_size() {
    for (count, nodes) in [(100u32, 1u128), (1_000, 1), (10_000, 20)] {
        let mut world = World::unchecked(5);
        (1..=nodes).for_each(|number| world.join(node(number)));
        let (entries, assignments) = (world.log.len(), world.assignments);
        let (_, up) = timed(|| world.ask(deploy(count)));
        let running = world.state().tasks.iter().filter(|task| task.is_serving()).count();
        assert_eq!(running, count as usize);
        let entries = world.log.len() - entries;
        assert!(entries <= 2, "{entries} entries for one `up`");
        let told = world.assignments - assignments;
        let (written, snapshot) = timed(|| serde_json::to_vec(&world.manager.snapshot()).expect("a snapshot"));
        let rounds = 20;
        let (_, rest) = timed(|| {
            for _ in 0..rounds {
                world.tell(ManagerInput::Tick);
                assert!(world.manager.poll().is_none(), "at rest");
            }
        });
        let rest = rest / rounds;
        let one = world.state().tasks[0].id;
        let now = world.now;
        let (_, death) = timed(|| {
            world.host_of(one).expect("a host").exit(now, one, 1, false);
            world.settle();
        });
        println!(
            "{count} tasks on {nodes} nodes: up {up:?} in {entries} entries and {told} assignments, at rest {rest:?}, \
             one death {death:?}, snapshot {snapshot:?} with {} bytes a task",
            written.len() / count as usize
        );
        let most = Duration::from_micros(u64::from(count) * 10).max(Duration::from_millis(2));
        assert!(rest < most, "{count} tasks: a plan at rest took {rest:?}");
        assert!(written.len() < 2_048 * count as usize, "more than 2 KiB a task");
    }
}
