//! One network on several machines: names, addresses, published ports.

use e2e::{BUSYBOX, Lab, eventually};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn containers_on_different_machines_find_and_reach_each_other() {
    let Some(lab) = Lab::cluster(1, 2) else { return };
    let first = &lab.hosts[0];
    let text = format!(
        r#"
services:
  web:
    image: {BUSYBOX}
    command: sh -c 'mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 80 -h /www'
    hostname: "{{{{.Node.Hostname}}}}"
    deploy: {{mode: global}}
    stop_grace_period: 0s
  client:
    image: {BUSYBOX}
    command: sleep 10000
    deploy: {{mode: global}}
    stop_grace_period: 0s
"#
    );
    first.up("shop", &text).ok();
    for (index, host) in lab.hosts.iter().enumerate() {
        let client = host.sh("ps -q --filter name=client").ok().lines();
        let client = client.first().unwrap_or_else(|| panic!("a client on host{}", index + 1)).clone();
        let names = || host.rswarm(["exec", &client, "nslookup", "tasks.web"]).stdout;
        eventually("all three tasks have names", SOON, || names().matches("Address").count() >= 3);
        // Through the service's name, whichever answers; in the end all have.
        let began = Instant::now();
        let mut answered = std::collections::BTreeSet::new();
        while answered.len() < 3 && began.elapsed() < SOON {
            let answer = host.rswarm(["exec", &client, "timeout", "3", "wget", "-q", "-O", "-", "http://web/"]);
            assert!(answer.succeeded(), "host{}: {answer:?}", index + 1);
            answered.insert(answer.text());
        }
        assert_eq!(answered.into_iter().collect::<Vec<_>>(), ["host1", "host2", "host3"]);
    }
    // Each machine says how the others look from it, whichever is asked.
    let words = ["node", "inspect", "--format", "{{json .Mesh.Peers}}", "host2"];
    let peers: Vec<serde_json::Value> = serde_json::from_str(&first.rswarm(words).ok().stdout).unwrap();
    let mut names: Vec<&str> = peers.iter().filter_map(|peer| peer["Hostname"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["host1", "host3"]);
    for peer in &peers {
        let spoken = peer["HandshakeAge"].as_u64().is_some_and(|age| age < 180);
        let bytes = |key: &str| peer[key].as_u64().is_some_and(|bytes| bytes > 0);
        assert!(spoken && bytes("Sent") && bytes("Received") && peer["Endpoint"].is_string(), "{peer}");
    }
}

#[test]
fn a_published_port_is_answered_by_every_machine_over_ipv6() {
    let Some(lab) = Lab::new(3) else { return };
    lab.add_ipv6();
    lab.form(1, lab.hosts.len() - 1);
    let text = format!(
        r##"
services:
  web:
    image: {BUSYBOX}
    command: sh -c 'mkdir -p /www/cgi-bin && echo "#!/bin/sh" > /www/cgi-bin/who && echo "echo; echo client \$$REMOTE_ADDR" >> /www/cgi-bin/who && chmod +x /www/cgi-bin/who && exec httpd -f -p 80 -h /www'
    ports: ["8080:80"]
    deploy: {{placement: {{constraints: ["node.hostname==host2"]}}}}
    stop_grace_period: 0s
networks: {{default: {{enable_ipv6: true}}}}
"##
    );
    let first = &lab.hosts[0];
    first.up("shop", &text).ok();
    for (from, host) in lab.hosts.iter().enumerate() {
        for to in 0..3 {
            let url = format!("http://[{}]:8080/cgi-bin/who", Lab::address6(to));
            eventually(&format!("host{} answers host{}", to + 1, from + 1), SOON, || host.get(&url).is_some());
            let seen = host.get(&url).unwrap_or_default();
            // The second runs it: what it asks by way of another comes back to it, and is not from itself then.
            if from != to && from != 1 {
                let client = Lab::address6(from);
                assert!(seen.trim().ends_with(&format!("{client}]")), "{client} asked host{}: {seen}", to + 1);
            }
        }
    }
    // Wherever it runs next.
    first.sh("service update --constraint-rm node.hostname==host2 --constraint-add node.hostname==host3 shop_web").ok();
    let url = format!("http://[{}]:8080/cgi-bin/who", Lab::address6(1));
    eventually("it runs on host3", SOON, || lab.places(0, "shop_web") == ["host3"]);
    eventually("host2 leads there", SOON, || first.get(&url).is_some_and(|seen| seen.contains("fd77::1]")));
}

#[test]
fn a_small_link_makes_no_black_hole_and_is_shown() {
    let Some(lab) = Lab::new(3) else { return };
    lab.shrink(1, 1400);
    lab.form(1, lab.hosts.len() - 1);
    let text = format!(
        r#"
services:
  web:
    image: {BUSYBOX}
    command: sh -c 'mkdir -p /www && dd if=/dev/zero of=/www/large bs=1M count=4 && exec httpd -f -p 80 -h /www'
    deploy: {{mode: global, endpoint_mode: dnsrr}}
    stop_grace_period: 0s
networks: {{default: {{enable_ipv6: true}}}}
"#
    );
    lab.hosts[0].up("far", &text).ok();
    let seen = || lab.hosts[0].sh("network inspect far_default").ok().json();
    // The smallest link counts: less than 80 for WireGuard and 50 for VXLAN off would be too little for IPv6.
    assert_eq!(seen()[0]["MTU"], 1280);
    let link = |host: &str| {
        let peers = seen()[0]["Peers"].as_array().cloned().unwrap_or_default();
        peers
            .into_iter()
            .find(|peer| peer["Name"] == host)
            .map(|peer| (peer["LinkMTU"].clone(), peer["PathMTU"].clone()))
    };
    assert_eq!(link("host2"), Some((1400.into(), 1500.into())));
    assert_eq!(link("host3"), Some((1500.into(), 1500.into())));
    // Each gets a large file from each, over both families: TCP forbids that its packets are cut.
    for (index, host) in lab.hosts.iter().enumerate() {
        let id = host.sh("ps -q").ok().lines().remove(0);
        let inside = |script: &str| host.rswarm(["exec", &id, "sh", "-c", script]);
        inside("ip link show eth0").ok().says("mtu 1280");
        let names = "nslookup tasks.web | sed -n '3,$s/^Address: //p'";
        let all = || inside(names).stdout.lines().count() >= 6;
        eventually(&format!("host{} knows all", index + 1), SOON, all);
        let script = format!(
            "for at in $({names}); do case $at in *:*) at=[$at];; esac; timeout 10 wget -q -O - http://$at/large | wc -c; done"
        );
        let sizes = inside(&script).ok().lines();
        assert!(sizes.len() >= 6 && sizes.iter().all(|size| size == "4194304"), "host{}: {sizes:?}", index + 1);
    }
}

/// A client and a server on different machines: the stack, and how the client asks.
fn client_and_server(lab: &Lab) -> impl Fn() -> bool + '_ {
    let text = format!(
        r#"
services:
  web:
    image: {BUSYBOX}
    command: sh -c 'mkdir -p /www && echo served > /www/index.html && exec httpd -f -p 80 -h /www'
    deploy: {{placement: {{constraints: ["node.hostname==host2"]}}}}
    stop_grace_period: 0s
  client:
    image: {BUSYBOX}
    command: sleep 10000
    deploy: {{placement: {{constraints: ["node.hostname==host1"]}}}}
    stop_grace_period: 0s
"#
    );
    lab.hosts[0].up("far", &text).ok();
    let ask = ["exec", "far_client.1", "timeout", "2", "wget", "-q", "-O", "-", "http://web/"];
    move || lab.hosts[0].rswarm(ask).text() == "served"
}

