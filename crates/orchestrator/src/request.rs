//! What clients ask for: checked, then made part of the draft, or refused with nothing changed.

mod attach;
mod content;
mod deploy;
mod fields;
mod group;
pub(crate) mod logins;
mod network;
mod node;
mod ports;
mod power;
mod service;
mod source;
mod stack;
pub(crate) mod vips;
mod volume;

use crate::draft::Draft;
use crate::preview::basis;
use model::diagnostic::Diagnostic;
use model::{ObjectChange, RefusalKind, Request, Response, Service, ServiceId, StackSpec, Task, Wanted};
use std::sync::Arc;

pub(crate) use group::rotate;
pub(crate) use service::GOES_ON;
pub(crate) use source::{CHANGES, again, is_of_applied, last_applied, record, was_applied};

/// What became of a request that was taken.
#[derive(Debug, Default)]
struct Done {
    id: Option<String>,
    changes: Vec<ObjectChange>,
    warnings: Vec<Diagnostic>,
}

impl Done {
    fn one(id: String, change: ObjectChange) -> Done {
        Done { id: Some(id), changes: vec![change], warnings: Vec::new() }
    }
}

/// A request that was not taken.
#[derive(Debug)]
struct Refusal {
    kind: RefusalKind,
    diagnostics: Vec<Diagnostic>,
}

impl Refusal {
    fn new(kind: RefusalKind, text: impl Into<String>) -> Refusal {
        let code = match kind {
            RefusalKind::NotFound => "RS8001",
            RefusalKind::Conflict => "RS8002",
            RefusalKind::Invalid => "RS8003",
        };
        Refusal { kind, diagnostics: vec![Diagnostic::error(code, text)] }
    }

    fn not_found(text: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::NotFound, text)
    }

    fn conflict(text: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Conflict, text)
    }

    fn invalid(text: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::Invalid, text)
    }

    /// The same with advice.
    fn hint(mut self, hint: impl Into<String>) -> Refusal {
        if let Some(last) = self.diagnostics.pop() {
            self.diagnostics.push(last.hint(hint));
        }
        self
    }

    /// All of them as one; what makes no sense weighs more than what is taken, and that more than what is
    /// missing.
    fn all(refusals: Vec<Refusal>) -> Result<(), Refusal> {
        let weight = |refusal: &Refusal| match refusal.kind {
            RefusalKind::NotFound => 0,
            RefusalKind::Conflict => 1,
            RefusalKind::Invalid => 2,
        };
        let Some(kind) = refusals.iter().max_by_key(|refusal| weight(refusal)).map(|refusal| refusal.kind) else {
            return Ok(());
        };
        Err(Refusal { kind, diagnostics: refusals.into_iter().flat_map(|refusal| refusal.diagnostics).collect() })
    }
}

fn changed(kind: &str, name: &str, action: &str) -> ObjectChange {
    ObjectChange { kind: kind.to_owned(), name: name.to_owned(), action: action.to_owned(), fields: Vec::new() }
}

/// Applies a stack to the draft, or leaves the draft as it was.
pub(crate) fn apply(draft: &mut Draft<'_>, wanted: &Wanted) -> Response {
    take(draft, &Request::Apply { wanted: Box::new(wanted.clone()), basis: None })
}

/// What a person deploys that is followed will not stay, or not be what the source says.
fn by_hand(draft: &mut Draft<'_>, stack: &StackSpec, remove_orphans: bool, force: bool) -> Result<Done, Refusal> {
    let mut done = deploy::deploy(draft, stack, remove_orphans, force)?;
    let cluster = draft.cluster();
    let source = cluster.followed.get(&stack.name).and_then(|followed| cluster.sources.get(&followed.source));
    if let Some(source) = source {
        let then =
            if source.spec.self_heal { "which puts back what differs" } else { "which shows what differs as drift" };
        let text = format!("stack {} is followed from source {}, {then}", stack.name, source.spec.name);
        let hint = format!("commit it there; `rswarm gitops suspend {}` stops that", source.spec.name);
        done.warnings.push(Diagnostic::warning("RS8019", text).hint(hint));
    }
    Ok(done)
}

