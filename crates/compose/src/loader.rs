//! Reads files, and puts one tree together from all of them: documents, `include`, `extends`,
//! further `-f` files.

mod environment;
mod extends;
mod include;
mod read;

use crate::canon;
use crate::check::{Check, Path};
use crate::context::Context;
use crate::input::Input;
use crate::interpolate::{self, Finding, TemplateError};
use crate::merge;
use crate::paths::Base;
use crate::schema::{Kind, TOP};
use crate::tree::{Map, Node, Tag, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use environment::{Setup, VALUE_KEY, setup};
pub(crate) use read::explain;

/// Most files that one project may read; ends cycles that names hide.
const MAX_FILES: usize = 500;

/// Variables.
pub(crate) type Env = Arc<BTreeMap<String, String>>;

/// The state of one loading.
pub(crate) struct Loader<'a> {
    /// What was asked for.
    pub(crate) input: &'a Input<'a>,
    /// Texts and findings.
    pub(crate) context: Context,
    /// Documents by path, as parsed.
    documents: BTreeMap<String, Arc<Vec<Node>>>,
    /// Services of files that others extend, by path; as written, with variables filled in.
    bases: BTreeMap<String, Arc<Map>>,
    /// Services of such files with what they extend themselves, by path and name.
    extended: BTreeMap<(String, String), Node>,
    /// Values that `extends` copied.
    copied: usize,
    /// Services (file and name) of circles that were told.
    circles: BTreeSet<(String, String)>,
    /// Variables that were told to be unset.
    unset: BTreeSet<String>,
    /// Files read so far.
    reads: usize,
    /// The scope of each file, for `explain`.
    pub(crate) scopes: BTreeMap<String, Scope>,
}

/// Where a file belongs: its folder for relative paths, and its variables.
#[derive(Clone)]
pub(crate) struct Scope {
    /// Absolute.
    pub(crate) folder: String,
    /// What `${…}` finds.
    pub(crate) env: Env,
    /// Groups of env files that it comes from, where the shell does not have it: those of the
    /// project, then those of each `include` on the way.
    pub(crate) env_files: Vec<Vec<String>>,
}

impl<'a> Loader<'a> {
    /// A loader that has read nothing.
    pub(crate) fn new(input: &'a Input<'a>) -> Self {
        let context = Context::new(&input.cwd);
        Loader {
            input,
            context,
            documents: BTreeMap::new(),
            bases: BTreeMap::new(),
            extended: BTreeMap::new(),
            copied: 0,
            circles: BTreeSet::new(),
            unset: BTreeSet::new(),
            reads: 0,
            scopes: BTreeMap::new(),
        }
    }

    /// The tree of some files: merged, in its one form, paths absolute.
    pub(crate) fn model(&mut self, files: &[String], scope: &Scope, included: &[String]) -> Map {
        let mut model = Node::new(Value::Map(Map::new()), Default::default());
        for file in files {
            let documents = self.take_documents(file);
            if self.context.trace {
                self.scopes.insert(file.clone(), scope.clone());
            }
            let partial = files.len() > 1 || documents.len() > 1;
            for document in documents {
                if let Some(document) = self.document(document, file, scope, included, partial) {
                    model = merge::value(&Kind::Object(TOP), model, document);
                }
            }
        }
        merge::settle(&mut model);
        let mut model = merge::take_map(&mut model);
        // paths of an included project only make sense where it is
        self.paths(&mut model, &scope.folder, self.input.options.absolute_paths || !included.is_empty());
        if self.input.options.interpolate {
            environment::fill(&mut model, &scope.env);
        }
        model
    }

    /// One document, ready to be merged.
    fn document(
        &mut self,
        mut node: Node,
        file: &str,
        scope: &Scope,
        included: &[String],
        partial: bool,
    ) -> Option<Node> {
        if node.value == Value::Null {
            let hint = "write `services:` in it, or take out the `---` that it stands behind".to_owned();
            self.context.error_on("RS0109", &node, "this document is empty", Some(hint));
            return None;
        }
        if node.as_map().is_none() {
            let message = format!("a Compose file is a mapping, not {}", node.describe());
            self.context.error_on("RS0108", &node, message, Some("start with `services:`".to_owned()));
            return None;
        }
        self.interpolate(&mut node, &scope.env);
        let extends = has_extends(&node);
        let templates = !self.input.options.interpolate;
        Check { context: &mut self.context, partial: partial || extends, templates }.value(
            &Kind::Object(TOP),
            &node,
            &Path::Root,
        );
        if self.context.is_spent() {
            return None;
        }
        canon::value(&Kind::Object(TOP), &mut node);
        let top = node.as_map_mut()?;
        top.remove("version");
        if let Some(include) = top.remove("include").filter(|include| include.tag != Tag::Reset) {
            self.include(top, &include, file, scope, included);
        }
        if extends {
            self.extend_all(top, file, scope);
        }
        Some(node)
    }

    /// Fills in variables, and tells what could not be.
    fn interpolate(&mut self, node: &mut Node, env: &Env) {
        if !self.input.options.interpolate {
            return;
        }
        let mut findings = Vec::new();
        let mut spend = |bytes| self.context.spend(bytes);
        interpolate::tree(node, &|name| env.get(name).cloned(), &mut spend, &mut findings);
        for finding in findings {
            self.finding(finding);
        }
    }

    fn finding(&mut self, finding: Finding) {
        match finding {
            Finding::Unset(node, name) => {
                if self.unset.insert(name.clone()) {
                    let message = format!("the variable `{name}` is not set and becomes an empty text");
                    let hint = format!("set it, or give it a default: `${{{name}:-default}}`");
                    self.context.warn_on("RS0203", &node, message, Some(hint));
                }
            }
            Finding::Failed(node, TemplateError::Invalid) => {
                let message =
                    format!("`{}` is no valid template", node.as_text().map(crate::tree::shorten).unwrap_or_default());
                let hint = "variables are `${NAME}` or `${NAME:-default}`; a plain `$` is written `$$`".to_owned();
                self.context.error_on("RS0201", &node, message, Some(hint));
            }
            Finding::Failed(node, TemplateError::Required { name, reason }) => {
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                let message = format!("the required variable `{name}` has no value{reason}");
                let hint = format!("set it in the environment or in an env file: `{name}=...`");
                self.context.error_on("RS0202", &node, message, Some(hint));
            }
            Finding::Failed(node, TemplateError::TooLarge) => {
                let message = "this template is nested too deeply, or the results are too long";
                self.context.error_on("RS0206", &node, message, None);
            }
        }
    }

    fn paths(&self, model: &mut Map, folder: &str, absolute: bool) {
        let base = Base { folder, home: self.home() };
        for service in model.get_mut("services").and_then(Node::as_map_mut).into_iter().flat_map(Map::values_mut) {
            default_context(service);
            if absolute {
                base.service(service);
            }
        }
        if absolute {
            base.resources(model);
        }
    }

    fn home(&self) -> Option<&'a str> {
        self.input.env.get("HOME").map(String::as_str)
    }

    /// A path as written in a file or on the command line, absolute.
    fn absolute(&self, path: &str, folder: &str) -> String {
        Base { folder, home: self.home() }.absolute(path)
    }
}

/// A build without a context builds the project folder.
fn default_context(service: &mut Node) {
    let build = service.as_map_mut().and_then(|service| service.get_mut("build"));
    if let Some(build) = build.and_then(Node::as_map_mut) {
        build.or_insert_with("context", || Node::text(".", Default::default()));
    }
}

fn has_extends(node: &Node) -> bool {
    node.entries("services").any(|(_, service)| service.get("extends").is_some())
}
