//! `cluster backup`, `cluster restore`, and the way to the other words of `cluster`.

use super::load::stream;
use crate::args::cluster::{Backup, Cluster, Restore};
use crate::context::{Context, random};
use crate::failure::advised;
use crate::{start, terminal};
use anyhow::{Context as _, Result};
use api::{BackupKey, DownloadCall, RestoreCluster, StreamItem, UploadCall};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub(super) async fn run(context: &Context, command: Cluster) -> Result<u8> {
    match command {
        Cluster::Backup(args) => backup(context, args).await,
        Cluster::Restore(args) => restore(context, args).await,
        Cluster::Update(args) => super::lock::update(context, args).await,
    }
}

async fn backup(context: &Context, args: Backup) -> Result<u8> {
    let given = args.key_file.as_deref().map(key_in).transpose()?;
    let key = match &given {
        Some(key) => key.clone(),
        None => BackupKey::of(random()?),
    };
    to_file(context, &DownloadCall::Backup(key.clone()), &args.file).await?;
    context.line(&format!("Backup written to {}.", args.file.display()))?;
    if given.is_none() {
        context.line("It opens with this key only, which is kept nowhere else:\n")?;
        context.line(&format!("    {}", key.as_str()))?;
    }
    Ok(0)
}

/// The file appears complete or not at all, and only its owner may read it.
async fn to_file(context: &Context, call: &DownloadCall, path: &Path) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = Path::new(&temporary);
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(temporary);
    let mut file = opened.with_context(|| format!("create {}", temporary.display()))?;
    let result = context.client.download(call, |piece| file.write_all(&piece)).await;
    let result = result.map_err(anyhow::Error::from).and_then(|()| {
        file.sync_all().with_context(|| format!("write {}", temporary.display()))?;
        std::fs::rename(temporary, path)
            .with_context(|| format!("rename {} to {}", temporary.display(), path.display()))
    });
    if result.is_err() {
        let _nothing_half_done = std::fs::remove_file(temporary);
    }
    result
}

async fn restore(context: &Context, args: Restore) -> Result<u8> {
    let file = std::fs::File::open(&args.file).with_context(|| format!("open {}", args.file.display()))?;
    let key = match args.key_file.as_deref() {
        Some(path) => key_in(path)?,
        None => ask().await?,
    };
    start::ensure(context).await?;
    let before = super::cluster::life(context).await?;
    let call = RestoreCluster { key, advertise: args.advertise_addr, listen: args.listen_addr };
    let mut items = context.client.upload(&UploadCall::Restore(call), stream(Box::new(file))).await?;
    let mut lines = Vec::new();
    while let Some(item) = items.next().await? {
        if let StreamItem::Message(text) = item {
            lines.push(text);
        }
    }
    super::cluster::back(context, before).await?;
    for line in lines {
        context.line(&line)?;
    }
    Ok(0)
}

fn key_in(path: &Path) -> Result<BackupKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read the key from {}", path.display()))?;
    parse(&text)
}

async fn ask() -> Result<BackupKey> {
    parse(&terminal::secret("Key of the backup: ").await?)
}

fn parse(text: &str) -> Result<BackupKey> {
    BackupKey::parse(text).ok_or_else(|| {
        advised("that is no key of a backup", "it begins with RWMKEY-1- and was shown when the backup was made")
    })
}
