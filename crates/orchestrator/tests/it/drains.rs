//! A task that leaves waits until every node that led traffic to it has said that it no longer does.

use crate::group::{admit, cluster};
use crate::spec::{service, set};
use crate::world::{World, node};
use model::*;
use std::time::Duration;

const NODES: u128 = 3;

/// Three nodes in a mesh, each with a task of the network that the two replicas of `web` are on, which take ten
/// seconds to end; all nodes but those of `web` are slow.
fn shop() -> World {
    let mut world = cluster();
    world.check(false);
    for number in 1..=NODES {
        if number > 1 {
            admit(&mut world, number, &format!("k{number}"), "let-me-work");
        }
        let addresses = vec![[10, 0, 0, number as u8].into()];
        let offer = MeshOffer { public_key: format!("key{number}"), port: MESH_PORT, addresses, mtu: 1500 };
        world.join(Node { mesh: Some(offer), ..node(number) });
    }
    let mut stack = StackSpec { name: "shop".to_owned(), ..StackSpec::default() };
    let net = NetworkSpec { name: "shop_default".to_owned(), stack: Some("shop".to_owned()), ..NetworkSpec::default() };
    stack.networks.insert(net.name.clone(), net);
    for (key, words) in [("web", "replicas=2 stop=10"), ("client", "global")] {
        let mut spec = service(Some("shop"), key);
        words.split(' ').for_each(|word| set(&mut spec, word));
        stack.services.insert(spec.name.clone(), spec);
    }
    world.ask(Request::Deploy { stack: Box::new(stack), remove_orphans: false, force_recreate: false });
    assert_eq!(world.state().tasks.iter().filter(|task| task.is_serving()).count(), 5);
    world
}

/// One replica less, and nobody says that it follows; returns the nodes that the one that leaves is not on.
fn scale_down(world: &mut World) -> Vec<NodeId> {
    world.hosts.values_mut().for_each(|host| host.slow = true);
    let state = world.state();
    let web = state.services.iter().find(|service| service.spec.key == "web").expect("it is there");
    world.ask(Request::Scale { id: web.id, replicas: 1 });
    let (_, own) = leaving(world);
    world.hosts.keys().copied().filter(|id| *id != own).collect()
}

fn follow(world: &mut World, id: NodeId) {
    world.hosts.get_mut(&id).expect("it is there").follow();
    world.settle();
}

/// The task that is to end.
fn leaving(world: &World) -> (TaskId, NodeId) {
    let state = world.state();
    let task = state.tasks.iter().find(|task| task.desired > Desired::Running).expect("one leaves");
    (task.id, task.node.expect("it has a place"))
}

/// Is its node told that it is sent to, and which nodes are waited for?
fn told(world: &World) -> (bool, Vec<NodeId>) {
    let (task, own) = leaving(world);
    let assignment = |id: &NodeId| world.hosts[id].assignment.as_ref().expect("it was told");
    let awaited = world.hosts.keys().filter(|id| assignment(id).awaited).copied().collect();
    (assignment(&own).sent_to.contains(&task), awaited)
}

#[test]
fn its_node_hears_when_the_last_has_followed() {
    let mut world = shop();
    let others = scale_down(&mut world);
    assert_eq!(told(&world), (true, others.clone()));
    for (index, id) in others.iter().enumerate() {
        follow(&mut world, *id);
        assert_eq!(told(&world).0, index == 0, "after {} of {}", index + 1, others.len());
    }
}

#[test]
fn nobody_waits_for_a_node_that_is_lost_nor_for_an_older_word() {
    let mut world = shop();
    let others = scale_down(&mut world);
    let older = AgentReport { network: Some(Generation { term: 1, revision: 1 }), ..AgentReport::default() };
    world.tell(orchestrator::ManagerInput::Report(others[0], Box::new(older)));
    world.settle();
    assert_eq!(told(&world), (true, others.clone()));
    world.cut(others[0]);
    world.settle();
    assert!(told(&world).0);
    follow(&mut world, others[1]);
    assert!(!told(&world).0);
}

#[test]
fn who_tells_of_something_else_has_not_followed() {
    let mut world = shop();
    let others = scale_down(&mut world);
    assert_eq!(told(&world), (true, others.clone()));
    for id in &others {
        let state = world.state();
        let task = state.tasks.iter().find(|task| task.node == Some(*id)).expect("each has one");
        let mut status = task.status.clone();
        status.message = "its health was looked at".to_owned();
        let report = TaskReport { task: task.id, status, removed: false };
        let report = AgentReport { tasks: vec![report], ..AgentReport::default() };
        world.tell(orchestrator::ManagerInput::Report(*id, Box::new(report)));
        world.settle();
        assert_eq!(told(&world), (true, others.clone()));
    }
    for (index, id) in others.iter().enumerate() {
        follow(&mut world, *id);
        assert_eq!(told(&world).0, index == 0, "after {} of {}", index + 1, others.len());
    }
}

#[test]
fn a_new_leader_asks_all_again() {
    let mut world = shop();
    let others = scale_down(&mut world);
    world.lead_again();
    world.run(Duration::from_millis(10));
    assert!(told(&world).0);
    others.iter().for_each(|id| follow(&mut world, *id));
    assert!(!told(&world).0);
}

#[test]
fn a_new_leader_waits_for_those_that_are_not_back_yet() {
    let mut world = shop();
    let others = scale_down(&mut world);
    let (_, own) = leaving(&world);
    let nodes = world.nodes.clone();
    world.tell(orchestrator::ManagerInput::Following);
    nodes.keys().for_each(|id| world.tell(orchestrator::ManagerInput::SessionLost(*id)));
    world.tell(orchestrator::ManagerInput::Leading { term: 2 });
    world.settle();
    world.join(nodes[&own].clone());
    assert!(told(&world).0, "nobody has said that it follows");
    for (index, id) in others.iter().enumerate() {
        world.join(nodes[id].clone());
        assert!(told(&world).0);
        follow(&mut world, *id);
        assert_eq!(told(&world).0, index == 0, "after {} of {}", index + 1, others.len());
    }
}
