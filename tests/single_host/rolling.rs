//! Rolling updates under load: who asks all the time never hears that nobody is there.

#![allow(clippy::print_stdout, reason = "how many were answered is worth seeing")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Client, Host, SERVER, compile, eventually, served, under_load};

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
