//! `events`.

use crate::args::container::Events;
use crate::context::{Context, now};
use crate::parse;
use crate::template::{Template, unescape};
use anyhow::{Context as _, Result, bail};
use api::{Event, StreamCall, StreamItem};
use serde_json::json;

pub(super) async fn run(context: &Context, args: Events) -> Result<u8> {
    let at = now();
    let moment =
        |text: &Option<String>, flag| text.as_deref().map(|text| parse::moment(text, at)).transpose().context(flag);
    let filters = args.filter.iter().map(|text| parse::pair(text)).collect::<Result<Vec<_>>>().context("--filter")?;
    if let Some((key, _)) = filters.iter().find(|(key, _)| !KEYS.contains(&key.as_str())) {
        bail!("--filter: `{key}` is no filter: {} are", KEYS.join(", "));
    }
    let template = match args.format.as_deref() {
        None | Some("" | "json" | "{{json .}}") => None,
        Some(text) => Some(Template::parse(&unescape(text))?),
    };
    let call = StreamCall::Events { since: moment(&args.since, "--since")?, until: moment(&args.until, "--until")? };
    let mut items = context.client.stream(&call).await?;
    while let Some(item) = items.next().await? {
        let StreamItem::Event(event) = item else { continue };
        if !passes(&filters, &event) {
            continue;
        }
        let line = match &template {
            Some(template) => template.render(&with_names_of_go(object(&event)))?,
            None if args.format.is_some() => object(&event).to_string(),
            None => line(&event),
        };
        context.line(&line)?;
    }
    Ok(0)
}

const KEYS: [&str; 8] = ["type", "event", "container", "image", "network", "volume", "service", "label"];

/// Values of one key are alternatives, keys must all pass.
fn passes(filters: &[(String, String)], event: &Event) -> bool {
    let one = |key: &str, value: &str| match key {
        "type" => event.kind == value,
        "event" => event.action == value || event.action.split(':').next() == Some(value),
        "label" => match value.split_once('=') {
            Some((key, value)) => event.attributes.get(key).is_some_and(|found| found == value),
            None => event.attributes.contains_key(value),
        },
        "image" if event.kind != "image" => event.attributes.get("image").is_some_and(|image| image == value),
        kind => {
            let named = event.attributes.get("name").is_some_and(|name| name == value);
            event.kind == kind && (named || event.id.starts_with(value))
        }
    };
    filters.iter().all(|(key, _)| filters.iter().filter(|(other, _)| other == key).any(|(key, value)| one(key, value)))
}

/// Docker's shape.
fn object(event: &Event) -> serde_json::Value {
    json!({
        "Type": event.kind, "Action": event.action, "status": event.action, "id": event.id, "scope": "local",
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "time": event.time_nano / 1_000_000_000, "timeNano": event.time_nano,
    })
}

/// The same for templates, which also know what JSON writes small by the names that Docker's program has for it.
fn with_names_of_go(mut event: serde_json::Value) -> serde_json::Value {
    let names = [("Status", "status"), ("ID", "id"), ("Scope", "scope"), ("Time", "time"), ("TimeNano", "timeNano")];
    for (name, key) in names {
        event[name] = event[key].clone();
    }
    event["From"] = event["Actor"]["Attributes"].get("image").cloned().unwrap_or_else(|| json!(""));
    event
}

/// `2026-01-02T15:04:05.000000000+00:00 container start ID (image=x, name=y)`.
fn line(event: &Event) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(event.time_nano)).map_or_else(
        |_| event.time_nano.to_string(),
        |stamp| stamp.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string(),
    );
    let attributes: Vec<String> = event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let tail = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time} {} {} {}{tail}", event.kind, event.action, event.id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn events_pass_by_kind_name_and_label() {
        let event = Event {
            time_nano: 1_700_000_000_000_000_001,
            kind: "container".to_owned(),
            action: "health_status: healthy".to_owned(),
            id: "abc".to_owned(),
            attributes: [("name".to_owned(), "web".to_owned()), ("image".to_owned(), "nginx".to_owned())].into(),
        };
        let pass = |filters: &[(&str, &str)]| {
            let owned: Vec<_> = filters.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            passes(&owned, &event)
        };
        assert!(pass(&[]) && pass(&[("type", "container"), ("container", "web"), ("image", "nginx")]));
        assert!(pass(&[("event", "health_status")]) && pass(&[("container", "ab")]));
        assert!(pass(&[("type", "image"), ("type", "container")]) && !pass(&[("type", "image")]));
        assert!(!pass(&[("container", "db")]) && !pass(&[("label", "x")]));
        let template = Template::parse("{{.ID}} {{.Time}} {{.time}} {{.From}} {{.Status}} {{.Scope}}").unwrap();
        let shown = template.render(&with_names_of_go(object(&event))).unwrap();
        assert_eq!(shown, "abc 1700000000 1700000000 nginx health_status: healthy local");
        assert!(line(&event).ends_with(" container health_status: healthy abc (image=nginx, name=web)"));
    }
}
