//! A host: containers, volumes and a network that outlive the agent.

use model::{Exit, HostLines, HostNet, MountSource, Observed, ObservedState, ServiceSpec, TaskId, Time};
use node_agent::{Effect, EffectError, Launch, Net, NetFault, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// The port that strangers take.
pub(crate) const FOREIGN: u16 = 8080;

/// A container of the host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Container {
    /// For which attempt it was last started.
    pub(crate) attempt: u32,
    /// In-place restarts.
    pub(crate) restarts: u32,
    /// Its state.
    pub(crate) state: ObservedState,
    /// Named volumes.
    pub(crate) volumes: Vec<String>,
    /// Whose anonymous volumes it has.
    pub(crate) volumes_of: TaskId,
    /// What its image does.
    pub(crate) image: String,
    /// Whose namespace it runs in.
    pub(crate) net: Net,
    /// What its /etc/hosts says.
    pub(crate) hosts: HostLines,
}

impl Container {
    /// The task whose namespace it runs in; `None`: the host's.
    pub(crate) fn space(&self) -> Option<TaskId> {
        self.net.owner()
    }

    /// The start of its present run.
    pub(crate) fn running_since(&self) -> Option<Time> {
        match self.state {
            ObservedState::Running { started_at, .. } => Some(started_at),
            ObservedState::Created | ObservedState::Exited(_) => None,
        }
    }
}

/// What doing an effect came to.
#[derive(Debug)]
pub(crate) struct Done {
    /// The answer.
    pub(crate) result: Result<Outcome, EffectError>,
    /// A container that has begun to run.
    pub(crate) started: Option<TaskId>,
    /// A container that was ended.
    pub(crate) ended: Option<(TaskId, u32, Exit)>,
}

/// A machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// Its containers.
    pub(crate) containers: BTreeMap<TaskId, Container>,
    /// Its volumes.
    pub(crate) volumes: BTreeSet<String>,
    /// Its network.
    pub(crate) net: HostNet,
    /// A stranger has [`FOREIGN`].
    pub(crate) foreign: bool,
    /// Images that nobody has seem to be there.
    pub(crate) all_images: bool,
    /// Probes fail that often in a thousand.
    pub(crate) sick: u64,
    pids: u32,
}

impl Host {
    /// What an agent finds.
    pub(crate) fn observed(&self) -> Vec<Observed> {
        let observed = self.containers.iter().map(|(task, it)| Observed {
            volumes_of: Some(it.volumes_of),
            task: *task,
            attempt: it.attempt,
            state: it.state.clone(),
            space: it.space(),
            restart_count: it.restarts,
            hosts: it.hosts.clone(),
        });
        observed.collect()
    }

    /// The machine was switched off and on: nothing runs, nothing of the network is left.
    pub(crate) fn reboot(&mut self, now: Time) {
        self.net = HostNet::default();
        for container in self.containers.values_mut() {
            if let Some(started_at) = container.running_since() {
                let exit = Exit { code: 255, oom_killed: false, started_at, finished_at: now };
                container.state = ObservedState::Exited(exit);
            }
        }
    }

    /// Ends the present run of a container, if it is still the one that began then.
    pub(crate) fn end(&mut self, task: TaskId, began: Time, code: i32, now: Time) -> Option<(u32, Exit)> {
        let container = self.containers.get_mut(&task)?;
        let started_at = container.running_since().filter(|started_at| *started_at == began)?;
        let exit = Exit { code, oom_killed: code == 137, started_at, finished_at: now };
        container.state = ObservedState::Exited(exit);
        Some((container.attempt, exit))
    }

