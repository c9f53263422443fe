//! What a source says now: its newest commit, and the stacks in it.

use super::elsewhere;
use crate::clock;
use crate::failure;
use crate::shared::Daemon;
use ::gitops::files::{DISK, Folder, Jail, Recorder, Touched};
use ::gitops::git::{Git, GitError, Remote};
use ::gitops::projects::{self, Project};
use ::gitops::tree::Tree;
use model::diagnostic::{Diagnostic, Severity};
use model::{Commit, Origin, Source, StackSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The commit.
    pub(super) commit: Commit,
    /// Its stacks that are not as they were when they were applied last; images are not pinned.
    pub(super) stacks: Vec<StackSpec>,
    /// The names of all of its stacks.
    pub(super) names: BTreeSet<String>,
    /// Files of a path, to be watched.
    pub(super) touched: Touched,
    /// What is to be told of it.
    pub(super) warnings: Vec<Diagnostic>,
    /// What is known once this is applied.
    pub(super) known: Known,
}

/// Why nothing was found.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may be otherwise next time.
    Unreachable(String),
    /// This commit will not be otherwise.
    Invalid(Box<Refused>),
}

/// What is wrong with a commit.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) commit: Commit,
    pub(super) message: String,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Files of a path, to be watched.
    pub(super) touched: Touched,
}

impl Trouble {
    /// For people, with what is wrong in the files.
    pub(super) fn message(&self) -> String {
        match self {
            Trouble::Unreachable(message) => message.clone(),
            Trouble::Invalid(refused) => {
                let Refused { message, diagnostics, .. } = &**refused;
                let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
                let lines: Vec<String> = errors.map(|diagnostic| diagnostic.message.clone()).collect();
                if lines.is_empty() { message.clone() } else { lines.join("\n") }
            }
        }
    }
}

/// What each project was made of when it was applied last, so that only those are read again that changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Version of the source's spec.
    version: u64,
    /// By file.
    projects: BTreeMap<String, KnownProject>,
}

/// One project, as it was read.
#[derive(Debug, Clone)]
struct KnownProject {
    stack: String,
    /// What the content of each of its files is called.
    files: BTreeMap<String, Option<String>>,
    /// They hold as long as the files do.
    warnings: Vec<Diagnostic>,
}

impl Known {
    /// Nothing, of this version of the source's spec.
    pub(super) fn of(version: u64) -> Known {
        Known { version, ..Known::default() }
    }
}

/// Fetches the newest commit and reads it. `all`: also what did not change.
///
/// # Errors
/// Why nothing can be applied.
pub(super) async fn newest(
    daemon: &Arc<Daemon>,
    source: &Arc<Source>,
    known: &mut Known,
    all: bool,
) -> Result<Found, Trouble> {
    if known.version != source.version || all {
        *known = Known::of(source.version);
    }
    match &source.spec.origin {
        Origin::Path { path, .. } => match elsewhere::place(daemon, source) {
            Some((node, path)) => elsewhere::read(daemon, source, node, path).await,
            None => here(source, path).await,
        },
        Origin::Git { url, reference } => {
            let (commit, by) = resolve(daemon, source, url, reference).await?;
            from_git(daemon, source, url, (&commit, &by), known.clone(), all).await
        }
    }
}

/// Reads files of this node.
///
/// # Errors
/// As [`newest`].
pub(super) async fn here(source: &Arc<Source>, path: &str) -> Result<Found, Trouble> {
    let (source, path) = (source.clone(), path.to_owned());
    let reading = tokio::task::spawn_blocking(move || from_path(&source, &path));
    reading.await.map_err(|error| Trouble::Unreachable(failure::joined(error).message))?
}

fn trouble(error: &GitError) -> Trouble {
    Trouble::Unreachable(failure::chain(error))
}

fn remote<'a>(source: &'a Source, url: &'a str) -> Remote<'a> {
    Remote { url, credentials: &source.spec.credentials }
}

