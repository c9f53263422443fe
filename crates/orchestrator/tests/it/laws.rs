//! What holds whatever happens: random operators, failing containers, nodes that come and go.

use crate::spec::{self, service};
use crate::world::{World, node};
use model::*;
use orchestrator::{Entry, Manager, ManagerInput};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Op {
    Up {
        services: Vec<(u8, u8)>,
        orphans: bool,
        force: bool,
    },
    Down(bool),
    Run(u8, u8),
    Remove(u8, bool),
    Scale(u8, u32),
    Power(u8, u8),
    Exit(u8, i32),
    Health(u8, bool),
    Cut(u8),
    Join(u8),
    Wait(u16),
    Lose,
    NetworkRemove(u8),
    Connect(u8, u8),
    Disconnect(u8, u8),
    VolumeRemove,
    NodeUpdate(u8, u8),
    NodeRemove(u8),
    Update(u8, u8, bool),
    Rollback(u8),
    /// Somebody's login, or none.
    Login(u8, u8),
    /// Follow: which of the switches are on.
    Follow(u8),
    Unfollow(bool),
    Sync(Vec<(u8, u8)>, u8),
    NoSync(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let services = proptest::collection::vec((0u8..5, any::<u8>()), 0..5);
    let commit = proptest::collection::vec((0u8..5, any::<u8>()), 0..5);
    prop_oneof![
        4 => (services, any::<bool>(), any::<bool>()).prop_map(|(services, orphans, force)| Op::Up { services, orphans, force: force && orphans }),
        1 => any::<bool>().prop_map(Op::Down),
        1 => (0u8..3, any::<u8>()).prop_map(|(name, look)| Op::Run(name, look)),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(which, force)| Op::Remove(which, force)),
        1 => (any::<u8>(), 0u32..5).prop_map(|(which, replicas)| Op::Scale(which, replicas)),
        2 => (any::<u8>(), 0u8..3).prop_map(|(which, what)| Op::Power(which, what)),
        3 => (any::<u8>(), 0i32..3).prop_map(|(which, code)| Op::Exit(which, code)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(which, healthy)| Op::Health(which, healthy)),
        1 => (0u8..3).prop_map(Op::Cut),
        1 => (0u8..3).prop_map(Op::Join),
        4 => (1u16..9000).prop_map(Op::Wait),
        1 => Just(Op::Lose),
        1 => any::<u8>().prop_map(Op::NetworkRemove),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(which, network)| Op::Connect(which, network)),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(which, network)| Op::Disconnect(which, network)),
        1 => Just(Op::VolumeRemove),
        3 => (0u8..3, any::<u8>()).prop_map(|(which, look)| Op::NodeUpdate(which, look)),
        1 => (0u8..3).prop_map(Op::NodeRemove),
        2 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(which, look, force)| Op::Update(which, look, force)),
        1 => any::<u8>().prop_map(Op::Rollback),
        2 => (any::<u8>(), 0u8..3).prop_map(|(which, whose)| Op::Login(which, whose)),
        2 => any::<u8>().prop_map(Op::Follow),
        1 => any::<bool>().prop_map(Op::Unfollow),
        4 => (commit, 0u8..4).prop_map(|(services, commit)| Op::Sync(services, commit)),
        1 => any::<bool>().prop_map(Op::NoSync),
    ]
}

/// A service whose looks are drawn: the same number looks the same.
fn drawn(key: u8, look: u8) -> ServiceSpec {
    let mut spec = service(Some("shop"), &format!("s{key}"));
    let mut words = vec![format!("replicas={}", look % 4), format!("image=i{}", look % 3)];
    let words_of = |bit: u8, word: &str| (look >> bit & 1 == 1).then(|| word.to_owned());
    words.extend(words_of(2, "restart=any"));
    words.extend(words_of(3, "healthy=2"));
    words.extend(words_of(4, "exit=1@3"));
    words.extend(words_of(5, "update.start-first"));
    words.extend(words_of(6, "update.on-failure=rollback"));
    words.extend(words_of(7, "stop=2"));
    if key > 0 && look.is_multiple_of(5) {
        words.push("after=s0:healthy".to_owned());
    }
    match (key, look % 7) {
        (1, _) => words.push(format!("port={}:80", 8000 + u16::from(look % 2))),
        (2, 1) => words.push("global".to_owned()),
        (2, 2) => words.push("job=3/2".to_owned()),
        (3, _) => words.push("volume=shop_data".to_owned()),
        (4, 3) => words.push("restart.in-place".to_owned()),
        _ => {}
    }
    words.iter().for_each(|word| spec::set(&mut spec, word));
    spec
}

