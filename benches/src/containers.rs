//! One container, from the command to its end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, binary, make_layout, rootfs_tar};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::Lab;
use crate::table::{Bar, Table};

const ROUNDS: usize = 21;
/// Version 2 on machines that have both.
const V2: &str = "/sys/fs/cgroup/unified";

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
    let lives = Lives { lab, bundle };
    // crun refuses machines where both versions of cgroups have controllers
    let (name, (ours, peer)) = if lives.works("crun") {
        ("crun", lives.measure("crun"))
    } else if let Some(samples) = without_v2(|| lives.works("crun").then(|| lives.measure("crun"))) {
        ("crun (cgroup version 1 only)", samples)
    } else {
        ("runc", lives.measure("runc"))
    };
    assert_eq!(ours.len(), ROUNDS, "a life failed");
    let bar = if name == "runc" { Bar::Times(5.0) } else { Bar::Times(1.0 / 1.3) };
    table.times(&format!("create, start, delete beside {name}"), &ours, &peer, bar);
}

/// Lives of one bundle.
struct Lives<'a> {
    lab: &'a Lab,
    bundle: PathBuf,
}

impl Lives<'_> {
    fn works(&self, name: &str) -> bool {
        let (state, id) = (self.lab.ours.work().join("trial"), format!("{}-t", self.lab.ours.cgroup()));
        life(&[name.into()], &state, &self.bundle, &id).is_some()
    }

    /// Ours and the other's, in turns.
    fn measure(&self, name: &str) -> (Vec<Duration>, Vec<Duration>) {
        let host = &self.lab.ours;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let id = format!("{}-{round}", host.cgroup());
            ours.extend(life(&[binary(), "oci".into()], &host.work().join("oci-state"), &self.bundle, &id));
            peer.extend(life(&[name.into()], &host.work().join("peer-state"), &self.bundle, &id));
        }
        (ours, peer)
    }
}

/// Does it on a thread, and with children, that see no cgroups of version 2: all that is measured there is
/// measured on the same terms. `None` also where that can't be had.
fn without_v2<T: Send>(work: impl FnOnce() -> Option<T> + Send) -> Option<T> {
    let hide = || {
        // SAFETY: only the table of descriptors would be dangerous to unshare, and it stays shared.
        #[expect(unsafe_code, reason = "rustix marks it unsafe because of flags that are not used here")]
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        unmount(V2, UnmountFlags::DETACH)
    };
    std::thread::scope(|scope| scope.spawn(|| hide().ok().and_then(|()| work())).join().unwrap())
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