/// Which commit is wanted now.
pub(super) async fn resolve(
    daemon: &Daemon,
    source: &Source,
    url: &str,
    reference: &str,
) -> Result<(String, String), Trouble> {
    if let Some(pinned) = &source.pinned {
        return Ok((pinned.clone(), pinned.clone()));
    }
    let git = daemon.gitops.git().map_err(|error| Trouble::Unreachable(error.message))?;
    git.resolve(remote(source, url), reference).await.map_err(|error| trouble(&error))
}

async fn from_git(
    daemon: &Daemon,
    source: &Arc<Source>,
    url: &str,
    (commit, by): (&str, &str),
    known: Known,
    asked: bool,
) -> Result<Found, Trouble> {
    let git = daemon.gitops.git().map_err(|error| Trouble::Unreachable(error.message))?;
    let name = &source.spec.name;
    // A person may ask what would change while the follower fetches.
    let _held = git.hold(name).await;
    let commit = git.fetch(name, remote(source, url), commit, by).await.map_err(|error| trouble(&error))?;
    if let Some(signers) = &source.spec.credentials.allowed_signers {
        let signed = git.verify(name, &commit.id, signers).await;
        signed.map_err(|error| match error.is_final() {
            true => {
                let message = failure::chain(&error);
                invalid(commit.clone(), vec![Diagnostic::error("RS8018", message)], Touched::default())
            }
            false => trouble(&error),
        })?;
    }
    let warnings = rewritten(git, source, url, &commit, by, asked).await?;
    let tree = git.tree(name, &commit.id).await.map_err(|error| trouble(&error))?;
    let source = source.clone();
    let reading = tokio::task::spawn_blocking(move || from_tree(&source, commit, &tree, known));
    let found = reading.await.map_err(|error| Trouble::Unreachable(failure::joined(error).message))??;
    Ok(Found { warnings: [warnings, found.warnings].concat(), ..found })
}

/// A branch that no longer has the commit that runs was pushed with force: that is told, or refused where so
/// asked. A person who asks for it gets it.
async fn rewritten(
    git: &Git,
    source: &Source,
    url: &str,
    commit: &Commit,
    by: &str,
    asked: bool,
) -> Result<Vec<Diagnostic>, Trouble> {
    let Some(runs) = &source.status.applied else { return Ok(Vec::new()) };
    let contains = git.contains(&source.spec.name, remote(source, url), (&commit.id, by), runs).await;
    if contains.map_err(|error| trouble(&error))? {
        return Ok(Vec::new());
    }
    let branch = by.trim_start_matches("refs/heads/");
    let text = format!("branch {branch} was rewritten: it no longer has commit {}, which runs", runs.short());
    match source.spec.forward_only && !asked {
        true => {
            let error = Diagnostic::error("RS8021", text);
            let error = error.hint(format!("`rswarm gitops sync {}` takes it all the same", source.spec.name));
            Err(invalid(commit.clone(), vec![error], Touched::default()))
        }
        false => Ok(vec![Diagnostic::warning("RS8021", text)]),
    }
}

fn from_tree(source: &Source, commit: Commit, tree: &Tree, known: Known) -> Result<Found, Trouble> {
    let root = tree.root().to_owned();
    let recorder = Recorder::new(tree);
    let projects = match projects::find(&source.spec, &root, &recorder) {
        Ok(projects) => projects,
        Err(diagnostic) => return Err(invalid(commit, vec![*diagnostic], Touched::default())),
    };
    let mut all = Collected::new(known.version);
    for project in &projects {
        let same = known
            .projects
            .get(&project.file)
            .filter(|known| known.files.iter().all(|(path, id)| tree.id(path) == id.as_deref()));
        match same {
            Some(known) => all.keep(project, known),
            None => {
                let read = projects::read(&source.spec, &root, project, tree);
                let named = read.touched.paths().filter_map(Path::to_str);
                let files = named.map(|path| (path.to_owned(), tree.id(path).map(str::to_owned))).collect();
                all.add(project, read, files);
            }
        }
    }
    all.finish(commit, Touched::default())
}

fn invalid(commit: Commit, diagnostics: Vec<Diagnostic>, touched: Touched) -> Trouble {
    let message = "its files are refused".to_owned();
    Trouble::Invalid(Box::new(Refused { commit, message, diagnostics, touched }))
}

