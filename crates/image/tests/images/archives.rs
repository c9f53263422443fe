//! Archives in and out, with tools that are not ours.

use crate::lab::{Form, Lab, OCI, config, digest, gzip, has, image, noise, raw, raw_tar, run, skipped, tar, zstd};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::getxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

/// A tree with everything that a file can be.
fn tree(root: &Path) {
    let long = "n".repeat(200);
    fs::create_dir_all(root.join(format!("deep/{long}"))).unwrap();
    fs::write(root.join(format!("deep/{long}/{long}")), b"long").unwrap();
    fs::write(root.join("suid"), b"#!").unwrap();
    std::os::unix::fs::chown(root.join("suid"), Some(1234), Some(70_000)).unwrap();
    fs::set_permissions(root.join("suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    set_xattr(&root.join("suid"), "user.note", b"hello\0world");
    // A file capability of version 2: CAP_NET_RAW.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&root.join("suid"), "security.capability", &capability);
    fs::create_dir(root.join("tmp")).unwrap();
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(root.join("suid"), root.join("tmp/hard")).unwrap();
    symlink("/etc/../nowhere", root.join("dangling")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o620),
        0,
    )
    .unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("zero"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 5),
    )
    .unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    for (at, byte) in [(0, b'a'), (5 << 20, b'b'), (11 << 20, b'c')] {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &[byte; 5000], at).unwrap();
    }
    sparse.set_len(20 << 20).unwrap();
    fs::write(root.join("umlaut-äöü"), b"utf8").unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    for name in ["suid", "tmp", "umlaut-äöü"] {
        fs::File::open(root.join(name)).unwrap().set_modified(old).unwrap();
    }
}

fn compare(ours: &Path, theirs: &Path, has_xattrs: bool, has_nanoseconds: bool) {
    let long = "n".repeat(200);
    for name in
        ["suid", "tmp", "tmp/hard", "dangling", "pipe", "zero", "sparse", "umlaut-äöü", &format!("deep/{long}/{long}")]
    {
        let (a, b) = (ours.join(name).symlink_metadata().unwrap(), theirs.join(name).symlink_metadata().unwrap());
        assert_eq!((a.mode(), a.uid(), a.gid(), a.rdev()), (b.mode(), b.uid(), b.gid(), b.rdev()), "{name}");
        assert_eq!(a.mtime(), b.mtime(), "{name}");
        if has_nanoseconds {
            assert_eq!(a.mtime_nsec(), b.mtime_nsec(), "{name}");
        }
        if a.is_file() {
            assert!(fs::read(ours.join(name)).unwrap() == fs::read(theirs.join(name)).unwrap(), "{name}");
        }
    }
    assert_eq!(ours.join("suid").metadata().unwrap().ino(), ours.join("tmp/hard").metadata().unwrap().ino());
    assert_eq!(fs::read_link(ours.join("dangling")).unwrap(), Path::new("/etc/../nowhere"));
    assert!(ours.join("zero").metadata().unwrap().file_type().is_char_device());
    assert!(ours.join("sparse").metadata().unwrap().blocks() < 1 << 12, "the holes are filled");
    if has_xattrs {
        for name in ["user.note", "security.capability"] {
            assert_eq!(xattr(&ours.join("suid"), name), xattr(&theirs.join("suid"), name), "{name}");
        }
    }
}

#[test]
fn what_gnu_tar_packs_comes_out_the_same() {
    if skipped() || !has("tar") {
        return;
    }
    let lab = Lab::new(&[]);
    let root = lab.path("root");
    fs::create_dir(&root).unwrap();
    tree(&root);
    let archive = lab.path("root.tar");
    let (root_text, archive_text) = (root.to_str().unwrap(), archive.to_str().unwrap());
    for options in [
        vec!["--format=gnu", "--sparse"],
        vec!["--format=posix", "--xattrs", "--xattrs-include=*", "--sparse"],
        vec!["--format=posix", "--sparse", "--sparse-version=0.0"],
        vec!["--format=posix", "--sparse", "--sparse-version=0.1"],
    ] {
        let arguments = [&["-C", root_text, "-cf", archive_text], options.as_slice(), &["."]].concat();
        run("tar", &arguments);
        let bytes = fs::read(&archive).unwrap();
        for packed in [bytes.clone(), gzip(&bytes), zstd(&bytes)] {
            let id = lab.import(&packed, "tree").unwrap();
            let found = lab.store.lookup(id.as_str()).unwrap();
            let is_posix = options[0] == "--format=posix";
            compare(&found.layers[0], &root, options.contains(&"--xattrs"), is_posix);
            // The archive that is written is the archive that came.
            assert_eq!(found.config.rootfs.diff_ids[0].as_str(), digest(&bytes));
            let mut saved = Vec::new();
            lab.store.save(&["tree".to_owned()], &mut saved).unwrap();
            assert!(saved.windows(512).step_by(512).any(|block| *block == bytes[..512]));
        }
    }
    lab.assert_clean();
}

