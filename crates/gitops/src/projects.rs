//! From the files of a source to its stacks.

use crate::age;
use crate::files::{Folder, Recorder, Touched};
use crate::policy;
use compose::{Input, Options};
use model::diagnostic::{Diagnostic, Severity};
use model::{ContentSpec, SourceSpec, StackSpec};

/// Names that a Compose file may have in a folder that is named.
const USUAL: [&str; 6] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml", "stack.yaml", "stack.yml"];

/// The code for what can't be opened.
const AGE: &str = "RS8020";

/// Most projects of one source.
const MOST: usize = 1000;

/// One Compose file of a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Project {
    /// Absolute.
    pub file: String,
    /// Its name is this, whatever the file says.
    pub name: Option<String>,
}

/// What a project is, or what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// The stack, if nothing is wrong.
    pub stack: Option<StackSpec>,
    /// Errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// All files that were asked for.
    pub touched: Touched,
}

/// The Compose files of a source below `root`.
///
/// # Errors
/// There is none where one should be.
pub fn find(spec: &SourceSpec, root: &str, files: &Recorder<'_>) -> Result<Vec<Project>, Box<Diagnostic>> {
    let patterns = if spec.paths.is_empty() { vec![String::new()] } else { spec.paths.clone() };
    let mut found = Vec::new();
    for pattern in &patterns {
        let before = found.len();
        for path in expand(root, pattern, files) {
            // Folders that a pattern meets need not be projects.
            found.extend(compose_file(&path, files));
        }
        if found.len() == before {
            let what = if pattern.is_empty() { "its root".to_owned() } else { format!("`{pattern}`") };
            let text = format!("there is no Compose file at {what} of source {}", spec.name);
            let hint = format!("a file, or a folder with one of: {}", USUAL.join(", "));
            return Err(Box::new(Diagnostic::error("RS8017", text).hint(hint)));
        }
    }
    found.sort();
    found.dedup();
    if found.len() > MOST {
        let text = format!("source {} has more than {MOST} projects", spec.name);
        return Err(Box::new(Diagnostic::error("RS8017", text)));
    }
    let plain = |stacks: &[String]| match stacks {
        [] => Some(spec.name.clone()),
        [one] if !one.contains('*') => Some(one.clone()),
        _ => None,
    };
    let name = plain(&spec.stacks).filter(|_| found.len() == 1);
    Ok(found.into_iter().map(|file| Project { file, name: name.clone() }).collect())
}

fn compose_file(path: &str, files: &Recorder<'_>) -> Option<String> {
    let names = files.names(path);
    if names.is_empty() {
        return files.is_file(path).then(|| path.to_owned());
    }
    USUAL.iter().find(|usual| names.iter().any(|name| name == *usual)).map(|usual| format!("{path}/{usual}"))
}

/// The paths that a pattern means; `*` stands for any part of one name.
fn expand(root: &str, pattern: &str, files: &Recorder<'_>) -> Vec<String> {
    let mut paths = vec![root.trim_end_matches('/').to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Vec::new();
        }
        paths = match part.contains('*') {
            false => paths.into_iter().map(|path| format!("{path}/{part}")).collect(),
            true => {
                let inside = |path: String| {
                    let names =
                        files.names(&path).into_iter().filter(|name| !name.starts_with('.') && fits(part, name));
                    names.map(move |name| format!("{path}/{name}")).collect::<Vec<_>>()
                };
                paths.into_iter().flat_map(inside).collect()
            }
        };
    }
    paths
}

fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter_map(|start| rest.get(start..)).any(|rest| fits(after, rest))
}

/// Reads one project: its files, and whether they ask for what they may.
pub fn read(spec: &SourceSpec, root: &str, project: &Project, files: &dyn Folder) -> Read {
    let recorder = Recorder::new(files);
    let mut input = Input::new(root, &recorder);
    input.files = vec![project.file.clone()];
    input.project_name.clone_from(&project.name);
    // Nothing of the daemon's own environment.
    input.env.clone_from(&spec.env);
    input.options = Options::default();
    let loaded = compose::load(&input);
    let mut diagnostics = loaded.diagnostics;
    let mut stack = loaded.stack;
    if let Some(stack) = &mut stack {
        diagnostics.extend(policy::check(stack, &spec.allow));
        diagnostics.extend(unseal(stack, spec.credentials.age_keys.as_deref()));
    }
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    drop(input);
    Read { stack: stack.filter(|_| !failed), diagnostics, touched: recorder.finish() }
}

/// Opens what is encrypted with age: contents of configs and secrets only, since everything else is shown
/// in plans, errors and `inspect`.
fn unseal(stack: &mut StackSpec, keys: Option<&str>) -> Vec<Diagnostic> {
    let secrets = stack.secrets.values_mut().map(|content| ("secret", content));
    let configs = stack.configs.values_mut().map(|content| ("config", content));
    let sealed = secrets.chain(configs).filter(|(_, content)| age::is_sealed(&content.data));
    sealed.filter_map(|(word, content)| open(word, content, keys)).collect()
}

/// Opens one content, or says why it can't be.
fn open(word: &str, content: &mut ContentSpec, keys: Option<&str>) -> Option<Diagnostic> {
    let name = &content.name;
    let Some(keys) = keys else {
        let text = format!("{word} {name} is encrypted with age, and this source has no key");
        return Some(Diagnostic::error(AGE, text).hint("`gitops add … --age-key FILE` gives it one"));
    };
    match age::Keys::parse(keys).and_then(|keys| keys.open(&content.data)) {
        Ok(plain) => {
            content.data = plain;
            None
        }
        Err(error) => Some(Diagnostic::error(AGE, format!("{word} {name}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_is_any_part_of_a_name() {
        for (pattern, text, expected) in
            [("*", "a", true), ("a*c", "abc", true), ("a*c", "ac", true), ("a*c", "ab", false), ("*.y*", "x.yml", true)]
        {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
