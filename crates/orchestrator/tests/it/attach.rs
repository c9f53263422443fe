//! Containers that join networks and leave them as they run.

use crate::world::{World, node};
use model::{
    IpamConfig, Mode, NetworkAttachment, NetworkId, NetworkSpec, Node, NodeId, RefusalKind, Request, Response,
    ServiceSpec, Task, TaskId, Zone,
};
use std::sync::Arc;
use std::time::Duration;

fn network(world: &mut World, spec: NetworkSpec) {
    assert!(matches!(world.ask(Request::CreateNetwork(Box::new(spec))), Response::Done { .. }));
}

fn named(name: &str) -> NetworkSpec {
    NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() }
}

fn at(network: &str) -> NetworkAttachment {
    NetworkAttachment { network: network.to_owned(), ..NetworkAttachment::default() }
}

fn container(name: &str, networks: &[&str]) -> ServiceSpec {
    let mut spec = crate::spec::service(None, name);
    (spec.standalone, spec.mode) = (true, Mode::Replicated { replicas: 1 });
    spec.networks = networks.iter().map(|name| at(name)).collect();
    spec
}

fn run(world: &mut World, spec: ServiceSpec) -> Response {
    let asked = world.ask(Request::PutService { spec: Box::new(spec), create: true });
    world.run(Duration::from_secs(5));
    asked
}

fn refusal(response: &Response) -> Option<(RefusalKind, String)> {
    match response {
        Response::Refused { kind, diagnostics } => Some((*kind, diagnostics[0].message.clone())),
        _ => None,
    }
}

fn task(world: &World, name: &str) -> Arc<Task> {
    let tasks = world.state().tasks;
    tasks.into_iter().find(|task| task.spec.name == name).expect("a container")
}

/// The names of its networks, and whether there is an address for each.
fn networks(world: &World, name: &str) -> (Vec<String>, usize) {
    let task = task(world, name);
    (task.spec.networks.iter().map(|at| at.network.clone()).collect(), task.endpoints.len())
}

#[test]
fn a_container_joins_and_leaves_as_it_runs() {
    let mut world = World::new(1);
    world.join(node(1));
    network(&mut world, named("one"));
    network(&mut world, named("two"));
    run(&mut world, container("box", &["one"]));
    let before = task(&world, "box");
    let id = before.id;
    let connect = |attachment| Request::Connect { task: id, attachment };
    let asked = world.ask(connect(NetworkAttachment { aliases: vec!["also".to_owned()], ..at("two") }));
    assert_eq!(refusal(&asked), None);
    world.run(Duration::from_secs(5));
    assert_eq!(networks(&world, "box"), (vec!["one".to_owned(), "two".to_owned()], 2));
    // Nothing was replaced or started anew, and the network is in use.
    let now = task(&world, "box");
    assert_eq!((now.id, now.attempt, now.status.since), (before.id, before.attempt, before.status.since));
    let state = world.state();
    let two = state.networks.iter().find(|network| network.spec.name == "two").unwrap().id;
    assert!(refusal(&world.ask(Request::RemoveNetwork(two))).unwrap().1.contains("in use"));
    // It is the same container for whoever starts it again.
    world.ask(Request::Power { task: id, action: model::PowerAction::Restart { timeout: None } });
    world.run(Duration::from_secs(5));
    assert_eq!(networks(&world, "box").1, 2);
    for network in ["one", "two"] {
        assert_eq!(refusal(&world.ask(Request::Disconnect { task: id, network: network.to_owned() })), None);
        world.run(Duration::from_secs(5));
    }
    assert_eq!(networks(&world, "box"), (vec![], 0));
    assert_eq!(refusal(&world.ask(Request::RemoveNetwork(two))), None);
    // And back: to the default one as well, which is made where it is not there.
    assert_eq!(refusal(&world.ask(connect(at("bridge")))), None);
    assert_eq!(networks(&world, "box"), (vec!["bridge".to_owned()], 1));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut world = World::new(1);
    world.join(node(1));
    let block = IpamConfig { subnet: Some("10.9.0.0/24".to_owned()), ..IpamConfig::default() };
    network(&mut world, NetworkSpec { ipam: vec![block], ..named("one") });
    run(&mut world, container("box", &["one"]));
    run(&mut world, container("other", &[]));
    let mut host = container("host", &[]);
    host.network_mode = model::NetworkMode::Host;
    run(&mut world, host);
    let mut service = ServiceSpec { standalone: false, ..crate::spec::service(None, "web") };
    service.networks = vec![at("bridge")];
    run(&mut world, service);
    let id = |name: &str| task(&world, name).id;
    let held = task(&world, "box").endpoints[0].address.to_string();
    let cases: [(TaskId, NetworkAttachment, &str); 7] = [
        (id("box"), at("one"), "is on network one already"),
        (id("box"), at("nowhere"), "there is no network nowhere"),
        (id("box"), at("host"), "can't join network host"),
        (id("host"), at("one"), "no network of its own"),
        (id("web"), at("one"), "is one of service web's"),
        (id("other"), NetworkAttachment { ipv4_address: Some(held), ..at("one") }, "is in use by box"),
        (id("other"), NetworkAttachment { ipv4_address: Some("10.8.0.1".to_owned()), ..at("one") }, "10.8.0.1"),
    ];
    for (task, attachment, why) in cases {
        let (_, text) = refusal(&world.ask(Request::Connect { task, attachment })).expect(why);
        assert!(text.contains(why), "{text}");
    }
    let other = task(&world, "other").id;
    let (_, text) =
        refusal(&world.ask(Request::Disconnect { task: other, network: "one".to_owned() })).expect("refused");
    assert!(text.contains("is not on network one"), "{text}");
    let nobody = Request::Disconnect { task: TaskId(9), network: "one".to_owned() };
    assert_eq!(refusal(&world.ask(nobody)).unwrap().0, RefusalKind::NotFound);
}

