//! Images without a registry: import, load, save, names, removal, and archives that mean harm.

use std::process::Command;

use e2e::{BUSYBOX, Host, Options, make_layout, rootfs_tar, run};

fn tar(folder: &str, archive: &str) {
    run(Command::new("tar").args(["-C", folder, "-cf", archive, "."])).ok();
}

/// What `image load` says it loaded: the last word of its last line.
fn loaded(output: &e2e::Output) -> String {
    output.stdout.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn import_with_changes() {
    let Some(host) = Host::new() else { return };
    let file = rootfs_tar();
    let words =
        ["image", "import", "-c", "CMD [\"echo\",\"by default\"]", "-c", "ENV A=1", "-c", "WORKDIR /tmp", "-m", "why"];
    host.rswarm(words.into_iter().chain([file.to_str().unwrap(), "own:1"])).ok();
    host.rswarm(["run", "--rm", "own:1"]).ok().prints("by default");
    host.rswarm(["run", "--rm", "own:1", "sh", "-c", "echo $A; pwd"]).ok().prints("1\n/tmp");
    host.sh("history own:1").ok().says("why");
    host.rswarm_with_input(["image", "import", "-", "piped:1"], &std::fs::read(&file).unwrap()).ok();
    host.rswarm(["run", "--rm", "piped:1", "true"]).ok();
    host.rswarm(["image", "import", "/no/such/file", "x:1"]).fails().complains("/no/such/file");
    host.rswarm_with_input(["image", "import", "-", "x:1"], b"this is no archive").fails();
    host.rswarm(["image", "import", file.to_str().unwrap(), "Bad:Name:Here"]).fails().complains("Bad:Name:Here");
}

#[test]
fn names_are_given_and_taken() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["tag", BUSYBOX, "other:2"]).ok();
    let rows = host.sh("images --format json").ok().json_rows();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[0]["ID"], rows[1]["ID"]);
    host.sh("images -q").ok();
    let head = host.sh("images").ok().lines()[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(head, "REPOSITORY TAG IMAGE ID CREATED SIZE");
    host.sh("rmi other:2").ok().says("Untagged: other:2");
    host.rswarm(["image", "inspect", "other:2"]).fails().complains("other:2");
    host.rswarm(["image", "inspect", "--format", "{{.Architecture}} {{.Os}}", BUSYBOX]).ok().says("linux");
}

#[test]
fn an_image_in_use_is_kept() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--name box");
    host.rswarm(["rmi", BUSYBOX]).fails().complains("box");
    host.sh("image prune -a -f").ok();
    host.rswarm(["image", "inspect", BUSYBOX]).ok();
    host.sh("rm -f box").ok();
    host.sh("image prune -a -f").ok();
    host.rswarm(["image", "inspect", BUSYBOX]).fails();
    // everything is gone from disk, too
    let left = run(Command::new("du").arg("-sk").arg(host.data()));
    let kilobytes: u64 = left.stdout.split_whitespace().next().unwrap().parse().unwrap();
    assert!(kilobytes < 1500, "{left}");
}

#[test]
fn save_and_load_are_a_round_trip_that_other_tools_understand() {
    let Some(host) = Host::new() else { return };
    let archive = host.work().join("saved.tar");
    let id = host.rswarm(["image", "inspect", "--format", "{{.Id}}", BUSYBOX]).ok().text();
    host.rswarm(["save", "-o", archive.to_str().unwrap(), BUSYBOX]).ok();
    run(Command::new("skopeo").args(["inspect", &format!("docker-archive:{}", archive.display())])).ok();
    host.rswarm(["rmi", BUSYBOX]).ok();
    host.rswarm(["load", "-i", archive.to_str().unwrap()]).ok().says(BUSYBOX);
    assert_eq!(host.rswarm(["image", "inspect", "--format", "{{.Id}}", BUSYBOX]).ok().text(), id);
    host.rswarm(["run", "--rm", BUSYBOX, "true"]).ok();
}