#[test]
fn a_conversation_between_machines_survives_what_happens_to_daemons_and_wires() {
    let Some(lab) = Lab::cluster(1, 1) else { return };
    {
        let ask = client_and_server(&lab);
        eventually("it is served", SOON, &ask);
        // The wire is cut for less than it takes to call a node lost.
        lab.cut(1, true);
        assert!(!ask());
        lab.cut(1, false);
        let began = Instant::now();
        eventually("it is served again", SOON, &ask);
        println!("after the wire was mended: {:?}", began.elapsed());
    }
    lab.hosts[1].kill_daemon();
    let ask = || {
        let words = ["exec", "far_client.1", "timeout", "2", "wget", "-q", "-O", "-", "http://web/"];
        lab.hosts[0].rswarm(words).text() == "served"
    };
    assert!(ask(), "without a daemon on the other side");
    lab.hosts[1].start_daemon();
    eventually("two nodes", SOON, || lab.hosts[0].sh("node ls --format {{.Status}}").lines() == ["Ready", "Ready"]);
    eventually("it is served still", SOON, ask);
}

#[test]
fn a_published_port_is_answered_by_every_machine() {
    let Some(lab) = Lab::cluster(1, 2) else { return };
    let text = format!(
        r##"
services:
  web:
    image: {BUSYBOX}
    command: sh -c 'mkdir -p /www/cgi-bin && echo "#!/bin/sh" > /www/cgi-bin/who && echo "echo; echo client \$$REMOTE_ADDR" >> /www/cgi-bin/who && chmod +x /www/cgi-bin/who && exec httpd -f -p 80 -h /www'
    ports: ["8080:80"]
    deploy: {{placement: {{constraints: ["node.hostname==host2"]}}}}
    stop_grace_period: 0s
"##
    );
    let first = &lab.hosts[0];
    first.up("shop", &text).ok();
    // Each asks each: the container sees who asks, but for machines that ask themselves.
    for (from, host) in lab.hosts.iter().enumerate() {
        for to in 0..3 {
            let url = format!("http://{}:8080/cgi-bin/who", Lab::address(to));
            eventually(&format!("host{} answers host{}", to + 1, from + 1), SOON, || host.get(&url).is_some());
            let seen = host.get(&url).unwrap_or_default();
            // The second runs it: what it asks by way of another comes back to it, and is not from itself then.
            if from != to && from != 1 {
                let client = Lab::address(from);
                assert!(seen.trim().ends_with(&format!("{client}]")), "{client} asked host{}: {seen}", to + 1);
            }
        }
    }
    // Wherever it runs next.
    first.sh("service update --constraint-rm node.hostname==host2 --constraint-add node.hostname==host3 shop_web").ok();
    let url = format!("http://{}:8080/cgi-bin/who", Lab::address(1));
    eventually("it runs on host3", SOON, || lab.places(0, "shop_web") == ["host3"]);
    eventually("host2 leads there", SOON, || first.get(&url).is_some_and(|seen| seen.contains("10.77.0.1]")));
}