#[test]
fn an_overlay_takes_containers_only_if_it_says_so() {
    let mut world = World::new(1);
    world.join(node(1));
    let overlay = |name| NetworkSpec { driver: Some("overlay".to_owned()), ..named(name) };
    network(&mut world, overlay("closed"));
    network(&mut world, NetworkSpec { attachable: true, ..overlay("open") });
    network(&mut world, NetworkSpec { driver: Some("bridge".to_owned()), ..named("plain") });
    let (kind, text) = refusal(&run(&mut world, container("box", &["closed"]))).expect("refused");
    assert_eq!(kind, RefusalKind::Conflict);
    assert!(text.contains("takes tasks of services only"), "{text}");
    assert_eq!(refusal(&run(&mut world, container("box", &["open", "plain"]))), None);
    let id = task(&world, "box").id;
    let asked = world.ask(Request::Connect { task: id, attachment: at("closed") });
    assert!(refusal(&asked).unwrap().1.contains("takes tasks of services only"));
    let mut service = ServiceSpec { standalone: false, ..crate::spec::service(None, "web") };
    service.networks = vec![at("closed")];
    assert_eq!(refusal(&run(&mut world, service)), None);
}

/// The names of a network, as the first node is told.
fn zone(world: &World, network: NetworkId) -> Zone {
    (*world.hosts[&NodeId(1)].assignment.as_ref().expect("it was told").zones[&network]).clone()
}

fn web(networks: &[&str]) -> ServiceSpec {
    let mut spec = ServiceSpec { standalone: false, ..crate::spec::service(None, "web") };
    spec.mode = Mode::Replicated { replicas: 2 };
    spec.networks = networks.iter().map(|name| at(name)).collect();
    spec
}

fn small(name: &str) -> NetworkSpec {
    let block = |subnet: &str| IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
    NetworkSpec { ipam: vec![block("10.9.0.0/24"), block("fd00:9::/64")], ipv6: true, ..named(name) }
}

#[test]
fn an_address_by_number_is_one_owners() {
    let mut world = World::new(1);
    world.join(node(1));
    network(&mut world, small("net"));
    run(&mut world, web(&["net"]));
    let vip = |world: &World| {
        *world.state().services.iter().find(|it| it.spec.name == "web").unwrap().vips.values().next().unwrap()
    };
    let before = vip(&world);
    run(&mut world, container("box", &["bridge"]));
    let id = task(&world, "box").id;
    let asked = Request::Connect {
        task: id,
        attachment: NetworkAttachment { ipv4_address: Some(before.to_string()), ..at("net") },
    };
    assert_eq!(refusal(&world.ask(asked)), None);
    assert_ne!(vip(&world), before, "the service makes way");
    // Over IPv6, where an address follows from that of IPv4.
    let held = task(&world, "box").endpoints[1].address6.unwrap().to_string();
    let mut other = container("other", &["net"]);
    other.networks[0].ipv6_address = Some(held.clone());
    assert!(refusal(&run(&mut world, other.clone())).unwrap().1.contains(&held));
    other.networks[0].ipv6_address = Some("fd00:9::77".to_owned());
    assert_eq!(refusal(&run(&mut world, other)), None);
    let id = {
        run(&mut world, container("third", &["bridge"]));
        task(&world, "third").id
    };
    let asked = Request::Connect {
        task: id,
        attachment: NetworkAttachment { ipv4_address: Some("10.9.0.119".to_owned()), ..at("net") },
    };
    let (_, text) = refusal(&world.ask(asked)).expect("its IPv6 address is another's");
    assert!(text.contains("fd00:9::77"), "{text}");
}

