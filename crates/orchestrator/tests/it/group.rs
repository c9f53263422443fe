//! Who is let into the cluster, who manages, and how one goes.

use crate::spec::{service, set};
use crate::world::{World, node};
use model::{
    Admission, Authority, Client, ClusterId, ClusterInfo, ClusterRequest, Node, NodeId, NodeTrust, RefusalKind,
    Request, Response, Role, Root, Time,
};
use orchestrator::{Manager, ManagerInput};

fn authority(name: &str) -> Authority {
    Authority { root: Root { certificate: format!("PEM {name}"), digest: name.to_owned() }, key: "KEY".to_owned() }
}

fn info() -> ClusterInfo {
    ClusterInfo {
        id: ClusterId(9),
        created: Time(1),
        authority: authority("old"),
        next: None,
        previous: None,
        worker_secret: "let-me-work".to_owned(),
        manager_secret: "let-me-manage".to_owned(),
        clients: std::collections::BTreeMap::new(),
        unlock_key: None,
    }
}

fn group(world: &mut World, request: ClusterRequest) -> Response {
    world.ask(Request::Group(Box::new(request)))
}

pub(crate) fn admit(world: &mut World, number: u128, key: &str, secret: &str) -> Response {
    let mut told = Node { key: key.to_owned(), address: Some(format!("10.0.0.{number}:2377")), ..node(number) };
    told.manager = true;
    let response = group(world, ClusterRequest::Admit(Box::new(Admission { node: told, secret: secret.to_owned() })));
    if matches!(response, Response::Done { .. }) {
        world.join(node(number));
    }
    response
}

pub(crate) fn cluster() -> World {
    let mut world = World::new(1);
    world.join(node(1));
    let init = ClusterRequest::Init {
        info: Box::new(info()),
        node: NodeId(1),
        address: "10.0.0.1:2377".to_owned(),
        key: "k1".to_owned(),
    };
    done(&group(&mut world, init));
    world
}

fn done(response: &Response) {
    assert!(matches!(response, Response::Done { .. }), "{response:?}");
}

fn refused(response: &Response, kind: RefusalKind, words: &str) {
    match response {
        Response::Refused { kind: found, diagnostics } => {
            assert_eq!(*found, kind, "{diagnostics:?}");
            assert!(diagnostics[0].message.contains(words), "{diagnostics:?}");
        }
        other => panic!("{other:?}"),
    }
}

fn known(world: &World, number: u128) -> Option<Node> {
    world.state().nodes.into_iter().find(|node| node.id == NodeId(number))
}

#[test]
fn a_token_lets_in_and_says_as_what() {
    let mut world = cluster();
    refused(&admit(&mut world, 2, "k2", "guessed"), RefusalKind::Invalid, "not valid");
    assert!(known(&world, 2).is_none());
    done(&admit(&mut world, 2, "k2", "let-me-work"));
    done(&admit(&mut world, 3, "k3", "let-me-manage"));
    let (two, three) = (known(&world, 2).unwrap(), known(&world, 3).unwrap());
    assert_eq!((two.role(), two.member, two.ready), (Role::Worker, None, true), "whatever it says of itself");
    assert_eq!(three.role(), Role::Manager);
    assert!(three.member.is_some_and(|member| member > 1));
    assert_eq!(three.address.as_deref(), Some("10.0.0.3:2377"));
    // Its answer was lost: the same again. Somebody else by its name is not it.
    let member = three.member;
    done(&admit(&mut world, 3, "k3", "let-me-manage"));
    assert_eq!(known(&world, 3).unwrap().member, member);
    refused(&admit(&mut world, 3, "stolen", "let-me-manage"), RefusalKind::Conflict, "already");
    refused(&admit(&mut world, 3, "k3", "let-me-work"), RefusalKind::Conflict, "already");
    let rotate = ClusterRequest::RotateToken { role: Role::Worker, secret: "new".to_owned() };
    done(&group(&mut world, rotate));
    refused(&admit(&mut world, 4, "k4", "let-me-work"), RefusalKind::Invalid, "not valid");
    done(&admit(&mut world, 4, "k4", "new"));
}

