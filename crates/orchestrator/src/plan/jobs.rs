//! Services that run to completion. Each change of the spec begins them anew.

use super::services::{beyond, eligible, leave};
use super::slots::{self, Begin};
use crate::cluster::TaskExt;
use crate::draft::Draft;
use model::{Availability, Desired, NodeId, Service};
use std::collections::BTreeSet;

pub(super) fn replicated(
    draft: &mut Draft<'_>,
    service: &Service,
    unfit: &BTreeSet<NodeId>,
    total: u32,
    concurrent: u32,
) {
    end_earlier(draft, service);
    leave(draft, service, unfit);
    let live = slots::live(draft.cluster(), service.id);
    let active = live.values().filter(|tasks| tasks.iter().any(|task| !task.has_ended())).count();
    let most = if concurrent == 0 { total } else { concurrent } as usize;
    let missing = (1..=total).filter(|slot| !live.contains_key(&(*slot, None)));
    for slot in missing.take(most.saturating_sub(active)).collect::<Vec<_>>() {
        slots::create(draft, service, Begin { slot, ..Begin::default() });
    }
    beyond(draft, service, total);
}

pub(super) fn global(draft: &mut Draft<'_>, service: &Service) {
    end_earlier(draft, service);
    let live = slots::live(draft.cluster(), service.id);
    for node in eligible(draft, service) {
        let takes = node.ready && node.availability == Availability::Active;
        if takes && !live.contains_key(&(0, Some(node.id))) {
            slots::create(draft, service, Begin { node: Some(node.id), ..Begin::default() });
        }
    }
}

/// Tasks of an earlier spec have lost their purpose.
fn end_earlier(draft: &mut Draft<'_>, service: &Service) {
    for task in slots::live(draft.cluster(), service.id).into_values().flatten() {
        if super::dirty::is_dirty(service, &task) {
            slots::lower(draft, task.id, Desired::Shutdown);
        }
    }
}
