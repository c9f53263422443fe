//! Archives in and out, of images and of files of containers: bodies of requests and answers ↔ blocking
//! readers and writers.

use crate::api_server::Body;
use crate::calls::looks;
use crate::images::blocking;
use crate::shared::Daemon;
use crate::{api_server, backup, failure, images, streams};
use api::{ApiError, ArchivePart, DownloadCall, StreamItem, UploadCall};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use image::tree::{How, Owners};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Chunks that may wait between the two sides.
const WAITING: usize = 16;
/// How long another node may send nothing.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// Bytes that are sent at a time.
const CHUNK: usize = 256 << 10;

/// Takes an archive: images of it, or a root file system. Answers when all of it is done.
///
/// # Errors
/// The archive is refused, or the disk fails.
pub(crate) async fn upload(daemon: Arc<Daemon>, call: UploadCall, mut incoming: Incoming) -> Result<Body, ApiError> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let working = take(&daemon, call, Source { receiver, chunk: Bytes::new(), over: false });
    // Read to its end even when nobody wants more of it: a client that can't send on gets to see no
    // answer.
    let feeding = async {
        while let Some(frame) = incoming.frame().await {
            let chunk = frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(io::Error::other);
            let broken = chunk.is_err();
            let _nobody_wants_more = sender.send(chunk).await;
            if broken {
                break;
            }
        }
        drop(sender);
    };
    let (lines, ()) = tokio::join!(working, feeding);
    let (sender, body) = streams::channel(&daemon);
    let lines = lines?;
    tokio::spawn(async move {
        for line in lines {
            let _left = sender.send(StreamItem::Message(line)).await;
        }
    });
    Ok(body)
}

/// Takes the images of an archive that another node sends.
///
/// # Errors
/// It breaks off, or is refused; the disk fails.
pub(crate) async fn load(daemon: &Daemon, mut incoming: Body, id: &str) -> Result<Vec<image::Loaded>, ApiError> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut source = Source { receiver, chunk: Bytes::new(), over: false };
    let id = id.to_owned();
    let loading = blocking(daemon, move |store| store.load_one(&mut source, &id));
    let feeding = async move {
        loop {
            let chunk = match tokio::time::timeout(SILENCE, incoming.frame()).await {
                Ok(None) => return,
                Ok(Some(frame)) => frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(io::Error::other),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            let broken = chunk.is_err();
            if sender.send(chunk).await.is_err() || broken {
                return;
            }
        }
    };
    tokio::join!(loading, feeding).0
}

async fn take(daemon: &Daemon, call: UploadCall, mut source: Source) -> Result<Vec<String>, ApiError> {
    match call {
        UploadCall::Load => {
            let loaded = blocking(daemon, move |store| store.load(&mut source)).await?;
            let mut lines = Vec::new();
            for image in loaded {
                daemon.events.emit("image", "load", image.id.as_str(), &[("name", image.id.as_str())]);
                match image.names.is_empty() {
                    true => lines.push(format!("Loaded image ID: {}", image.id)),
                    false => lines.extend(image.names.iter().map(|name| format!("Loaded image: {name}"))),
                }
            }
            Ok(lines)
        }
        UploadCall::Import { reference, changes, message } => {
            let name = reference.clone();
            let import =
                move |store: &image::Store| store.import(&mut source, &reference, &changes, message.as_deref());
            let id = blocking(daemon, import).await?;
            daemon.events.emit("image", "import", id.as_str(), &[("name", &name)]);
            Ok(vec![id.to_string()])
        }
        UploadCall::CopyTo { container, path, part, archive } => {
            let task = looks::task(daemon, &container).await?;
            let how = match part {
                ArchivePart::Thing => How::Thing,
                ArchivePart::Contents => How::Contents,
                ArchivePart::Entries => How::Entries,
            };
            let owners = if archive { Owners::Kept } else { Owners::Given(0, 0) };
            let to = path.clone();
            let unpack = move |root| image::tree::unpack(root, to.as_bytes(), how, owners, &mut source);
            let done = daemon.engine.with_files(task.id, unpack).await.map_err(|error| failure::engine(&error))?;
            done.map_err(|error| images::failed(&error))?;
            daemon.container_event(&task, "extract-to-dir", &[("path", path)]);
            Ok(Vec::new())
        }
        UploadCall::Restore(restore) => {
            let mut file = Vec::new();
            let read = tokio::task::spawn_blocking(move || source.read_to_end(&mut file).map(|_| file));
            let file = read.await.map_err(failure::joined)?;
            let file = file.map_err(|error| failure::failed(format!("read the backup: {error}")))?;
            backup::restore(daemon, restore, file).await
        }
    }
}

