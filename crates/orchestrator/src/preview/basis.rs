//! What a plan was made on, as a digest: specs of the project and of all that it names. What containers do
//! does not change it.

use crate::cluster::Cluster;
use model::StackSpec;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The digest for this stack.
pub(crate) fn of(cluster: &Cluster, stack: &StackSpec) -> String {
    let mut digest = Sha256::new();
    let ours = |owner: &Option<String>| owner.as_deref() == Some(stack.name.as_str());
    for service in cluster.services.values() {
        if ours(&service.spec.stack) || stack.services.contains_key(&service.spec.name) {
            put(&mut digest, &(&service.spec, service.id, service.spec_version, service.removing));
        }
    }
    for network in cluster.networks.values() {
        let name = &network.spec.name;
        if ours(&network.spec.stack) || stack.networks.contains_key(name) || stack.external_networks.contains(name) {
            put(&mut digest, &(network.id, &network.spec));
        }
    }
    for volume in cluster.volumes.values() {
        let name = &volume.name;
        if ours(&volume.stack) || stack.volumes.contains_key(name) || stack.external_volumes.contains(name) {
            put(&mut digest, volume);
        }
    }
    for (name, id) in &cluster.config_names {
        let owned = cluster.configs.get(id).is_some_and(|content| ours(&content.stack));
        if owned || stack.configs.contains_key(name) || stack.external_configs.contains(name) {
            put(&mut digest, &("config", name, id));
        }
    }
    for (name, id) in &cluster.secret_names {
        let owned = cluster.secrets.get(id).is_some_and(|content| ours(&content.stack));
        if owned || stack.secrets.contains_key(name) || stack.external_secrets.contains(name) {
            put(&mut digest, &("secret", name, id));
        }
    }
    put(&mut digest, &cluster.stacks_removing.contains_key(&stack.name));
    hex::encode(digest.finalize())
}

/// Each value with its length, so that no two lists of values look alike.
fn put(digest: &mut Sha256, value: &impl Serialize) {
    // Our own nouns are always writable; one that was not would count as empty.
    let text = serde_json::to_vec(value).unwrap_or_default();
    digest.update(text.len().to_le_bytes());
    digest.update(text);
}
