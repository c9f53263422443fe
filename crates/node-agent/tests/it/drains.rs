//! Who is to be stopped gets no new connections from before it is told to end.

use crate::rig::*;
use model::*;
use node_agent::{EffectError, Outcome};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long what is on its way gets.
const LINGER: Duration = Duration::from_millis(250);

/// A host with two tasks of a service behind its virtual address and a published port.
fn shop() -> (Rig, TaskId) {
    let mut spec = service();
    spec.ports = vec![port(80, 8080)];
    let mut rig = Rig::new();
    let id = rig.add(1, &spec);
    rig.add(2, &spec);
    let backends = BTreeSet::from([[10, 0, 1, 1].into(), [10, 0, 1, 2].into()]);
    let vip = VirtualAddress { service: ServiceId(1), address: [10, 0, 1, 200].into(), address6: None, backends };
    rig.order.vips.insert(NET, Arc::new(vec![vip]));
    rig.assign();
    rig.work();
    rig.words();
    (rig, id)
}

fn stop(rig: &mut Rig, id: TaskId) {
    rig.change(id, |task| task.desired = Desired::Shutdown);
    rig.assign();
}

fn entrance(task: u8) -> BTreeSet<(std::net::IpAddr, u16)> {
    BTreeSet::from([([10, 0, 1, task].into(), 80)])
}

fn behind(rig: &Rig) -> usize {
    rig.asked().vips[&NET][0].backends.len()
}

#[test]
fn it_leaves_before_it_ends() {
    let (mut rig, id) = shop();
    stop(&mut rig, id);
    assert_eq!(rig.open_words(), ["net [1 2] [8080x1]"], "not stopped before nobody is sent to it");
    assert_eq!(behind(&rig), 1);
    let port = rig.asked().ports.remove(0);
    assert_eq!((port.backends, port.admitted), (entrance(2), entrance(1)), "others may not have heard of it yet");
    landed(&mut rig);
    assert!(rig.open.is_empty(), "what is on its way gets there first: {:?}", rig.open_words());
    rig.pass(LINGER);
    assert_eq!(rig.open_words(), ["stop 1 - 10 drained"]);
}

#[test]
fn its_network_outlives_it_until_its_stop_has_ended() {
    let (mut rig, id) = shop();
    stop(&mut rig, id);
    landed(&mut rig);
    rig.pass(LINGER);
    rig.dies(id, 143);
    assert_eq!(rig.open_words(), ["stop 1 - 10 drained"], "its last answers are on their way");
    rig.answer("stop", Ok(Outcome::Stopped(None)));
    assert_eq!(rig.open_words(), ["net [2] [8080x1]"]);
}

#[test]
fn one_without_grace_and_one_whose_network_fails_end_nevertheless() {
    let (mut rig, id) = shop();
    rig.change(id, |task| task.stop_timeout = Some(0));
    stop(&mut rig, id);
    assert_eq!(rig.open_words(), ["stop 1 - 0", "net [1 2] [8080x1]"]);

    let (mut rig, id) = shop();
    stop(&mut rig, id);
    rig.answer("net", Err(EffectError::transient("netd is gone")));
    rig.pass(LINGER);
    assert_eq!(rig.open_words(), ["stop 1 - 10 drained", "net [1 2] [8080x1]"]);
}

/// How long connections that have begun may be answered.
const SETTLES: Duration = Duration::from_millis(700);

fn landed_unsettled(rig: &mut Rig) {
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: SETTLES }));
}

#[test]
fn it_stays_for_as_long_as_it_may_be_called_by_whoever_began_before() {
    let (mut rig, id) = shop();
    stop(&mut rig, id);
    landed_unsettled(&mut rig);
    rig.pass(SETTLES - Duration::from_millis(1));
    assert!(rig.open.is_empty(), "{:?}", rig.open_words());
    // What others do meanwhile does not keep it.
    rig.change(TaskId(2), |task| task.desired = Desired::Shutdown);
    rig.assign();
    landed_unsettled(&mut rig);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.open_words(), ["stop 1 - 10 drained"]);
}

#[test]
fn an_agent_that_has_just_begun_does_not_know_that_nobody_is_sent_to_it() {
    let (mut rig, id) = shop();
    stop(&mut rig, id);
    assert_eq!(rig.open_words(), ["net [1 2] [8080x1]"]);
    let observed = [1, 2].map(|task| Observed {
        task: TaskId(task),
        attempt: 1,
        restart_count: 0,
        space: None,
        hosts: lines(task),
        state: ObservedState::Running { pid: 7, started_at: Time(1), paused: false },
        volumes_of: None,
    });
    let mut later = Rig::on(observed.to_vec(), None);
    later.order = rig.order.clone();
    later.assign();
    let words = ["prepare 2", "net [1 2] [8080x1]"];
    assert_eq!(later.open_words(), words, "its host may have been told nothing of that");
    landed(&mut later);
    later.pass(LINGER);
    assert_eq!(later.open_words(), ["prepare 2", "stop 1 - 10 drained"]);
}

/// The same host in a mesh of two.
fn meshed() -> (Rig, TaskId) {
    let (mut rig, id) = shop();
    let peer = |number| MeshPeer {
        number,
        public_key: String::new(),
        endpoints: vec![std::net::SocketAddr::from(([192, 0, 2, number as u8], MESH_PORT))],
    };
    let nodes = [(NODE, peer(1)), (NodeId(2), peer(2))].into();
    rig.order.mesh = Some(Arc::new(MeshMap { mtu: 1420, nodes }));
    rig.assign();
    rig.work();
    (rig, id)
}

