//! A person at work: one request after the other, repeated until it is answered; and what that person
//! may rely on afterwards.

use crate::chance::Chance;
use crate::group::is_register;
use crate::specs;
use model::{
    Availability, Mode, NetworkAttachment, NodeId, PowerAction, Request, RequestId, Response, ServiceSpec, State,
    VolumeSpec,
};
use std::collections::{BTreeMap, BTreeSet};

const STACKS: [&str; 2] = ["a", "b"];
const CONTAINERS: [&str; 3] = ["c1", "c2", "c3"];

/// What was acknowledged of a service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expected {
    /// Its stack.
    pub(crate) stack: Option<String>,
    /// Its image.
    pub(crate) image: String,
    /// Its mode.
    pub(crate) mode: Mode,
    /// It goes by itself when it has ended.
    pub(crate) fleeting: bool,
}

/// The operator.
#[derive(Debug)]
pub(crate) struct Operator {
    chance: Chance,
    requests: u128,
    /// The request that is not answered yet.
    pub(crate) open: Option<(RequestId, Request)>,
    /// The full name of the service that it concerns.
    target: Option<String>,
    /// Answers so far, the newest ones.
    answers: BTreeMap<RequestId, Response>,
    /// Services that were acknowledged and not removed since, by full name.
    pub(crate) services: BTreeMap<String, Expected>,
    /// It sees to nodes as well.
    pub(crate) manages: bool,
    /// Machines that it knows to be gone for good.
    pub(crate) lost: BTreeSet<NodeId>,
    /// What was acknowledged of nodes; `None`: it was removed.
    pub(crate) nodes: BTreeMap<NodeId, Option<Availability>>,
}

