//! `image load` and `image import`: archives go to the daemon as they are read.

use crate::args::image::{Import, Load};
use crate::context::Context;
use crate::failure::advised;
use crate::start;
use anyhow::{Context as _, Result, bail};
use api::client::Items;
use api::{StreamItem, UploadCall};
use bytes::Bytes;
use futures_util::Stream;
use std::io::Read;
use tokio::sync::mpsc;

/// Bytes that are read at a time.
const PIECE: usize = 256 * 1024;

pub(super) async fn load(context: &Context, args: Load) -> Result<u8> {
    if args.input.is_none() && crate::terminal::stdin_is_terminal() {
        return Err(advised("no archive was given", "name a file with -i, or send one to standard input"));
    }
    let archive = open(args.input.as_deref())?;
    start::ensure(context).await?;
    let items = context.client.upload(&UploadCall::Load, stream(archive)).await?;
    show(context, items, args.quiet).await
}

pub(super) async fn import(context: &Context, args: Import) -> Result<u8> {
    if args.file.starts_with("http://") || args.file.starts_with("https://") {
        bail!("an archive is imported from a file or standard input, not from {}", args.file);
    }
    let Some(reference) = args.reference else {
        return Err(advised("the image needs a name", "rswarm image import FILE REPOSITORY[:TAG]"));
    };
    let archive = open(Some(args.file.as_str()).filter(|file| *file != "-"))?;
    start::ensure(context).await?;
    let call = UploadCall::Import { reference, changes: args.change, message: args.message };
    let items = context.client.upload(&call, stream(archive)).await?;
    show(context, items, false).await
}

/// A file, or standard input.
fn open(path: Option<&str>) -> Result<Box<dyn Read + Send>> {
    match path {
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| format!("open {path}"))?;
            if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
                bail!("{path} is a folder, not an archive");
            }
            Ok(Box::new(file))
        }
        None => Ok(Box::new(std::io::stdin())),
    }
}

/// A thread reads, so that neither a slow disk nor a slow pipe holds up the connection.
pub(super) fn stream(
    mut archive: Box<dyn Read + Send>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(4);
    std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let item = match archive.read(&mut piece) {
                Ok(0) => return,
                Ok(count) => {
                    piece.truncate(count);
                    Ok(Bytes::from(piece))
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = item.is_err();
            if sender.blocking_send(item).is_err() || last {
                return;
            }
        }
    });
    futures_util::stream::unfold(
        receiver,
        |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) },
    )
}

async fn show(context: &Context, mut items: Items, quiet: bool) -> Result<u8> {
    while let Some(item) = items.next().await? {
        match item {
            StreamItem::Message(text) => context.line(&text)?,
            StreamItem::Pull(progress) if !quiet && !context.printer.live => {
                context.printer.say(&format!("{}: {}", progress.id, progress.status));
            }
            _ => {}
        }
    }
    Ok(0)
}
