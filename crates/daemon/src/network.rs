//! This host's network through `netd`: started when first needed, brought back when it dies, looked
//! after so that what others break is healed.

use crate::failure;
use model::{Endpoint, HostNet, Node, NodeId, RemoteEndpoint, TaskId, VirtualAddress};
use overlay_net::Applied;
use overlay_net::client::{Error, Netd};
use overlay_net::mesh::PeerStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the kernel is compared with what it should be.
const LOOK: Duration = Duration::from_secs(60);
/// Before a `netd` that ended is started again.
const PAUSE: Duration = Duration::from_millis(100);

/// A handle on the network of the host. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    run_root: PathBuf,
    data_root: PathBuf,
    exe: PathBuf,
    netd: tokio::sync::Mutex<Option<Netd>>,
    /// What was wanted last; `None`: nothing was ever asked for.
    wanted: Mutex<Option<HostNet>>,
    woken: tokio::sync::Notify,
}

impl Network {
    pub(crate) fn new(run_root: PathBuf, data_root: PathBuf, exe: PathBuf) -> Self {
        let inner = Inner {
            run_root,
            data_root,
            exe,
            netd: tokio::sync::Mutex::new(None),
            wanted: Mutex::new(None),
            woken: tokio::sync::Notify::new(),
        };
        Network { inner: Arc::new(inner) }
    }

    /// Makes the kernel agree with the value.
    ///
    /// # Errors
    /// `netd` can't be started or asked; single faults are in the answer.
    pub(crate) async fn apply(&self, net: &HostNet) -> Result<Applied, Error> {
        self.ask(Some(&reachable(net))).await
    }

    /// How the other nodes of the mesh look from here.
    ///
    /// # Errors
    /// `netd` can't be asked.
    pub(crate) async fn peers(&self) -> Result<BTreeMap<NodeId, PeerStatus>, Error> {
        match self.inner.netd.lock().await.as_mut() {
            Some(connection) => connection.mesh().await,
            // Nothing was ever wanted of it.
            None => Ok(BTreeMap::new()),
        }
    }

    /// Asks for this, or for another look at what was asked for last: what that is is known only when it is its turn.
    async fn ask(&self, net: Option<&HostNet>) -> Result<Applied, Error> {
        let mut netd = self.inner.netd.lock().await;
        let before;
        let (net, is_new) = match net {
            Some(net) => {
                *self.wanted() = Some(net.clone());
                (net, true)
            }
            None => {
                before = self.wanted().clone();
                let Some(before) = &before else { return Ok(Applied::default()) };
                (before, false)
            }
        };
        let connection = match netd.as_mut() {
            Some(connection) => connection,
            None => {
                let Inner { run_root, data_root, exe, .. } = &*self.inner;
                netd.insert(Netd::spawn(run_root, data_root, exe).await?)
            }
        };
        let applied = if is_new { connection.apply(net).await } else { connection.verify(net).await };
        if applied.is_err() {
            *netd = None;
        }
        drop(netd);
        self.inner.woken.notify_one();
        applied
    }

