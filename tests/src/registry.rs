//! A real registry server inside a host, fed by tools that are not ours.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::run::{Output, run};
use crate::{Host, eventually, rootfs_tar};

/// Debian's docker-registry in a host, without TLS.
#[derive(Debug)]
pub struct Registry {
    /// `ADDRESS:PORT`.
    pub address: String,
    /// Where its blobs are.
    pub folder: PathBuf,
    child: Child,
    network: String,
}

impl Registry {
    /// The port is the caller's choice, because the daemon must know it before it starts (`--insecure-registry`).
    ///
    /// # Panics
    /// There is no docker-registry, or it does not start.
    pub fn start(host: &Host, port: u16) -> Registry {
        let registry = Registry::spawn(host, &format!("127.0.0.1:{port}"), "");
        let url = format!("http://{}/v2/", registry.address);
        eventually("the registry answers", Duration::from_secs(20), || host.get(&url).is_some());
        registry
    }

    /// One at this address of the host that lets in who shows this name and password only, and has the busybox image
    /// as `bb:1`.
    ///
    /// # Panics
    /// A tool is missing or fails, or it does not start.
    pub fn private(host: &Host, address: &str, user: &str, password: &str) -> Registry {
        let hash = "import crypt, sys; print(crypt.crypt(sys.argv[1], crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))";
        let hash = run(Command::new("python3").args(["-W", "ignore", "-c", hash, password])).ok().text();
        let users = host.write("htpasswd", &format!("{user}:{hash}\n"));
        let registry = Registry::spawn(host, address, &format!("auth: {{htpasswd: {{realm: test, path: {users}}}}}\n"));
        let url = format!("http://{}/v2/", registry.address);
        eventually("the registry asks who we are", Duration::from_secs(20), || {
            run(host.command("curl").args(["-s", &url])).stdout.contains("UNAUTHORIZED")
        });
        let layout = make_layout(host, "private-layout", |rootfs| {
            run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
        });
        let (source, target) = (format!("oci:{layout}:latest"), format!("docker://{address}/bb:1"));
        registry.skopeo(&["copy", "-q", "--dest-creds", &format!("{user}:{password}"), &source, &target]).ok();
        registry
    }

    /// Docker's file with a login for it, in a folder of that host's for `DOCKER_CONFIG`.
    ///
    /// # Panics
    /// It can't be written.
    pub fn log_in(&self, host: &Host, folder: &str, user: &str, password: &str) {
        let script = "import base64, sys; print(base64.b64encode(sys.argv[1].encode()).decode())";
        let auth = run(Command::new("python3").args(["-c", script, &format!("{user}:{password}")])).ok().text();
        let config = format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, self.address);
        host.write(&format!("{folder}/config.json"), &config);
    }

    fn spawn(host: &Host, address: &str, more: &str) -> Registry {
        let port = address.rsplit(':').next().unwrap();
        let folder = host.work().join(format!("registry-{port}"));
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: {address}}}\n{more}",
            folder.display()
        );
        let config = host.write(&format!("registry-{port}.yml"), &config);
        let log = File::create(host.work().join(format!("registry-{port}.log"))).unwrap();
        let mut command = host.command("docker-registry");
        command.args(["serve", &config]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        Registry { address: address.to_owned(), folder, child, network: host.cgroup().to_owned() }
    }

    /// Pushes the busybox root file system, as an image made by umoci, under `NAME:TAG`; gives the whole reference.
    ///
    /// # Panics
    /// A tool fails.
    pub fn push_busybox(&self, host: &Host, name: &str) -> String {
        let layout = make_layout(host, "busybox-layout", |rootfs| {
            run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
        });
        self.push_layout(&layout, name)
    }

    /// Pushes the image `latest` of an OCI layout.
    ///
    /// # Panics
    /// skopeo fails.
    pub fn push_layout(&self, layout: &str, name: &str) -> String {
        let reference = format!("{}/{name}", self.address);
        self.skopeo(&["copy", "-q", &format!("oci:{layout}:latest"), &format!("docker://{reference}")]).ok();
        reference
    }

    /// skopeo, inside the host, without TLS.
    ///
    /// # Panics
    /// It does not end.
    pub fn skopeo(&self, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.network)).arg("skopeo").args(words);
        if words.first() == Some(&"copy") {
            command.args(["--dest-tls-verify=false", "--src-tls-verify=false"]);
        }
        run(&mut command)
    }
}

/// Makes an OCI layout with one image `latest` of one layer, with umoci; `fill` puts files into the root file system.
///
/// # Panics
/// umoci fails.
pub fn make_layout(host: &Host, name: &str, fill: impl FnOnce(&std::path::Path)) -> String {
    let layout = host.work().join(name);
    let bundle = host.work().join(format!("{name}-bundle"));
    let image = format!("{}:latest", layout.display());
    let umoci = |words: &[&str]| run(Command::new("umoci").args(words)).ok();
    umoci(&["init", "--layout", layout.to_str().unwrap()]);
    umoci(&["new", "--image", &image]);
    umoci(&["unpack", "--image", &image, bundle.to_str().unwrap()]);
    fill(&bundle.join("rootfs"));
    umoci(&["repack", "--image", &image, bundle.to_str().unwrap()]);
    umoci(&["config", "--image", &image, "--config.cmd", "/bin/sh", "--config.env", "PATH=/bin"]);
    std::fs::remove_dir_all(bundle).unwrap();
    layout.to_str().unwrap().to_owned()
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
