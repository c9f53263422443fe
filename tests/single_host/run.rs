//! `rswarm run`: exit codes, streams, flags.

use e2e::{BUSYBOX, Host};

#[test]
fn the_exit_code_is_the_containers() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "--rm", BUSYBOX, "sh", "-c", "exit 7"]).exits(7);
    host.rswarm(["run", "--rm", BUSYBOX, "true"]).ok();
}
