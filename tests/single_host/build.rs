//! Images that a stack builds, by a builder that is not ours (buildah).

use std::process::Command;

use e2e::{Host, Options, Output, rootfs_tar, run};

/// A host without an image, and a project with a file system to build on.
struct Project {
    host: Host,
    storage: String,
}

impl Project {
    fn new() -> Option<Project> {
        let host = Host::with(Options { no_image: true, ..Options::default() })?;
        let folder = host.work().join("storage");
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/graph\"\nrunroot = \"{0}/run\"\n",
            folder.display()
        );
        let storage = host.write("storage.conf", &storage);
        std::fs::create_dir_all(host.work().join("web")).unwrap();
        std::fs::copy(rootfs_tar(), host.work().join("web/rootfs.tar")).unwrap();
        Some(Project { host, storage })
    }

    fn rswarm(&self, words: &[&str]) -> Output {
        let mut command = self.host.rswarm_command(words);
        command.env("CONTAINERS_STORAGE_CONF", &self.storage).env("BUILDAH_ISOLATION", "chroot");
        run(command.env("RSWARM_BUILDER", "buildah").env("TOKEN", "hush"))
    }

    fn up(&self, text: &str, more: &[&str]) -> Output {
        let file = self.host.write("shop.yaml", text);
        self.rswarm(&[&["up", "-p", "shop", "-f", &file], more].concat())
    }

    fn dockerfile(&self, last: &str) {
        let text = format!("FROM scratch AS base\nADD rootfs.tar /\nFROM base AS more\nARG WORD=none\n{last}\n");
        self.host.write("web/Dockerfile", &text);
    }

    fn id(&self, service: &str) -> String {
        let filter = format!("label=com.docker.compose.service={service}");
        self.host.rswarm(["ps", "-q", "--filter", &filter]).ok().text()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // Its layers are mounts and folders that nobody else clears away.
        let mut clear = Command::new("buildah");
        run(clear.env("CONTAINERS_STORAGE_CONF", &self.storage).args(["rm", "-a"]));
        let mut clear = Command::new("buildah");
        run(clear.env("CONTAINERS_STORAGE_CONF", &self.storage).args(["rmi", "-a", "-f"]));
    }
}

const WEB: &str = "services:\n  web:\n    build: {context: web, args: {WORD: said}}\n    stop_grace_period: 0s\n";

#[test]
fn up_builds_what_is_missing_and_all_when_asked() {
    let Some(project) = Project::new() else { return };
    project.dockerfile("RUN echo $WORD >/word\nCMD [\"sleep\", \"10000\"]");
    project.up(WEB, &["--no-build"]).fails().complains("shop-web");
    project.up(WEB, &[]).ok();
    let first = project.id("web");
    project.host.rswarm(["exec", &first, "cat", "/word"]).ok().prints("said");
    project.dockerfile("RUN echo $WORD again >/word\nCMD [\"sleep\", \"10000\"]");
    project.up(WEB, &[]).ok();
    assert_eq!(project.id("web"), first, "there is an image");
    project.up(WEB, &["--build"]).ok();
    let second = project.id("web");
    project.host.rswarm(["exec", &second, "cat", "/word"]).ok().prints("said again");
    project.up(WEB, &["--build"]).ok();
    assert_eq!(project.id("web"), second, "nothing has changed");
    // One that fails changes nothing.
    project.dockerfile("RUN echo $WORD is wrong; exit 3\nCMD [\"true\"]");
    let failed = project.up(WEB, &["--build", "-q"]).exits(1);
    assert!(failed.stderr.contains("service web") && failed.stderr.contains("said is wrong"), "{failed}");
    assert_eq!(project.id("web"), second);
    project.host.down("shop").ok();
    // The one before it has no name, as with Docker; none has the builder's.
    let images = project.host.rswarm(["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    images.prints("shop-web:latest\n<none>:<none>");
}

#[test]
fn a_health_check_of_a_dockerfile_counts() {
    let Some(project) = Project::new() else { return };
    project.dockerfile("HEALTHCHECK --interval=1s CMD test -e /word\nRUN echo hi >/word\nCMD [\"sleep\", \"10000\"]");
    let text = format!(
        "{WEB}  late:\n    image: shop-web\n    pull_policy: never\n    stop_grace_period: 0s\n    depends_on: {{web: {{condition: service_healthy}}}}\n"
    );
    project.up(&text, &[]).ok();
    assert_eq!(project.host.inspect(&project.id("web"), "{{.State.Health.Status}}"), "healthy");
    // Nothing is left of one that fails.
    project.dockerfile("RUN exit 3");
    project.up(WEB, &["--build", "-q"]).exits(1);
    let mut list = Command::new("buildah");
    let left = run(list.env("CONTAINERS_STORAGE_CONF", &project.storage).args(["containers", "-q"])).ok();
    left.prints("");
}

#[test]
fn a_build_has_all_that_its_file_says() {
    let Some(project) = Project::new() else { return };
    project.dockerfile("RUN --mount=type=secret,id=tok cp /run/secrets/tok /tok\nCMD [\"sleep\", \"10000\"]");
    let text = "
services:
  web:
    image: made/web:2
    build:
      context: web
      secrets: [{source: token, target: tok}]
      labels: {a: b}
      tags: ['made/web:latest']
      extra_hosts: ['db=10.1.2.3']
    stop_grace_period: 0s
  part:
    build: {context: web, target: base}
    command: sleep 10000
    stop_grace_period: 0s
  inline:
    build:
      context: web
      dockerfile_inline: |
        FROM scratch
        ADD rootfs.tar /
        ENV SAID=inline
    command: sleep 10000
    stop_grace_period: 0s
secrets: {token: {environment: TOKEN}}
";
    let file = project.host.write("shop.yaml", text);
    project.rswarm(&["build", "-p", "shop", "-f", &file, "web"]).ok();
    assert_eq!(project.host.inspect("made/web:2", "{{index .Config.Labels \"a\"}}"), "b");
    assert_eq!(project.host.inspect("made/web:2", "{{.Id}}"), project.host.inspect("made/web:latest", "{{.Id}}"));
    project.rswarm(&["build", "-p", "shop", "-f", &file, "nobody"]).fails().complains("nobody");
    project.up(text, &[]).ok();
    let exec = |service: &str, words: &[&str]| {
        let id = project.id(service);
        project.host.rswarm([&["exec", id.as_str()], words].concat())
    };
    exec("web", &["cat", "/tok"]).ok().prints("hush");
    exec("part", &["test", "-e", "/tok"]).exits(1);
    exec("inline", &["sh", "-c", "echo $SAID"]).ok().prints("inline");
    project.host.down("shop").ok();
}

#[test]
fn without_a_builder_it_is_said_what_to_do() {
    let Some(project) = Project::new() else { return };
    let file = project.host.write("shop.yaml", WEB);
    let socket = format!("unix://{}", project.host.socket().display());
    let mut command = project.host.command("env");
    let out =
        run(command.arg("PATH=/nowhere").arg(e2e::binary()).args(["-H", &socket, "up", "-p", "shop", "-f", &file]));
    assert!(out.code() == 1 && out.stderr.contains("no builder") && out.stderr.contains("install buildah"), "{out}");
    let mut command = project.host.rswarm_command(["build", "-p", "shop", "-f", &file]);
    run(command.env("RSWARM_BUILDER", "kaniko")).exits(1).complains("kaniko");
}
