//! `rswarm logs`: order, limits, following, rotation.

use std::time::Duration;

use e2e::{BUSYBOX, Host, eventually, run};

#[test]
fn logs_keep_order_and_streams() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--name", "box", BUSYBOX, "sh", "-c", "seq 1 5; echo oops >&2"]).ok();
    let out = host.sh("logs box").ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("1\n2\n3\n4\n5\n", "oops\n"), "{out}");
    host.sh("logs --tail 2 box").ok().prints("5");
    host.sh("logs -n 0 box").ok().prints("");
    host.sh("logs nobody").fails().complains("nobody");
}

#[test]
fn timestamps_and_limits_in_time() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--name", "box", BUSYBOX, "sh", "-c", "echo early; sleep 1.5; echo late"]).ok();
    let stamped = host.sh("logs -t box").ok();
    let first = stamped.stdout.split_whitespace().next().unwrap().to_owned();
    assert!(first.starts_with("20") && first.ends_with('Z') && first.contains('T'), "{stamped}");
    let late = stamped.lines()[1].split_whitespace().next().unwrap().to_owned();
    host.rswarm(["logs", "--since", &late, "box"]).ok().prints("late");
    host.rswarm(["logs", "--until", &first, "box"]).ok().never_says("late");
    host.sh("logs --since 1h box").ok().prints("early\nlate");
    host.sh("logs --since yesterday-ish box").fails().complains("yesterday-ish");
}

#[test]
fn following_ends_with_the_container() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-d", "--name", "box", BUSYBOX, "sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.2; done"])
        .ok();
    let out = host.sh("logs -f box").ok();
    assert_eq!(out.text(), "1\n2\n3\n4\n5", "{out}");
}

#[test]
fn long_and_unfinished_lines_arrive_whole() {
    let Some(host) = Host::new() else { return };
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'no newline'";
    host.rswarm(["run", "--name", "box", BUSYBOX, "sh", "-c", script]).ok();
    let out = host.sh("logs box").ok();
    let lines = out.lines();
    assert_eq!((lines[0].len(), lines[1].as_str()), (100_000, "no newline"));
}

#[test]
fn rotation_keeps_the_newest_and_loses_no_line_at_the_seam() {
    let Some(host) = Host::new() else { return };
    let flags = "run --name box --log-opt max-size=20k --log-opt max-file=3".split(' ');
    host.rswarm(flags.chain([BUSYBOX, "seq", "1", "20000"])).ok();
    let lines = host.sh("logs box").ok().lines();
    let numbers: Vec<u32> = lines.iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&20_000));
    assert!(numbers.len() < 5_000, "nothing was rotated away: {} lines", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap");
}

#[test]
fn no_log_where_none_is_wanted() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--name", "box", "--log-driver", "none", BUSYBOX, "echo", "unheard"]).ok().prints("unheard");
    let out = host.sh("logs box");
    assert!(!out.stdout.contains("unheard"), "{out}");
}

#[test]
fn a_stack_is_followed_as_one_with_prefixes() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  one: {{image: {BUSYBOX}, command: sh -c 'echo from one; exec sleep 1000'}}\n  two: {{image: {BUSYBOX}, command: sh -c 'echo from two; exec sleep 1000'}}\n"
    );
    host.up("pair", &text).ok();
    eventually("both speak", Duration::from_secs(5), || {
        let out = host.sh("logs -p pair").ok().stdout;
        let has = |service: &str| {
            out.lines().any(|line| line.contains(service) && line.contains(&format!("| from {service}")))
        };
        has("one") && has("two")
    });
    host.sh("logs -p pair --no-log-prefix one").ok().prints("from one");
    host.sh("logs -p pair three").fails().complains("three");
}

#[test]
fn a_slow_reader_does_not_stop_the_container() {
    let Some(host) = Host::new() else { return };
    // nobody reads what it writes: much more than any pipe holds
    host.rswarm([
        "run",
        "-d",
        "--name",
        "box",
        "--log-opt",
        "max-size=1m",
        BUSYBOX,
        "sh",
        "-c",
        "seq 1 300000; touch /done; exec sleep 1000",
    ])
    .ok();
    eventually("it is through", Duration::from_secs(30), || host.sh("exec box test -e /done").succeeded());
    let mut command = host.rswarm_command(["logs", "--tail", "1", "box"]);
    run(&mut command).ok().prints("300000");
}
