//! Makes the kernel agree, step by step.

use super::diff::{NetOp, apply_op, diff};
use super::netlink::{Batch, Socket};
use super::observe::{observe, trash};
use super::{Cidr, Kernel, link, netns};
use crate::names;
use crate::report::Applied;
use endpoint::{Done, Job};
use firewall::Firewall;
use model::{HostNet, NetworkId, PublishedPort, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use translations::Translations;

mod calls;
mod endpoint;
mod firewall;
mod translations;
mod tunnels;

/// Sockets at 127.0.0.11 in a container's namespace.
#[derive(Debug)]
pub(crate) struct DnsSockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

/// What one `apply` gives: the report for the daemon and sockets for the DNS server.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) applied: Applied,
    pub(crate) dns: BTreeMap<TaskId, DnsSockets>,
    /// The interface of the mesh is another one than before.
    pub(crate) remeshed: bool,
}

/// The one writer of the kernel. What it remembers only saves work; everything can be seen again.
#[derive(Debug)]
pub(crate) struct Engine {
    run_root: PathBuf,
    owner: u32,
    /// What the kernel holds; `None`: look first.
    have: Option<Kernel>,
    /// Namespaces with DNS sockets of this process.
    dns: BTreeSet<TaskId>,
    firewall: Firewall,
    translations: Translations,
}

impl Engine {
    pub(crate) fn new(run_root: &Path) -> Engine {
        Engine {
            run_root: run_root.to_owned(),
            owner: names::owner(run_root),
            have: None,
            dns: BTreeSet::new(),
            firewall: Firewall::new(run_root),
            translations: Translations::new(run_root),
        }
    }

    /// Says which ports an earlier process had published, so that their connections are left alone.
    pub(crate) fn adopt_ports(&mut self, ports: &[PublishedPort]) {
        self.firewall.adopt_ports(ports);
    }

    /// Has virtual addresses lead where they should, in namespaces that are there: what changes most often, and
    /// what nobody should wait for. What fails is tried again, and told of, by [`Engine::apply`].
    pub(crate) fn translate(&mut self, net: &HostNet) {
        if let Some(have) = &self.have {
            self.translations.apply(net, &have.namespaces, &BTreeSet::new(), false);
        }
    }

