//! `include`: whole projects as parts of this one.

use super::{Loader, Scope};
use crate::loader::environment;
use crate::merge;
use crate::paths::parent;
use crate::schema::{self, TOP};
use crate::tree::{Map, Node, Value};
use std::sync::Arc;

/// Deepest chain of files that include each other.
const MAX_DEPTH: usize = 30;

impl Loader<'_> {
    /// Adds the resources of every included project to a document.
    pub(super) fn include(&mut self, top: &mut Map, include: &Node, file: &str, scope: &Scope, included: &[String]) {
        let mut trail = included.to_vec();
        trail.push(file.to_owned());
        for entry in include.as_list().unwrap_or(&[]) {
            if entry.as_map().is_some() {
                self.include_one(top, entry, scope, &trail);
            }
        }
    }

    fn include_one(&mut self, top: &mut Map, entry: &Node, scope: &Scope, trail: &[String]) {
        let mut files = Vec::new();
        for path in entry.items("path") {
            let Some(text) = path.as_text() else { return };
            if text.contains("://") || text.starts_with("git@") {
                let message = format!("`{text}` is not on this machine; remote files are not fetched");
                return self.context.error_on(
                    "RS0405",
                    path,
                    message,
                    Some("fetch it first, then include the copy".to_owned()),
                );
            }
            let file = self.absolute(text, &scope.folder);
            if !self.input.source.exists(&file) {
                let message = format!("the included file does not exist: `{file}`");
                return self.context.error_on("RS0100", path, message, None);
            }
            files.push(file);
        }
        let Some(main) = files.first() else { return };
        let is_circle = trail.contains(main);
        if is_circle || trail.len() > MAX_DEPTH {
            let chain: Vec<&str> = trail.iter().chain([main]).map(String::as_str).collect();
            let what = match is_circle {
                true => "files include each other in a circle".to_owned(),
                false => format!("files include each other more than {MAX_DEPTH} deep"),
            };
            let message = format!("{what}: {}", crate::names::chain(&chain));
            return self.context.error_on("RS0403", entry, message, Some("take one `include` out".to_owned()));
        }
        let folder = match entry.get_text("project_directory") {
            Some(folder) => self.absolute(folder, &scope.folder),
            None => parent(main).to_owned(),
        };
        let Some(inner) = self.include_scope(entry, folder, scope) else { return };
        let model = self.model(&files, &inner, trail);
        import(top, model);
    }

    /// The variables of an included project: those here, then its own env files.
    fn include_scope(&mut self, entry: &Node, folder: String, scope: &Scope) -> Option<Scope> {
        let mut files = Vec::new();
        if entry.items("env_file").is_empty() {
            let usual = format!("{folder}/.env");
            if self.input.source.exists(&usual) {
                files.push(usual);
            }
        }
        for node in entry.items("env_file") {
            let Some(path) = node.as_text().filter(|path| *path != "/dev/null") else { continue };
            let path = self.absolute(path, &scope.folder);
            if !self.input.source.exists(&path) {
                self.context.error_on("RS0205", node, format!("the env file does not exist: `{path}`"), None);
                return None;
            }
            files.push(path);
        }
        let mut env = scope.env.as_ref().clone();
        for (name, value) in environment::read_all(self, &files, &scope.env) {
            env.entry(name).or_insert(value);
        }
        let env_files = scope.env_files.iter().cloned().chain([files]).collect();
        Some(Scope { folder, env: Arc::new(env), env_files })
    }
}

/// Adds sections; where both define something, the including file goes on top.
fn import(top: &mut Map, model: Map) {
    for (name, section) in model {
        let Some(field) = schema::find(TOP, &name) else { continue };
        if !matches!(section.value, Value::Map(_)) {
            continue;
        }
        let merged = match top.remove(&name) {
            Some(own) => merge::value(&field.kind, section, own),
            None => section,
        };
        top.insert(name, merged);
    }
}
