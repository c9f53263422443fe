//! Machines that are let in, and those that are not: a real manager behind a real port of this host.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::credentials::Credentials;
use super::{Peers, admit, join};
use crate::api_server::Scope;
use crate::cluster::{Leader, Message};
use crate::identity::{Identity, Membership};
use crate::shared::Daemon;
use crate::{clock, testing};
use model::{ClusterId, ClusterInfo, ClusterRequest, Node, NodeId, Request, Role};
use pki::{LIFETIME, PeerIdentity, PeerRole, Token};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

fn sealing() -> store::NodeKey {
    store::NodeKey::from_bytes([7; 32])
}

const LIMIT: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.unwrap()
}

/// A cluster of one manager, with its port open.
struct World {
    root: tempfile::TempDir,
    daemon: Arc<Daemon>,
    info: ClusterInfo,
    address: String,
}

impl Drop for World {
    fn drop(&mut self) {
        self.daemon.stop.cancel();
    }
}

async fn world() -> World {
    let root = tempfile::tempdir().unwrap();
    let (cluster, node) = (ClusterId(77), NodeId(1));
    let key = store::NodeKey::load_or_create(&root.path().join("key")).unwrap();
    let (prepared, handle) = crate::drive_manager::open(&root.path().join("manager"), &key, None).unwrap();
    prepared.start().unwrap();
    soon(handle.group().wait_for(|group| group.leader == Leader::Me)).await.unwrap();
    let described = crate::node::describe(node, Path::new("/nonexistent"), &Default::default());
    handle.tell(Message::SessionUp { node: Box::new(described), session: 1, assign: watch::channel(None).0 });
    soon(handle.until(|state| state.nodes.iter().find(|known| known.id == node).map(|_| ()))).await.unwrap();

    let listener = super::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let listen = listener.local_addr().unwrap();
    let authority = pki::new_authority(cluster, clock::now()).unwrap();
    let credentials = Credentials::own(&authority, cluster, node, clock::now()).unwrap();
    let info = ClusterInfo {
        id: cluster,
        created: clock::now(),
        authority,
        next: None,
        previous: None,
        worker_secret: pki::new_secret().unwrap(),
        manager_secret: pki::new_secret().unwrap(),
        clients: std::collections::BTreeMap::new(),
        unlock_key: None,
    };
    let address = listen.to_string();
    let key = credentials.key_digest();
    let init = ClusterRequest::Init { info: Box::new(info.clone()), node, address: address.clone(), key };
    handle.ask(Request::Group(Box::new(init))).await.unwrap();

    let folder = root.path().join("certificates");
    credentials.save(&folder, &sealing()).unwrap();
    let mut daemon = testing::daemon_of(root.path(), node, handle).await;
    let identity = Identity::new(cluster, node, Role::Manager, listen, address.clone());
    let inner = Arc::get_mut(&mut daemon).unwrap();
    inner.membership = Some(Arc::new(Membership::new(root.path().to_owned(), identity)));
    inner.peers = Some(Peers::open(folder, &sealing(), node).unwrap());
    tokio::spawn(super::serve(daemon.clone(), listener));
    World { root, daemon, info, address }
}

impl World {
    fn token(&self, role: Role) -> Token {
        let secret = match role {
            Role::Manager => &self.info.manager_secret,
            Role::Worker => &self.info.worker_secret,
        };
        Token::new(&self.info.authority.root.digest, secret).unwrap()
    }

    fn folder(&self, node: u128) -> std::path::PathBuf {
        self.root.path().join(format!("node{node}"))
    }

    async fn join(&self, node: u128, token: &Token) -> Result<join::Welcome, api::ApiError> {
        let address = Some("10.9.9.9:2377".to_owned());
        let told = Node { address, platform: "linux/amd64".to_owned(), ..Node::new(NodeId(node), "other") };
        soon(join::join(told, token, std::slice::from_ref(&self.address), &self.folder(node))).await
    }

