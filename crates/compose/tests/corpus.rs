//! Real files of many projects, held against what the reference implementation made of them.
//! The corpus lies beside the repository; without it the test says so and passes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test reads files and talks"
)]

use compose::{FileError, FileErrorKind, Files, Input, Loaded, load};
use model::diagnostic::Severity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Share of the valid cases that must agree; all do, so this only moves up.
const AGREE_PERCENT: f64 = 99.9;

/// The files of this machine.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(path).map_err(|error| FileError {
            kind: match error.kind() {
                std::io::ErrorKind::NotFound => FileErrorKind::NotFound,
                std::io::ErrorKind::IsADirectory => FileErrorKind::IsFolder,
                _ => FileErrorKind::Other,
            },
            message: error.to_string(),
        })
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).exists()
    }
}

struct Case {
    id: String,
    cwd: String,
    files: Vec<String>,
    project_directory: String,
    project_name: String,
    profiles: Vec<String>,
    env: BTreeMap<String, String>,
    verdicts: [String; 2],
}

#[test]
fn agrees_with_the_reference() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let Ok(root) = root.canonicalize() else {
        eprintln!("SKIPPED: the corpus is not there");
        return;
    };
    let cases = cases(&root);
    let only = std::env::var("CORPUS_ONLY").unwrap_or_default();
    let mut tally = Tally::default();
    for case in cases.iter().filter(|case| case.id.contains(&only)) {
        tally.add(&root, case);
    }
    tally.report();
    if only.is_empty() {
        tally.hold();
    }
}

/// Files as people write them, each kept beside what Docker Compose 2.26.1 makes of it.
#[test]
fn files_as_people_write_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/people");
    let here = folder.to_str().unwrap();
    let names = names(&folder, ".json");
    assert!(names.len() >= 50, "only {names:?}");
    let mut differences = Vec::new();
    for name in names {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let text = text.replace("@HERE@", here).replace("@UP@", folder.parent().unwrap().to_str().unwrap());
        let mut found = Vec::new();
        match people(here, &name).project {
            Some(project) => diff(
                &normal(serde_json::from_str(&text).unwrap()),
                &normal(serde_json::from_str(&project.to_json()).unwrap()),
                &name,
                &mut found,
            ),
            None => found.push(format!("{name}: no project")),
        }
        differences.extend(found);
    }
    for (known, why) in KNOWN {
        let before = differences.len();
        differences.retain(|found| !found.starts_with(known));
        assert!(differences.len() < before, "no longer a difference: {known} ({why})");
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Where nothing differs in meaning, nothing differs in the text either: order of keys, quotes, blocks.
#[test]
fn yaml_reads_as_that_of_the_reference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/people");
    let here = folder.to_str().unwrap();
    let names = names(&folder, ".txt");
    assert!(names.len() >= 22, "only {names:?}");
    for name in names {
        let text = std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
        let ours = people(here, &name).project.unwrap().to_yaml();
        assert_eq!(ours, text.replace("@HERE@", here), "{name}");
    }
}

/// What the files of a folder with this ending are called, sorted.
fn names(folder: &Path, ending: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> =
        files.filter_map(|name| name.to_str()?.strip_suffix(ending).map(str::to_owned)).collect();
    names.sort();
    names
}

/// Where the file and the reference mean different things, and why; `docs/compose-reference.md` says it at length.
const KNOWN: &[(&str, &str)] = &[
    ("wordpress.services.wordpress.environment.DATE", "a date stays as it was written"),
    ("traefik.networks.proxy.ipam.options", "the reference reads them and forgets to print them"),
    ("networks.networks.front.ipam.options", "the same"),
    ("mounts.services.a.volumes[1].bind.create_host_path", "as below"),
    ("nextcloud.services.db.volumes[2].bind.create_host_path", "`false` must survive, or the folder is made"),
];

fn people(folder: &str, name: &str) -> Loaded {
    let disk = Disk;
    let mut input = Input::new(folder, &disk);
    input.files = vec![format!("{name}.yml")];
    let over = format!("{name}.override.yml");
    if Path::new(folder).join(&over).exists() {
        input.files.push(over);
    }
    input.project_name = Some("people".to_owned());
    input.options.running = false;
    let env = [("PATH", "/usr/bin:/bin"), ("HOME", "/home/ref"), ("USER", "ref"), ("LANG", "C.UTF-8"), ("PWD", folder)];
    input.env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    load(&input)
}

