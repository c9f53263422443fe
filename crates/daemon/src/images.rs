//! Images, for the rest of the daemon: the store, with errors, progress and events as clients see
//! them, and what containers use.

mod convert;
mod lease;
pub(crate) mod share;
mod uses;

pub(crate) use convert::failed;
pub(crate) use lease::Lease;

use crate::failure;
use crate::shared::Daemon;
use crate::streams::Sender;
use api::{ApiError, HistoryRow, ImageRow, PruneReport, PullProgress, StreamItem};
use image::{Options, Progress, Pull, Pulled, Store};
use model::image::Reference;
use model::{Logins, PullPolicy};
use runtime::engine::ImageInfo;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Shortest time between two reports of a pull: layers move thousands of times a second.
const REPORT_PAUSE: Duration = Duration::from_millis(50);

/// The images of this host.
#[derive(Debug)]
pub(crate) struct Images {
    store: Store,
    leases: lease::Leases,
    /// One image at a time is taken from other nodes.
    sharing: tokio::sync::Mutex<()>,
}

/// What an image is pinned to.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// Digest.
    pub(crate) digest: String,
    /// To be kept until whatever uses the image is committed.
    pub(crate) lease: Lease,
}

impl Images {
    /// Opens the store below the data root.
    ///
    /// # Errors
    /// The disk; a damaged table.
    pub(crate) async fn open(data_root: &Path, insecure_registries: &[String]) -> anyhow::Result<Images> {
        let options = Options::new(data_root.join("images"), insecure_registries.to_vec());
        let store = tokio::task::spawn_blocking(move || Store::open(options)).await??;
        Ok(Images { store, leases: lease::Leases::default(), sharing: tokio::sync::Mutex::default() })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

/// Does something with the store that blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    daemon: &Daemon,
    work: impl FnOnce(&Store) -> image::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let store = daemon.images.store.clone();
    let done = tokio::task::spawn_blocking(move || work(&store)).await.map_err(failure::joined)?;
    done.map_err(|error| failed(&error))
}

/// What to pin an image to; fetches it if the policy says so: from its registry, or, when that does not give it, from
/// another manager that has something of this name. Where it is here and came from a registry, that is asked what the
/// name means now, if it is to be `fresh`; what is not told stays what is here.
///
/// # Errors
/// It is not to be had: what the registry says.
pub(crate) async fn ensure(
    daemon: &Arc<Daemon>,
    reference: &str,
    policy: PullPolicy,
    fresh: bool,
    logins: &Logins,
) -> Result<Pinned, ApiError> {
    if policy != PullPolicy::Always {
        match pin(daemon, reference).await {
            Err(image::Error::NotFound(_)) if policy == PullPolicy::Missing => {}
            Ok(_) if fresh && policy == PullPolicy::Missing && daemon.images.store.is_of_a_registry(reference) => {
                if let Err(error) = refresh(daemon, reference, logins).await {
                    tracing::warn!(image = reference, "what this name means now is not known: {}", error.message);
                }
                return pin(daemon, reference).await.map_err(|error| failed(&error));
            }
            pinned => return pinned.map_err(|error| failed(&error)),
        }
    }
    let pull = daemon.images.store.pull(reference, logins).map_err(|error| failed(&error))?;
    let name = match finish(daemon, reference, &pull, None).await {
        // The pull, which is still there, keeps the image until it is leased.
        Ok(()) => reference.to_owned(),
        // A registry that wants a login has it; all else may be an image that is at none.
        Err(error) if policy == PullPolicy::Missing && !matches!(*error, image::Error::Denied { .. }) => {
            let name = share::named(daemon, reference).await.ok_or_else(|| failed(&error))?;
            tracing::warn!(image = reference, id = %name, "from another manager: {error}");
            name
        }
        Err(error) => return Err(failed(&error)),
    };
    pin(daemon, &name).await.map_err(|error| failed(&error))
}

/// Asks the registry what a name means now, and fetches that.
async fn refresh(daemon: &Daemon, reference: &str, logins: &Logins) -> Result<(), ApiError> {
    /// How long it may take to say so, as there is something of this name.
    const PATIENCE: Duration = Duration::from_secs(10);
    let pull = daemon.images.store.pull(reference, logins).map_err(|error| failed(&error))?;
    let mut progress = pull.progress();
    tokio::select! {
        // Its layers are known, or it has ended.
        _ = progress.wait_for(|layers| !layers.is_empty()) => {}
        () = tokio::time::sleep(PATIENCE) => return Err(failure::failed("its registry is silent")),
    }
    finish(daemon, reference, &pull, None).await.map_err(|error| failed(&error))
}

async fn pin(daemon: &Daemon, reference: &str) -> image::Result<Pinned> {
    let (store, reference) = (daemon.images.store.clone(), reference.to_owned());
    let pinning = tokio::task::spawn_blocking(move || store.pin(&reference));
    let (digest, lease) = pinning.await.map_err(|_| image::Error::Cancelled)??;
    Ok(Pinned { digest: digest.to_string(), lease: daemon.images.leases.add(lease) })
}

/// The digest of an image that is here; `None` when it is not.
///
/// # Errors
/// The store fails.
pub(crate) async fn known(daemon: &Daemon, reference: &str) -> Result<Option<String>, ApiError> {
    match pin(daemon, reference).await {
        Ok(pinned) => Ok(Some(pinned.digest)),
        Err(image::Error::NotFound(_)) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// Fetches an image and tells of its progress.
///
/// # Errors
/// It is not to be had.
pub(crate) async fn pull(
    daemon: &Daemon,
    reference: &str,
    logins: &Logins,
    sender: Option<&Sender>,
) -> Result<(), ApiError> {
    let pull = daemon.images.store.pull(reference, logins).map_err(|error| failed(&error))?;
    finish(daemon, reference, &pull, sender).await.map_err(|error| failed(&error))
}

async fn finish(
    daemon: &Daemon,
    reference: &str,
    pull: &Pull,
    sender: Option<&Sender>,
) -> Result<(), Arc<image::Error>> {
    let result = match sender {
        None => pull.wait().await,
        Some(sender) => {
            let told = tell(pull, sender);
            tokio::select! {
                biased;
                result = async {
                    let result = pull.wait().await;
                    // The last report, whatever the pause says.
                    let last = pull.progress().borrow().clone();
                    report(&last, &mut Vec::new(), sender).await;
                    result
                } => result,
                () = told => Err(Arc::new(image::Error::Cancelled)),
            }
        }
    };
    let Pulled { id, digest, is_new } = result?;
    let name = reference.parse::<Reference>().map_or_else(|_| reference.to_owned(), |it| shown(&it));
    daemon.events.emit("image", "pull", name.as_str(), &[("name", &name)]);
    if let Some(sender) = sender {
        let status = match is_new {
            true => format!("Status: Downloaded newer image for {name}"),
            false => format!("Status: Image is up to date for {name}"),
        };
        for line in [format!("Digest: {digest}"), status] {
            let _left = sender.send(StreamItem::Message(line)).await;
        }
    }
    tracing::info!(image = %name, id = id.short(), %digest, is_new, "pulled");
    Ok(())
}

fn shown(reference: &Reference) -> String {
    match reference.digest() {
        Some(_) => reference.to_string(),
        None => reference.familiar(),
    }
}

/// Reports until the client has left.
async fn tell(pull: &Pull, sender: &Sender) {
    let mut progress = pull.progress();
    let mut last = Vec::new();
    loop {
        let now = progress.borrow_and_update().clone();
        report(&now, &mut last, sender).await;
        tokio::select! {
            () = sender.closed() => return,
            changed = async {
                tokio::time::sleep(REPORT_PAUSE).await;
                progress.changed().await
            } => if changed.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// Reports the layers that have moved since the last report.
async fn report(now: &[Progress], last: &mut Vec<Progress>, sender: &Sender) {
    for (index, layer) in now.iter().enumerate() {
        if last.get(index) != Some(layer) {
            let item = PullProgress {
                id: layer.id.clone(),
                status: layer.status.to_owned(),
                current: layer.current,
                total: layer.total,
            };
            let _left = sender.send(StreamItem::Pull(item)).await;
        }
    }
    last.clear();
    last.extend_from_slice(now);
}

/// The local image that a container is pinned to.
///
/// # Errors
/// [`api::ErrorKind::NotFound`]: it is not here.
pub(crate) async fn pinned(daemon: &Daemon, container: &model::ContainerSpec) -> Result<ImageInfo, ApiError> {
    let image = daemon.images.store.pinned(&container.image, container.image_digest.as_deref());
    image.map(|image| convert::info(&image)).map_err(|error| failed(&error))
}

/// Fetches the image that a container is pinned to: from a node of the cluster that has it under that very id, else
/// by that digest from its repository.
///
/// # Errors
/// It is not to be had.
pub(crate) async fn pull_pinned(
    daemon: &Arc<Daemon>,
    container: &model::ContainerSpec,
    logins: &Logins,
) -> Result<(), ApiError> {
    let Some(digest) = &container.image_digest else {
        return pull(daemon, &container.image, logins, None).await;
    };
    match share::fetch(daemon, container).await {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(error) => tracing::warn!(image = %container.image, "take an image from another node: {error}"),
    }
    let digest = digest.parse().map_err(|error| failed(&image::Error::Reference(error)))?;
    let reference: Reference = container.image.parse().map_err(|error| failed(&image::Error::Reference(error)))?;
    let reference = reference.at(digest).to_string();
    let pull = daemon.images.store.pull(&reference, logins).map_err(|error| failed(&error))?;
    let pulled = finish(daemon, &reference, &pull, None).await;
    pulled.map_err(|error| match &*error {
        image::Error::Denied { host, .. } => convert::denied(&error, host, logins.get(host).is_some()),
        error if daemon.membership.is_some() => share::nowhere(&failed(error)),
        error => failed(error),
    })
}

/// `image inspect`, Docker's shape.
pub(crate) async fn inspect(daemon: &Daemon, name: &str) -> Result<serde_json::Value, ApiError> {
    let name = name.to_owned();
    blocking(daemon, move |store| store.inspect(&name)).await
}

/// `image history`.
pub(crate) async fn history(daemon: &Daemon, name: &str) -> Result<Vec<HistoryRow>, ApiError> {
    let (id, steps) = daemon.images.store.history(name).map_err(|error| failed(&error))?;
    let rows = steps.into_iter().enumerate().map(|(index, step)| HistoryRow {
        id: if index == 0 { id.to_string() } else { "<missing>".to_owned() },
        created: step.created,
        created_by: step.created_by,
        size: step.size,
        comment: step.comment,
    });
    Ok(rows.collect())
}

/// `image ls`. `-a` adds nothing: only a builder leaves intermediate images.
pub(crate) async fn list(daemon: &Daemon) -> Result<Vec<ImageRow>, ApiError> {
    const NONE: &str = "<none>";
    let rows = daemon.images.store.list().into_iter().map(|row| ImageRow {
        id: row.id.to_string(),
        repository: row.repository.unwrap_or_else(|| NONE.to_owned()),
        tag: row.tag.unwrap_or_else(|| NONE.to_owned()),
        digest: row.digest.map(|digest| digest.to_string()),
        created: row.created,
        size: row.size,
    });
    Ok(rows.collect())
}

/// `image tag`.
pub(crate) async fn tag(daemon: &Daemon, source: &str, target: &str) -> Result<(), ApiError> {
    let (from, to) = (source.to_owned(), target.to_owned());
    blocking(daemon, move |store| store.tag(&from, &to)).await?;
    daemon.events.emit("image", "tag", source, &[("name", target)]);
    Ok(())
}

/// `image rm`: what became of it, a line each.
pub(crate) async fn remove(daemon: &Daemon, name: &str, force: bool) -> Result<Vec<String>, ApiError> {
    let _removal = daemon.images.leases.removal();
    let uses = uses::all(daemon).await?;
    let name = name.to_owned();
    let removed = blocking(daemon, move |store| store.remove(&name, force, &uses)).await?;
    tell_removed(daemon, &removed);
    Ok(removed.lines())
}

/// `image prune`.
pub(crate) async fn prune(daemon: &Daemon, all: bool) -> Result<PruneReport, ApiError> {
    let _removal = daemon.images.leases.removal();
    let uses = uses::all(daemon).await?;
    let removed = blocking(daemon, move |store| store.prune(all, &uses)).await?;
    tell_removed(daemon, &removed);
    let lines = removed.untagged.iter().map(|name| format!("untagged: {name}"));
    let lines = lines.chain(removed.deleted.iter().map(|id| format!("deleted: {id}")));
    Ok(PruneReport { removed: lines.collect(), reclaimed: removed.reclaimed })
}

fn tell_removed(daemon: &Daemon, removed: &image::Removed) {
    for name in &removed.untagged {
        daemon.events.emit("image", "untag", name.as_str(), &[("name", name)]);
    }
    for id in &removed.deleted {
        daemon.events.emit("image", "delete", id.as_str(), &[]);
    }
}
