//! Pulling from a real registry server.

use std::process::Command;
use std::time::Duration;

use e2e::{Host, Options, Output, Pty, Registry, eventually, make_layout, rootfs_tar, run, run_with_input};

fn with_registry() -> Option<(Host, Registry)> {
    let options = Options {
        no_image: true,
        daemon: vec!["--insecure-registry".to_owned(), "127.0.0.1:5000".to_owned()],
        ..Options::default()
    };
    let host = Host::with(options)?;
    let registry = Registry::start(&host, 5000);
    Some((host, registry))
}

#[test]
fn by_tag_and_by_digest() {
    let Some((host, registry)) = with_registry() else { return };
    let image = registry.push_busybox(&host, "bb:1");
    host.rswarm(["pull", &image]).ok().prints(&image).complains("Digest: sha256:");
    host.rswarm(["run", "--rm", &image, "echo", "pulled"]).ok().prints("pulled");
    let digest = registry
        .skopeo(&["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{image}")])
        .ok()
        .text();
    let by_digest = format!("{}/bb@{digest}", registry.address);
    host.rswarm(["pull", &by_digest]).ok();
    host.rswarm(["run", "--rm", &by_digest, "true"]).ok();
    let wrong = format!("{}/bb@sha256:{}", registry.address, "0".repeat(64));
    host.rswarm(["pull", &wrong]).fails().complains(&"0".repeat(64));
    host.rswarm(["pull", &format!("{}/bb:2", registry.address)]).fails().complains("bb:2");
    host.rswarm(["pull", "127.0.0.1:1/bb:1"]).fails().complains("127.0.0.1:1");
}

#[test]
fn an_insecure_registry_must_be_named() {
    let Some(host) = Host::with(Options { no_image: true, ..Options::default() }) else { return };
    let registry = Registry::start(&host, 5000);
    let image = registry.push_busybox(&host, "bb:1");
    let out = host.rswarm(["pull", &image]).fails();
    assert!(out.stderr.contains("insecure"), "a hint: {out}");
}

#[test]
fn docker_schema_2_zstd_and_an_index() {
    let Some((host, registry)) = with_registry() else { return };
    let layout = make_layout(&host, "layout", |rootfs| {
        run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
    });
    let source = format!("oci:{layout}:latest");
    let copy = |name: &str, more: &[&str]| {
        let target = format!("docker://{}/{name}", registry.address);
        registry.skopeo(&[&["copy", "-q"], more, &[source.as_str(), target.as_str()]].concat()).ok();
        let image = format!("{}/{name}", registry.address);
        host.rswarm(["run", "--rm", &image, "echo", name]).ok().prints(name);
    };
    copy("schema2:1", &["--format", "v2s2"]);
    copy("zstd:1", &["--dest-compress-format", "zstd"]);
    // an index with two platforms, put together by hand: only ours can run
    let manifest = registry
        .skopeo(&["inspect", "--tls-verify=false", "--raw", &format!("docker://{}/schema2:1", registry.address)])
        .ok();
    let digest = registry
        .skopeo(&[
            "inspect",
            "--tls-verify=false",
            "--format",
            "{{.Digest}}",
            &format!("docker://{}/schema2:1", registry.address),
        ])
        .ok()
        .text();
    let entry = |arch: &str| serde_json::json!({"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": manifest.stdout.len(), "digest": digest, "platform": {"architecture": arch, "os": "linux"}});
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json", "manifests": [entry("s390x"), entry("amd64"), entry("arm64")]});
    let file = host.write("index.json", &index.to_string());
    let url = format!("http://{}/v2/schema2/manifests/both", registry.address);
    run(host.command("curl").args([
        "-sSf",
        "-X",
        "PUT",
        "-H",
        "Content-Type: application/vnd.docker.distribution.manifest.list.v2+json",
        "--data-binary",
        &format!("@{file}"),
        &url,
    ]))
    .ok();
    host.rswarm(["run", "--rm", &format!("{}/schema2:both", registry.address), "echo", "both"]).ok().prints("both");
}

#[test]
fn a_blob_that_lies_is_refused_and_leaves_nothing() {
    let Some((host, registry)) = with_registry() else { return };
    let image = registry.push_busybox(&host, "bb:1");
    let blobs = run(Command::new("find").arg(&registry.folder).args(["-name", "data", "-size", "+100k"])).ok();
    let blob = blobs.lines()[0].clone();
    let good = std::fs::read(&blob).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&blob, &bad).unwrap();
    host.rswarm(["pull", &image]).fails();
    host.sh("images -a -q").ok().prints("");
    std::fs::write(&blob, &good[..middle]).unwrap();
    host.rswarm(["pull", &image]).fails();
    host.sh("images -a -q").ok().prints("");
    std::fs::write(&blob, &good).unwrap();
    host.rswarm(["pull", &image]).ok();
}

