//! The image that tests run: Debian's busybox-static as a root file system.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Its name on every test host; the same as in `examples/compose`.
pub const BUSYBOX: &str = "busybox:1.35";

/// A tar of its root file system, made once per run of the tests.
///
/// # Panics
/// There is no busybox on this machine.
pub fn rootfs_tar() -> PathBuf {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let folder = crate::host::folder();
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("busybox.tar");
        let file = std::fs::File::create(&path).unwrap();
        let status = Command::new(crate::root().join("deploy/rootfs.sh")).stdout(file).status().unwrap();
        assert!(status.success(), "deploy/rootfs.sh failed");
        path
    })
    .clone()
}
