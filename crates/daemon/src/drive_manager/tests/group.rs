//! Several members with real logs; what they send to each other goes through memory, or is lost.

use super::LIMIT;
use crate::cluster::{Cluster, Leader, Message};
use crate::drive_manager::{Lines, Running, open};
use crate::identity::Identity;
use crate::raft_net::{Forward, Outgoing};
use consensus::Input;
use model::{
    Admission, Authority, ClusterId, ClusterInfo, ClusterRequest, Node, NodeId, Request, RequestId, Response, Role,
    Root, State, VolumeSpec,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::NodeKey;

/// Members that are up, by their numbers.
type Wires = Arc<Mutex<BTreeMap<u64, (NodeId, Cluster)>>>;

struct Up {
    cluster: Cluster,
    running: Running,
}

struct Rig {
    root: tempfile::TempDir,
    wires: Wires,
}

impl Rig {
    fn folder(&self, node: u128) -> PathBuf {
        let folder = self.root.path().join(node.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn key(folder: &Path) -> NodeKey {
        NodeKey::load_or_create(&folder.join("key")).unwrap()
    }

    fn start(&self, node: u128, member: u64) -> Up {
        let folder = self.folder(node);
        let listen = "127.0.0.1:2377".parse().unwrap();
        let mut identity = Identity::new(ClusterId(9), NodeId(node), Role::Manager, listen, String::new());
        identity.member = Some(member);
        let (mut prepared, cluster) = open(&folder, &Rig::key(&folder), Some(&identity)).unwrap();
        let Lines { outgoing, forwards } = prepared.lines.take().unwrap();
        self.wires.lock().unwrap().insert(member, (NodeId(node), cluster.clone()));
        tokio::spawn(carry(self.wires.clone(), NodeId(node), member, outgoing));
        tokio::spawn(pass_on(self.wires.clone(), forwards));
        Up { cluster, running: prepared.start().unwrap() }
    }

    async fn stop(&self, member: u64, up: Up) {
        up.cluster.retire(LIMIT).await;
        self.wires.lock().unwrap().remove(&member);
        up.cluster.stop(LIMIT).await;
        tokio::time::timeout(LIMIT, up.running.ended()).await.unwrap();
    }
}

async fn carry(wires: Wires, own: NodeId, member: u64, mut outgoing: tokio::sync::mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { to, message, snapshot }) = outgoing.recv().await {
        let wires = wires.lock().unwrap();
        // Who was cut off says nothing more.
        let connected = wires.contains_key(&member);
        match wires.get(&to.0).filter(|_| connected) {
            Some((_, cluster)) => cluster.tell(Message::Step(own, message)),
            None => {
                let Some((_, own)) = wires.get(&member) else { continue };
                own.tell(Message::Raft(Input::Unreachable(to)));
            }
        }
        if snapshot && let Some((_, own)) = wires.get(&member) {
            own.tell(Message::Raft(Input::SnapshotSent { to, arrived: wires.contains_key(&to.0) }));
        }
    }
}

async fn pass_on(wires: Wires, mut forwards: crate::raft_net::Forwards) {
    while let Some(Forward { leader, id, request, answer }) = forwards.recv().await {
        let to = wires.lock().unwrap().get(&leader).map(|(_, cluster)| cluster.clone());
        tokio::spawn(async move {
            let response = match to {
                Some(to) => to.lead(id, request).await,
                None => None,
            };
            let _left = answer.send(response);
        });
    }
}

async fn ask(cluster: &Cluster, id: u128, request: Request) -> Response {
    tokio::time::timeout(LIMIT, cluster.request(RequestId(id), request)).await.unwrap().unwrap()
}

async fn done(cluster: &Cluster, id: u128, request: Request) -> Response {
    let response = ask(cluster, id, request).await;
    assert!(matches!(response, Response::Done { .. }), "{response:?}");
    response
}

fn group(request: ClusterRequest) -> Request {
    Request::Group(Box::new(request))
}

fn volume(name: &str) -> Request {
    Request::CreateVolume(Box::new(VolumeSpec { name: name.to_owned(), ..VolumeSpec::default() }))
}

async fn read(cluster: &Cluster, id: u128) -> State {
    match ask(cluster, id, Request::Read).await {
        Response::State(state) => *state,
        other => panic!("{other:?}"),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

fn leader(cluster: &Cluster) -> Leader {
    cluster.group().borrow().leader
}

/// A machine of its own becomes the first of a cluster; as after `init`, it begins anew.
async fn first(rig: &Rig) -> Up {
    let folder = rig.folder(1);
    let (prepared, cluster) = open(&folder, &Rig::key(&folder), None).unwrap();
    let running = prepared.start().unwrap();
    let (assign, _assignments) = tokio::sync::watch::channel(None);
    let node = Node { manager: true, ..Node::new(NodeId(1), "n1") };
    cluster.tell(Message::SessionUp { node: Box::new(node), session: 1, assign });
    done(&cluster, 1, volume("old")).await;
    let root = Root { certificate: "PEM".to_owned(), digest: "digest".to_owned() };
    let info = ClusterInfo {
        id: ClusterId(9),
        created: model::Time(1),
        authority: Authority { root, key: "KEY".to_owned() },
        next: None,
        previous: None,
        worker_secret: "worker".to_owned(),
        manager_secret: "manager".to_owned(),
        clients: std::collections::BTreeMap::new(),
        unlock_key: None,
    };
    let address = "10.0.0.1:2377".to_owned();
    let init = ClusterRequest::Init { info: Box::new(info), node: NodeId(1), address, key: "k1".to_owned() };
    done(&cluster, 2, group(init)).await;
    cluster.stop(LIMIT).await;
    tokio::time::timeout(LIMIT, running.ended()).await.unwrap();
    rig.start(1, 1)
}

async fn admit(by: &Cluster, node: u128) -> u64 {
    let told = Node { address: Some(format!("10.0.0.{node}:2377")), ..Node::new(NodeId(node), format!("n{node}")) };
    let admission = Admission { node: told, secret: "manager".to_owned() };
    done(by, 1000 + node, group(ClusterRequest::Admit(Box::new(admission)))).await;
    let state = read(by, 2000 + node).await;
    state.nodes.iter().find(|known| known.id == NodeId(node)).and_then(|node| node.member).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_becomes_three_and_survives_its_leader() {
    let rig = Rig { root: tempfile::tempdir().unwrap(), wires: Wires::default() };
    let one = first(&rig).await;
    let second = admit(&one.cluster, 2).await;
    let two = rig.start(2, second);
    let third = admit(&one.cluster, 3).await;
    let three = rig.start(3, third);
    until("the third votes", || three.cluster.group().borrow().voters.len() == 3).await;

    // Any of them takes requests and shows what was done by another.
    done(&three.cluster, 10, volume("new")).await;
    let names = |state: &State| state.volumes.iter().map(|volume| volume.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&read(&two.cluster, 11).await), ["new", "old"]);
    let before = read(&two.cluster, 12).await;
    assert_eq!(before.leader, Some(NodeId(1)), "{before:?}");

    // The leader is cut off: another leads, and a repeated request gets its answer again.
    let lost = rig.wires.lock().unwrap().remove(&1);
    until("another leads", || leader(&two.cluster) == Leader::Me || leader(&three.cluster) == Leader::Me).await;
    let answer = done(&two.cluster, 20, volume("newest")).await;
    assert_eq!(done(&three.cluster, 20, volume("newest")).await, answer);
    assert_eq!(names(&read(&three.cluster, 21).await), ["new", "newest", "old"]);

    // It cannot read what may be out of date, until it is back.
    let stale = tokio::time::timeout(Duration::from_millis(700), one.cluster.request(RequestId(22), Request::Read));
    assert!(stale.await.is_err());
    rig.wires.lock().unwrap().extend(lost.map(|lost| (1, lost)));
    assert_eq!(names(&read(&one.cluster, 23).await), ["new", "newest", "old"]);

    // An orderly end hands over at once.
    let (leads, number) = if leader(&two.cluster) == Leader::Me { (2, second) } else { (3, third) };
    let (stopped, other) = if leads == 2 { (two, three) } else { (three, two) };
    rig.stop(number, stopped).await;
    let began = std::time::Instant::now();
    done(&other.cluster, 30, volume("after")).await;
    assert!(began.elapsed() < Duration::from_millis(900), "it took {:?}: nobody was handed over to", began.elapsed());

    // One more goes: nothing can be changed, until the last goes on alone.
    let last = if leader(&one.cluster) == Leader::Me { one } else { other };
    rig.wires.lock().unwrap().clear();
    last.cluster.survive().await.unwrap();
    until("it leads", || leader(&last.cluster) == Leader::Me).await;
    done(&last.cluster, 40, volume("alone")).await;
    assert_eq!(names(&last.cluster.state().await.unwrap()), ["after", "alone", "new", "newest", "old"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_demoted_leaves_the_group_and_who_leads_hands_over_first() {
    let rig = Rig { root: tempfile::tempdir().unwrap(), wires: Wires::default() };
    let one = first(&rig).await;
    let second = admit(&one.cluster, 2).await;
    let two = rig.start(2, second);
    until("the second votes", || two.cluster.group().borrow().voters.len() == 2).await;
    // Both count as up for the change of role.
    let (assign, _assignments) = tokio::sync::watch::channel(None);
    let node = Box::new(Node::new(NodeId(2), "n2"));
    one.cluster.tell(Message::SessionUp { node, session: 1, assign });
    tokio::time::timeout(
        LIMIT,
        one.cluster.until(|state| state.nodes.iter().any(|node| node.ready && node.id.0 == 2).then_some(())),
    )
    .await
    .unwrap()
    .unwrap();
    let demote = ClusterRequest::SetRole { id: NodeId(1), role: Role::Worker, force: false };
    done(&two.cluster, 50, group(demote)).await;
    until("the first is out", || two.cluster.group().borrow().members.iter().eq([&second])).await;
    assert_eq!(leader(&two.cluster), Leader::Me);
    done(&two.cluster, 51, volume("after")).await;
}

/// A file system of one megabyte, for as long as it lives.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Small> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return None;
        }
        let mut command = std::process::Command::new("mount");
        let mounted = command.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at).status().unwrap();
        assert!(mounted.success());
        Some(Small(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _done = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_holds_up_only_its_own_manager() {
    let rig = Rig { root: tempfile::tempdir().unwrap(), wires: Wires::default() };
    let Some(small) = Small::mount(&rig.folder(1)) else { return };
    let one = first(&rig).await;
    let second = admit(&one.cluster, 2).await;
    let two = rig.start(2, second);
    let third = admit(&one.cluster, 3).await;
    let three = rig.start(3, third);
    until("the third votes", || three.cluster.group().borrow().voters.len() == 3).await;
    done(&two.cluster, 60, volume("before")).await;
    assert_eq!(leader(&one.cluster), Leader::Me);

    let filler = small.0.join("filler");
    let _full = std::fs::write(&filler, vec![1; 2 << 20]).unwrap_err();
    // It notices with its next write that needs more room than the log has ahead; then another leads, and goes on without it.
    let labels = [("text".to_owned(), "x".repeat(300 << 10))].into();
    let large = VolumeSpec { name: "meanwhile".to_owned(), labels, ..VolumeSpec::default() };
    done(&two.cluster, 61, Request::CreateVolume(Box::new(large))).await;
    until("another leads", || leader(&two.cluster) == Leader::Me || leader(&three.cluster) == Leader::Me).await;
    for id in 0..5 {
        done(&three.cluster, 62 + id, volume(&format!("v{id}"))).await;
    }
    std::fs::remove_file(&filler).unwrap();
    let caught_up = one.cluster.until(|state| state.volumes.iter().any(|volume| volume.name == "v4").then_some(()));
    tokio::time::timeout(LIMIT, caught_up).await.unwrap().unwrap();
    for up in [one, two, three] {
        up.cluster.stop(LIMIT).await;
        tokio::time::timeout(LIMIT, up.running.ended()).await.unwrap();
    }
    drop(small);
}
