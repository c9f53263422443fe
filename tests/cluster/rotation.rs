//! The authority of the cluster, and with it every certificate, is replaced while all is in use.

use e2e::{Client, Lab, SERVER, Writer, compile, eventually, served, under_load};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn the_authority_is_replaced_and_no_request_fails() {
    let Some(lab) = Lab::cluster(3, 1) else { return };
    let (managers, worker) = (&lab.hosts[..3], &lab.hosts[3]);
    let server = compile(&managers[0], "server", SERVER);
    let web = served(&server, 1, "{replicas: 1, placement: {constraints: [node.role==worker]}}");
    managers[0].up("shop", &format!("services:\n  web: {web}\n")).ok();
    // From outside, at the port of each machine.
    let namespace = PathBuf::from(format!("/run/netns/{}", worker.cgroup()));
    let clients: Vec<Client> = (0..3)
        .map(|index| {
            let address = SocketAddr::new(Lab::address(index).parse().unwrap(), 8080);
            let pause = Duration::from_millis(20);
            Client { namespace: namespace.clone(), address, keeps: index % 2 == 0, pause }
        })
        .collect();
    let root = || managers[1].sh("ca").ok().text();
    let mut roots = vec![root()];
    let writer = Writer::new(managers, "w");
    let tally = under_load(&clients, |tally| {
        eventually("requests are answered", SOON, || tally.answers() > 100);
        writer.during(|| {
            for _ in 0..2 {
                managers[1].sh("ca --rotate -q").ok();
                roots.push(root());
                writer.goes_on(SOON);
            }
            std::thread::sleep(Duration::from_millis(500));
        });
    });
    roots.dedup();
    assert_eq!(roots.len(), 3, "each time another one");
    assert_eq!(tally.failures(), 0, "of {} requests", tally.answers() + tally.failures());
    writer.expect_no_failure();
    writer.expect_all(managers);
    lab.all_ready(4);
    println!("{} answers; {} writes, at most {:?} apart", tally.answers(), writer.count(), writer.longest_gap());
}
