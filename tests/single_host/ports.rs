//! Published ports: every form, taken ones, and nothing left behind.

use std::time::Duration;

use e2e::{BUSYBOX, Host, eventually};

fn web(host: &Host, name: &str, publish: &[&str]) -> e2e::Output {
    let words = ["run", "-d", "--name", name].into_iter().chain(publish.iter().flat_map(|port| ["-p", port]));
    let script = format!("mkdir /www; echo {name} > /www/index.html; exec httpd -f -p 80 -h /www");
    host.rswarm(words.chain([BUSYBOX, "sh", "-c", &script]))
}

#[track_caller]
fn reached(host: &Host, url: &str, wanted: &str) {
    eventually(&format!("{url} answers {wanted}"), Duration::from_secs(5), || {
        host.get(url).is_some_and(|page| page.trim() == wanted)
    });
}

#[test]
fn a_port_on_all_addresses_and_on_one() {
    let Some(host) = Host::new() else { return };
    e2e::run(host.command("ip").args(["addr", "add", "10.66.0.1/32", "dev", "lo"])).ok();
    let (all, one) = (host.free_port(), host.free_port());
    web(&host, "web", &[&format!("{all}:80"), &format!("127.0.0.1:{one}:80")]).ok();
    reached(&host, &format!("http://127.0.0.1:{all}/"), "web");
    reached(&host, &format!("http://10.66.0.1:{all}/"), "web");
    reached(&host, &format!("http://[::1]:{all}/"), "web");
    reached(&host, &format!("http://127.0.0.1:{one}/"), "web");
    for other in ["10.66.0.1", "[::1]"] {
        assert_eq!(host.get(&format!("http://{other}:{one}/")), None);
    }
    host.sh("ps").ok().says(&format!("0.0.0.0:{all}->80/tcp"));
    host.sh("rm -f web").ok();
    for address in ["127.0.0.1", "[::1]"] {
        assert_eq!(host.get(&format!("http://{address}:{all}/")), None);
    }
}

#[test]
fn a_port_that_the_host_picks() {
    let Some(host) = Host::new() else { return };
    web(&host, "web", &["80"]).ok();
    let port = host.sh("port web 80/tcp").ok().text();
    let port = port.lines().next().unwrap().rsplit(':').next().unwrap().to_owned();
    reached(&host, &format!("http://127.0.0.1:{port}/"), "web");
}

#[test]
fn ranges_are_paired() {
    let Some(host) = Host::new() else { return };
    let (a, b) = (host.free_port(), host.free_port());
    assert_eq!(b, a + 1);
    host.rswarm([
        "run",
        "-d",
        "--name",
        "two",
        "-p",
        &format!("{a}-{b}:8000-8001"),
        BUSYBOX,
        "sh",
        "-c",
        "hostname > /tmp/index.html; httpd -p 8000 -h /tmp; exec httpd -f -p 8001 -h /tmp",
    ])
    .ok();
    for port in [a, b] {
        eventually("it answers", Duration::from_secs(5), || host.get(&format!("http://127.0.0.1:{port}/")).is_some());
    }
    host.rswarm(["run", "-d", "-p", "100-102:80-81", BUSYBOX, "true"]).fails().complains("100-102");
}

#[test]
fn of_a_range_for_one_port_a_free_one_is_chosen() {
    let Some(host) = Host::new() else { return };
    let (a, b) = (18_000, 18_001);
    let range = format!("{a}-{b}:80");
    web(&host, "one", &[&range]).ok();
    web(&host, "two", &[&range]).ok();
    reached(&host, &format!("http://127.0.0.1:{a}/"), "one");
    reached(&host, &format!("http://127.0.0.1:{b}/"), "two");
    web(&host, "three", &[&range]).exits(125).complains(&format!("every host port from {a} to {b} is in use"));
    host.sh("rm -f one").ok();
    host.up("s", &format!("services:\n  web: {{image: {BUSYBOX}, command: httpd -f -h /etc, ports: ['{range}']}}\n"))
        .ok();
    host.sh("ps").ok().says(&format!("0.0.0.0:{a}->80/tcp"));
}

