//! The image that tests run: Debian's busybox-static as a root file system.

use std::path::PathBuf;
use std::process::Command;

/// Its name on every test host; the same as in `examples/compose`.
pub const BUSYBOX: &str = "busybox:1.35";

/// A tar of its root file system, made once as long as there is a host.
///
/// # Panics
/// There is no busybox on this machine.
pub fn rootfs_tar() -> PathBuf {
    let _only_one_makes_it = crate::host::live();
    let path = crate::host::folder().join("busybox.tar");
    if !path.exists() {
        let file = std::fs::File::create(&path).unwrap();
        let status = Command::new(crate::root().join("deploy/rootfs.sh")).stdout(file).status().unwrap();
        assert!(status.success(), "deploy/rootfs.sh failed");
    }
    path
}
