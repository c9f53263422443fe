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
    assert_eq!(rig.open_words(), ["stop 1 - 10 after arrivals"]);
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
    assert_eq!(rig.open_words(), ["stop 1 - 10 after arrivals", "net [1 2] [8080x1]"]);
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
    rig.answer("net", Ok(Outcome::Net { faults: Vec::new() }));
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
    assert_eq!(rig.open_words(), ["stop 1 - 10 after arrivals"]);

    let (mut rig, id) = meshed();
    rig.order.sent_to.insert(id);
    stop(&mut rig, id);
    landed(&mut rig);
    rig.pass(Duration::from_millis(5100) + LINGER);
    assert_eq!(rig.open_words(), ["stop 1 - 10 after arrivals"], "not for ever");

    let (mut rig, id) = meshed();
    stop(&mut rig, id);
    landed(&mut rig);
    rig.pass(LINGER);
    assert_eq!(rig.open_words(), ["stop 1 - 10 after arrivals"], "nobody sends to it");
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
