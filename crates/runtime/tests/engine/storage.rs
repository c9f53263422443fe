//! Volumes and mounts of real containers.

use crate::support::{Host, With, run, words};
use model::{ContainerSpec, Mount, MountSource, TaskId, VolumeSpec};
use runtime::engine::{CreateContainer, Error, StartOptions};

const TASK: TaskId = TaskId(3);

fn mount(target: &str, source: MountSource, read_only: bool) -> Mount {
    Mount { target: target.to_owned(), source, read_only }
}

fn volume(name: &str) -> MountSource {
    MountSource::Volume { name: name.to_owned(), nocopy: false, subpath: None }
}

fn bind(path: &std::path::Path, create: bool) -> MountSource {
    MountSource::Bind { path: path.to_str().unwrap().to_owned(), create, propagation: None, recursive: true }
}

fn sh(script: &str, mounts: Vec<Mount>) -> ContainerSpec {
    ContainerSpec { command: Some(words(&["sh", "-c", script])), mounts, ..ContainerSpec::default() }
}

pub(crate) async fn volumes_begin_with_the_image_s_content_and_outlive_containers(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    std::fs::write(host.layer.join("srv/page"), "from the image").unwrap();
    std::os::unix::fs::chown(host.layer.join("srv"), Some(33), Some(34)).unwrap();
    let script = "cat /srv/page; stat -c ' %u:%g' /srv; echo more > /srv/more";
    let (out, err, code) = run(&engine, host.with(TASK, sh(script, vec![mount("/srv", volume("v"), false)]))).await;
    assert_eq!((out.as_str(), err.as_str(), code), ("from the image 33:34\n", "", 0));
    let mounts = vec![mount("/data", volume("v"), true)];
    let (out, _, code) = run(&engine, host.with(TASK, sh("cat /data/more; touch /data/x || exit 8", mounts))).await;
    assert_eq!((out.as_str(), code), ("more\n", 8));
    engine.create(host.with(TASK, sh("true", vec![mount("/srv", volume("v"), false)]))).await.unwrap();
    assert_eq!(engine.volume_users("v").await, [TASK]);
    assert!(matches!(engine.remove_volume("v").await, Err(Error::VolumeInUse { .. })));
    engine.remove(TASK, true).await.unwrap();
    engine.remove_volume("v").await.unwrap();
    assert_eq!(engine.volumes().list().unwrap(), []);
    host.assert_clean().await;
}

pub(crate) async fn the_root_is_like_the_image_s(with: With) {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    std::os::unix::fs::chown(&host.layer, Some(33), Some(34)).unwrap();
    std::fs::set_permissions(&host.layer, std::fs::Permissions::from_mode(0o2715)).unwrap();
    let (out, _, _) = run(&engine, host.with(TASK, sh("stat -c '%u:%g %a' /", Vec::new()))).await;
    assert_eq!(out, "33:34 2715\n");
    host.assert_clean().await;
}

pub(crate) async fn anonymous_volumes_go_with_their_container_if_told(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, mut events) = host.open().await;
    let mut create =
        host.with(TASK, sh("echo x > /data/x; echo y > /image/y", vec![mount("/data", MountSource::Anonymous, false)]));
    create.image.config.volumes = ["/image".to_owned(), "/data/".to_owned()].into();
    engine.create_and_start(create.clone(), StartOptions::default()).await.unwrap();
    assert_eq!(crate::support::exited(&mut events).await.1.code, 0);
    let names = engine.volumes().list().unwrap();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|info| info.anonymous && info.spec.name.len() == 64));
    let inspect = engine.inspect(TASK).await.unwrap();
    assert_eq!(inspect.mounts.len(), 2);
    engine.remove(TASK, false).await.unwrap();
    assert_eq!(engine.volumes().list().unwrap().len(), 2);
    for info in names {
        engine.remove_volume(&info.spec.name).await.unwrap();
    }
    engine.create(create.clone()).await.unwrap();
    // Made anew before it ever ran, it keeps its volumes.
    engine.create(create).await.unwrap();
    assert_eq!(engine.volumes().list().unwrap().len(), 2);
    engine.remove(TASK, true).await.unwrap();
    assert_eq!(engine.volumes().list().unwrap(), []);
    host.assert_clean().await;
}

pub(crate) async fn anonymous_volumes_are_gone_on_with(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let of = |task, of, script: &str, target| {
        let create = host.with(task, sh(script, vec![mount(target, MountSource::Anonymous, false)]));
        CreateContainer { volumes_of: of, ..create }
    };
    let [first, second, third, fourth] = [41, 42, 43, 44].map(TaskId);
    let count = || engine.volumes().list().unwrap().len();
    for task in [second, third, fourth] {
        engine.create(of(task, Some(first), "true", "/data")).await.unwrap();
    }
    // Each is removed, volumes and all; but not what another has.
    run(&engine, of(first, None, "echo one > /data/x", "/data")).await;
    let (out, _, _) = run(&engine, of(second, Some(first), "cat /data/x; echo two > /data/x", "/data/")).await;
    assert_eq!(out, "one\n");
    assert_eq!(count(), 1);
    let name = engine.volumes().list().unwrap().remove(0).spec.name;
    assert_eq!(engine.volume_users(&name).await.len(), 2);
    let (out, _, _) = run(&engine, of(TaskId(45), Some(first), "ls /more", "/more")).await;
    assert_eq!(out, "", "another place is another volume");
    // Of those that go at the same time the last takes it along.
    let (a, b) = tokio::join!(engine.remove(third, true), engine.remove(fourth, true));
    a.and(b).unwrap();
    assert_eq!(count(), 0);
    host.assert_clean().await;
}

