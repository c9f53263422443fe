//! What a file becomes: the stack that is applied.

#![allow(clippy::unwrap_used, reason = "a test")]

use compose::{FileError, FileErrorKind, Files, Input, Loaded, SecretSource, load, render};
use model::mode::Mode;
use model::spec::*;
use model::stack::StackSpec;
use std::collections::BTreeMap;
use std::time::Duration;

/// Files that are only in memory.
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

fn load_with(text: &str, files: &[(&str, &str)], change: impl FnOnce(&mut Input<'_>)) -> Loaded {
    let mut all: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    all.insert("/p/shop/compose.yaml".to_owned(), text.as_bytes().to_vec());
    let memory = Memory(all);
    let mut input = Input::new("/p/shop", &memory);
    change(&mut input);
    load(&input)
}

fn stack_with(text: &str, files: &[(&str, &str)]) -> StackSpec {
    let loaded = load_with(text, files, |_| {});
    let shown: String = loaded.diagnostics.iter().map(render).collect();
    loaded.stack.unwrap_or_else(|| panic!("{shown}"))
}

fn stack(text: &str) -> StackSpec {
    stack_with(text, &[])
}

fn web(text: &str) -> ServiceSpec {
    stack(&format!("services:\n  web:\n    image: i\n{text}")).services.remove("shop_web").unwrap()
}

#[test]
fn one_service_has_the_defaults_of_the_tables() {
    let stack = stack("services:\n  web:\n    image: nginx\n");
    assert_eq!(stack.name, "shop");
    assert_eq!(stack.networks.keys().collect::<Vec<_>>(), ["shop_default"]);
    let web = &stack.services["shop_web"];
    assert_eq!((web.key.as_str(), web.stack.as_deref(), web.standalone), ("web", Some("shop"), false));
    assert_eq!(web.mode, Mode::Replicated { replicas: 1 });
    assert_eq!((web.restart.condition, web.restart.scope), (RestartCondition::OnFailure, RestartScope::InPlace));
    assert_eq!(web.update, UpdateConfig::default());
    assert_eq!(web.networks[0].network, "shop_default");
    assert_eq!(web.container.labels["com.docker.compose.service"], "web");
    assert_eq!(web.container.labels["com.docker.stack.namespace"], "shop");
    assert_eq!((web.container.entrypoint.clone(), web.container.command.clone()), (None, None));
    assert_eq!(web.container.stop_grace_period, None);
}

#[test]
fn a_platform_is_a_constraint() {
    let constraints = |text: &str| web(text).placement.constraints;
    assert_eq!(constraints("    platform: linux/arm64/v8\n"), ["node.platform.arch == arm64"]);
    assert_eq!(constraints("    platform: linux/x86_64\n"), ["node.platform.arch == amd64"]);
    assert_eq!(constraints("    platform: linux\n"), [""; 0]);
    let both = "    platform: linux/amd64\n    deploy: {placement: {constraints: [node.role==worker]}}\n";
    assert_eq!(constraints(both), ["node.role==worker", "node.platform.arch == amd64"]);
}

#[test]
fn a_volume_with_a_placeholder_is_made_by_tasks() {
    let text = |options: &str| {
        format!(
            "services:\n  web:\n    image: i\n    volumes: ['data:/d']\nvolumes:\n  data: {{name: 'd-{{{{.Task.Slot}}}}'{options}}}\n"
        )
    };
    let stack = stack(&text(""));
    assert!(stack.volumes.is_empty());
    let mounts = &stack.services["shop_web"].container.mounts;
    assert!(matches!(&mounts[0].source, MountSource::Volume { name, .. } if name == "d-{{.Task.Slot}}"));
    let refused = load_with(&text(", driver_opts: {type: nfs}"), &[], |_| {});
    assert_eq!(refused.diagnostics[0].code, "RS0605");
}

#[test]
fn values_that_are_what_happens_anyway_are_no_reason_to_warn() {
    let warned = |text: &str| load_with(text, &[], |_| {}).diagnostics.len();
    assert_eq!(warned("services:\n  a: {image: i, userns_mode: host, platform: linux/amd64}\n"), 0);
    assert_eq!(warned("services:\n  a: {image: i, userns_mode: other}\n"), 1);
    let network = |inside: &str| format!("services:\n  a: {{image: i, networks: [n]}}\nnetworks:\n  n: {inside}\n");
    assert_eq!(warned(&network("{ipam: {driver: default}, enable_ipv4: true}")), 0);
    assert_eq!(warned(&network("{ipam: {driver: other}, enable_ipv4: false}")), 2);
}

#[test]
fn who_restarts_depends_on_who_says_it() {
    let policy = |text: &str| web(text).restart;
    assert_eq!(policy("    deploy: {replicas: 2}\n"), RestartPolicy::SWARM);
    let always = policy("    restart: always\n");
    assert_eq!((always.condition, always.scope), (RestartCondition::Any, RestartScope::InPlace));
    let counted = policy("    restart: on-failure:3\n");
    assert_eq!((counted.condition, counted.max_attempts), (RestartCondition::OnFailure, Some(3)));
    assert_eq!(policy("    restart: \"no\"\n").condition, RestartCondition::None);
    assert_eq!(policy("    restart: unless-stopped\n").condition, RestartCondition::UnlessStopped);
    let deploy = policy(
        "    restart: always\n    deploy: {restart_policy: {condition: on-failure, delay: 1s, max_attempts: 4, window: 2m}}\n",
    );
    assert_eq!(
        deploy,
        RestartPolicy {
            condition: RestartCondition::OnFailure,
            scope: RestartScope::Replace,
            delay: Duration::from_secs(1),
            max_attempts: Some(4),
            window: Duration::from_secs(120),
        }
    );
    assert_eq!(policy("    deploy: {mode: replicated-job}\n").condition, RestartCondition::OnFailure);
}

#[test]
fn deploy_is_taken_whole() {
    let spec = web(
        "    deploy:
      mode: replicated
      replicas: 6
      endpoint_mode: dnsrr
      labels: {a: b}
      placement:
        constraints: [node.role == worker]
        preferences: [{spread: node.labels.zone}]
        max_replicas_per_node: 2
      update_config: {parallelism: 2, delay: 5s, order: start-first, failure_action: rollback, monitor: 15s, max_failure_ratio: 0.25}
      rollback_config: {parallelism: 0}
      resources:
        limits: {cpus: '1.5', memory: 50M, pids: 9}
        reservations:
          cpus: '0.25'
          memory: 20M
          generic_resources: [{discrete_resource_spec: {kind: ssd, value: 2}}]
",
    );
    assert_eq!(spec.mode, Mode::Replicated { replicas: 6 });
    assert_eq!(spec.endpoint_mode, EndpointMode::Dnsrr);
    assert_eq!(spec.labels["a"], "b");
    assert_eq!(spec.placement.constraints, ["node.role == worker"]);
    assert_eq!(
        (spec.placement.spread.as_slice(), spec.placement.max_replicas_per_node),
        (&["node.labels.zone".to_owned()][..], 2)
    );
    assert_eq!(
        spec.update,
        UpdateConfig {
            parallelism: 2,
            delay: Duration::from_secs(5),
            failure_action: FailureAction::Rollback,
            monitor: Duration::from_secs(15),
            max_failure_ratio: 0.25,
            order: UpdateOrder::StartFirst,
        }
    );
    assert_eq!(spec.rollback.parallelism, 0);
    let resources = spec.resources;
    assert_eq!(
        (resources.limit_nano_cpus, resources.limit_memory, resources.limit_pids),
        (Some(1_500_000_000), Some(50 << 20), Some(9))
    );
    assert_eq!((resources.reserve_nano_cpus, resources.reserve_memory), (Some(250_000_000), Some(20 << 20)));
    assert_eq!(resources.reserve_generic["ssd"], 2);
    let mode = |text: &str| web(&format!("    deploy: {{mode: {text}, replicas: 3}}\n")).mode;
    assert_eq!(mode("global"), Mode::Global);
    assert_eq!(mode("replicated-job"), Mode::ReplicatedJob { total: 3, concurrent: 3 });
    assert_eq!(mode("global-job"), Mode::GlobalJob);
}

#[test]
fn ports_of_every_kind() {
    let spec = web("    ports:
      - 80
      - 127.0.0.1:8080:81/udp
      - '9000-9001:82-83'
      - {target: 84, published: '84', mode: host, protocol: tcp}
      - '8000-8010:85'
");
    let port = |target, published, host_ip: Option<&str>, protocol, mode| PortSpec {
        target,
        published,
        published_range: None,
        host_ip: host_ip.map(str::to_owned),
        protocol,
        mode,
    };
    assert_eq!(
        spec.ports,
        [
            port(80, None, None, Protocol::Tcp, PortMode::Ingress),
            port(81, Some(8080), Some("127.0.0.1"), Protocol::Udp, PortMode::Ingress),
            port(82, Some(9000), None, Protocol::Tcp, PortMode::Ingress),
            port(83, Some(9001), None, Protocol::Tcp, PortMode::Ingress),
            port(84, Some(84), None, Protocol::Tcp, PortMode::Host),
            PortSpec { published_range: Some((8000, 8010)), ..port(85, None, None, Protocol::Tcp, PortMode::Ingress) },
        ]
    );
}

#[test]
fn ports_that_others_are_told_of() {
    let spec = web("
    ports:
      - {target: 80, published: '8080', name: HTTP}
      - {target: 53, protocol: udp, name: dns}
      - '81'
    expose: [3000, '4000-4005/udp', '5000/TCP', '6000/sctp']
");
    let port = |first, last, protocol, name: Option<&str>| ExposedPort {
        first,
        last,
        protocol,
        name: name.map(str::to_owned),
    };
    let expected = [
        port(53, 53, Protocol::Udp, Some("dns")),
        port(80, 80, Protocol::Tcp, Some("http")),
        port(3000, 3000, Protocol::Tcp, None),
        port(4000, 4005, Protocol::Udp, None),
        port(5000, 5000, Protocol::Tcp, None),
    ];
    assert_eq!(spec.exposed.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn mounts_of_every_kind() {
    let spec = web(
        "    volumes:
      - /anonymous
      - data:/data:ro
      - ./site:/site
      - {type: bind, source: /etc, target: /etc2, bind: {propagation: rslave, create_host_path: false, recursive: disabled}}
      - {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}
    tmpfs: ['/run:size=64k,mode=1770,noexec,ro']
volumes: {data: {}}
",
    );
    let mounts = spec.container.mounts;
    let get = |target: &str| mounts.iter().find(|mount| mount.target == target).unwrap();
    assert_eq!(get("/anonymous").source, MountSource::Anonymous);
    assert_eq!(get("/data").source, MountSource::Volume { name: "shop_data".to_owned(), nocopy: false, subpath: None });
    assert!(get("/data").read_only);
    let bind = |path: &str, create, propagation: Option<&str>, recursive| MountSource::Bind {
        path: path.to_owned(),
        create,
        propagation: propagation.map(str::to_owned),
        recursive,
    };
    assert_eq!(get("/site").source, bind("/p/shop/site", true, None, true));
    assert_eq!(get("/etc2").source, bind("/etc", false, Some("rslave"), false));
    assert_eq!(get("/t").source, MountSource::Tmpfs { size: Some(1 << 20), mode: Some(0o700), options: vec![] });
    assert_eq!(
        get("/run").source,
        MountSource::Tmpfs { size: Some(65536), mode: Some(0o1770), options: vec!["noexec".to_owned()] }
    );
    assert!(get("/run").read_only);
}

#[test]
fn configs_and_secrets_carry_their_content() {
    let text = "
services:
  web:
    image: i
    configs: [conf, {source: text, target: /etc/t, uid: '7', gid: '8', mode: 0440}]
    secrets: [pass, {source: out, target: other}]
configs:
  conf: {file: ./c.txt, template_driver: golang}
  text: {content: 'a $$1 ${X}'}
secrets:
  pass: {environment: PASS}
  out: {external: true, name: theirs}
";
    let loaded = load_with(text, &[("/p/shop/c.txt", "from file"), ("/p/shop/.env", "X=x\n")], |input| {
        input.env.insert("PASS".to_owned(), "hidden".to_owned());
    });
    let project = loaded.project.unwrap();
    assert!(!project.to_json().contains("hidden") && !project.to_yaml().contains("hidden"));
    let stack = loaded.stack.unwrap();
    assert_eq!(stack.configs["shop_conf"].data, b"from file");
    assert!(stack.configs["shop_conf"].template);
    assert_eq!(stack.configs["shop_text"].data, b"a $1 x");
    assert_eq!(stack.secrets["shop_pass"].data, b"hidden");
    assert_eq!(stack.external_secrets, ["theirs"]);
    let container = &stack.services["shop_web"].container;
    let files: Vec<_> =
        container.configs.iter().map(|f| (f.name.as_str(), f.target.as_str(), f.uid, f.gid, f.mode)).collect();
    assert_eq!(files, [("shop_conf", "/conf", 0, 0, 0o444), ("shop_text", "/etc/t", 7, 8, 0o440)]);
    let files: Vec<_> = container.secrets.iter().map(|f| (f.name.as_str(), f.target.as_str())).collect();
    assert_eq!(files, [("shop_pass", "/run/secrets/pass"), ("theirs", "/run/secrets/other")]);
}

#[test]
fn networks_names_and_modes() {
    let stack = stack(
        "
services:
  a:
    image: i
    networks: {back: {ipv4_address: 10.9.0.5, aliases: [x]}, front: {priority: 5}}
    links: ['b:database']
  b: {image: i, networks: [back]}
  c: {image: i, network_mode: host}
  d: {image: i, network_mode: 'service:a'}
  e: {image: i, networks: [hostnet]}
  f: {image: i, network_mode: bridge}
networks:
  back: {internal: true, ipam: {config: [{subnet: 10.9.0.0/16, gateway: 10.9.0.1}]}, labels: [k=v]}
  front: {external: true, name: edge}
  unused: {}
  hostnet: {external: true, name: host}
",
    );
    let names = |key: &str| -> Vec<String> { stack.services[key].networks.iter().map(|n| n.network.clone()).collect() };
    assert_eq!(names("shop_a"), ["edge", "shop_back"]);
    assert_eq!(stack.services["shop_a"].networks[1].ipv4_address.as_deref(), Some("10.9.0.5"));
    assert_eq!(stack.services["shop_b"].networks[0].aliases, ["database"]);
    assert_eq!(stack.services["shop_a"].depends_on["b"].condition, DependencyCondition::ServiceStarted);
    assert_eq!(stack.services["shop_c"].network_mode, NetworkMode::Host);
    assert_eq!(stack.services["shop_d"].network_mode, NetworkMode::Service("a".to_owned()));
    assert!(stack.services["shop_d"].depends_on.contains_key("a"));
    assert_eq!((&stack.services["shop_e"].network_mode, names("shop_e").len()), (&NetworkMode::Host, 0));
    assert_eq!(names("shop_f"), ["shop_default"]);
    assert_eq!(stack.networks.keys().collect::<Vec<_>>(), ["shop_back", "shop_default"]);
    let back = &stack.networks["shop_back"];
    assert!(back.internal);
    assert_eq!(
        (back.ipam[0].subnet.as_deref(), back.ipam[0].gateway.as_deref()),
        (Some("10.9.0.0/16"), Some("10.9.0.1"))
    );
    assert_eq!((back.labels["k"].as_str(), back.labels["com.docker.compose.network"].as_str()), ("v", "back"));
    assert_eq!(stack.external_networks, ["edge"]);
}

#[test]
fn the_container_is_taken_whole() {
    let container = web("    command: sh -c 'sleep 1'
    entrypoint: []
    environment: {A: 1, B: true, C: , D: 'x=y'}
    healthcheck: {test: curl localhost, interval: 1m, timeout: 5s, retries: 5, start_period: 3s, start_interval: 1s}
    cap_add: [CAP_NET_ADMIN, sys_time]
    cap_drop: [all]
    security_opt: ['no-new-privileges:true', 'seccomp=unconfined']
    ulimits: {nofile: {soft: 5, hard: 9}, nproc: 7}
    sysctls: [net.core.somaxconn=1024]
    devices: ['/dev/null:/dev/x:r']
    extra_hosts: ['a:10.0.0.1', 'b=::1']
    shm_size: 128m
    init: true
    pid: host
    stop_signal: SIGINT
    stop_grace_period: 1m30s
    logging: {driver: json-file, options: {max-size: 1m, max-file: 3}}
    user: '1:2'
    pull_policy: always
    dns: 1.1.1.1
    read_only: 'true'
    oom_score_adj: -5
    labels: ['l=m']
")
    .container;
    assert_eq!(container.command.unwrap(), ["sh", "-c", "sleep 1"]);
    assert_eq!(container.entrypoint.unwrap(), Vec::<String>::new());
    let env: Vec<_> = container.env.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
    assert_eq!(env, [("A", Some("1")), ("B", Some("true")), ("C", None), ("D", Some("x=y"))]);
    let health = container.healthcheck.unwrap();
    assert_eq!(health.test, Some(HealthTest::CmdShell("curl localhost".to_owned())));
    assert_eq!((health.interval, health.retries), (Some(Duration::from_secs(60)), Some(5)));
    assert_eq!(
        (container.cap_add, container.cap_drop),
        (vec!["NET_ADMIN".to_owned(), "SYS_TIME".to_owned()], vec!["ALL".to_owned()])
    );
    assert_eq!((container.no_new_privileges, container.seccomp), (true, Seccomp::Unconfined));
    assert_eq!((container.ulimits["nofile"], container.ulimits["nproc"]), ((5, 9), (7, 7)));
    assert_eq!(container.sysctls["net.core.somaxconn"], "1024");
    assert_eq!((container.devices[0].target.as_str(), container.devices[0].permissions.as_str()), ("/dev/x", "r"));
    assert_eq!(container.extra_hosts, [("a".to_owned(), "10.0.0.1".to_owned()), ("b".to_owned(), "::1".to_owned())]);
    assert_eq!((container.shm_size, container.init, container.pid_host), (Some(128 << 20), true, true));
    assert_eq!(container.stop_grace_period, Some(Duration::from_secs(90)));
    assert_eq!(container.logging.options["max-file"], "3");
    assert_eq!(container.pull_policy, PullPolicy::Always);
    assert_eq!(
        (container.dns, container.read_only, container.oom_score_adj),
        (vec!["1.1.1.1".to_owned()], true, Some(-5))
    );
    assert_eq!(container.labels["l"], "m");
}

#[test]
fn what_is_only_built_is_not_asked_of_a_registry() {
    let stack = stack("services:\n  web:\n    build: .\n");
    let container = &stack.services["shop_web"].container;
    assert_eq!((container.image.as_str(), container.pull_policy), ("shop-web", PullPolicy::Never));
}

#[test]
fn what_is_to_be_built_is_told() {
    let text = "
services:
  web:
    build:
      context: ./web
      dockerfile: prod/Dockerfile
      args: {A: 1, B: x}
      extra_hosts: [\"h=1.2.3.4\"]
      shm_size: 2gb
      ulimits: {nproc: 65535, nofile: {soft: 1, hard: 2}}
      secrets: [tok, {source: env, target: x}]
      ssh: [default, key=/keys/one]
      additional_contexts: {base: ../base, other: service:api}
  api: {image: api:1, build: https://example.com/x.git, pull_policy: build}
  plain: {image: i}
secrets: {tok: {file: ./tok}, env: {environment: T}}
";
    let builds = load_with(text, &[("/p/shop/tok", "t")], |input| {
        input.env.insert("T".to_owned(), "t".to_owned());
    });
    let builds = builds.project.unwrap().builds();
    let [api, web] = &builds[..] else { panic!("{builds:?}") };
    assert_eq!((api.image.as_str(), api.context.as_str()), ("api:1", "https://example.com/x.git"));
    assert!(api.always && !web.always);
    assert_eq!((web.image.as_str(), web.context.as_str()), ("shop-web", "/p/shop/web"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(web.dockerfile.as_deref(), Some("prod/Dockerfile"));
    assert_eq!(web.args, [pair("A", "1"), pair("B", "x")]);
    assert_eq!(web.extra_hosts, ["h:1.2.3.4"]);
    assert_eq!(web.shm_size.as_deref(), Some("2147483648"));
    assert_eq!(web.ulimits, ["nofile=1:2", "nproc=65535"]);
    assert_eq!(web.ssh, ["default", "key=/keys/one"]);
    let secrets =
        [("tok", SecretSource::File("/p/shop/tok".to_owned())), ("x", SecretSource::Variable("T".to_owned()))];
    assert_eq!(web.secrets, secrets.map(|(id, from)| (id.to_owned(), from)));
    assert_eq!(web.contexts, [pair("base", "/p/base"), pair("other", "service:api")]);
}

#[test]
fn variables_come_from_the_shell_then_from_files() {
    let files = [
        ("/p/shop/.env", "TAG=env\nONLY=file\n"),
        ("/p/shop/web.env", "A=file\nB=\"two $TAG\"\nC=file\n"),
        ("/p/shop/late.env", "C=late\n"),
    ];
    let text = "
services:
  web:
    image: i:${TAG}-${ONLY}-${NONE:-none}
    env_file: [web.env, {path: late.env}, {path: missing.env, required: false}]
    environment: [A=own, SHELL_ONLY]
";
    let loaded = load_with(text, &files, |input| {
        input.env.insert("TAG".to_owned(), "shell".to_owned());
        input.env.insert("SHELL_ONLY".to_owned(), "s".to_owned());
    });
    let container = loaded.stack.unwrap().services.remove("shop_web").unwrap().container;
    assert_eq!(container.image, "i:shell-file-none");
    let env: Vec<_> = container.env.iter().map(|(k, v)| (k.as_str(), v.as_deref().unwrap())).collect();
    assert_eq!(env, [("A", "own"), ("B", "two shell"), ("C", "late"), ("SHELL_ONLY", "s")]);
}

#[test]
fn profiles_choose_services_and_named_ones_are_active() {
    let text = "
services:
  web: {image: i, depends_on: {debug: {condition: service_started, required: false}}}
  debug: {image: i, profiles: [dev], depends_on: [web2]}
  web2: {image: i}
";
    let names = |change: &dyn Fn(&mut Input<'_>)| {
        load_with(text, &[], |input| change(input)).stack.unwrap().services.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(&|_| {}), ["shop_web", "shop_web2"]);
    let all = ["shop_debug", "shop_web", "shop_web2"];
    assert_eq!(names(&|input| input.profiles = vec!["dev".to_owned()]), all);
    assert_eq!(names(&|input| input.profiles = vec!["*".to_owned()]), all);
    assert_eq!(names(&|input| input.options.services = vec!["debug".to_owned()]), all);
    assert_eq!(names(&|input| drop(input.env.insert("COMPOSE_PROFILES".to_owned(), "x, dev".to_owned()))), all);
}

#[test]
fn files_are_merged_extended_and_included() {
    let files = [
        (
            "/p/shop/over.yaml",
            "services:\n  web:\n    command: two\n    ports: !override ['82:80']\n    environment: {B: 2}\n    labels: !reset null\n    volumes: ['bb:/v']\nvolumes: {bb: {}}\n",
        ),
        (
            "/p/shop/sub/base.yaml",
            "services:\n  base:\n    image: base\n    environment: [A=base, C=base]\n    volumes: ['./x:/x']\n",
        ),
        ("/p/shop/inc/compose.yaml", "services:\n  db: {image: 'db:${V}', volumes: ['./d:/d']}\n"),
        ("/p/shop/inc/.env", "V=9\n"),
    ];
    let text = "
include: [inc/compose.yaml]
services:
  web:
    extends: {file: sub/base.yaml, service: base}
    command: one
    ports: ['81:80']
    environment: {A: own}
    labels: {l: m}
    volumes: ['aa:/v']
volumes: {aa: {}}
";
    let loaded = load_with(text, &files, |input| input.files = vec!["compose.yaml".to_owned(), "over.yaml".to_owned()]);
    let shown: String = loaded.diagnostics.iter().map(render).collect();
    let stack = loaded.stack.unwrap_or_else(|| panic!("{shown}"));
    let web = &stack.services["shop_web"];
    assert_eq!(
        (web.container.image.as_str(), web.container.command.clone().unwrap()),
        ("base", vec!["two".to_owned()])
    );
    let env: Vec<_> = web.container.env.iter().map(|(k, v)| (k.as_str(), v.as_deref().unwrap())).collect();
    assert_eq!(env, [("A", "own"), ("B", "2"), ("C", "base")]);
    assert_eq!(web.ports.iter().map(|port| port.published).collect::<Vec<_>>(), [Some(82)]);
    assert!(!web.container.labels.contains_key("l"));
    let mounts: Vec<_> = web.container.mounts.iter().map(|mount| format!("{:?}", mount.source)).collect();
    assert!(mounts[0].contains("/p/shop/sub/x") && mounts[1].contains("shop_bb"), "{mounts:?}");
    let db = &stack.services["shop_db"].container;
    assert_eq!(db.image, "db:9");
    assert!(format!("{:?}", db.mounts[0].source).contains("/p/shop/inc/d"));
}

#[test]
fn config_prints_what_loads_to_the_same() {
    let text = "services:\n  web:\n    image: i\n    command: echo $$HOME\n    ports: ['8080:80']\n    environment: {A: 'x: y', M: \"l1\\nl2\\n\"}\n";
    let first = load_with(text, &[], |_| {});
    let project = first.project.unwrap();
    let again = load_with(&project.to_yaml(), &[], |_| {});
    assert_eq!(first.stack, again.stack);
    assert_eq!(project.services(), ["web"]);
    assert_eq!(project.images(), ["i"]);
    assert_eq!(project.hash("web"), again.project.unwrap().hash("web"));
    assert_eq!(project.hash("no"), None);
}

#[test]
fn variables_may_be_left_as_they_are() {
    let text = "
services:
  web:
    image: i:${TAG}
    ports: ['${PORT}:80', '81:81']
    volumes: ['${DATA}:/data', 'named:/n']
    privileged: ${YES}
    mem_limit: $MEM
    deploy: {replicas: \"${N}\"}
    healthcheck: {test: x, interval: \"${I}\"}
volumes: {named: {}}
";
    let loaded = load_with(text, &[], |input| input.options.interpolate = false);
    let shown: String = loaded.diagnostics.iter().map(render).collect();
    assert!(loaded.diagnostics.is_empty() && loaded.stack.is_none(), "{shown}");
    let yaml = loaded.project.unwrap().to_yaml();
    for part in ["i:${TAG}", "${PORT}:80", "${DATA}", "${YES}", "$MEM", "${N}", "${I}", "named"] {
        assert!(yaml.contains(part), "{part} in\n{yaml}");
    }
    assert!(!yaml.contains("$$"));
}

#[test]
fn what_could_not_run_can_still_be_shown() {
    let text = "services:\n  a: {image: i, ports: ['80:80'], restart: never}\n  b: {image: i, ports: ['80:80']}\n";
    let run = load_with(text, &[], |_| {});
    assert!(run.has_errors() && run.stack.is_none());
    let shown = load_with(text, &[], |input| input.options.running = false);
    assert!(!shown.has_errors() && shown.stack.is_none());
    let codes: Vec<_> = shown.diagnostics.iter().map(|d| d.code.as_str()).collect();
    assert_eq!(codes, ["RS0601", "RS0511"]);
}

#[test]
fn a_log_is_kept_as_asked_and_what_is_not_done_is_told() {
    let local = web("    logging: {driver: local, options: {compress: 'false', tag: '{{.Name}}'}}\n").container.logging;
    assert_eq!((local.driver.as_deref(), local.options["compress"].as_str()), (Some("local"), "false"));
    let text = "services:\n  web:\n    image: i\n    logging:\n      options:\n        mode: non-blocking\n";
    let loaded = load_with(text, &[], |_| {});
    assert!(loaded.stack.is_some());
    let told: Vec<_> =
        loaded.diagnostics.iter().map(|told| (told.code.as_str(), told.span.as_ref().unwrap().line)).collect();
    assert_eq!(told, [("RS0701", 6)]);
}
