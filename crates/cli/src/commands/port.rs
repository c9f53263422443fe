//! `port`: the published ports of a container.

use crate::args::container::Port;
use crate::containers;
use crate::context::Context;
use anyhow::{Result, bail};
use api::Call;

pub(super) async fn run(context: &Context, args: Port) -> Result<u8> {
    let container = containers::one(context, &args.container, &args.stack, None).await?;
    let value = context.inspect(Call::InspectContainer(container)).await?;
    let wanted = args.port.map(|port| if port.contains('/') { port } else { format!("{port}/tcp") });
    let mut lines = Vec::new();
    let ports = value.pointer("/NetworkSettings/Ports").and_then(|ports| ports.as_object());
    for (port, bindings) in ports.into_iter().flatten() {
        if wanted.as_ref().is_some_and(|wanted| wanted != port) {
            continue;
        }
        for binding in bindings.as_array().into_iter().flatten() {
            let text = |key: &str| binding.get(key).and_then(|value| value.as_str()).unwrap_or_default();
            let address = text("HostIp");
            let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            let end = format!("{address}:{}", text("HostPort"));
            lines.push(if wanted.is_some() { end } else { format!("{port} -> {end}") });
        }
    }
    if let Some(wanted) = wanted.filter(|_| lines.is_empty()) {
        bail!("port {wanted} of container {} is not published", args.container);
    }
    for line in lines {
        context.line(&line)?;
    }
    Ok(0)
}
