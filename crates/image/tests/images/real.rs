//! Debian's `docker-registry`, filled by `skopeo` from images of `umoci`.

use crate::lab::{Lab, has, noise, run, skipped};
use image::Error;
use model::Logins;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct Server {
    child: Child,
    pub(crate) host: String,
}

impl Server {
    /// Starts a registry; `extra` is added to its configuration.
    fn start(folder: &Path, extra: &str) -> Server {
        Server::start_with(folder, "", extra)
    }

    /// The same; `http` is added to what it says of HTTP.
    pub(crate) fn start_with(folder: &Path, http: &str, extra: &str) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'{http}}}\n{extra}",
            folder.join("registry").display()
        );
        let path = folder.join("registry.yml");
        std::fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..500 {
            if TcpStream::connect(&host).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { child, host }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// An OCI layout with an image of two layers.
pub(crate) fn layout(folder: &Path) -> String {
    let layout = folder.join("layout");
    let layout = layout.to_str().unwrap();
    let image = format!("{layout}:v");
    run("umoci", &["init", "--layout", layout]);
    run("umoci", &["new", "--image", &image]);
    let first = folder.join("first");
    std::fs::write(&first, noise(3 << 20, 11)).unwrap();
    run("umoci", &["insert", "--image", &image, first.to_str().unwrap(), "/srv/data"]);
    let second = folder.join("second");
    std::fs::write(&second, b"hello").unwrap();
    run("umoci", &["insert", "--image", &image, second.to_str().unwrap(), "/srv/hello"]);
    run("umoci", &["insert", "--image", &image, "--whiteout", "/srv/data"]);
    run("umoci", &["config", "--image", &image, "--config.cmd", "/srv/hello"]);
    image
}

pub(crate) fn is_ready() -> bool {
    !skipped() && has("docker-registry") && has("umoci") && has("skopeo")
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_umoci_and_skopeo_in_both_formats() {
    if !is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "");
    let image = layout(folder.path());
    let packed = format!("dir:{}", folder.path().join("packed").display());
    let copy = ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"];
    let zstd = ["--dest-compress", "--dest-compress-format", "zstd", &format!("oci:{image}"), &packed];
    run("skopeo", &[&copy[..], &zstd].concat());
    let source = format!("oci:{image}");
    for (tag, arguments) in
        [("oci", vec!["-f", "oci", &source]), ("docker", vec!["-f", "v2s2", &source]), ("zstd", vec![&packed])]
    {
        let name = format!("{}/dir/app:{tag}", server.host);
        let target = format!("docker://{name}");
        run("skopeo", &[&copy[..], &arguments, &[target.as_str()]].concat());
        let lab = Lab::new(&[&server.host]);
        let pulled = lab.store.pull(&name, Logins::NONE).unwrap().wait().await.unwrap();
        assert_eq!(lab.text(&name, "srv/hello"), "hello");
        let layers = lab.store.lookup(&name).unwrap().layers;
        assert_eq!(layers.len(), 3);
        // The whiteout is a device 0:0 in the uppermost.
        let whiteout = layers[2].join("srv/data").symlink_metadata().unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::rdev(&whiteout), 0);
        assert_eq!(std::fs::read(layers[0].join("srv/data")).unwrap(), noise(3 << 20, 11));
        let raw = run("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
        assert_eq!(crate::lab::digest(raw.as_bytes()), pulled.digest.as_str());
        lab.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_from_dockers_file_or_a_helper() {
    if !is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("htpasswd");
    // `joe` with the password `secret`; docker-registry takes bcrypt only.
    std::fs::write(&users, "joe:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n").unwrap();
    let extra = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}", users.display());
    let server = Server::start(folder.path(), &extra);
    let image = layout(folder.path());
    let name = format!("{}/private:v", server.host);
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "-q",
            "--dest-tls-verify=false",
            "--dest-creds",
            "joe:secret",
            &format!("oci:{image}"),
            &format!("docker://{name}"),
        ],
    );
    let with = |text: &str| Lab::knowing(&[&server.host], text);
    for (text, is_good) in [
        // joe:secret
        (format!(r#"{{"auths": {{"{}": {{"auth": "am9lOnNlY3JldA=="}}}}}}"#, server.host), true),
        // joe:wrong
        (format!(r#"{{"auths": {{"{}": {{"auth": "am9lOndyb25n"}}}}}}"#, server.host), false),
        (r#"{"auths": {"other:5000": {"auth": "am9lOnNlY3JldA=="}}}"#.to_owned(), false),
        ("{}".to_owned(), false),
    ] {
        let lab = with(&text);
        let result = lab.store.pull(&name, Logins::NONE).unwrap().wait().await;
        match result {
            Ok(_) => assert!(is_good, "{text}"),
            Err(error) => assert!(!is_good && matches!(*error, Error::Denied { .. }), "{text}: {error}"),
        }
    }
}