fn landed(rig: &mut Rig) {
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new(), settles: Duration::ZERO }));
}

#[test]
fn it_waits_until_the_manager_says_that_no_other_machine_sends_to_it() {
    let (mut rig, id) = meshed();
    rig.order.sent_to.insert(id);
    stop(&mut rig, id);
    landed(&mut rig);
    rig.pass(Duration::from_millis(4500));
    assert!(rig.open.is_empty(), "{:?}", rig.open_words());
    rig.order.sent_to.clear();
    rig.assign();
    assert!(rig.open.is_empty(), "what is on its way gets there first: {:?}", rig.open_words());
    rig.pass(LINGER);
    assert_eq!(rig.open_words(), ["stop 1 - 10 drained"]);

    let (mut rig, id) = meshed();
    rig.order.sent_to.insert(id);
    stop(&mut rig, id);
    landed(&mut rig);
    rig.pass(Duration::from_millis(5100) + LINGER);
    assert_eq!(rig.open_words(), ["stop 1 - 10 drained"], "not for ever");

    let (mut rig, id) = meshed();
    stop(&mut rig, id);
    landed(&mut rig);
    rig.pass(LINGER);
    assert_eq!(rig.open_words(), ["stop 1 - 10 drained"], "nobody sends to it");
}

#[test]
fn it_says_that_its_network_follows_when_somebody_waits_for_it() {
    let (mut rig, _) = meshed();
    rig.order.vips.clear();
    rig.order.awaited = true;
    rig.reports.clear();
    rig.assign();
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.reports, [], "it is not there yet");
    landed(&mut rig);
    rig.pass(Duration::from_secs(1));
    let told = |rig: &Rig| rig.reports.iter().filter_map(|report| report.network).collect::<Vec<_>>();
    assert_eq!(told(&rig), [rig.order.generation]);
    rig.input(node_agent::AgentInput::Tick);
    assert_eq!(told(&rig).len(), 1, "once");
    rig.assign();
    rig.pass(Duration::from_secs(1));
    assert_eq!(told(&rig).len(), 2, "there is nothing to do for it");
    rig.order.awaited = false;
    rig.assign();
    rig.pass(Duration::from_secs(1));
    assert_eq!(told(&rig).len(), 2, "nobody waits");
}

#[test]
fn what_may_still_send_to_somebody_who_left_does_not_follow() {
    let (mut rig, _) = meshed();
    rig.order.awaited = true;
    rig.order.vips.clear();
    rig.reports.clear();
    rig.assign();
    landed_unsettled(&mut rig);
    let told = |rig: &Rig| rig.reports.iter().filter_map(|report| report.network).collect::<Vec<_>>();
    let first = rig.order.generation;
    rig.pass(SETTLES - Duration::from_millis(1));
    assert_eq!(told(&rig), []);
    // Something newer neither hastens nor delays it.
    let addresses = BTreeSet::from([[10, 0, 1, 7].into()]);
    let vip =
        VirtualAddress { service: ServiceId(1), address: [10, 0, 1, 200].into(), address6: None, backends: addresses };
    rig.order.vips.insert(NET, Arc::new(vec![vip]));
    rig.assign();
    landed_unsettled(&mut rig);
    rig.pass(Duration::from_millis(200));
    assert_eq!(told(&rig), [first]);
    rig.pass(SETTLES);
    assert_eq!(told(&rig), [first, rig.order.generation]);
}

#[test]
fn it_says_so_of_what_it_follows_while_it_is_told_something_newer_all_the_time() {
    let (mut rig, _) = meshed();
    rig.order.awaited = true;
    rig.reports.clear();
    let told = |rig: &Rig| rig.reports.iter().filter_map(|report| report.network).collect::<Vec<_>>();
    let mut orders = Vec::new();
    for last in 3..8 {
        let mut vips = rig.order.vips[&NET].to_vec();
        vips[0].backends = BTreeSet::from([[10, 0, 1, last].into()]);
        rig.order.vips.insert(NET, Arc::new(vips));
        rig.assign();
        orders.push(rig.order.generation);
        if last > 3 {
            landed(&mut rig);
        }
        rig.pass(Duration::from_millis(100));
    }
    // One is always under way, with what came before it.
    assert_eq!(told(&rig), orders[..4]);
}

#[test]
fn an_address_that_was_given_back_may_be_another_machines() {
    let (mut rig, id) = meshed();
    stop(&mut rig, id);
    landed(&mut rig);
    rig.pass(LINGER);
    rig.dies(id, 143);
    rig.answer("stop", Ok(Outcome::Stopped(None)));
    rig.work();
    assert!(rig.state(id).is_terminal());
    let again = RemoteEndpoint { address: [10, 0, 1, 1].into(), address6: None, mac: None, node: 2 };
    rig.order.ingress = Arc::new([(again.address, again.node)].into());
    rig.order.remotes.insert(NET, Arc::new(vec![again]));
    rig.order.ports = vec![PublishedPort {
        protocol: Protocol::Tcp,
        host_ip: None,
        host_port: 8080,
        backends: entrance(1),
        service: "shop_web".to_owned(),
        everywhere: true,
        admitted: BTreeSet::new(),
    }];
    rig.assign();
    assert_eq!(behind(&rig), 2, "the new owner is behind the virtual address");
    let both: BTreeSet<_> = entrance(1).into_iter().chain(entrance(2)).collect();
    assert_eq!(rig.asked().ports[0].backends, both);
}
