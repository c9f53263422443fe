//! `run`: a new container, in the foreground or not.

use crate::args::run::Run;
use crate::args::stack::Pull;
use crate::commands::pull;
use crate::containers;
use crate::context::{Context, request_id, unexpected};
use crate::failure::{Coded, Silent, advised};
use crate::session::{self, Wants};
use crate::spec::{self, Surroundings};
use crate::terminal::{self, DetachKeys};
use crate::{logins, names, project, start};
use anyhow::{Context as _, Result, bail};
use api::client::ClientError;
use api::{Call, ErrorKind, Reply, SessionCall};
use model::{Logins, ServiceSpec};

pub(super) async fn run(context: &Context, args: Run) -> Result<u8> {
    match try_run(context, args).await {
        Ok(code) => Ok(code),
        Err(error) if error.is::<Silent>() || error.is::<Coded>() => Err(error),
        // Docker's code for "it never ran".
        Err(error) => Err(Coded { code: 125, error }.into()),
    }
}

async fn try_run(context: &Context, mut args: Run) -> Result<u8> {
    let detach = DetachKeys::parse(&args.detach_keys)?;
    if args.tty && args.interactive && !args.detach && !terminal::stdin_is_terminal() {
        return Err(advised("the input is no terminal, so -t makes no sense", "leave out -t, or run it in a terminal"));
    }
    if let Some(path) = &args.cidfile
        && std::path::Path::new(path).exists()
    {
        return Err(advised(format!("--cidfile: {path} is there already"), "remove it, or name another file"));
    }
    start::ensure(context).await?;
    let image = args.words.first().cloned().unwrap_or_default();
    let logins = fetch(context, &mut args, &image).await?;
    let exposed = image_ports(context, &args, &image).await?;
    let cwd = project::cwd()?;
    let variable = |name: &str| std::env::var(name).ok();
    let read = |path: &str| std::fs::read_to_string(path);
    let around = Surroundings { variable: &variable, read: &read, cwd };
    let name = match &args.process.name {
        Some(name) => checked(name)?,
        None => names::random(false)?,
    };
    let mut spec = spec::service(&args, &name, &exposed, &around)?;
    for again in [true, true, true, false] {
        let result = match args.detach {
            true => background(context, &spec, &args, &logins).await,
            false => foreground(context, &spec, &args, detach.clone(), &logins).await,
        };
        match result {
            Err(error) if again && args.process.name.is_none() && is_conflict(&error) => {
                spec.name = names::random(true)?;
                spec.key = spec.name.clone();
            }
            result => return result,
        }
    }
    bail!("no free name was found: give one with --name")
}

fn is_conflict(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Api(error)) if error.kind == ErrorKind::Conflict)
}

/// Docker's rule for names.
fn checked(name: &str) -> Result<String> {
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !first || !rest || name.len() < 2 {
        bail!("--name: `{name}` is no name: two or more letters, digits, `_`, `.` or `-`, the first a letter or digit");
    }
    Ok(name.to_owned())
}

/// Pulls the image, with progress, if it is to be pulled; the logins that there are for that.
async fn fetch(context: &Context, args: &mut Run, image: &str) -> Result<Logins> {
    match args.pull {
        Some(Pull::Never) => return Ok(Logins::default()),
        Some(Pull::Always) => args.pull = Some(Pull::Missing),
        Some(Pull::Missing) | None => {
            if pull::is_here(context, image).await? {
                return Ok(Logins::default());
            }
            // Whatever a registry has under that name is not what was meant.
            if args.pull.is_none() && containers::is_service_here(image) {
                return Err(advised(
                    format!("{image} is a service of the stack in this folder, and no image is called so here"),
                    format!(
                        "`rswarm exec {image} …` runs a command in its container; `--pull missing` pulls an image of that name"
                    ),
                ));
            }
            context.printer.say(&format!("image {image} is not here: pulling it"));
        }
    }
    let logins = logins::of(context, [image]).await;
    pull::one(context, image, &logins, args.quiet).await?;
    Ok(logins)
}

/// The ports that the image exposes, if they are wanted.
async fn image_ports(context: &Context, args: &Run, image: &str) -> Result<Vec<String>> {
    if !args.network.publish_all {
        return Ok(Vec::new());
    }
    let inspected = context.inspect(Call::InspectImage(image.to_owned())).await?;
    let ports = inspected.pointer("/Config/ExposedPorts").and_then(|ports| ports.as_object());
    Ok(ports.map(|ports| ports.keys().cloned().collect()).unwrap_or_default())
}

async fn foreground(
    context: &Context,
    spec: &ServiceSpec,
    args: &Run,
    detach: DetachKeys,
    logins: &Logins,
) -> Result<u8> {
    let call = SessionCall::Run {
        id: request_id()?,
        spec: Box::new(spec.clone()),
        stdin: args.interactive,
        size: if args.tty { terminal::size() } else { None },
        logins: logins.clone(),
    };
    let stream = context.client.session(&call).await?;
    if let Some(path) = &args.cidfile {
        write_id(context, &spec.name, path).await?;
    }
    let wants = Wants { stdin: args.interactive, tty: args.tty, detach, sig_proxy: args.sig_proxy };
    Ok(session::converse(stream, wants).await?.code())
}

async fn background(context: &Context, spec: &ServiceSpec, args: &Run, logins: &Logins) -> Result<u8> {
    let call = Call::Run { id: request_id()?, spec: Box::new(spec.clone()), logins: logins.clone() };
    let (id, failure) = match context.call(call).await? {
        Reply::Started { id, failure } => (id, failure),
        other => return Err(unexpected(&other)),
    };
    if let Some(path) = &args.cidfile {
        std::fs::write(path, &id).with_context(|| format!("--cidfile: write {path}"))?;
    }
    context.line(&id)?;
    match failure {
        None => Ok(0),
        Some((code, error)) => {
            let error = anyhow::Error::new(ClientError::Api(error)).context(format!("start container {}", spec.name));
            Err(Coded { code: u8::try_from(code).unwrap_or(125), error }.into())
        }
    }
}

async fn write_id(context: &Context, name: &str, path: &str) -> Result<()> {
    let value = context.inspect(Call::InspectContainer(name.to_owned())).await?;
    let id = value.pointer("/Id").and_then(|id| id.as_str()).unwrap_or_default();
    std::fs::write(path, id).with_context(|| format!("--cidfile: write {path}"))
}
