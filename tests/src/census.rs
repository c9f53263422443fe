//! What of one host is on the machine: counted before and after, and swept away when a test fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

/// Everything that can leak, a line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census(BTreeSet<String>);

impl Census {
    /// Counts what belongs to the host of this name (network namespace and cgroup parent) and folder.
    pub(crate) fn take(name: &str, dir: &Path) -> Census {
        let mut found = BTreeSet::new();
        let others = processes(name, Some(dir)).into_iter().filter(|(_, words)| !lasting(words));
        found.extend(others.map(|(_, words)| format!("process {words}")));
        found.extend(mounts(dir).into_iter().map(|path| format!("mount {}", path.display())));
        // the parent itself and that of the shims are the daemon's and stay
        let cgroups = cgroups(name).into_iter().filter(|path| !path.ends_with(name) && !path.ends_with("shims"));
        found.extend(cgroups.map(|path| format!("cgroup {}", path.display())));
        found.extend(lines(name, "ip", &["-o", "link"]).into_iter().map(|line| format!("link {}", link(&line))));
        for family in ["-4", "-6"] {
            found.extend(lines(name, "ip", &[family, "rule"]).into_iter().map(|line| format!("rule {family} {line}")));
        }
        found.extend(lines(name, "nft", &["-s", "list", "ruleset"]).into_iter().map(|line| format!("nft {line}")));
        found.extend(files(dir).into_iter().map(|path| format!("file {}", path.display())));
        Census(found)
    }

    /// What is here and was not there. The namespace of the mesh is there as long as a node is part of a cluster.
    pub fn beyond(&self, before: &Census) -> Vec<String> {
        let meshed = self.0.iter().any(|line| line.starts_with("file ") && line.ends_with("/netns/mesh"));
        let of_mesh =
            |line: &str| line.ends_with("/netns/mesh") || line.ends_with("/netns") && line.starts_with("mount ");
        self.0.difference(&before.0).filter(|line| !(meshed && of_mesh(line))).cloned().collect()
    }

    /// How many lines begin with this word: `process`, `mount`, `cgroup`, `link`, `rule`, `nft`, `file`.
    pub fn count(&self, kind: &str) -> usize {
        self.0.iter().filter(|line| line.split(' ').next() == Some(kind)).count()
    }

    /// The processes of a host: those that name its folder, and those in its cgroups.
    pub(crate) fn processes(name: &str, dir: &Path) -> Vec<(Pid, String)> {
        processes(name, Some(dir))
    }

    /// Those in its cgroups alone: containers, and what is executed in them.
    pub(crate) fn inside(name: &str) -> Vec<(Pid, String)> {
        processes(name, None)
    }

    /// Ends the host's processes, unmounts what `mount` says yes to, and removes its cgroups. The network goes with
    /// its namespace.
    pub(crate) fn sweep(name: &str, dir: &Path, mount: impl Fn(&PathBuf) -> bool) {
        for _ in 0..50 {
            let left = processes(name, Some(dir));
            if left.is_empty() {
                break;
            }
            for (pid, _) in left {
                let _gone_already_is_fine = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // the newest mount lies on top
        for path in mounts(dir).into_iter().rev().filter(mount) {
            drop(Command::new("umount").arg("-l").arg(path).output());
        }
        // deepest first
        for path in cgroups(name).into_iter().rev() {
            drop(std::fs::remove_dir(path));
        }
    }
}

/// The daemon, netd and the process that shims are born from come when they are needed and stay.
fn lasting(words: &str) -> bool {
    words.split(' ').any(|word| ["daemon", "netd", "nursery"].contains(&word))
}

/// Processes that name the host's folder, and those in its cgroups.
fn processes(name: &str, dir: Option<&Path>) -> Vec<(Pid, String)> {
    let (dir, ours) = (dir.map(|dir| dir.to_str().unwrap()), std::process::id().to_string());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|text| text.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let words = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let cgroup = String::from_utf8_lossy(&read("cgroup")).into_owned();
        let inside = cgroup.lines().any(|line| line.split('/').any(|part| part == name));
        let names = |dir: &str| words.split([' ', '=']).any(|word| word == dir || word.starts_with(&format!("{dir}/")));
        let named = dir.is_some_and(names);
        if (inside || named) && entry.file_name().to_str() != Some(&ours) && !is_zombie(&read("stat")) {
            found.push((pid, words.trim_end().to_owned()));
        }
    }
    found
}

fn is_zombie(stat: &[u8]) -> bool {
    String::from_utf8_lossy(stat).rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

fn mounts(dir: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(PathBuf::from).filter(|point| point.starts_with(dir)).collect()
}

/// Below the hierarchies of cgroup v1, of v2, and of both together; parents before children.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut tops = vec![root.join(name)];
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        // cpu and cpuacct are links to one hierarchy
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            tops.push(entry.path().join(name));
        }
    }
    let mut found = Vec::new();
    for top in tops {
        folders(&top, &mut found);
    }
    found
}

fn folders(top: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(top) else { return };
    found.push(top.to_path_buf());
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders(&entry.path(), found);
        }
    }
}

/// What a command says inside the host's network namespace.
fn lines(name: &str, program: &str, args: &[&str]) -> Vec<String> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{name}")).arg(program).args(args);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
}

/// `3: rs0123: <UP> …` without its number and its state.
fn link(line: &str) -> String {
    let name = line.split(": ").nth(1).unwrap_or(line);
    name.split('@').next().unwrap_or(name).to_owned()
}

/// Files of tasks, volumes and namespaces. Images and the replicated log may grow, and so may what lies directly in a
/// root: that is the daemon's own.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for top in ["data", "run"] {
        walk(&dir.join(top), 0, &mut found);
    }
    found
}

/// Deeper than this lie contents of volumes and containers, which go with their folder.
const DEPTH: usize = 3;

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        // `raft-0123` is the log of a member that joined a group
        let grows = |known: &&str| name.to_str().is_some_and(|name| name.starts_with(*known));
        if depth == 0 && ["images", "raft", "agent-ledger", "certificates"].iter().any(grows) {
            continue;
        }
        if depth > 0 {
            found.push(path.clone());
        }
        if depth < DEPTH && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, depth + 1, found);
        }
    }
}
