//! The bench itself: a leak is seen, and a failed test leaves the machine clean.

use std::process::Command;

use e2e::{Host, Options, run};

fn bare() -> Option<Host> {
    Host::with(Options { no_daemon: true, ..Options::default() })
}

#[test]
fn every_kind_of_leak_is_seen_and_swept() {
    let Some(host) = bare() else { return };
    let before = host.census();
    let dir = host.run_root().join("netns");
    std::fs::create_dir(&dir).unwrap();
    std::fs::create_dir_all(host.data().join("containers/left")).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&dir)).ok();
    run(host.command("ip").args(["link", "add", "left", "type", "bridge"])).ok();
    run(host.command("nft").args(["add", "table", "ip", "left"])).ok();
    let mut sleeper = Command::new("sleep").arg("1000").arg0(&host.run_root()).spawn().unwrap();
    // A spawn returns before the kernel shows the new program's words.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let leaks = host.census().beyond(&before);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    for kind in ["process", "mount", "link", "nft", "file"] {
        assert!(leaks.iter().any(|leak| leak.starts_with(kind)), "no {kind} in {leaks:?}");
    }
    let (root, name) = (host.dir.clone(), host.cgroup().to_owned());
    drop(host);
    assert!(!root.exists(), "{} is still there", root.display());
    assert!(!std::path::Path::new("/run/netns").join(name).exists());
}

/// `argv[0]` is how a test process names a host's folder.
trait Named {
    fn arg0(&mut self, path: &std::path::Path) -> &mut Self;
}

impl Named for Command {
    fn arg0(&mut self, path: &std::path::Path) -> &mut Self {
        std::os::unix::process::CommandExt::arg0(self, path)
    }
}
