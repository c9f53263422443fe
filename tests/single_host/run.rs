//! `rswarm run` in the foreground and the background: exit codes, streams, flags.

use std::time::Duration;

use e2e::{BUSYBOX, Host, eventually};

#[test]
fn the_exit_code_is_the_containers() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--rm", BUSYBOX, "true"]).ok();
    host.rswarm(["run", "--rm", BUSYBOX, "sh", "-c", "exit 7"]).exits(7);
    host.rswarm(["run", "--rm", BUSYBOX, "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).exits(137);
}

#[test]
fn what_cannot_start_has_dockers_exit_codes() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--rm", BUSYBOX, "no-such-program"]).exits(127).complains("no-such-program");
    host.rswarm(["run", "--rm", BUSYBOX, "/etc/passwd"]).exits(126).complains("/etc/passwd");
    host.rswarm(["run", "--rm", "--pull", "never", "no/such:image", "true"]).exits(125).complains("no/such:image");
    host.rswarm(["run", "--rm", "--memory", "a lot", BUSYBOX, "true"]).fails().complains("a lot");
    host.rswarm(["run", "--rm", "--memory", "1k", BUSYBOX, "true"]).exits(125).complains("the least is 6 MiB");
    host.rswarm(["run", "--rm", "-v", "/etc/passwd:/etc", BUSYBOX, "true"]).exits(125).complains("is a folder");
    // what never ran is gone when the command says so
    let no_source = "type=bind,source=/no/such/folder,target=/x";
    host.rswarm(["run", "--rm", "--mount", no_source, BUSYBOX, "true"]).exits(125).complains("/no/such/folder");
    host.sh("ps -a -q").prints("");
    // without --rm it stays, and says why it does not run
    host.rswarm(["run", "--name", "stuck", "--restart", "always", "--mount", no_source, BUSYBOX, "true"]).exits(125);
    host.sh("ps -a --format {{.Status}}").prints("Created (bind source path does not exist: /no/such/folder)");
    host.sh("start stuck").exits(1).complains("/no/such/folder");
    host.sh("rm stuck").ok();
    // the same where it ran before: no further start, and the reason
    let source = host.work().join("source");
    std::fs::create_dir(&source).unwrap();
    let mount = format!("type=bind,source={},target=/x", source.display());
    let words = ["run", "-d", "--name", "once", "--restart", "always", "--mount", &mount, BUSYBOX, "sleep", "0.2"];
    host.rswarm(words).ok();
    std::fs::remove_dir(&source).unwrap();
    eventually("it says why it is not started again", Duration::from_secs(5), || {
        let status = host.sh("ps -a --format {{.Status}}").ok().text();
        status.starts_with("Exited (125)") && status.contains("bind source path does not exist")
    });
    host.sh("rm once").ok();
    host.sh("ps -a -q").prints("");
}

#[test]
fn streams_are_kept_apart_and_complete() {
    let Some(host) = Host::new() else { return };
    let out = host.rswarm(["run", "--rm", BUSYBOX, "sh", "-c", "echo to out; echo to err >&2"]).ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("to out\n", "to err\n"), "{out}");
    let many = host.rswarm(["run", "--rm", BUSYBOX, "seq", "100000"]).ok();
    assert_eq!(many.stdout.lines().count(), 100_000);
    assert_eq!(many.stdout.lines().last(), Some("100000"));
}

#[test]
fn stdin_reaches_the_container_and_its_end_too() {
    let Some(host) = Host::new() else { return };
    let input = "one\ntwo\n".repeat(10_000);
    let out = host.rswarm_with_input(["run", "--rm", "-i", BUSYBOX, "wc", "-l"], input.as_bytes()).ok();
    assert_eq!(out.text(), "20000");
    // without -i there is no input, and nothing waits for it
    host.rswarm_with_input(["run", "--rm", BUSYBOX, "wc", "-l"], b"one\n").ok().prints("0");
}