/// Stacks as they are read, one project after the other.
#[derive(Default)]
struct Collected {
    found: Found,
    diagnostics: Vec<Diagnostic>,
    touched: Touched,
}

impl Collected {
    fn new(version: u64) -> Collected {
        let mut all = Collected::default();
        all.found.known.version = version;
        all
    }

    fn name(&mut self, stack: &str, project: &Project) {
        if !self.found.names.insert(stack.to_owned()) {
            let text = format!("{} is the second project that is called {stack}", project.file);
            self.diagnostics.push(Diagnostic::error("RS8017", text).hint("give each a `name:` of its own"));
        }
    }

    fn keep(&mut self, project: &Project, known: &KnownProject) {
        self.name(&known.stack, project);
        self.diagnostics.extend(known.warnings.iter().cloned());
        self.found.known.projects.insert(project.file.clone(), known.clone());
    }

    fn add(&mut self, project: &Project, read: projects::Read, files: BTreeMap<String, Option<String>>) {
        self.touched.extend(read.touched);
        if let Some(stack) = read.stack {
            self.name(&stack.name, project);
            // Nothing else is left where there is a stack.
            let known = KnownProject { stack: stack.name.clone(), files, warnings: read.diagnostics.clone() };
            self.found.known.projects.insert(project.file.clone(), known);
            self.found.stacks.push(stack);
        }
        self.diagnostics.extend(read.diagnostics);
    }

    fn finish(self, commit: Commit, mut touched: Touched) -> Result<Found, Trouble> {
        touched.extend(self.touched);
        if self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(invalid(commit, self.diagnostics, touched));
        }
        Ok(Found { commit, touched, warnings: self.diagnostics, ..self.found })
    }
}

fn from_path(source: &Source, path: &str) -> Result<Found, Trouble> {
    let (root, spec) = match Path::new(path).is_file() {
        false => (path.to_owned(), source.spec.clone()),
        true => {
            let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
            let paths = vec![file.to_owned()];
            (folder.to_owned(), model::SourceSpec { paths, ..source.spec.clone() })
        }
    };
    let folder = std::fs::canonicalize(if root.is_empty() { "/" } else { &root })
        .map_err(|error| Trouble::Unreachable(format!("{path}: {error}")))?;
    let jail = Jail { folder };
    let files: &dyn Folder = if spec.allow.contains(&model::Allowance::Bind) { &DISK } else { &jail };
    let recorder = Recorder::new(files);
    let projects = projects::find(&spec, &root, &recorder);
    let mut listed = recorder.finish();
    let projects = match projects {
        Ok(projects) => projects,
        Err(diagnostic) => {
            let commit = of_files(&listed, path);
            return Err(invalid(commit, vec![*diagnostic], listed));
        }
    };
    let mut all = Collected::new(source.version);
    for project in &projects {
        all.add(project, projects::read(&spec, &root, project, files), BTreeMap::new());
    }
    listed.extend(all.touched.clone());
    let commit = of_files(&listed, path);
    all.finish(commit, listed)
}

/// The state of the files as a commit.
fn of_files(touched: &Touched, path: &str) -> Commit {
    let newest = touched.paths().filter_map(|path| path.metadata().ok()?.modified().ok()).max();
    let time = newest.map_or_else(clock::now, clock::of);
    Commit { id: touched.digest(), subject: path.to_owned(), author: String::new(), time }
}

/// Where a path source is read from, for those who watch it.
pub(super) fn files(source: &Source) -> Box<dyn Folder + Send + Sync> {
    match &source.spec.origin {
        Origin::Path { path, .. } if !source.spec.allow.contains(&model::Allowance::Bind) => {
            let path = Path::new(path);
            let folder = if path.is_file() { path.parent().unwrap_or(path) } else { path };
            Box::new(Jail { folder: std::fs::canonicalize(folder).unwrap_or_else(|_| PathBuf::from(folder)) })
        }
        _ => Box::new(DISK),
    }
}
