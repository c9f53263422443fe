//! From command lines to specs: what was created, then what became of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use crate::args::{Cli, Command, swarm};
use crate::commands::service::create;
use clap::Parser as _;
use model::{EndpointMode, FailureAction, Mode, MountSource, ServiceId, Time, UpdateOrder};
use std::sync::Arc;

fn parsed(line: &str) -> swarm::Service {
    let words = ["rswarm", "service"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).unwrap().command {
        Command::Service(command) => command,
        other => panic!("{other:?}"),
    }
}

fn created(line: &str) -> Result<ServiceSpec> {
    let around = Surroundings { variable: &|_| None, read: &|path| std::fs::read_to_string(path), cwd: "/".to_owned() };
    match parsed(&format!("create --name web {line}")) {
        swarm::Service::Create(args) => create::spec(&args, &around),
        other => panic!("{other:?}"),
    }
}

fn updated(spec: ServiceSpec, line: &str) -> Result<ServiceSpec> {
    match parsed(&format!("update {line} web")) {
        swarm::Service::Update(args) => {
            let service = Service::new(ServiceId(1), Arc::new(spec), Time::default());
            changed(&service, &args, &|name| Ok(name.to_owned()))
        }
        other => panic!("{other:?}"),
    }
}

/// What the one made, changed by the other.
fn after(create: &str, update: &str) -> ServiceSpec {
    updated(created(create).unwrap(), update).unwrap()
}

