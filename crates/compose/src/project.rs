//! What loading gives: the normalised project, the stack made of it, and what was found wrong.

use crate::context::Context;
use crate::emit;
use crate::schema::{self, Kind};
use crate::tree::{Map, Node, Value};
use model::diagnostic::{Diagnostic, Severity};
use model::stack::StackSpec;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// The result of [`crate::load`].
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The normalised project, as far as it could be read.
    pub project: Option<Project>,
    /// What to apply; `None` when there was an error, or when the options ask for less than that.
    pub stack: Option<StackSpec>,
    /// Errors and warnings in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Was anything wrong enough to stop?
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}

/// A project after merge, interpolation and normalisation: what `config` prints.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// Project name.
    pub name: String,
    /// The files that were loaded, absolute (`-` for standard input).
    pub files: Vec<String>,
    /// The project folder, absolute.
    pub folder: String,
    /// Every profile that a service names, sorted.
    pub profiles: Vec<String>,
    /// The normalised tree; only active services.
    pub(crate) model: Node,
    /// Dollars in it are literal and print twice, so that the output can be loaded again.
    pub(crate) filled: bool,
}

impl Project {
    /// `config`: the normalised model as YAML.
    pub fn to_yaml(&self) -> String {
        self.escaped(emit::yaml(&self.model, self.kind()))
    }

    /// `config --format json`: the normalised model as JSON, indented by two spaces.
    pub fn to_json(&self) -> String {
        self.escaped(emit::json(&self.model, self.kind())) + "\n"
    }

    /// What the tree is, which decides the order of its keys. With variables in it, names do.
    fn kind(&self) -> Option<Kind> {
        self.filled.then_some(Kind::Object(schema::TOP))
    }

    fn escaped(&self, text: String) -> String {
        if self.filled { text.replace('$', "$$") } else { text }
    }

    fn section(&self, name: &str) -> impl Iterator<Item = (&String, &Node)> {
        self.model.entries(name)
    }

    /// `config --services`: active services, sorted.
    pub fn services(&self) -> Vec<String> {
        self.section("services").map(|(name, _)| name.clone()).collect()
    }

    /// `config --images`: the images of active services, sorted by service.
    pub fn images(&self) -> Vec<String> {
        self.section("services").map(|(name, service)| self.image(name, service)).collect()
    }

    /// The image of a service. One that is only built has the name that its image would get.
    pub(crate) fn image(&self, name: &str, service: &Node) -> String {
        service.get_text("image").map_or_else(|| format!("{}-{name}", self.name), str::to_owned)
    }

    /// Active services that name an image, with its name.
    pub fn named_images(&self) -> impl Iterator<Item = (&str, &str)> {
        self.section("services").filter_map(|(name, service)| Some((name.as_str(), service.get_text("image")?)))
    }

    /// Gives the image of a service another name, such as one with its digest. A service without an
    /// image stays without.
    pub fn set_image(&mut self, service: &str, image: &str) {
        let mut at = Some(&mut self.model);
        for key in ["services", service, "image"] {
            at = at.and_then(Node::as_map_mut).and_then(|map| map.get_mut(key));
        }
        if let Some(node) = at {
            node.value = Value::Text(image.to_owned());
        }
    }

    /// `config --networks`: keys, sorted.
    pub fn networks(&self) -> Vec<String> {
        self.section("networks").map(|(name, _)| name.clone()).collect()
    }

    /// `config --volumes`: keys, sorted.
    pub fn volumes(&self) -> Vec<String> {
        self.section("volumes").map(|(name, _)| name.clone()).collect()
    }

    /// `config --hash`: a digest of one service's configuration, `None` for an unknown service. What
    /// does not change a container (replicas, dependencies, profiles) does not change it.
    pub fn hash(&self, service: &str) -> Option<String> {
        let mut node = self.model.get("services")?.get(service)?.clone();
        if let Some(map) = node.as_map_mut() {
            for key in ["build", "depends_on", "profiles", "pull_policy", "scale"] {
                map.remove(key);
            }
            if let Some(deploy) = map.get_mut("deploy").and_then(Node::as_map_mut) {
                deploy.remove("replicas");
            }
        }
        Some(hex::encode(Sha256::digest(emit::json(&node, None))))
    }

    /// `config SERVICE…`: leaves these services and what they depend on; what is beside services stays.
    pub fn keep_services(&mut self, names: &[String]) {
        let mut kept = BTreeSet::new();
        let mut open = names.to_vec();
        while let Some(name) = open.pop() {
            let Some(service) = self.model.get("services").and_then(|services| services.get(&name)) else { continue };
            open.extend(service.entries("depends_on").map(|(other, _)| other.clone()).filter(|it| !kept.contains(it)));
            kept.insert(name);
        }
        let services = self.model.as_map_mut().and_then(|top| top.get_mut("services")).and_then(Node::as_map_mut);
        if let Some(services) = services {
            services.retain(|name, _| kept.contains(name));
        }
    }

    /// A project without services.
    pub(crate) fn empty(name: String, files: Vec<String>, folder: String) -> Project {
        let model = Node::new(Value::Map(Map::new()), Default::default());
        Project { name, files, folder, profiles: Vec::new(), model, filled: true }
    }
}

/// The places of a project's values, for what is found wrong after loading.
#[derive(Debug, Clone)]
pub struct Places {
    context: Context,
}

impl Places {
    /// Places in the texts that a loading has read.
    pub(crate) fn new(context: Context) -> Places {
        Places { context }
    }

    /// An error about the image of a service of the project that was loaded with these places.
    pub fn image_error(&mut self, project: &Project, service: &str, message: String, hint: Option<String>) {
        let node = project.model.get("services").and_then(|all| all.get(service)).and_then(|it| it.get("image"));
        self.context.error_on("RS0801", node.unwrap_or(&project.model), message, hint);
    }

    /// The errors so far, in the order of the files.
    pub fn into_errors(mut self) -> Vec<Diagnostic> {
        self.context.take_diagnostics()
    }
}
