//! Containers that join networks and leave them as they run.

use crate::world::{World, node};
use model::{
    IpamConfig, Mode, NetworkAttachment, NetworkSpec, RefusalKind, Request, Response, ServiceSpec, Task, TaskId,
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
