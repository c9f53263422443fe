//! `cp`: in and out of containers that run and that do not, and what a container tries with it.

use e2e::{BUSYBOX, Host};
use std::os::unix::fs::MetadataExt as _;

fn here(host: &Host, name: &str) -> String {
    host.work().join(name).display().to_string()
}

#[test]
fn files_go_both_ways_whether_it_runs_or_not() {
    let Some(host) = Host::new() else { return };
    host.sleeper("-v data:/data --name box");
    let folder = host.work().join("folder");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("sub/file"), "to the box\n").unwrap();
    std::os::unix::fs::chown(folder.join("sub/file"), Some(1234), Some(1234)).unwrap();
    for running in [true, false] {
        if !running {
            host.sh("stop -t 0 box").ok();
        }
        let before = host.census();
        let name = if running { "up" } else { "down" };
        let to = format!("box:/data/{name}");
        host.rswarm(["cp", &here(&host, "folder"), &to]).ok();
        host.rswarm(["cp", "-q", &here(&host, "folder/sub/file"), &format!("box:/{name}")]).ok().never_says("copied");
        // A volume is seen, and a file in it comes back as it went.
        host.rswarm(["cp", &format!("{to}/sub/file"), &here(&host, name)]).ok();
        assert_eq!(std::fs::read_to_string(host.work().join(name)).unwrap(), "to the box\n");
        host.rswarm(["cp", &format!("{to}/."), &here(&host, &format!("{name}-all"))]).ok();
        assert!(host.work().join(format!("{name}-all/sub/file")).is_file());
        host.rswarm(["cp", "box:/no/such", "."]).fails().complains("there is no /no/such");
        host.rswarm(["cp", &here(&host, "folder"), "box:/no/such"]).fails().complains("there is no folder /no/");
        host.rswarm(["cp", &here(&host, "absent"), "box:/"]).fails().complains("absent");
        let after = host.census();
        for kind in ["mount", "process", "link", "cgroup"] {
            assert!(after.count(kind) <= before.count(kind), "{kind}: {:?}", after.beyond(&before));
        }
    }
    host.sh("start box").ok();
    host.rswarm(["exec", "box", "sh", "-c", "cat /data/up/sub/file /data/down/sub/file /down"])
        .ok()
        .prints("to the box\nto the box\nto the box");
    host.rswarm(["exec", "box", "stat", "-c", "%u", "/data/up/sub/file", "/down"]).ok().prints("0\n0");
    host.rswarm(["cp", "-a", &here(&host, "folder"), "box:/kept"]).ok();
    host.rswarm(["exec", "box", "stat", "-c", "%u", "/kept/sub/file"]).ok().prints("1234");
    host.rswarm(["cp", "-a", "box:/kept/sub/file", &here(&host, "kept")]).ok();
    assert_eq!(std::fs::metadata(host.work().join("kept")).unwrap().uid(), 1234);
    host.rswarm(["cp", "nobody:/x", "."]).fails().complains("no such container");
}

#[test]
fn archives_go_through_pipes() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--name one");
    host.sleeper("--name two");
    host.rswarm(["exec", "two", "mkdir", "-p", "/tmp"]).ok();
    host.rswarm(["exec", "one", "sh", "-c", "mkdir /from; echo one > /from/x; ln -s x /from/link; mkfifo /from/pipe"])
        .ok();
    let archive = host.rswarm_command(["cp", "one:/from", "-"]).output().unwrap();
    assert!(archive.status.success() && archive.stderr.is_empty(), "{archive:?}");
    let archive = archive.stdout;
    host.rswarm_with_input(["cp", "-", "two:/tmp"], &archive).ok();
    host.rswarm(["exec", "two", "sh", "-c", "cat /tmp/from/x; readlink /tmp/from/link; test -p /tmp/from/pipe"])
        .ok()
        .prints("one\nx");
    host.rswarm_with_input(["cp", "-", "two:/no/such"], &archive).fails().complains("there is no /no/such");
    host.rswarm_with_input(["cp", "-", "two:/tmp"], b"this is no archive, though it is long enough").fails();
    host.rswarm(["cp", "one:/from", "two:/"]).fails().complains("pipe");
    host.rswarm(["cp", "-L", "one:/from/link", &here(&host, "followed")]).ok();
    assert_eq!(std::fs::read_to_string(host.work().join("followed")).unwrap(), "one\n");
}

#[test]
fn a_container_leads_no_copy_out_of_itself() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--name box");
    let outside = host.work().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "host").unwrap();
    let script =
        format!("ln -s {0} /link; ln -s /proc/1/root{0} /magic; ln -s ../../../../..{0} /up", outside.display());
    host.rswarm(["exec", "box", "sh", "-c", &script]).ok();
    std::fs::write(host.work().join("new"), "new").unwrap();
    for link in ["link", "magic", "up"] {
        host.rswarm(["cp", &format!("box:/{link}/secret"), &here(&host, "got")]).fails();
        host.rswarm(["cp", &here(&host, "new"), &format!("box:/{link}/")]).fails();
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    // What is the kernel's is not in a copy of everything.
    host.rswarm(["cp", "-q", "box:/", &here(&host, "all")]).ok();
    assert_eq!(std::fs::read_dir(host.work().join("all/proc")).unwrap().count(), 0);
    assert!(host.work().join("all/bin/busybox").exists());
    host.rswarm(["run", "--rm", "--read-only", "--name", "ro", "-d", BUSYBOX, "sleep", "1000"]).ok();
    host.rswarm(["cp", &here(&host, "new"), "ro:/new"]).fails().complains("Read-only");
    host.sh("rm -f ro").ok();
}