/// What containers will see: the layers through overlayfs.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(lab: &Lab, reference: &str) -> Mounted {
        let layers = lab.store.lookup(reference).unwrap().layers;
        let lower: Vec<_> = layers.iter().rev().map(|layer| layer.to_str().unwrap().to_owned()).collect();
        let point = lab.path("mounted");
        fs::create_dir_all(&point).unwrap();
        let options = format!("lowerdir={}", lower.join(":"));
        run("mount", &["-t", "overlay", "overlay", "-o", &options, point.to_str().unwrap()]);
        Mounted(point)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

#[test]
fn whiteouts_and_opaque_folders_hide_what_is_below() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let below = tar(&[
        ("gone", b"1"),
        ("kept", b"1"),
        ("opaque/old", b"1"),
        ("replaced/old", b"1"),
        ("again/old", b"1"),
        ("late/old", b"1"),
        ("folder/deep/file", b"1"),
        ("file", b"1"),
    ]);
    let above = raw_tar(&[
        raw(".wh.gone", b'0', "", b""),
        raw("opaque/.wh..wh..opq", b'0', "", b""),
        raw("opaque/new", b'0', "", b"2"),
        // A whiteout and then a folder of that name: what was below stays hidden.
        raw(".wh.replaced", b'0', "", b""),
        raw("replaced/", b'5', "", b""),
        raw("replaced/new", b'0', "", b"2"),
        // The other way round.
        raw("again/", b'5', "", b""),
        raw("again/new", b'0', "", b"2"),
        raw(".wh.again", b'0', "", b""),
        // The mark comes after what it marks.
        raw("late/new", b'0', "", b"2"),
        raw("late/.wh..wh..opq", b'0', "", b""),
        raw(".wh.folder", b'0', "", b""),
        raw(".wh.file", b'0', "", b""),
        raw("file", b'0', "", b"2"),
        raw(".wh..wh.plnk/1.2", b'0', "", b"aufs"),
    ]);
    let made = image(OCI, &[(below, Form::Plain), (above, Form::Gzip)]);
    lab.store.load(&mut docker_archive(&made, "layers:1").as_slice()).unwrap();
    let mounted = Mounted::new(&lab, "layers:1");
    let see = |path: &str| fs::read_to_string(mounted.0.join(path)).ok();
    for path in ["gone", "opaque/old", "replaced/old", "again/old", "late/old", "folder", ".wh..wh.plnk", ".wh.gone"] {
        assert!(mounted.0.join(path).symlink_metadata().is_err(), "{path}");
    }
    assert_eq!(see("kept").as_deref(), Some("1"));
    for path in ["opaque/new", "replaced/new", "again/new", "late/new", "file"] {
        assert_eq!(see(path).as_deref(), Some("2"), "{path}");
    }
}