    /// Makes the kernel agree with `net`. An error is about the whole (no netlink, say); everything less
    /// is in the report.
    pub(crate) fn apply(&mut self, net: &HostNet, verify: bool) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let (want, errors) = Kernel::wanted(net, self.owner);
        outcome.applied.endpoint_errors = errors;
        let look = verify || self.have.is_none();
        let mut have = match self.have.take() {
            Some(have) if !look => have,
            _ => {
                let observed = observe(&self.run_root, &want)?;
                self.dns.retain(|task| observed.dns.contains(task));
                observed.kernel
            }
        };
        let ops = diff(&want, &have);
        if !want.namespaces.is_empty() {
            netns::prepare_dir(&names::netns_dir(&self.run_root))?;
        }
        let socket = Socket::route()?;
        for op in &ops {
            if let NetOp::CreateNamespace(task, _) | NetOp::DeleteNamespace(task) = op {
                self.translations.forget(*task);
            }
        }
        let mut sound = self.remove(&socket, &ops, &mut have)?;
        sound &= self.bridges(&socket, net, &ops, &mut have, &mut outcome.applied)?;
        let failed = tunnels::run(&self.run_root, self.owner, &socket, &ops, &mut have, &mut outcome.remeshed)?;
        for (name, reason) in failed {
            sound = false;
            // What the mesh lacks, every network lacks that spans hosts.
            if name == names::ingress(self.owner) {
                let ports = net.ports.iter().filter(|port| port.everywhere);
                outcome.applied.port_errors.extend(ports.map(|port| (port.clone(), reason.clone())));
            }
            let of = |id: &&NetworkId| name == names::MESH_LINK || name == names::tunnel(**id);
            net.networks.keys().filter(of).for_each(|id| outcome.applied.network(*id, reason.clone()));
        }
        let jobs = endpoint::jobs(&ops, net, &self.dns);
        self.dns.retain(|task| net.endpoints.get(task).is_some_and(|endpoint| endpoint.dns));
        let mut fresh = BTreeSet::new();
        for done in self.rules_and_endpoints(&socket, net, look, jobs, &mut outcome.applied)? {
            fresh.extend(done.ops.iter().any(|op| matches!(op, NetOp::CreateNamespace(..))).then_some(done.task));
            done.ops.iter().for_each(|op| apply_op(op, &mut have));
            if let Some(sockets) = done.dns {
                self.dns.insert(done.task);
                outcome.dns.insert(done.task, sockets);
            }
            if let Some(reason) = done.error {
                sound = false;
                outcome.applied.endpoint(done.task, reason);
            }
        }
        for (task, error) in self.translations.apply(net, &have.namespaces, &fresh, look) {
            outcome.applied.endpoint(task, format!("cannot translate the addresses of services: {error}"));
        }
        outcome.applied.settles = self.firewall.settling.left().max(self.translations.settles());
        if want.namespaces.is_empty() && want.mesh.is_none() {
            netns::release_dir(&names::netns_dir(&self.run_root));
        }
        self.have = sound.then_some(have);
        Ok(outcome)
    }

    /// Rules before links, so that no packet passes a link without them; at the same time where nobody
    /// is in the namespaces yet, since `nft` takes as long as a namespace does.
    fn rules_and_endpoints(
        &mut self,
        socket: &Socket,
        net: &HostNet,
        look: bool,
        jobs: Vec<Job>,
        applied: &mut Applied,
    ) -> io::Result<Vec<Done>> {
        let Engine { run_root, owner, firewall, .. } = self;
        if jobs.is_empty() || !endpoint::all_fresh(&jobs) {
            firewall.apply(net, look, applied);
            return endpoint::run(run_root, *owner, socket, jobs);
        }
        std::thread::scope(|scope| {
            let rules = scope.spawn(|| firewall.apply(net, look, applied));
            let done = endpoint::run(run_root, *owner, socket, jobs);
            rules.join().map_err(|_| io::Error::other("the thread of the rules panicked"))?;
            done
        })
    }

    /// All that goes. Says whether all of it went.
    fn remove(&self, socket: &Socket, ops: &[NetOp], have: &mut Kernel) -> io::Result<bool> {
        let mut doomed: BTreeSet<String> = BTreeSet::new();
        let mut gone = Vec::new();
        let mut sound = true;
        for op in ops {
            match op {
                NetOp::DeleteStray(name)
                | NetOp::DeleteBridge(name)
                | NetOp::DeleteTunnel(name)
                | NetOp::Detach { host_name: name, .. } => {
                    doomed.insert(name.clone());
                }
                NetOp::DeleteNamespace(task) => {
                    let links = have.namespaces.get(task).map(|namespace| namespace.links.values());
                    doomed.extend(links.into_iter().flatten().map(|veth| veth.host_name.clone()));
                }
                NetOp::DeleteMesh => {}
                _ => continue,
            }
            gone.push(op.clone());
        }
        if !doomed.is_empty() {
            let mut batch = Batch::default();
            doomed.iter().for_each(|name| link::set_group(&mut batch, name, trash(self.owner)));
            link::delete_group(&mut batch, trash(self.owner));
            let outcomes = socket.transact(batch)?;
            // A link that is gone already cannot be marked; the rest is deleted all the same.
            sound &= outcomes.last().is_none_or(|last| last.is_ok() || outcomes.iter().all(Result::is_err));
        }
        for op in &gone {
            if let NetOp::DeleteNamespace(task) = op
                && let Err(error) = netns::remove(&names::netns_path(&self.run_root, *task))
            {
                tracing::warn!(%task, %error, "cannot remove a network namespace");
                sound = false;
                continue;
            }
            if matches!(op, NetOp::DeleteMesh)
                && let Err(error) = tunnels::delete_mesh(&self.run_root)
            {
                tracing::warn!(%error, "cannot remove the namespace of the mesh");
                sound = false;
                continue;
            }
            apply_op(op, have);
        }
        Ok(sound)
    }

    fn bridges(
        &self,
        socket: &Socket,
        net: &HostNet,
        ops: &[NetOp],
        have: &mut Kernel,
        applied: &mut Applied,
    ) -> io::Result<bool> {
        let ids: BTreeMap<String, NetworkId> = net.networks.keys().map(|id| (names::bridge(*id), *id)).collect();
        let mut changes: Vec<Change<'_>> = Vec::new();
        let mut create = Batch::default();
        let mut created = Vec::new();
        for op in ops {
            match op {
                NetOp::CreateBridge(name, bridge) => {
                    let Some(id) = ids.get(name) else { continue };
                    link::add_bridge(&mut create, name, names::bridge_mac(*id), self.owner);
                    created.push(name);
                    let add = bridge.addresses.iter().copied().collect();
                    changes.push(Change { name, remove: Vec::new(), add, mtu: bridge.mtu, op });
                }
                NetOp::SetBridge { bridge: name, remove, add, mtu } => {
                    let (remove, add) = (remove.iter().copied().collect(), add.iter().copied().collect());
                    changes.push(Change { name, remove, add, mtu: *mtu, op });
                }
                _ => {}
            }
        }
        if changes.is_empty() {
            return Ok(true);
        }
        let mut sound = true;
        let mut fail = |name: &String, reason: String| {
            sound = false;
            if let Some(id) = ids.get(name) {
                applied.network(*id, reason);
            }
        };
        for (name, outcome) in created.iter().zip(socket.transact(create)?) {
            if let Err(error) = outcome {
                fail(name, format!("cannot make bridge {name}: {error}"));
            }
        }
        let index: BTreeMap<String, u32> =
            link::links(socket)?.into_iter().map(|link| (link.name, link.index)).collect();
        let mut batch = Batch::default();
        let mut about = Vec::new();
        for Change { name, remove, add, mtu, .. } in &changes {
            let Some(index) = index.get(*name) else { continue };
            for (address, prefix) in remove {
                link::delete_address(&mut batch, *index, *address, *prefix);
                about.push((*name, false, *address));
            }
            let unspecified = Ipv4Addr::UNSPECIFIED.into();
            link::no_link_local(&mut batch, name);
            about.push((*name, false, unspecified));
            link::set_mtu(&mut batch, name, *mtu);
            about.push((*name, false, unspecified));
            if let Err(error) = hear_no_router(name) {
                fail(name, format!("cannot keep bridge {name} from hearing routers: {error}"));
            }
            link::set_up(&mut batch, name);
            about.push((*name, false, unspecified));
            for (address, prefix) in add {
                link::add_address(&mut batch, *index, *address, *prefix);
                about.push((*name, true, *address));
            }
        }
        for ((name, must, address), outcome) in about.into_iter().zip(socket.transact(batch)?) {
            if let (true, Err(error)) = (must, outcome) {
                fail(name, format!("cannot give {address} to bridge {name}: {error}"));
            }
        }
        for Change { name, add, op, .. } in changes {
            if let Err(error) = forwarding(name, add.iter().any(|(address, _)| address.is_ipv6())) {
                fail(name, format!("cannot switch on forwarding for bridge {name}: {error}"));
            }
            apply_op(op, have);
        }
        Ok(sound)
    }
}

