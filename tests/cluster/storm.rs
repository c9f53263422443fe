//! Networks and services come and go while daemons and the processes of their networks are killed: afterwards
//! everybody reaches whom they should and nobody else, and nothing is left behind.

use e2e::{BUSYBOX, Host, Lab, Numbers, Output, eventually, eventually_some};
use rustix::process::{Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const CHANGES: usize = 200;
/// A process is killed at every so many changes: fifty times.
const EVERY: usize = 4;
const NETWORKS: u64 = 6;
const SERVICES: u64 = 8;
const SOON: Duration = Duration::from_secs(60);

/// What was asked for and answered.
#[derive(Default)]
struct Asked {
    networks: BTreeSet<u64>,
    /// Each with its networks and its count of replicas.
    services: BTreeMap<u64, (BTreeSet<u64>, u64)>,
}

/// Asks one manager after the other until one agrees. One that died may have done it: then the next says so.
fn ask(lab: &Lab, words: &[&str], done_already: &str) {
    let agreed = |output: Output| output.succeeded() || output.stderr.contains(done_already);
    eventually(&words.join(" "), SOON, || lab.hosts[..3].iter().any(|host| agreed(host.rswarm(words))));
}

fn change(lab: &Lab, asked: &mut Asked, numbers: &mut Numbers) {
    let (net, service) = (numbers.below(NETWORKS), numbers.below(SERVICES));
    let (network, name) = (format!("net{net}"), format!("svc{service}"));
    let in_use = asked.services.values().any(|(networks, _)| networks.contains(&net));
    match numbers.below(4) {
        0 if !asked.networks.contains(&net) => {
            ask(lab, &["network", "create", "-d", "overlay", "--attachable", &network], "exists");
            asked.networks.insert(net);
        }
        0 if !in_use => {
            ask(lab, &["network", "rm", &network], "no such network");
            asked.networks.remove(&net);
        }
        1 if asked.services.contains_key(&service) => {
            ask(lab, &["service", "rm", &name], "no such service");
            asked.services.remove(&service);
        }
        2 if asked.services.contains_key(&service) => {
            let replicas = 1 + numbers.below(3);
            ask(lab, &["service", "scale", "-d", &format!("{name}={replicas}")], "nothing");
            asked.services.get_mut(&service).unwrap().1 = replicas;
        }
        _ if !asked.services.contains_key(&service) && !asked.networks.is_empty() => {
            let all: Vec<u64> = asked.networks.iter().copied().collect();
            let count = 1 + numbers.below(2);
            let networks: BTreeSet<u64> = (0..count).map(|_| all[numbers.below(all.len() as u64) as usize]).collect();
            let replicas = 1 + numbers.below(2);
            let flags: Vec<String> = networks.iter().map(|net| format!("--network=net{net}")).collect();
            let replicas_flag = format!("--replicas={replicas}");
            let script = format!("mkdir -p /www && echo {name} > /www/index.html && exec httpd -f -p 80 -h /www");
            let begin = ["service", "create", "-d", "--stop-grace-period=0s", "--name", &name, &replicas_flag];
            let flags = flags.iter().map(String::as_str);
            let words: Vec<&str> = begin.into_iter().chain(flags).chain([BUSYBOX, "sh", "-c", &script]).collect();
            ask(lab, &words, "exists");
            asked.services.insert(service, (networks, replicas));
        }
        _ => {}
    }
}

fn kill(lab: &Lab, numbers: &mut Numbers) {
    let host: &Host = &lab.hosts[numbers.below(lab.hosts.len() as u64) as usize];
    if numbers.below(2) == 0 {
        host.kill_daemon();
        host.start_daemon();
    } else {
        let netd = eventually_some("a netd", SOON, || host.netd_pid());
        // It may just have gone by itself, for nobody needs it.
        let _gone = kill_process(netd, Signal::KILL);
    }
}

/// A container of a service on some host, and the host.
fn container(lab: &Lab, service: u64) -> Option<(&Host, String)> {
    let filter = format!("name=svc{service}.");
    lab.hosts.iter().find_map(|host| {
        let found = host.rswarm(["ps", "-q", "--filter", &filter]).lines();
        found.into_iter().next().map(|id| (host, id))
    })
}

#[test]
fn two_hundred_changes_and_fifty_deaths() {
    let Some(lab) = Lab::cluster(3, 2) else { return };
    let (mut asked, mut numbers) = (Asked::default(), Numbers(20_261_126));
    for number in 0..CHANGES {
        change(&lab, &mut asked, &mut numbers);
        if number % EVERY == EVERY - 1 {
            kill(&lab, &mut numbers);
        }
    }
    let wanted: BTreeSet<String> =
        asked.services.iter().map(|(service, (_, count))| format!("svc{service} {count}/{count}")).collect();
    eventually(&format!("{wanted:?} run"), SOON, || {
        let rows = lab.hosts[0].rswarm(["service", "ls", "--format", "{{.Name}} {{.Replicas}}"]);
        rows.succeeded() && rows.lines().into_iter().collect::<BTreeSet<_>>() == wanted
    });
    // Who shares a network is reached by name, wherever it runs; others have no name, let alone a way.
    let (mut together, mut apart) = (0, 0);
    for (from, (networks, _)) in &asked.services {
        let (host, id) = eventually_some("a container", SOON, || container(&lab, *from));
        for (to, (others, _)) in &asked.services {
            let url = format!("http://svc{to}/");
            let call = || host.rswarm(["exec", &id, "timeout", "2", "wget", "-q", "-O", "-", &url]);
            if networks.is_disjoint(others) {
                apart += 1;
                assert!(!call().succeeded(), "svc{from} reaches svc{to}");
            } else {
                together += 1;
                eventually(&format!("svc{from} reaches svc{to}"), SOON, || call().text() == format!("svc{to}"));
            }
        }
    }
    println!("{together} pairs reach each other, {apart} do not");
    assert!(together > 4 && apart > 4, "the numbers are poor: {together} {apart}");
    // As the lab ends it takes all away, and counts what is left.
    for network in asked.services.keys().map(|service| format!("svc{service}")) {
        ask(&lab, &["service", "rm", &network], "no such service");
    }
    for network in &asked.networks {
        eventually("the network is free", SOON, || {
            let removed = lab.hosts[0].rswarm(["network", "rm", &format!("net{network}")]);
            removed.succeeded() || removed.stderr.contains("no such network")
        });
    }
}
