//! Rolling updates under load: who asks all the time never hears that nobody is there.

#![allow(clippy::print_stdout, reason = "what failed, and how many were answered, is worth seeing")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Host, eventually};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What came of asking.
#[derive(Default)]
struct Tally {
    over: AtomicBool,
    answers: AtomicU32,
    failures: AtomicU32,
    newest: AtomicU32,
}

/// One question, one connection.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once("\r\n\r\n")).map(|(_, body)| body.trim());
    body.map(str::to_owned).filter(|body| !body.is_empty()).ok_or_else(|| std::io::Error::other(format!("{text:?}")))
}

/// Asks until it is over, from inside a network namespace.
fn load(space: &PathBuf, address: SocketAddr, tally: &Tally) {
    let space = File::open(space).unwrap();
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    while !tally.over.load(Ordering::Relaxed) {
        match ask(address) {
            Ok(body) => {
                tally.answers.fetch_add(1, Ordering::Relaxed);
                tally.newest.fetch_max(body.parse().unwrap_or_default(), Ordering::Relaxed);
            }
            Err(error) => {
                println!("{address}: {error}");
                tally.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn an_update_that_starts_first_fails_no_request() {
    let Some(host) = Host::new() else { return };
    let text = |version: u32| {
        let serve = format!("sh -c 'mkdir -p /www; echo {version} > /www/index.html; exec httpd -f -p 80 -h /www'");
        let check =
            "{test: wget -q -O /dev/null http://127.0.0.1/, interval: 1s, start_interval: 100ms, start_period: 20s}";
        let deploy = "{replicas: 2, update_config: {order: start-first, parallelism: 1}}";
        format!(
            "services:\n  web: {{image: {BUSYBOX}, stop_grace_period: 1s, command: {serve}, ports: ['8080:80'], healthcheck: {check}, deploy: {deploy}}}\n  \
             client: {{image: {BUSYBOX}, stop_grace_period: 0s, command: sleep 10000}}\n"
        )
    };
    host.up("shop", &text(1)).ok();
    let vip = host.rswarm(["exec", "shop-client-1", "nslookup", "web"]).ok().text();
    let last = vip.lines().rev().find_map(|line| line.strip_prefix("Address:")?.trim().parse::<IpAddr>().ok());
    let client = PathBuf::from(format!("/proc/{}/ns/net", host.inspect("shop-client-1", "{{.State.Pid}}")));
    let outside = PathBuf::from(format!("/run/netns/{}", host.cgroup()));
    let places =
        [(client, SocketAddr::new(last.expect("it has an address"), 80)), (outside, ([127, 0, 0, 1], 8080).into())];
    let tally = Tally::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (space, address) in &places {
            for _ in 0..4 {
                scope.spawn(|| load(space, *address, &tally));
            }
        }
        eventually("requests are answered", Duration::from_secs(5), || tally.answers.load(Ordering::Relaxed) > 100);
        for version in [2, 3] {
            host.up("shop", &text(version)).ok();
            let newest = || tally.newest.load(Ordering::Relaxed) == version;
            eventually("the new one answers", Duration::from_secs(20), newest);
        }
        std::thread::sleep(Duration::from_millis(1500));
        tally.over.store(true, Ordering::Relaxed);
    });
    let (answers, failures) = (tally.answers.into_inner(), tally.failures.into_inner());
    println!("{answers} answers in {:?}", began.elapsed());
    assert_eq!(failures, 0, "of {} requests", answers + failures);
    assert!(answers > 1000, "{answers}: that is no load");
    host.down("shop").ok();
}