fn stack(services: &[(u8, u8)]) -> StackSpec {
    let mut stack = StackSpec { name: "shop".to_owned(), ..StackSpec::default() };
    let net = NetworkSpec { name: "shop_default".to_owned(), stack: Some("shop".to_owned()), ..NetworkSpec::default() };
    stack.networks.insert(net.name.clone(), net);
    for (key, look) in services {
        let spec = drawn(*key, *look);
        stack.services.insert(spec.name.clone(), spec);
    }
    stack
}

fn any_task(world: &World, which: u8) -> Option<TaskId> {
    let tasks = world.state().tasks;
    tasks.get(usize::from(which) % tasks.len().max(1)).map(|task| task.id)
}

fn step(world: &mut World, op: &Op) {
    match op {
        Op::Up { services, orphans, force } => {
            let stack = Box::new(stack(services));
            world.ask(Request::Deploy { stack, remove_orphans: *orphans, force_recreate: *force });
        }
        Op::Down(volumes) => {
            drop(world.ask(Request::RemoveStack { name: "shop".to_owned(), volumes: *volumes, timeout: None }))
        }
        Op::Run(name, look) => {
            let mut spec = service(None, &format!("c{name}"));
            let words = [(1, "rm"), (2, "exit=0@2"), (3, "restart=any"), (4, "port=8000:80"), (5, "port=81")];
            words.iter().filter(|(bit, _)| look >> bit & 1 == 1).for_each(|(_, word)| spec::set(&mut spec, word));
            world.ask(Request::PutService { spec: Box::new(spec), create: true });
        }
        Op::Remove(which, force) => {
            let services = world.state().services;
            if let Some(service) = services.get(usize::from(*which) % services.len().max(1)) {
                world.ask(Request::RemoveService { id: service.id, force: *force, volumes: true });
            }
        }
        Op::Scale(which, replicas) => {
            let services = world.state().services;
            if let Some(service) = services.get(usize::from(*which) % services.len().max(1)) {
                world.ask(Request::Scale { id: service.id, replicas: *replicas });
            }
        }
        Op::Connect(which, network) | Op::Disconnect(which, network) => {
            let networks = world.state().networks;
            let network = networks.get(usize::from(*network) % networks.len().max(1));
            if let Some((task, network)) = any_task(world, *which).zip(network) {
                let network = network.spec.name.clone();
                world.ask(match op {
                    Op::Disconnect(..) => Request::Disconnect { task, network },
                    _ => {
                        let attachment = NetworkAttachment { network, ..NetworkAttachment::default() };
                        Request::Connect { task, attachment }
                    }
                });
            }
        }
        Op::Power(which, what) => {
            let action = match what {
                0 => PowerAction::Stop { timeout: Some(1), signal: None },
                1 => PowerAction::Start,
                _ => PowerAction::Restart { timeout: None },
            };
            if let Some(task) = any_task(world, *which) {
                world.ask(Request::Power { task, action });
            }
        }
        Op::Exit(which, code) => {
            if let Some(task) = any_task(world, *which) {
                let now = world.now;
                world.host_of(task).into_iter().for_each(|host| host.exit(now, task, *code, false));
            }
        }
        Op::Health(which, healthy) => {
            let verdict = if *healthy { Verdict::Healthy } else { Verdict::Unhealthy };
            if let Some(task) = any_task(world, *which) {
                let now = world.now;
                world.host_of(task).into_iter().for_each(|host| host.health(now, task, verdict));
            }
        }
        Op::Cut(which) => world.cut(NodeId(u128::from(*which) + 1)),
        Op::Join(which) => {
            let node = node(u128::from(*which) + 1);
            if let Some(host) = world.hosts.get_mut(&node.id) {
                host.silent = false;
            }
            world.join(node);
        }
        Op::Wait(millis) => world.run(Duration::from_millis((*millis).into())),
        // Another leader, or a proposal that did not make it.
        Op::Lose => {
            world.tell(ManagerInput::Following);
            world.lead_again();
        }
        Op::NetworkRemove(which) => {
            let networks = world.state().networks;
            if let Some(network) = networks.get(usize::from(*which) % networks.len().max(1)) {
                world.ask(Request::RemoveNetwork(network.id));
            }
        }
        Op::NodeUpdate(which, look) => {
            let availability = [None, Some(Availability::Active), Some(Availability::Drain), Some(Availability::Pause)];
            let labels = [("disk".to_owned(), (look & 4 == 0).then(|| "ssd".to_owned()))].into();
            let availability = availability[usize::from(look & 3)];
            world.ask(Request::UpdateNode { id: NodeId(u128::from(*which) + 1), availability, labels });
        }
        Op::NodeRemove(which) => {
            drop(world.ask(Request::RemoveNode { id: NodeId(u128::from(*which) + 1), force: false }))
        }
        Op::Update(which, look, force) => {
            let services = world.state().services;
            if let Some(service) = services.get(usize::from(*which) % services.len().max(1)) {
                let mut spec = Box::new((*service.spec).clone());
                spec::set(&mut spec, &format!("image=u{}", look % 3));
                if look & 8 != 0 {
                    spec::set(&mut spec, "where=node.labels.disk==ssd");
                }
                let version = (look & 16 != 0).then_some(service.version);
                let answer = world.ask(Request::UpdateService { id: service.id, spec, version, force: *force });
                assert!(!matches!(answer, Response::Refused { kind: RefusalKind::NotFound, .. }), "{answer:?}");
            }
        }
        Op::Rollback(which) => {
            let services = world.state().services;
            if let Some(service) = services.get(usize::from(*which) % services.len().max(1)) {
                world.ask(Request::RollbackService(service.id));
            }
        }
        Op::Login(which, whose) => {
            let services = world.state().services;
            if let Some(service) = services.get(usize::from(*which) % services.len().max(1)) {
                let spec = Box::new((*service.spec).clone());
                let request = Box::new(Request::UpdateService { id: service.id, spec, version: None, force: false });
                let login = ("docker.io".to_owned(), Login::Bearer(whose.to_string()));
                let logins = Some(login).filter(|_| *whose > 0).into_iter().collect();
                world.ask(Request::WithLogins { request, logins });
            }
        }
        Op::Follow(switches) => {
            let on = |bit: u8| switches & (1 << bit) != 0;
            let spec = SourceSpec {
                name: "shop".to_owned(),
                origin: Origin::Git { url: "file:///shop".to_owned(), reference: "HEAD".to_owned() },
                paths: Vec::new(),
                stacks: Vec::new(),
                interval: Duration::from_secs(60),
                prune: on(0),
                prune_volumes: on(1),
                self_heal: on(2),
                forward_only: false,
                rollback: on(3),
                patience: Duration::from_secs(if on(4) { 20 } else { 300 }),
                allow: BTreeSet::new(),
                env: BTreeMap::new(),
                credentials: Credentials::default(),
            };
            source(world, SourceRequest::Put { spec: Box::new(spec), create: false });
        }
        Op::Unfollow(down) => source(world, SourceRequest::Remove { name: "shop".to_owned(), down: *down }),
        Op::Sync(services, commit) => {
            let Some(version) = followed(world) else { return };
            let stack = stack(services);
            let commit = Commit { id: commit.to_string(), ..Commit::default() };
            let names = BTreeSet::from([stack.name.clone()]);
            let (name, stacks, warnings) = ("shop".to_owned(), vec![stack], Vec::new());
            let sync = Sync { name, version, commit, stacks, names, asked: false, warnings };
            source(world, SourceRequest::Sync(Box::new(sync)));
        }
        Op::NoSync(invalid) => {
            let Some(version) = followed(world) else { return };
            let report = SyncReport {
                name: "shop".to_owned(),
                version,
                commit: invalid.then(|| Commit { id: "bad".to_owned(), ..Commit::default() }),
                outcome: if *invalid { SyncOutcome::Invalid } else { SyncOutcome::Unreachable },
                message: String::new(),
                diagnostics: Vec::new(),
            };
            source(world, SourceRequest::Report(Box::new(report)));
        }
        Op::VolumeRemove => drop(world.ask(Request::RemoveVolume("shop_data".to_owned()))),
    }
    world.settle();
}

