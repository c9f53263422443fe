//! From create to remove.

use crate::support::{Host, LONG, With, collect, exited, lines, run, wait_until, words};
use model::{ContainerSpec, ObservedState, TaskId};
use runtime::engine::{ContentFile, Error, ExecCommand, Input, NetMode, Output, RuntimeEvent, StartOptions};
use runtime::logs::LogQuery;
use runtime::signal::Signal;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TASK: TaskId = TaskId(1);

pub(crate) async fn a_container_lives_and_nothing_is_left(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, mut events) = host.open().await;
    let mut session = engine.attach(TASK).await.unwrap();
    let create = host.sh(TASK, "echo out; echo err >&2; exit 3");
    let begun = Instant::now();
    engine.create_and_start(create, StartOptions { attempt: 7, ..StartOptions::default() }).await.unwrap();
    let (out, err, code) = collect(&mut session).await;
    eprintln!("create to end: {:?}", begun.elapsed());
    assert_eq!((out.as_str(), err.as_str(), code), ("out\n", "err\n", 3));
    let (ended, exit) = exited(&mut events).await;
    assert_eq!((ended, exit.code, exit.oom_killed), (TASK, 3, false));
    let list = engine.list().await;
    assert!(matches!(list[0].state, ObservedState::Exited(known) if known == exit));
    assert_eq!(list[0].attempt, 7);
    assert!(matches!(engine.create(host.sh(TASK, "true")).await, Err(Error::Exists(_))));
    assert!(matches!(engine.attach(TASK).await, Err(Error::NotRunning(_))));
    // Started again, and seen from the first byte.
    let mut session = engine.attach_next(TASK).await.unwrap();
    engine.start(TASK, StartOptions { attempt: 8, restarts: 1, ..StartOptions::default() }).await.unwrap();
    assert_eq!(collect(&mut session).await.0, "out\n");
    assert_eq!(exited(&mut events).await.1.code, 3);
    assert_eq!(engine.list().await[0].restart_count, 1);
    assert_eq!(lines(&engine, TASK, LogQuery::default()).await.len(), 4);
    engine.remove(TASK, true).await.unwrap();
    engine.remove(TASK, true).await.unwrap();
    assert_eq!(engine.list().await, []);
    host.assert_clean().await;
}

pub(crate) async fn what_cannot_run_says_why_and_leaves_nothing(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let plain = |command: &[&str]| ContainerSpec { command: Some(words(command)), ..ContainerSpec::default() };
    let cases = [
        (plain(&["nope"]), 127),
        (plain(&["/etc/passwd"]), 126),
        (plain(&["/nope/nope"]), 127),
        (ContainerSpec { user: Some("nobody-here".to_owned()), ..plain(&["true"]) }, 125),
        (ContainerSpec { cap_add: words(&["NOPE"]), ..plain(&["true"]) }, 125),
        (plain(&[]), 125),
    ];
    for (container, code) in cases {
        let said = format!("{:?}", container.command);
        let started = engine.create_and_start(host.with(TASK, container), StartOptions::default()).await;
        let Err(Error::Rejected { exit_code, message }) = started else { panic!("{said}: {started:?}") };
        assert_eq!(exit_code, code, "{said}: {message}");
        assert!(matches!(engine.list().await.first().map(|seen| &seen.state), None | Some(ObservedState::Created)));
        // One that never ran is replaced.
        engine.create(host.sh(TASK, "true")).await.unwrap();
        engine.remove(TASK, true).await.unwrap();
    }
    host.assert_clean().await;
}