/// As `docker save` of old wrote it.
fn docker_archive(made: &crate::lab::Made, tag: &str) -> Vec<u8> {
    let id = digest(&made.config);
    let config_name = format!("{}.json", id.trim_start_matches("sha256:"));
    let layers: Vec<String> = (0..made.blobs.len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = json!([{"Config": config_name, "RepoTags": [tag], "Layers": layers}]).to_string();
    let mut files: Vec<(&str, &[u8])> =
        layers.iter().zip(&made.blobs).map(|(name, blob)| (name.as_str(), blob.as_slice())).collect();
    files.push((&config_name, &made.config));
    files.push(("manifest.json", manifest.as_bytes()));
    tar(&files)
}

#[test]
fn archives_go_round() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let layers = [(tar(&[("a", &noise(300_000, 1))]), Form::Gzip), (tar(&[("b", b"2")]), Form::Plain)];
    let made = image(OCI, &layers);
    let archive = docker_archive(&made, "round:1");
    for packed in [archive.clone(), gzip(&archive), zstd(&archive)] {
        let loaded = lab.store.load(&mut packed.as_slice()).unwrap();
        assert_eq!((loaded.len(), loaded[0].names.as_slice()), (1, ["round:1".to_owned()].as_slice()));
        assert_eq!(loaded[0].id.as_str(), digest(&made.config));
    }
    lab.store.tag("round:1", "localhost:5000/other:2").unwrap();
    let mut saved = Vec::new();
    lab.store.save(&["round:1".to_owned(), "localhost:5000/other:2".to_owned()], &mut saved).unwrap();
    let there = Lab::new(&[]);
    let loaded = there.store.load(&mut saved.as_slice()).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(there.store.lookup("round:1").unwrap().id.as_str(), digest(&made.config));
    assert_eq!(there.text("localhost:5000/other:2", "b"), "2");
    assert_eq!(fs::read(there.file("round:1", "a").unwrap()).unwrap(), noise(300_000, 1));
    there.assert_clean();

    if has("skopeo") {
        let file = lab.path("saved.tar");
        fs::write(&file, &saved).unwrap();
        let file = file.to_str().unwrap();
        let id = digest(&made.config);
        let raw = run("skopeo", &["inspect", "--raw", "--config", &format!("docker-archive:{file}:round:1")]);
        assert_eq!(digest(raw.as_bytes()), id);
        let to = lab.path("oci");
        let to = to.to_str().unwrap();
        // It checks every digest.
        let policy = ["--insecure-policy", "copy", "-q"];
        run("skopeo", &[&policy[..], &[&format!("docker-archive:{file}:round:1"), &format!("oci:{to}:x")]].concat());
        run("skopeo", &[&policy[..], &[&format!("oci-archive:{file}:1"), &format!("oci:{to}:y")]].concat());
    }
}

#[test]
fn layouts_of_umoci_and_archives_of_skopeo_are_loaded() {
    if skipped() || !has("umoci") || !has("skopeo") || !has("tar") {
        return;
    }
    let lab = Lab::new(&[]);
    let layout = lab.path("layout");
    let layout_text = layout.to_str().unwrap();
    let named = format!("{layout_text}:latest");
    run("umoci", &["init", "--layout", layout_text]);
    run("umoci", &["new", "--image", &named]);
    let file = lab.path("hello");
    fs::write(&file, b"from umoci").unwrap();
    run("umoci", &["insert", "--image", &named, file.to_str().unwrap(), "/srv/hello"]);
    run(
        "umoci",
        &["insert", "--opaque", "--image", &named, lab.folder.path().join("hello").to_str().unwrap(), "/srv/second"],
    );
    run("umoci", &["config", "--image", &named, "--config.cmd", "/srv/hello", "--config.user", "nobody"]);

    let packed = lab.path("layout.tar");
    run("tar", &["-C", layout_text, "-cf", packed.to_str().unwrap(), "."]);
    let loaded = lab.store.load(&mut fs::File::open(&packed).unwrap()).unwrap();
    // umoci's tag is a bare word: the image has no name.
    assert_eq!((loaded.len(), loaded[0].names.len()), (1, 0));
    let id = loaded[0].id.to_string();
    assert_eq!(lab.text(&id, "srv/hello"), "from umoci");
    assert_eq!(lab.store.lookup(&id).unwrap().config.config.user, "nobody");
    assert_eq!(lab.store.lookup(&id[7..19]).unwrap().id, loaded[0].id);

    for (kind, name) in [("docker-archive", "skopeo/image:docker"), ("oci-archive", "skopeo/image:oci")] {
        let there = Lab::new(&[]);
        let archive = there.path("archive.tar");
        let target = format!("{kind}:{}:{name}", archive.to_str().unwrap());
        run("skopeo", &["--insecure-policy", "copy", "-q", &format!("oci:{named}"), &target]);
        let loaded = there.store.load(&mut fs::File::open(&archive).unwrap()).unwrap();
        assert_eq!(loaded[0].names, [name]);
        assert_eq!(there.text(name, "srv/hello"), "from umoci");
        there.assert_clean();
    }
}