#[test]
fn an_unlock_key_stays_until_it_is_rotated_or_done_without() {
    let mut world = cluster();
    let key = |number| model::UnlockKey::of([number; 32]);
    let autolock = |world: &World| world.state().cluster.unwrap().autolock;
    refused(&group(&mut world, ClusterRequest::RotateUnlockKey(key(1))), RefusalKind::Conflict, "no unlock key");
    assert!(!autolock(&world));
    done(&group(&mut world, ClusterRequest::Autolock(Some(key(1)))));
    done(&group(&mut world, ClusterRequest::Autolock(Some(key(2)))));
    assert!(autolock(&world));
    assert_eq!(world.manager.cluster_info().unwrap().unlock_key, Some(key(1)), "somebody has written it down");
    done(&group(&mut world, ClusterRequest::RotateUnlockKey(key(3))));
    assert_eq!(world.manager.cluster_info().unwrap().unlock_key, Some(key(3)));
    done(&group(&mut world, ClusterRequest::Autolock(None)));
    assert!(!autolock(&world));
}

#[test]
fn who_was_not_let_in_or_was_removed_is_nobody() {
    let mut world = cluster();
    world.join(node(7));
    assert!(known(&world, 7).is_none());
    done(&admit(&mut world, 2, "k2", "let-me-work"));
    refused(&world.ask(Request::RemoveNode { id: NodeId(2), force: false }), RefusalKind::Conflict, "is up");
    refused(&world.ask(Request::RemoveNode { id: NodeId(1), force: true }), RefusalKind::Conflict, "is a manager");
    done(&world.ask(Request::RemoveNode { id: NodeId(2), force: true }));
    world.join(node(2));
    assert!(known(&world, 2).is_none());
}

#[test]
fn managers_are_made_and_unmade_as_far_as_a_majority_stays() {
    let mut world = cluster();
    let set = |id, role, force| ClusterRequest::SetRole { id: NodeId(id), role, force };
    refused(&group(&mut world, set(1, Role::Worker, true)), RefusalKind::Conflict, "last manager");
    done(&admit(&mut world, 2, "k2", "let-me-work"));
    done(&group(&mut world, set(2, Role::Manager, false)));
    let first = known(&world, 2).unwrap().member;
    done(&group(&mut world, set(2, Role::Worker, false)));
    assert_eq!(known(&world, 2).unwrap().member, None);
    done(&group(&mut world, set(2, Role::Manager, false)));
    assert_ne!(known(&world, 2).unwrap().member, first, "it comes back with an empty log: it is a new member");
    done(&admit(&mut world, 3, "k3", "let-me-manage"));
    world.cut(NodeId(3));
    world.run(std::time::Duration::from_secs(20));
    refused(&group(&mut world, set(2, Role::Worker, false)), RefusalKind::Conflict, "only 1 of the 2");
    done(&group(&mut world, set(3, Role::Worker, false)));
    refused(&group(&mut world, set(3, Role::Manager, false)), RefusalKind::Conflict, "is down");
    for number in 10..15 {
        done(&admit(&mut world, number, "k", "let-me-manage"));
    }
    refused(&admit(&mut world, 15, "k", "let-me-manage"), RefusalKind::Conflict, "which is the most");
}

#[test]
fn who_leaves_is_down_and_needs_a_token_to_come_back() {
    let mut world = cluster();
    done(&admit(&mut world, 2, "k2", "let-me-work"));
    done(&admit(&mut world, 3, "k3", "let-me-manage"));
    let leave = |id, force| ClusterRequest::Leave { id: NodeId(id), force };
    refused(&group(&mut world, leave(3, false)), RefusalKind::Conflict, "is a manager");
    done(&group(&mut world, leave(2, false)));
    world.join(node(2));
    let two = known(&world, 2).unwrap();
    assert!(two.left && !two.ready);
    done(&world.ask(Request::RemoveNode { id: NodeId(2), force: false }));
    done(&admit(&mut world, 2, "k2b", "let-me-work"));
    assert!(known(&world, 2).unwrap().ready);
}

#[test]
fn the_authority_is_replaced_when_all_are_ready_for_it() {
    let mut world = cluster();
    done(&admit(&mut world, 2, "k2", "let-me-work"));
    done(&group(&mut world, ClusterRequest::RotateAuthority(authority("new"))));
    refused(
        &group(&mut world, ClusterRequest::RotateAuthority(authority("newer"))),
        RefusalKind::Conflict,
        "replaced already",
    );
    let roots = |world: &World| {
        let view = world.state().cluster.unwrap();
        view.roots.iter().map(|root| root.digest.clone()).collect::<Vec<_>>().join(" ")
    };
    let tell = |world: &mut World, number, roots: &[&str], issuer: &str| {
        let roots = roots.iter().map(|root| (*root).to_owned()).collect();
        let trust = NodeTrust { roots, issuer: issuer.to_owned(), expires: Time(5) };
        world.join(Node { trust, ..node(number) });
    };
    assert_eq!(roots(&world), "old new");
    tell(&mut world, 1, &["old", "new"], "old");
    assert_eq!(roots(&world), "old new", "the other one does not trust it yet");
    tell(&mut world, 2, &["old", "new"], "old");
    assert_eq!(roots(&world), "new old");
    tell(&mut world, 1, &["old", "new"], "new");
    assert_eq!(roots(&world), "new old");
    tell(&mut world, 2, &["old", "new"], "new");
    assert_eq!(roots(&world), "new");
    assert!(!world.state().cluster.unwrap().rotating);
}