#[test]
fn archives_of_other_tools_are_loaded() {
    let Some(host) = Host::with(Options { no_image: true, ..Options::default() }) else { return };
    let layout = busybox_layout(&host);
    let oci = host.work().join("oci.tar");
    tar(&layout, oci.to_str().unwrap());
    let image = loaded(&host.rswarm(["load", "-i", oci.to_str().unwrap()]).ok());
    host.rswarm(["run", "--rm", &image, "echo", "oci"]).ok().prints("oci");
    let docker = host.work().join("docker.tar");
    run(Command::new("skopeo").args([
        "copy",
        "-q",
        &format!("oci:{layout}:latest"),
        &format!("docker-archive:{}:saved:1", docker.display()),
    ]))
    .ok();
    host.rswarm(["load", "-q", "-i", docker.to_str().unwrap()]).ok().says("saved:1");
    host.rswarm(["run", "--rm", "saved:1", "echo", "docker"]).ok().prints("docker");
    run(Command::new("gzip").arg(&docker)).ok();
    host.rswarm_with_input(["load"], &std::fs::read(host.work().join("docker.tar.gz")).unwrap()).ok();
}

fn busybox_layout(host: &Host) -> String {
    make_layout(host, "layout", |rootfs| {
        run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
    })
}

#[test]
fn layers_whiteouts_hardlinks_xattrs_and_setuid() {
    let Some(host) = Host::with(Options { no_image: true, ..Options::default() }) else { return };
    let layout = busybox_layout(&host);
    let image = format!("{layout}:latest");
    let umoci = |words: &[&str]| run(Command::new("umoci").args(words)).ok();
    let bundle = host.work().join("b1");
    umoci(&["unpack", "--image", &image, bundle.to_str().unwrap()]);
    let rootfs = bundle.join("rootfs");
    std::fs::create_dir_all(rootfs.join("dir/sub")).unwrap();
    std::fs::write(rootfs.join("dir/gone"), "x").unwrap();
    std::fs::write(rootfs.join("dir/sub/x"), "x").unwrap();
    std::fs::write(rootfs.join("one"), "linked").unwrap();
    std::fs::hard_link(rootfs.join("one"), rootfs.join("two")).unwrap();
    std::fs::write(rootfs.join("suid"), "x").unwrap();
    run(Command::new("chmod").arg("4755").arg(rootfs.join("suid"))).ok();
    run(Command::new("setfattr").args(["-n", "user.note", "-v", "kept"]).arg(rootfs.join("one"))).ok();
    umoci(&["repack", "--image", &image, bundle.to_str().unwrap()]);
    std::fs::remove_dir_all(&bundle).unwrap();
    // a second layer takes away
    umoci(&["unpack", "--image", &image, bundle.to_str().unwrap()]);
    std::fs::remove_file(rootfs.join("dir/gone")).unwrap();
    std::fs::remove_dir_all(rootfs.join("dir/sub")).unwrap();
    std::fs::create_dir(rootfs.join("dir/sub")).unwrap();
    std::fs::write(rootfs.join("dir/sub/y"), "y").unwrap();
    umoci(&["repack", "--image", &image, bundle.to_str().unwrap()]);
    let archive = host.work().join("a.tar");
    tar(&layout, archive.to_str().unwrap());
    let id = loaded(&host.rswarm(["load", "-i", archive.to_str().unwrap()]).ok());
    let script = "ls dir dir/sub; stat -c '%h %a' one; stat -c %a suid; cat two";
    host.rswarm(["run", "--rm", &id, "sh", "-c", script]).ok().prints("dir:\nsub\n\ndir/sub:\ny\n2 644\n4755\nlinked");
}

