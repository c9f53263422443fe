//! Logins that are kept with services: who is told of them, for how long, and who never is.

use crate::spec;
use crate::world::{World, node};
use model::*;
use orchestrator::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn logins(pairs: &[(&str, &str)]) -> Logins {
    let login = |(host, word): &(&str, &str)| {
        let login = Login::Password { user: "joe".to_owned(), password: (*word).to_owned() };
        ((*host).to_owned(), login)
    };
    pairs.iter().map(login).collect()
}

fn with(request: Request, pairs: &[(&str, &str)]) -> Request {
    Request::WithLogins { request: Box::new(request), logins: logins(pairs) }
}

/// A service on one node.
fn service(name: &str, image: &str, host: &str) -> ServiceSpec {
    let mut spec = ServiceSpec { standalone: false, ..spec::service(None, name) };
    spec::set(&mut spec, &format!("image={image}"));
    spec.placement.constraints = vec![format!("node.hostname=={host}")];
    spec
}

/// A stack of services with these images, on one node.
fn shop(images: &[(&str, &str)]) -> StackSpec {
    let mut stack = StackSpec { name: "shop".to_owned(), ..StackSpec::default() };
    let net = NetworkSpec { name: "shop_default".into(), stack: Some("shop".into()), ..NetworkSpec::default() };
    stack.networks.insert(net.name.clone(), net);
    for (key, image) in images {
        let mut spec = spec::service(Some("shop"), key);
        spec::set(&mut spec, &format!("image={image}"));
        spec.placement.constraints = vec!["node.hostname==n1".to_owned()];
        stack.services.insert(spec.name.clone(), spec);
    }
    stack
}

fn put(spec: ServiceSpec) -> Request {
    Request::PutService { spec: Box::new(spec), create: false }
}

fn changes(response: Response) -> Vec<ObjectChange> {
    match response {
        Response::Done { changes, .. } => changes,
        other => panic!("{other:?}"),
    }
}

/// What a node was told: passwords by service and registry.
fn told(world: &World, id: u128) -> BTreeMap<String, BTreeMap<String, String>> {
    let state = world.state();
    let assignment = world.hosts.get(&NodeId(id)).and_then(|host| host.assignment.as_ref()).expect("it was told");
    let name = |id: &ServiceId| state.services.iter().find(|service| service.id == *id).map(|it| it.spec.name.clone());
    let words = |logins: &Logins| {
        let word = |host: &str| match logins.get(host) {
            Some(Login::Password { password, .. }) => (host.to_owned(), password.clone()),
            other => panic!("{other:?}"),
        };
        logins.hosts().map(word).collect()
    };
    assignment.logins.iter().map(|(id, logins)| (name(id).expect("it is there"), words(logins))).collect()
}

fn only(service: &str, host: &str, word: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    BTreeMap::from([(service.to_owned(), BTreeMap::from([(host.to_owned(), word.to_owned())]))])
}

fn world() -> World {
    let mut world = World::new(1);
    for number in 1..=2 {
        world.join(node(number));
    }
    world
}

#[test]
fn a_login_goes_where_a_task_of_its_service_is_and_nowhere_else() {
    let mut world = world();
    let both = [("a:5000", "one"), ("b:5000", "two")];
    world.ask(with(put(service("web", "a:5000/web", "n1")), &both));
    world.ask(put(service("plain", "a:5000/web", "n2")));
    assert_eq!(told(&world, 1), only("web", "a:5000", "one"), "that for its image, and no other");
    assert!(told(&world, 2).is_empty());
    // It moves, and the login goes along.
    world.ask(put(service("web", "a:5000/web", "n2")));
    world.run(Duration::from_secs(30));
    assert!(told(&world, 1).is_empty(), "{:?}", told(&world, 1));
    assert_eq!(told(&world, 2), only("web", "a:5000", "one"));
    // Whoever leads next knows it as well.
    world.lead_again();
    assert_eq!(told(&world, 2), only("web", "a:5000", "one"));
}

#[test]
fn the_next_request_with_the_flag_replaces_it_and_one_without_keeps_it() {
    let mut world = world();
    let spec = || service("web", "a:5000/web", "n1");
    let made = changes(world.ask(with(put(spec()), &[("a:5000", "one")])));
    assert_eq!(
        made,
        [ObjectChange { kind: "service".into(), name: "web".into(), action: "created".into(), fields: Vec::new() }]
    );
    let state = world.state();
    let (id, task) = (state.services[0].id, state.tasks[0].id);
    let update = || Request::UpdateService { id, spec: Box::new(spec()), version: None, force: false };
    assert_eq!(changes(world.ask(update()))[0].action, "unchanged");
    assert_eq!(told(&world, 1), only("web", "a:5000", "one"));
    let same = changes(world.ask(with(update(), &[("a:5000", "one")])));
    assert_eq!(same[0].action, "unchanged");
    let other = changes(world.ask(with(update(), &[("a:5000", "two")])));
    assert_eq!((other[0].action.as_str(), &other[0].fields[..]), ("updated", &["registry login".to_owned()][..]));
    assert_eq!(told(&world, 1), only("web", "a:5000", "two"));
    world.ask(Request::Scale { id, replicas: 2 });
    assert_eq!(told(&world, 1), only("web", "a:5000", "two"));
    world.ask(with(update(), &[]));
    assert!(told(&world, 1).is_empty());
    world.run(Duration::from_secs(30));
    assert!(world.state().tasks.iter().any(|it| it.id == task), "what runs goes on");
}

