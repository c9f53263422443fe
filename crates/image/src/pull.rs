//! From a registry into the store: manifest, config, then all layers at the same time, each verified
//! and unpacked while it comes in.

mod layer;

use crate::error::{Error, Result};
use crate::platform;
use crate::pulls::{Progress, Pulled};
use crate::registry::Asked;
use crate::schema::{Config, Document, Manifest};
use crate::store::Store;
use crate::store::layers::Hold;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use layer::Layer;
use model::image::Digest;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A manifest as it came, and what it is called.
struct Found {
    manifest: Manifest,
    /// What to pin: of the index if there is one.
    digest: Digest,
    /// Index (if there is one) and manifest.
    documents: Vec<(Digest, Vec<u8>)>,
}

/// Fetches an image. Nothing removes it as long as the hold lives.
///
/// # Errors
/// It is not to be had. Layers that were complete by then stay for the next attempt.
pub(crate) async fn pull(
    store: &Store,
    asked: Asked<'_>,
    progress: &watch::Sender<Vec<Progress>>,
    cancel: &CancellationToken,
) -> Result<(Pulled, Hold)> {
    let reference = asked.reference;
    let (found, asked) = tokio::select! {
        found = find(store, asked) => found?,
        () = cancel.cancelled() => return Err(Error::Cancelled),
    };
    let id = found.manifest.config.digest.clone();
    let is_new = store.inner.state().image(&id).is_err();
    // From here on nothing of it is cleared away.
    let mut hold = Hold::new(&store.inner, vec![id.clone()]);
    let raw_config = match is_new {
        true => config(store, asked, &found.manifest, cancel).await?,
        false => {
            let path = store.inner.blob(&id);
            tokio::fs::read(&path).await.map_err(Error::on("read", &path))?
        }
    };
    let config = Config::parse(&raw_config, &reference.to_string())?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != found.manifest.layers.len() {
        let why = format!("has {} layers and a config for {}", found.manifest.layers.len(), diff_ids.len());
        return Err(Error::corrupt(reference.to_string(), why));
    }
    diff_ids.iter().for_each(|diff_id| hold.add(diff_id.clone()));
    layers(store, asked, &found.manifest, diff_ids, progress, cancel).await?;
    let Found { digest, documents, .. } = found;
    let pulled = Pulled { id: id.clone(), digest: digest.clone(), is_new };
    let (store, reference) = (store.clone(), reference.clone());
    let adding = tokio::task::spawn_blocking(move || {
        store.inner.add(&id, &raw_config, &documents, |table| {
            for (document, _) in &documents {
                table.know(document, reference.repository(), &id);
            }
            if reference.digest().is_none() {
                table.name(reference.tagged(), id.clone(), Some(digest));
            }
        })?;
        Ok::<Hold, Error>(hold)
    });
    let hold = adding.await.map_err(|_| Error::corrupt("pull", "a thread panicked"))??;
    Ok((pulled, hold))
}

/// Finds it, and who is to be asked for the rest. A login that came along and is refused, because it has expired
/// perhaps, is as good as none: the registry may know this machine, or let everybody in.
async fn find<'a>(store: &Store, asked: Asked<'a>) -> Result<(Found, Asked<'a>)> {
    let refused = match manifests(store, asked).await {
        Err(error @ (Error::Denied { .. } | Error::NotOnRegistry { .. })) if asked.login.is_some() => error,
        result => return Ok((result?, asked)),
    };
    let plainly = Asked::plainly(asked.reference);
    manifests(store, plainly).await.map(|found| (found, plainly)).map_err(|_| refused)
}

async fn manifests(store: &Store, asked: Asked<'_>) -> Result<Found> {
    let (registry, limits, reference) = (&store.inner.registry, &store.inner.limits, asked.reference);
    let (bytes, digest) = registry.manifest(asked, reference.digest(), limits.document).await?;
    let what = reference.to_string();
    let mut documents = vec![(digest.clone(), bytes.clone())];
    let manifest = match Document::parse(&bytes, &what)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(index) => {
            let chosen = platform::choose(&index.manifests, &what)?;
            let (bytes, digest) = registry.manifest(asked, Some(&chosen.digest), limits.document).await?;
            documents.push((digest, bytes.clone()));
            match Document::parse(&bytes, &what)? {
                Document::Manifest(manifest) => manifest,
                Document::Index(_) => return Err(Error::corrupt(what, "an index within an index")),
            }
        }
    };
    manifest.check(&what, limits)?;
    Ok(Found { manifest, digest, documents })
}

async fn config(store: &Store, asked: Asked<'_>, manifest: &Manifest, cancel: &CancellationToken) -> Result<Vec<u8>> {
    let (descriptor, limit) = (&manifest.config, store.inner.limits.document);
    tokio::select! {
        bytes = store.inner.registry.document(asked, &descriptor.digest, descriptor.size, limit) => bytes,
        () = cancel.cancelled() => Err(Error::Cancelled),
    }
}

async fn layers(
    store: &Store,
    asked: Asked<'_>,
    manifest: &Manifest,
    diff_ids: &[Digest],
    progress: &watch::Sender<Vec<Progress>>,
    cancel: &CancellationToken,
) -> Result<()> {
    let first = |layer: &crate::schema::Descriptor| Progress {
        id: layer.digest.short().to_owned(),
        status: "waiting",
        current: 0,
        total: layer.size,
    };
    progress.send_replace(manifest.layers.iter().map(first).collect());
    // The first failure ends the others; all have ended, and cleared up, before it is told.
    let stop = cancel.child_token();
    let mut all: FuturesUnordered<_> = manifest
        .layers
        .iter()
        .zip(diff_ids)
        .enumerate()
        .map(|(index, (descriptor, diff_id))| {
            let layer = Layer { store, asked, descriptor, diff_id, progress, index, cancel: &stop };
            async move { layer.fetch().await }
        })
        .collect();
    let mut result = Ok(());
    while let Some(ended) = all.next().await {
        if let Err(error) = ended {
            stop.cancel();
            if result.is_ok() {
                result = Err(error);
            }
        }
    }
    result
}