#[test]
fn networks_are_joined_and_left() {
    let spec = created("--network one --network name=two,alias=db --endpoint-mode dnsrr img").unwrap();
    assert_eq!(
        (spec.networks[1].aliases.as_slice(), spec.endpoint_mode),
        (&["db".to_owned()][..], EndpointMode::Dnsrr)
    );
    let spec = updated(spec, "--network-rm one --network-add name=three,alias=x --endpoint-mode vip").unwrap();
    let names: Vec<&str> = spec.networks.iter().map(|attachment| attachment.network.as_str()).collect();
    assert_eq!((names, spec.endpoint_mode), (vec!["two", "three"], EndpointMode::Vip));
    // Joined again, it is as it is named now, and in its place.
    let spec = updated(spec, "--network-add two").unwrap();
    assert_eq!((spec.networks.len(), spec.networks[0].aliases.len()), (2, 0));
    for (line, why) in
        [("--network-rm four", "is not on network four"), ("--network-rm two --network-rm two", "is not on")]
    {
        let error = updated(spec.clone(), line).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let error = updated(created("--network default img").unwrap(), "--network-rm bridge").unwrap_err();
    assert!(error.to_string().contains("names no network"), "{error}");
    let error = updated(created("--network host img").unwrap(), "--network-add one").unwrap_err();
    assert!(error.to_string().contains("no networks of its own"), "{error}");
}

#[test]
fn tasks_are_spread_and_bounded() {
    let spec = after(
        "--placement-pref spread=node.labels.zone --replicas-max-per-node 2 img",
        "--placement-pref-add spread=node.hostname --placement-pref-rm spread=node.labels.zone --replicas-max-per-node 3",
    );
    assert_eq!(spec.placement.spread, ["node.hostname"]);
    assert_eq!(spec.placement.max_replicas_per_node, 3);
    for (line, why) in [
        ("--placement-pref pack=node.hostname img", "no preference"),
        ("--placement-pref spread=node.labels. img", "nothing that nodes have"),
        ("--placement-pref spread=zone img", "nothing that nodes have"),
        ("--mode global --replicas-max-per-node 1 img", "once on every node"),
        ("--max-concurrent 2 img", "is for --mode replicated-job"),
    ] {
        let error = format!("{:#}", created(line).unwrap_err());
        assert!(error.contains(why), "{line}: {error}");
    }
    let jobs = |line| match created(line).unwrap().mode {
        Mode::ReplicatedJob { total, concurrent } => (total, concurrent),
        other => panic!("{other:?}"),
    };
    assert_eq!(jobs("--mode replicated-job --replicas 5 img"), (5, 5));
    assert_eq!(jobs("--mode replicated-job --replicas 5 --max-concurrent 2 img"), (5, 2));
}

#[test]
fn files_and_mounts_take_the_place_of_what_was_there() {
    let spec = after(
        "--secret key --config source=conf,target=/etc/app.conf --mount type=volume,source=data,target=/data img",
        "--secret-rm key --secret-add source=key2,target=key,mode=0400 --config-add source=conf2,target=/etc/app.conf \
         --mount-add type=bind,source=/srv,target=/data --mount-add type=tmpfs,target=/tmp",
    );
    let secret = &spec.container.secrets[0];
    assert_eq!((secret.name.as_str(), secret.target.as_str(), secret.mode), ("key2", "/run/secrets/key", 0o400));
    let configs: Vec<&str> = spec.container.configs.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(configs, ["conf2"]);
    assert!(matches!(&spec.container.mounts[0].source, MountSource::Bind { path, .. } if path == "/srv"));
    let spec = updated(spec, "--mount-rm /data --config-rm conf2").unwrap();
    assert_eq!((spec.container.mounts.len(), spec.container.configs.len()), (1, 0));
}

#[test]
fn what_a_container_is_given_can_be_taken_back() {
    let spec = after(
        "--dns 10.0.0.1 --dns-search example.com --add-host db:10.0.0.2 --cap-add NET_ADMIN --ulimit nofile=5 \
         --sysctl net.core.somaxconn=9 --group 5 img",
        "--dns-rm 10.0.0.1 --dns-add 10.0.0.9 --dns-search-rm example.com --dns-option-add ndots:2 --host-rm db \
         --host-add cache:10.0.0.3 --cap-drop CAP_NET_ADMIN --ulimit-rm nofile --sysctl-rm net.core.somaxconn \
         --group-rm 5 --group-add 6 --entrypoint /bin/x --init --read-only --limit-pids 20 --log-opt max-size=1m",
    );
    let it = &spec.container;
    assert_eq!((it.dns.as_slice(), it.dns_opt.as_slice()), (&["10.0.0.9".to_owned()][..], &["ndots:2".to_owned()][..]));
    assert!(it.dns_search.is_empty() && it.ulimits.is_empty() && it.sysctls.is_empty());
    assert_eq!(it.extra_hosts, [("cache".to_owned(), "10.0.0.3".to_owned())]);
    assert_eq!((it.cap_add.len(), it.cap_drop.len()), (0, 0), "as it is by default");
    assert_eq!((it.group_add.as_slice(), it.init, it.read_only), (&["6".to_owned()][..], true, true));
    assert_eq!(it.entrypoint.as_deref(), Some(&["/bin/x".to_owned()][..]));
    assert_eq!((spec.resources.limit_pids, it.logging.options.len()), (Some(20), 1));
    let spec = updated(spec, "--init=false --limit-pids 0 --entrypoint= --cap-drop CHOWN").unwrap();
    assert_eq!((spec.container.init, spec.resources.limit_pids, &spec.container.entrypoint), (false, None, &None));
    let spec = updated(spec, "--cap-drop CHOWN --cap-add KILL --host-add cache:10.0.0.3").unwrap();
    assert_eq!((spec.container.cap_add.as_slice(), spec.container.cap_drop.len()), (&["KILL".to_owned()][..], 1));
    assert_eq!(spec.container.extra_hosts.len(), 1);
}

#[test]
fn a_check_of_health_is_changed_field_by_field() {
    let spec = after("--health-cmd true --health-interval 9s img", "--health-retries 7");
    let check = spec.container.healthcheck.clone().unwrap();
    assert_eq!(check.test, Some(HealthTest::CmdShell("true".to_owned())));
    assert_eq!((check.interval.unwrap().as_secs(), check.retries), (9, Some(7)));
    let none = updated(spec, "--no-healthcheck").unwrap().container.healthcheck.unwrap();
    assert_eq!(none, HealthCheck { test: Some(HealthTest::None), ..HealthCheck::default() });
    let other = ServiceSpec {
        container: ContainerSpec { healthcheck: Some(none), ..ContainerSpec::default() },
        ..created("img").unwrap()
    };
    let other_way = updated(other.clone(), "--health-interval 5s").unwrap().container.healthcheck.unwrap();
    assert_eq!((other_way.test, other_way.interval.unwrap().as_secs()), (None, 5), "the image's check");
    assert!(updated(other.clone(), "--no-healthcheck --health-retries 2").is_err());
    let again = updated(other, "--health-cmd false").unwrap().container.healthcheck.unwrap();
    assert_eq!(again.test, Some(HealthTest::CmdShell("false".to_owned())));
}

#[test]
fn rollbacks_have_policies_of_their_own() {
    let spec = after("--rollback-parallelism 3 --update-order start-first img", "--rollback-order start-first");
    assert_eq!((spec.rollback.parallelism, spec.rollback.order), (3, UpdateOrder::StartFirst));
    assert_eq!((spec.update.parallelism, spec.update.failure_action), (1, FailureAction::Pause));
    let error = created("--rollback-max-failure-ratio 2 img").unwrap_err();
    assert!(error.to_string().contains("--rollback-max-failure-ratio"), "{error}");
}

#[test]
fn things_of_a_kind_are_reserved_and_let_go() {
    let spec = after("--generic-resource gpu=2 --generic-resource disk=1 img", "--generic-resource-rm gpu");
    assert_eq!(spec.resources.reserve_generic, [("disk".to_owned(), 1)].into());
    let spec = updated(spec, "--generic-resource-rm disk --generic-resource-add disk=3").unwrap();
    assert_eq!(spec.resources.reserve_generic, [("disk".to_owned(), 3)].into());
}