#[test]
fn a_pull_survives_the_daemons_death() {
    let Some((host, registry)) = with_registry() else { return };
    // 40 MB that do not compress: the pull takes long enough to be cut
    let layout = make_layout(&host, "big", |rootfs| {
        run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
        run(Command::new("dd")
            .args(["if=/dev/urandom", "bs=1M", "count=40"])
            .arg(format!("of={}", rootfs.join("big").display())))
        .ok();
    });
    let image = registry.push_layout(&layout, "big:1");
    for delay in [20, 60, 120, 250] {
        let mut pull = host
            .rswarm_command(["pull", &image])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        host.kill_daemon();
        pull.wait().unwrap();
        host.start_daemon();
        // a torn pull is no image
        let there = host.rswarm(["image", "inspect", &image]).succeeded();
        if there {
            host.rswarm(["run", "--rm", &image, "sh", "-c", "wc -c < /big"]).ok().prints("41943040");
            host.rswarm(["rmi", &image]).ok();
        }
    }
    host.rswarm(["pull", &image]).ok();
    host.rswarm(["run", "--rm", &image, "sh", "-c", "wc -c < /big"]).ok().prints("41943040");
    host.rswarm(["rmi", &image]).ok();
}

#[test]
fn a_full_disk_is_told_and_leaves_room_again() {
    let options = Options {
        no_image: true,
        daemon: vec!["--insecure-registry".to_owned(), "127.0.0.1:5000".to_owned()],
        disk: Some(24 << 20),
        ..Options::default()
    };
    let Some(host) = Host::with(options) else { return };
    let registry = Registry::start(&host, 5000);
    let small = registry.push_busybox(&host, "bb:1");
    let layout = make_layout(&host, "big", |rootfs| {
        run(Command::new("dd")
            .args(["if=/dev/urandom", "bs=1M", "count=60"])
            .arg(format!("of={}", rootfs.join("big").display())))
        .ok();
    });
    let big = registry.push_layout(&layout, "big:1");
    let out = host.rswarm(["pull", &big]).fails();
    assert!(out.stderr.contains("No space left") || out.stderr.contains("no space left"), "{out}");
    host.rswarm(["image", "inspect", &big]).fails();
    host.rswarm(["run", "--rm", &small, "echo", "room again"]).ok().prints("room again");
}

#[test]
fn up_pulls_once_and_pins_the_digest() {
    let Some((host, registry)) = with_registry() else { return };
    let image = registry.push_busybox(&host, "bb:1");
    let text = format!("services:\n  web: {{image: '{image}', command: sleep 10000, stop_grace_period: 0s}}\n");
    host.up("shop", &text).ok();
    // the tag moves; what runs stays until somebody asks
    let other = make_layout(&host, "other", |rootfs| {
        run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
        std::fs::write(rootfs.join("new"), "new").unwrap();
    });
    registry.push_layout(&other, "bb:1");
    let id = host.sh("ps -q -p shop").ok().text();
    host.up("shop", &text).ok();
    assert_eq!(host.sh("ps -q -p shop").ok().text(), id, "nothing changed in the file");
    let file = host.write("shop.yaml", &text);
    host.rswarm(["up", "-p", "shop", "-f", &file, "--pull", "always"]).ok();
    let id = host.sh("ps -q -p shop").ok().text();
    host.rswarm(["exec", &id, "cat", "/new"]).ok().prints("new");
}

/// An image with one more file.
fn with_file(host: &Host, registry: &Registry, name: &str, file: &str) {
    let layout = make_layout(host, file, |rootfs| {
        run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
        std::fs::write(rootfs.join(file), file).unwrap();
    });
    registry.push_layout(&layout, name);
}

