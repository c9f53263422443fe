//! Who goes on with whose anonymous volumes.

use crate::spec::{service, set};
use crate::world::{World, node};
use model::*;
use std::sync::Arc;
use std::time::Duration;

fn web(words: &str) -> ServiceSpec {
    let mut spec = service(Some("shop"), "web");
    words.split(' ').for_each(|word| set(&mut spec, word));
    spec
}

fn up(world: &mut World, words: &str) {
    let spec = web(words);
    let mut stack = StackSpec { name: "shop".to_owned(), ..StackSpec::default() };
    let net = NetworkSpec { name: "shop_default".to_owned(), stack: Some("shop".to_owned()), ..NetworkSpec::default() };
    stack.networks.insert(net.name.clone(), net);
    stack.services.insert(spec.name.clone(), spec);
    world.ask(Request::Deploy { stack: Box::new(stack), remove_orphans: false, force_recreate: false });
    world.run(Duration::from_secs(20));
}

/// With one node, and a first version of the service.
fn shop(words: &str) -> (World, Arc<Task>) {
    let mut world = World::new(7);
    world.join(node(1));
    up(&mut world, words);
    let first = newest(&world);
    assert_eq!(first.volumes_of(), first.id, "nobody was before it");
    (world, first)
}

fn newest(world: &World) -> Arc<Task> {
    let tasks = world.state().tasks;
    tasks.into_iter().max_by_key(|task| (task.created, task.id)).expect("there is one")
}

#[test]
fn each_version_goes_on_with_what_the_first_began() {
    let (mut world, first) = shop("image=a");
    for image in ["image=b", "image=c", "image=d", "image=e", "image=f", "image=g"] {
        up(&mut world, image);
        let task = newest(&world);
        assert!(task.id != first.id && task.is_serving(), "{image}");
        assert_eq!(task.volumes_of(), first.id, "{image}");
    }
    assert!(world.state().tasks.iter().all(|task| task.id != first.id), "history is cut");
    // It is a fact: another leader knows it, from the log and from its own snapshot.
    world.lead_again();
    assert_eq!(newest(&world).volumes_of(), first.id);
}

#[test]
fn one_that_never_began_hands_on_what_was_left_to_it() {
    let (mut world, first) = shop("image=a");
    up(&mut world, "image=b reject=no-such-image");
    let refused = newest(&world);
    assert_eq!(refused.status.state, TaskState::Rejected);
    up(&mut world, "image=c");
    let task = newest(&world);
    assert!(task.is_serving() && task.id != refused.id);
    assert_eq!(task.volumes_of(), first.id);
    // Nor did one for which there was no node.
    up(&mut world, "image=d where=node.labels.fast==yes");
    assert_eq!(newest(&world).node, None);
    up(&mut world, "image=e");
    assert!(newest(&world).is_serving());
    assert_eq!(newest(&world).volumes_of(), first.id);
}

#[test]
fn two_at_the_same_time_have_their_own() {
    let (mut world, first) = shop("image=a update.start-first");
    up(&mut world, "image=b update.start-first");
    let second = newest(&world);
    assert!(second.is_serving() && second.id != first.id);
    assert_eq!(second.volumes_of(), second.id);
    // From there on they follow each other again.
    up(&mut world, "image=c");
    assert_eq!(newest(&world).volumes_of(), second.id);
    // One that was to take over and failed leaves nothing; the one that serves does.
    up(&mut world, "image=d update.start-first healthy=9 exit=1@3");
    assert!(world.state().tasks.iter().any(|task| task.is_serving() && task.volumes_of() == second.id));
    up(&mut world, "image=e");
    assert!(newest(&world).is_serving());
    assert_eq!(newest(&world).volumes_of(), second.id);
}

#[test]
fn what_ended_leaves_it_to_the_next() {
    let (mut world, first) = shop("image=a restart=any");
    let now = world.now;
    world.host_of(first.id).expect("it runs").exit(now, first.id, 1, false);
    world.settle();
    world.run(Duration::from_secs(20));
    let second = newest(&world);
    assert!(second.is_serving() && second.id != first.id);
    assert_eq!(second.volumes_of(), first.id);
    // A drain that is taken back.
    for availability in [Availability::Drain, Availability::Active] {
        let (id, availability) = (NodeId(1), Some(availability));
        world.ask(Request::UpdateNode { id, availability, labels: Default::default() });
        world.run(Duration::from_secs(5));
    }
    let third = newest(&world);
    assert!(third.is_serving() && third.id != second.id);
    assert_eq!(third.volumes_of(), first.id);
}