    /// Does it.
    pub(crate) fn perform(&mut self, effect: &Effect, now: Time, chance: u64) -> Done {
        let (mut started, mut ended) = (None, None);
        let result = match effect {
            Effect::Prepare(prepare) if prepare.spec.container.image == "missing" && !self.all_images => {
                Err(EffectError::fatal("no such image: missing"))
            }
            Effect::Prepare(prepare) => {
                self.volumes.extend(volumes(&prepare.spec));
                Ok(Outcome::Prepared { healthcheck: None })
            }
            Effect::EnsureNet(net) => {
                self.net = (**net).clone();
                let taken = net.ports.iter().filter(|port| self.foreign && port.host_port == FOREIGN);
                let faults = taken.map(|port| NetFault::Port {
                    protocol: port.protocol,
                    host_port: port.host_port,
                    host_ip: port.host_ip,
                    message: format!("port {} is taken by a stranger", port.host_port),
                });
                let settles = std::time::Duration::from_millis(chance % 2 * (chance % 700));
                Ok(Outcome::Net { faults: faults.collect(), settles })
            }
            Effect::CreateAndStart(launch) => self.create(launch, now, &mut started),
            Effect::Start(launch) => self.start(launch, now, &mut started),
            Effect::WriteHosts(write) => match self.containers.get_mut(&write.task) {
                Some(container) => {
                    container.hosts.clone_from(&write.hosts.lines);
                    Ok(Outcome::HostsWritten)
                }
                None => Err(EffectError::fatal("no such container")),
            },
            Effect::Stop { task, .. } => {
                ended = self.stop(*task, 143, now);
                match self.containers.get(task).map(|it| &it.state) {
                    Some(ObservedState::Exited(exit)) => Ok(Outcome::Stopped(Some(*exit))),
                    _ => Ok(Outcome::Stopped(None)),
                }
            }
            Effect::Remove { task, .. } => {
                ended = self.stop(*task, 137, now);
                self.containers.remove(task);
                Ok(Outcome::Removed)
            }
            Effect::Probe { .. } => {
                let exit_code = i32::from(chance % 1000 < self.sick);
                Ok(Outcome::Probed { start: now, exit_code, output: String::new() })
            }
            Effect::RemoveVolume(name) => match self.containers.values().any(|it| it.volumes.contains(name)) {
                true => Err(EffectError::transient(format!("volume {name} is in use"))),
                false => {
                    self.volumes.remove(name);
                    Ok(Outcome::VolumeRemoved)
                }
            },
        };
        Done { result, started, ended }
    }

    fn stop(&mut self, task: TaskId, code: i32, now: Time) -> Option<(TaskId, u32, Exit)> {
        let began = self.containers.get(&task)?.running_since()?;
        self.end(task, began, code, now).map(|(attempt, exit)| (task, attempt, exit))
    }

    fn create(&mut self, launch: &Launch, now: Time, started: &mut Option<TaskId>) -> Result<Outcome, EffectError> {
        match self.containers.get(&launch.task).map(|it| &it.state) {
            Some(ObservedState::Exited(_)) => Err(EffectError::fatal("the container exists already")),
            Some(ObservedState::Running { .. }) => self.start(launch, now, started),
            Some(ObservedState::Created) | None => {
                let volumes = volumes(&launch.spec).collect();
                let image = launch.spec.container.image.clone();
                let state = ObservedState::Created;
                let (net, hosts) = (launch.net, Vec::new());
                let volumes_of = launch.volumes_of;
                let container = Container { attempt: 0, restarts: 0, state, volumes, volumes_of, image, net, hosts };
                self.containers.insert(launch.task, container);
                self.start(launch, now, started)
            }
        }
    }

    fn start(&mut self, launch: &Launch, now: Time, started: &mut Option<TaskId>) -> Result<Outcome, EffectError> {
        if let Net::Task(owner) = launch.net
            && !self.net.endpoints.contains_key(&owner)
        {
            return Err(EffectError::fatal("its network namespace is missing"));
        }
        let Some(container) = self.containers.get_mut(&launch.task) else {
            return Err(EffectError::fatal("no such container"));
        };
        if let ObservedState::Running { pid, started_at, .. } = container.state {
            return Ok(Outcome::Started { pid, started_at });
        }
        self.pids += 1;
        let pid = self.pids;
        container.state = ObservedState::Running { pid, started_at: now, paused: false };
        container.attempt = launch.attempt;
        container.restarts = launch.restarts;
        container.net = launch.net;
        container.hosts.clone_from(&launch.hosts.lines);
        *started = Some(launch.task);
        Ok(Outcome::Started { pid, started_at: now })
    }
}

fn volumes(spec: &ServiceSpec) -> impl Iterator<Item = String> {
    spec.container.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume { name, .. } => Some(name.clone()),
        MountSource::Anonymous | MountSource::Bind { .. } | MountSource::Tmpfs { .. } => None,
    })
}
