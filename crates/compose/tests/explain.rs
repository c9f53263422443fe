//! Where values came from, as `config --explain` prints it.

use compose::{FileError, FileErrorKind, Files, Input, explain};
use std::collections::BTreeMap;

struct Memory(BTreeMap<String, &'static str>);

impl Files for Memory {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let missing = || FileError { kind: FileErrorKind::NotFound, message: "not there".to_owned() };
        self.0.get(path).map(|text| text.as_bytes().to_vec()).ok_or_else(missing)
    }

    fn exists(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

const FILES: [(&str, &str); 6] = [
    (
        "compose.yaml",
        "name: shop
x-logging: &logging
  driver: json-file
services:
  web:
    image: web:${TAG:-1.0}
    ports: [\"${PORT}:80\"]
    environment:
      SHELL_ONLY:
      LEVEL: info
    env_file: web.env
    logging: *logging
    volumes: [\"./site:/srv\"]
    labels:
      com.example.team: core
  api:
    extends: {file: base.yaml, service: base}
    user: api
  odd:
    <<: {image: merged}
    image: odd
",
    ),
    ("over.yaml", "services:\n  web:\n    environment: {LEVEL: debug}\n"),
    ("base.yaml", "services:\n  base:\n    image: base:${TAG-2}\n    user: nobody\n"),
    (".env", "# ports\nPORT=8080\n"),
    ("web.env", "A=1\n\nFROM_FILE=yes\n"),
    ("last.env", "PORT=9090\n"),
];

fn told(path: &str, change: impl Fn(&mut Input<'_>)) -> String {
    let memory = Memory(FILES.iter().map(|(name, text)| (format!("/p/{name}"), *text)).collect());
    let mut input = Input::new("/p", &memory);
    input.files = vec!["compose.yaml".to_owned(), "over.yaml".to_owned()];
    input.env.insert("SHELL_ONLY".to_owned(), "here".to_owned());
    input.options.running = false;
    change(&mut input);
    match explain(&input, path).1 {
        Some(Ok(explanation)) => explanation.to_text(),
        Some(Err(missing)) => format!("{}\n{}\n", missing.message, missing.hint.unwrap_or_default()),
        None => "no project".to_owned(),
    }
}

#[track_caller]
fn check(path: &str, wanted: &str) {
    assert_eq!(told(path, |_| ()), wanted);
}

#[test]
fn variables_say_who_set_them() {
    check(
        "services.web.ports[0].published",
        "services.web.ports[0].published: \"8080\"
  part of the short form `${PORT}:80` at compose.yaml:7:13
  in file 1 of 2 (later files go over earlier ones)
  filled in from `${PORT}:80` at compose.yaml:7:13
  `PORT` is `8080`, set by the project's env file .env:2
",
    );
    let named = told("services.web.ports[0].published", |input| input.env_files = vec!["last.env".to_owned()]);
    assert!(named.contains("`PORT` is `9090`, set by `--env-file` last.env:1\n"), "{named}");
    let shell = told("services.web.image", |input| drop(input.env.insert("TAG".to_owned(), "3".to_owned())));
    assert!(shell.contains("`TAG` is `3`, set in the environment\n"), "{shell}");
    let default = told("services.web.image", |_| ());
    assert!(default.contains("`TAG` is not set or empty: its default is `1.0`\n"), "{default}");
    let alone = told("services.web.environment.SHELL_ONLY", |_| ());
    assert!(alone.contains("`SHELL_ONLY` is `here`, set in the environment\n"), "{alone}");
}

#[test]
fn later_files_and_what_they_replace() {
    check(
        "services.web.environment.LEVEL",
        "services.web.environment.LEVEL: \"debug\"
  written as `debug` at over.yaml:3:26
  in file 2 of 2 (later files go over earlier ones)
  in place of the text `info` at compose.yaml:10:14
",
    );
}

#[test]
fn aliases_merges_extends_and_env_files() {
    check(
        "services.web.logging.driver",
        "services.web.logging.driver: \"json-file\"
  written as `json-file` at compose.yaml:3:11
  in file 1 of 2 (later files go over earlier ones)
  used through the alias at compose.yaml:12:14
",
    );
    check(
        "services.api.image",
        "services.api.image: \"base:2\"
  written as `base:${TAG-2}` at base.yaml:3:12
  inherited by `api` through `extends` at compose.yaml:17:41
  filled in from `base:${TAG-2}` at base.yaml:3:12
  `TAG` is not set: its default is `2`
",
    );
    let user = told("services.api.user", |_| ());
    assert!(user.ends_with("in place of the text `nobody` at base.yaml:4:11\n"), "{user}");
    let file = told("services.web.environment.FROM_FILE", |_| ());
    assert!(file.contains("  set by the file at web.env:3:1\n"), "{file}");
}

#[test]
fn defaults_say_their_rule() {
    check(
        "services.web.networks",
        "services.web.networks: a mapping of 1 key
  default: a service that names no network joins the project's `default`
",
    );
    let name = told("networks.default.name", |_| ());
    assert!(name.contains("default: the name of the project and `default`"), "{name}");
    let protocol = told("services.web.ports[0].protocol", |_| ());
    assert!(protocol.contains("default: ports are `tcp`\n"), "{protocol}");
    check(
        "name",
        "name: \"shop\"\n  written as `shop` at compose.yaml:1:7\n  in file 1 of 2 (later files go over earlier ones)\n",
    );
    let given = told("name", |input| input.project_name = Some("x".to_owned()));
    assert_eq!(given, "name: \"x\"\n  given by `-p`\n");
}

#[test]
fn what_nobody_says_holds_all_the_same() {
    check(
        "services.api.restart",
        "services.api.restart: \"on-failure\"
  default: without `restart` and `deploy`, what ended with 0 is done, and what crashed starts again
",
    );
    for (path, start) in [
        ("deploy.replicas", "1\n  default: one, unless"),
        ("deploy.update_config.order", "\"stop-first\"\n  default: as in Swarm"),
        ("stop_grace_period", "\"10s\"\n  default: so long"),
        ("healthcheck.interval", "\"30s\"\n  default: as in Docker"),
        ("pull_policy", "\"missing\"\n"),
    ] {
        let told = told(&format!("services.web.{path}"), |_| ());
        assert!(told.starts_with(&format!("services.web.{path}: {start}")), "{told}");
    }
}

#[test]
fn names_may_hold_dots_and_what_is_missing_is_told() {
    let label = told("services.web.labels.com.example.team", |_| ());
    assert!(label.contains("written as `core` at compose.yaml:15:25\n"), "{label}");
    let missing = told("services.web.imag", |_| ());
    assert!(missing.starts_with("there is no `imag` in services.web\ndid you mean `image`"), "{missing}");
    check("services.web.ports[3]", "there is no item `[3]` in services.web.ports\nthere are 1: [0] to [0]\n");
    check("services.web.image.tag", "services.web.image is a single value; there is no `tag` in it\n\n");
    let source = told("services.web.volumes[0].source", |_| ());
    assert!(source.contains("made absolute"), "{source}");
}
