//! Networks: names, isolation, aliases, modes, and what is left of them.

use std::time::Duration;

use e2e::{BUSYBOX, Host, eventually, eventually_some};

/// A service that serves its own host name on port 80.
fn server(extra: &str) -> String {
    format!(
        "{{image: {BUSYBOX}, stop_grace_period: 0s, command: sh -c 'mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www'{extra}}}"
    )
}

fn sleeper(extra: &str) -> String {
    format!("{{image: {BUSYBOX}, stop_grace_period: 0s, command: sleep 10000{extra}}}")
}

/// Runs a shell line in the one container of a service.
fn inside(host: &Host, project: &str, service: &str, script: &str) -> e2e::Output {
    let label = format!("label=com.docker.compose.service={service}");
    let id = host.rswarm(["ps", "-q", "-p", project, "--filter", &label]).ok().lines();
    host.rswarm(["exec", id.first().expect("it runs"), "sh", "-c", script])
}

#[test]
fn services_find_each_other_by_every_name() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  web: {}\n  client: {}\n",
        server(", hostname: web-host, networks: {default: {aliases: [other-name]}}"),
        sleeper("")
    );
    host.up("shop", &text).ok();
    for name in ["web", "shop_web", "other-name", "tasks.web", "shop-web-1"] {
        inside(&host, "shop", "client", &format!("timeout 3 wget -q -O - http://{name}/")).ok().prints("web-host");
    }
    inside(&host, "shop", "client", "timeout 3 wget -q -O - http://nobody/").fails();
    inside(&host, "shop", "client", "cat /etc/resolv.conf").ok().says("127.0.0.11");
}

#[test]
fn ports_of_services_are_found_by_name_and_by_number() {
    let Some(host) = Host::new() else { return };
    let ports = format!(", ports: [{{target: 80, published: {}, name: http}}]", host.free_port());
    let db = ", expose: [5432], deploy: {replicas: 2, endpoint_mode: dnsrr}";
    let text = format!("services:\n  web: {}\n  db: {}\n  client: {}\n", server(&ports), sleeper(db), sleeper(""));
    host.up("shop", &text).ok();
    // `_http._tcp.web  service = 0 1 80 web`
    let places = |name: &str| -> Vec<String> {
        let found = inside(&host, "shop", "client", &format!("nslookup -type=srv {name}"));
        let line = |line: &str| line.split_once("service = ").map(|(_, place)| place.trim().to_owned());
        found.stdout.lines().filter_map(line).collect()
    };
    for name in ["_http._tcp.web", "_80._tcp.web", "_HTTP._tcp.WEB"] {
        assert_eq!(places(name).len(), 1, "{name}");
        assert!(places(name)[0].to_lowercase().ends_with(" 80 web"), "{name}: {:?}", places(name));
    }
    for name in ["_81._tcp.web", "_80._udp.web", "_http._tcp.client"] {
        assert!(places(name).is_empty(), "{name}");
    }
    let targets: Vec<String> = places("_5432._tcp.db");
    assert_eq!(targets.len(), 2, "{targets:?}");
    for target in &targets {
        let name = target.rsplit(' ').next().unwrap();
        inside(&host, "shop", "client", &format!("nslookup {name}")).ok();
    }
    // Who has gone is nobody's target.
    host.sh("service scale shop_db=1").ok();
    eventually("one is left", Duration::from_secs(5), || places("_5432._tcp.db").len() == 1);
    host.sh("service scale shop_db=0").ok();
    eventually("none is left", Duration::from_secs(5), || places("_5432._tcp.db").is_empty());
    assert_eq!(places("_http._tcp.web").len(), 1);
}

#[test]
fn one_name_spreads_over_all_replicas() {
    let Some(host) = Host::new() else { return };
    let text = format!("services:\n  web: {}\n  client: {}\n", server(", deploy: {replicas: 3}"), sleeper(""));
    host.up("shop", &text).ok();
    let script = "for i in $(seq 30); do timeout 3 wget -q -O - http://web/; done | sort -u | wc -l";
    inside(&host, "shop", "client", script).ok().prints("3");
    let addresses =
        inside(&host, "shop", "client", "nslookup tasks.web | grep -c '^Address.*10\\|^Address.*172\\|^Address.*192'")
            .ok();
    assert!(addresses.text().parse::<u32>().unwrap() >= 3, "{addresses}");
    // the name stands for the one address of the service, which goes nowhere as replicas come and go
    inside(&host, "shop", "client", "nslookup web | tail -n +3 | grep -c '^Address'").ok().prints("1");
}

#[test]
fn stacks_do_not_reach_each_other() {
    let Some(host) = Host::new() else { return };
    host.up("one", &format!("services:\n  web: {}\n", server(""))).ok();
    host.up("two", &format!("services:\n  client: {}\n", sleeper(""))).ok();
    inside(&host, "two", "client", "timeout 2 wget -q -O - http://web/").fails();
    let address = inside(&host, "one", "web", "hostname -i").ok().text();
    inside(&host, "two", "client", &format!("timeout 2 wget -q -O - http://{address}/")).fails();
    inside(&host, "one", "web", &format!("timeout 2 wget -q -O - http://{address}/")).ok();
}

#[test]
fn several_networks_and_internal_ones() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  proxy: {}\n  app: {}\n  db: {}\nnetworks: {{front: , back: {{internal: true}}}}\n",
        sleeper(", networks: [front]"),
        server(", networks: [front, back]"),
        server(", networks: [back]"),
    );
    host.up("tiers", &text).ok();
    inside(&host, "tiers", "proxy", "timeout 3 wget -q -O - http://app/").ok();
    inside(&host, "tiers", "app", "timeout 3 wget -q -O - http://db/").ok();
    inside(&host, "tiers", "proxy", "timeout 2 wget -q -O - http://db/").fails();
    inside(&host, "tiers", "db", "ip route | grep -c default").prints("0");
    inside(&host, "tiers", "proxy", "ip route | grep -c default").ok().prints("1");
    host.sh("network ls --format {{.Name}}").ok().says("tiers_front").says("tiers_back");
}

