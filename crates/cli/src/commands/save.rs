//! `image save`.

use crate::args::image::Save;
use crate::context::Context;
use crate::failure::{advised, stdout};
use anyhow::{Context as _, Result};
use api::DownloadCall;
use std::io::{IsTerminal as _, Write as _};

pub(super) async fn run(context: &Context, args: Save) -> Result<u8> {
    let call = DownloadCall::Save(args.images);
    match args.output {
        Some(path) => to_file(context, &call, &path).await?,
        None if std::io::stdout().is_terminal() => {
            return Err(advised(
                "an archive is not for a terminal",
                "name a file with -o, or redirect standard output",
            ));
        }
        None => {
            let mut closed = None;
            let result = context
                .client
                .download(&call, |piece| {
                    std::io::stdout().lock().write_all(&piece).inspect_err(|error| closed = Some(error.kind()))
                })
                .await;
            if let Some(kind) = closed {
                return Err(stdout(kind.into()));
            }
            result?;
            std::io::stdout().lock().flush().map_err(stdout)?;
        }
    }
    Ok(0)
}

/// The file appears complete or not at all.
async fn to_file(context: &Context, call: &DownloadCall, path: &str) -> Result<()> {
    let temporary = format!("{path}.part");
    let mut file = std::fs::File::create(&temporary).with_context(|| format!("create {temporary}"))?;
    let result = context.client.download(call, |piece| file.write_all(&piece)).await;
    let result = result
        .map_err(anyhow::Error::from)
        .and_then(|()| std::fs::rename(&temporary, path).with_context(|| format!("rename {temporary} to {path}")));
    if result.is_err() {
        let _nothing_half_done = std::fs::remove_file(&temporary);
    }
    result
}
