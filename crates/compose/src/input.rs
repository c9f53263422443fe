//! What the caller hands in: names of files, the environment, and a way to read.

use std::collections::BTreeMap;

/// Where files come from. Paths are absolute and clean, except `-` for standard input.
pub trait Files {
    /// The whole content of a file.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;

    /// Is there something at this path (file or folder)?
    fn exists(&self, path: &str) -> bool;
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// What kind of failure.
    pub kind: FileErrorKind,
    /// The system's words, such as `permission denied (os error 13)`.
    pub message: String,
}

/// Kinds of failure that the loader tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileErrorKind {
    /// No such file.
    NotFound,
    /// It is a folder.
    IsFolder,
    /// Anything else.
    Other,
}

/// One request to load a project.
pub struct Input<'a> {
    /// `-f`, in order; relative to `cwd`; `-` is standard input. Empty: `COMPOSE_FILE`, else the
    /// usual names are looked for in `cwd` and its parents (see [`crate::discover`]).
    pub files: Vec<String>,
    /// `--project-directory`.
    pub project_dir: Option<String>,
    /// `-p`.
    pub project_name: Option<String>,
    /// `--profile`; `*` means all. `COMPOSE_PROFILES` is used when empty.
    pub profiles: Vec<String>,
    /// `--env-file`, in order. Empty: `COMPOSE_ENV_FILES`, else `.env` of the project folder.
    pub env_files: Vec<String>,
    /// The environment of the command.
    pub env: BTreeMap<String, String>,
    /// Working folder, absolute.
    pub cwd: String,
    /// Reads files.
    pub source: &'a dyn Files,
    /// How far to go.
    pub options: Options,
}

/// How far loading goes; the default is what `up` needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// False for `config --no-interpolate`.
    pub interpolate: bool,
    /// False for `config --no-normalize`.
    pub normalize: bool,
    /// False for `config --no-path-resolution`.
    pub absolute_paths: bool,
    /// False for `config --no-consistency`: nobody asks whether what services name is there.
    pub check: bool,
    /// False for `config`, which only shows: what the file says right, but could not run (a port
    /// published twice, the missing file of a secret), is then a warning.
    pub running: bool,
    /// Services named on the command line: their profiles count as active.
    pub services: Vec<String>,
}

impl Options {
    /// Is everything there that a stack is made of?
    pub(crate) fn is_whole(&self) -> bool {
        self.interpolate && self.normalize && self.absolute_paths && self.check
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            interpolate: true,
            normalize: true,
            absolute_paths: true,
            check: true,
            running: true,
            services: Vec::new(),
        }
    }
}

impl<'a> Input<'a> {
    /// An input with everything left to discovery.
    pub fn new(cwd: impl Into<String>, source: &'a dyn Files) -> Self {
        Input {
            files: Vec::new(),
            project_dir: None,
            project_name: None,
            profiles: Vec::new(),
            env_files: Vec::new(),
            env: BTreeMap::new(),
            cwd: cwd.into(),
            source,
            options: Options::default(),
        }
    }
}