#[derive(Default)]
struct Tally {
    absent: usize,
    slips: usize,
    valid: usize,
    agree: usize,
    invalid: usize,
    refused: usize,
    warnings: BTreeMap<String, usize>,
    differences: Vec<String>,
    placeless: Vec<String>,
}

impl Tally {
    fn add(&mut self, root: &Path, case: &Case) {
        let files = root.join("files");
        let there = |path: &String| path == "-" || files.join(&case.cwd).join(path).exists();
        let folder = files.join(&case.project_directory).exists();
        if !folder || case.verdicts[1] == "valid" && !case.files.iter().all(there) {
            self.absent += 1;
            return;
        }
        if SLIPS.iter().any(|(slip, _)| case.verdicts[1].contains(slip)) {
            self.slips += 1;
            return;
        }
        let loaded = run(&files, case);
        // the newest loader decides; where the other differs, either is right
        if case.verdicts[1] == "valid" {
            self.valid += 1;
            let codes: BTreeSet<&str> = loaded.diagnostics.iter().map(|d| d.code.as_str()).collect();
            for code in codes {
                *self.warnings.entry(code.to_owned()).or_default() += 1;
            }
            match self.compare(root, case, &loaded) {
                Ok(()) => self.agree += 1,
                Err(why) => self.differences.push(format!("{}: {why}", case.id)),
            }
        } else {
            self.invalid += 1;
            if loaded.has_errors() {
                self.refused += 1;
                let told = loaded.diagnostics.iter().any(|d| d.span.is_some() || d.message.contains('`'));
                if !told {
                    self.placeless.push(case.id.clone());
                }
            } else if case.verdicts[0] == "valid" {
                self.refused += 1;
            } else {
                self.differences.push(format!("{}: accepted, but {}", case.id, case.verdicts[1]));
            }
        }
    }

    fn compare(&mut self, root: &Path, case: &Case, loaded: &Loaded) -> Result<(), String> {
        let mut errors = loaded.diagnostics.iter().filter(|d| d.severity == Severity::Error);
        if let Some(error) = errors.next() {
            if case.verdicts[0] != "valid" {
                return Ok(());
            }
            return Err(format!("refused: {}", compose::render(error).replace('\n', "\n    ")));
        }
        let project = loaded.project.as_ref().ok_or("no project")?;
        let mine: Value = serde_json::from_str(&project.to_json()).map_err(|error| error.to_string())?;
        let mut why = String::new();
        for kind in ["compose5", "compose"] {
            let path = root.join("reference").join(format!("{}.{kind}.json", case.id));
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let text = text.replace("@CORPUS@", root.join("files").to_str().unwrap());
            let theirs: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let mut differences = Vec::new();
            diff(&normal(theirs), &normal(mine.clone()), "", &mut differences);
            if differences.is_empty() {
                return Ok(());
            }
            if why.is_empty() {
                why = differences.into_iter().take(6).collect::<Vec<_>>().join("\n    ");
            }
        }
        if why.is_empty() { Ok(()) } else { Err(why) }
    }

    fn report(&self) {
        for difference in &self.differences {
            eprintln!("{difference}");
        }
        for id in &self.placeless {
            eprintln!("{id}: refused without naming a place");
        }
        eprintln!("warnings: {:?}", self.warnings);
        eprintln!(
            "valid: {} of {} agree; invalid: {} of {} refused",
            self.agree, self.valid, self.refused, self.invalid
        );
    }

    fn hold(&self) {
        let percent = 100.0 * self.agree as f64 / self.valid as f64;
        assert!(percent >= AGREE_PERCENT, "only {percent:.1} % agree");
        assert_eq!(self.refused, self.invalid, "invalid files were accepted");
        assert!(self.placeless.is_empty(), "refusals must name a place or a value");
    }
}

/// Verdicts that are about the reference, not about the file.
const SLIPS: &[(&str, &str)] = &[
    ("error calling MarshalJSON", "the file loads, printing it fails"),
    ("undefined network #extensions", "an internal key is taken for a network"),
];

