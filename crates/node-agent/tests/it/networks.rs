//! The network value of the host.

use crate::rig::*;
use model::*;
use node_agent::{Effect, EffectError, NetFault, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The newest network value that is asked for.
#[test]
fn only_networks_and_zones_in_use_are_made() {
    let mut rig = Rig::new();
    let id = rig.add(1, &service());
    let other = Network { id: NetworkId(8), ..rig.order.networks[&NET].clone() };
    rig.order.networks.insert(NetworkId(8), other);
    let zone = Zone { names: BTreeMap::from([("web".to_owned(), vec![[10, 0, 1, 1].into()])]), ..Zone::default() };
    rig.order.zones = BTreeMap::from([(NET, zone.clone().into()), (NetworkId(8), Zone::default().into())]);
    rig.assign();
    let net = rig.asked();
    assert_eq!(net.networks.keys().collect::<Vec<_>>(), [&NET]);
    assert_eq!(net.zones, BTreeMap::from([(NET, zone)]));
    assert!(net.endpoints[&id].dns);
}

#[test]
fn backends_of_other_hosts_are_the_managers_and_ours_are_our_own() {
    let mut spec = service();
    spec.ports = vec![port(80, 8080)];
    let mut rig = Rig::new();
    rig.add(1, &spec);
    let theirs = ([10, 0, 1, 99].into(), 80);
    let ours = ([10, 0, 1, 1].into(), 80);
    rig.order.ports = vec![PublishedPort {
        protocol: Protocol::Tcp,
        host_ip: None,
        host_port: 8080,
        backends: BTreeSet::from([theirs, ours]),
        service: "shop_web".to_owned(),
        everywhere: false,
        admitted: BTreeSet::new(),
    }];
    rig.assign();
    assert_eq!(rig.asked().ports[0].backends, BTreeSet::from([theirs]), "ours does not run yet");
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
    rig.answer("prepare", Ok(Outcome::Prepared { healthcheck: None }));
    rig.answer("create", Ok(Outcome::Started { pid: 1, started_at: rig.now }));
    assert_eq!(rig.asked().ports[0].backends, BTreeSet::from([theirs, ours]));
}

#[test]
fn a_task_starts_only_when_it_can_find_what_it_depends_on() {
    let mut spec = service();
    let dependency = Dependency { condition: DependencyCondition::ServiceHealthy, restart: false, required: true };
    spec.depends_on = BTreeMap::from([("db".to_owned(), dependency)]);
    let mut rig = Rig::new();
    let id = rig.add(1, &spec);
    rig.change(id, |task| task.desired = Desired::Ready);
    rig.assign();
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
    rig.answer("prepare", Ok(Outcome::Prepared { healthcheck: None }));
    let zone = Zone { names: BTreeMap::from([("db".to_owned(), vec![[10, 0, 1, 9].into()])]), ..Zone::default() };
    rig.order.zones = BTreeMap::from([(NET, zone.into())]);
    rig.change(id, |task| task.desired = Desired::Running);
    rig.assign();
    assert_eq!(rig.open_words(), ["net [1] []"], "the name first");
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
    assert_eq!(rig.open_words(), ["create 1"]);
}

#[test]
fn a_port_of_two_services_goes_to_the_one_that_has_it() {
    let mut spec = service();
    spec.ports = vec![port(80, 8080)];
    let (mut rig, first) = Rig::running(&spec);
    spec.name = "shop_api".to_owned();
    let second = rig.add(2, &spec);
    rig.assign();
    rig.live(SECOND);
    assert_eq!(
        (rig.state(second), rig.message(second)),
        (TaskState::Rejected, "port 8080/tcp is taken by service shop_web")
    );
    assert_eq!(rig.state(first), TaskState::Running);
}

#[test]
fn a_start_after_a_stop_waits_until_its_namespace_is_made_again() {
    let (mut rig, id) = Rig::running(&service());
    rig.change(id, |task| task.stopped_by_user = true);
    rig.assign();
    rig.answer("stop", Ok(Outcome::Stopped(Some(rig.exit(0)))));
    assert_eq!(rig.open_words(), ["net [] []"]);
    rig.change(id, |task| {
        task.stopped_by_user = false;
        task.attempt = 2;
    });
    rig.assign();
    assert_eq!(rig.open_words(), ["net [] []"], "the old value may be half undone");
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
    assert_eq!(rig.open_words(), ["net [1] []"]);
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
    assert_eq!(rig.open_words(), ["start 1 restarts=0"]);
}

#[test]
fn a_network_that_fails_is_tried_again_and_told() {
    let mut rig = Rig::new();
    let id = rig.add(1, &service());
    rig.assign();
    rig.answer("prepare", Ok(Outcome::Prepared { healthcheck: None }));
    rig.answer("net", Err(EffectError::transient("netd does not answer")));
    rig.pass(Duration::from_millis(200));
    assert_eq!(rig.message(id), "network: netd does not answer (trying again in 250 ms)");
    rig.live(SECOND);
    assert_eq!((rig.state(id), rig.message(id)), (TaskState::Running, ""));
}

#[test]
fn a_running_task_tells_what_its_network_lacks_until_it_is_mended() {
    let (mut rig, id) = Rig::running(&service());
    rig.faults = vec![NetFault::Endpoint { task: id, message: "no bridge".to_owned() }];
    rig.live(601 * SECOND);
    assert_eq!((rig.state(id), rig.message(id)), (TaskState::Running, "no bridge"));
    rig.faults.clear();
    rig.live(16 * SECOND);
    assert_eq!(rig.message(id), "");
}

#[test]
fn a_host_at_rest_asks_for_next_to_nothing() {
    let (mut rig, _) = Rig::running(&service());
    rig.live(3600 * SECOND);
    let words = rig.words();
    assert!(words.len() <= 6 && words.iter().all(|word| word.starts_with("net")), "{words:?}");
}

#[test]
fn a_joiner_follows_the_container_whose_network_it_joins() {
    let mut spec = service();
    spec.network_mode = NetworkMode::Service("web".to_owned());
    let mut rig = Rig::new();
    let owner = rig.add(2, &service());
    let joiner = rig.add(1, &spec);
    rig.change(joiner, |task| task.endpoints.clear());
    rig.order.tasks.get_mut(&joiner).unwrap().joins = Some(owner);
    rig.assign();
    rig.live(SECOND);
    rig.words();
    // Another task takes the owner's place, and the owner goes.
    let next = rig.add(3, &service());
    rig.order.tasks.remove(&owner);
    rig.order.tasks.get_mut(&joiner).unwrap().joins = Some(next);
    rig.assign();
    let net = rig.asked();
    assert!(net.endpoints.contains_key(&owner), "the joiner still runs in it");
    rig.live(SECOND);
    let words = rig.words();
    assert!(words.contains(&"stop 1 - 10".to_owned()) && words.contains(&"start 1 restarts=0".to_owned()), "{words:?}");
    assert!(words.contains(&"net [3] []".to_owned()), "{words:?}");
    assert_eq!(rig.state(joiner), TaskState::Running);
    // Nobody takes its place: the joiner waits.
    rig.order.tasks.remove(&next);
    rig.order.tasks.get_mut(&joiner).unwrap().joins = None;
    rig.assign();
    rig.live(SECOND);
    assert_eq!(rig.message(joiner), "waits for the container whose network it joins, which is gone");
    assert_eq!(rig.state(joiner), TaskState::Running);
}

#[test]
fn a_container_that_runs_hears_of_its_other_addresses() {
    let (mut rig, id) = Rig::running(&service());
    let more = |task: &mut Task| {
        let address = [10, 0, 2, 1].into();
        task.endpoints.push(Endpoint { network: NetworkId(8), address, ..task.endpoints[0].clone() });
    };
    rig.change(id, more);
    rig.assign();
    let words = "hosts 1 [10.0.1.1 10.0.2.1]";
    assert!(rig.open_words().contains(&words.to_owned()), "{:?}", rig.open_words());
    rig.answer("hosts", Err(EffectError::transient("the disk is full")));
    rig.pass(SECOND);
    assert_eq!(rig.message(id), "", "it runs nevertheless");
    rig.answer("hosts", Ok(Outcome::HostsWritten));
    rig.work();
    rig.assign();
    rig.pass(SECOND);
    assert_eq!(rig.open_words(), [""; 0], "once is enough");

    // An agent that has just begun believes what it finds.
    let found = |lines| Observed {
        task: id,
        attempt: 1,
        state: ObservedState::Running { pid: 7, started_at: Time(1), paused: false },
        restart_count: 0,
        space: Some(id),
        hosts: lines,
        volumes_of: None,
    };
    let both = [lines(1), vec![([10, 0, 2, 1].into(), vec![id.short()])]].concat();
    for (there, expected) in [(both, None), (lines(1), Some(words))] {
        let mut later = Rig::on(vec![found(there)], None);
        later.order = rig.order.clone();
        later.assign();
        assert_eq!(later.open_words().iter().find(|it| it.starts_with("hosts")).map(String::as_str), expected);
    }
}

#[test]
fn what_changed_while_it_did_not_run_comes_with_the_start() {
    let (mut rig, id) = Rig::running(&service());
    rig.change(id, |task| task.stopped_by_user = true);
    rig.assign();
    rig.live(SECOND);
    rig.change(id, |task| {
        task.endpoints[0].address = [10, 0, 1, 77].into();
        (task.stopped_by_user, task.attempt) = (false, 2);
    });
    rig.assign();
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
    let started = rig.answer("start", Ok(Outcome::Started { pid: 2, started_at: rig.now }));
    let Effect::Start(launch) = started else { panic!("{started:?}") };
    assert_eq!(launch.hosts.lines, [([10, 0, 1, 77].into(), vec![id.short()])]);
    assert_eq!(rig.open_words(), [""; 0]);
}

#[test]
fn who_joins_another_finds_the_host_where_that_one_does() {
    let mut spec = service();
    let (mut rig, owner) = Rig::running(&spec);
    spec.container.extra_hosts = vec![("up".to_owned(), "host-gateway".to_owned())];
    let joiner = rig.add(2, &spec);
    rig.change(joiner, |task| task.endpoints.clear());
    rig.order.tasks.get_mut(&joiner).unwrap().joins = Some(owner);
    rig.assign();
    rig.live(SECOND);
    let other = Network { id: NetworkId(8), gateway: [10, 0, 2, 254].into(), ..rig.order.networks[&NET].clone() };
    rig.order.networks.insert(NetworkId(8), other);
    rig.change(owner, |task| task.endpoints[0].network = NetworkId(8));
    rig.assign();
    assert!(rig.open_words().contains(&"hosts 2 [10.0.2.254]".to_owned()), "{:?}", rig.open_words());
}
