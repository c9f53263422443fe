//! What loading gives: the normalised project, the stack made of it, and what was found wrong.

use model::diagnostic::{Diagnostic, Severity};
use model::stack::StackSpec;

/// The result of [`crate::load`].
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The normalised project, as far as it could be read.
    pub project: Option<Project>,
    /// What to apply; `None` when there was an error.
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
}

impl Project {
    /// `config`: the normalised model as YAML.
    pub fn to_yaml(&self) -> String {
        String::new()
    }

    /// `config --format json`: the normalised model as JSON, indented by two spaces.
    pub fn to_json(&self) -> String {
        String::new()
    }

    /// `config --services`: active services, sorted.
    pub fn services(&self) -> Vec<String> {
        Vec::new()
    }

    /// `config --images`: the images of active services, sorted by service.
    pub fn images(&self) -> Vec<String> {
        Vec::new()
    }

    /// `config --networks`: keys, sorted.
    pub fn networks(&self) -> Vec<String> {
        Vec::new()
    }

    /// `config --volumes`: keys, sorted.
    pub fn volumes(&self) -> Vec<String> {
        Vec::new()
    }

    /// `config --hash`: a digest of one service's configuration, `None` for an unknown service.
    pub fn hash(&self, service: &str) -> Option<String> {
        let _ = service;
        None
    }
}