impl Operator {
    /// One that has asked for nothing yet.
    pub(crate) fn new(chance: Chance) -> Operator {
        Operator {
            chance,
            requests: 0,
            open: None,
            target: None,
            answers: BTreeMap::new(),
            services: BTreeMap::new(),
            manages: false,
            lost: BTreeSet::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// The next request; the open one again if there is one.
    pub(crate) fn ask(&mut self, state: &State) -> Option<(RequestId, Request)> {
        if self.open.is_none() {
            let request = self.think(state)?;
            self.requests += 1;
            self.open = Some((RequestId(self.requests), request));
        }
        self.open.clone()
    }

    fn think(&mut self, state: &State) -> Option<Request> {
        if self.manages && self.chance.below(4) == 0 {
            return self.manage(state);
        }
        let chance = &mut self.chance;
        let stack = (*chance.pick(&STACKS)?).to_owned();
        Some(match chance.below(20) {
            0..6 => Request::Deploy {
                stack: Box::new(match self.manages {
                    true => specs::demanding(&stack, chance),
                    false => specs::stack(&stack, chance),
                }),
                remove_orphans: chance.coin(),
                force_recreate: chance.below(5) == 0,
            },
            6 | 7 => Request::RemoveStack { name: stack, volumes: chance.coin(), timeout: None },
            8 | 9 => {
                let name = chance.pick(&CONTAINERS)?;
                Request::PutService { spec: Box::new(specs::standalone(name, chance)), create: true }
            }
            10 | 11 => {
                let service = chance.pick(&state.services).filter(|it| !is_register(&it.spec.name))?;
                self.target = Some(service.spec.name.clone());
                Request::RemoveService { id: service.id, force: chance.coin(), volumes: chance.coin() }
            }
            12..15 => {
                let service = chance.pick(&state.services).filter(|it| !is_register(&it.spec.name))?;
                self.target = Some(service.spec.name.clone());
                Request::Scale { id: service.id, replicas: specs::replicas(chance) }
            }
            15..19 if chance.below(5) == 0 => {
                let task = chance.pick(&state.tasks).filter(|task| task.spec.standalone)?.id;
                let network = chance.pick(&state.networks)?.spec.name.clone();
                match chance.below(3) {
                    0 => Request::Disconnect { task, network },
                    _ => {
                        let attachment = NetworkAttachment { network, ..NetworkAttachment::default() };
                        Request::Connect { task, attachment }
                    }
                }
            }
            15..19 => {
                let task = chance.pick(&state.tasks)?.id;
                let action = match chance.below(4) {
                    0 | 1 => PowerAction::Stop { timeout: Some(chance.below(3)), signal: None },
                    2 => PowerAction::Start,
                    _ => PowerAction::Restart { timeout: None },
                };
                Request::Power { task, action }
            }
            _ => {
                let name = "loose".to_owned();
                match chance.coin() {
                    true => Request::CreateVolume(Box::new(VolumeSpec { name, ..VolumeSpec::default() })),
                    false => Request::RemoveVolume(name),
                }
            }
        })
    }

    /// Something about a node: a drain, a label, or one that is down is forgotten.
    fn manage(&mut self, state: &State) -> Option<Request> {
        let chance = &mut self.chance;
        let node = chance.pick(&state.nodes)?;
        let (id, labels) = (node.id, BTreeMap::new());
        let update = |availability| Request::UpdateNode { id, availability: Some(availability), labels };
        // The first node always takes tasks: where none does, those of a node that is lost stay where they are.
        let first = id == NodeId(1);
        Some(match chance.below(8) {
            0 | 1 if !first => update(Availability::Drain),
            0..5 => update(Availability::Active),
            5 if !first => update(Availability::Pause),
            6 => {
                let zone = ["a", "b"].get(usize::from(chance.coin())).map(|zone| (*zone).to_owned());
                let labels = BTreeMap::from([("zone".to_owned(), zone)]);
                Request::UpdateNode { id, availability: None, labels }
            }
            _ if !node.ready && self.lost.contains(&id) => Request::RemoveNode { id, force: false },
            _ => return None,
        })
    }

    /// An answer has come.
    ///
    /// # Errors
    /// It differs from an earlier answer to the same request.
    pub(crate) fn answered(&mut self, id: RequestId, response: Response) -> Result<(), String> {
        if let Some(before) = self.answers.get(&id) {
            return match *before == response {
                true => Ok(()),
                false => Err(format!("request {} was answered twice, and differently", id.0)),
            };
        }
        let Some((_, request)) = self.open.take_if(|(open, _)| *open == id) else {
            return Err(format!("request {} was answered, and nobody asked", id.0));
        };
        if matches!(response, Response::Done { .. }) {
            self.learn(request);
        }
        self.answers.insert(id, response);
        Ok(())
    }

    /// What may be relied upon from now on.
    fn learn(&mut self, request: Request) {
        match request {
            Request::Deploy { stack, remove_orphans, .. } => {
                let own = Some(stack.name.clone());
                self.services
                    .retain(|name, it| !remove_orphans || it.stack != own || stack.services.contains_key(name));
                for (name, spec) in &stack.services {
                    self.services.insert(name.clone(), expected(spec));
                }
            }
            Request::RemoveStack { name, .. } => self.services.retain(|_, it| it.stack.as_ref() != Some(&name)),
            Request::PutService { spec, .. } => {
                self.services.insert(spec.name.clone(), expected(&spec));
            }
            Request::RemoveService { .. } => {
                if let Some(name) = &self.target {
                    self.services.remove(name);
                }
            }
            Request::Scale { replicas, .. } => {
                if let Some(it) = self.target.as_ref().and_then(|name| self.services.get_mut(name)) {
                    it.mode = it.mode.scaled(replicas).unwrap_or(it.mode);
                }
            }
            Request::UpdateNode { id, availability: Some(availability), .. } => {
                self.nodes.insert(id, Some(availability));
            }
            Request::RemoveNode { id, .. } => {
                self.nodes.insert(id, None);
            }
            _ => {}
        }
    }
}

fn expected(spec: &ServiceSpec) -> Expected {
    Expected {
        stack: spec.stack.clone(),
        image: spec.container.image.clone(),
        mode: spec.mode,
        fleeting: spec.container.auto_remove,
    }
}