#[test]
fn a_taken_port_says_by_whom() {
    let Some(host) = Host::new() else { return };
    let port = host.free_port();
    web(&host, "first", &[&format!("{port}:80")]).ok();
    let second = web(&host, "second", &[&format!("{port}:80")]).exits(125);
    assert!(second.stderr.contains(&port.to_string()) && second.stderr.contains("first"), "{second}");
    // by a process that is no container
    let other = host.free_port();
    let mut server = host.command("busybox").args(["nc", "-l", "-p", &other.to_string()]).spawn().unwrap();
    eventually("nc listens", Duration::from_secs(5), || {
        e2e::run(host.command("busybox").args(["netstat", "-lnt"])).stdout.contains(&format!(":{other}"))
    });
    let third = web(&host, "third", &[&format!("{other}:80")]).exits(125);
    assert!(third.stderr.contains(&other.to_string()), "{third}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn two_containers_of_one_stack_cannot_have_one_port() {
    let Some(host) = Host::new() else { return };
    let port = host.free_port();
    let service = format!("{{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s, ports: ['{port}:80']}}");
    let up = host.up("clash", &format!("services:\n  a: {service}\n  b: {service}\n")).fails();
    assert!(up.stderr.contains(&port.to_string()), "{up}");
}

#[test]
fn a_service_port_spreads_over_its_replicas() {
    let Some(host) = Host::new() else { return };
    let port = host.free_port();
    let text = format!(
        "services:\n  web: {{image: {BUSYBOX}, stop_grace_period: 0s, deploy: {{replicas: 3}}, ports: ['{port}:80'], command: sh -c 'mkdir /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www'}}\n"
    );
    host.up("shop", &text).ok();
    let url = format!("http://127.0.0.1:{port}/");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        seen.extend(host.get(&url));
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn udp_is_published_too() {
    let Some(host) = Host::new() else { return };
    let echo = udp_echo(&host);
    let port = host.free_port();
    let mount = format!("{echo}:/echo:ro");
    host.rswarm(["run", "-d", "--name", "echo", "-p", &format!("{port}:7/udp"), "-v", &mount, BUSYBOX, "/echo"]).ok();
    host.sh("ps").ok().says(&format!("{port}->7/udp"));
    for address in ["127.0.0.1", "::1"] {
        let ask = format!("exec 3<>/dev/udp/{address}/{port}; echo hello >&3; timeout 1 head -n 1 <&3");
        eventually("the datagram comes back", Duration::from_secs(10), || {
            e2e::run(host.command("bash").args(["-c", &ask])).stdout.trim() == "hello"
        });
    }
}

/// busybox has no UDP server: a static one of a few lines.
fn udp_echo(host: &Host) -> String {
    let source = r#"
#include <arpa/inet.h>
#include <sys/socket.h>
int main(void) {
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in me = {.sin_family = AF_INET, .sin_port = htons(7)}, you;
    char buffer[2048];
    bind(s, (struct sockaddr *)&me, sizeof me);
    for (;;) {
        socklen_t size = sizeof you;
        long count = recvfrom(s, buffer, sizeof buffer, 0, (struct sockaddr *)&you, &size);
        if (count >= 0) sendto(s, buffer, count, 0, (struct sockaddr *)&you, size);
    }
}
"#;
    e2e::compile(host, "udp-echo", source)
}

#[test]
fn containers_reach_a_published_port_through_the_hosts_address() {
    let Some(host) = Host::new() else { return };
    e2e::run(host.command("ip").args(["addr", "add", "10.66.0.1/32", "dev", "lo"])).ok();
    let port = host.free_port();
    web(&host, "web", &[&format!("{port}:80")]).ok();
    let url = format!("http://10.66.0.1:{port}/");
    host.rswarm(["run", "--rm", BUSYBOX, "timeout", "3", "wget", "-q", "-O", "-", &url]).ok().prints("web");
    // and its own, which needs a hairpin
    host.rswarm(["exec", "web", "timeout", "3", "wget", "-q", "-O", "-", &url]).ok().prints("web");
}
