//! What is asked of the cluster as a group of machines: who is in, who manages, which tokens let in.

use super::{Done, Refusal, changed};
use crate::draft::Draft;
use model::{
    Admission, Authority, Availability, Client, ClusterInfo, ClusterRequest, MAX_MANAGERS, Node, NodeId, NodeTrust,
    Role, UnlockKey, same_secret,
};
use std::sync::Arc;

/// The most clients that a cluster may have: they are in the state, which every manager keeps in memory.
const MAX_CLIENTS: usize = 1024;

pub(super) fn take(draft: &mut Draft<'_>, request: &ClusterRequest) -> Result<Done, Refusal> {
    match request {
        ClusterRequest::Init { info, node, address, key } => init(draft, info, *node, address, key),
        ClusterRequest::Admit(admission) => admit(draft, admission),
        ClusterRequest::RotateToken { role, secret } => rotate_token(draft, *role, secret),
        ClusterRequest::Autolock(key) => autolock(draft, key.as_ref()),
        ClusterRequest::RotateUnlockKey(key) => rotate_unlock_key(draft, key),
        ClusterRequest::RotateAuthority(authority) => rotate_authority(draft, authority),
        ClusterRequest::AdmitClient { id, client } => admit_client(draft, *id, client),
        ClusterRequest::RemoveClient { name } => remove_client(draft, name),
        ClusterRequest::SetRole { id, role, force } => set_role(draft, *id, *role, *force),
        ClusterRequest::Leave { id, force } => leave(draft, *id, *force),
        ClusterRequest::Forget { survivor, address } => forget(draft, *survivor, address),
    }
}

fn info(draft: &Draft<'_>) -> Result<Arc<ClusterInfo>, Refusal> {
    let none = || {
        Refusal::conflict("this machine is not part of a cluster")
            .hint("`rswarm init` makes a cluster of it, `rswarm join` makes it part of another one")
    };
    draft.cluster().info.clone().ok_or_else(none)
}

fn node(draft: &Draft<'_>, id: NodeId) -> Result<Arc<Node>, Refusal> {
    draft.cluster().nodes.get(&id).cloned().ok_or_else(|| Refusal::not_found(format!("no such node: {id}")))
}

fn put(draft: &mut Draft<'_>, node: Node) {
    draft.edit().nodes.insert(node.id, Arc::new(node));
}

/// A number that no member had before: one that comes back with an empty log is somebody else.
fn new_member(draft: &mut Draft<'_>) -> u64 {
    loop {
        let number = draft.ids.next_u64();
        if number > 1 && draft.cluster().nodes.values().all(|node| node.member != Some(number)) {
            return number;
        }
    }
}

fn init(draft: &mut Draft<'_>, info: &ClusterInfo, id: NodeId, address: &str, key: &str) -> Result<Done, Refusal> {
    if let Some(known) = &draft.cluster().info {
        let refusal = Refusal::conflict(format!("this machine is part of the cluster {} already", known.id.short()));
        return Err(refusal.hint("`rswarm leave --force` takes it out"));
    }
    let mut own = (*node(draft, id)?).clone();
    (own.address, own.member, own.manager) = (Some(address.to_owned()), Some(1), true);
    own.key = key.to_owned();
    put(draft, own);
    draft.edit().info = Some(Arc::new(info.clone()));
    Ok(Done::one(info.id.to_string(), changed("cluster", &info.id.short(), "created")))
}

fn admit(draft: &mut Draft<'_>, admission: &Admission) -> Result<Done, Refusal> {
    let info = info(draft)?;
    let role = match &admission.secret {
        secret if same_secret(secret, &info.manager_secret) => Role::Manager,
        secret if same_secret(secret, &info.worker_secret) => Role::Worker,
        _ => {
            let refusal = Refusal::invalid("this join token is not valid (any more)");
            return Err(refusal.hint("`rswarm join-token worker` on a manager shows the one that is"));
        }
    };
    let told = &admission.node;
    if let Some(known) = draft.cluster().nodes.get(&told.id) {
        if known.key == told.key && !known.left && known.role() == role {
            // Its first answer was lost on the way.
            return Ok(Done::one(told.id.to_string(), changed("node", &known.hostname, "unchanged")));
        }
        let refusal = Refusal::conflict(format!("there is a node {} ({}) already", told.id.short(), known.hostname));
        return Err(refusal.hint(format!("`rswarm node rm {}` on a manager forgets it", told.id.short())));
    }
    let manager = role == Role::Manager;
    if manager {
        check_room(draft)?;
    }
    let member = manager.then(|| new_member(draft));
    let node = Node {
        platform: told.platform.clone(),
        manager,
        address: told.address.clone(),
        member,
        key: told.key.clone(),
        availability: told.availability,
        ..Node::new(told.id, told.hostname.clone())
    };
    put(draft, node);
    Ok(Done::one(told.id.to_string(), changed("node", &told.hostname, "created")))
}