/// What is to be done with a bridge.
struct Change<'a> {
    name: &'a String,
    remove: Vec<Cidr>,
    add: Vec<Cidr>,
    mtu: u32,
    op: &'a NetOp,
}

/// The switches of a bridge and of the host without which nothing is forwarded.
fn forwarding(bridge: &str, v6: bool) -> io::Result<()> {
    let switch = |path: String| match std::fs::read(&path) {
        Ok(state) if state.first() == Some(&b'1') => Ok(()),
        _ => std::fs::write(path, "1"),
    };
    switch("/proc/sys/net/ipv4/ip_forward".to_owned())?;
    switch(format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"))?;
    if v6 { forward6() } else { Ok(()) }
}

/// A container may not tell the host its way: who announces routers on a bridge is not believed.
fn hear_no_router(bridge: &str) -> io::Result<()> {
    match std::fs::write(format!("/proc/sys/net/ipv6/conf/{bridge}/accept_ra"), "0") {
        // The host knows no IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Has the host forward IPv6. A host that forwards believes no router that it hears, unless it is told to: one that
/// learned its own way out like that would lose it.
fn forward6() -> io::Result<()> {
    const ALL: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
    if std::fs::read(ALL)?.first() == Some(&b'1') {
        return Ok(());
    }
    // Not those that come later: that would be for whoever makes them to say.
    let is_link = |name: &std::ffi::OsStr| name != "all" && name != "default";
    let links = std::fs::read_dir("/proc/sys/net/ipv6/conf")?.flatten();
    for link in links.filter(|link| is_link(&link.file_name())) {
        let switch = link.path().join("accept_ra");
        if std::fs::read(&switch).is_ok_and(|state| state.first() == Some(&b'1')) {
            // The link may just be going.
            let _gone = std::fs::write(&switch, "2");
        }
    }
    std::fs::write(ALL, "1")
}

/// Removes everything of one daemon from the kernel, and `netd`'s files from its run root. `netd` must
/// not run. For uninstalling and for tests; calling it twice is fine.
pub fn cleanup(run_root: &Path) -> io::Result<()> {
    let mut engine = Engine::new(run_root);
    engine.apply(&HostNet::default(), true)?;
    for name in ["netd.sock", "netd.json", "netd.json.new", "netd.rules", "netd.rules.new", "netd.lock", "netd.log"] {
        match std::fs::remove_file(run_root.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