pub(crate) async fn stopping_asks_first_and_then_kills(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    assert!(matches!(engine.stop(TASK, Signal::TERM, LONG).await, Err(Error::NotFound(_))));
    engine.create(host.sh(TASK, "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done")).await.unwrap();
    assert!(matches!(engine.stop(TASK, Signal::TERM, LONG).await, Err(Error::NotRunning(_))));
    engine.start(TASK, StartOptions::default()).await.unwrap();
    assert!(matches!(engine.start(TASK, StartOptions::default()).await, Err(Error::Running(_))));
    wait_until(&engine, TASK, "ready").await;
    let exit = engine.stop(TASK, Signal::TERM, LONG).await.unwrap();
    assert_eq!(exit.code, 9);
    assert_eq!(engine.stop(TASK, Signal::TERM, LONG).await.unwrap(), exit);
    engine.remove(TASK, true).await.unwrap();
    // PID 1 without a handler ignores TERM; frozen it would not even see KILL on cgroup v1.
    engine.create_and_start(host.sh(TASK, "sleep 1000"), StartOptions::default()).await.unwrap();
    engine.pause(TASK).await.unwrap();
    let begun = Instant::now();
    let exit = engine.stop(TASK, Signal::TERM, Duration::from_millis(200)).await.unwrap();
    assert_eq!(exit.code, 137);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn frozen_and_thawed(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, mut events) = host.open().await;
    assert!(matches!(engine.pause(TASK).await, Err(Error::NotRunning(_))));
    let script = "while :; do date +%s%N >> /tmp/ticks; sleep 0.02; done";
    engine.create_and_start(host.sh(TASK, script), StartOptions::default()).await.unwrap();
    engine.pause(TASK).await.unwrap();
    assert_eq!(events.recv().await, Some(RuntimeEvent::Paused { task: TASK, paused: true }));
    assert!(matches!(engine.list().await[0].state, ObservedState::Running { paused: true, .. }));
    let ticks = engine.inspect(TASK).await.unwrap().upper.join("tmp/ticks");
    let size = || std::fs::metadata(&ticks).map_or(0, |metadata| metadata.len());
    let before = size();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(size(), before);
    engine.unpause(TASK).await.unwrap();
    assert_eq!(events.recv().await, Some(RuntimeEvent::Paused { task: TASK, paused: false }));
    let until = Instant::now() + LONG;
    while size() == before && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(size() > before);
    engine.pause(TASK).await.unwrap();
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn input_output_and_half_closed(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let container = ContainerSpec {
        command: Some(words(&["sh", "-c", "cat; echo end"])),
        stdin_open: true,
        ..ContainerSpec::default()
    };
    let mut session = engine.attach(TASK).await.unwrap();
    engine.create_and_start(host.with(TASK, container), StartOptions::default()).await.unwrap();
    let big = vec![b'x'; 3_000_000];
    let input = session.input.clone();
    let sent = big.clone();
    let sender = tokio::spawn(async move {
        for piece in sent.chunks(10_000) {
            input.send(Input::Stdin(piece.to_vec())).await.unwrap();
        }
        input.send(Input::StdinEof).await.unwrap();
    });
    let (out, _, code) = collect(&mut session).await;
    sender.await.unwrap();
    assert_eq!(code, 0);
    assert_eq!(out.len(), big.len() + 4);
    assert!(out.ends_with("xend\n"));
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn a_terminal_has_a_size_and_signals(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let script = "tty; stty size; trap 'stty size; exit 4' WINCH; echo go; while :; do sleep 0.05; done";
    let container = ContainerSpec {
        command: Some(words(&["sh", "-c", script])),
        tty: true,
        stdin_open: true,
        ..ContainerSpec::default()
    };
    let mut session = engine.attach(TASK).await.unwrap();
    let options = StartOptions { size: Some((33, 101)), ..StartOptions::default() };
    engine.create_and_start(host.with(TASK, container), options).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("go") {
        match tokio::time::timeout(LONG, session.output.recv()).await.unwrap() {
            Some(Output::Stdout(data)) => seen.push_str(&String::from_utf8_lossy(&data)),
            other => panic!("{other:?} after {seen}"),
        }
    }
    assert!(seen.contains("33 101"), "{seen}");
    engine.resize(TASK, 44, 55).await.unwrap();
    let (rest, _, code) = collect(&mut session).await;
    assert!(rest.contains("44 55"), "{rest}");
    assert_eq!(code, 4);
    engine.remove(TASK, true).await.unwrap();
    // ^C reaches the foreground.
    let container = ContainerSpec {
        command: Some(words(&["cat"])),
        tty: true,
        stdin_open: true,
        init: true,
        ..ContainerSpec::default()
    };
    let mut session = engine.attach(TASK).await.unwrap();
    engine.create_and_start(host.with(TASK, container), StartOptions::default()).await.unwrap();
    session.input.send(Input::Stdin(b"hello\n".to_vec())).await.unwrap();
    let mut seen = String::new();
    // Once by the terminal, once by cat: ^C would take away what waits.
    while seen.matches("hello").count() < 2 {
        match tokio::time::timeout(LONG, session.output.recv()).await.unwrap() {
            Some(Output::Stdout(data)) => seen.push_str(&String::from_utf8_lossy(&data)),
            other => panic!("{other:?} after {seen}"),
        }
    }
    session.input.send(Input::Stdin(b"\x03".to_vec())).await.unwrap();
    let (_, _, code) = collect(&mut session).await;
    assert_eq!(code, 130);
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn commands_run_inside(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let command = |argv: &[&str]| ExecCommand { argv: words(argv), ..ExecCommand::default() };
    assert!(matches!(engine.exec(TASK, command(&["true"])).await, Err(Error::NotRunning(_))));
    engine.create_and_start(host.sh(TASK, "sleep 1000"), StartOptions::default()).await.unwrap();
    let mut session = engine
        .exec(
            TASK,
            ExecCommand {
                env: words(&["A=b"]),
                user: Some("web".to_owned()),
                working_dir: Some("/srv".to_owned()),
                ..command(&["sh", "-c", "id -u; id -G; pwd; echo $A $HOME; echo err >&2; exit 5"])
            },
        )
        .await
        .unwrap();
    let (out, err, code) = collect(&mut session).await;
    assert_eq!((out.as_str(), err.as_str(), code), ("33\n34 4\n/srv\nb /srv\n", "err\n", 5));
    for (argv, code) in [(&["nope"], 127), (&["/etc/passwd"], 126)] {
        let refused = engine.exec(TASK, command(argv)).await;
        assert!(matches!(refused, Err(Error::Rejected { exit_code, .. }) if exit_code == code), "{refused:?}");
    }
    let mut cat = engine.exec(TASK, ExecCommand { stdin: true, ..command(&["cat"]) }).await.unwrap();
    cat.input.send(Input::Stdin(b"through".to_vec())).await.unwrap();
    cat.input.send(Input::StdinEof).await.unwrap();
    assert_eq!(collect(&mut cat).await, ("through".to_owned(), String::new(), 0));
    // a program that is an OCI runtime may let it begin before its terminal has the size
    let late = ["sh", "-c", "until [ \"$(stty size)\" = '10 20' ]; do sleep 0.1; done 2> /dev/null; stty size"];
    let show: &[&str] = if matches!(with, With::Program(_)) { &late } else { &["stty", "size"] };
    let tty = ExecCommand { tty: true, stdin: true, size: Some((10, 20)), ..command(show) };
    let mut session = engine.exec(TASK, tty).await.unwrap();
    assert_eq!(collect(&mut session).await.0.trim(), "10 20");
    let mut sleeper = engine.exec(TASK, command(&["sleep", "1000"])).await.unwrap();
    sleeper.input.send(Input::Signal(Signal::KILL)).await.unwrap();
    assert_eq!(collect(&mut sleeper).await.2, 137);
    let mut detached =
        engine.exec(TASK, ExecCommand { detach: true, ..command(&["touch", "/tmp/detached"]) }).await.unwrap();
    assert_eq!(collect(&mut detached).await.2, 0);
    let file = engine.inspect(TASK).await.unwrap().upper.join("tmp/detached");
    let until = Instant::now() + LONG;
    while !file.exists() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(file.exists());
    // An exec that is under way ends with the container.
    let mut last = engine.exec(TASK, command(&["sleep", "1000"])).await.unwrap();
    engine.kill(TASK, Signal::KILL).await.unwrap();
    assert_eq!(collect(&mut last).await.2, 137);
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn probes_and_all_that_they_started_end_in_time(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    assert_eq!(engine.probe(TASK, words(&["true"]), LONG).await.exit_code, -1);
    engine.create_and_start(host.sh(TASK, "sleep 1000"), StartOptions::default()).await.unwrap();
    let good = engine.probe(TASK, words(&["sh", "-c", "echo fine; echo so so >&2"]), LONG).await;
    assert_eq!((good.exit_code, good.timed_out), (0, false));
    assert!(good.output.contains("fine\n") && good.output.contains("so so\n"), "{good:?}");
    assert_eq!(engine.probe(TASK, words(&["sh", "-c", "exit 1"]), LONG).await.exit_code, 1);
    assert_eq!(engine.probe(TASK, words(&["nope"]), LONG).await.exit_code, 127);
    let long = engine.probe(TASK, words(&["sh", "-c", "yes | head -c 100000"]), LONG).await;
    assert_eq!((long.exit_code, long.output.len()), (0, 4096));
    let before = engine.top(TASK).await.unwrap().len();
    let script = "setsid sh -c 'setsid sleep 2000 & setsid sleep 2000' & sleep 2000";
    let begun = Instant::now();
    let slow = engine.probe(TASK, words(&["sh", "-c", script]), Duration::from_millis(400)).await;
    assert!(slow.timed_out && slow.exit_code == -1, "{slow:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(engine.top(TASK).await.unwrap().len(), before);
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn counters_and_processes(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    assert!(matches!(engine.stats(TASK).await, Err(Error::NotRunning(_))));
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; sleep 1000";
    let mut create = host.sh(TASK, script);
    Arc::make_mut(&mut create.spec).resources.limit_memory = Some(64 << 20);
    engine.create_and_start(create, StartOptions::default()).await.unwrap();
    wait_until(&engine, TASK, "done").await;
    let stats = engine.stats(TASK).await.unwrap();
    assert!(stats.cpu_ns > 0 && stats.memory > 0 && stats.pids >= 1, "{stats:?}");
    assert_eq!(stats.memory_limit, Some(64 << 20));
    // From one program to the next a process has no command line for a moment, only a name.
    let deadline = Instant::now() + LONG;
    let top = loop {
        let top = engine.top(TASK).await.unwrap();
        if top.iter().any(|process| process.command.contains("sleep 1000")) {
            break top;
        }
        assert!(Instant::now() < deadline, "{top:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let begun = top[0].started.0.abs_diff(jiff::Timestamp::now().as_millisecond().unsigned_abs());
    assert!(begun < 60_000, "{top:?}");
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn memory_runs_out(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, mut events) = host.open().await;
    let mut create = host.sh(TASK, "exec tail /dev/zero");
    Arc::make_mut(&mut create.spec).resources.limit_memory = Some(16 << 20);
    engine.create_and_start(create, StartOptions::default()).await.unwrap();
    let mut oom = false;
    let exit = loop {
        match tokio::time::timeout(LONG, events.recv()).await.unwrap().unwrap() {
            RuntimeEvent::Oom { .. } => oom = true,
            RuntimeEvent::Exited { exit, .. } => break exit,
            RuntimeEvent::Paused { .. } => {}
        }
    };
    assert!(oom && exit.oom_killed && exit.code == 137, "{exit:?}");
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn secrets_are_in_memory_only_and_have_to_be_given_again_once_lost(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let file = |data: &str| ContentFile {
        target: "/run/secrets/word".to_owned(),
        data: Arc::new(data.as_bytes().to_vec()),
        uid: 33,
        gid: 34,
        mode: 0o400,
        secret: true,
    };
    let mut create = host
        .sh(TASK, "cat /run/secrets/word; stat -c '%u %g %a' /run/secrets/word; echo x > /run/secrets/word || exit 6");
    create.files = vec![file("xyzzy-plugh")];
    let mut session = engine.attach(TASK).await.unwrap();
    engine.create_and_start(create, StartOptions::default()).await.unwrap();
    let (out, _, code) = collect(&mut session).await;
    assert_eq!((out.as_str(), code), ("xyzzy-plugh33 34 400\n", 6));
    for entry in std::fs::read_dir(host.root.path().join("data/containers").join(TASK.to_string())).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!content.windows(5).any(|window| window == b"xyzzy") || content.starts_with(b"{\"log\""));
    }
    let session = engine.attach_next(TASK).await.unwrap();
    engine.start(TASK, StartOptions { files: Some(vec![file("second")]), ..StartOptions::default() }).await.unwrap();
    let mut session = session;
    assert!(collect(&mut session).await.0.starts_with("second33"));
    std::fs::remove_dir_all(host.root.path().join("run/files").join(TASK.to_string())).unwrap();
    assert!(matches!(engine.start(TASK, StartOptions::default()).await, Err(Error::FilesMissing(_))));
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn a_slow_reader_is_dropped_and_the_log_is_whole(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, mut events) = host.open().await;
    // Nobody ever reads from this session.
    let session = engine.attach(TASK).await.unwrap();
    let script = "i=0; while [ $i -lt 40 ]; do seq 1 20000; i=$((i+1)); done";
    engine.create_and_start(host.sh(TASK, script), StartOptions::default()).await.unwrap();
    let (_, exit) = exited(&mut events).await;
    assert_eq!(exit.code, 0);
    assert_eq!(lines(&engine, TASK, LogQuery::default()).await.len(), 800_000);
    drop(session);
    engine.remove(TASK, true).await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn a_network_namespace_is_joined(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let netns = host.netns();
    let mut create = host.sh(
        TASK,
        "cut -d: -f1 /proc/net/dev | tail -n +3; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /etc/hosts",
    );
    create.net = NetMode::Path(netns.path());
    let (out, err, code) = run(&engine, create).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("lo\n0\n") && out.contains("10.9.8.7\telsewhere\n"), "{out}");
    drop(netns);
    host.assert_clean().await;
}
