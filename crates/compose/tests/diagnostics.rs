//! What people read when a file is wrong: the whole text, as it is printed. The cases are in
//! `diagnostics.txt`; `UPDATE=1 cargo test -p compose --test diagnostics` writes the answers anew.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads and writes its cases")]

use compose::{FileError, FileErrorKind, Files, Input, codes, load, render};
use std::collections::{BTreeMap, BTreeSet};

struct Memory(BTreeMap<String, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let missing = || FileError { kind: FileErrorKind::NotFound, message: "not there".to_owned() };
        self.0.get(path).cloned().ok_or_else(missing)
    }

    fn exists(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

/// One case: a title, files (`== NAME ==`), and what is printed (`== says ==`).
struct Case {
    title: String,
    files: Vec<(String, String)>,
    says: String,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("#### ") {
            cases.push(Case { title: title.to_owned(), files: Vec::new(), says: String::new() });
            section = "compose.yaml".to_owned();
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(name) = line.strip_prefix("== ").and_then(|line| line.strip_suffix(" ==")) {
            section = name.to_owned();
            continue;
        }
        let target = if section == "says" {
            &mut case.says
        } else {
            if case.files.last().is_none_or(|(name, _)| *name != section) {
                case.files.push((section.clone(), String::new()));
            }
            &mut case.files.last_mut().unwrap().1
        };
        target.push_str(line);
        target.push('\n');
    }
    cases
}

fn says(case: &Case) -> (String, BTreeSet<String>) {
    let files = case.files.iter().map(|(name, text)| (format!("/p/{name}"), text.clone().into_bytes()));
    let memory = Memory(files.collect());
    let mut input = Input::new("/p", &memory);
    input.files = case.files.iter().map(|(name, _)| name.clone()).filter(|name| name.starts_with("compose")).collect();
    let loaded = load(&input);
    assert_eq!(loaded.has_errors(), loaded.stack.is_none(), "{}", case.title);
    let codes = loaded.diagnostics.iter().map(|d| d.code.clone()).collect();
    (loaded.diagnostics.iter().map(render).collect(), codes)
}

#[test]
fn diagnostics_read_as_written_down() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/diagnostics.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let cases = cases(&text);
    let mut seen = BTreeSet::new();
    let mut fresh = String::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let (printed, codes) = says(case);
        seen.extend(codes);
        fresh.push_str(&format!("#### {}\n", case.title));
        for (index, (name, text)) in case.files.iter().enumerate() {
            if index > 0 || name != "compose.yaml" {
                fresh.push_str(&format!("== {name} ==\n"));
            }
            fresh.push_str(text);
        }
        fresh.push_str(&format!("== says ==\n{printed}"));
        if printed != case.says {
            wrong.push(format!("{}\n{printed}", case.title));
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, fresh).unwrap();
    } else {
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
    let known: BTreeSet<String> = codes::ALL.iter().map(|entry| entry.code.to_owned()).collect();
    let unknown: Vec<_> = seen.difference(&known).collect();
    assert!(unknown.is_empty(), "without explanation: {unknown:?}");
    // these need bytes, sizes, registries or circles of files that a text of cases can't hold well
    let elsewhere = ["RS0110", "RS0206", "RS0403", "RS0405", "RS0608", "RS0801"];
    let untold: Vec<_> = known.difference(&seen).filter(|code| !elsewhere.contains(&code.as_str())).collect();
    assert!(untold.is_empty(), "codes without a case: {untold:?}");
}