#[test]
fn a_client_is_let_in_under_a_name_of_its_own_until_it_is_removed() {
    let mut world = cluster();
    let ask = |world: &mut World, id, name: &str, expires| {
        let client = Client {
            name: name.to_owned(),
            key: format!("k{id}"),
            issuer: "old".to_owned(),
            created: Time(1),
            expires: Time(expires),
        };
        group(world, ClusterRequest::AdmitClient { id: NodeId(id), client })
    };
    let names = |world: &World| -> Vec<(NodeId, String)> {
        let clients = world.state().cluster.unwrap().clients;
        clients.into_iter().map(|(id, client)| (id, client.name)).collect()
    };
    done(&ask(&mut world, 70, "laptop", u64::MAX));
    done(&ask(&mut world, 70, "laptop", u64::MAX));
    refused(&ask(&mut world, 71, "laptop", u64::MAX), RefusalKind::Conflict, "already");
    done(&ask(&mut world, 72, "ended", 0));
    done(&ask(&mut world, 73, "ended", u64::MAX));
    assert_eq!(names(&world), [(NodeId(70), "laptop".to_owned()), (NodeId(73), "ended".to_owned())]);
    done(&group(&mut world, ClusterRequest::RemoveClient { name: "laptop".to_owned() }));
    refused(
        &group(&mut world, ClusterRequest::RemoveClient { name: "laptop".to_owned() }),
        RefusalKind::NotFound,
        "no such client",
    );
    assert_eq!(names(&world), [(NodeId(73), "ended".to_owned())]);
}

#[test]
fn a_survivor_goes_on_alone() {
    let mut world = cluster();
    done(&admit(&mut world, 2, "k2", "let-me-manage"));
    done(&admit(&mut world, 3, "k3", "let-me-manage"));
    let forget = ClusterRequest::Forget { survivor: NodeId(1), address: "10.0.9.1:2377".to_owned() };
    done(&group(&mut world, forget));
    let own = known(&world, 1).unwrap();
    assert_eq!((own.manager, own.member, own.address.as_deref()), (true, Some(1), Some("10.0.9.1:2377")));
    let other = known(&world, 2).unwrap();
    assert!(other.left && !other.manager && other.member.is_none());
    assert!(!format!("{:?}", info()).contains("let-me"), "secrets are in no log");
}

#[test]
fn every_manager_knows_why_a_task_waits() {
    let mut world = World::new(3);
    world.join(node(1));
    let mut spec = service(None, "web");
    spec.standalone = false;
    set(&mut spec, "where=node.labels.fast==yes");
    world.ask(Request::PutService { spec: Box::new(spec), create: true });
    let told = world.state().waiting;
    assert!(told.values().any(|why| why.contains("node.labels.fast")), "{told:?}");
    world.tell(ManagerInput::Following);
    assert_eq!(world.state().waiting, told);
}

#[test]
fn after_a_restore_nothing_is_said_to_run_where_nobody_knows_of_it() {
    let mut world = cluster();
    admit(&mut world, 2, "k2", "let-me-work");
    world.join(node(2));
    let mut spec = service(None, "web");
    spec.standalone = false;
    set(&mut spec, "global");
    world.ask(Request::PutService { spec: Box::new(spec), create: true });
    assert_eq!(world.state().tasks.iter().filter(|task| task.is_serving()).count(), 2);
    let place = Some(("10.0.0.9:2377".to_owned(), "k1".to_owned()));
    let mut restored = Manager::new(5);
    restored.restore(world.manager.snapshot().restored_on(NodeId(1), place));
    let state = restored.state(world.now);
    let serving: Vec<_> = state.tasks.iter().filter(|task| task.is_serving()).map(|task| task.node).collect();
    assert_eq!(serving, [Some(NodeId(2))], "the worker goes on");
}