fn managers<'d>(draft: &'d Draft<'_>) -> impl Iterator<Item = &'d Arc<Node>> {
    draft.cluster().nodes.values().filter(|node| node.manager)
}

fn check_room(draft: &Draft<'_>) -> Result<(), Refusal> {
    if managers(draft).count() >= MAX_MANAGERS {
        let refusal = Refusal::conflict(format!("the cluster has {MAX_MANAGERS} managers, which is the most"));
        return Err(refusal.hint("join as a worker, or demote another manager first"));
    }
    Ok(())
}

fn rotate_token(draft: &mut Draft<'_>, role: Role, secret: &str) -> Result<Done, Refusal> {
    let mut info = (*info(draft)?).clone();
    match role {
        Role::Manager => info.manager_secret = secret.to_owned(),
        Role::Worker => info.worker_secret = secret.to_owned(),
    }
    let id = info.id.to_string();
    draft.edit().info = Some(Arc::new(info));
    Ok(Done::one(id, changed("token", &role.to_string(), "updated")))
}

/// A key that is there stays: whoever has it written down may rely on it.
fn autolock(draft: &mut Draft<'_>, key: Option<&UnlockKey>) -> Result<Done, Refusal> {
    let info = info(draft)?;
    if info.unlock_key.is_some() == key.is_some() {
        return Ok(Done::one(info.id.to_string(), changed("cluster", &info.id.short(), "unchanged")));
    }
    Ok(put_unlock_key(draft, &info, key))
}

fn rotate_unlock_key(draft: &mut Draft<'_>, key: &UnlockKey) -> Result<Done, Refusal> {
    let info = info(draft)?;
    if info.unlock_key.is_none() {
        let refusal = Refusal::conflict("managers of this cluster ask for no unlock key");
        return Err(refusal.hint("`rswarm cluster update --autolock=true` makes one"));
    }
    Ok(put_unlock_key(draft, &info, Some(key)))
}

fn put_unlock_key(draft: &mut Draft<'_>, info: &ClusterInfo, key: Option<&UnlockKey>) -> Done {
    draft.edit().info = Some(Arc::new(ClusterInfo { unlock_key: key.cloned(), ..info.clone() }));
    Done::one(info.id.to_string(), changed("cluster", &info.id.short(), "updated"))
}

fn rotate_authority(draft: &mut Draft<'_>, authority: &Authority) -> Result<Done, Refusal> {
    let mut info = (*info(draft)?).clone();
    if info.is_rotating() {
        return Err(Refusal::conflict("the authority is being replaced already").hint("wait until that has ended"));
    }
    info.next = Some(authority.clone());
    let id = info.id.to_string();
    draft.edit().info = Some(Arc::new(info));
    Ok(Done::one(id, changed("authority", &authority.root.digest, "updated")))
}

/// The names are those that people type; one whose certificate has ended is free again.
fn admit_client(draft: &mut Draft<'_>, id: NodeId, client: &Client) -> Result<Done, Refusal> {
    let mut info = (*info(draft)?).clone();
    let now = draft.now;
    info.clients.retain(|_, known| known.name != client.name || known.expires > now);
    if let Some((known, _)) = info.clients.iter().find(|(_, known)| known.name == client.name) {
        if *known == id {
            return Ok(Done::one(id.to_string(), changed("client", &client.name, "unchanged")));
        }
        let refusal = Refusal::conflict(format!("there is a client {} already", client.name));
        return Err(refusal.hint(format!("another name, or `rswarm ca client rm {}` first", client.name)));
    }
    if info.clients.len() >= MAX_CLIENTS {
        let refusal = Refusal::conflict(format!("the cluster has {MAX_CLIENTS} clients, which is the most"));
        return Err(refusal.hint("`rswarm ca client ls` lists them, `rswarm ca client rm` removes some"));
    }
    info.clients.insert(id, client.clone());
    draft.edit().info = Some(Arc::new(info));
    Ok(Done::one(id.to_string(), changed("client", &client.name, "created")))
}