fn run(files: &Path, case: &Case) -> Loaded {
    let cwd = files.join(&case.cwd);
    let disk = Disk;
    let mut input = Input::new(cwd.to_str().unwrap(), &disk);
    input.files = case.files.clone();
    let folder = Some(&case.project_directory).filter(|text| !text.is_empty());
    input.project_dir = folder.map(|folder| files.join(folder).to_str().unwrap().to_owned());
    input.project_name = Some(case.project_name.clone()).filter(|text| !text.is_empty());
    input.profiles = case.profiles.clone();
    input.env = case.env.clone();
    // the references only show what they read, as `config` does
    input.options.running = false;
    for (name, value) in [("PATH", "/usr/bin:/bin"), ("HOME", "/home/ref"), ("USER", "ref"), ("LANG", "C.UTF-8")] {
        input.env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    input.env.entry("PWD".to_owned()).or_insert_with(|| cwd.to_str().unwrap().to_owned());
    load(&input)
}

/// What may differ: `create_host_path: true` is printed by one reference and not by the other; file
/// modes print as numbers or octal text; the reference names the keys of `blkio_config` lists as its
/// fields are named, which can't be loaded again.
fn normal(mut value: Value) -> Value {
    walk(&mut value);
    value
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("create_host_path") == Some(&Value::Bool(true)) {
                map.remove("create_host_path");
            }
            if map.contains_key("source")
                && let Some(mode) = map.get_mut("mode")
                && let Some(number) = mode.as_i64()
            {
                *mode = Value::String(format!("0{number:o}"));
            }
            for (field, key) in [("Path", "path"), ("Rate", "rate"), ("Weight", "weight")] {
                if map.contains_key("Path") || map.contains_key("path") {
                    map.remove(field).map(|value| map.insert(key.to_owned(), value));
                }
            }
            map.values_mut().for_each(walk);
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        _ => {}
    }
}

fn diff(theirs: &Value, mine: &Value, path: &str, out: &mut Vec<String>) {
    match (theirs, mine) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let path = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => diff(a, b, &path, out),
                    (Some(a), None) => out.push(format!("{path}: missing {a}")),
                    (None, Some(b)) => out.push(format!("{path}: too much {b}")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                diff(a, b, &format!("{path}[{index}]"), out);
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => {}
        _ if theirs == mine => {}
        _ => out.push(format!("{path}: theirs {theirs} mine {mine}")),
    }
}

/// Rows of a table with tabs, whose cells may be quoted.
fn cases(root: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(root.join("CASES.tsv")).unwrap();
    let mut rows = rows(&text).into_iter();
    let head = rows.next().unwrap();
    let column = |name: &str| head.iter().position(|cell| cell == name).unwrap();
    let names = [
        "id",
        "cwd",
        "files",
        "project_directory",
        "project_name",
        "profiles",
        "env",
        "compose_2.26.1",
        "compose_v5_loader",
    ];
    let at = names.map(column);
    rows.filter(|row| row.len() == head.len())
        .map(|row| {
            let cell = |index: usize| row[at[index]].clone();
            let split = |text: String| text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            Case {
                id: cell(0),
                cwd: cell(1),
                files: serde_json::from_str(&cell(2)).unwrap_or_default(),
                project_directory: cell(3),
                project_name: cell(4),
                profiles: split(cell(5)),
                env: serde_json::from_str(&cell(6)).unwrap_or_default(),
                verdicts: [cell(7), cell(8)],
            }
        })
        .collect()
}

fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let row = rows.last_mut().unwrap();
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                row.last_mut().unwrap().push('"');
            }
            '"' if quoted => quoted = false,
            '"' if row.last().unwrap().is_empty() => quoted = true,
            '\t' if !quoted => row.push(String::new()),
            '\n' if !quoted => rows.push(vec![String::new()]),
            '\r' if !quoted => {}
            c => row.last_mut().unwrap().push(c),
        }
    }
    rows
}

#[test]
fn tables_with_quotes_are_read() {
    assert_eq!(rows("a\t\"b \"\"c\"\"\"\n"), [vec!["a", "b \"c\""], vec![""]]);
}
