//! Backups of the replicated state, and a machine that is made from one.
//!
//! A backup holds all that managers hold: every spec, config and secret, and the cluster's authority. Data of
//! volumes and images are not in it. It leaves this process sealed with a key that is kept nowhere here.
//!
//! A machine that is restored takes the place of the manager that made the backup, under that one's node id:
//! what ran there starts here, and nodes that are told nothing new find their manager where it was. Restoring
//! prepares a folder, and the daemon begins anew; the next start puts all of it in place ([`finish`]), however
//! often it is cut short.

use crate::calls::cluster::own_things;
use crate::identity::{self, Identity, remove};
use crate::peers::credentials::Credentials;
use crate::shared::Daemon;
use crate::{address, clock, config, failure};
use anyhow::{Context as _, Result};
use api::{ApiError, BackupKey, RestoreCluster};
use consensus::{HardState, Member, Members, Snapshot as Saved, Stable};
use model::{NodeId, Request, Time};
use orchestrator::Snapshot;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use store::{NodeKey, Store, StoreError};

/// Of what is sealed.
const FORMAT: u32 = 1;

/// Where a machine is made ready.
const FOLDER: &str = "restore";
/// Written when that is complete.
const READY: &str = "ready";

/// A backup.
#[derive(Serialize, Deserialize)]
struct Backup {
    format: u32,
    /// Version that made it.
    version: String,
    made: Time,
    /// The manager that made it.
    node: NodeId,
    /// Where its port listened, in a cluster.
    listen: Option<SocketAddr>,
    /// Where others reached that.
    advertise: Option<String>,
    state: Snapshot,
}

fn key(key: &BackupKey) -> Result<NodeKey, ApiError> {
    let bytes = key.bytes().ok_or_else(|| failure::invalid("that is no key of a backup"))?;
    Ok(NodeKey::from_bytes(bytes))
}

/// A backup of the state as it is now.
///
/// # Errors
/// This node is a worker, or no manager leads.
pub(crate) async fn make(daemon: &Daemon, with: &BackupKey) -> Result<Vec<u8>, ApiError> {
    let with = key(with)?;
    let identity = daemon.membership.as_ref().map(|membership| membership.identity());
    // So that all is in it that was acknowledged anywhere; a worker refuses this.
    daemon.cluster.ask(Request::Read).await?;
    let backup = Backup {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made: clock::now(),
        node: daemon.node,
        listen: identity.as_ref().map(|identity| identity.listen),
        advertise: identity.as_ref().map(|identity| identity.advertise.clone()),
        state: *daemon.cluster.snapshot().await?,
    };
    let sealed = tokio::task::spawn_blocking(move || -> Result<Vec<u8>> {
        let value = serde_json::to_vec(&backup).context("write down the state")?;
        Ok(store::seal_backup(&with, &value)?)
    });
    sealed.await.map_err(failure::joined)?.map_err(|error| failure::internal(&error))
}

/// Prepares this machine to take the place of the manager that made the backup, then lets the daemon begin
/// anew. Lines for people.
///
/// # Errors
/// It is part of a cluster or has things of its own, the key is another one, or the file is damaged.
pub(crate) async fn restore(daemon: &Daemon, asked: RestoreCluster, file: Vec<u8>) -> Result<Vec<String>, ApiError> {
    if let Some(membership) = &daemon.membership {
        let cluster = membership.identity().cluster;
        let error = failure::conflict(format!("this node is part of the cluster {} already", cluster.short()));
        return Err(failure::hint(error, "restore on a machine that is part of none: `rswarm leave` makes it so"));
    }
    let state = daemon.cluster.state().await?;
    if own_things(&state).is_some() {
        let error =
            failure::conflict("this machine has services or volumes of its own, which the backup would replace");
        return Err(failure::hint(error, "remove them, or restore with a daemon of a fresh --data-root"));
    }
    let links = address::links(&daemon.run_root)?;
    let root = daemon.data_root.clone();
    let key = daemon.key.key();
    let prepared = tokio::task::spawn_blocking(move || {
        let backup = open(&asked.key, &file)?;
        prepare(&root, &key, backup, &asked, &links)
    });
    let lines = prepared.await.map_err(failure::joined)??;
    daemon.begin_anew();
    Ok(lines)
}

