//! A machine that is no node manages the cluster: over TLS with a certificate of its own, and by way of ssh.

use e2e::{BUSYBOX, Host, Lab, Pty, binary, eventually, run, run_with_input};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// `rswarm` as somebody types it on that machine, with contexts of its own.
fn laptop(host: &Host, words: &str) -> Command {
    let mut command = host.command(binary());
    command.env("RSWARM_CONFIG", host.work().join("config")).args(words.split_whitespace());
    command
}

/// Two managers, and a machine beside them.
fn lab() -> Option<Lab> {
    let lab = Lab::new(3)?;
    lab.hosts[0].rswarm(["init", "--advertise-addr", &Lab::address(0)]).ok();
    lab.join(1, "manager").ok();
    lab.all_ready(2);
    Some(lab)
}

/// All that needs more than a question and an answer.
fn uses(lab: &Lab, here: &Host) {
    let rswarm = |words: &str| run(&mut laptop(here, words));
    let text = format!(
        "services:\n  web:\n    image: {BUSYBOX}\n    command: sh -c 'echo said; exec sleep 10000'\n    \
         deploy: {{mode: global}}\n    stop_grace_period: 0s\n"
    );
    let file = here.write("shop.yaml", &text);
    rswarm(&format!("up -d -p shop -f {file}")).ok();
    eventually("it runs on both", SOON, || lab.places(0, "shop_web") == ["host1", "host2"]);
    let names = rswarm("ps --format {{.Names}}").ok().lines();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in &names {
        eventually("what it said", SOON, || rswarm(&format!("logs {name}")).stdout.contains("said"));
        run_with_input(&mut laptop(here, &format!("exec -i {name} cat")), b"there and back")
            .ok()
            .prints("there and back");
        rswarm(&format!("exec {name} false")).exits(1);
        let mut typed = Pty::spawn(&mut laptop(here, &format!("exec -it {name} sh")));
        typed.send("echo $((40 + 2))\n");
        typed.expect("42");
        typed.send("exit 5\n");
        assert_eq!(typed.wait(), 5);
        here.write("in.txt", "copied");
        rswarm(&format!("cp in.txt {name}:/tmp/in.txt")).ok();
        rswarm(&format!("cp {name}:/tmp/in.txt out.txt")).ok();
        assert_eq!(std::fs::read_to_string(here.work().join("out.txt")).unwrap(), "copied");
    }
    rswarm("down -p shop").ok();
}

#[test]
fn a_laptop_manages_the_cluster_over_tls_until_it_is_removed() {
    let Some(lab) = lab() else { return };
    let here = &lab.hosts[2];
    let rswarm = |words: &str| run(&mut laptop(here, words));
    let address = format!("tcp://{}:2377", Lab::address(0));
    rswarm(&format!("-H {address} ps")).fails().complains("wants a certificate");

    let made = lab.hosts[0].sh("ca client create --ttl 1h laptop").ok();
    run_with_input(&mut laptop(here, "context import prod -"), made.stdout.as_bytes()).ok();
    let mode = here.work().join("config/contexts/prod.json").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    rswarm("context use prod").ok();
    rswarm("node ls --format {{.Hostname}}").ok().prints("host1\nhost2").complains("ends in About an hour");
    rswarm(&format!("-H {address} node ls -q")).ok();
    uses(&lab, here);

    // Any manager will do.
    lab.hosts[0].stop_daemon();
    rswarm("version --format {{.Server.Version}}").ok();
    lab.hosts[0].start_daemon();
    lab.all_ready(2);

    // A connection that is open when it is removed breaks.
    let mut events = laptop(here, "events").stdout(std::process::Stdio::null()).spawn().unwrap();
    lab.hosts[1].sh("ca client ls --format {{.Name}}").ok().prints("laptop");
    lab.hosts[1].sh("ca client rm laptop").ok();
    eventually("the connection breaks", SOON, || events.try_wait().unwrap().is_some());
    eventually("both refuse it", SOON, || {
        (0..2).all(|index| rswarm(&format!("-H tcp://{} ps", Lab::address(index))).stderr.contains("not let in"))
    });
    rswarm("context rm prod").fails();
    rswarm("context rm -f prod").ok();
    rswarm("context show").ok().prints("default");
}

#[test]
fn a_laptop_manages_the_cluster_by_way_of_ssh() {
    let Some(lab) = lab() else { return };
    let (here, there) = (&lab.hosts[2], lab.hosts[0].socket());
    // What ssh does but for the way: options, a host, and a shell that reads the rest.
    let ssh =
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\necho \"to $2\" >> ssh.log\nshift 2\nexec sh -c \"$*\"\n";
    let script = here.write("bin/ssh", ssh);
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", here.work().join("bin").display(), binary().parent().unwrap().display());
    let rswarm = |words: &str| run(laptop(here, words).env("PATH", &path));
    let url = format!("ssh://root@host1{}", there.display());
    rswarm(&format!("-H {url} node ls --format {{{{.Hostname}}}}")).ok().prints("host1\nhost2");
    rswarm("-H ssh://host1/nowhere ps").fails().complains("no daemon answers at");

    // A certificate for a key that is made here, and from then on TLS.
    rswarm(&format!("context create prod --certificate-from {url} --client me")).ok();
    std::fs::remove_file(here.work().join("ssh.log")).unwrap();
    rswarm("--context prod node ls -q").ok();
    assert!(!here.work().join("ssh.log").exists(), "that went over TLS");
    lab.hosts[0].sh("ca client ls --format {{.Name}}").ok().prints("me");

    rswarm(&format!("context create far --docker host={url}")).ok();
    rswarm("context use far").ok();
    let name = rswarm(&format!("run -d --name far {BUSYBOX} sleep 10000")).ok();
    assert_eq!(name.lines().len(), 1);
    let exec = run_with_input(laptop(here, "exec -i far cat").env("PATH", &path), b"there and back");
    exec.ok().prints("there and back");
    let mut typed = Pty::spawn(laptop(here, "exec -it far sh").env("PATH", &path));
    typed.send("echo $((40 + 2)); exit 5\n");
    typed.expect("42");
    assert_eq!(typed.wait(), 5);
    rswarm("rm -f far").ok();
}
