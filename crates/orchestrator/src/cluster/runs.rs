//! A sorted map by task, kept in runs: entries of one lie side by side, which is what makes going through all of them
//! fast, and copies share what has not changed.

use model::TaskId;
use std::sync::Arc;

/// The most entries of a run: as many as are moved for one that comes between them.
const MOST: usize = 128;

/// No run is empty, and what is in one comes before what is in the next.
#[derive(Debug, Clone)]
pub(super) struct Runs<V> {
    runs: Vec<Arc<Vec<(TaskId, V)>>>,
}

impl<V> Default for Runs<V> {
    fn default() -> Runs<V> {
        Runs { runs: Vec::new() }
    }
}

/// How the entries are spread over runs does not matter.
impl<V: PartialEq> PartialEq for Runs<V> {
    fn eq(&self, other: &Runs<V>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<V> Runs<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// In the order of ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, &V)> {
        self.runs.iter().flat_map(|run| run.iter()).map(|(id, value)| (*id, value))
    }

    /// The run where it is or would be, and its place there.
    fn find(&self, id: TaskId) -> (usize, Result<usize, usize>) {
        let after = self.runs.partition_point(|run| run.first().is_some_and(|(first, _)| *first <= id));
        let run = after.saturating_sub(1);
        let place = self.runs.get(run).map_or(Err(0), |run| run.binary_search_by_key(&id, |(id, _)| *id));
        (run, place)
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&V> {
        let (run, place) = self.find(id);
        let (_, value) = self.runs.get(run)?.get(place.ok()?)?;
        Some(value)
    }
}

impl<V: Clone> Runs<V> {
    pub(super) fn insert(&mut self, id: TaskId, value: V) {
        let (number, place) = self.find(id);
        let Some(run) = self.runs.get_mut(number).map(Arc::make_mut) else {
            return self.runs.push(Arc::new(vec![(id, value)]));
        };
        match place {
            Ok(place) => run.get_mut(place).into_iter().for_each(|entry| entry.1 = value.clone()),
            Err(place) => run.insert(place, (id, value)),
        }
        if run.len() > MOST {
            let rest = run.split_off(MOST / 2);
            self.runs.insert(number + 1, Arc::new(rest));
        }
    }

    pub(super) fn remove(&mut self, id: TaskId) {
        let (number, place) = self.find(id);
        let Some((run, place)) = self.runs.get_mut(number).zip(place.ok()) else { return };
        Arc::make_mut(run).remove(place);
        if run.is_empty() {
            self.runs.remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn runs_are_a_sorted_map(steps in prop::collection::vec((0..400_u128, prop::bool::weighted(0.7), any::<u8>()), 0..900)) {
            let (mut runs, mut map) = (Runs::default(), BTreeMap::new());
            for (id, put, value) in steps {
                let id = TaskId(id);
                if put {
                    runs.insert(id, value);
                    map.insert(id, value);
                } else {
                    runs.remove(id);
                    map.remove(&id);
                }
                prop_assert_eq!(runs.get(id), map.get(&id));
            }
            prop_assert!(runs.iter().eq(map.iter().map(|(id, value)| (*id, value))));
            prop_assert!(runs.runs.iter().all(|run| !run.is_empty() && run.len() <= MOST));
            prop_assert_eq!(runs.is_empty(), map.is_empty());
        }

        #[test]
        fn a_copy_keeps_what_it_had(first in 0..300_u128, then in 0..300_u128) {
            let mut runs = Runs::default();
            (0..200).for_each(|id| runs.insert(TaskId(id), 1));
            let copy = runs.clone();
            runs.insert(TaskId(first), 2);
            runs.remove(TaskId(then));
            prop_assert!(copy.iter().map(|(id, value)| (id.0, *value)).eq((0..200).map(|id| (id, 1))));
        }
    }
}
