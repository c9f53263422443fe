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

/// A step of a chain: file, service, place of its `extends`.
type Step = (String, String);

impl Loader<'_> {
    /// Resolves every `extends` of a document.
    pub(super) fn extend_all(&mut self, top: &mut Map, file: &str, scope: &Scope) {
        let Some(services) = top.get("services").and_then(Node::as_map).cloned() else { return };
        for (name, service) in &services {
            if service.get("extends").is_none() {
                continue;
            }
            let extended = self.extend(name, &services, file, scope, &mut Vec::new());
            if let (Some(extended), Some(entries)) = (extended, top.get_mut("services").and_then(Node::as_map_mut)) {
                entries.insert(name.clone(), extended);
            }
        }
    }

    /// A service with what it extends below it; `None` when that can't be.
    fn extend(&mut self, name: &str, services: &Map, file: &str, scope: &Scope, trail: &mut Vec<Step>) -> Option<Node> {
        let mut service = services.get(name)?.clone();
        let Some(extends) = service.get("extends").cloned() else { return Some(service) };
        let step = (file.to_owned(), name.to_owned());
        if trail.contains(&step) || trail.len() > MAX_CHAIN {
            trail.push(step);
            let told = trail.iter().any(|step| self.circles.contains(step));
            self.circles.extend(trail.iter().cloned());
            let chain: Vec<&str> = trail.iter().map(|(_, name)| name.as_str()).collect();
            let message = format!("services extend each other in a circle: {}", chain.join(" -> "));
            if !told {
                self.context.error_on("RS0402", &extends, message, Some("take one `extends` out".to_owned()));
            }
            return None;
        }
        trail.push(step);
        let target = extends.get_text("service")?.to_owned();
        let place = extends.get("service").map_or(extends.place(), Node::place);
        let note = format!("inherited by `{name}` through `extends`");
        let via = Arc::new(Via { note, at: place, before: None });
        let base = match extends.get_text("file") {
            None => {
                if !services.contains_key(&target) {
                    self.no_base(&extends, name, &target, services, None);
                    return None;
                }
                let mut base = self.extend(&target, services, file, scope, trail)?;
                base.came_via(&via);
                base
            }
            Some(other) => {
                let other = self.absolute(other, &scope.folder);
                let bases = self.bases(&other, scope, &extends)?;
                if !bases.contains_key(&target) {
                    self.no_base(&extends, name, &target, &bases, Some(&other));
                    return None;
                }
                let inner = Scope { folder: parent(&other).to_owned(), env: scope.env.clone() };
                self.extend_checked((&target, &via), &bases, &other, &inner, trail)?
            }
        };
        if let Some(map) = service.as_map_mut() {
            map.remove("extends");
        }
        if base.as_map().is_none() {
            return Some(service);
        }
        Some(merge::extend(base, service))
    }

    /// A base in another file: only what is used is checked.
    fn extend_checked(
        &mut self,
        (name, via): (&str, &Arc<Via>),
        services: &Map,
        file: &str,
        scope: &Scope,
        trail: &mut Vec<Step>,
    ) -> Option<Node> {
        let mut services = services.clone();
        services.get_mut(name)?.came_via(via);
        let services_path = Path::Root.key("services");
        Check { context: &mut self.context, partial: true }.value(
            &Kind::Object(SERVICE),
            services.get(name)?,
            &services_path.key(name),
        );
        let base = Base { folder: &scope.folder, home: self.home() };
        for service in services.values_mut() {
            canon::value(&Kind::Object(SERVICE), service);
            base.service(service);
        }
        self.extend(name, &services, file, scope, trail)
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
