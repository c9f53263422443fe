//! Compose files: what is wrong is shown where it is, before anything changes; `config` shows what is meant.

use e2e::{BUSYBOX, Host, Options};

/// Parsing needs no daemon, but `config` must work without one.
fn bare() -> Option<Host> {
    Host::with(Options { no_daemon: true, ..Options::default() })
}

#[test]
fn mistakes_are_shown_with_place_value_caret_and_hint_all_at_once() {
    let Some(host) = bare() else { return };
    let text = "services:\n  web:\n    image: busybox:1.35\n    prots:\n      - 80:80\n  db:\n    image: busybox:1.35\n    ports:\n      - 99999:80\n";
    let file = host.write("bad.yaml", text);
    let out = host.rswarm(["config", "-f", &file]).exits(1);
    for part in ["bad.yaml:4:5", "prots", "ports", "bad.yaml:9:9", "99999", "^"] {
        assert!(out.stderr.contains(part), "should say `{part}`: {out}");
    }
    assert_eq!(out.stdout, "");
}

#[test]
fn broken_yaml_is_shown_where_it_breaks() {
    let Some(host) = bare() else { return };
    let file = host.write("bad.yaml", "services:\n  web: {image: a\n");
    host.rswarm(["config", "-f", &file]).exits(1).complains("bad.yaml:");
    host.rswarm(["config", "-f", "no-such.yaml"]).exits(1).complains("no-such.yaml");
    host.sh("config").exits(1).complains("compose.yaml");
}

#[test]
fn a_missing_variable_and_a_required_one() {
    let Some(host) = bare() else { return };
    let file = host.write("a.yaml", "services:\n  web:\n    image: busybox:${TAG:?say which}\n");
    host.rswarm(["config", "-f", &file]).exits(1).complains("say which");
    host.write(".env", "TAG=from-dotenv\n");
    host.rswarm(["config", "-f", &file]).ok().says("busybox:from-dotenv");
    let mut command = host.rswarm_command(["config", "-f", &file]);
    e2e::run(command.env("TAG", "from-shell")).ok().says("busybox:from-shell");
    let other = host.write("other.env", "TAG=from-file\n");
    host.rswarm(["config", "-f", &file, "--env-file", &other]).ok().says("busybox:from-file");
}

#[test]
fn several_files_are_merged_and_found_by_themselves() {
    let Some(host) = bare() else { return };
    host.write("compose.yaml", "services:\n  web:\n    image: busybox:1\n    environment: {A: '1', B: '1'}\n");
    host.write("compose.override.yaml", "services:\n  web:\n    image: busybox:2\n    environment: {B: '2'}\n");
    let out = host.sh("config --format json").ok().json();
    let web = &out["services"]["web"];
    assert_eq!(
        (web["image"].as_str(), web["environment"]["A"].as_str(), web["environment"]["B"].as_str()),
        (Some("busybox:2"), Some("1"), Some("2")),
        "{out}"
    );
    assert_eq!(out["name"], "work");
    host.sh("config --services").ok().prints("web");
    host.sh("config --images").ok().prints("busybox:2");
    host.sh("config -q").ok().prints("");
}

#[test]
fn profiles_and_names() {
    let Some(host) = bare() else { return };
    host.write(
        "compose.yaml",
        "name: from-file\nservices:\n  web: {image: a}\n  debug: {image: b, profiles: [debug]}\n",
    );
    host.sh("config --services").ok().prints("web");
    host.sh("config --profile debug --services").ok().prints("debug\nweb");
    host.sh("config --profiles").ok().prints("debug");
    assert_eq!(host.sh("config --format json").ok().json()["name"], "from-file");
    assert_eq!(host.sh("config -p other --format json").ok().json()["name"], "other");
    host.sh("config -p NOT/valid").fails().complains("NOT/valid");
}

#[test]
fn cycles_and_missing_dependencies() {
    let Some(host) = bare() else { return };
    let file = host.write("a.yaml", "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n");
    host.rswarm(["config", "-f", &file]).exits(1).complains("depends");
    let file = host.write("b.yaml", "services:\n  a: {image: x, depends_on: [nobody]}\n");
    host.rswarm(["config", "-f", &file]).exits(1).complains("nobody");
}

#[test]
fn codes_are_explained() {
    let Some(host) = bare() else { return };
    let file = host.write("bad.yaml", "services:\n  web:\n    image: a\n    prots: []\n");
    let out = host.rswarm(["config", "-f", &file]).exits(1);
    let code =
        out.stderr.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| word.starts_with("RS") && word.len() == 6);
    host.rswarm(["explain", code.expect("the error has a code")]).ok();
    host.sh("explain RS9999").fails();
}

#[test]
fn keys_that_are_known_but_not_done_are_told() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  web:\n    image: {BUSYBOX}\n    command: sleep 10000\n    stop_grace_period: 0s\n    x-own: ignored\n    blkio_config: {{weight: 300}}\n"
    );
    let file = host.write("a.yaml", &text);
    let out = host.rswarm(["config", "-f", &file]);
    assert!(out.stderr.contains("blkio_config") && !out.stderr.contains("x-own"), "{out}");
}