#[test]
fn what_is_started_with_its_daemon_gets_addresses_that_are_free() {
    let mut world = World::new(1);
    world.join(node(1));
    network(&mut world, named("net"));
    let mut first = container("first", &["net"]);
    first.restart = crate::spec::service(None, "first").restart;
    first.restart.condition = model::RestartCondition::Any;
    first.restart.scope = model::RestartScope::InPlace;
    run(&mut world, first);
    run(&mut world, container("second", &["bridge"]));
    let (first, second) = (task(&world, "first"), task(&world, "second").id);
    let stop = model::PowerAction::Stop { timeout: Some(0), signal: None };
    world.ask(Request::Power { task: first.id, action: stop });
    world.run(Duration::from_secs(5));
    let address = first.endpoints[0].address.to_string();
    let attachment = NetworkAttachment { ipv4_address: Some(address.clone()), ..at("net") };
    assert_eq!(refusal(&world.ask(Request::Connect { task: second, attachment })), None);
    world.join(Node { incarnation: 7, ..node(1) });
    world.run(Duration::from_secs(5));
    let now = task(&world, "first");
    assert!(now.attempt > first.attempt && !now.stopped_by_user);
    assert_ne!(now.endpoints[0].address.to_string(), address);
}

#[test]
fn tasks_of_before_are_called_where_they_are() {
    let mut world = World::new(1);
    world.join(node(1));
    for name in ["one", "two"] {
        network(&mut world, named(name));
    }
    run(&mut world, container("one-client", &["one"]));
    let mut before = web(&["one"]);
    before.update.parallelism = 1;
    run(&mut world, before.clone());
    let service = |world: &World| world.state().services.into_iter().find(|it| it.spec.name == "web").unwrap();
    let one = world.state().networks.iter().find(|it| it.spec.name == "one").unwrap().id;
    let vip = service(&world).vips[&one];
    // The first new task never comes up: the update waits for a person, and the other task is where it was.
    let mut after = web(&["two"]);
    crate::spec::set(&mut after, "reject=no_image");
    let id = service(&world).id;
    let update = |spec: ServiceSpec| Request::UpdateService { id, spec: Box::new(spec), version: None, force: false };
    assert_eq!(refusal(&world.ask(update(after))), None);
    world.run(Duration::from_secs(20));
    let status = service(&world).update_status.unwrap();
    assert_eq!(status.state, model::UpdateState::Paused, "{}", status.message);
    assert_eq!(service(&world).vips.get(&one), Some(&vip));
    let names = zone(&world, one).names;
    assert_eq!(names["web"], [std::net::IpAddr::from(vip)]);
    assert_eq!(names["tasks.web"].len(), 1);
    // Back by a person, and by itself: the address is the same.
    let mut after = web(&["two"]);
    crate::spec::set(&mut after, "reject=no_image");
    after.update.failure_action = model::FailureAction::Rollback;
    assert_eq!(refusal(&world.ask(Request::RollbackService(id))), None);
    world.run(Duration::from_secs(20));
    assert_eq!(service(&world).vips.into_iter().collect::<Vec<_>>(), [(one, vip)]);
    assert_eq!(refusal(&world.ask(update(after))), None);
    world.run(Duration::from_secs(30));
    let status = service(&world).update_status.unwrap();
    assert_eq!(status.state, model::UpdateState::RollbackCompleted, "{}", status.message);
    assert_eq!(service(&world).vips.into_iter().collect::<Vec<_>>(), [(one, vip)]);
    // And gone, where nobody is any more.
    assert_eq!(refusal(&world.ask(update(web(&["two"])))), None);
    world.run(Duration::from_secs(30));
    assert!(!service(&world).vips.contains_key(&one));
    assert!(!zone(&world, one).names.contains_key("web"));
}
