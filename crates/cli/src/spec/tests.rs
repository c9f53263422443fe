//! Whole command lines and the specs that they make.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::args::{Cli, Command};
use clap::Parser as _;
use model::{MountSource, Protocol, Seccomp};

fn parsed(line: &str) -> Run {
    let words = std::iter::once("rswarm").chain(std::iter::once("run")).chain(line.split_whitespace());
    match Cli::try_parse_from(words).unwrap().command {
        Command::Run(run) => *run,
        other => panic!("{other:?}"),
    }
}

fn made(line: &str) -> Result<ServiceSpec> {
    let files = |path: &str| match path {
        "vars" => Ok("# comment\n\nA=file\nB = x\nHOME\nC=\"q\"\n".replace("B = x\n", "")),
        "profile.json" => Ok("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}".to_owned()),
        _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
    };
    let variable = |name: &str| (name == "HOME").then(|| "/root".to_owned());
    let around = Surroundings { variable: &variable, read: &files, cwd: "/work".to_owned() };
    service(&parsed(line), "box", &["80/tcp".to_owned()], &around)
}

#[test]
fn the_least_is_one_container_on_the_default_network() {
    let spec = made("img").unwrap();
    assert!(spec.standalone && spec.stack.is_none());
    assert_eq!((spec.name.as_str(), spec.key.as_str()), ("box", "box"));
    assert_eq!(spec.container.image, "img");
    assert_eq!((spec.container.command.clone(), spec.container.entrypoint.clone()), (None, None));
    assert_eq!(spec.restart.condition, RestartCondition::None);
    assert_eq!(spec.networks.iter().map(|net| net.network.as_str()).collect::<Vec<_>>(), ["bridge"]);
}

#[test]
fn what_follows_the_image_is_the_command() {
    let spec = made("-it --rm -e A=1 img ls -l --rm -e B=2 -- x").unwrap();
    assert_eq!(spec.container.command.unwrap(), ["ls", "-l", "--rm", "-e", "B=2", "--", "x"]);
    assert!(spec.container.tty && spec.container.stdin_open && spec.container.auto_remove);
    assert_eq!(spec.container.env.len(), 1);
}

#[test]
fn an_unknown_flag_before_the_image_is_refused() {
    let words = ["rswarm", "run", "--nope", "img"];
    assert!(Cli::try_parse_from(words).is_err());
    assert!(Cli::try_parse_from(["rswarm", "run"]).is_err());
}