pub(crate) async fn a_mounted_volume_lasts_as_long_as_its_users(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, mut events) = host.open().await;
    let opts = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m")];
    let driver_opts = opts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let spec = VolumeSpec { name: "memory".to_owned(), driver_opts, ..VolumeSpec::default() };
    engine.volumes().create(&spec).unwrap();
    let mounted = || host.leftovers().iter().any(|left| left.starts_with("mount") && left.contains("/memory/"));
    let user = |task, script: &str| host.with(task, sh(script, vec![mount("/v", volume("memory"), false)]));
    let (first, second) = (TaskId(31), TaskId(32));
    let wait = "while ! test -e /v/over; do sleep 0.05; done";
    engine.create_and_start(user(first, "echo shared > /v/file; sleep 1000"), StartOptions::default()).await.unwrap();
    engine.create_and_start(user(second, wait), StartOptions::default()).await.unwrap();
    engine.stop(first, runtime::signal::Signal::KILL, crate::support::LONG).await.unwrap();
    assert!(mounted());
    assert_eq!(run(&engine, user(TASK, "cat /v/file; touch /v/over")).await.0, "shared\n");
    for _ in 0..3 {
        crate::support::exited(&mut events).await;
    }
    assert!(!mounted());
    for task in [first, second] {
        engine.remove(task, true).await.unwrap();
    }
    engine.remove_volume("memory").await.unwrap();
    host.assert_clean().await;
}

pub(crate) async fn binds_tmpfs_subpaths_and_driver_options(with: With) {
    let Some(host) = Host::new(with) else { return };
    let (engine, _events) = host.open().await;
    let folder = host.root.path().join("bound");
    std::fs::create_dir_all(folder.join("below")).unwrap();
    std::fs::write(folder.join("below/file"), "here").unwrap();
    let tmpfs = MountSource::Tmpfs { size: Some(1 << 20), mode: Some(0o700), options: Vec::new() };
    let script = "cat /b/below/file; touch /b/x && echo writable; stat -c ' %a' /t; cat /one/file; \
                  grep -c ' /t tmpfs.*noexec' /proc/mounts; dd if=/dev/zero of=/t/big bs=64k count=32 2>/dev/null || echo full";
    let mounts = vec![
        mount("/b", bind(&folder, false), true),
        mount("/t", tmpfs, false),
        mount("/one", bind(&folder.join("below"), false), false),
    ];
    let (out, _, _) = run(&engine, host.with(TASK, sh(script, mounts))).await;
    assert_eq!(out, "here 700\nhere1\nfull\n");
    let missing = host.root.path().join("missing");
    let mounts = vec![mount("/m", bind(&missing, false), false)];
    let refused = engine.create_and_start(host.with(TASK, sh("true", mounts)), StartOptions::default()).await;
    assert!(
        matches!(&refused, Err(Error::Rejected { message, .. }) if message.contains("does not exist")),
        "{refused:?}"
    );
    let mounts = vec![mount("/m", bind(&missing, true), false)];
    assert_eq!(run(&engine, host.with(TASK, sh("touch /m/made", mounts))).await.2, 0);
    assert!(missing.join("made").exists());

    let opts = [("type", "none"), ("device", folder.to_str().unwrap()), ("o", "bind")];
    let spec = VolumeSpec {
        name: "mine".to_owned(),
        driver_opts: opts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..VolumeSpec::default()
    };
    let mut create = host.with(TASK, sh("cat /v/below/file", vec![mount("/v", volume("mine"), false)]));
    create.volumes.insert("mine".to_owned(), spec);
    assert_eq!(run(&engine, create).await.0, "here");
    let subpath = |path: &str| {
        let source = MountSource::Volume { name: "sub".to_owned(), nocopy: true, subpath: Some(path.to_owned()) };
        host.with(TASK, sh("cat /v/file", vec![mount("/v", source, false)]))
    };
    let made = engine.volumes().create(&VolumeSpec { name: "sub".to_owned(), ..VolumeSpec::default() }).unwrap();
    std::fs::create_dir(made.mountpoint.join("in")).unwrap();
    std::fs::write(made.mountpoint.join("in/file"), "sub").unwrap();
    std::os::unix::fs::symlink("/etc", made.mountpoint.join("out")).unwrap();
    assert_eq!(run(&engine, subpath("in")).await.0, "sub");
    for bad in ["../..", "out", "nowhere"] {
        let refused = engine.create_and_start(subpath(bad), StartOptions::default()).await;
        assert!(matches!(refused, Err(Error::Rejected { .. })), "{bad}: {refused:?}");
        engine.remove(TASK, true).await.unwrap();
    }
    engine.remove_volume("sub").await.unwrap();
    engine.remove_volume("mine").await.unwrap();
    assert!(folder.join("below/file").exists());
    host.assert_clean().await;
}
