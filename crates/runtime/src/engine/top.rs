//! Processes, as `/proc` shows them.

use super::Process;
use model::Time;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Facts of these processes; those that end meanwhile are left out.
pub(super) fn read(pids: &[i32]) -> Vec<Process> {
    let boot = boot_time();
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let mut all: Vec<Process> = pids.iter().filter_map(|pid| one(*pid, boot, ticks)).collect();
    all.sort_by_key(|process| process.pid);
    all
}

/// When the host started, in seconds since the epoch.
fn boot_time() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0)
}

fn one(pid: i32, boot: u64, ticks: u64) -> Option<Process> {
    let folder = format!("/proc/{pid}");
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    let stat = parse_stat(&stat)?;
    let line = fs::read(format!("{folder}/cmdline")).ok()?;
    let words: Vec<String> = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let command = if words.is_empty() { format!("[{}]", stat.name) } else { words.join(" ") };
    Some(Process {
        uid: fs::metadata(&folder).ok()?.uid(),
        pid: u32::try_from(pid).ok()?,
        ppid: stat.ppid,
        started: Time(boot * 1000 + stat.started * 1000 / ticks),
        tty: terminal(stat.tty),
        cpu_ms: stat.cpu * 1000 / ticks,
        command,
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    ppid: u32,
    tty: u32,
    cpu: u64,
    started: u64,
}

/// Fields of `/proc/PID/stat` (proc(5)); the name may hold anything, also `)`.
fn parse_stat(text: &str) -> Option<Stat> {
    let (head, tail) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // `fields` begins with the third one.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        name: name.to_owned(),
        ppid: u32::try_from(number(4)?).ok()?,
        tty: u32::try_from(number(7).unwrap_or(0)).ok()?,
        cpu: number(14)? + number(15)?,
        started: number(22)?,
    })
}

/// Name of a terminal by its device number.
fn terminal(device: u32) -> String {
    let major = device >> 8 & 0xfff;
    let minor = device & 0xff | device >> 12 & 0xfff00;
    match major {
        0 => "?".to_owned(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_anything_in_them() {
        let text = "42 (a) b (c)) S 7 42 42 34817 42 4194304 1 2 3 4 150 50 0 0 20 0 1 0 12345 1 2";
        let stat = Stat { name: "a) b (c)".to_owned(), ppid: 7, tty: 34817, cpu: 200, started: 12345 };
        assert_eq!(parse_stat(text), Some(stat));
        assert_eq!(terminal(34817), "pts/1");
        assert_eq!(terminal(0), "?");
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        let read = read(&[own, i32::MAX]);
        assert_eq!(read.len(), 1);
        assert!(read[0].started.0 > 1_500_000_000_000 && !read[0].command.is_empty());
    }
}