/// An OCI archive whose only layer is a tar with these entries, made by Python's tarfile, which checks nothing.
fn hostile(host: &Host, name: &str, entries: &str) -> String {
    let archive = host.work().join(format!("{name}.tar"));
    let script = format!(
        r#"
import hashlib, io, json, tarfile
def entry(tar, name, kind=tarfile.REGTYPE, link="", data=b"", size=None, **more):
    info = tarfile.TarInfo(name); info.type = kind; info.linkname = link; info.size = len(data)
    for key, value in more.items(): setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    {entries}
blobs = {{}}
def blob(data):
    digest = hashlib.sha256(data).hexdigest(); blobs[digest] = data
    return {{"digest": "sha256:" + digest, "size": len(data)}}
layer = layer.getvalue()
config = blob(json.dumps({{"architecture": "amd64", "os": "linux", "config": {{"Cmd": ["/bin/sh"]}}, "rootfs": {{"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}}}).encode())
config["mediaType"] = "application/vnd.oci.image.config.v1+json"
descriptor = blob(layer); descriptor["mediaType"] = "application/vnd.oci.image.layer.v1.tar"
manifest = blob(json.dumps({{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [descriptor]}}).encode())
manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
manifest["annotations"] = {{"org.opencontainers.image.ref.name": "{name}:1"}}
with tarfile.open("{archive}", "w") as tar:
    for digest, data in blobs.items(): entry(tar, "blobs/sha256/" + digest, data=data)
    entry(tar, "oci-layout", data=b'{{"imageLayoutVersion": "1.0.0"}}')
    entry(tar, "index.json", data=json.dumps({{"schemaVersion": 2, "manifests": [manifest]}}).encode())
"#,
        archive = archive.display()
    );
    run(Command::new("python3").args(["-c", &script])).ok();
    archive.to_str().unwrap().to_owned()
}

#[test]
fn hostile_archives_do_not_touch_the_host() {
    let Some(host) = Host::new() else { return };
    let outside = host.work().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), "untouched").unwrap();
    let out = outside.to_str().unwrap();
    let cases = [
        ("dotdot", "entry(tar, '../../../../../../../../../../..'+OUT+'/owned', data=b'x')"),
        ("absolute", "entry(tar, OUT+'/owned', data=b'x')"),
        ("through-link", "entry(tar, 'l', tarfile.SYMTYPE, OUT); entry(tar, 'l/owned', data=b'x')"),
        (
            "through-link-chain",
            "entry(tar, 'a', tarfile.SYMTYPE, '..'); entry(tar, 'b', tarfile.SYMTYPE, 'a/../../../../../..'+OUT); entry(tar, 'b/owned', data=b'x')",
        ),
        ("hardlink-out", "entry(tar, 'h', tarfile.LNKTYPE, OUT+'/precious'); entry(tar, 'h', data=b'overwritten')"),
        (
            "hardlink-through-link",
            "entry(tar, 'l', tarfile.SYMTYPE, OUT); entry(tar, 'h', tarfile.LNKTYPE, 'l/precious'); entry(tar, 'h', data=b'overwritten')",
        ),
        ("whiteout-out", "entry(tar, 'l', tarfile.SYMTYPE, OUT); entry(tar, 'l/.wh.precious')"),
        ("opaque-out", "entry(tar, 'l', tarfile.SYMTYPE, OUT); entry(tar, 'l/.wh..wh..opq')"),
        (
            "chmod-out",
            "entry(tar, 'l', tarfile.SYMTYPE, OUT+'/precious'); entry(tar, 'l', tarfile.SYMTYPE, OUT+'/precious', mode=0)",
        ),
    ];
    for (name, entries) in cases {
        let archive = hostile(&host, name, &entries.replace("OUT", &format!("'{out}'")));
        // refused, or unpacked within its own root: both are fine, as long as the host is as it was
        let output = host.rswarm(["load", "-i", &archive]);
        let left: Vec<_> = std::fs::read_dir(&outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["precious"], "{name}: {output}");
        assert_eq!(std::fs::read_to_string(outside.join("precious")).unwrap(), "untouched", "{name}: {output}");
        assert!(!output.stderr.contains("panicked"), "{name}: {output}");
        drop(host.rswarm(["rmi", "-f", &format!("{name}:1")]));
    }
}

#[test]
fn damaged_archives_are_refused_and_leave_nothing() {
    let Some(host) = Host::new() else { return };
    let before = host.sh("images -a -q").ok().text();
    let layout = busybox_layout(&host);
    // one byte of a layer is wrong
    let blobs = std::path::Path::new(&layout).join("blobs/sha256");
    let biggest =
        std::fs::read_dir(&blobs).unwrap().flatten().max_by_key(|entry| entry.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(biggest.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(biggest.path(), &bytes).unwrap();
    let archive = host.work().join("damaged.tar");
    tar(&layout, archive.to_str().unwrap());
    host.rswarm(["load", "-i", archive.to_str().unwrap()]).fails();
    // cut short
    std::fs::write(biggest.path(), &bytes[..middle]).unwrap();
    tar(&layout, archive.to_str().unwrap());
    host.rswarm(["load", "-i", archive.to_str().unwrap()]).fails();
    // not there at all
    std::fs::remove_file(biggest.path()).unwrap();
    tar(&layout, archive.to_str().unwrap());
    host.rswarm(["load", "-i", archive.to_str().unwrap()]).fails();
    assert_eq!(host.sh("images -a -q").ok().text(), before);
}
