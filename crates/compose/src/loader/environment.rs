//! What is known before any file is merged: which files, which folder, which variables, which name.

use super::{Env, Loader};
use crate::canon::clean_path;
use crate::discover;
use crate::dotenv;
use crate::interpolate;
use crate::names;
use crate::paths::parent;
use crate::tree::{At, Map, Node, Tag, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Key under which the value of a config's or secret's variable is kept; nobody can write it.
pub(crate) const VALUE_KEY: &str = "x-#value";

/// What is known before any file is merged.
pub(crate) struct Setup {
    /// Absolute paths.
    pub(crate) files: Vec<String>,
    /// The project folder.
    pub(crate) folder: String,
    /// Variables.
    pub(crate) env: Env,
    /// The env files that they come from, where the shell does not have them.
    pub(crate) env_files: Vec<String>,
    /// The project's name.
    pub(crate) name: String,
    /// Where the name is written, if it is that of a file.
    pub(crate) name_at: At,
    /// Active profiles.
    pub(crate) profiles: Vec<String>,
}

/// Finds out; `None` when there is nothing to load, which is told.
pub(crate) fn setup(loader: &mut Loader<'_>) -> Option<Setup> {
    let input = loader.input;
    let in_cwd = |path: &str| if path == "-" { path.to_owned() } else { loader.absolute(path, &input.cwd) };
    let folder = input.project_dir.as_deref().map(|folder| clean_path(&in_cwd(folder)));
    let mut files: Vec<String> = input.files.iter().map(|file| in_cwd(file)).collect();
    // the first look at `.env` may name the files; the second is in their folder
    let early = folder_of(&folder, &files, &input.cwd);
    let (early_env, early_files) = variables(loader, &early);
    if files.is_empty() {
        files = named_files(loader, &early_env);
    }
    if files.is_empty() {
        let start = folder.as_deref().unwrap_or(&input.cwd);
        files = discover::discover(start, &|path| input.source.exists(path));
    }
    if files.is_empty() {
        let message = format!("there is no Compose file in `{}` or above it", input.cwd);
        let hint = format!("name one with `-f`, or make a {}", discover::NAMES[0]);
        loader.context.error_hint("RS0110", At::default(), message, hint);
        return None;
    }
    let folder = folder_of(&folder, &files, &input.cwd);
    let (mut env, env_files) = if folder == early { (early_env, early_files) } else { variables(loader, &folder) };
    let (name, name_at) = project_name(loader, &files, &folder, &env)?;
    env.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    let profiles = profiles(loader, &env);
    Some(Setup { files, folder, env: Arc::new(env), env_files, name, name_at, profiles })
}

fn folder_of(folder: &Option<String>, files: &[String], cwd: &str) -> String {
    match (folder, files.first()) {
        (Some(folder), _) => folder.clone(),
        (None, Some(file)) if file != "-" => parent(file).to_owned(),
        _ => cwd.to_owned(),
    }
}

fn named_files(loader: &Loader<'_>, env: &BTreeMap<String, String>) -> Vec<String> {
    let separator = env.get("COMPOSE_PATH_SEPARATOR").filter(|text| !text.is_empty()).map_or(":", String::as_str);
    let Some(list) = env.get("COMPOSE_FILE").filter(|text| !text.is_empty()) else { return Vec::new() };
    let place = |file: &str| if file == "-" { file.to_owned() } else { loader.absolute(file, &loader.input.cwd) };
    list.split(separator).map(place).collect()
}

fn profiles(loader: &Loader<'_>, env: &BTreeMap<String, String>) -> Vec<String> {
    if !loader.input.profiles.is_empty() {
        return loader.input.profiles.clone();
    }
    let list = env.get("COMPOSE_PROFILES").map_or("", String::as_str);
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The shell's variables, then those of the env files; and those files.
fn variables(loader: &mut Loader<'_>, folder: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let input = loader.input;
    let mut env = input.env.clone();
    let mut files: Vec<String> = input.env_files.clone();
    if files.is_empty()
        && let Some(list) = input.env.get("COMPOSE_ENV_FILES")
    {
        files = list.split(',').filter(|file| !file.is_empty()).map(str::to_owned).collect();
    }
    let named = !files.is_empty();
    let disabled = || {
        input
            .env
            .get("COMPOSE_DISABLE_ENV_FILE")
            .is_some_and(|text| matches!(text.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
    };
    if named {
        files = files.iter().map(|file| loader.absolute(file, &input.cwd)).collect();
    } else if !disabled() {
        let usual = format!("{}/.env", folder.trim_end_matches('/'));
        files = if is_file(loader, &usual) { vec![usual] } else { Vec::new() };
    }
    let known = Arc::new(env.clone());
    for (name, value) in read_all(loader, &files, &known) {
        env.entry(name).or_insert(value);
    }
    (env, files)
}

fn is_file(loader: &Loader<'_>, path: &str) -> bool {
    use crate::input::FileErrorKind::{IsFolder, NotFound};
    loader.input.source.exists(path)
        && !matches!(loader.input.source.read(path), Err(error) if matches!(error.kind, IsFolder | NotFound))
}

/// The variables of env files, later files over earlier ones; problems are told.
pub(super) fn read_all(loader: &mut Loader<'_>, files: &[String], known: &Env) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in files {
        let text = match loader.read_text(file) {
            Ok(text) if loader.context.spend_lines(text.as_bytes()) => text,
            Ok(_) => {
                let message = format!("env file `{file}`: the files of this project are too large together");
                loader.context.error("RS0205", At::default(), message);
                continue;
            }
            Err(message) => {
                loader.context.error("RS0205", At::default(), format!("env file `{file}`: {message}"));
                continue;
            }
        };
        let before = found.clone();
        let lookup = |name: &str| known.get(name).or_else(|| before.get(name)).cloned();
        if let Err(error) = dotenv::parse(&text, &mut found, &lookup) {
            let number = loader.context.add_text(file, &text);
            let at = At { file: number, line: error.line, column: 1, length: 1 };
            loader.context.error("RS0204", at, error.message);
        }
    }
    found
}

/// `-p`, `COMPOSE_PROJECT_NAME`, `name:` of the last file that has one, the folder's name.
fn project_name(
    loader: &mut Loader<'_>,
    files: &[String],
    folder: &str,
    env: &BTreeMap<String, String>,
) -> Option<(String, At)> {
    let given = loader.input.project_name.clone().or_else(|| env.get("COMPOSE_PROJECT_NAME").cloned());
    if let Some(name) = given.filter(|name| !name.is_empty()) {
        if names::project(&name) == name {
            return Some((name, At::default()));
        }
        let message = format!("`{name}` is no project name");
        let hint = format!("use lower-case letters, digits, `-` and `_`, such as `{}`", names::project(&name));
        loader.context.error_hint("RS0517", At::default(), message, hint);
        return None;
    }
    let mut written: Option<Node> = None;
    for file in files {
        for document in loader.documents(file).iter() {
            if let Some(name) = document.get("name").filter(|name| name.as_text().is_some_and(|text| !text.is_empty()))
            {
                written = Some(name.clone());
            }
        }
    }
    if let Some(node) = written {
        let text = node.as_text().unwrap_or_default();
        let lookup = |name: &str| env.get(name).cloned();
        // a broken template is told when the file itself is filled in
        let filled = interpolate::substitute(text, &lookup, &mut BTreeSet::new()).unwrap_or_else(|_| text.to_owned());
        let name = names::project(&filled);
        if !name.is_empty() {
            return Some((name, node.at));
        }
        let message = format!("`{}` makes no project name", crate::tree::shorten(&filled));
        let hint = "use lower-case letters, digits, `-` and `_`".to_owned();
        loader.context.error_on("RS0517", &node, message, Some(hint));
        return None;
    }
    let name = names::project(folder.rsplit('/').next().unwrap_or_default());
    if name.is_empty() {
        let hint = "give one with `-p`, or with `name:` in the file".to_owned();
        loader.context.error_hint(
            "RS0517",
            At::default(),
            format!("the folder `{folder}` makes no project name"),
            hint,
        );
        return None;
    }
    Some((name, At::default()))
}

/// Gives variables without a value (`- NAME`) and variables of configs and secrets their values.
pub(super) fn fill(model: &mut Map, env: &Env) {
    let section = |model: &mut Map, name: &str| model.get_mut(name).and_then(Node::as_map_mut).map(std::mem::take);
    if let Some(mut services) = section(model, "services") {
        for service in services.values_mut() {
            let Some(service) = service.as_map_mut() else { continue };
            fill_variables(service.get_mut("environment"), env);
            let args = service.get_mut("build").and_then(Node::as_map_mut).and_then(|build| build.get_mut("args"));
            fill_variables(args, env);
        }
        put_back(model, "services", services);
    }
    for name in ["configs", "secrets"] {
        let Some(mut objects) = section(model, name) else { continue };
        for object in objects.values_mut() {
            let value = object.get_text("environment").and_then(|name| env.get(name)).cloned();
            let place = object.clone_places();
            if let (Some(value), Some(map)) = (value, object.as_map_mut()) {
                map.insert(VALUE_KEY.to_owned(), Node { tag: Tag::Hidden, ..place.with_text(value) });
            }
        }
        put_back(model, name, objects);
    }
}

fn fill_variables(variables: Option<&mut Node>, env: &Env) {
    for (name, entry) in variables.and_then(Node::as_map_mut).into_iter().flatten() {
        if entry.value == Value::Null
            && let Some(value) = env.get(name)
        {
            entry.value = Value::Text(value.clone());
        }
    }
}

fn put_back(model: &mut Map, name: &str, entries: Map) {
    if let Some(node) = model.get_mut(name) {
        node.value = Value::Map(entries);
    }
}
