//! `image rm` and `image prune`, with Docker's rules.

use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::table::{By, Table};
use model::image::{Digest, Reference};
use std::collections::BTreeMap;

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Its name.
    pub container: String,
    /// It runs; then no force removes its image.
    pub running: bool,
}

/// What containers use, by image id.
pub type Uses = BTreeMap<Digest, Vec<Use>>;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names and digests that mean nothing any more, as people write them.
    pub untagged: Vec<String>,
    /// Images that are gone.
    pub deleted: Vec<Digest>,
    /// Bytes freed.
    pub reclaimed: u64,
}

impl Removed {
    /// `Untagged: …` and `Deleted: …`.
    pub fn lines(&self) -> Vec<String> {
        let untagged = self.untagged.iter().map(|name| format!("Untagged: {name}"));
        untagged.chain(self.deleted.iter().map(|id| format!("Deleted: {id}"))).collect()
    }
}

impl Store {
    /// Removes a name, and the image with its last name; or, by id, the image with all its names.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] when a container uses it, or several names have it
    /// and `force` is not given.
    pub fn remove(&self, text: &str, force: bool, uses: &Uses) -> Result<Removed> {
        let mut blobs = Vec::new();
        let mut removed = self.inner.change(|table| {
            let (id, by) = table.find(text)?;
            let is_held = self.inner.is_held(&id);
            let is_last = table.names_of(&id).len() <= 1 || by == By::Id;
            if is_held && is_last && !force {
                return Err(Error::Conflict(format!(
                    "unable to remove {text} (must be forced): it is being fetched, or a container is about to use it"
                )));
            }
            let users = uses.get(&id).map(Vec::as_slice).unwrap_or_default();
            let mut removed = Removed::default();
            match by {
                By::Name(name) => untag(table, &id, &name, force, users, &mut removed)?,
                By::Digest(digest, repository) => {
                    unused(&id, force, users, &format!("{repository}@{digest}"))?;
                    table.forget(&digest, &repository);
                    removed.untagged.push(familiar_digest(&repository, &digest));
                }
                By::Id => {
                    check_id(table, &id, force, users)?;
                    forget_all(table, &id, &mut removed);
                }
            }
            let is_named = !table.names_of(&id).is_empty() || !table.digests_of(&id).is_empty();
            // A container that goes on using it, or is about to (force), keeps it here, without a name.
            if !is_named && users.is_empty() && !is_held {
                blobs = delete(table, &id, &mut removed);
            }
            Ok(removed)
        })?;
        removed.reclaimed = self.inner.collect(&blobs)?;
        Ok(removed)
    }

    /// Removes images without a name, or (`all`) every image that no container uses; also what
    /// broken pulls left. Blocks.
    ///
    /// # Errors
    /// The disk.
    pub fn prune(&self, all: bool, uses: &Uses) -> Result<Removed> {
        let mut blobs = Vec::new();
        let mut removed = self.inner.change(|table| {
            let mut removed = Removed::default();
            let ids: Vec<Digest> = table.images.keys().cloned().collect();
            for id in ids {
                let is_wanted = !all && !table.names_of(&id).is_empty();
                if is_wanted || self.inner.is_held(&id) || uses.get(&id).is_some_and(|users| !users.is_empty()) {
                    continue;
                }
                forget_all(table, &id, &mut removed);
                blobs.extend(delete(table, &id, &mut removed));
            }
            Ok(removed)
        })?;
        removed.reclaimed = self.inner.collect(&blobs)?;
        if self.inner.pulls.are_idle() {
            removed.reclaimed += self.clear_partial()?;
        }
        Ok(removed)
    }

    fn clear_partial(&self) -> Result<u64> {
        let folder = self.inner.root.join("partial");
        let entries = std::fs::read_dir(&folder).map_err(Error::on("read", &folder))?;
        let mut freed = 0;
        for entry in entries {
            let entry = entry.map_err(Error::on("read", &folder))?;
            freed += entry.metadata().map_or(0, |metadata| metadata.len());
            crate::store::layers::remove(&entry.path())?;
        }
        Ok(freed)
    }
}

fn untag(table: &mut Table, id: &Digest, name: &str, force: bool, users: &[Use], removed: &mut Removed) -> Result<()> {
    let shown = familiar(name);
    if table.names_of(id).len() == 1
        && !force
        && let Some(user) = users.first()
    {
        return Err(Error::Conflict(format!(
            "unable to remove {shown} (must force): container {} is using its image {}",
            user.container,
            id.short()
        )));
    }
    table.names.remove(name);
    removed.untagged.push(shown);
    let repository = name.parse::<Reference>().map(|reference| reference.repository()).unwrap_or_default();
    let has_more = table
        .names_of(id)
        .iter()
        .any(|other| other.parse::<Reference>().is_ok_and(|reference| reference.repository() == repository));
    // Digests of a repository go with its last tag.
    if !has_more {
        forget(table, id, Some(&repository), removed);
    }
    Ok(())
}

/// By id: one name at most, and no container.
fn check_id(table: &Table, id: &Digest, force: bool, users: &[Use]) -> Result<()> {
    let names = table.names_of(id).len();
    if names > 1 && !force {
        return Err(Error::Conflict(format!(
            "unable to delete {} (must be forced): {names} names mean this image",
            id.short()
        )));
    }
    unused(id, force, users, id.short())
}

fn unused(id: &Digest, force: bool, users: &[Use], shown: &str) -> Result<()> {
    if let Some(user) = users.iter().find(|user| user.running) {
        return Err(Error::Conflict(format!(
            "unable to delete {shown} (cannot be forced): the running container {} uses image {}",
            user.container,
            id.short()
        )));
    }
    match users.first() {
        Some(user) if !force => Err(Error::Conflict(format!(
            "unable to delete {shown} (must be forced): the stopped container {} uses image {}",
            user.container,
            id.short()
        ))),
        _ => Ok(()),
    }
}

fn forget_all(table: &mut Table, id: &Digest, removed: &mut Removed) {
    for name in table.names_of(id) {
        table.names.remove(&name);
        removed.untagged.push(familiar(&name));
    }
    forget(table, id, None, removed);
}

fn forget(table: &mut Table, id: &Digest, repository: Option<&str>, removed: &mut Removed) {
    for (digest, of) in table.digests_of(id) {
        if repository.is_none_or(|repository| repository == of) {
            table.forget(&digest, &of);
            removed.untagged.push(familiar_digest(&of, &digest));
        }
    }
}

/// Takes an image out of the table; returns the blobs that may go.
fn delete(table: &mut Table, id: &Digest, removed: &mut Removed) -> Vec<Digest> {
    let mut blobs = vec![id.clone()];
    if let Some(record) = table.images.remove(id) {
        blobs.extend(record.documents);
        removed.deleted.push(id.clone());
    }
    blobs
}

pub(crate) fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

pub(crate) fn familiar_digest(repository: &str, digest: &Digest) -> String {
    let familiar = repository.parse::<Reference>().map(|reference| reference.familiar_repository());
    format!("{}@{digest}", familiar.as_deref().unwrap_or(repository))
}
