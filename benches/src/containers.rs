//! One container, from the command to its end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, binary, make_layout, rootfs_tar};

use crate::Lab;
use crate::table::{Bar, Table};

const ROUNDS: usize = 21;

/// `run --rm IMAGE true`.
pub(crate) fn run(lab: &Lab, table: &mut Table) {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(timed(&mut lab.ours.rswarm_command(["run", "--rm", BUSYBOX, "true"])));
        peer.extend(lab.docker.as_ref().map(|docker| timed(&mut docker.command(&["run", "--rm", BUSYBOX, "true"]))));
    }
    table.times("run --rm true", &ours, &peer, Bar::Times(8.0));
}

/// create, start, delete of a bundle: the built-in runtime beside crun.
pub(crate) fn oci(lab: &Lab, table: &mut Table) {
    let layout = make_layout(&lab.ours, "oci-layout", |rootfs| {
        e2e::run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
    });
    let bundle = lab.ours.work().join("oci-bundle");
    e2e::run(Command::new("umoci").args(["unpack", "--image", &format!("{layout}:latest")]).arg(&bundle)).ok();
    let config = std::fs::read_to_string(bundle.join("config.json")).unwrap();
    // umoci asks for a terminal and a shell
    let config = config.replace("\"terminal\": true", "\"terminal\": false").replace("\"/bin/sh\"", "\"/bin/true\"");
    std::fs::write(bundle.join("config.json"), config).unwrap();
    // crun refuses machines where both versions of cgroups have controllers
    let works = |name: &str| {
        life(&[name.into()], &lab.ours.work().join("trial"), &bundle, &format!("{}-t", lab.ours.cgroup())).is_some()
    };
    let name = if works("crun") { "crun" } else { "runc" };
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let id = format!("{}-{round}", lab.ours.cgroup());
        ours.extend(life(&[binary(), "oci".into()], &lab.ours.work().join("oci-state"), &bundle, &id));
        peer.extend(life(&[name.into()], &lab.ours.work().join("peer-state"), &bundle, &id));
    }
    assert_eq!(ours.len(), ROUNDS, "a life failed");
    let bar = if name == "crun" { Bar::Times(1.0 / 1.3) } else { Bar::Times(5.0) };
    table.times(&format!("create, start, delete beside {name}"), &ours, &peer, bar);
}

/// create, start, delete --force, each a process as an engine would call it; `None` if one of them fails.
fn life(program: &[PathBuf], state: &Path, bundle: &Path, id: &str) -> Option<Duration> {
    let call = |words: &[&str]| {
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).arg("--root").arg(state).args(words).current_dir(bundle);
        // descriptors of a container must not be pipes that somebody waits for
        let null = || std::process::Stdio::null();
        let status = command.stdin(null()).stdout(null()).stderr(null()).status().unwrap();
        status.success().then_some(())
    };
    let start = Instant::now();
    call(&["create", "--bundle", bundle.to_str().unwrap(), id])?;
    call(&["start", id])?;
    call(&["delete", "--force", id])?;
    Some(start.elapsed())
}

fn timed(command: &mut Command) -> Duration {
    e2e::run(command).ok().took
}
