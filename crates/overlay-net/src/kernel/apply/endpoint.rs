//! Network namespaces of containers. Each is done from end to end by one thread that moves into it, so
//! that a hundred of them cost a hundred times a few milliseconds divided by the processors.

use super::DnsSockets;
use crate::kernel::diff::NetOp;
use crate::kernel::netlink::{Batch, Socket};
use crate::kernel::{Namespace, Veth, conntrack, link, netns, nft};
use crate::names;
use model::{HostNet, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;

/// What is to be done in one namespace.
#[derive(Debug)]
pub(super) struct Job {
    task: TaskId,
    create: bool,
    attach: Vec<(String, Veth)>,
    /// Host's end, interface, and the size of packets that both should carry.
    resize: Vec<(String, String, u32)>,
    gateways: BTreeSet<IpAddr>,
    dns: bool,
    sysctls: BTreeMap<String, String>,
    ops: Vec<NetOp>,
}

impl Job {
    /// Those of the interfaces that are made.
    fn sysctls_of_links(&self) -> Vec<(String, String)> {
        let is_made = |name: &String| name.split('.').any(|part| self.attach.iter().any(|(link, _)| link == part));
        let own = self.sysctls.iter().filter(|(name, _)| is_made(name));
        own.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Nothing so far.
    fn new(task: TaskId) -> Job {
        Job {
            task,
            create: false,
            attach: Vec::new(),
            resize: Vec::new(),
            gateways: BTreeSet::new(),
            dns: false,
            sysctls: BTreeMap::new(),
            ops: Vec::new(),
        }
    }
}

/// What came of it. `ops`: the steps done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) task: TaskId,
    pub(super) ops: Vec<NetOp>,
    pub(super) dns: Option<DnsSockets>,
    pub(super) error: Option<String>,
}

/// The work per namespace: the steps about it, and DNS where it is wanted but not served yet.
pub(super) fn jobs(ops: &[NetOp], net: &HostNet, served: &BTreeSet<TaskId>) -> Vec<Job> {
    let mut jobs: BTreeMap<TaskId, Job> = BTreeMap::new();
    let mut job = |task: &TaskId, then: &dyn Fn(&mut Job)| {
        let endpoint = net.endpoints.get(task);
        let sysctls = || endpoint.map(|endpoint| endpoint.sysctls.clone()).unwrap_or_default();
        let job = jobs.entry(*task).or_insert_with(|| Job { sysctls: sysctls(), ..Job::new(*task) });
        then(job);
    };
    for op in ops {
        match op {
            NetOp::CreateNamespace(task, Namespace { links, gateways }) => job(task, &|job| {
                job.create = true;
                job.attach.extend(links.clone());
                job.gateways.clone_from(gateways);
                job.ops.push(op.clone());
            }),
            NetOp::Attach { task, interface, veth } => job(task, &|job| {
                job.attach.push((interface.clone(), veth.clone()));
                job.ops.push(op.clone());
            }),
            NetOp::Resize { task, interface, host_name, mtu } => job(task, &|job| {
                job.resize.push((host_name.clone(), interface.clone(), *mtu));
                job.ops.push(op.clone());
            }),
            NetOp::SetGateways(task, gateways) => job(task, &|job| {
                job.gateways.clone_from(gateways);
                job.ops.push(op.clone());
            }),
            _ => {}
        }
    }
    for (task, _) in net.endpoints.iter().filter(|(_, endpoint)| endpoint.dns) {
        let job = jobs.get_mut(task);
        match job {
            Some(job) => job.dns = job.create || !served.contains(task),
            None if !served.contains(task) => drop(jobs.insert(*task, Job { dns: true, ..Job::new(*task) })),
            None => {}
        }
    }
    jobs.into_values().collect()
}

/// Are all namespaces new, with nobody inside yet?
pub(super) fn all_fresh(jobs: &[Job]) -> bool {
    jobs.iter().all(|job| job.create)
}

/// Does all jobs on as many threads as there are processors. They are threads of their own because
/// they move between namespaces and must end there.
pub(super) fn run(run_root: &Path, owner: u32, host: &Socket, jobs: Vec<Job>) -> io::Result<Vec<Done>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let bridges: BTreeMap<String, u32> = link::links(host)?
        .into_iter()
        .filter(|link| link.group == owner && link.kind == "bridge")
        .map(|link| (link.name, link.index))
        .collect();
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(jobs.len());
    let queue = Mutex::new(jobs.into_iter());
    let take = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let work = || -> io::Result<Vec<Done>> {
        let worker = Worker { run_root, owner, bridges: &bridges, host: Socket::route()? };
        Ok(std::iter::from_fn(take).map(|job| worker.run(job)).collect())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|_| Err(io::Error::other("a thread in a namespace panicked")))?);
        }
        Ok(all)
    })
}

struct Worker<'a> {
    run_root: &'a Path,
    owner: u32,
    bridges: &'a BTreeMap<String, u32>,
    /// Opened before the thread moved: speaks to the host's namespace.
    host: Socket,
}

