//! Rolling updates under load: who asks all the time never hears that nobody is there.

#![allow(clippy::print_stdout, reason = "how many were answered is worth seeing")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Stdio;
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
    leaves_under("input iifname", "tcp flags & (syn | ack) == ack");
}

/// A program that has written its last answer and closed the connection has done all it can: the kernel sends what gets
/// lost once more, if it has a network to send it by.
#[test]
fn the_last_answer_of_a_task_that_leaves_is_sent_until_it_is_received() {
    leaves_under("output oifname", "tcp flags & (psh | fin) != 0x0");
}

/// Stops a task to which somebody has a connection of which some packets get lost for a moment.
fn leaves_under(way: &str, lost: &str) {
    let Some(host) = Host::new() else { return };
    let server = compile(&host, "server", SERVER);
    host.up("shop", &format!("services:\n  web: {}\n", served(&server, 1, "{replicas: 1}"))).ok();
    // It is to outlive its program.
    let space = File::open(format!("/proc/{}/ns/net", host.inspect("shop-web-1", "{{.State.Pid}}"))).unwrap();
    let inside = format!("--net=/proc/{}/fd/{}", std::process::id(), space.as_raw_fd());
    let rule = |words: &str| {
        run(host.command("nsenter").args([&inside, "nft"]).args(words.split(' '))).ok();
    };
    let (hook, link) = way.split_once(' ').unwrap();
    rule("add table ip lossy");
    rule(&format!("add chain ip lossy {hook} {{ type filter hook {hook} priority 0 ; }}"));
    rule(&format!("add rule ip lossy {hook} {link} != lo {lost} drop"));

    let namespace = File::open(format!("/run/netns/{}", host.cgroup())).unwrap();
    let (asked, is_asked) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let caller = scope.spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let mut stream = TcpStream::connect("127.0.0.1:8080")?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            asked.send(()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        });
        is_asked.recv().unwrap();
        // What is lost is sent again after 0.2, 0.6 and 1.4 seconds, and not soon after that.
        let mut mends = host.command("nsenter");
        mends.args([&inside, "sh", "-c", "sleep 0.7; nft delete table ip lossy"]);
        let mut mends = mends.spawn().unwrap();
        let mut stop = host.rswarm_command(["stop", "shop-web-1"]).stdout(Stdio::null()).spawn().unwrap();
        let answer = caller.join().unwrap();
        assert!(answer.as_ref().is_ok_and(|answer| answer.ends_with("\r\n\r\n1")), "{answer:?}");
        assert!(stop.wait().unwrap().success() && mends.wait().unwrap().success());
    });
    host.down("shop").ok();
}