#[test]
fn host_none_and_anothers_network() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", "ip -o link | wc -l"]).ok().prints("1");
    e2e::run(host.command("ip").args(["link", "add", "marker", "type", "bridge"])).ok();
    host.rswarm(["run", "--rm", "--network", "host", BUSYBOX, "ip", "-o", "link"]).ok().says("marker");
    e2e::run(host.command("ip").args(["link", "del", "marker"])).ok();
    host.rswarm(["run", "-d", "--name", "web", BUSYBOX, "httpd", "-f", "-p", "80", "-h", "/etc"]).ok();
    let words = ["run", "--rm", "--network", "container:web", BUSYBOX, "timeout", "3", "wget", "-q", "-O", "-"];
    host.rswarm(words.into_iter().chain(["http://127.0.0.1/hostname"])).ok();
}

#[test]
fn networks_are_made_listed_and_removed() {
    let Some(host) = Host::new() else { return };
    host.sh("network create --subnet 10.77.0.0/24 --gateway 10.77.0.1 --label a=b mine").ok();
    host.sh("network create mine").fails().complains("mine");
    host.sh("network create --subnet 10.77.0.0/16 overlapping").fails().complains("10.77");
    let json = host.sh("network inspect mine").ok().json();
    assert_eq!(json[0]["IPAM"]["Config"][0]["Subnet"], "10.77.0.0/24");
    assert_eq!(json[0]["Labels"]["a"], "b");
    host.sleeper("--network mine --ip 10.77.0.9 --network-alias also --name one");
    host.rswarm(["exec", "one", "hostname", "-i"]).ok().prints("10.77.0.9");
    host.sleeper("--network mine --name two");
    host.sh("exec two ping -c 1 -W 2 one").ok();
    host.sh("exec two ping -c 1 -W 2 also").ok();
    host.sh("network rm mine").fails().complains("mine");
    host.sh("rm -f one two").ok();
    host.sh("network rm mine").ok();
    host.sh("network inspect mine").fails().complains("mine");
    host.sh("network rm bridge").fails();
    host.sh("network ls").ok().says("host").says("none").never_says("mine");
    assert_eq!(host.sh("network inspect host").ok().json()[0]["Driver"], "host");
    host.sh("network rm none").fails().complains("predefined");
}

#[test]
fn containers_on_the_default_bridge_reach_each_other_by_address() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--name one");
    let address = host.sh("exec one hostname -i").ok().text();
    host.rswarm(["run", "--rm", BUSYBOX, "ping", "-c", "1", "-W", "2", &address]).ok();
    assert_eq!(host.inspect("one", "{{.NetworkSettings.IPAddress}}"), address);
}

#[test]
fn an_external_network_is_shared_between_stacks() {
    let Some(host) = Host::new() else { return };
    let networks = "networks: {default: {external: true, name: shared}}\n";
    let web = format!("services:\n  web: {}\n{networks}", server(""));
    host.up("one", &web).fails().complains("shared");
    host.sh("network create shared").ok();
    host.up("one", &web).ok();
    host.up("two", &format!("services:\n  client: {}\n{networks}", sleeper(""))).ok();
    inside(&host, "two", "client", "timeout 3 wget -q -O - http://one_web/").ok();
    host.down("one").ok();
    host.down("two").ok();
    host.sh("network inspect shared").ok();
}

#[test]
fn names_follow_replicas_as_they_come_and_go() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  web: {}\n  client: {}\n",
        server(", deploy: {replicas: 2, endpoint_mode: dnsrr}"),
        sleeper("")
    );
    host.up("shop", &text).ok();
    let count = || {
        let out = inside(&host, "shop", "client", "nslookup web | tail -n +3 | grep -c '^Address'");
        out.text().parse::<u32>().unwrap_or_default()
    };
    eventually("two addresses", Duration::from_secs(5), || count() == 2);
    let file = host.write("shop.yaml", &text);
    host.rswarm(["up", "-p", "shop", "-f", &file, "--scale", "web=4"]).ok();
    eventually("four addresses", Duration::from_secs(5), || count() == 4);
    host.rswarm(["up", "-p", "shop", "-f", &file, "--scale", "web=1"]).ok();
    eventually("one address", Duration::from_secs(5), || count() == 1);
}

#[test]
fn other_names_go_to_the_hosts_resolver() {
    let Some(host) = Host::new() else { return };
    // no resolver answers in this network namespace: the answer must be a failure in good time, not silence
    let out = host.rswarm(["run", "--rm", BUSYBOX, "sh", "-c", "time nslookup example.invalid 2>&1; true"]).ok();
    assert!(out.took < Duration::from_secs(15), "{out}");
}

#[test]
fn a_dead_netd_comes_back_and_cuts_nothing() {
    let Some(host) = Host::new() else { return };
    let text = format!("services:\n  web: {}\n  client: {}\n", server(""), sleeper(""));
    host.up("shop", &text).ok();
    let pid = eventually_some("netd runs", Duration::from_secs(5), || host.netd_pid());
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("another netd runs", Duration::from_secs(10), || host.netd_pid().is_some_and(|now| now != pid));
    eventually("names resolve again", Duration::from_secs(10), || {
        inside(&host, "shop", "client", "timeout 2 wget -q -O - http://web/").succeeded()
    });
}
