//! Leases: from the moment that an image is pinned until the commit of what uses it no `prune` and
//! no `rm` takes it away.
//!
//! A removal looks at the cluster's state first and removes afterwards. A lease that ends between
//! the two (its commit is not in the state that was looked at) therefore outlives the removal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ends of leases, put off while something is removed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leases(Arc<Mutex<PutOff>>);

#[derive(Debug, Default)]
struct PutOff {
    removals: usize,
    leases: Vec<image::Lease>,
}

/// Keeps an image.
#[derive(Debug)]
#[must_use = "without it the image may be removed before it is used"]
pub(crate) struct Lease {
    lease: Option<image::Lease>,
    leases: Leases,
}

/// A removal from before it looks at what is used until it is done.
#[derive(Debug)]
pub(super) struct Removal(Leases);

impl Leases {
    pub(super) fn add(&self, lease: image::Lease) -> Lease {
        Lease { lease: Some(lease), leases: self.clone() }
    }

    pub(super) fn removal(&self) -> Removal {
        self.put_off().removals += 1;
        Removal(self.clone())
    }

    fn put_off(&self) -> MutexGuard<'_, PutOff> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut put_off = self.leases.put_off();
        if put_off.removals > 0 {
            put_off.leases.extend(self.lease.take());
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let mut put_off = self.0.put_off();
        put_off.removals -= 1;
        if put_off.removals == 0 {
            put_off.leases.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    #![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

    use crate::images::{ensure, prune};
    use crate::testing;
    use model::{PullPolicy, Response};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lease_outlives_the_removals_that_began_before_its_end() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let answer = |_: &model::Request, state: &mut model::State| Response::State(Box::new(state.clone()));
        let (daemon, _put) = testing::daemon(folder.path(), answer).await;
        let store = daemon.images.store().clone();
        let empty_archive = [0; 1024];
        tokio::task::spawn_blocking(move || store.import(&mut &empty_archive[..], "app:1", &[], None).unwrap())
            .await
            .unwrap();
        let pinned = ensure(&daemon, "app:1", PullPolicy::Never, false, model::Logins::NONE).await.unwrap();
        assert!(prune(&daemon, true).await.unwrap().removed.is_empty());
        let removal = daemon.images.leases.removal();
        drop(pinned.lease);
        assert!(prune(&daemon, true).await.unwrap().removed.is_empty());
        drop(removal);
        let removed = prune(&daemon, true).await.unwrap().removed;
        assert_eq!(removed, ["untagged: app:1".to_owned(), format!("deleted: {}", pinned.digest)]);
    }
}