#[test]
fn what_is_on_another_node_or_was_begun_anew_is_not_gone_on_with() {
    let (mut world, first) = shop("image=a restart=any");
    world.join(node(2));
    world.cut(NodeId(1));
    world.run(Duration::from_secs(20));
    let second = newest(&world);
    assert_eq!(second.node, Some(NodeId(2)));
    assert_eq!(second.volumes_of(), second.id);
    // Back where the first was, whose data is old by now.
    world.hosts.get_mut(&NodeId(1)).expect("it was there").silent = false;
    world.join(node(1));
    world.cut(NodeId(2));
    world.run(Duration::from_secs(20));
    let third = newest(&world);
    assert_eq!((third.node, third.volumes_of()), (Some(NodeId(1)), third.id));
    assert_ne!(third.volumes_of(), first.id);
    // What was taken away and comes again is another.
    up(&mut world, "image=a replicas=0");
    up(&mut world, "image=a replicas=1");
    let fourth = newest(&world);
    assert!(fourth.is_serving() && fourth.id != third.id);
    assert_eq!(fourth.volumes_of(), fourth.id);
}

#[test]
fn a_rollback_goes_on_with_it_also_by_itself() {
    for words in ["restart=any exit=1@1", "restart=on-failure exit=1@1", "healthy=9 exit=1@3"] {
        let (mut world, first) = shop("image=a update.monitor=5");
        up(&mut world, &format!("image=b update.monitor=5 update.on-failure=rollback {words}"));
        let task = newest(&world);
        assert!(task.is_serving() && task.spec.container.image == "a", "{words}: {:?}", task.status);
        assert_eq!(task.volumes_of(), first.id, "{words}");
    }
}

#[test]
fn where_the_node_is_the_slot_it_goes_on_there() {
    let (mut world, first) = shop("image=a global");
    world.join(node(2));
    let on = |world: &World| {
        let tasks = world.state().tasks;
        let own = tasks.into_iter().filter(|task| task.node == Some(NodeId(1)) && task.is_serving());
        own.max_by_key(|task| (task.created, task.id)).expect("one serves there")
    };
    // Down and up again, and drained.
    world.cut(NodeId(1));
    world.run(Duration::from_secs(10));
    world.hosts.get_mut(&NodeId(1)).expect("it was there").silent = false;
    world.join(node(1));
    world.run(Duration::from_secs(10));
    let second = on(&world);
    assert!(second.id != first.id && second.volumes_of() == first.id);
    for availability in [Availability::Drain, Availability::Active] {
        let (id, availability) = (NodeId(1), Some(availability));
        world.ask(Request::UpdateNode { id, availability, labels: Default::default() });
        world.run(Duration::from_secs(5));
    }
    let third = on(&world);
    assert!(third.id != second.id && third.volumes_of() == first.id);
}

#[test]
fn the_container_that_keeps_it_is_not_cut_from_the_history() {
    let (mut world, first) = shop("image=a");
    up(&mut world, "image=b restart=any restart.delay=1 reject=no-such-image");
    world.run(Duration::from_secs(30));
    let tasks = world.state().tasks;
    assert!(tasks.iter().any(|task| task.id == first.id), "its data would be nobody's");
    assert!(tasks.len() <= 7, "others are cut: {}", tasks.len());
    up(&mut world, "image=c");
    assert!(newest(&world).is_serving() && newest(&world).volumes_of() == first.id);
}

#[test]
fn the_last_one_leaves_it_not_one_that_was_lost_before() {
    let (mut world, _) = shop("image=a restart=any stop=10");
    world.check(false);
    world.join(node(2));
    // Drained, and gone before it has stopped: nobody will ever tell that it has.
    let (id, availability) = (NodeId(1), Some(Availability::Drain));
    world.hosts.get_mut(&id).expect("it is there").silent = true;
    world.ask(Request::UpdateNode { id, availability, labels: Default::default() });
    world.cut(id);
    world.run(Duration::from_secs(20));
    let second = newest(&world);
    assert!(second.is_serving() && second.node == Some(NodeId(2)));
    let now = world.now;
    world.host_of(second.id).expect("it runs").exit(now, second.id, 1, false);
    world.settle();
    world.run(Duration::from_secs(20));
    let third = newest(&world);
    assert!(third.is_serving() && third.id != second.id);
    assert_eq!(third.volumes_of(), second.id);
}
