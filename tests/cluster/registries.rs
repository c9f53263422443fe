//! Registries that want a login: who is given it, and who is not.

use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;

use e2e::{Host, Lab, Options, Output, Registry, eventually, run};

const SOON: Duration = Duration::from_secs(60);

/// It is looked for where it must not be.
const PASSWORD: &str = "a-word-that-nobody-else-has";

/// A manager and two workers none of which has a login; and a registry on the manager's machine that wants one.
fn private() -> Option<(Lab, Registry, String)> {
    let address = format!("{}:5001", Lab::address(0));
    let daemon = vec!["--insecure-registry".to_owned(), address.clone()];
    let lab = Lab::with(3, |_, options| Options { daemon: daemon.clone(), ..options })?;
    lab.form(1, 2);
    let registry = Registry::private(&lab.hosts[0], &address, "reader", PASSWORD);
    registry.log_in(&lab.hosts[0], "mine", "reader", PASSWORD);
    let image = format!("{address}/bb:1");
    Some((lab, registry, image))
}

/// Somebody who has logged in, at the manager.
fn as_me(lab: &Lab, words: &[&str]) -> Output {
    lab.hosts[0].rswarm_as("mine", words)
}

/// Is the password somewhere in the memory of the daemon?
fn knows(host: &Host) -> bool {
    let folder = std::path::PathBuf::from(format!("/proc/{}", host.daemon_pid()));
    let maps = std::fs::read_to_string(folder.join("maps")).unwrap();
    let memory = std::fs::File::open(folder.join("mem")).unwrap();
    let writable = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")));
    writable.into_iter().any(|line| {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // What was given back meanwhile can't be read.
        let read = memory.read_at(&mut bytes, from).unwrap_or(0);
        bytes[..read].windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes())
    })
}

/// Nothing on a disk of any machine, but for what the one who logged in has himself.
fn nothing_is_in_the_clear(lab: &Lab) {
    for host in &lab.hosts {
        let found = run(Command::new("grep").args(["-rlaF", PASSWORD]).arg(host.data()).arg(host.run_root()));
        assert_eq!(found.stdout, "", "files with the password");
        assert!(!host.log_tail().contains(PASSWORD));
    }
}

#[test]
fn a_login_goes_to_the_nodes_of_its_service_and_to_no_other() {
    let Some((lab, _registry, image)) = private() else { return };
    let first = &lab.hosts[0];
    let begin = ["service", "create", "-d", "--name", "web", "--stop-grace-period", "0s", "--restart-delay", "1s"];
    let rest = ["--constraint", "node.hostname==host2", &image, "sleep", "1000"];
    as_me(&lab, &[&begin[..], &rest].concat()).ok();
    // The manager pinned it with the login of whoever asked; the node has none, and says what to do.
    let errors = || first.rswarm(["service", "ps", "--no-trunc", "--format", "{{.Error}}", "web"]).ok().text();
    eventually("the node is refused", SOON, || errors().contains("--with-registry-auth"));
    assert!(errors().contains("was given no login"), "{}", errors());
    as_me(&lab, &["service", "update", "-d", "--with-registry-auth", "web"]).ok().complains("registry login");
    eventually("it runs where it was refused", SOON, || lab.places(0, "web") == ["host2"]);
    assert!(knows(&lab.hosts[1]), "the node of its task was given it, and it can be found");
    assert!(!knows(&lab.hosts[2]), "the other worker has no task of it");

    // Another one of the same image has no share in it.
    let rest = ["--name", "other", "--constraint", "node.hostname==host3", &image, "sleep", "1000"];
    as_me(&lab, &[&begin[..3], &rest].concat()).ok();
    let errors = || first.rswarm(["service", "ps", "--no-trunc", "--format", "{{.Error}}", "other"]).ok().text();
    eventually("that is refused", SOON, || errors().contains("--with-registry-auth"));
    assert!(!knows(&lab.hosts[2]));
    first.rswarm(["service", "rm", "other"]).ok();

    // It moves, whoever moves it; a manager that begins anew knows the login still.
    first.kill_daemon();
    first.start_daemon();
    lab.all_ready(3);
    let away = ["--constraint-rm", "node.hostname==host2", "--constraint-add", "node.hostname==host3"];
    first.rswarm(["service", "update", "-d"].iter().chain(&away).chain(&["web"])).ok();
    eventually("it has moved", SOON, || lab.places(0, "web") == ["host3"]);
    assert!(knows(&lab.hosts[2]));

    for words in
        ["service inspect web", "events --since 10m --until 0s", "explain web", "inspect web.1", "node inspect host3"]
    {
        first.sh(words).never_says(PASSWORD);
    }
    let backup = first.work().join("backup");
    let made = run(first.rswarm_command(["cluster", "backup"]).arg(&backup));
    assert!(made.succeeded(), "{made}");
    let found = run(Command::new("grep").args(["-caF", PASSWORD]).arg(&backup));
    assert_eq!(found.text(), "0");
    nothing_is_in_the_clear(&lab);
    first.rswarm(["service", "rm", "web"]).ok();
    eventually("all of it is gone", SOON, || first.sh("ps -aq").ok().text().is_empty());
}

#[test]
fn a_stack_is_pulled_by_every_node_with_the_login_that_came_with_it() {
    let Some((lab, registry, image)) = private() else { return };
    let text = format!(
        "services:\n  web:\n    image: {image}\n    command: sleep 1000\n    stop_grace_period: 0s\n    deploy: {{mode: global}}\n"
    );
    let file = lab.hosts[0].write("shop.yaml", &text);
    as_me(&lab, &["up", "-p", "shop", "-f", &file, "--with-registry-auth", "--timeout", "60"]).ok();
    assert_eq!(lab.places(0, "shop_web"), ["host1", "host2", "host3"]);
    nothing_is_in_the_clear(&lab);

    // Whoever leads pins what a source says with the logins that came with its stack.
    let me = format!("reader:{PASSWORD}");
    let (from, to) = (format!("docker://{image}"), format!("docker://{}", image.replace("/bb:", "/two:")));
    registry.skopeo(&["copy", "-q", "--src-creds", &me, "--dest-creds", &me, &from, &to]).ok();
    let first = &lab.hosts[0];
    let source = first.write("source/compose.yaml", &text.replace("/bb:", "/two:"));
    first.rswarm(["gitops", "add", "shop", source.trim_end_matches("/compose.yaml")]).ok();
    let status = || first.sh("gitops status shop --wait");
    status().ok();
    let runs = |host: &Host| host.sh("ps --format {{.Image}}").ok().stdout.contains("/two:1");
    assert!(lab.hosts.iter().all(runs), "{}", status());
    first.sh("gitops rm shop").ok();
    lab.hosts[0].down("shop").ok();
}