fn source(world: &mut World, request: SourceRequest) {
    world.ask(Request::Source(Box::new(request)));
}

/// The version of the source, if there is one.
fn followed(world: &World) -> Option<u64> {
    world.state().sources.first().map(|source| source.version)
}

/// Where a task stood: what only rises.
type Height = (Desired, u32, (u32, TaskState));

fn check(world: &mut World, heights: &mut BTreeMap<TaskId, Height>) {
    let state = world.state();
    for task in &state.tasks {
        let height = (task.desired, task.attempt, (task.status.attempt, task.status.state));
        if let Some(before) = heights.insert(task.id, height) {
            assert!(before.0 <= height.0 && before.1 <= height.1 && before.2 <= height.2, "{before:?} → {height:?}");
        }
    }
    let mut addresses = BTreeSet::new();
    for task in state.tasks.iter().filter(|task| !task.status.state.is_terminal() || task.status.attempt < task.attempt)
    {
        for endpoint in &task.endpoints {
            assert!(addresses.insert((endpoint.network, endpoint.address)), "{} twice", endpoint.address);
            let network = state.networks.iter().find(|network| network.id == endpoint.network);
            assert!(
                network.is_some_and(|network| network.subnet.contains(endpoint.address)),
                "an address of no network"
            );
        }
    }
    placed_well(&state);
    for host in world.hosts.values().filter(|host| !host.silent) {
        let assignment = host.assignment.as_ref().expect("every host was told");
        let ports: BTreeSet<_> = assignment.ports.iter().map(|port| (port.protocol, port.host_port)).collect();
        assert_eq!(ports.len(), assignment.ports.len(), "a port twice: {:?}", assignment.ports);
        for id in host.running() {
            let task = state.tasks.iter().find(|task| task.id == id).expect("what runs is known");
            assert_eq!(task.status.state, TaskState::Running, "what runs is known to run: {task:?}");
        }
    }
    // The last entry once more changes nothing.
    if let Some(last) = world.log.last().cloned() {
        let before = world.manager.snapshot();
        world.tell(ManagerInput::Committed(Box::new(last)));
        assert_eq!(world.manager.snapshot(), before, "twice is once");
        world.settle();
    }
}

