//! The daemon is killed, its shims are killed; what was promised holds.

use crate::support::{Host, LONG, With, exited, lines, wait_until};
use model::{ObservedState, TaskId};
use runtime::engine::{RuntimeEvent, StartOptions};
use runtime::logs::LogQuery;
use runtime::signal::Signal;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Containers that the child keeps starting and stopping.
const CONTAINERS: u128 = 20;

/// Instants at which it is killed.
const ROUNDS: u64 = 12;

pub(crate) async fn the_daemon_goes_and_comes_back(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, events) = host.open().await;
    let (lives, ends) = (TaskId(10), TaskId(11));
    let script = "i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.02; done; echo over; sleep 1000";
    engine
        .create_and_start(host.sh(lives, script), StartOptions { attempt: 4, ..StartOptions::default() })
        .await
        .unwrap();
    engine.create_and_start(host.sh(ends, "sleep 0.3; exit 42"), StartOptions::default()).await.unwrap();
    drop((engine, events));
    tokio::time::sleep(Duration::from_millis(800)).await;
    let (engine, mut events) = host.open().await;
    let list = engine.list().await;
    assert_eq!(list.len(), 2);
    assert!(matches!(list[0].state, ObservedState::Running { paused: false, .. }) && list[0].attempt == 4, "{list:?}");
    assert!(matches!(list[1].state, ObservedState::Exited(exit) if exit.code == 42), "{list:?}");
    wait_until(&engine, lives, "over").await;
    assert_eq!(lines(&engine, lives, LogQuery::default()).await.len(), 41);
    engine.stop(lives, Signal::KILL, LONG).await.unwrap();
    assert_eq!(exited(&mut events).await.0, lives);
    for task in [lives, ends] {
        engine.remove(task, true).await.unwrap();
    }
    host.assert_clean().await;
}

pub(crate) async fn a_shim_that_is_killed_takes_its_container_along(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, mut events) = host.open().await;
    let task = TaskId(12);
    let create = host.sh(task, "sleep 1000 & sleep 1000");
    let started = engine.create_and_start(create, StartOptions::default()).await.unwrap();
    let pids = host.processes().into_iter().map(|process| process.split(' ').next().unwrap().parse::<i32>().unwrap());
    let is_shim =
        |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("shim "));
    let pid = pids.into_iter().find(is_shim).unwrap();
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let title = String::from_utf8(title).unwrap();
    assert_eq!(title.trim_end_matches('\0'), format!("rswarm\0shim\0{task}\0test-{}", task.short()));
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    let (ended, exit) = exited(&mut events).await;
    assert_eq!((ended, exit.code), (task, 137));
    // An exit is told from one of an earlier run by the time of its start.
    assert_eq!(exit.started_at, started.started_at);
    let init = started.pid;
    // One that has ended and that nobody has waited for yet has a name, but no command line.
    let lives = std::fs::read_to_string(format!("/proc/{init}/cmdline")).is_ok_and(|line| line.contains("sleep 1000"));
    assert!(!lives, "{init} outlived its shim");
    // It can be started again.
    engine.start(task, StartOptions::default()).await.unwrap();
    assert!(matches!(engine.list().await[0].state, ObservedState::Running { .. }));
    engine.remove(task, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn killed_at_any_instant_nothing_is_lost_or_left(with: With) {
    let Some(host) = Host::new(with) else { return };
    let mut ids = model::Ids::new(20_240_601);
    for round in 0..ROUNDS {
        let mut child = Command::new(&host.config.exe)
            .arg("churn")
            .args([&host.config.data_root, &host.config.run_root, &host.layer])
            .args([&host.config.cgroup_parent, &CONTAINERS.to_string()])
            .args(&host.config.oci_runtime)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let instant = Duration::from_millis(100 + ids.next_u64() % 1500);
        std::thread::sleep(instant);
        child.kill().unwrap();
        child.wait().unwrap();
        let (engine, _events) = host.open().await;
        for seen in engine.list().await {
            // Every run tells how it ended: the script's own code, or that it was killed.
            match seen.state {
                ObservedState::Exited(exit) => assert!(matches!(exit.code, 0 | 3 | 137), "round {round}: {exit:?}"),
                ObservedState::Running { .. } => {
                    let exit = engine.stop(seen.task, Signal::KILL, LONG).await.unwrap();
                    assert!(matches!(exit.code, 3 | 137), "round {round}: {exit:?}");
                }
                ObservedState::Created => {}
            }
        }
        // The next child finds them as they are; at the end all go.
        if round % 3 == 2 {
            for seen in engine.list().await {
                engine.remove(seen.task, true).await.unwrap();
            }
            assert_eq!(engine.list().await, []);
            host.assert_clean().await;
            assert_eq!(std::fs::read_dir(host.root.path().join("data/volumes")).unwrap().count(), 0);
        }
    }
}

pub(crate) async fn a_hundred_at_once(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, mut events) = host.open().await;
    let begun = Instant::now();
    let mut starts = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (engine, create) = (engine.clone(), host.sh(TaskId(1000 + number), "echo up; exec sleep 1000"));
        starts.spawn(async move { engine.create_and_start(create, StartOptions::default()).await });
    }
    while let Some(started) = starts.join_next().await {
        started.unwrap().unwrap();
    }
    eprintln!("100 containers started in {:?}", begun.elapsed());
    let shims = host.processes();
    let memory: Vec<u64> = shims.iter().filter_map(|shim| private_memory(shim.split(' ').next()?)).collect();
    let largest = memory.iter().max().copied().unwrap_or(0);
    let all: u64 = memory.iter().sum();
    eprintln!("private memory of a shim: {} KiB on average, {largest} KiB at most", all / memory.len() as u64);
    // One and a half MiB is the most that a shim may have for itself; the nursery is among these.
    assert!(largest <= 1536, "{memory:?}");
    let begun = Instant::now();
    let mut removals = tokio::task::JoinSet::new();
    for number in 0..100 {
        let engine = engine.clone();
        removals.spawn(async move { engine.remove(TaskId(1000 + number), true).await });
    }
    while let Some(removed) = removals.join_next().await {
        removed.unwrap().unwrap();
    }
    eprintln!("100 containers removed in {:?}", begun.elapsed());
    let mut ended = 0;
    while let Ok(RuntimeEvent::Exited { .. }) = events.try_recv() {
        ended += 1;
    }
    assert_eq!(ended, 100);
    host.assert_clean().await;
}

/// KiB of memory that only this process has.
fn private_memory(pid: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let lines = text.lines().filter(|line| line.starts_with("Private_Clean") || line.starts_with("Private_Dirty"));
    Some(lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}
