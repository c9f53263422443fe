//! Rolling updates under load on several machines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Client, Lab, SERVER, compile, eventually, served, under_load};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn an_update_that_starts_first_fails_no_request_on_any_machine() {
    let Some(lab) = Lab::cluster(1, 2) else { return };
    let first = &lab.hosts[0];
    let server = compile(first, "server", SERVER);
    let text = |version: u32| {
        let update = "update_config: {order: start-first, parallelism: 1}";
        let deploy = format!("{{replicas: 4, placement: {{constraints: [node.hostname!=host1]}}, {update}}}");
        let web = served(&server, version, &deploy);
        let client =
            format!("{{image: {BUSYBOX}, stop_grace_period: 0s, command: sleep 10000, deploy: {{mode: global}}}}");
        format!("services:\n  web: {web}\n  client: {client}\n")
    };
    first.up("shop", &text(1)).ok();
    // From a container on each machine by the service's name, and from one machine at the ports of all.
    let mut places: Vec<(PathBuf, SocketAddr)> = Vec::new();
    for (index, host) in lab.hosts.iter().enumerate() {
        let client = host.sh("ps -q --filter name=client").ok().lines().remove(0);
        let vip = host.address_of(&client, "web");
        let inside = format!("/proc/{}/ns/net", host.inspect(&client, "{{.State.Pid}}"));
        places.push((inside.into(), SocketAddr::new(vip, 80)));
        let outside = format!("/run/netns/{}", first.cgroup());
        places.push((outside.into(), SocketAddr::new(Lab::address(index).parse().unwrap(), 8080)));
    }
    let clients = places.into_iter().enumerate().map(|(index, (namespace, address))| {
        // Some thousand questions a second: three machines share the cores with who asks.
        Client { namespace, address, keeps: index % 4 < 2, pause: Duration::from_millis(5) }
    });
    let began = Instant::now();
    let tally = under_load(&clients.collect::<Vec<_>>(), |tally| {
        eventually("requests are answered", SOON, || tally.answers() > 100);
        first.up("shop", &text(2)).ok();
        eventually("the new one answers", SOON, || tally.newest() == 2);
        std::thread::sleep(Duration::from_millis(1500));
    });
    println!("{} answers in {:?}", tally.answers(), began.elapsed());
    assert_eq!(tally.failures(), 0, "of {} requests", tally.answers() + tally.failures());
    assert!(tally.answers() > 1000, "{}: that is no load", tally.answers());
}
