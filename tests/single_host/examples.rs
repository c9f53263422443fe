//! Every file of `examples/compose` is run here, and so is the quick start of the README.

use std::time::Duration;

use e2e::{Host, eventually, run};

/// Brings an example up; gives the name of its stack.
fn up(host: &Host, file: &str) -> String {
    let path = e2e::root().join("examples/compose").join(file);
    let mut command = host.rswarm_command(["up", "-f", path.to_str().unwrap()]);
    run(command.env("SERVER_KEY", "a key")).ok();
    file.trim_end_matches(".yaml").to_owned()
}

/// Within a minute: which replica a visitor gets, once a second, is drawn.
fn says(host: &Host, stack: &str, service: &str, text: &str) {
    eventually(&format!("{service} says {text}"), Duration::from_secs(60), || {
        host.rswarm(["logs", "-p", stack, "--no-log-prefix", service]).ok().stdout.contains(text)
    });
}

/// A file without a test or a row in the table is not an example yet.
#[test]
fn every_example_is_run_and_listed() {
    let folder = e2e::root().join("examples/compose");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: Vec<String> = names.filter(|name| name.ends_with(".yaml") || name.ends_with(".yml")).collect();
    assert!(files.len() >= 16, "only {files:?}");
    for file in files {
        assert!(include_str!("examples.rs").contains(&format!("\"{file}\"")), "{file}: no test runs it");
        assert!(readme.contains(&format!("| `{file}` |")), "{file}: not in the table of the README");
    }
}

#[test]
fn hello() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "hello.yaml");
    assert_eq!(host.get("http://127.0.0.1:8080/").as_deref(), Some("Hello from rswarm\n"));
    says(&host, &stack, "visitor", "web says Hello from rswarm");
}

#[test]
fn replicas() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "replicas.yaml");
    for slot in 1..=3 {
        says(&host, &stack, "visitor", &format!("web-{slot}"));
    }
}

#[test]
fn healthcheck() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "healthcheck.yaml");
    host.sh("ps").ok().says("(healthy)");
    assert_eq!(host.rswarm(["ps", "-q", "-p", &stack]).ok().lines().len(), 2);
}

#[test]
fn volumes() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "volumes.yaml");
    says(&host, &stack, "writer", "a file of the host");
    host.down(&stack).ok();
    up(&host, "volumes.yaml");
    host.rswarm(["exec", "volumes-reader-1", "wc", "-l", "/data/starts"]).ok().says("2");
}

#[test]
fn networks() {
    let Some(host) = Host::new() else { return };
    up(&host, "networks.yaml");
    let ask = |from: &str, url: &str| host.rswarm(["exec", from, "timeout", "2", "wget", "-q", "-O", "-", url]);
    ask("networks-proxy-1", "http://backend:8000/hostname").ok();
    ask("networks-app-1", "http://db:5432/hostname").ok();
    ask("networks-proxy-1", "http://db:5432/hostname").fails();
}

#[test]
fn secrets() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "secrets.yaml");
    says(&host, &stack, "app", "greeting = hello");
    host.rswarm(["exec", "secrets-app-1", "cat", "/run/keys/server.key"]).ok().prints("a key");
    host.rswarm(["exec", "secrets-app-1", "cat", "/run/secrets/password"]).ok().prints("correct horse battery staple");
}

#[test]
fn placeholders() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "placeholders.yaml");
    for slot in 1..=2 {
        says(&host, &stack, "app", &format!("core/{slot} has slot {slot} of core/{slot}\n"));
        let own = format!("placeholders-app-{slot}");
        host.rswarm(["exec", &own, "hostname"]).ok().prints(&format!("placeholders_app-{slot}"));
        host.rswarm(["exec", &own, "ls", "/data"]).ok().prints(&slot.to_string());
    }
    host.sh("volume ls -q").ok().says("placeholders-1").says("placeholders-2");
}

#[test]
fn reuse() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "reuse.yaml");
    says(&host, &stack, "one", "one info blue");
    says(&host, &stack, "two", "two debug blue");
}

#[test]
fn restart() {
    let Some(host) = Host::new() else { return };
    let path = e2e::root().join("examples/compose").join("restart.yaml");
    host.rswarm(["up", "--no-wait", "-f", path.to_str().unwrap()]).ok();
    eventually("the stubborn one stays", Duration::from_secs(20), || {
        host.rswarm(["exec", "restart-stubborn-1", "sh", "-c", "test $(wc -l < /tries) -ge 3"]).succeeded()
    });
    eventually("the other comes again", Duration::from_secs(20), || {
        host.sh("logs -p restart --no-log-prefix always").ok().lines().len() >= 2
    });
    host.sh("logs -p restart --no-log-prefix once").ok().prints("once");
}

#[test]
fn job() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "job.yaml");
    says(&host, &stack, "app", "schema 42");
}

#[test]
fn hardening() {
    let Some(host) = Host::new() else { return };
    up(&host, "hardening.yaml");
    let ask = |script: &str| host.rswarm(["exec", "hardening-app-1", "sh", "-c", script]);
    ask("id -u").ok().prints("65534");
    ask("touch /x").fails();
    ask("touch /tmp/x").ok();
    ask("grep -E 'CapBnd|NoNewPrivs' /proc/1/status").ok().says("0000000000000000").says("NoNewPrivs:\t1");
}

#[test]
fn ports() {
    let Some(host) = Host::new() else { return };
    up(&host, "ports.yaml");
    for port in [18080, 18081, 18090] {
        let url = format!("http://127.0.0.1:{port}/hostname");
        eventually(&url, Duration::from_secs(5), || host.get(&url).is_some());
    }
    host.sh("port ports-names-1").ok().says("53/udp -> 0.0.0.0:18053");
}

#[test]
fn resources() {
    let Some(host) = Host::new() else { return };
    up(&host, "resources.yaml");
    host.rswarm(["exec", "resources-app-1", "sh", "-c", "ulimit -n; ulimit -Hn"]).ok().prints("1024\n2048");
    assert_eq!(host.inspect("resources-app-1", "{{.HostConfig.Memory}}"), (64 << 20).to_string());
}

#[test]
fn env_file() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "env_file.yaml");
    says(&host, &stack, "app", "blue very large square nothing");
}

#[test]
fn profiles() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "profiles.yaml");
    assert_eq!(host.rswarm(["ps", "-q", "-p", &stack]).ok().lines().len(), 1);
    let path = e2e::root().join("examples/compose").join("profiles.yaml");
    host.rswarm(["up", "--profile", "debug", "-f", path.to_str().unwrap()]).ok();
    assert_eq!(host.rswarm(["ps", "-q", "-p", &stack]).ok().lines().len(), 2);
}

#[test]
fn logging() {
    let Some(host) = Host::new() else { return };
    let stack = up(&host, "logging.yaml");
    says(&host, &stack, "chatty", "line 20");
}

#[test]
fn the_quick_start() {
    let Some(host) = Host::new() else { return };
    let mut script = host.command(e2e::root().join("deploy/quickstart.sh"));
    script.args(["--data-root", host.data().to_str().unwrap(), "--run-root", host.run_root().to_str().unwrap()]);
    script.args(["--cgroup-parent", host.cgroup()]).env("RSWARM_BIN", e2e::binary());
    run(&mut script).ok().says("Hello from rswarm").says("web says Hello");
}