fn remove_client(draft: &mut Draft<'_>, name: &str) -> Result<Done, Refusal> {
    let mut info = (*info(draft)?).clone();
    let known = info.clients.iter().find(|(_, client)| client.name == name).map(|(id, _)| *id);
    let id = known.ok_or_else(|| {
        Refusal::not_found(format!("no such client: {name}")).hint("`rswarm ca client ls` lists them")
    })?;
    info.clients.remove(&id);
    draft.edit().info = Some(Arc::new(info));
    Ok(Done::one(id.to_string(), changed("client", name, "removed")))
}

/// Would the managers that are up still be a majority without this one?
fn check_quorum(draft: &Draft<'_>, without: NodeId, force: bool) -> Result<(), Refusal> {
    let rest: Vec<_> = managers(draft).filter(|node| node.id != without).collect();
    if rest.is_empty() {
        let refusal = Refusal::conflict("this is the last manager: without it the cluster is lost");
        return Err(refusal.hint("promote another node first"));
    }
    let up = rest.iter().filter(|node| node.ready).count();
    if up * 2 <= rest.len() && !force {
        let text = format!("only {up} of the {} other managers are up: without this one the cluster stops", rest.len());
        return Err(Refusal::conflict(text).hint("bring them back or remove them first; --force does it all the same"));
    }
    Ok(())
}

fn set_role(draft: &mut Draft<'_>, id: NodeId, role: Role, force: bool) -> Result<Done, Refusal> {
    info(draft)?;
    let mut node = (*node(draft, id)?).clone();
    if node.role() == role {
        return Ok(Done::one(id.to_string(), changed("node", &node.hostname, "unchanged")));
    }
    match role {
        Role::Manager => {
            check_room(draft)?;
            if node.left || !node.ready {
                let refusal = Refusal::conflict(format!("node {} is down", node.hostname));
                return Err(refusal.hint("a manager that is down only makes the others' majority harder"));
            }
            node.member = Some(new_member(draft));
        }
        Role::Worker => {
            check_quorum(draft, id, force)?;
            node.member = None;
        }
    }
    let fields = vec![format!("role: {} → {role}", node.role())];
    node.manager = role == Role::Manager;
    let change = changed("node", &node.hostname, "updated");
    put(draft, node);
    Ok(Done::one(id.to_string(), model::ObjectChange { fields, ..change }))
}

fn leave(draft: &mut Draft<'_>, id: NodeId, force: bool) -> Result<Done, Refusal> {
    info(draft)?;
    let node = node(draft, id)?;
    if node.manager {
        check_quorum(draft, id, force)?;
        if !force {
            let refusal = Refusal::conflict(format!("node {} is a manager", node.hostname));
            return Err(refusal.hint("demote it first: `rswarm node demote`; --force takes it out at once"));
        }
    }
    let change = changed("node", &node.hostname, "updated");
    put(draft, Node { trust: NodeTrust::default(), ..node.departed() });
    Ok(Done::one(id.to_string(), change))
}

/// The group's majority is gone for good; the log already has only the survivor.
fn forget(draft: &mut Draft<'_>, survivor: NodeId, address: &str) -> Result<Done, Refusal> {
    info(draft)?;
    let own = node(draft, survivor)?;
    // They hold an older truth: they may come back only with a token.
    let others: Vec<Node> = managers(draft).filter(|node| node.id != survivor).map(|node| node.departed()).collect();
    others.into_iter().for_each(|other| put(draft, other));
    let own =
        Node { address: Some(address.to_owned()), member: own.member.or(Some(1)), manager: true, ..(*own).clone() };
    let change = changed("node", &own.hostname, "updated");
    put(draft, own);
    Ok(Done::one(survivor.to_string(), change))
}

/// Does a node that is (or was) part of the cluster count for the authority's replacement?
fn counts(node: &Node) -> bool {
    !node.left && (node.ready || node.availability != Availability::Drain)
}

/// Goes on with the replacement of the authority as soon as every node is ready for it.
pub(crate) fn rotate(draft: &mut Draft<'_>) {
    let Some(info) = draft.cluster().info.clone().filter(|info| info.is_rotating()) else { return };
    let nodes = || draft.cluster().nodes.values().filter(|node| counts(node));
    let mut changed = (*info).clone();
    if let Some(next) = &info.next {
        if nodes().all(|node| node.trust.roots.contains(&next.root.digest)) {
            changed.previous = Some(std::mem::replace(&mut changed.authority, next.clone()).root);
            changed.next = None;
        }
    } else if nodes().all(|node| node.trust.issuer == info.authority.root.digest) {
        changed.previous = None;
    }
    if changed != *info {
        draft.edit().info = Some(Arc::new(changed));
    }
}
