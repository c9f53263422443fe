//! Following: how soon a file that is saved, or a push, is applied; what many stacks and idle sources cost.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Host, Options, run};

use crate::memory::rss;
use crate::table::{Bar, Table};

const ROUNDS: usize = 15;
const STACKS: usize = 200;
const SOURCES: usize = 50;
const HOOKS: &str = "127.0.0.1:18091";

/// A stack of which nothing runs: what is measured is the following.
fn stack(value: &str) -> String {
    format!("services:\n  web:\n    image: {BUSYBOX}\n    environment: {{V: '{value}'}}\n    deploy: {{replicas: 0}}\n")
}

pub(crate) fn measure(table: &mut Table) {
    let daemon = vec!["--webhook".to_owned(), HOOKS.to_owned()];
    let Some(host) = Host::with(Options { daemon, quiet: true, ..Options::default() }) else { return };
    host.write("secret", "hush");
    saved(&host, table);
    pushed(&host, table);
    many(&host, table);
    drop(host);
    // A daemon that has done nothing yet: what the jobs above left in its memory is not the sources'.
    if let Some(host) = Host::with(Options { quiet: true, ..Options::default() }) {
        idle(&host, table);
    }
}

fn saved(host: &Host, table: &mut Table) {
    host.write("saved/compose.yaml", &stack("0"));
    host.sh("gitops add saved saved").ok();
    let sample = |round: usize| {
        let value = format!("saved-{round}");
        let began = Instant::now();
        host.write("saved/compose.yaml", &stack(&value));
        until(host, "saved_web", &value);
        began.elapsed()
    };
    let samples: Vec<Duration> = (1..=ROUNDS).map(sample).collect();
    table.times("file saved, until it is applied", &samples, &[], Bar::AtMost(300.0));
    host.sh("gitops rm saved --down").ok();
}

fn pushed(host: &Host, table: &mut Table) {
    let repo = Repo::new(host, "pushed");
    repo.commit(&[("compose.yaml", stack("0"))]);
    let words = ["gitops", "add", "pushed", &repo.url(), "--interval", "0", "--webhook-secret", "secret"];
    host.rswarm(words).ok();
    let sample = |round: usize| {
        let value = format!("pushed-{round}");
        let began = Instant::now();
        repo.commit(&[("compose.yaml", stack(&value))]);
        hook(host, "pushed");
        until(host, "pushed_web", &value);
        began.elapsed()
    };
    let samples: Vec<Duration> = (1..=ROUNDS).map(sample).collect();
    table.times("commit and push with webhook, until it is applied", &samples, &[], Bar::AtMost(1000.0));
    host.sh("gitops rm pushed --down").ok();
}

fn many(host: &Host, table: &mut Table) {
    let repo = Repo::new(host, "many");
    let names: Vec<String> = (0..STACKS).map(|number| format!("stacks/m{number}/compose.yaml")).collect();
    let files: Vec<(&str, String)> = names.iter().map(|name| (name.as_str(), stack("0"))).collect();
    repo.commit(&files);
    let words = ["gitops", "add", "many", &repo.url(), "--interval", "0", "--webhook-secret", "secret"];
    host.rswarm(words.iter().chain(&["--path", "stacks/*", "--stack", "m*"])).ok();
    let sample = |round: usize| {
        let value = format!("many-{round}");
        repo.commit(&[("stacks/m7/compose.yaml", stack(&value))]);
        let before = cpu(host.daemon_pid());
        hook(host, "many");
        // A question costs the daemon too, so it is asked once only.
        std::thread::sleep(Duration::from_secs(1));
        let spent = cpu(host.daemon_pid()).saturating_sub(before);
        until(host, "m7_web", &value);
        spent
    };
    let samples: Vec<Duration> = (1..=5).map(sample).collect();
    table.times("one of 200 stacks of a repository changed, CPU", &samples, &[], Bar::AtMost(100.0));
    host.sh("gitops rm many --down").ok();
}

fn idle(host: &Host, table: &mut Table) {
    let repo = Repo::new(host, "idle");
    repo.commit(&[("compose.yaml", stack("0"))]);
    // It lets go of what only its start needed.
    std::thread::sleep(Duration::from_secs(10));
    let (memory, pause) = (rss(host.daemon_pid()), Duration::from_secs(60));
    let spend = || {
        let before = cpu(host.daemon_pid());
        std::thread::sleep(pause);
        cpu(host.daemon_pid()).saturating_sub(before)
    };
    for number in 0..SOURCES {
        let (name, url) = (format!("idle{number}"), repo.url());
        host.rswarm(["gitops", "add", &name, &url]).ok();
    }
    std::thread::sleep(Duration::from_secs(10));
    let spent = spend();
    let share = spent.as_secs_f64() / pause.as_secs_f64() * 100.0;
    table.shares("50 idle sources, of one core", share, Bar::AtMost(1.0));
    let grown = rss(host.daemon_pid()) - memory;
    for number in 0..SOURCES {
        host.rswarm(["gitops", "rm", &format!("idle{number}"), "--down"]).ok();
    }
    table.sizes("50 idle sources, resident", grown, None, Bar::AtMost(10.0));
}

fn hook(host: &Host, name: &str) {
    let mut curl = host.command("curl");
    curl.args([
        "-s",
        "-f",
        "-m",
        "5",
        "-H",
        "X-Gitlab-Token: hush",
        "-d",
        "{}",
        &format!("http://{HOOKS}/hook/{name}"),
    ]);
    run(&mut curl).ok();
}

fn until(host: &Host, service: &str, value: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !host.rswarm(["service", "inspect", service]).stdout.contains(&format!("V={value}\"")) {
        assert!(Instant::now() < deadline, "{service} is never at {value}; the log:\n{}", host.log_tail());
    }
}

/// What a process and those of its children that have ended have spent.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<u64> =
        stat.rsplit(") ").next().unwrap().split(' ').filter_map(|field| field.parse().ok()).collect();
    // proc(5): utime, stime, cutime, cstime are 14 to 17; the state, which is no number, is left out here.
    let ticks: u64 = fields[10..14].iter().sum();
    Duration::from_millis(ticks * 10)
}

struct Repo {
    work: PathBuf,
    bare: PathBuf,
}

impl Repo {
    fn new(host: &Host, name: &str) -> Repo {
        let repo =
            Repo { work: host.work().join(format!("{name}.work")), bare: host.work().join(format!("{name}.git")) };
        git(Path::new("/"), &["init", "-q", "--bare", "-b", "main", repo.bare.to_str().unwrap()]);
        git(Path::new("/"), &["clone", "-q", repo.bare.to_str().unwrap(), repo.work.to_str().unwrap()]);
        repo
    }

    fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    fn commit(&self, files: &[(&str, String)]) {
        for (name, text) in files {
            let path = self.work.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(&self.work, &["add", "-A"]);
        git(&self.work, &["commit", "-q", "-m", "a change"]);
        git(&self.work, &["push", "-q", "origin", "HEAD:main"]);
    }
}

fn git(cwd: &Path, words: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]).args(words).current_dir(cwd);
    run(command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1")).ok();
}
