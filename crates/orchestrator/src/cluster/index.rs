//! Which tasks belong to something: kept beside the tasks, never written down.

use super::runs::Runs;
use model::TaskId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tasks by what they belong to, with what is kept of each. No entry is empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Index<K, V = ()> {
    sets: BTreeMap<K, Arc<Runs<V>>>,
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Index<K, V> {
        Index { sets: BTreeMap::new() }
    }
}

impl<K: Ord + Copy, V: PartialEq + Clone> Index<K, V> {
    pub(super) fn put(&mut self, key: K, task: TaskId, value: V) {
        let set = self.sets.entry(key).or_default();
        if set.get(task) != Some(&value) {
            Arc::make_mut(set).insert(task, value);
        }
    }

    pub(super) fn remove(&mut self, key: K, task: TaskId) {
        let Some(set) = self.sets.get_mut(&key).filter(|set| set.get(task).is_some()) else { return };
        Arc::make_mut(set).remove(task);
        if set.is_empty() {
            self.sets.remove(&key);
        }
    }

    pub(crate) fn has(&self, key: K) -> bool {
        self.sets.contains_key(&key)
    }

    /// What there is anything of.
    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.sets.keys().copied()
    }

    /// In the order of ids.
    pub(crate) fn of(&self, key: K) -> impl Iterator<Item = (TaskId, &V)> + use<'_, K, V> {
        self.sets.get(&key).into_iter().flat_map(|set| set.iter())
    }
}
