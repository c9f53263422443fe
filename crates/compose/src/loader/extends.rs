//! `extends`: a service on top of another one of the same or another file.

use super::{Loader, Scope};
use crate::canon;
use crate::check::{Check, Path};
use crate::merge;
use crate::paths::{Base, parent};
use crate::schema::{Kind, SERVICE, TOP};
use crate::tree::{Map, Node, Via};
use std::sync::Arc;

/// Longest chain of services that extend each other.
const MAX_CHAIN: usize = 50;

/// Most values that `extends` may copy, all services together.
const MAX_COPIED: usize = 500_000;

/// A step of a chain: file and service.
type Step = (String, String);

fn inherited(name: &str, extends: &Node) -> Arc<Via> {
    let at = extends.get("service").map_or(extends.place(), Node::place);
    Arc::new(Via { note: format!("inherited by `{name}` through `extends`"), at, before: None, quiet: false })
}

/// Where the other services of a service's file are.
#[derive(Clone, Copy)]
enum Home<'s> {
    /// In the document that is being read, in their one form.
    Document(&'s Map, &'s str),
    /// In another file.
    File(&'s str),
}

impl Home<'_> {
    fn file(&self) -> &str {
        match self {
            Home::Document(_, file) | Home::File(file) => file,
        }
    }
}

impl Loader<'_> {
    /// Resolves every `extends` of a document.
    pub(super) fn extend_all(&mut self, top: &mut Map, file: &str, scope: &Scope) {
        let Some(services) = top.get("services").and_then(Node::as_map).cloned() else { return };
        for (name, service) in &services {
            if service.get("extends").is_none() {
                continue;
            }
            let home = Home::Document(&services, file);
            let extended = self.extend(name, service.clone(), home, scope, &mut Vec::new());
            if let (Some(extended), Some(entries)) = (extended, top.get_mut("services").and_then(Node::as_map_mut)) {
                entries.insert(name.clone(), extended);
            }
        }
    }

    /// A service with what it extends below it; `None` when that can't be.
    fn extend(
        &mut self,
        name: &str,
        mut service: Node,
        home: Home<'_>,
        scope: &Scope,
        trail: &mut Vec<Step>,
    ) -> Option<Node> {
        let Some(extends) = service.get("extends").cloned() else { return Some(service) };
        let step = (home.file().to_owned(), name.to_owned());
        if self.circles.contains(&step) {
            return None;
        }
        let is_circle = trail.contains(&step);
        if is_circle || trail.len() > MAX_CHAIN {
            trail.push(step);
            self.endless(&extends, trail, is_circle);
            return None;
        }
        trail.push(step);
        let target = extends.get_text("service")?;
        let base = match (extends.get_text("file"), home) {
            (Some(other), _) => {
                let other = self.absolute(other, &scope.folder);
                self.base_in_file(target, &other, name, &extends, scope, trail)
            }
            (None, Home::File(file)) => self.base_in_file(target, file, name, &extends, scope, trail),
            (None, Home::Document(services, _)) => match services.get(target) {
                Some(base) => self.extend(target, base.clone(), home, scope, trail),
                None => {
                    self.no_base(&extends, name, target, services, None);
                    None
                }
            },
        };
        trail.pop();
        let mut base = base?;
        self.copied += base.size();
        if self.copied > MAX_COPIED {
            let message = format!("the `extends` of this project copy more than {MAX_COPIED} values");
            self.context.error_on("RS0103", &extends, message, None);
            return None;
        }
        if let Some(map) = service.as_map_mut() {
            map.remove("extends");
        }
        if base.as_map().is_none() {
            return Some(service);
        }
        base.came_via(&inherited(name, &extends));
        Some(merge::extend(base, service))
    }

    /// Tells of a circle, or of a chain that is too long; of each service once.
    fn endless(&mut self, extends: &Node, trail: &[Step], is_circle: bool) {
        self.circles.extend(trail.iter().cloned());
        let chain: Vec<&str> = trail.iter().map(|(_, name)| name.as_str()).collect();
        let what = match is_circle {
            true => "services extend each other in a circle".to_owned(),
            false => format!("services extend each other more than {MAX_CHAIN} deep"),
        };
        let message = format!("{what}: {}", crate::names::chain(&chain));
        self.context.error_on("RS0402", extends, message, Some("take one `extends` out".to_owned()));
    }

    /// A service of another file, in its one form, with what it extends itself. Only what is used of
    /// the file is checked, and only once.
    fn base_in_file(
        &mut self,
        target: &str,
        file: &str,
        name: &str,
        extends: &Node,
        scope: &Scope,
        trail: &mut Vec<Step>,
    ) -> Option<Node> {
        let key = (file.to_owned(), target.to_owned());
        if let Some(known) = self.extended.get(&key) {
            return Some(known.clone());
        }
        let services = self.bases(file, scope, extends)?;
        let Some(service) = services.get(target) else {
            self.no_base(extends, name, target, &services, Some(file));
            return None;
        };
        let mut shown = service.clone();
        shown.came_via(&inherited(name, extends));
        let templates = !self.input.options.interpolate;
        let section = Path::Root.key("services");
        Check { context: &mut self.context, partial: true, templates }.value(
            &Kind::Object(SERVICE),
            &shown,
            &section.key(target),
        );
        if self.context.is_spent() {
            return None;
        }
        let mut service = service.clone();
        canon::value(&Kind::Object(SERVICE), &mut service);
        let inner = Scope { folder: parent(file).to_owned(), ..scope.clone() };
        Base { folder: &inner.folder, home: self.home() }.service(&mut service);
        let extended = self.extend(target, service, Home::File(file), &inner, trail)?;
        self.extended.insert(key, extended.clone());
        Some(extended)
    }

    /// The services of another file, with its variables filled in.
    fn bases(&mut self, path: &str, scope: &Scope, extends: &Node) -> Option<Arc<Map>> {
        if let Some(bases) = self.bases.get(path) {
            return Some(bases.clone());
        }
        if !self.input.source.exists(path) {
            let place = extends.get("file").unwrap_or(extends);
            let message = format!("the file to extend from does not exist: `{path}`");
            self.context.error_on("RS0100", place, message, None);
            return None;
        }
        if self.context.trace {
            self.scopes.entry(path.to_owned()).or_insert_with(|| scope.clone());
        }
        let mut whole = Node::default();
        for document in self.documents(path).iter() {
            let mut document = document.clone();
            self.interpolate(&mut document, &scope.env);
            whole = merge::value(&Kind::Object(TOP), whole, document);
        }
        let services = whole.get("services").and_then(Node::as_map).cloned().unwrap_or_default();
        let services = Arc::new(services);
        self.bases.insert(path.to_owned(), services.clone());
        Some(services)
    }

    fn no_base(&mut self, extends: &Node, name: &str, target: &str, services: &Map, file: Option<&str>) {
        let place = extends.get("service").unwrap_or(extends);
        let whose = file.map(|file| format!(" in `{file}`")).unwrap_or_default();
        let message = format!("`{name}` extends `{target}`, which is no service{whose}");
        let hint = crate::names::did_you_mean(target, services.keys().map(String::as_str));
        self.context.error_on("RS0401", place, message, hint);
    }
}