fn open(with: &BackupKey, file: &[u8]) -> Result<Backup, ApiError> {
    let value = store::open_backup(&key(with)?, file).map_err(|error| match error {
        StoreError::WrongKey { .. } => failure::conflict("the backup is whole, but does not open with this key"),
        StoreError::Corrupt { offset, why, .. } => {
            failure::invalid(format!("the backup is damaged at byte {offset}: {why}"))
        }
        error => failure::invalid(failure::chain(&error)),
    })?;
    let backup: Backup = serde_json::from_slice(&value)
        .map_err(|error| failure::invalid(format!("make sense of the backup: {error}")))?;
    if backup.format != FORMAT {
        let text = format!("the backup is of format {}, this version knows {FORMAT}", backup.format);
        return Err(failure::hint(failure::invalid(text), "use the version that made it"));
    }
    Ok(backup)
}

/// Makes the folder from which the next start takes all.
fn prepare(
    root: &Path,
    key: &NodeKey,
    backup: Backup,
    asked: &RestoreCluster,
    links: &address::Links,
) -> Result<Vec<String>, ApiError> {
    let folder = root.join(FOLDER);
    remove(&folder).map_err(|error| failure::internal(&error))?;
    let made = std::fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()));
    made.map_err(|error| failure::internal(&error))?;
    let Backup { node, listen, advertise, made, state, .. } = backup;
    let services = state.services();
    let mut place = None;
    if let Some(info) = state.info() {
        let given = asked.listen.as_deref().map(|text| address::listen(Some(text), links)).transpose();
        let listen = given.map_err(failure::invalid)?.or(listen).map_or_else(|| address::listen(None, links), Ok);
        let listen = listen.map_err(failure::invalid)?;
        let advertise = match (asked.advertise.as_deref(), advertise) {
            (None, Some(advertise)) => advertise,
            (given, _) => address::advertise(given, listen, None, links).map_err(failure::invalid)?,
        };
        let elsewhere = |error| failure::hint(error, "name another place with --listen-addr and --advertise-addr");
        address::check_free(listen).map_err(elsewhere)?;
        let credentials = Credentials::own(&info.authority, info.id, node, clock::now())
            .map_err(|error| failure::failed(format!("make the certificate of this node: {error}")))?;
        credentials.save(&identity::certificates(&folder), key).map_err(|error| failure::internal(&error))?;
        Identity::first(info.id, node, listen, advertise.clone())
            .save(&folder)
            .map_err(|error| failure::internal(&error))?;
        place = Some((advertise, credentials.key_digest()));
    }
    let mut lines = vec![format!("Restored {services} services as of {} s ago.", clock::now().since(made).as_secs())];
    if let Some((address, _)) = &place {
        lines.push(format!("This machine is the only manager now, reached at {address}."));
    }
    write(&folder, key, node, &state.restored_on(node, place)).map_err(|error| failure::internal(&error))?;
    Ok(lines)
}

fn write(folder: &Path, key: &NodeKey, node: NodeId, state: &Snapshot) -> Result<()> {
    let data = serde_json::to_vec(state).context("write down the state")?;
    // Terms count from the epoch here: what is decided from now on is newer than all that any leader decided
    // after the backup was made.
    let term = clock::now().0 / 1000;
    let stable = Stable {
        hard_state: HardState { term, vote: 0, commit: 1 },
        snapshot: Saved { index: 1, term, members: Members::of([Member(1)]), data: data.into() },
        entries: Vec::new(),
    };
    let (mut log, _empty) = Store::open(&folder.join("raft"), key).context("make the log of the cluster")?;
    log.bootstrap(&stable).context("begin the log of the cluster")?;
    drop(log);
    config::write_node_id(folder, node)?;
    store::write_atomic(&folder.join(READY), b"")?;
    Ok(())
}

