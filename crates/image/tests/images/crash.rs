//! Ends that nobody asked for: `kill -9`, a full disk, a damaged store.

use crate::fake::Fake;
use crate::lab::{Form, Lab, Made, OCI, image, noise, options, run, skipped, tar};
use image::{Error, Store, Uses};
use model::Logins;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Says to a copy of this program what to pull, and where to.
const CHILD: &str = "IMAGE_TEST_CHILD";

fn several(seed: u64) -> Made {
    let layers: Vec<_> = (0..5)
        .map(|number| {
            let content = noise(1 << 20, seed + number);
            (tar(&[(&format!("layer{number}"), &content), ("shared", &[b'0' + number as u8])]), Form::Gzip)
        })
        .collect();
    image(OCI, &layers)
}

fn check(lab: &Lab, name: &str, seed: u64) {
    for number in 0..5 {
        let content = std::fs::read(lab.file(name, &format!("layer{number}")).unwrap()).unwrap();
        assert!(content == noise(1 << 20, seed + number), "layer {number} is torn");
    }
    assert_eq!(lab.text(name, "shared"), "4");
}

/// Does something only in a process that [`kill_9_at_any_moment`] started.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (root, host) = what.split_once('|').unwrap();
    let store = Store::open(options(&PathBuf::from(root), &[host])).unwrap();
    store.pull(&format!("{host}/app:v"), Logins::NONE).unwrap().wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_moment() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    fake.serve("v", &several(100));
    fake.behaviour.slow.store(true, Ordering::SeqCst);
    let mut lab = Lab::new(&[&fake.host]);
    let mut seen = (0, 0);
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::child", "--exact", "--nocapture"])
            .env(CHILD, format!("{}|{}", lab.options.root.display(), fake.host))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(15 + round * 35)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        lab.reopen();
        assert_eq!(lab.names("staging"), Vec::<String>::new());
        match lab.store.lookup(&fake.name("v")) {
            Ok(_) => {
                check(&lab, &fake.name("v"), 100);
                lab.store.prune(true, &Uses::new()).unwrap();
                seen.0 += 1;
            }
            Err(_) => seen.1 += 1,
        }
    }
    eprintln!("{} pulls were complete when they were killed, {} were not", seen.0, seen.1);
    assert!(seen.1 > 0);
    lab.store.pull(&fake.name("v"), Logins::NONE).unwrap().wait().await.unwrap();
    check(&lab, &fake.name("v"), 100);
    lab.store.prune(true, &Uses::new()).unwrap();
    lab.assert_clean();
    assert_eq!((lab.names("layers").len(), lab.names("blobs").len()), (0, 0));
}

/// A small disk.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf, size: &str) -> Disk {
        std::fs::create_dir_all(&path).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", path.to_str().unwrap()]);
        Disk(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_left_clean() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    let big = image(
        OCI,
        &[
            (tar(&[("small", b"1")]), Form::Gzip),
            (tar(&[("big", &noise(24 << 20, 1))]), Form::Gzip),
            (tar(&[("other", &noise(3 << 20, 2))]), Form::Gzip),
        ],
    );
    fake.serve("big", &big);
    fake.serve("v", &several(7));
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path().join("disk"), "16m");
    let lab = Lab::with(&[&fake.host], |options, _| options.root = disk.0.join("images"));
    for _ in 0..2 {
        let error = lab.store.pull(&fake.name("big"), Logins::NONE).unwrap().wait().await.unwrap_err();
        assert!(matches!(*error, Error::DiskFull { .. }), "{error:?}");
        assert_eq!(lab.names("staging"), Vec::<String>::new());
        assert!(lab.store.list().is_empty());
    }
    let archive = tar(&[("big", &noise(24 << 20, 3))]);
    assert!(matches!(lab.import(&archive, "big"), Err(Error::DiskFull { .. })));
    // What fits goes well.
    lab.store.prune(false, &Uses::new()).unwrap();
    lab.assert_clean();
    lab.store.pull(&fake.name("v"), Logins::NONE).unwrap().wait().await.unwrap();
    check(&lab, &fake.name("v"), 7);
    drop(lab);
    drop(disk);
}

#[test]
fn a_damaged_image_is_dropped_at_the_start() {
    if skipped() {
        return;
    }
    let mut lab = Lab::new(&[]);
    lab.import(&tar(&[("a", b"1")]), "good").unwrap();
    lab.import(&tar(&[("a", b"2")]), "bad").unwrap();
    let layer = lab.store.lookup("bad").unwrap().layers.remove(0);
    std::fs::remove_dir_all(layer.parent().unwrap()).unwrap();
    lab.reopen();
    assert!(lab.store.lookup("bad").is_err());
    assert_eq!(lab.text("good", "a"), "1");
    // Layers from another boot that no image has may be torn.
    let stray = lab.options.root.join("layers/000000000000000000000000");
    std::fs::create_dir_all(stray.join("fs")).unwrap();
    let about =
        format!(r#"{{"diff_id": "sha256:{}", "archive_bytes": 1, "size": 1, "boot": "another"}}"#, "0".repeat(64));
    std::fs::write(stray.join("layer.json"), about).unwrap();
    lab.reopen();
    assert!(!stray.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_not_cleared_away() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    fake.serve("v", &several(50));
    fake.behaviour.slow.store(true, Ordering::SeqCst);
    let lab = Lab::new(&[&fake.host]);
    let pull = lab.store.pull(&fake.name("v"), Logins::NONE).unwrap();
    let pruning = async {
        for _ in 0..100 {
            let store = lab.store.clone();
            tokio::task::spawn_blocking(move || store.prune(true, &Uses::new()).unwrap()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (pulled, ()) = tokio::join!(pull.wait(), pruning);
    pulled.unwrap();
    // It may have been pruned as a whole right after; never in part.
    if lab.store.lookup(&fake.name("v")).is_ok() {
        check(&lab, &fake.name("v"), 50);
    }
}
