//! Logs of running containers.

use crate::support::{Host, LONG, With, lines, wait_until, words};
use model::{ContainerSpec, Logging, TaskId};
use runtime::engine::{Error, StartOptions};
use runtime::logs::{LogQuery, LogStream};
use std::collections::BTreeMap;
use std::time::Duration;

const TASK: TaskId = TaskId(2);

fn rotated(script: &str, compress: &str) -> ContainerSpec {
    let options =
        [("max-size", "20k"), ("max-file", "50"), ("compress", compress), ("tag", "{{.Name}} of {{.ImageName}}")];
    ContainerSpec {
        command: Some(words(&["sh", "-c", script])),
        logging: Logging {
            driver: None,
            options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        },
        ..ContainerSpec::default()
    }
}

pub(crate) async fn followed_while_files_are_exchanged(with: With) {
    for compress in ["false", "true"] {
        followed(with, compress).await;
    }
}

async fn followed(with: With, compress: &str) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let script =
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.01; done; true";
    engine.create_and_start(host.with(TASK, rotated(script, compress)), StartOptions::default()).await.unwrap();
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let (first, second) = tokio::join!(lines(&engine, TASK, query.clone()), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        lines(&engine, TASK, query.clone()).await
    });
    let want: Vec<String> = (0..3000).map(|number| format!("line {number}")).collect();
    assert!(first == want, "{} lines, last {:?}", first.len(), first.last());
    assert!(second == want, "{} lines, last {:?}", second.len(), second.last());
    let folder = engine.inspect(TASK).await.unwrap().folder;
    let files = std::fs::read_dir(&folder).unwrap().flatten();
    let count = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("log.json")).count();
    assert!(count > 5, "{count} files");
    let packed = std::fs::read_dir(&folder).unwrap().flatten();
    let packed = packed.filter(|entry| entry.file_name().to_string_lossy().ends_with(".gz")).count();
    assert_eq!(
        packed,
        if compress == "true" { count - 1 } else { 0 },
        "all but the newest, once the container has ended"
    );
    let newest = std::fs::read_to_string(folder.join("log.json")).unwrap();
    assert!(newest.starts_with(r#"{"attrs":{"tag":""#), "{newest}");
    let tail = lines(&engine, TASK, LogQuery { tail: Some(700), ..LogQuery::default() }).await;
    assert!(tail == want[2300..], "{} lines, first {:?}", tail.len(), tail.first());
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn streams_times_and_the_end_of_following(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let create = host.sh(TASK, "echo one; sleep 0.3; echo two >&2; sleep 0.3; printf three; sleep 1000");
    engine.create_and_start(create, StartOptions::default()).await.unwrap();
    wait_until(&engine, TASK, "two").await;
    let mut all = engine.logs(TASK, LogQuery { follow: true, ..LogQuery::default() }).await.unwrap();
    let one = tokio::time::timeout(LONG, all.recv()).await.unwrap().unwrap();
    let two = tokio::time::timeout(LONG, all.recv()).await.unwrap().unwrap();
    assert_eq!((one.stream, two.stream), (LogStream::Stdout, LogStream::Stderr));
    assert!(two.time_ns - one.time_ns >= 200_000_000);
    let since = LogQuery { since_ns: Some(two.time_ns), ..LogQuery::default() };
    assert_eq!(lines(&engine, TASK, since).await, ["two"]);
    let until = LogQuery { until_ns: Some(one.time_ns), follow: true, ..LogQuery::default() };
    let mut until = engine.logs(TASK, until).await.unwrap();
    assert_eq!(tokio::time::timeout(LONG, until.recv()).await.unwrap().unwrap().line, "one");
    assert_eq!(tokio::time::timeout(LONG, until.recv()).await.unwrap(), None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Removal ends it; what had no newline is not lost before.
    let following = tokio::spawn(async move {
        let mut last = None;
        while let Some(record) = all.recv().await {
            last = Some(record);
        }
        last
    });
    engine.stop(TASK, runtime::signal::Signal::KILL, LONG).await.unwrap();
    let last = tokio::time::timeout(LONG, following).await.unwrap().unwrap().unwrap();
    assert_eq!((last.line.as_str(), last.newline), ("three", false));
    engine.remove(TASK, true).await.unwrap();
    assert!(matches!(engine.logs(TASK, LogQuery::default()).await, Err(Error::NotFound(_))));
    host.assert_clean().await;
}

pub(crate) async fn a_driver_that_keeps_nothing(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, mut events) = host.open().await;
    let none = |driver: &str| ContainerSpec {
        command: Some(words(&["echo", "hi"])),
        logging: Logging { driver: Some(driver.to_owned()), options: BTreeMap::new() },
        ..ContainerSpec::default()
    };
    engine.create_and_start(host.with(TASK, none("none")), StartOptions::default()).await.unwrap();
    crate::support::exited(&mut events).await;
    assert!(matches!(engine.logs(TASK, LogQuery::default()).await, Err(Error::Rejected { .. })));
    assert_eq!(engine.inspect(TASK).await.unwrap().log, None);
    engine.remove(TASK, true).await.unwrap();
    assert!(matches!(engine.create(host.with(TASK, none("syslog"))).await, Err(Error::Rejected { .. })));
    host.assert_clean().await;
}