/// Where tasks are: on nodes that are known, and never started on one that takes none or fails a constraint.
fn placed_well(state: &State) {
    for task in state.tasks.iter().filter(|task| task.desired <= Desired::Running && !task.spec.standalone) {
        let Some(node) = task.node else { continue };
        let known = state.nodes.iter().find(|known| known.id == node);
        assert!(known.is_some() || task.status.state.is_terminal(), "{} is on a node that is gone", task.name());
        let leaves = known.is_some_and(|node| {
            let wants = !task.spec.placement.constraints.is_empty();
            node.availability == Availability::Drain || wants && !node.labels.contains_key("disk")
        });
        // Who goes when the new one serves has one beside it.
        let beside = state.tasks.iter().any(|other| {
            other.id != task.id
                && (other.service, other.slot) == (task.service, task.slot)
                && other.desired <= Desired::Running
        });
        let begun = task.status.state >= TaskState::Assigned && !task.status.state.is_terminal();
        assert!(!(leaves && begun && task.spec_version > 0) || beside, "{} stays where it can't", task.name());
    }
}

fn live(ops: &[Op]) -> World {
    let mut world = World::new(3);
    world.join(node(1));
    let mut heights = BTreeMap::new();
    for op in ops {
        step(&mut world, op);
        check(&mut world, &mut heights);
    }
    world.run(Duration::from_secs(60));
    check(&mut world, &mut heights);
    world
}

/// Whoever reads the log comes to the same state.
fn follows(log: &[Entry]) -> Manager {
    let mut follower = Manager::new(1);
    for entry in log {
        follower.handle(entry.at, ManagerInput::Committed(Box::new(entry.clone())));
    }
    follower
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn laws(ops in proptest::collection::vec(op(), 1..25)) {
        let world = live(&ops);
        prop_assert_eq!(follows(&world.log).snapshot(), world.manager.snapshot());
        prop_assert_eq!(&live(&ops).log, &world.log);
    }
}

#[test]
fn the_same_request_again_gets_the_same_answer() {
    let mut world = World::new(3);
    world.join(node(1));
    let spec = Box::new(service(None, "box"));
    let id = RequestId(99);
    let request = Request::PutService { spec, create: true };
    let first = world.ask_as(id, request.clone());
    assert!(matches!(first, Response::Done { .. }));
    assert_eq!(world.ask_as(id, request.clone()), first);
    assert!(matches!(world.ask_as(RequestId(100), request), Response::Refused { kind: RefusalKind::Conflict, .. }));
    assert_eq!(world.state().services.len(), 1);
}

#[test]
fn what_was_lost_is_decided_again() {
    let mut world = World::new(3);
    world.join(node(1));
    let spec = Box::new(service(None, "box"));
    let id = world.post(Request::PutService { spec, create: true });
    let ticket = world.lose_proposal();
    world.tell(ManagerInput::Lost(ticket));
    world.settle();
    assert!(matches!(world.reply(id), Some(Response::Done { .. })));
    assert_eq!(world.state().tasks.len(), 1);
}