#[test]
fn flags_land_where_they_belong() {
    let spec = made(
        "-d --name x -p 8080:80 -v data:/d --tmpfs /t --network net --network-alias a --ip 10.0.0.9 -h host -w /w -u 1:2 \
         --restart on-failure:3 --entrypoint sh --label k=v -l flag --cap-add net_admin --cap-drop CAP_CHOWN \
         --security-opt no-new-privileges --security-opt seccomp=profile.json --device /dev/fuse --ulimit nofile=10:20 \
         --sysctl net.x=1 --shm-size 1m --read-only --init -m 512m --memory-swap -1 --cpus 1.5 --pids-limit 9 \
         --add-host db:10.0.0.1 --dns 1.1.1.1 --stop-signal INT --stop-timeout 3 --log-driver json-file \
         --log-opt max-size=1m --pid host --ipc host --uts host --cgroupns host --group-add audio --env-file vars -e A=flag img",
    )
    .unwrap();
    let container = &spec.container;
    assert_eq!(spec.ports.len(), 1);
    assert_eq!((spec.ports[0].published, spec.ports[0].protocol), (Some(8080), Protocol::Tcp));
    assert!(matches!(container.mounts[0].source, MountSource::Volume { .. }));
    assert!(matches!(container.mounts[1].source, MountSource::Tmpfs { .. }));
    assert_eq!(spec.networks[0].aliases, ["a"]);
    assert_eq!(spec.networks[0].ipv4_address.as_deref(), Some("10.0.0.9"));
    assert_eq!(container.hostname.as_deref(), Some("host"));
    assert_eq!((container.working_dir.as_deref(), container.user.as_deref()), (Some("/w"), Some("1:2")));
    assert_eq!((spec.restart.condition, spec.restart.max_attempts), (RestartCondition::OnFailure, Some(3)));
    assert_eq!(spec.restart.scope, RestartScope::InPlace);
    assert_eq!(container.entrypoint.as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(container.labels["k"], "v");
    assert_eq!(container.labels["flag"], "");
    assert_eq!((container.cap_add.join(","), container.cap_drop.join(",")), ("NET_ADMIN".into(), "CHOWN".into()));
    assert!(container.no_new_privileges && matches!(container.seccomp, Seccomp::Profile(_)));
    assert_eq!(container.devices[0].permissions, "rwm");
    assert_eq!(container.ulimits["nofile"], (10, 20));
    assert_eq!(container.sysctls["net.x"], "1");
    assert_eq!(container.shm_size, Some(1 << 20));
    assert!(container.read_only && container.init);
    assert_eq!((spec.resources.limit_memory, spec.resources.limit_memory_swap), (Some(512 << 20), Some(-1)));
    assert_eq!((spec.resources.limit_nano_cpus, spec.resources.limit_pids), (Some(1_500_000_000), Some(9)));
    assert_eq!(container.extra_hosts, [("db".to_owned(), "10.0.0.1".to_owned())]);
    assert_eq!(container.dns, ["1.1.1.1"]);
    assert_eq!(container.stop_grace_period, Some(Duration::from_secs(3)));
    assert_eq!(container.logging.options["max-size"], "1m");
    assert!(container.pid_host && container.ipc_host && container.uts_host && container.cgroup_host);
    assert_eq!(container.env["A"].as_deref(), Some("flag"));
    assert_eq!(container.env["HOME"].as_deref(), Some("/root"));
    assert_eq!(container.env["C"].as_deref(), Some("\"q\""));
}

#[test]
fn health_checks_by_flags() {
    let check = made("--health-cmd check --health-interval 1s --health-retries 2 img").unwrap().container.healthcheck;
    let check = check.unwrap();
    assert_eq!(check.test, Some(HealthTest::CmdShell("check".to_owned())));
    assert_eq!((check.interval, check.retries), (Some(Duration::from_secs(1)), Some(2)));
    let none = made("--no-healthcheck img").unwrap().container.healthcheck.unwrap();
    assert_eq!(none.test, Some(HealthTest::None));
    assert_eq!(made("img").unwrap().container.healthcheck, None);
}

#[test]
fn exposed_ports_are_published_on_request() {
    assert!(made("img").unwrap().ports.is_empty());
    let ports = made("-P --expose 53/udp img").unwrap().ports;
    assert_eq!(ports.iter().map(|port| port.target).collect::<Vec<_>>(), [80, 53]);
}

#[test]
fn networks_that_exclude_others() {
    assert_eq!(made("--network host img").unwrap().network_mode, NetworkMode::Host);
    assert_eq!(made("--net none img").unwrap().network_mode, NetworkMode::None);
    let joined = made("--network container:x img").unwrap().network_mode;
    assert_eq!(joined, NetworkMode::Container("x".to_owned()));
    assert!(made("--network host --network a img").is_err());
    assert!(made("--network host -p 80:80 img").is_err());
}

#[test]
fn contradictions_and_nonsense_are_told_by_flag() {
    for (line, told) in [
        ("--rm --restart always img", "--rm"),
        ("--restart sometimes img", "--restart"),
        ("-m lots img", "--memory"),
        ("--memory-swap 1g img", "--memory-swap"),
        ("-m 1g --memory-swap 1m img", "--memory-swap"),
        ("--cpus none img", "--cpus"),
        ("--ulimit files=1 img", "--ulimit"),
        ("-p x img", "-p"),
        ("--env-file missing img", "missing"),
        ("--security-opt apparmor=x img", "--security-opt"),
        ("--add-host db img", "--add-host"),
        ("--pid container:x img", "--pid"),
        ("--stop-signal NOPE img", "--stop-signal"),
        ("-v data:rel img", "-v"),
        ("-v a:/x -v b:/x img", "twice"),
    ] {
        let error = format!("{:#}", made(line).unwrap_err());
        assert!(error.contains(told), "{line}: {error}");
    }
}

#[test]
fn pulls_by_flag() {
    assert_eq!(made("img").unwrap().container.pull_policy, PullPolicy::Missing);
    assert_eq!(made("--pull always img").unwrap().container.pull_policy, PullPolicy::Always);
    assert_eq!(made("--pull never img").unwrap().container.pull_policy, PullPolicy::Never);
}