/// Puts in place what was restored, before anything is opened. May be cut short anywhere: the next start goes
/// on.
///
/// # Errors
/// The disk fails.
pub(crate) fn finish(root: &Path) -> Result<()> {
    let folder = root.join(FOLDER);
    if !folder.join(READY).exists() {
        return remove(&folder);
    }
    for name in ["raft", "certificates"] {
        let from = folder.join(name);
        if from.exists() {
            remove(&root.join(name))?;
            std::fs::rename(&from, root.join(name)).with_context(|| format!("move {}", from.display()))?;
        }
    }
    if let Some(identity) = Identity::load(&folder)? {
        identity.save(root)?;
    }
    let node = config::node_id(&folder)?;
    config::write_node_id(root, node)?;
    // What this machine did before is of another history.
    remove(&root.join("agent-ledger"))?;
    let ready = folder.join(READY);
    std::fs::remove_file(&ready).with_context(|| format!("remove {}", ready.display()))?;
    remove(&folder)?;
    tracing::info!(node = %node.short(), "restored from a backup");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::cluster::{Cluster, Message};
    use crate::drive_manager;
    use crate::testing;
    use model::{ClusterId, ClusterInfo, ClusterRequest, Node, RequestId, Response, VolumeSpec};
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(20);
    const ADDRESS: &str = "127.0.0.1:49377";

    struct Up(Cluster, drive_manager::Running);

    impl Up {
        fn begin(root: &Path) -> Up {
            std::fs::create_dir_all(root).unwrap();
            let key = NodeKey::load_or_create(&root.join("node-key")).unwrap();
            let identity = identity::settle(root).unwrap();
            let (prepared, cluster) = drive_manager::open(root, &key, identity.as_ref()).unwrap();
            Up(cluster, prepared.start().unwrap())
        }

        async fn end(self) {
            self.0.stop(LIMIT).await;
            tokio::time::timeout(LIMIT, self.1.ended()).await.unwrap();
        }

        async fn done(&self, id: u128, request: Request) {
            let answer = tokio::time::timeout(LIMIT, self.0.request(RequestId(id), request)).await.unwrap().unwrap();
            assert!(matches!(answer, Response::Done { .. }), "{answer:?}");
        }
    }

    async fn something(up: &Up) {
        let (assign, _assignments) = tokio::sync::watch::channel(None);
        let node = Box::new(Node { manager: true, ..Node::new(NodeId(1), "n1") });
        up.0.tell(Message::SessionUp { node, session: 1, assign });
        let spec = VolumeSpec { name: "data".to_owned(), ..VolumeSpec::default() };
        up.done(1, Request::CreateVolume(Box::new(spec))).await;
    }

    async fn become_cluster(up: &Up) {
        let id = ClusterId(5);
        let info = ClusterInfo {
            id,
            created: Time(1),
            authority: pki::new_authority(id, clock::now()).unwrap(),
            next: None,
            previous: None,
            worker_secret: "worker".to_owned(),
            manager_secret: "manager".to_owned(),
            clients: std::collections::BTreeMap::new(),
            unlock_key: None,
        };
        let address = ADDRESS.to_owned();
        let init = ClusterRequest::Init { info: Box::new(info), node: NodeId(1), address, key: "old".to_owned() };
        up.done(2, Request::Group(Box::new(init))).await;
    }

    fn asked() -> RestoreCluster {
        RestoreCluster { key: BackupKey::of([3; 32]), advertise: None, listen: None }
    }

    #[tokio::test]
    async fn a_machine_of_its_own_comes_back_elsewhere() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let up = Up::begin(&old.path().join("data"));
        something(&up).await;
        let daemon = testing::daemon_of(old.path(), NodeId(1), up.0.clone()).await;
        let file = make(&daemon, &asked().key).await.unwrap();
        let before = up.0.state().await.unwrap();
        up.end().await;

        let root = new.path().join("data");
        let there = Up::begin(&root);
        let daemon = testing::daemon_of(new.path(), NodeId(2), there.0.clone()).await;
        let wrong = RestoreCluster { key: BackupKey::of([4; 32]), ..asked() };
        let error = restore(&daemon, wrong, file.clone()).await.unwrap_err();
        assert!(error.message.contains("does not open with this key"), "{error}");
        let error = restore(&daemon, asked(), file[..file.len() / 2].to_vec()).await.unwrap_err();
        assert!(error.message.contains("damaged"), "{error}");
        let lines = restore(&daemon, asked(), file.clone()).await.unwrap();
        assert!(lines.first().is_some_and(|line| line.starts_with("Restored 0 services")), "{lines:?}");
        tokio::time::timeout(LIMIT, daemon.again.cancelled()).await.unwrap();
        there.end().await;
        drop(daemon);

        finish(&root).unwrap();
        finish(&root).unwrap();
        assert_eq!(config::node_id(&root).unwrap(), NodeId(1));
        let there = Up::begin(&root);
        let after = there.0.state().await.unwrap();
        assert_eq!(after.volumes, before.volumes);
        assert_eq!(after.nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [NodeId(1)]);
        let daemon = testing::daemon_of(new.path(), NodeId(1), there.0.clone()).await;
        let error = restore(&daemon, asked(), file).await.unwrap_err();
        assert!(error.message.contains("of its own"), "{error}");
        there.end().await;
    }

    #[tokio::test]
    async fn a_cluster_goes_on_with_one_manager_that_has_a_new_certificate() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let up = Up::begin(old.path());
        something(&up).await;
        become_cluster(&up).await;
        let admission = model::Admission {
            node: Node { address: Some("10.0.0.2:2377".to_owned()), ..Node::new(NodeId(2), "n2") },
            secret: "manager".to_owned(),
        };
        up.done(3, Request::Group(Box::new(ClusterRequest::Admit(Box::new(admission))))).await;
        let backup = Backup {
            format: FORMAT,
            version: "0".to_owned(),
            made: Time(1),
            node: NodeId(1),
            listen: Some(ADDRESS.parse().unwrap()),
            advertise: Some(ADDRESS.to_owned()),
            state: *up.0.snapshot().await.unwrap(),
        };
        up.end().await;
        let root = new.path();
        let key = NodeKey::load_or_create(&root.join("node-key")).unwrap();
        let lines = prepare(root, &key, backup, &asked(), &[]).unwrap();
        assert!(lines.iter().any(|line| line.contains(ADDRESS)), "{lines:?}");
        // A start that was cut short in the middle.
        std::fs::rename(root.join(FOLDER).join("raft"), root.join("raft")).unwrap();
        finish(root).unwrap();
        let identity = Identity::load(root).unwrap().unwrap();
        assert_eq!((identity.node, identity.member, identity.advertise.as_str()), (NodeId(1), Some(1), ADDRESS));
        let there = Up::begin(root);
        let state = there.0.until(|state| state.leader.map(|_| state.clone())).await.unwrap();
        assert_eq!(state.leader, Some(NodeId(1)));
        let credentials = Credentials::load(&identity::certificates(root), &key).unwrap();
        let find = |id| state.nodes.iter().find(|node| node.id == NodeId(id)).unwrap();
        assert_eq!((find(1).member, &find(1).key), (Some(1), &credentials.key_digest()));
        assert!(find(2).left && !find(2).manager && find(2).member.is_none());
        there.end().await;
    }

    #[test]
    fn what_was_prepared_by_halves_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("restore/raft")).unwrap();
        std::fs::write(root.path().join("node-id"), format!("{}\n", NodeId(7))).unwrap();
        finish(root.path()).unwrap();
        assert!(!root.path().join("restore").exists() && !root.path().join("raft").exists());
        assert_eq!(config::node_id(root.path()).unwrap(), NodeId(7));
    }
}