impl Worker<'_> {
    fn run(&self, job: Job) -> Done {
        let mut done = Done { task: job.task, ops: Vec::new(), dns: None, error: None };
        match self.steps(&job, &mut done) {
            Ok(()) => done.ops = job.ops,
            Err(error) => done.error = Some(error.to_string()),
        }
        done
    }

    fn steps(&self, job: &Job, done: &mut Done) -> io::Result<()> {
        let path = names::netns_path(self.run_root, job.task);
        let (namespace, later) = if job.create {
            let namespace = netns::unshare().map_err(|error| about("make a network namespace", error))?;
            let mut batch = Batch::default();
            link::set_up(&mut batch, "lo");
            check("set up loopback", Socket::route()?.transact(batch)?)?;
            (namespace, sysctls(&job.sysctls))
        } else {
            let namespace =
                netns::open(&path)?.ok_or_else(|| io::Error::other("its network namespace has vanished"))?;
            netns::enter(&namespace)?;
            (namespace, job.sysctls_of_links())
        };
        if job.dns {
            done.dns = Some(dns(job.create).map_err(|error| about("serve dns at 127.0.0.11", error))?);
        }
        self.links(job, &namespace)?;
        self.resize(job)?;
        for (name, value) in later {
            sysctl(&name, &value).map_err(|error| about(&format!("set sysctl {name}={value}"), error))?;
        }
        if job.create {
            // Named only now: a name means that what cannot be seen from outside was done.
            netns::persist(&path).map_err(|error| about("name the network namespace", error))?;
        }
        Ok(())
    }

    fn resize(&self, job: &Job) -> io::Result<()> {
        if job.resize.is_empty() {
            return Ok(());
        }
        let (mut host, mut inside) = (Batch::default(), Batch::default());
        for (host_name, interface, mtu) in &job.resize {
            link::set_mtu(&mut host, host_name, *mtu);
            link::set_mtu(&mut inside, interface, *mtu);
        }
        check(
            "set the size of packets",
            self.host.transact(host)?.into_iter().chain(Socket::route()?.transact(inside)?),
        )
    }

    fn links(&self, job: &Job, namespace: &OwnedFd) -> io::Result<()> {
        if job.attach.is_empty() && job.gateways.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (interface, veth) in &job.attach {
            let missing = || io::Error::other(format!("bridge {} is missing", veth.bridge));
            let pair = link::VethPair {
                host_name: &veth.host_name,
                bridge_index: *self.bridges.get(&veth.bridge).ok_or_else(missing)?,
                group: self.owner,
                peer_name: interface,
                peer_mac: veth.mac,
                mtu: veth.mtu,
                peer_namespace: namespace.as_fd(),
            };
            link::add_veth(&mut batch, &pair);
            link::no_link_local(&mut batch, &veth.host_name);
            link::set_up_port(&mut batch, &veth.host_name);
        }
        let outcomes = self.host.transact(batch)?.into_iter().enumerate();
        check("make a veth pair", outcomes.filter(|(i, _)| i % 3 != 1).map(|(_, outcome)| outcome))?;
        let inside = Socket::route()?;
        let links = link::links(&inside)?;
        let (mut quiet, mut batch) = (Batch::default(), Batch::default());
        for (interface, veth) in &job.attach {
            let Some(link) = links.iter().find(|link| link.name == *interface) else { continue };
            if !veth.addresses.iter().any(|(address, _)| address.is_ipv6()) {
                link::no_link_local(&mut quiet, interface);
            }
            link::set_up(&mut batch, interface);
            for (address, prefix) in &veth.addresses {
                link::add_address(&mut batch, link.index, *address, *prefix);
            }
        }
        for gateway in &job.gateways {
            link::add_default_route(&mut batch, *gateway);
        }
        // Only its outcome is of no interest.
        inside.transact(quiet)?;
        check("set addresses and routes", inside.transact(batch)?)
    }
}

fn dns(fresh: bool) -> io::Result<DnsSockets> {
    let udp = UdpSocket::bind((nft::DNS_ADDRESS, 0))?;
    let tcp = TcpListener::bind((nft::DNS_ADDRESS, 0))?;
    nft::redirect_dns(udp.local_addr()?.port(), tcp.local_addr()?.port(), fresh)?;
    if !fresh && let Err(error) = conntrack::forget_server(nft::DNS_ADDRESS.into(), 53) {
        // Who opens a socket for each question is answered all the same.
        tracing::warn!(%error, "forget where questions went before");
    }
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok(DnsSockets { udp, tcp })
}

/// Sets them, with Docker's two defaults beneath: every user may ping and bind low ports, as far as the
/// container's own network reaches. Gives back those that must wait for an interface.
fn sysctls(wanted: &BTreeMap<String, String>) -> Vec<(String, String)> {
    for (name, value) in [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")] {
        if !wanted.contains_key(name) {
            // A kernel without them is no worse than before.
            let _best_effort = sysctl(name, value);
        }
    }
    let failed = |(name, value): &(&String, &String)| sysctl(name, value).is_err();
    wanted.iter().filter(failed).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn sysctl(name: &str, value: &str) -> io::Result<()> {
    if !name.starts_with("net.") || name.contains("..") || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "only names below net. belong to a network namespace"));
    }
    // Both spellings, `net.ipv4.conf.eth0/1.x` and `net/ipv4/…`, are in use: what is a dot in one is a
    // slash in the other.
    let path = if name.contains('/') && !name.contains('.') { name.to_owned() } else { swap(name) };
    if path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such sysctl"));
    }
    std::fs::write(format!("/proc/sys/{path}"), value)
}

fn swap(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c == '.' {
                '/'
            } else if c == '/' {
                '.'
            } else {
                c
            }
        })
        .collect()
}

pub(super) fn about(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

pub(super) fn check(what: &str, outcomes: impl IntoIterator<Item = Result<(), rustix::io::Errno>>) -> io::Result<()> {
    outcomes.into_iter().collect::<Result<(), _>>().map_err(|error| about(what, error.into()))
}