#[test]
fn archives_that_lie_are_refused() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let made = image(OCI, &[(tar(&[("a", b"1")]), Form::Plain)]);
    let refuse = |files: &[(&str, &[u8])], why: &str| {
        let error = lab.store.load(&mut tar(files).as_slice()).unwrap_err().to_string();
        assert!(error.contains(why), "{error} (expected: {why})");
        lab.assert_clean();
        assert!(lab.store.list().is_empty());
    };
    refuse(&[("a", b"x")], "neither a manifest.json");
    refuse(&[("manifest.json", b"{}")], "malformed");
    refuse(&[("manifest.json", br#"[{"Config": "c.json", "Layers": []}]"#)], "c.json is missing");
    let name = format!("{}.json", &digest(b"other")[7..]);
    let manifest = json!([{"Config": name, "RepoTags": null, "Layers": ["l"]}]).to_string();
    refuse(
        &[(&name, &made.config), ("l", &made.blobs[0]), ("manifest.json", manifest.as_bytes())],
        "it has the digest",
    );
    // A layer that is not what the config says.
    let manifest = json!([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l"]}]).to_string();
    let other = tar(&[("evil", b"1")]);
    refuse(&[("c.json", &made.config), ("l", &other), ("manifest.json", manifest.as_bytes())], "the config says");
    let foreign = config(&[], "amd64");
    refuse(&[("c.json", &foreign), ("l", &made.blobs[0]), ("manifest.json", manifest.as_bytes())], "1 layers");
    refuse(&[("manifest.json", &vec![b' '; 5 << 20])], "more than");
    refuse(&[("index.json", br#"{"schemaVersion": 2}"#)], "neither a manifest nor an index");
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI, "digest": digest(&made.manifest), "size": 3}]})
    .to_string();
    let path = format!("blobs/sha256/{}", &digest(&made.manifest)[7..]);
    refuse(&[("index.json", index.as_bytes()), (&path, b"{}")], "it has the digest");
    // Links within the archive go round in circles, or out of it.
    let circles = raw_tar(&[raw("manifest.json", b'2', "x", b""), raw("x", b'2', "manifest.json", b"")]);
    assert!(lab.store.load(&mut circles.as_slice()).is_err());
    let out = raw_tar(&[raw("manifest.json", b'2', "../../../../etc/passwd", b"")]);
    assert!(lab.store.load(&mut out.as_slice()).is_err());
    lab.assert_clean();
}

#[test]
fn imports_apply_changes() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let changes = ["CMD [\"sh\"]".to_owned(), "ENV PATH=/bin".to_owned(), "EXPOSE 80".to_owned()];
    let archive = tar(&[("bin/sh", b"#!")]);
    lab.store.import(&mut archive.as_slice(), "busy:1", &changes, Some("by hand")).unwrap();
    let inspected = lab.store.inspect("busy:1").unwrap();
    assert_eq!(inspected["Config"]["Cmd"], json!(["sh"]));
    assert_eq!(inspected["Config"]["ExposedPorts"], json!({"80/tcp": {}}));
    assert_eq!(inspected["RepoTags"], json!(["busy:1"]));
    let (_, history) = lab.store.history("busy:1").unwrap();
    assert_eq!((history.len(), history[0].comment.as_str(), history[0].size), (1, "by hand", 2));
    // The same root file system again is another image with the same layer.
    let second = lab.import(&archive, "busy:2").unwrap();
    assert_ne!(lab.store.lookup("busy:1").unwrap().id, second);
    assert_eq!(lab.names("layers").len(), 1);
    for (reference, change) in [("x@sha256:1", "CMD x"), ("UPPER", "CMD x"), ("x", "RUN x")] {
        let result = lab.store.import(&mut archive.as_slice(), reference, &[change.to_owned()], None);
        assert!(result.is_err(), "{reference} {change}");
    }
}
