//! What stands beside each line of a log: a tag, labels and variables of its container, as the logging
//! options choose them (Docker's `tag`, `labels`, `labels-regex`, `env`, `env-regex`).

use regex::Regex;
use serde::Serialize as _;
use std::collections::BTreeMap;

/// Which attributes are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attrs {
    labels: Choice,
    env: Choice,
    tag: Option<String>,
}

/// Names that are chosen, one by one or by a pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Choice {
    names: Vec<String>,
    pattern: Option<String>,
}

/// What the attributes are taken from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject<'a> {
    /// Its id.
    pub(crate) id: String,
    /// Its name, without a slash.
    pub(crate) name: &'a str,
    /// Its image as the user wrote it.
    pub(crate) image: &'a str,
    /// Digest of the image's config.
    pub(crate) image_id: &'a str,
    /// Labels of image and container.
    pub(crate) labels: BTreeMap<String, String>,
    /// Variables of image and container.
    pub(crate) env: BTreeMap<String, String>,
}

impl Attrs {
    /// Takes an option; false when its name is none of these.
    ///
    /// # Errors
    /// A value that makes no sense, as a sentence.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let names = || value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match name {
            "labels" => self.labels.names = names(),
            "env" => self.env.names = names(),
            "labels-regex" => self.labels.pattern = pattern(name, value)?,
            "env-regex" => self.env.pattern = pattern(name, value)?,
            "tag" => {
                expand(value, &Subject::default()).map_err(|fault| format!("logging option tag: {fault}"))?;
                self.tag = Some(value.to_owned()).filter(|tag| !tag.is_empty());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The attributes of a container as a JSON object; empty when it has none. A variable hides a label
    /// of the same name, and the tag hides both.
    pub(crate) fn of<'a>(&self, subject: impl FnOnce() -> Subject<'a>) -> Vec<u8> {
        if *self == Attrs::default() {
            return Vec::new();
        }
        let subject = subject();
        let mut found = self.labels.among(&subject.labels);
        found.extend(self.env.among(&subject.env));
        // It was tried when it was set.
        let tag = self.tag.as_deref().and_then(|tag| expand(tag, &subject).ok());
        found.extend(tag.map(|tag| ("tag".to_owned(), tag)));
        let mut text = Vec::new();
        if !found.is_empty() && found.serialize(&mut serde_json::Serializer::new(&mut text)).is_err() {
            text.clear();
        }
        text
    }
}

impl Choice {
    fn among(&self, all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let pattern = self.pattern.as_deref().and_then(|pattern| Regex::new(pattern).ok());
        let chosen = |name: &&String| {
            self.names.contains(*name) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
        };
        all.iter().filter(|(name, _)| chosen(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

fn pattern(name: &str, value: &str) -> Result<Option<String>, String> {
    Regex::new(value).map_err(|error| format!("logging option {name}: {error}"))?;
    Ok(Some(value.to_owned()).filter(|pattern| !pattern.is_empty()))
}

/// Replaces `{{.Name}}` and its like.
fn expand(template: &str, subject: &Subject<'_>) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((field, after)) = after.split_once("}}") else { return Err(format!("`{template}` has no `}}}}`")) };
        text.push_str(before);
        let image_id = subject.image_id;
        match field.trim() {
            ".ID" => text.push_str(short(&subject.id)),
            ".FullID" => text.push_str(&subject.id),
            ".Name" => text.push_str(subject.name),
            ".ImageName" => text.push_str(subject.image),
            ".ImageID" => text.push_str(short(image_id.strip_prefix("sha256:").unwrap_or(image_id))),
            ".ImageFullID" => text.push_str(image_id),
            ".DaemonName" => text.push_str("rswarm"),
            other => {
                return Err(format!(
                    "`{other}` is no field: .ID .FullID .Name .ImageName .ImageID .ImageFullID .DaemonName"
                ));
            }
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// The first twelve characters.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> String {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let subject = Subject {
            id: "0123456789abcdef".to_owned(),
            name: "shop-web-1",
            image: "nginx:1.27",
            image_id: "sha256:fedcba9876543210",
            labels: map(&[("com.shop.team", "blue"), ("com.shop.tier", "front"), ("other", "x")]),
            env: map(&[("MODE", "a\"b\n"), ("PATH", "/bin"), ("other", "variable")]),
        };
        let mut attrs = Attrs::default();
        for (name, value) in options {
            assert!(attrs.set(name, value).unwrap(), "{name}");
        }
        String::from_utf8(attrs.of(|| subject)).unwrap()
    }

    #[test]
    fn names_patterns_and_tags() {
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[("labels", "absent,"), ("env", "absent"), ("tag", "")]), "");
        assert_eq!(of(&[("labels", "com.shop.team,other")]), r#"{"com.shop.team":"blue","other":"x"}"#);
        let pattern = r#"{"com.shop.team":"blue","com.shop.tier":"front"}"#;
        assert_eq!(of(&[("labels-regex", r"^com\.shop\.")]), pattern);
        assert_eq!(of(&[("env", "MODE")]), r#"{"MODE":"a\"b\n"}"#);
        assert_eq!(of(&[("labels", "other"), ("env-regex", "^oth")]), r#"{"other":"variable"}"#);
        let tag = "{{.Name}}/{{ .ID }}/{{.ImageName}}/{{.ImageID}}";
        assert_eq!(of(&[("tag", tag)]), r#"{"tag":"shop-web-1/0123456789ab/nginx:1.27/fedcba987654"}"#);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, value) in [("tag", "{{.Name"), ("tag", "{{.Nmae}}"), ("env-regex", "("), ("labels-regex", "[")] {
            assert!(Attrs::default().set(name, value).is_err(), "{name} {value}");
        }
        assert_eq!(Attrs::default().set("labls", "a"), Ok(false));
    }
}