    /// A machine with a certificate of our authority, whatever the state says.
    fn peer(&self, node: u128, role: PeerRole, since: u64) -> Arc<Peers> {
        let key = pki::Key::generate().unwrap();
        let identity = PeerIdentity { cluster: self.info.id, node: NodeId(node), role, since };
        let request = key.request().unwrap();
        let signed = pki::sign(&self.info.authority, &request, &identity, clock::now(), LIFETIME).unwrap();
        let roots = vec![self.info.authority.root.clone()];
        let folder = self.folder(node);
        Credentials(pki::Credentials::new(key, &signed.pem, roots).unwrap()).save(&folder, &sealing()).unwrap();
        Peers::open(folder, &sealing(), NodeId(node)).unwrap()
    }

    /// A client that was let in.
    async fn client(&self, name: &str) -> Arc<Peers> {
        let key = pki::Key::generate().unwrap();
        let request = join::encode(&key.request().unwrap());
        let asked = api::AdmitClient { name: name.to_owned(), request, lifetime: 3600 };
        let answer = crate::calls::answer(&self.daemon, api::Call::AdmitClient(asked), Scope::Cluster);
        let api::Reply::ClientGrant(grant) = soon(answer).await.unwrap() else { panic!("no grant") };
        assert!(grant.managers.contains(&self.address), "{:?}", grant.managers);
        let roots = grant.roots.iter().map(|root| pki::root(root).unwrap()).collect();
        let folder = self.root.path().join(name);
        Credentials(pki::Credentials::new(key, &grant.certificate, roots).unwrap()).save(&folder, &sealing()).unwrap();
        Peers::open(folder, &sealing(), NodeId(0)).unwrap()
    }

    /// The daemon of a worker that knows these managers.
    async fn worker(&self, node: u128, peers: Option<Arc<Peers>>, managers: &[(u128, &str)]) -> Arc<Daemon> {
        let root = self.root.path().join(format!("worker{node}"));
        let mut daemon = testing::daemon_of(&root, NodeId(node), self.daemon.cluster.clone()).await;
        let listen = "127.0.0.1:1".parse().unwrap();
        let mut identity = Identity::new(self.info.id, NodeId(node), Role::Worker, listen, String::new());
        let peer = |&(id, address): &(u128, &str)| crate::identity::Peer {
            node: NodeId(id),
            member: u64::try_from(id).unwrap(),
            address: address.to_owned(),
        };
        identity.managers = managers.iter().map(peer).collect();
        let inner = Arc::get_mut(&mut daemon).unwrap();
        inner.membership = Some(Arc::new(Membership::new(root, identity)));
        inner.peers = peers;
        daemon
    }

    /// The status of an answer to a call.
    async fn call(&self, peer: &Peers, path: &str) -> String {
        let stream = soon(peer.connect(&self.address, Some(NodeId(1)))).await.unwrap();
        status(stream, path).await
    }
}