#[test]
fn a_container_joins_a_network_of_other_machines_as_it_runs() {
    let Some(lab) = Lab::new(2) else { return };
    lab.form(1, lab.hosts.len() - 1);
    let first = &lab.hosts[0];
    let text = format!(
        r#"
services:
  web:
    image: {BUSYBOX}
    command: sh -c 'mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 80 -h /www'
    hostname: far
    deploy: {{placement: {{constraints: ["node.hostname==host2"]}}}}
    stop_grace_period: 0s
"#
    );
    first.up("shop", &text).ok();
    first.sleeper("--name box");
    let ask = |name: &str| {
        let url = format!("http://{name}/");
        first.rswarm(["exec", "box", "timeout", "2", "wget", "-q", "-O", "-", &url])
    };
    ask("web").fails();
    // The network was not on this machine until now, nor this machine's address known to the other.
    first.sh("network connect --alias near shop_default box").ok();
    eventually("it is answered from the other machine", SOON, || ask("web").stdout.trim() == "far");
    ask("shop_web").ok().prints("far");
    let far = lab.hosts[1].sh("ps -q").ok().text();
    let ping = || lab.hosts[1].rswarm(["exec", &far, "ping", "-c", "1", "-W", "1", "near"]);
    eventually("and is known there", SOON, || ping().code() == 0);
    let row =
        first.rswarm(["network", "ls", "--filter", "scope=swarm", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]);
    row.ok().prints("shop_default overlay swarm");
    let links = || first.sh("exec box ls /sys/class/net").lines();
    assert_eq!(links(), ["eth0", "eth1", "lo"]);
    first.sh("network disconnect shop_default box").ok();
    ask("web").fails();
    assert_eq!(links(), ["eth0", "lo"]);
    eventually("it is unknown there", SOON, || ping().code() != 0);
    // It leaves the machine with the last one that needs it.
    let bridges =
        || e2e::run(first.command("ip").args(["-o", "link", "show", "type", "bridge"])).stdout.lines().count();
    eventually("the network left the machine", SOON, || bridges() == 1);
    first.sh("rm -f box").ok();
}