    /// Has a container of this host these places on networks, as far as `netd` could be told? So it has if nobody has
    /// asked for a network of it.
    pub(crate) async fn has(&self, task: TaskId, places: &[Endpoint]) -> bool {
        let is_told = |net: &HostNet| net.endpoints.get(&task).is_none_or(|endpoint| endpoint.attachments == places);
        let told = self.wanted().as_ref().is_none_or(is_told);
        if told {
            // Who tells it has this until it is done.
            drop(self.inner.netd.lock().await);
        }
        told
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, Option<HostNet>> {
        self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after `netd` until the daemon stops.
    pub(crate) async fn guard(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&self) {
        loop {
            if self.wanted().is_none() {
                self.inner.woken.notified().await;
            }
            tokio::select! {
                () = overlay_net::client::ended(&self.inner.run_root) => {
                    tracing::warn!("netd ended: it is started again");
                    tokio::time::sleep(PAUSE).await;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            match self.ask(None).await {
                Ok(applied) if applied.is_clean() => {}
                Ok(applied) => tracing::debug!(?applied, "the host's network is not as it should be"),
                Err(error) => tracing::warn!("look after the host's network: {}", failure::chain(&error)),
            }
        }
    }
}

/// The same without what no way leads to: tasks on other machines where there is no mesh, or on a network that
/// does not span machines. A published port or a name would lead into the void for as many callers as there are
/// replicas out there; those that can be reached answer.
fn reachable(net: &HostNet) -> HostNet {
    let meshed = net.mesh.is_some();
    let attachments = net.endpoints.values().flat_map(|endpoint| &endpoint.attachments);
    let own: BTreeSet<IpAddr> = attachments.flat_map(Endpoint::addresses).collect();
    let mut here = own.clone();
    if meshed {
        let remotes = net.remotes.values().flat_map(|all| all.iter());
        here.extend(remotes.flat_map(RemoteEndpoint::addresses));
    }
    let mut net = net.clone();
    // One that nobody is behind yet stays: that it is taken by something else is told before a container starts.
    net.ports.retain_mut(|port| {
        let waits = port.backends.is_empty();
        let ingress = |address: &IpAddr| meshed && net.ingress.contains_key(address);
        port.backends.retain(|(address, _)| own.contains(address) || ingress(address));
        waits || !port.backends.is_empty()
    });
    for vips in net.vips.values_mut() {
        if vips.iter().any(|vip| !vip.backends.is_subset(&here)) {
            std::sync::Arc::make_mut(vips).iter_mut().for_each(|vip| vip.backends.retain(|it| here.contains(it)));
        }
    }
    let vips = net.vips.values().flat_map(|all| all.iter());
    here.extend(vips.flat_map(VirtualAddress::addresses));
    for addresses in net.zones.values_mut().flat_map(|zone| zone.names.values_mut()) {
        addresses.retain(|address| here.contains(address));
    }
    net
}

/// Has this machine changed in a way that the cluster should know of?
pub(crate) fn routes_changed(before: &Node, run_root: &std::path::Path) -> Option<Node> {
    let routes = overlay_net::host_routes(run_root).ok()?;
    (routes != before.host_routes).then(|| Node { host_routes: routes, ..before.clone() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use model::{Endpoint, HostEndpoint, NetworkId, Protocol, PublishedPort, TaskId, Zone};

    #[test]
    fn nobody_is_sent_to_another_machine() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (here, there) = (address("10.0.1.2"), address("10.0.1.3"));
        let endpoint = Endpoint {
            network: NetworkId(1),
            address: here,
            address6: None,
            mac: None,
            aliases: Vec::new(),
            interface: None,
        };
        let port = |host_port, backends: &[IpAddr]| PublishedPort {
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port,
            backends: backends.iter().map(|address| (*address, 80)).collect(),
            service: "web".to_owned(),
            everywhere: false,
            admitted: BTreeSet::new(),
        };
        let names = [("web", vec![here, there]), ("db", vec![there])];
        let zone =
            Zone { names: names.map(|(name, addresses)| (name.to_owned(), addresses)).into(), ..Zone::default() };
        let net = HostNet {
            endpoints: [(TaskId(1), HostEndpoint { attachments: vec![endpoint], ..HostEndpoint::default() })].into(),
            ports: vec![port(80, &[here, there]), port(81, &[there]), port(82, &[])],
            zones: [(NetworkId(1), zone)].into(),
            ..HostNet::default()
        };
        let reachable = reachable(&net);
        let expected = [port(80, &[here]), port(82, &[])];
        assert_eq!(reachable.ports, expected, "one that is served elsewhere only refuses at once");
        let names = &reachable.zones.get(&NetworkId(1)).unwrap().names;
        assert_eq!(names.get("web").unwrap(), &[here]);
        assert!(names.get("db").unwrap().is_empty(), "known, and nowhere");
    }
}
