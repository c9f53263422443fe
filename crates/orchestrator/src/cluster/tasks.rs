//! All tasks by id, in pages that are shared between copies: a copy costs next to nothing, a change copies
//! one page, and two copies are compared only where they differ.

use model::{Task, TaskId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ids are random, so their first bits spread them evenly; and pages in order hold ids in order. With 1,024
/// pages the copy of all and the copy of one are alike in cost at a million tasks.
const BITS: u32 = 10;

type Page = BTreeMap<TaskId, Arc<Task>>;

/// A sorted map of tasks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tasks {
    pages: Vec<Arc<Page>>,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks { pages: vec![Arc::default(); 1 << BITS] }
    }
}

fn place(id: TaskId) -> usize {
    usize::try_from(id.0 >> (u128::BITS - BITS)).unwrap_or(0)
}

impl Tasks {
    pub(crate) fn get(&self, id: &TaskId) -> Option<&Arc<Task>> {
        self.pages.get(place(*id)).and_then(|page| page.get(id))
    }

    pub(crate) fn contains_key(&self, id: &TaskId) -> bool {
        self.get(id).is_some()
    }

    /// In the order of ids.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.pages.iter().flat_map(|page| page.values())
    }

    /// Only [`super::Cluster`] does this, which keeps indexes beside.
    pub(super) fn insert(&mut self, task: Arc<Task>) -> Option<Arc<Task>> {
        self.pages.get_mut(place(task.id)).and_then(|page| Arc::make_mut(page).insert(task.id, task))
    }

    /// The same.
    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Arc<Task>> {
        let page = self.pages.get_mut(place(id)).filter(|page| page.contains_key(&id))?;
        Arc::make_mut(page).get_mut(&id)
    }

    /// The same.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Arc<Task>> {
        let page = self.pages.get_mut(place(id)).filter(|page| page.contains_key(&id))?;
        Arc::make_mut(page).remove(&id)
    }

    /// Pages of two maps that are not one and the same.
    pub(crate) fn differing<'t>(&'t self, new: &'t Tasks) -> impl Iterator<Item = (&'t Page, &'t Page)> {
        let pages = self.pages.iter().zip(&new.pages);
        pages.filter(|(old, new)| !Arc::ptr_eq(old, new)).map(|(old, new)| (&**old, &**new))
    }
}