async fn status(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, path: &str) -> String {
    let body = "\"ping\"";
    let request = format!("POST {path} HTTP/1.1\r\nhost: rswarm\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _cut = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_no_certificate_may_join_with_the_right_token_and_nothing_else() {
    let world = world().await;
    let token = world.token(Role::Worker);
    for path in ["/v1/call", "/cluster/v1/renew", "/cluster/v1/raft", "/cluster/v1/request", "/"] {
        let config = pki::pinned_client_config(&token.digest()).unwrap();
        let stream = super::connect(config, &world.address, None).await.unwrap();
        assert_eq!(status(stream, path).await, "HTTP/1.1 401 Unauthorized", "{path}");
    }
    let wrong = Token::new(&token.digest(), &pki::new_secret().unwrap()).unwrap();
    let refused = world.join(5, &wrong).await.unwrap_err();
    assert_eq!(refused.kind, api::ErrorKind::Invalid, "{refused}");
    let other = Token::new(&"0".repeat(64), token.secret()).unwrap();
    let refused = world.join(5, &other).await.unwrap_err().to_string();
    assert!(refused.contains("UnknownIssuer"), "{refused}");

    let welcome = world.join(5, &token).await.unwrap();
    assert_eq!((welcome.cluster, welcome.role, welcome.member), (world.info.id, Role::Worker, None));
    assert_eq!(welcome.managers.iter().map(|peer| peer.address.as_str()).collect::<Vec<_>>(), [&world.address]);
    // The answer was lost on the way: the same key is asked for again, and let in again.
    let again = world.join(5, &token).await.unwrap();
    assert_eq!(again.credentials.key_digest(), welcome.credentials.key_digest());
    again.credentials.save(&world.folder(5), &sealing()).unwrap();
    // Another machine cannot take its name.
    let thief = world.join(5, &token).await.unwrap_err();
    assert_eq!(thief.kind, api::ErrorKind::Conflict, "{thief}");
    let manager = world.join(6, &world.token(Role::Manager)).await.unwrap();
    assert_eq!(manager.role, Role::Manager);
    assert!(manager.member.is_some() && manager.managers.len() == 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_may_reach_follows_from_its_role() {
    let world = world().await;
    for node in [5, 6] {
        let token = world.token(if node == 5 { Role::Worker } else { Role::Manager });
        world.join(node, &token).await.unwrap();
    }
    let state = world.daemon.cluster.state().await.unwrap();
    let members = world.daemon.peers.clone().unwrap();
    soon(members.members.subscribe().wait_for(|seen| **seen == admit::Members::of(&state))).await.unwrap();
    let (worker, manager) = (world.peer(5, PeerRole::Worker, 1), world.peer(6, PeerRole::Manager, 1));
    let client = world.client("laptop").await;
    let (ok, forbidden) = ("HTTP/1.1 200 OK", "HTTP/1.1 403 Forbidden");
    assert_eq!(world.call(&manager, "/v1/call").await, ok);
    assert_eq!(world.call(&client, "/v1/call").await, ok);
    assert_eq!(world.call(&worker, "/v1/call").await, forbidden);
    for path in ["/cluster/v1/raft", "/cluster/v1/request"] {
        assert_eq!(world.call(&worker, path).await, forbidden, "{path}");
        assert_eq!(world.call(&client, path).await, forbidden, "{path}");
    }
    assert_eq!(world.call(&client, "/cluster/v1/agent").await, forbidden);
    assert_eq!(world.call(&client, "/cluster/v1/renew").await, forbidden);
    assert_eq!(world.call(&worker, "/cluster/v1/agent").await, "HTTP/1.1 400 Bad Request", "no upgrade");
    assert_eq!(world.call(&manager, "/elsewhere").await, forbidden);
    // A worker whose certificate says manager is none.
    assert_eq!(world.call(&world.peer(5, PeerRole::Manager, 1), "/v1/call").await, forbidden);
    // One that nobody ever let in, or that was removed.
    assert_eq!(world.call(&world.peer(8, PeerRole::Manager, 1), "/v1/call").await, forbidden);
    assert_eq!(world.call(&world.peer(8, PeerRole::Client, 1), "/v1/call").await, forbidden);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_removed_is_cut_off() {
    let world = world().await;
    let welcome = world.join(5, &world.token(Role::Worker)).await.unwrap();
    welcome.credentials.save(&world.folder(5), &sealing()).unwrap();
    let worker = Peers::open(world.folder(5), &sealing(), NodeId(5)).unwrap();
    let mut session = soon(worker.upgrade(&world.address, None, "/cluster/v1/agent")).await.unwrap();
    let request = Request::RemoveNode { id: NodeId(5), force: true };
    world.daemon.cluster.ask(request).await.unwrap();
    let mut rest = Vec::new();
    let started = std::time::Instant::now();
    let _broken = soon(session.read_to_end(&mut rest)).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let refused = soon(worker.upgrade(&world.address, None, "/cluster/v1/agent")).await.err().unwrap();
    assert!(format!("{refused:#}").contains("not part of the cluster any more"), "{refused:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_removed_is_cut_off() {
    let world = world().await;
    let client = world.client("laptop").await;
    let mut stream = soon(client.connect(&world.address, None)).await.unwrap();
    let body = r#"{"events":{"since":null,"until":null}}"#;
    let request = format!("POST /v1/stream HTTP/1.1\r\nhost: rswarm\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    soon(stream.write_all(request.as_bytes())).await.unwrap();
    let mut head = [0; 15];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let remove = ClusterRequest::RemoveClient { name: "laptop".to_owned() };
    world.daemon.cluster.ask(Request::Group(Box::new(remove))).await.unwrap();
    let (mut rest, started) = (Vec::new(), std::time::Instant::now());
    let _broken = soon(stream.read_to_end(&mut rest)).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(world.call(&client, "/v1/call").await, "HTTP/1.1 403 Forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_for_a_new_key_and_the_role_that_the_state_says() {
    let world = world().await;
    let welcome = world.join(5, &world.token(Role::Worker)).await.unwrap();
    welcome.credentials.save(&world.folder(5), &sealing()).unwrap();
    let own = world.daemon.peers.clone().unwrap();
    let before = own.held().key_digest();
    own.renew(&world.daemon, Role::Manager).await.unwrap();
    assert_ne!(own.held().key_digest(), before);
    assert_eq!(own.keyring.identity().role, PeerRole::Manager);
    assert!(own.keyring.identity().since > 0);
    let refused = own.renew(&world.daemon, Role::Worker).await.unwrap_err().to_string();
    assert!(refused.contains("is a manager"), "{refused}");
    assert!(!own.needs_renewal(Role::Manager, Some(&world.info.authority.root.digest)));
    assert!(own.needs_renewal(Role::Worker, None));
    assert!(own.needs_renewal(Role::Manager, Some("another")));
    // A worker asks over the wire.
    let worker = Peers::open(world.folder(5), &sealing(), NodeId(5)).unwrap();
    let daemon = world.worker(5, None, &[(1, &world.address)]).await;
    let before = worker.held().key_digest();
    worker.renew(&daemon, Role::Worker).await.unwrap();
    assert_ne!(worker.held().key_digest(), before);
    worker.renew(&daemon, Role::Manager).await.unwrap_err();
    // What was renewed is what the next start finds.
    assert_eq!(Credentials::load(&world.folder(5), &sealing()).unwrap().key_digest(), worker.held().key_digest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_is_trusted_and_dropped_but_never_the_one_that_signed_for_us() {
    let world = world().await;
    let peers = world.daemon.peers.clone().unwrap();
    let next = pki::new_authority(world.info.id, clock::now()).unwrap();
    let own = world.info.authority.root.clone();
    let mut changes = peers.changes();
    peers.trust(&[own.clone(), next.root.clone()]).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(peers.told().roots, [own.digest.clone(), next.root.digest.clone()]);
    assert_eq!(peers.told().issuer, own.digest);
    peers.trust(&[own.clone(), next.root.clone()]).unwrap();
    assert!(!changes.has_changed().unwrap(), "nothing is new");
    peers.trust(std::slice::from_ref(&next.root)).unwrap();
    assert_eq!(peers.told().roots, [next.root.digest.clone(), own.digest.clone()]);
    peers.trust(&[]).unwrap();
    assert_eq!(peers.told().roots.len(), 2, "a place without roots says nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_that_keep_silent_keep_no_worker_from_its_session() {
    let world = world().await;
    let welcome = world.join(5, &world.token(Role::Worker)).await.unwrap();
    welcome.credentials.save(&world.folder(5), &sealing()).unwrap();
    let peers = Peers::open(world.folder(5), &sealing(), NodeId(5)).unwrap();
    // Their kernels take the connection, and nobody ever says a word on it.
    let silent = [(), ()].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = silent.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    let managers = [(7, addresses[0].as_str()), (8, addresses[1].as_str()), (1, &world.address)];
    let daemon = world.worker(5, Some(peers), &managers).await;
    let (mut agent, end) = crate::agents::pair();
    agent.said.send(crate::agents::Said::Describe(Box::new(Node::new(NodeId(5), "five")))).unwrap();
    let sessions = tokio::spawn(crate::agents::run(daemon.clone(), end));
    let began = std::time::Instant::now();
    soon(agent.session.wait_for(Option::is_some)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "it is lost before that: {:?}", began.elapsed());
    daemon.stop.cancel();
    soon(sessions).await.unwrap();
}
