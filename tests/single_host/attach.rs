//! Containers and services that join networks and leave them, and what else is given to services as they are.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::{BUSYBOX, Host, eventually};

/// A container that serves its host name on port 80.
fn server(host: &Host, name: &str, network: &str) {
    let words = ["run", "-d", "--name", name, "--hostname", name, "--network", network, BUSYBOX];
    let script = "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www";
    host.rswarm(words.into_iter().chain(["sh", "-c", script])).ok();
}

fn get(host: &Host, from: &str, name: &str) -> e2e::Output {
    host.rswarm(["exec", from, "timeout", "2", "wget", "-q", "-O", "-", &format!("http://{name}/")])
}

fn reaches(host: &Host, from: &str, name: &str) {
    eventually(&format!("{from} reaches {name}"), Duration::from_secs(5), || get(host, from, name).code() == 0);
}

#[test]
fn a_container_joins_a_network_and_leaves_it_as_it_runs() {
    let Some(host) = Host::new() else { return };
    for network in ["one", "two", "three"] {
        host.sh(&format!("network create {network}")).ok();
    }
    server(&host, "web", "two");
    server(&host, "db", "three");
    host.sleeper("--name box --network one");
    let started = host.inspect("box", "{{.State.StartedAt}} {{.State.Pid}}");
    get(&host, "box", "web").fails();
    host.sh("network connect --alias tool two box").ok().prints("");
    host.sh("network connect three box").ok();
    reaches(&host, "box", "web");
    reaches(&host, "box", "db");
    // Both ways, by its alias and by its name.
    host.sh("exec web ping -c 1 -W 2 tool").ok();
    host.sh("exec web ping -c 1 -W 2 box").ok();
    assert_eq!(host.sh("exec box ls /sys/class/net").lines(), ["eth0", "eth1", "eth2", "lo"]);
    let json = host.sh("network inspect two").ok().json();
    assert_eq!(json[0]["Containers"].as_object().unwrap().len(), 2, "{json}");
    host.sh("network connect two box").fails().complains("is on network two already");
    let events = host.sh("events --since 0 --until 0s --filter type=network --format {{.Action}}").ok().lines();
    assert_eq!(events.iter().filter(|action| *action == "connect").count(), 2, "{events:?}");
    host.sh("network rm two").fails().complains("two");

    // Its own name means all of its addresses, and what it has written there itself stays.
    let id = host.inspect("box", "{{.Config.Hostname}}");
    let lines = || host.sh("exec box cat /etc/hosts").ok().lines();
    let own = || lines().into_iter().filter_map(|line| line.strip_suffix(&format!("\t{id}")).map(str::to_owned));
    let addresses = || host.inspect("box", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}");
    let is_told = || {
        let addresses = addresses();
        let (own, all): (BTreeSet<String>, BTreeSet<&str>) = (own().collect(), addresses.split_whitespace().collect());
        own.iter().map(String::as_str).eq(all)
    };
    assert_eq!(own().count(), 3, "{:?}", lines());
    eventually("its name means all its addresses", Duration::from_secs(5), is_told);
    host.rswarm(["exec", "box", "sh", "-c", "echo '192.0.2.7 mine' >> /etc/hosts"]).ok();
    // What remembers it is not the daemon that was asked, nor the process that made it.
    host.kill_daemon();
    host.start_daemon();
    reaches(&host, "box", "web");

    host.sh("network disconnect two box").ok();
    get(&host, "box", "web").fails();
    eventually("it is known no more", Duration::from_secs(5), || host.sh("exec web ping -c 1 -W 1 tool").code() != 0);
    reaches(&host, "box", "db");
    host.sh("network disconnect two box").fails().complains("is not on network two");
    eventually("its name means the others", Duration::from_secs(5), || own().count() == 2 && is_told());
    assert_eq!(lines().iter().filter(|line| *line == "192.0.2.7 mine").count(), 1);
    // Those that stay keep their names, and one that comes later gets one that is free.
    assert_eq!(host.sh("exec box ls /sys/class/net").lines(), ["eth0", "eth2", "lo"]);
    assert_eq!(host.inspect("box", "{{.State.StartedAt}} {{.State.Pid}}"), started, "it was started anew");
    host.sh("restart -t 0 box").ok();
    reaches(&host, "box", "db");
    get(&host, "box", "web").fails();

    // All of them may go, and some may come again.
    for network in ["one", "three"] {
        host.sh(&format!("network disconnect -f {network} box")).ok();
    }
    eventually("it is alone", Duration::from_secs(5), || host.sh("exec box ls /sys/class/net").text() == "lo");
    host.sh("network connect --ip 9.9.9.9 two box").fails().complains("9.9.9.9");
    host.sh("network connect two box").ok();
    reaches(&host, "box", "web");
    eventually("its name means one address", Duration::from_secs(5), || own().count() == 1 && is_told());
    host.sh("network rm one").ok();
}