#[test]
fn swarms_words_ask_what_a_tag_means_now() {
    let Some((host, registry)) = with_registry() else { return };
    let image = registry.push_busybox(&host, "bb:1");
    let text = format!("services:\n  web: {{image: '{image}', command: sleep 10000, stop_grace_period: 0s}}\n");
    let file = host.write("shop.yaml", &text);
    let deploy = |more: &[&str]| host.rswarm(["stack", "deploy", "-c", &file].iter().chain(more).chain(&["shop"])).ok();
    let create = |name: &str, more: &[&str]| {
        let words = ["service", "create", "--stop-grace-period", "0s", "--name", name];
        host.rswarm(words.iter().chain(more).chain(&[image.as_str(), "sleep", "10000"])).ok();
    };
    let id = |service: &str| {
        let filter = format!("label=com.docker.swarm.service.name={service}");
        host.rswarm(["ps", "-q", "--filter", &filter]).ok().text()
    };
    let has = |service: &str, file: &str| host.rswarm(["exec", &id(service), "test", "-e", file]).code() == 0;
    deploy(&[]);
    create("lone", &[]);
    with_file(&host, &registry, "bb:1", "new");
    let first = (id("shop_web"), id("lone"));
    deploy(&["--resolve-image", "never"]);
    deploy(&["--resolve-image", "changed"]);
    create("old", &["--no-resolve-image"]);
    let update =
        |more: &[&str]| host.rswarm(["service", "update", "--image", &image].iter().chain(more).chain(&["lone"])).ok();
    update(&["--no-resolve-image"]);
    assert_eq!((id("shop_web"), id("lone")), first, "nobody asked");
    assert!(!has("old", "/new"));
    create("fresh", &[]);
    deploy(&[]);
    update(&[]);
    assert!(has("fresh", "/new") && has("shop_web", "/new") && has("lone", "/new"));
    let second = id("shop_web");
    drop(registry);
    let out = deploy(&[]);
    assert!(out.stderr.contains("what is here is used"), "{out}");
    assert_eq!(id("shop_web"), second);
    host.sh("service rm lone old fresh").ok();
}

#[test]
fn a_tag_that_moves_is_followed_with_the_next_sync() {
    let Some((host, registry)) = with_registry() else { return };
    let image = registry.push_busybox(&host, "bb:1");
    let text = format!("services:\n  web: {{image: '{image}', command: sleep 10000, stop_grace_period: 0s}}\n");
    let file = host.write("shop.yaml", &text);
    host.rswarm(["gitops", "add", "shop", &file]).ok();
    host.sh("gitops status shop --wait").ok();
    with_file(&host, &registry, "bb:1", "new");
    let has_it = || host.rswarm(["exec", &host.sh("ps -q -p shop").ok().text(), "test", "-e", "/new"]).code() == 0;
    assert!(!has_it());
    host.sh("gitops sync shop").ok();
    host.sh("gitops status shop --wait").ok();
    assert!(has_it());
    drop(registry);
    host.sh("gitops sync shop").ok();
    host.sh("gitops status shop --wait").ok();
    assert!(has_it());
}

/// A host, its daemon without a login, and a registry that wants one.
fn private() -> Option<(Host, Registry, String)> {
    let options = Options {
        no_image: true,
        daemon: vec!["--insecure-registry".to_owned(), "127.0.0.1:5001".to_owned()],
        ..Options::default()
    };
    let host = Host::with(options)?;
    let registry = Registry::private(&host, "127.0.0.1:5001", "reader", PASSWORD);
    let image = format!("{}/bb:1", registry.address);
    Some((host, registry, image))
}

/// It is looked for where it must not be.
const PASSWORD: &str = "a-word-that-nobody-else-has";

#[test]
fn credentials_come_from_dockers_file() {
    let Some((host, registry, image)) = private() else { return };
    let out = host.rswarm(["pull", &image]).fails();
    assert!(out.stderr.contains("login"), "{out}");
    // That of the daemon, which a client without a login uses as well.
    registry.log_in(&host, "docker", "reader", PASSWORD);
    host.rswarm_as("nobodys", ["pull", &image]).ok();
    host.rswarm_as("nobodys", ["run", "--rm", &image, "true"]).ok();
}