#[test]
fn environment_folder_user_entrypoint_and_names() {
    let Some(host) = Host::new() else { return };
    host.write("vars", "FROM_FILE=yes\n# comment\nBOTH=file\n");
    let script = "echo $FROM_FILE $BOTH $HOME; pwd; id -u; id -g; hostname";
    let flags = "run --rm --env-file vars -e BOTH=flag -w /tmp -u nobody:www --hostname box";
    let words = flags.split(' ').chain([BUSYBOX, "sh", "-c", script]);
    host.rswarm(words).ok().prints("yes flag /\n/tmp\n65534\n82\nbox");
    host.rswarm(["run", "--rm", "--entrypoint", "echo", BUSYBOX, "said", "by", "echo"]).ok().prints("said by echo");
    host.rswarm(["run", "--rm", "--add-host", "other:10.1.2.3", BUSYBOX, "cat", "/etc/hosts"]).ok().says("10.1.2.3");
    host.rswarm(["run", "--rm", "-u", "stranger", BUSYBOX, "true"]).fails().complains("stranger");
}

#[test]
fn a_variable_without_value_comes_from_the_callers_environment() {
    let Some(host) = Host::new() else { return };
    let mut command = host.rswarm_command(["run", "--rm", "-e", "FROM_CALLER", "-e", "UNSET", BUSYBOX, "env"]);
    let out = e2e::run(command.env("FROM_CALLER", "yes")).ok();
    assert!(out.lines().contains(&"FROM_CALLER=yes".to_owned()), "{out}");
    assert!(!out.stdout.contains("UNSET"), "{out}");
}

#[test]
fn detached_prints_the_id_and_names_are_unique() {
    let Some(host) = Host::new() else { return };
    let id = host.sleeper("--name one");
    assert!(id.len() >= 12 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    host.rswarm(["run", "-d", "--name", "one", BUSYBOX, "true"]).exits(125).complains("one");
    host.sh("inspect one").ok().says(&id);
    host.rswarm(["inspect", &id[..12]]).ok().says(&id);
    // a name that nobody chose is two words
    let unnamed = host.sleeper("");
    let name = host.inspect(&unnamed, "{{.Name}}");
    assert!(name.trim_start_matches('/').contains('_'), "{name}");
}

#[test]
fn rm_leaves_nothing_and_without_it_the_container_stays() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--rm", "-d", BUSYBOX, "true"]).ok();
    eventually("an ended --rm container is gone", Duration::from_secs(10), || {
        host.sh("ps -a -q").ok().text().is_empty()
    });
    host.rswarm(["run", "--name", "stays", BUSYBOX, "sh", "-c", "exit 3"]).exits(3);
    assert_eq!(host.inspect("stays", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
}

#[test]
fn signals_to_the_client_reach_the_container() {
    let Some(host) = Host::new() else { return };
    let script = "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = host.rswarm_command(["run", "--rm", "--name", "trapper", BUSYBOX, "sh", "-c", script]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    eventually("it is ready", Duration::from_secs(10), || host.sh("logs trapper").stdout.contains("ready"));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(5));
}

#[test]
fn an_init_reaps_and_forwards() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-d", "--init", "--name", "init", BUSYBOX, "sh", "-c", "sleep 1000 & wait"]).ok();
    // PID 1 ignores TERM unless it has a handler; behind an init the shell is not PID 1 and dies at once
    let stop = host.sh("stop -t 10 init").ok();
    assert!(stop.took < Duration::from_secs(5), "{stop}");
}

#[test]
fn a_read_only_root_a_tmpfs_and_shm() {
    let Some(host) = Host::new() else { return };
    let script = "touch /x 2>/dev/null && echo writable; touch /scratch/x && echo scratch; df -k /dev/shm | tail -1";
    let words = "run --rm --read-only --tmpfs /scratch:size=1m --shm-size 8m".split(' ');
    let out = host.rswarm(words.chain([BUSYBOX, "sh", "-c", script])).ok();
    assert!(!out.stdout.contains("writable") && out.stdout.contains("scratch") && out.stdout.contains("8192"), "{out}");
}

#[test]
fn the_id_is_written_where_asked() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-d", "--cidfile", "id", BUSYBOX, "sleep", "1000"]).ok();
    let id = std::fs::read_to_string(host.work().join("id")).unwrap();
    host.rswarm(["inspect", id.trim()]).ok();
}

#[test]
fn an_unknown_flag_is_answered_with_the_nearest() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--memroy", "1g", BUSYBOX]).fails().complains("--memory");
    host.rswarm(["runn"]).fails().complains("run");
}
