//! Rolling updates under load: who asks all the time never hears that nobody is there.

#![allow(clippy::print_stdout, reason = "how many were answered is worth seeing")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Client, Host, SERVER, compile, eventually, run, served, under_load};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

#[test]
fn an_update_that_starts_first_fails_no_request() {
    let Some(host) = Host::new() else { return };
    let server = compile(&host, "server", SERVER);
    let text = |version: u32| {
        let web = served(&server, version, "{replicas: 2, update_config: {order: start-first, parallelism: 1}}");
        let client = format!("{{image: {BUSYBOX}, stop_grace_period: 0s, command: sleep 10000}}");
        format!("services:\n  web: {web}\n  client: {client}\n")
    };
    host.up("shop", &text(1)).ok();
    let vip = host.address_of("shop-client-1", "web");
    let inside = PathBuf::from(format!("/proc/{}/ns/net", host.inspect("shop-client-1", "{{.State.Pid}}")));
    let outside = PathBuf::from(format!("/run/netns/{}", host.cgroup()));
    let places = [(inside, SocketAddr::new(vip, 80)), (outside, ([127, 0, 0, 1], 8080).into())];
    let both = places.into_iter().flat_map(|(namespace, address)| {
        [false, true].map(|keeps| Client { namespace: namespace.clone(), address, keeps, pause: Duration::ZERO })
    });
    let began = Instant::now();
    let tally = under_load(&both.collect::<Vec<_>>(), |tally| {
        eventually("requests are answered", Duration::from_secs(5), || tally.answers() > 100);
        for version in [2, 3] {
            host.up("shop", &text(version)).ok();
            eventually("the new one answers", Duration::from_secs(20), || tally.newest() == version);
        }
        std::thread::sleep(Duration::from_millis(1500));
    });
    println!("{} answers in {:?}", tally.answers(), began.elapsed());
    assert_eq!(tally.failures(), 0, "of {} requests", tally.answers() + tally.failures());
    assert!(tally.answers() > 1000, "{}: that is no load", tally.answers());
    host.down("shop").ok();
}

/// The kernel answers a caller before the program hears of it. What the caller says then is on its way for a moment
/// (here for as long as a rule keeps it), and meets a program that has ended, or one that waits for it.
#[test]
fn who_was_answered_is_heard_by_a_task_that_leaves() {
    let Some(host) = Host::new() else { return };
    let server = compile(&host, "server", SERVER);
    host.up("shop", &format!("services:\n  web: {}\n", served(&server, 1, "{replicas: 1}"))).ok();
    // It is to outlive its program.
    let space = File::open(format!("/proc/{}/ns/net", host.inspect("shop-web-1", "{{.State.Pid}}"))).unwrap();
    let inside = format!("--net=/proc/{}/fd/{}", std::process::id(), space.as_raw_fd());
    let rule = |words: &str| {
        run(host.command("nsenter").args([&inside, "nft"]).args(words.split(' '))).ok();
    };
    rule("add table ip late");
    rule("add chain ip late input { type filter hook input priority 0 ; }");
    rule("add rule ip late input iifname != lo tcp flags & (syn | ack) == ack drop");

    let namespace = File::open(format!("/run/netns/{}", host.cgroup())).unwrap();
    let (answered, is_answered) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let caller = scope.spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let mut stream = TcpStream::connect("127.0.0.1:8080")?;
            answered.send(()).unwrap();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        });
        is_answered.recv().unwrap();
        let mut stop = host.rswarm_command(["stop", "shop-web-1"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(900));
        rule("delete table ip late");
        let answer = caller.join().unwrap();
        assert!(answer.as_ref().is_ok_and(|answer| answer.ends_with("\r\n\r\n1")), "{answer:?}");
        assert!(stop.wait().unwrap().success());
    });
    host.down("shop").ok();
}
