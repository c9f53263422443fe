//! Variables and labels, from flags and files.

use super::Surroundings;
use crate::parse;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;

/// `--env-file` and `-e`; flags beat files, a later one beats an earlier one. A name without a value
/// takes it from the environment of the command, and is left out when it is not set there.
///
/// # Errors
/// A file that can't be read, or a line that makes no sense.
pub(crate) fn container(
    flags: &[String],
    files: &[String],
    around: &Surroundings<'_>,
) -> Result<BTreeMap<String, Option<String>>> {
    let mut all = BTreeMap::new();
    for (name, value) in entries(flags, files, around)? {
        all.insert(name, Some(value));
    }
    Ok(all)
}

/// The same as `NAME=VALUE`, in order, for `exec`.
///
/// # Errors
/// As [`container`].
pub(crate) fn list(flags: &[String], files: &[String], around: &Surroundings<'_>) -> Result<Vec<String>> {
    Ok(entries(flags, files, around)?.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

fn entries(flags: &[String], files: &[String], around: &Surroundings<'_>) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for file in files {
        let text = (around.read)(file).with_context(|| format!("read the variables of {file}"))?;
        for (number, line) in lines(&text) {
            let entry = entry(line, around).with_context(|| format!("{file}:{number}"))?;
            all.extend(entry);
        }
    }
    for flag in flags {
        all.extend(entry(flag, around).context("-e")?);
    }
    Ok(all)
}

/// Lines that say something, with their numbers. Docker's env files know comments, and no quotes.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_start()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn entry(text: &str, around: &Surroundings<'_>) -> Result<Option<(String, String)>> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text.trim_end(), (around.variable)(text.trim_end())),
    };
    if name.is_empty() {
        bail!("`{text}` has no name before the `=`");
    }
    if name.contains(char::is_whitespace) {
        bail!("variable `{name}` has white space in its name");
    }
    Ok(value.map(|value| (name.to_owned(), value)))
}

/// `--label-file` and `--label`.
///
/// # Errors
/// A file that can't be read, or an empty name.
pub(crate) fn labels(
    flags: &[String],
    files: &[String],
    around: &Surroundings<'_>,
) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for file in files {
        let text = (around.read)(file).with_context(|| format!("read the labels of {file}"))?;
        for (number, line) in lines(&text) {
            let (name, value) = parse::pair(line).with_context(|| format!("{file}:{number}"))?;
            all.insert(name, value);
        }
    }
    all.extend(parse::pairs(flags).context("--label")?);
    Ok(all)
}
