//! `version`.

use crate::args::system::Version;
use crate::context::{Context, unexpected};
use crate::template::{Template, unescape};
use anyhow::Result;
use api::{Call, Reply};
use serde_json::json;

/// The client's part is shown even when no daemon answers; the exit code tells then.
pub(super) async fn run(context: &Context, args: Version) -> Result<u8> {
    let client = json!({
        "Version": env!("CARGO_PKG_VERSION"), "ApiVersion": api::VERSION.to_string(),
        "Os": std::env::consts::OS, "Arch": image::architecture(),
    });
    let (server, failure) = match context.call(Call::Ping).await {
        Ok(Reply::Pong(info)) => (Some(json!({ "Version": info.version, "Pid": info.pid, "Node": info.node })), None),
        Ok(other) => (None, Some(unexpected(&other))),
        Err(error) => (None, Some(error.into())),
    };
    let value = json!({ "Client": client, "Server": server });
    match args.format.as_deref() {
        Some("json") => context.line(&value.to_string())?,
        Some(template) => context.line(&Template::parse(&unescape(template))?.render(&value)?)?,
        None => {
            let text = |pointer: &str| {
                value
                    .pointer(pointer)
                    .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                    .unwrap_or_default()
            };
            context.line(&format!(
                "Client:\n Version:      {}\n API version:  {}\n OS/Arch:      {}/{}",
                text("/Client/Version"),
                text("/Client/ApiVersion"),
                text("/Client/Os"),
                text("/Client/Arch")
            ))?;
            if failure.is_none() {
                context.line(&format!(
                    "\nServer:\n Version:      {}\n PID:          {}\n Node:         {}",
                    text("/Server/Version"),
                    text("/Server/Pid"),
                    text("/Server/Node")
                ))?;
            }
        }
    }
    match failure {
        None => Ok(0),
        Some(error) => Err(error),
    }
}