#[test]
fn a_login_of_whoever_asks_is_used_for_what_he_asks_and_kept_by_nobody() {
    let Some((host, registry, image)) = private() else { return };
    registry.log_in(&host, "mine", "reader", PASSWORD);
    let as_me = |words: &[&str]| host.rswarm_as("mine", words);
    let file = |policy: &str| {
        let text = format!("services:\n  web:\n    image: {image}\n    command: sleep 1000\n{policy}");
        host.write("shop.yaml", &text)
    };
    as_me(&["pull", &image]).ok();
    host.rswarm(["rmi", &image]).ok();
    as_me(&["run", "--rm", &image, "true"]).ok();
    host.rswarm(["run", "--pull", "always", "--rm", &image, "true"]).exits(125).complains("login");
    host.rswarm(["rmi", &image]).ok();
    as_me(&["up", "-p", "shop", "-f", &file("")]).ok();
    // Now the daemon itself asks, as it pins the image.
    as_me(&["up", "-p", "shop", "-f", &file("    pull_policy: always\n    stop_grace_period: 0s\n")]).ok();
    let other = file("    pull_policy: always\n    labels: [a=b]\n    stop_grace_period: 0s\n");
    host.rswarm(["up", "-p", "shop", "-f", &other]).fails().complains("login");
    host.down("shop").ok();
    host.rswarm(["rmi", &image]).ok();
    as_me(&["service", "create", "--name", "web", "--stop-grace-period", "1s", &image, "sleep", "1000"]).ok();
    as_me(&["service", "update", "--image", &image, "--label-add", "a=b", "web"]).ok();
    host.sh("service rm web").ok();
    eventually("its container is gone", Duration::from_secs(30), || host.sh("ps -aq").ok().text().is_empty());
    let known = run(Command::new("grep").args(["-rlaF", PASSWORD]).arg(host.data()).arg(host.run_root()));
    assert_eq!(known.stdout, "", "files with the password");
    assert!(!host.log_tail().contains(PASSWORD));
}

/// Docker's protocol of helpers, with a file for each server.
const HELPER: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
case $1 in
store) input=$(cat); server=$(printf %s "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/')
    printf %s "$input" > "of-$(printf %s "$server" | tr /: __)" ;;
get) cat "of-$(tr /: __)" 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;
erase) rm "of-$(tr /: __)" ;;
esac
"#;

#[test]
fn login_and_logout_put_logins_where_docker_does() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some((host, registry, image)) = private() else { return };
    let helper = host.write("bin/docker-credential-e2e", HELPER);
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", host.work().join("bin").display(), std::env::var("PATH").unwrap());
    let client = |words: &[&str], input: &str| -> Output {
        let mut command = host.rswarm_command(words);
        command.env("DOCKER_CONFIG", host.work().join("me")).env("PATH", &path);
        run_with_input(&mut command, input.as_bytes())
    };
    let file = host.work().join("me/config.json");
    let address = registry.address.as_str();
    let login = ["login", "-u", "reader", "--password-stdin", "--insecure-registry", address, address];
    client(&login, "wrong\n").fails().complains("denies access");
    assert!(!file.exists(), "what the registry does not take is not kept");
    client(&["login", address], "").fails().complains("no terminal");
    client(&login, &format!("{PASSWORD}\n")).ok().prints("Login Succeeded").complains("not encrypted");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    client(&["pull", &image], "").ok();
    client(&["logout", address], "").ok().prints(&format!("Removing login credentials for {address}"));
    client(&["logout", address], "").ok().complains("there is no login");
    client(&["pull", &image], "").fails().complains("login");

    let mine = r#"{"credsStore": "e2e", "psFormat": "table {{.ID}}"}"#;
    std::fs::write(&file, mine).unwrap();
    client(&login, PASSWORD).ok().prints("Login Succeeded").never_says("not encrypted");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("psFormat") && kept.contains(address) && !kept.contains("\"auth\""), "{kept}");
    client(&["pull", &image], "").ok();
    client(&["logout", address], "").ok();
    assert_eq!(run(Command::new("sh").args(["-c", "ls bin"]).current_dir(host.work())).text(), "docker-credential-e2e");
    client(&["pull", &image], "").fails().complains("login");
}

#[test]
fn a_login_is_asked_for_at_a_terminal() {
    let Some((host, registry, image)) = private() else { return };
    let command = |words: &[&str]| {
        let mut command = host.rswarm_command(words);
        command.env("DOCKER_CONFIG", host.work().join("me"));
        command
    };
    let asked = || {
        let login = ["login", "--insecure-registry", &registry.address, &registry.address];
        let mut pty = Pty::spawn(&mut command(&login));
        pty.expect("Username: ");
        pty.send("reader\n");
        pty.expect("Password: ");
        // What was typed before would be thrown away.
        eventually("nothing is shown any more", Duration::from_secs(10), || !pty.echoes());
        pty
    };
    let mut pty = asked();
    // Who thinks better of it has a terminal that shows again what is typed.
    pty.send("\x03");
    assert_eq!((pty.wait(), pty.echoes()), (130, true), "{}", pty.seen);
    for (password, wanted, code) in [("wrong", "denies access", 1), (PASSWORD, "Login Succeeded", 0)] {
        let mut pty = asked();
        pty.send(&format!("{password}\n"));
        assert_eq!(pty.wait(), code, "{}", pty.seen);
        assert!(!pty.seen.contains(password), "{}", pty.seen);
        pty.expect(wanted);
    }
    run(&mut command(&["pull", &image])).ok();
}