/// Sends an archive. What is known to be wrong beforehand is told as an error; what goes wrong later
/// cuts the body off.
///
/// # Errors
/// There is no such image or file.
pub(crate) async fn download(daemon: Arc<Daemon>, call: DownloadCall) -> Result<Body, ApiError> {
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, image::Error>>(WAITING);
    let mut sink = Sink { sender: sender.clone(), buffer: BytesMut::with_capacity(CHUNK) };
    match call {
        DownloadCall::Backup(key) => {
            let file = backup::make(&daemon, &key).await?;
            return Ok(api_server::full(file));
        }
        DownloadCall::Save(references) => {
            let store = daemon.images.store().clone();
            tokio::task::spawn_blocking(move || finish(&sender, store.save(&references, &mut sink)));
        }
        DownloadCall::Image(id) => {
            let store = daemon.images.store().clone();
            tokio::task::spawn_blocking(move || finish(&sender, images::share::write(&store, &id, &mut sink)));
        }
        DownloadCall::CopyFrom { container, path, follow } => {
            let task = looks::task(&daemon, &container).await?;
            daemon.container_event(&task, "archive-path", &[("path", path.clone())]);
            let pack = move |root| finish(&sender, image::tree::pack(root, path.as_bytes(), follow, &mut sink));
            let mut packing = std::pin::pin!(daemon.engine.with_files(task.id, pack));
            let first = tokio::select! {
                biased;
                // It goes on by itself when this has left it.
                Some(first) = receiver.recv() => Some(first),
                opened = &mut packing => {
                    opened.map_err(|error| failure::engine(&error))?;
                    receiver.recv().await
                }
            };
            return body(first, receiver);
        }
    }
    body(receiver.recv().await, receiver)
}

fn finish(sender: &mpsc::Sender<Result<Bytes, image::Error>>, written: image::Result<()>) {
    if let Err(error) = written {
        let _left = sender.blocking_send(Err(error));
    }
}

fn body(
    first: Option<Result<Bytes, image::Error>>,
    receiver: mpsc::Receiver<Result<Bytes, image::Error>>,
) -> Result<Body, ApiError> {
    match first {
        Some(Ok(first)) => Ok(StreamBody::new(Chunks { first: Some(first), receiver }).boxed()),
        Some(Err(error)) => Err(images::failed(&error)),
        None => Err(failure::failed("nothing was written")),
    }
}

/// An answer's body as it is written.
struct Chunks {
    first: Option<Bytes>,
    receiver: mpsc::Receiver<Result<Bytes, image::Error>>,
}

impl Stream for Chunks {
    type Item = io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        self.receiver.poll_recv(context).map(|chunk| {
            chunk.map(|chunk| match chunk {
                Ok(chunk) => Ok(Frame::data(chunk)),
                Err(error) => {
                    tracing::warn!("write an archive: {}", failure::chain(&error));
                    Err(io::Error::other(error))
                }
            })
        })
    }
}

/// A request's body as a blocking reader.
struct Source {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    over: bool,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            if self.over {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => self.over = true,
            }
        }
        let length = self.chunk.len().min(buffer.len());
        if let Some(to) = buffer.get_mut(..length) {
            to.copy_from_slice(&self.chunk.split_to(length));
        }
        Ok(length)
    }
}

/// An answer's body as a blocking writer.
struct Sink {
    sender: mpsc::Sender<Result<Bytes, image::Error>>,
    buffer: BytesMut,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
