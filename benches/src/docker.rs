//! The peer: a Docker Engine with a machine of its own, one-node Swarm.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{BUSYBOX, Host, Options, Output, eventually, rootfs_tar, run};

/// A running engine.
pub(crate) struct Docker {
    pub(crate) host: Host,
    daemon: Child,
}

impl Docker {
    /// Starts the engine that is unpacked below `peer`, with the busybox image, on a machine of its own.
    pub(crate) fn start(peer: &Path) -> Docker {
        let host = Host::with(Options { no_daemon: true, ..Options::default() }).unwrap();
        let docker = Docker::on(host, peer);
        docker.call(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377"]).ok();
        docker
    }

    /// The same on this machine, outside of any swarm.
    pub(crate) fn on(host: Host, peer: &Path) -> Docker {
        let (bin, sbin) = (peer.join("usr/bin"), peer.join("usr/sbin"));
        let path = format!("{}:{}:{}", bin.display(), sbin.display(), std::env::var("PATH").unwrap());
        let log = File::create(host.work().join("dockerd.log")).unwrap();
        let mut command = host.command(sbin.join("dockerd"));
        command.env("PATH", path).arg("--data-root").arg(host.data()).arg("--exec-root").arg(host.run_root());
        command.arg("-p").arg(host.work().join("pid")).arg("-H").arg(socket(&host));
        command.arg("--cgroup-parent").arg(format!("/{}", host.cgroup()));
        command.arg("--userland-proxy-path").arg(sbin.join("docker-proxy"));
        command.args(["--insecure-registry", "127.0.0.1:5000"]).stdin(Stdio::null());
        let daemon = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let docker = Docker { host, daemon };
        eventually("dockerd answers", Duration::from_secs(60), || docker.call(&["version"]).succeeded());
        docker.call(&["import", rootfs_tar().to_str().unwrap(), BUSYBOX]).ok();
        docker
    }

    /// `docker` with these words.
    pub(crate) fn call(&self, words: &[&str]) -> Output {
        run(&mut self.command(words))
    }

    /// The same, not yet run.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.host.command("docker");
        command.arg("-H").arg(socket(&self.host)).args(words);
        command
    }
}

/// Where the engine of a host listens.
pub(crate) fn socket_path(host: &Host) -> PathBuf {
    host.run_root().join("docker.sock")
}

fn socket(host: &Host) -> String {
    format!("unix://{}", socket_path(host).display())
}

impl Drop for Docker {
    fn drop(&mut self) {
        drop(self.call(&["swarm", "leave", "-f"]));
        drop(Command::new("kill").arg(self.daemon.id().to_string()).status());
        drop(self.daemon.wait());
    }
}