/// The state must be as it was when the plan was made.
fn stands(draft: &Draft<'_>, wanted: &Wanted, basis: Option<&str>) -> Result<(), Refusal> {
    match basis {
        Some(basis) if basis::of(draft.cluster(), &wanted.stack) != basis => {
            let text = format!("stack {} has changed since the plan was made", wanted.stack.name);
            Err(Refusal::conflict(text).hint("make the plan anew: `rswarm plan --out FILE`"))
        }
        _ => Ok(()),
    }
}

/// Starts a container as `start` does; one whose port, network or room is another's by now stays as it is.
pub(crate) fn start_again(draft: &mut Draft<'_>, service: &Service, task: &Arc<Task>) {
    let _refused = power::start(draft, service, task, None);
}

/// Host ports and addresses for the spec that a service has got back.
pub(crate) fn choose_again(draft: &mut Draft<'_>, id: ServiceId) {
    let _none_free = ports::choose(draft, id);
    vips::choose(draft, id);
}

/// Takes a request into the draft, or leaves the draft as it was. [`Request::Read`] is not for here.
pub(crate) fn take(draft: &mut Draft<'_>, request: &Request) -> Response {
    let saved = draft.save();
    match done(draft, request) {
        Ok(Done { id, changes, warnings }) => {
            // The entry that holds this becomes the next revision.
            Response::Done { revision: draft.next_revision(), id, changes, warnings }
        }
        Err(Refusal { kind, diagnostics }) => {
            draft.back_to(saved);
            Response::Refused { kind, diagnostics }
        }
    }
}

/// Takes a request into the draft; half of it may be in there when it is refused.
fn done(draft: &mut Draft<'_>, request: &Request) -> Result<Done, Refusal> {
    match request {
        Request::Deploy { stack, remove_orphans, force_recreate } => {
            by_hand(draft, stack, *remove_orphans, *force_recreate)
        }
        Request::Apply { wanted, basis } => stands(draft, wanted, basis.as_deref())
            .and_then(|()| by_hand(draft, &wanted.stack, wanted.remove_orphans, wanted.force_recreate)),
        Request::RemoveStack { name, volumes, timeout } => stack::remove(draft, name, *volumes, *timeout),
        Request::PutService { spec, create } => service::put(draft, spec, *create),
        Request::UpdateService { id, spec, version, force } => service::update(draft, *id, spec, *version, *force),
        Request::RollbackService(id) => service::roll_back(draft, *id),
        Request::UpdateNode { id, availability, labels } => node::update(draft, *id, *availability, labels),
        Request::RemoveNode { id, force } => node::remove(draft, *id, *force),
        Request::Group(request) => group::take(draft, request),
        Request::RemoveService { id, force, volumes } => service::remove(draft, *id, *force, *volumes),
        Request::Scale { id, replicas } => service::scale(draft, *id, *replicas),
        Request::Power { task, action } => power::power(draft, *task, action),
        Request::CreateNetwork(spec) => network::create(draft, spec),
        Request::RemoveNetwork(id) => network::remove(draft, *id),
        Request::Connect { task, attachment } => attach::connect(draft, *task, attachment),
        Request::Disconnect { task, network } => attach::disconnect(draft, *task, network),
        Request::CreateVolume(spec) => volume::create(draft, spec),
        Request::RemoveVolume(name) => volume::remove(draft, name),
        Request::CreateContent { kind, content } => content::create(draft, *kind, content),
        Request::RemoveContent { kind, name } => content::remove(draft, *kind, name),
        Request::Source(request) => source::take(draft, request),
        Request::WithLogins { request, logins } => logins::take(draft, request, logins),
        Request::Read => Ok(Done::default()),
    }
}