#[test]
fn it_goes_with_its_service() {
    let mut world = world();
    world.ask(with(put(service("web", "a:5000/web", "n1")), &[("a:5000", "hunter2")]));
    assert!(serde_json::to_string(&world.manager.snapshot()).expect("written").contains("hunter2"));
    let id = world.state().services[0].id;
    world.ask(Request::RemoveService { id, force: true, volumes: false });
    world.run(Duration::from_secs(30));
    assert!(world.state().services.is_empty());
    assert!(!serde_json::to_string(&world.manager.snapshot()).expect("written").contains("hunter2"));
    world.ask(put(service("web", "a:5000/web", "n1")));
    assert!(told(&world, 1).is_empty(), "another service of that name has none");
}

#[test]
fn stacks_have_logins_and_what_is_no_service_has_none() {
    let mut world = world();
    let stack = shop(&[("web", "a:5000/web"), ("db", "busybox")]);
    let deploy = || Request::Deploy { stack: Box::new(stack.clone()), remove_orphans: false, force_recreate: false };
    world.ask(with(deploy(), &[("a:5000", "one")]));
    assert_eq!(told(&world, 1), only("shop_web", "a:5000", "one"));
    let wanted = Box::new(Wanted { stack: stack.clone(), ..Wanted::default() });
    world.ask(with(Request::Apply { wanted, basis: None }, &[("a:5000", "two"), ("docker.io", "three")]));
    assert_eq!(told(&world, 1).len(), 2);
    assert_eq!(told(&world, 1)["shop_db"], BTreeMap::from([("docker.io".to_owned(), "three".to_owned())]));

    let no_service = with(Request::RemoveVolume("data".to_owned()), &[("a:5000", "one")]);
    let twice = with(with(deploy(), &[]), &[]);
    let long = with(deploy(), &[("a:5000", &"x".repeat(1 << 20))]);
    for request in [no_service, twice, long] {
        let refused = world.ask(request);
        assert!(matches!(refused, Response::Refused { kind: RefusalKind::Invalid, .. }), "{refused:?}");
    }
    // Half of a request that is refused leaves no login either.
    let mut bad = service("bad", "a:5000/web", "n1");
    bad.networks = vec![NetworkAttachment { network: "missing".to_owned(), ..NetworkAttachment::default() }];
    let refused = world.ask(with(put(bad), &[("a:5000", "four")]));
    assert!(matches!(refused, Response::Refused { .. }), "{refused:?}");
    assert!(!serde_json::to_string(&world.manager.snapshot()).expect("written").contains("four"));
}

#[test]
fn clients_and_logs_see_none_and_older_snapshots_are_read() {
    let mut world = world();
    world.ask(with(put(service("web", "a:5000/web", "n1")), &[("a:5000", "hunter2")]));
    let state = world.state();
    assert!(!serde_json::to_string(&state).expect("written").contains("hunter2"));
    let told = format!("{state:?} {:?} {:?}", world.manager.snapshot(), world.log);
    assert!(told.contains("a:5000") && !told.contains("hunter2"));
    let assignment = &world.hosts[&NodeId(1)].assignment;
    assert!(!format!("{assignment:?}").contains("hunter2"));

    let mut text = serde_json::to_value(world.manager.snapshot()).expect("written");
    assert!(text.as_object_mut().expect("an object").remove("logins").is_some());
    serde_json::from_value::<Snapshot>(text).expect("an older one is read");
    let mut text = serde_json::to_value(assignment).expect("written");
    assert!(text.as_object_mut().expect("an object").remove("logins").is_some());
    serde_json::from_value::<Assignment>(text).expect("an older one is read");
}

#[test]
fn what_a_source_adds_to_a_stack_has_the_login_that_the_stack_had() {
    let mut world = world();
    let stack = shop(&[("web", "a:5000/web")]);
    let deploy = Request::Deploy { stack: Box::new(stack), remove_orphans: false, force_recreate: false };
    world.ask(with(deploy, &[("a:5000", "one")]));
    let source = |request| Request::Source(Box::new(request));
    let spec = SourceSpec {
        name: "git".to_owned(),
        origin: Origin::Git { url: "file:///repo".to_owned(), reference: "main".to_owned() },
        paths: Vec::new(),
        stacks: vec!["shop".to_owned()],
        interval: Duration::from_secs(60),
        prune: false,
        prune_volumes: false,
        self_heal: false,
        forward_only: false,
        rollback: false,
        patience: Duration::from_secs(60),
        allow: BTreeSet::new(),
        env: BTreeMap::new(),
        credentials: Credentials::default(),
    };
    world.ask(source(SourceRequest::Put { spec: Box::new(spec), create: true }));
    let sync = Sync {
        name: "git".to_owned(),
        version: 1,
        commit: Commit { id: "c1".to_owned(), ..Commit::default() },
        stacks: vec![shop(&[("web", "a:5000/web"), ("worker", "a:5000/worker"), ("db", "b:5000/db")])],
        names: ["shop".to_owned()].into(),
        asked: false,
        warnings: Vec::new(),
    };
    changes(world.ask(source(SourceRequest::Sync(Box::new(sync)))));
    let one = BTreeMap::from([("a:5000".to_owned(), "one".to_owned())]);
    assert_eq!(told(&world, 1), BTreeMap::from(["shop_web", "shop_worker"].map(|name| (name.to_owned(), one.clone()))));
}
