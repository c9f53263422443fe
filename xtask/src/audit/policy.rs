//! The parts of deny.toml that can be checked without cargo-deny.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use toml::{Table, Value};

/// What deny.toml allows and forbids.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) licenses: Vec<String>,
    pub(crate) registries: Vec<String>,
    pub(crate) banned: BTreeMap<String, Ban>,
    pub(crate) skips: Vec<Skip>,
}

/// Why a crate is not to be used, and by whom it is all the same.
#[derive(Debug)]
pub(crate) struct Ban {
    pub(crate) reason: String,
    pub(crate) wrappers: Vec<String>,
}

/// A second version of a crate that is excused.
#[derive(Debug)]
pub(crate) struct Skip {
    pub(crate) name: String,
    /// Leading parts of a version: `1` or `0.22`.
    pub(crate) version: String,
}

impl Skip {
    pub(crate) fn covers(&self, name: &str, version: &str) -> bool {
        let rest = version.strip_prefix(&self.version);
        self.name == name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl Policy {
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(root.join("deny.toml")).context("read deny.toml")?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let table: Table = text.parse().context("deny.toml is not TOML")?;
        let list = |section: &str, key: &str| -> Vec<Value> {
            table.get(section).and_then(|section| section.get(key)?.as_array()).cloned().unwrap_or_default()
        };
        let words = |values: Vec<Value>| values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
        let banned = list("bans", "deny").iter().map(ban).collect::<anyhow::Result<_>>()?;
        let skips = list("bans", "skip").iter().map(skip).collect::<anyhow::Result<_>>()?;
        // the list is cargo-deny's; a waiver without a reason would pass there
        list("advisories", "ignore").iter().try_for_each(|value| text_of(value, "reason").map(drop))?;
        Ok(Self {
            licenses: words(list("licenses", "allow")),
            registries: words(list("sources", "allow-registry")),
            banned,
            skips,
        })
    }
}

fn ban(value: &Value) -> anyhow::Result<(String, Ban)> {
    let (name, reason) = with_reason(value)?;
    let wrappers = value.get("wrappers").and_then(Value::as_array).into_iter().flatten();
    let wrappers = wrappers.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    Ok((name, Ban { reason, wrappers }))
}

fn with_reason(value: &Value) -> anyhow::Result<(String, String)> {
    Ok((text_of(value, "crate")?, text_of(value, "reason")?))
}

fn skip(value: &Value) -> anyhow::Result<Skip> {
    let (spec, _reason) = with_reason(value)?;
    let (name, version) = spec.split_once('@').with_context(|| format!("deny.toml: `{spec}` names no version"))?;
    Ok(Skip { name: name.to_owned(), version: version.to_owned() })
}

fn text_of(value: &Value, key: &str) -> anyhow::Result<String> {
    let text = value.get(key).and_then(Value::as_str);
    Ok(text.with_context(|| format!("deny.toml: an entry has no `{key}`: {value:?}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_without_reason_are_refused() {
        assert!(Policy::parse("[advisories]\nignore = [{ id = \"RUSTSEC-1-1\" }]").is_err());
        assert!(Policy::parse("[bans]\nskip = [{ crate = \"a@1\" }]").is_err());
        assert!(Policy::parse("[bans]\nskip = [{ crate = \"a\", reason = \"b\" }]").is_err());
    }

    #[test]
    fn a_skip_covers_whole_parts_of_a_version() {
        let skip = Skip { name: "a".to_owned(), version: "0.2".to_owned() };
        assert!(skip.covers("a", "0.2.17") && skip.covers("a", "0.2"));
        assert!(!skip.covers("a", "0.20.1") && !skip.covers("b", "0.2.17"));
    }
}