#[test]
fn connections_outlast_the_coming_and_going_of_other_networks() {
    let Some(host) = Host::new() else { return };
    for network in ["one", "two"] {
        host.sh(&format!("network create {network}")).ok();
    }
    host.rswarm(["run", "-d", "--name", "web", "--network", "one", BUSYBOX, "nc", "-ll", "-p", "9", "-e", "cat"]).ok();
    host.sleeper("--name box --network two");
    host.sh("network connect one box").ok();
    host.sh("exec box ping -c 1 -W 2 web").ok();
    // A line a moment, and back, over a connection that begins before the first network goes.
    let script =
        "(for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done) | timeout 20 nc web 9 > /echo; echo done >> /echo";
    host.rswarm(["exec", "-d", "box", "sh", "-c", script]).ok();
    std::thread::sleep(Duration::from_millis(700));
    host.sh("network disconnect two box").ok();
    host.sh("network connect bridge box").ok();
    eventually("all came back", Duration::from_secs(15), || {
        host.sh("exec box cat /echo").lines().starts_with(&["1", "2", "3", "4", "5", "6", "7", "8"].map(str::to_owned))
    });
}

#[test]
fn what_has_no_network_of_its_own_joins_none() {
    let Some(host) = Host::new() else { return };
    host.sh("network create -d overlay closed").ok();
    host.sh("network create -d overlay --attachable open").ok();
    host.rswarm(["run", "--rm", "--network", "closed", BUSYBOX, "true"])
        .fails()
        .complains("takes tasks of services only");
    host.rswarm(["run", "--rm", "--network", "name=open,alias=x", BUSYBOX, "nslookup", "x"]).ok();
    host.sleeper("--name box --network host");
    host.sh("network connect open box").fails().complains("no network of its own");
    host.sleeper("--name plain");
    host.sh("network connect closed plain").fails().complains("takes tasks of services only");
    host.sh("network connect nowhere plain").fails().complains("there is no network nowhere");
    host.sh("network connect open nobody").fails().complains("no such container: nobody");
    host.sh("service create --name web --network closed --stop-grace-period 0s -d busybox:1.35 sleep 1000").ok();
    let task = host.sh("service ps -q web").text();
    host.sh(&format!("network connect open {task}")).fails().complains("service update --network-add");
    host.sh("service rm web").ok();
    let names = |filter: &str| host.sh(&format!("network ls --format {{{{.Name}}}} --filter {filter}")).ok().lines();
    assert_eq!(names("type=custom"), ["closed", "open"]);
    eventually("nobody is on them", Duration::from_secs(20), || names("dangling=true") == ["closed", "open"]);
    assert_eq!(names("type=builtin"), ["bridge", "host", "none"]);
    assert!(names("scope=swarm").is_empty());
    host.sh("network ls --filter scope=far").fails().complains("scope is one of");
}

#[test]
fn a_service_is_given_networks_files_and_mounts() {
    let Some(host) = Host::new() else { return };
    for network in ["one", "two"] {
        host.sh(&format!("network create {network}")).ok();
    }
    server(&host, "web", "two");
    for (name, text) in [("first", "old"), ("second", "new")] {
        host.rswarm_with_input(["config", "create", name, "-"], text.as_bytes()).ok();
        host.rswarm_with_input(["secret", "create", name, "-"], text.as_bytes()).ok();
    }
    host.sh("service create --name app --network one --config source=first,target=/etc/app.conf --secret first \
         --placement-pref spread=node.hostname --replicas-max-per-node 1 --dns 10.99.99.99 --limit-pids 50 \
         --endpoint-mode dnsrr --stop-grace-period 0s busybox:1.35 sleep 1000")
        .ok();
    let inside = |script: &str| {
        let id = host.sh("ps -q --filter label=com.docker.swarm.service.name=app").lines().remove(0);
        host.rswarm(["exec", &id, "sh", "-c", script])
    };
    inside("cat /etc/app.conf /run/secrets/first").ok().prints("oldold");
    inside("timeout 3 wget -q -O - http://web/").fails();
    host.sh("service update --network-add name=two,alias=api --network-rm one --config-rm first --secret-rm first \
         --config-add source=second,target=/etc/app.conf --secret-add source=second,target=key,mode=0400,uid=7 \
         --mount-add type=tmpfs,target=/scratch --host-add db:10.1.2.3 --env-add A=b --read-only \
         --health-cmd true --health-interval 100ms --rollback-parallelism 0 app")
        .ok();
    inside("cat /etc/app.conf /run/secrets/key").ok().prints("newnew");
    inside("stat -c '%a %u' /run/secrets/key").ok().prints("400 7");
    inside("timeout 3 wget -q -O - http://web/").ok().prints("web");
    inside("grep -q 10.1.2.3 /etc/hosts && grep -q ' /scratch tmpfs' /proc/mounts && ! touch /x").ok();
    host.sh("exec web ping -c 1 -W 2 api").ok();
    host.sh("service update --rollback app").ok();
    inside("cat /etc/app.conf /run/secrets/first").ok().prints("oldold");
    host.sh("service update --secret-add nothing app").fails().complains("nothing");
    host.sh("service rm app").ok();
}
