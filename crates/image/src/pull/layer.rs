//! One layer of a pull: a download that survives broken connections, feeding an unpacker.

use crate::error::{Error, Result};
use crate::layer::{self, Unpacked};
use crate::pulls::Progress;
use crate::registry::Asked;
use crate::schema::Descriptor;
use crate::store::Store;
use bytes::Bytes;
use model::image::Digest;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Chunks of the network that may wait for the unpacker; they have some 64 KiB each at most.
const WAITING: usize = 64;
/// Blobs shorter than this are fetched anew rather than kept in part.
const KEPT_FROM: u64 = 1 << 20;
/// Broken connections in a row, without a byte between them, until it is given up.
const FAILURES: u32 = 6;
/// First wait after a broken connection; doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// A layer to be fetched.
pub(super) struct Layer<'a> {
    pub(super) store: &'a Store,
    pub(super) asked: Asked<'a>,
    pub(super) descriptor: &'a Descriptor,
    pub(super) diff_id: &'a Digest,
    pub(super) progress: &'a watch::Sender<Vec<Progress>>,
    pub(super) index: usize,
    pub(super) cancel: &'a CancellationToken,
}

impl Layer<'_> {
    /// Has the layer in the store.
    pub(super) async fn fetch(&self) -> Result<()> {
        let lock = self.store.inner.pulls.layer(self.diff_id);
        let _lock = tokio::select! {
            guard = lock.lock() => guard,
            () = self.cancel.cancelled() => return Err(Error::Cancelled),
        };
        let partial = self.store.inner.partial(&self.descriptor.digest);
        if self.store.inner.has_layer(self.diff_id) {
            // Whoever died between giving the layer its name and this left what it was made of.
            let _not_there = tokio::fs::remove_file(&partial).await;
            self.tell("exists", self.descriptor.size);
            return Ok(());
        }
        let _slot = tokio::select! {
            slot = self.store.inner.pulls.slots.acquire() => slot,
            () = self.cancel.cancelled() => return Err(Error::Cancelled),
        };
        let resumed = self.begun(&partial).await;
        let mut result = self.attempt(&partial, resumed).await;
        if resumed > 0 && result.as_ref().is_err_and(is_about_content) {
            // What was kept is damaged, perhaps (the machine went down): from the start, once.
            let _not_there = tokio::fs::remove_file(&partial).await;
            result = self.attempt(&partial, 0).await;
        }
        match &result {
            Ok(()) => self.tell("done", self.descriptor.size),
            Err(Error::Network { .. } | Error::Cancelled | Error::Registry { .. }) => return result,
            Err(_) => {}
        }
        let _not_there = tokio::fs::remove_file(&partial).await;
        result
    }

    /// Bytes of an earlier attempt that can be gone on from.
    async fn begun(&self, partial: &Path) -> u64 {
        let length = tokio::fs::metadata(partial).await.map_or(0, |metadata| metadata.len());
        if length <= self.descriptor.size { length } else { 0 }
    }

    async fn attempt(&self, partial: &Path, begin: u64) -> Result<()> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let source = Source::open(receiver, self.descriptor.size, partial, begin)?;
        let (store, wanted) = (self.store.clone(), (self.descriptor.clone(), self.diff_id.clone()));
        let unpacking = tokio::task::spawn_blocking(move || unpack(&store, source, &wanted.0, &wanted.1));
        let downloaded = tokio::select! {
            downloaded = self.download(begin, &sender) => downloaded,
            () = self.cancel.cancelled() => Err(Error::Cancelled),
        };
        if downloaded.is_ok() {
            self.tell("unpacking", self.descriptor.size);
        }
        drop(sender);
        let unpacked = unpacking.await.map_err(|_| Error::corrupt("layer", "the unpacker panicked"))?;
        match (downloaded, unpacked) {
            (Ok(()), result) => result,
            // The unpacker ended because nothing came any more.
            (Err(error), Err(Error::Cancelled)) => Err(error),
            (Err(error), Ok(())) => Err(error),
            (Err(_), Err(error)) => Err(error),
        }
    }

    /// Fetches from `at` to the end. Ends early without an error when the unpacker has: it has its
    /// own.
    async fn download(&self, mut at: u64, sender: &mpsc::Sender<Bytes>) -> Result<()> {
        let size = self.descriptor.size;
        let mut failures = 0;
        let mut begun = at;
        while at < size {
            self.tell("downloading", at);
            let error = match self.stream(&mut at, sender).await {
                Ok(true) => return Ok(()),
                Ok(false) => Error::Network {
                    host: self.asked.reference.host().to_owned(),
                    what: format!("fetch the layer {}", self.descriptor.digest.short()),
                    source: "the connection ended too early".into(),
                },
                Err(error) if matches!(error, Error::Network { .. }) => error,
                Err(error) => return Err(error),
            };
            failures = if at > begun { 1 } else { failures + 1 };
            begun = at;
            if failures >= FAILURES {
                return Err(error);
            }
            tracing::debug!(layer = self.descriptor.digest.short(), at, "the connection broke: {error}; going on");
            self.tell("retrying", at);
            tokio::time::sleep(FIRST_WAIT * 2u32.pow(failures - 1)).await;
        }
        Ok(())
    }

    /// One connection. True: all is done, or nobody wants more.
    async fn stream(&self, at: &mut u64, sender: &mpsc::Sender<Bytes>) -> Result<bool> {
        let (mut response, begins) = self.store.inner.registry.blob(self.asked, &self.descriptor.digest, *at).await?;
        let mut skip = *at - begins;
        loop {
            let broken = |error: reqwest::Error| Error::Network {
                host: self.asked.reference.host().to_owned(),
                what: format!("fetch the layer {}", self.descriptor.digest.short()),
                source: Box::new(error.without_url()),
            };
            let Some(mut chunk) = response.chunk().await.map_err(broken)? else {
                return Ok(*at == self.descriptor.size);
            };
            let cut = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            let chunk = chunk.split_off(cut);
            skip -= cut as u64;
            *at += chunk.len() as u64;
            if *at > self.descriptor.size {
                return Err(self.corrupt(format!("is longer than the {} bytes it should have", self.descriptor.size)));
            }
            if !chunk.is_empty() && sender.send(chunk).await.is_err() {
                return Ok(true);
            }
            self.tell("downloading", *at);
            if *at == self.descriptor.size {
                return Ok(true);
            }
        }
    }

    fn corrupt(&self, why: String) -> Error {
        Error::corrupt(format!("layer {}", self.descriptor.digest), why)
    }

    fn tell(&self, status: &'static str, current: u64) {
        self.progress.send_modify(|all| {
            if let Some(progress) = all.get_mut(self.index) {
                (progress.status, progress.current) = (status, current);
            }
        });
    }
}

