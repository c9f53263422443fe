//! What an idle machine and an idle container cost.

use std::time::Duration;

use e2e::{BUSYBOX, Host};

use crate::Lab;
use crate::table::{Bar, Table};

pub(crate) fn measure(lab: &Lab, table: &mut Table) {
    std::thread::sleep(Duration::from_secs(10));
    let daemon = rss(lab.ours.daemon_pid());
    let peer = lab.docker.as_ref().map(|docker| named(&docker.host, &["dockerd", "containerd"]));
    table.sizes("idle daemon, resident", daemon, peer, Bar::AtMost(25.0));
    let netd = named_words(&lab.ours, "netd").into_iter().map(rss).sum::<f64>();
    table.sizes("idle netd, resident", netd, None, Bar::AtMost(25.0));

    let id = lab.ours.sleeper("");
    let container = lab.ours.inspect(&id, "{{.State.Pid}}").parse().unwrap();
    let shim = private(parent(container));
    let peer = lab.docker.as_ref().map(|docker| {
        let id = docker.call(&["run", "-d", BUSYBOX, "sleep", "10000"]).ok().text();
        std::thread::sleep(Duration::from_secs(2));
        let pid = docker.call(&["inspect", "--format", "{{.State.Pid}}", &id]).ok().text();
        let size = private(parent(pid.parse().unwrap()));
        docker.call(&["rm", "-f", &id]).ok();
        size
    });
    table.sizes("shim, private", shim, peer, Bar::AtMost(1.5));
    lab.ours.rswarm(["rm", "-f", &id]).ok();
}

/// A line of a file below /proc/PID, in MiB.
fn kilobytes(pid: u32, file: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

pub(crate) fn rss(pid: u32) -> f64 {
    kilobytes(pid, "status", "VmRSS:")
}

/// What would be free if it ended.
fn private(pid: u32) -> f64 {
    kilobytes(pid, "smaps_rollup", "Private_Clean:") + kilobytes(pid, "smaps_rollup", "Private_Dirty:")
}

fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

/// The sum over a host's processes whose program has one of these names.
fn named(host: &Host, names: &[&str]) -> f64 {
    let is = |words: &str| {
        let program = words.split(' ').next().unwrap_or_default();
        names.iter().any(|name| program.rsplit('/').next() == Some(name))
    };
    processes(host).into_iter().filter(|(_, words)| is(words)).map(|(pid, _)| rss(pid)).sum()
}

/// Processes of a host with this word.
fn named_words(host: &Host, word: &str) -> Vec<u32> {
    let has = |words: &str| words.split(' ').any(|other| other == word);
    processes(host).into_iter().filter(|(_, words)| has(words)).map(|(pid, _)| pid).collect()
}

/// Every process that names the host's folder.
fn processes(host: &Host) -> Vec<(u32, String)> {
    let dir = format!("{}/", host.dir.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.contains(&dir) {
            found.push((pid, words));
        }
    }
    found
}
