//! Which tasks belong to something: kept beside the tasks, never written down.

use model::TaskId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tasks by what they belong to. No entry is empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Index<K> {
    sets: BTreeMap<K, Arc<BTreeSet<TaskId>>>,
}

impl<K> Default for Index<K> {
    fn default() -> Index<K> {
        Index { sets: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Index<K> {
    pub(super) fn add(&mut self, key: K, task: TaskId) {
        let set = self.sets.entry(key).or_default();
        if !set.contains(&task) {
            Arc::make_mut(set).insert(task);
        }
    }

    pub(super) fn remove(&mut self, key: K, task: TaskId) {
        let Some(set) = self.sets.get_mut(&key).filter(|set| set.contains(&task)) else { return };
        Arc::make_mut(set).remove(&task);
        if set.is_empty() {
            self.sets.remove(&key);
        }
    }

    pub(crate) fn has(&self, key: K) -> bool {
        self.sets.contains_key(&key)
    }

    /// In the order of ids.
    pub(crate) fn of(&self, key: K) -> impl Iterator<Item = TaskId> + use<'_, K> {
        self.sets.get(&key).into_iter().flat_map(|set| set.iter().copied())
    }
}
