//! Networks and services come and go while daemons and the processes of their networks are killed: afterwards
//! everybody reaches whom they should and nobody else, and nothing is left behind.

use e2e::{BUSYBOX, Host, Lab, Numbers, Output, eventually, eventually_some};
use rustix::process::{Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

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

/// A replica.
struct Replica {
    id: String,
    service: u64,
}

/// All of them, wherever they run.
fn replicas(lab: &Lab) -> Vec<Replica> {
    let rows = lab.hosts[0].rswarm(["ps", "--format", "{{.ID}} {{.Names}}"]).ok().lines();
    let replica = |row: String| {
        let (id, name) = row.split_once(' ')?;
        let service = name.strip_prefix("svc")?.split('.').next()?.parse().ok()?;
        Some(Replica { id: id.to_owned(), service })
    };
    rows.into_iter().filter_map(replica).collect()
}

/// Every address of a replica, with its service and its network.
fn addresses(lab: &Lab, asked: &Asked) -> Vec<(String, u64, u64)> {
    let mut all = Vec::new();
    for net in &asked.networks {
        let seen = lab.hosts[0].rswarm(["network", "inspect", &format!("net{net}")]).ok().json();
        for container in seen[0]["Containers"].as_object().into_iter().flat_map(|all| all.values()) {
            let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
            let service = text("Name").strip_prefix("svc").and_then(|name| name.split('.').next()?.parse().ok());
            let address = text("IPv4Address").split('/').next().unwrap_or_default().to_owned();
            all.extend(service.map(|service| (address, service, *net)));
        }
    }
    all
}

/// What a replica gets from each of these, asked all at once.
fn answers(lab: &Lab, from: &Replica, targets: &BTreeMap<String, Option<String>>) -> BTreeMap<String, Option<String>> {
    let all: Vec<&str> = targets.keys().map(String::as_str).collect();
    let script = format!(
        "for to in {}; do (echo $to $(timeout 3 wget -q -O - http://$to/ 2>/dev/null)) & done; wait",
        all.join(" ")
    );
    let heard = lab.hosts[0].rswarm(["exec", &from.id, "sh", "-c", &script]).lines();
    let answer = |line: &String| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next().map(str::to_owned)))
    };
    heard.iter().filter_map(answer).collect()
}

/// Every replica asks every service by its name and every replica by each of its addresses: who shares a network with
/// it answers, wherever it runs, and nobody else does.
/// Gives how many replicas there are, how often one reached another, and how often not.
fn everybody_reaches_whom_they_should(lab: &Lab, asked: &Asked) -> (usize, usize, usize) {
    // Those who had to go, as others were fewer, may still be on their way.
    let count: usize = asked.services.values().map(|(networks, count)| networks.len() * *count as usize).sum();
    let addresses = eventually_some(&format!("{count} addresses"), SOON, || {
        Some(addresses(lab, asked)).filter(|addresses| addresses.len() == count)
    });
    let from = replicas(lab);
    let wanted = |networks: &BTreeSet<u64>| -> BTreeMap<String, Option<String>> {
        let name = |(service, (others, _)): (&u64, &(BTreeSet<u64>, u64))| {
            (format!("svc{service}"), (!networks.is_disjoint(others)).then(|| format!("svc{service}")))
        };
        let address = |(address, service, net): &(String, u64, u64)| {
            (address.clone(), networks.contains(net).then(|| format!("svc{service}")))
        };
        asked.services.iter().map(name).chain(addresses.iter().map(address)).collect()
    };
    let ask = |from: &Replica| {
        let expected = wanted(&asked.services[&from.service].0);
        let end = Instant::now() + SOON;
        loop {
            let heard = answers(lab, from, &expected);
            for (to, answer) in heard.iter().filter(|(_, answer)| answer.is_some()) {
                assert_eq!(Some(answer), expected.get(to), "svc{} asks {to}", from.service);
            }
            let missing: Vec<_> = expected.iter().filter(|(to, answer)| heard.get(*to) != Some(*answer)).collect();
            if missing.is_empty() {
                break;
            }
            let Replica { id, service } = from;
            assert!(Instant::now() < end, "{id} of svc{service} does not reach {missing:?}, of {expected:?}");
        }
        let together = expected.values().flatten().count();
        (together, expected.len() - together)
    };
    let counts = std::thread::scope(|scope| {
        // A few at a time: all together would wait for each other.
        let some = from.chunks(from.len().div_ceil(4).max(1));
        let asked = some.map(|some| scope.spawn(|| some.iter().map(ask).collect::<Vec<(usize, usize)>>()));
        let asked: Vec<_> = asked.collect();
        asked.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let (together, apart) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    (from.len(), together, apart)
}

#[test]
fn two_hundred_changes_and_fifty_deaths() {
    let Some(lab) = Lab::cluster(3, 2) else { return };
    let (mut asked, mut numbers) = (Asked::default(), Numbers::seeded(20_261_126));
    println!("seed: {}", numbers.0);
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
    let (replicas, together, apart) = everybody_reaches_whom_they_should(&lab, &asked);
    println!("{replicas} replicas: {together} times one reaches another, {apart} times it does not");
    assert_eq!(replicas as u64, asked.services.values().map(|(_, count)| count).sum::<u64>());
    assert!(together > 20 && apart > 20, "the numbers are poor: {together} {apart}");
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