fn is_about_content(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::Hostile { .. })
}

/// The unpacker's side; blocks.
fn unpack(store: &Store, mut source: Source, descriptor: &Descriptor, diff_id: &Digest) -> Result<()> {
    let stage = store.inner.stage()?;
    let unpacked: Unpacked = layer::unpack(&mut source, stage.path(), &store.inner.limits)?;
    let corrupt = |why| Err(Error::corrupt(format!("layer {}", descriptor.digest), why));
    let (digest, length) = &unpacked.blob;
    if *digest != descriptor.digest || *length != descriptor.size {
        return corrupt(format!("what came has {length} bytes and the digest {digest}"));
    }
    if unpacked.diff_id != *diff_id {
        return corrupt(format!("its archive has the digest {}, the config says {diff_id}", unpacked.diff_id));
    }
    store.inner.add_layer(&stage, &unpacked)
}

/// The compressed bytes as the unpacker reads them: first what was kept of an earlier attempt, then
/// what the network brings, which is kept as well while it is not all here.
struct Source {
    receiver: mpsc::Receiver<Bytes>,
    chunk: Bytes,
    /// What is still to be read of the kept file.
    kept: Option<io::Take<File>>,
    keep: Option<(File, PathBuf)>,
    left: u64,
}

impl Source {
    fn open(receiver: mpsc::Receiver<Bytes>, size: u64, partial: &Path, begin: u64) -> Result<Source> {
        let kept = match begin {
            0 => None,
            begin => Some(File::open(partial).map_err(Error::on("open", partial))?.take(begin)),
        };
        let keep = match size >= KEPT_FROM {
            true => {
                let mut options = File::options();
                options.create(true).write(true).append(begin > 0).truncate(begin == 0);
                let file = options.open(partial).map_err(Error::on("open", partial))?;
                Some((file, partial.to_owned()))
            }
            false => None,
        };
        Ok(Source { receiver, chunk: Bytes::new(), kept, keep, left: size })
    }

    fn next(&mut self) -> io::Result<()> {
        let Some(chunk) = self.receiver.blocking_recv() else {
            // Whoever downloads knows why.
            return Err(io::Error::other(Error::Cancelled));
        };
        if let Some((file, path)) = &mut self.keep {
            file.write_all(&chunk).map_err(|error| io::Error::other(Error::io("write", path, error)))?;
        }
        self.chunk = chunk;
        Ok(())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        if let Some(kept) = &mut self.kept {
            let read = kept.read(buffer)?;
            self.left -= read as u64;
            if read > 0 {
                return Ok(read);
            }
            self.kept = None;
        }
        if self.chunk.is_empty() {
            self.next()?;
        }
        let length = self.chunk.len().min(buffer.len());
        let bytes = self.chunk.split_to(length);
        if let Some(to) = buffer.get_mut(..length) {
            to.copy_from_slice(&bytes);
        }
        self.left = self.left.saturating_sub(length as u64);
        Ok(length)
    }
}
