//! All tasks by id, in pages that are shared between copies: a copy costs next to nothing, a change copies
//! one page, and two copies are compared only where they differ.

use model::{Task, TaskId};
use std::sync::Arc;

/// Ids are random, so their first bits spread them evenly; and pages in order hold ids in order. With 1,024
/// pages the copy of all and the copy of one are alike in cost at a million tasks.
const BITS: u32 = 10;

/// Some hundred tasks in the order of their ids. The ids lie side by side: a plan looks tasks up by the hundred
/// thousand, and most of what that costs is memory that is far away.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page<T> {
    ids: Vec<TaskId>,
    tasks: Vec<T>,
}

impl<T> Default for Page<T> {
    fn default() -> Page<T> {
        Page { ids: Vec::new(), tasks: Vec::new() }
    }
}

impl<T> Page<T> {
    fn place_of(&self, id: TaskId) -> Result<usize, usize> {
        self.ids.binary_search(&id)
    }

    fn get(&self, id: TaskId) -> Option<&T> {
        self.tasks.get(self.place_of(id).ok()?)
    }

    fn insert(&mut self, id: TaskId, task: T) -> Option<T> {
        match self.place_of(id) {
            Ok(place) => self.tasks.get_mut(place).map(|held| std::mem::replace(held, task)),
            Err(place) => {
                self.ids.insert(place, id);
                self.tasks.insert(place, task);
                None
            }
        }
    }

    fn remove(&mut self, id: TaskId) -> Option<T> {
        let place = self.place_of(id).ok()?;
        self.ids.remove(place);
        Some(self.tasks.remove(place))
    }

    /// In the order of ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TaskId, &T)> {
        self.ids.iter().zip(&self.tasks)
    }
}

/// A sorted map of tasks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tasks<T = Arc<Task>> {
    pages: Vec<Arc<Page<T>>>,
}

impl<T> Default for Tasks<T> {
    fn default() -> Tasks<T> {
        Tasks { pages: vec![Arc::default(); 1 << BITS] }
    }
}

fn place(id: TaskId) -> usize {
    usize::try_from(id.0 >> (u128::BITS - BITS)).unwrap_or(0)
}

impl<T: Clone> Tasks<T> {
    pub(crate) fn get(&self, id: &TaskId) -> Option<&T> {
        self.pages.get(place(*id)).and_then(|page| page.get(*id))
    }

    pub(crate) fn contains_key(&self, id: &TaskId) -> bool {
        self.get(id).is_some()
    }

    /// In the order of ids.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| &page.tasks)
    }

    /// Only [`super::Cluster`] does this, which keeps indexes beside.
    pub(super) fn insert(&mut self, id: TaskId, task: T) -> Option<T> {
        self.pages.get_mut(place(id)).and_then(|page| Arc::make_mut(page).insert(id, task))
    }

    /// The same.
    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut T> {
        let page = self.pages.get_mut(place(id))?;
        let at = page.place_of(id).ok()?;
        Arc::make_mut(page).tasks.get_mut(at)
    }

    /// The same.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<T> {
        let page = self.pages.get_mut(place(id)).filter(|page| page.get(id).is_some())?;
        Arc::make_mut(page).remove(id)
    }

    /// Pages of two maps that are not one and the same.
    pub(crate) fn differing<'t>(&'t self, new: &'t Tasks<T>) -> impl Iterator<Item = (&'t Page<T>, &'t Page<T>)> {
        let pages = self.pages.iter().zip(&new.pages);
        pages.filter(|(old, new)| !Arc::ptr_eq(old, new)).map(|(old, new)| (&**old, &**new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Ids of few pages, so that they meet.
    fn id() -> impl Strategy<Value = TaskId> {
        (0..4_u128, 0..6_u128).prop_map(|(page, low)| TaskId(page << (u128::BITS - BITS) | low))
    }

    proptest! {
        #[test]
        fn pages_are_a_sorted_map(steps in prop::collection::vec((id(), 0..3_u8, any::<u32>()), 0..60)) {
            let (mut pages, mut map) = (Tasks::default(), BTreeMap::new());
            let first = pages.clone();
            for (id, step, value) in steps {
                match step {
                    0 => prop_assert_eq!(pages.insert(id, value), map.insert(id, value)),
                    1 => prop_assert_eq!(pages.remove(id), map.remove(&id)),
                    _ => {
                        let held = pages.get_mut(id);
                        prop_assert_eq!(held.as_deref().copied(), map.get(&id).copied());
                        held.into_iter().for_each(|held| *held = value);
                        map.entry(id).and_modify(|held| *held = value);
                    }
                }
                prop_assert_eq!(pages.get(&id), map.get(&id));
            }
            prop_assert!(pages.values().eq(map.values()));
            let news = first.differing(&pages).flat_map(|(_, new)| new.iter());
            prop_assert!(news.eq(map.iter()));
        }
    }
}
