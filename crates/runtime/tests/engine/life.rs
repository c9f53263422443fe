//! From create to remove.

use crate::support::{Host, collect, exited, root_only, run, words};
use model::{ContainerSpec, ObservedState, TaskId};
use runtime::engine::{Error, StartOptions};
use runtime::signal::Signal;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_container_lives_and_nothing_is_left() {
    if !root_only() {
        return;
    }
    let host = Host::new();
    let (engine, mut events) = host.open().await;
    let task = TaskId(1);
    let mut session = engine.attach(task).await.unwrap();
    let create = host.sh(task, "echo out; echo err >&2; exit 3");
    let begun = Instant::now();
    engine.create_and_start(create, StartOptions { attempt: 7, ..StartOptions::default() }).await.unwrap();
    let (out, err, code) = collect(&mut session).await;
    eprintln!("create to end: {:?}", begun.elapsed());
    assert_eq!((out.as_str(), err.as_str(), code), ("out\n", "err\n", 3));
    let (ended, exit) = exited(&mut events).await;
    assert_eq!((ended, exit.code, exit.oom_killed), (task, 3, false));
    let list = engine.list().await;
    assert!(matches!(list[0].state, ObservedState::Exited(known) if known == exit));
    assert_eq!(list[0].attempt, 7);
    engine.remove(task, true).await.unwrap();
    engine.remove(task, true).await.unwrap();
    assert_eq!(engine.list().await, []);
    assert_eq!(
        host.leftovers().iter().filter(|line| !line.contains("nursery")).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
}
