//! `inspect`: of containers, images, networks and volumes.

use crate::args::container::Inspect;
use crate::args::object::InspectOne;
use crate::context::{Context, is_not_found};
use crate::failure::{self, advised};
use crate::template::{Template, unescape};
use anyhow::Result;
use api::Call;
use serde_json::Value;

/// Kinds in the order in which a name is looked for, as in Docker.
const KINDS: [&str; 4] = ["container", "image", "network", "volume"];

pub(super) async fn any(context: &Context, args: Inspect) -> Result<u8> {
    let kinds: Vec<&str> = match &args.kind {
        Some(kind) => vec![kind.as_str()],
        None => KINDS.to_vec(),
    };
    run(context, &kinds, &args.names, args.format.as_deref()).await
}

pub(super) async fn one(context: &Context, kind: &str, args: InspectOne) -> Result<u8> {
    run(context, &[kind], &args.names, args.format.as_deref()).await
}

async fn run(context: &Context, kinds: &[&str], names: &[String], format: Option<&str>) -> Result<u8> {
    let mut found = Vec::new();
    for name in names {
        found.push(look(context, kinds, name).await);
    }
    print(context, format, found)
}

/// What was found is printed in lines for people; what was not is told, and makes the exit code 1.
///
/// # Errors
/// Nobody reads.
pub(super) fn print_lines(context: &Context, results: impl IntoIterator<Item = Result<String>>) -> Result<u8> {
    let mut code = 0;
    for result in results {
        match result {
            Ok(lines) => context.data(&lines)?,
            Err(error) => code = failure::tell(context.printer, &error).max(1),
        }
    }
    Ok(code)
}

/// What was found is printed; what was not is told afterwards, and makes the exit code 1.
///
/// # Errors
/// A template that makes no sense.
pub(super) fn print(context: &Context, format: Option<&str>, results: Vec<Result<Value>>) -> Result<u8> {
    let template = match format {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(&unescape(text))?),
    };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => found.push(value),
            Err(error) => errors.push(error),
        }
    }
    match &template {
        Some(template) => {
            for value in &found {
                context.line(&template.render(value)?)?;
            }
        }
        None if format == Some("json") => context.line(&serde_json::to_string(&found)?)?,
        None => context.line(&pretty(&Value::Array(found))?)?,
    }
    let mut code = 0;
    for error in errors {
        code = failure::tell(context.printer, &error).max(1);
    }
    Ok(code)
}

async fn look(context: &Context, kinds: &[&str], name: &str) -> Result<Value> {
    let mut last = None;
    for kind in kinds {
        let name = name.to_owned();
        let call = match *kind {
            "container" => Call::InspectContainer(name),
            "image" => Call::InspectImage(name),
            "network" => Call::InspectNetwork(name),
            _ => Call::InspectVolume(name),
        };
        match context.inspect(call).await {
            Ok(value) => return Ok(value),
            Err(error) if is_not_found(&error) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match last {
        Some(error) if kinds.len() == 1 => Err(error.into()),
        _ => Err(advised(
            format!("no such object: {name}"),
            "`rswarm ps -a`, `rswarm images`, `rswarm network ls` and `rswarm volume ls` list all",
        )),
    }
}

/// Indented by four, as Docker prints it.
fn pretty(value: &Value) -> Result<String> {
    use serde::Serialize as _;
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(String::from_utf8(bytes)?)
}
