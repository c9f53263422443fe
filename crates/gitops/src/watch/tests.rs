//! Every way of saving that we know of, on a real file system.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use crate::files::{DISK, Recorder};
use compose::Files as _;
use std::io::Write as _;

fn read(path: &Path) -> (String, Touched) {
    let recorder = Recorder::new(&DISK);
    let text = recorder.read(path.to_str().unwrap()).map(|bytes| String::from_utf8(bytes).unwrap());
    (text.unwrap_or_default(), recorder.finish())
}

/// A watch on one file, which is there.
fn on(path: &Path) -> Watch {
    let mut watch = Watch::new();
    watch.follow(read(path).1);
    watch
}

/// What the file is after the next change.
async fn next(watch: &mut Watch, path: &Path) -> String {
    tokio::time::timeout(Duration::from_secs(4), watch.changed(&DISK)).await.expect("a change");
    let (text, touched) = read(path);
    watch.follow(touched);
    text
}

async fn nothing(watch: &mut Watch) {
    assert!(tokio::time::timeout(Duration::from_millis(300), watch.changed(&DISK)).await.is_err(), "a change");
}

#[tokio::test]
async fn however_it_is_saved() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("stack.yaml");
    std::fs::write(&path, "1").unwrap();
    let mut watch = on(&path);
    std::fs::write(&path, "2").unwrap();
    assert_eq!(next(&mut watch, &path).await, "2");
    // By rename, as editors do; the file of before is kept.
    std::fs::write(root.path().join("x"), "3").unwrap();
    std::fs::rename(&path, root.path().join("stack.yaml~")).unwrap();
    std::fs::rename(root.path().join("x"), &path).unwrap();
    assert_eq!(next(&mut watch, &path).await, "3");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(next(&mut watch, &path).await, "");
    std::fs::write(&path, "4").unwrap();
    assert_eq!(next(&mut watch, &path).await, "4");
    // The same content again, and other files, are nothing.
    std::fs::write(&path, "4").unwrap();
    std::fs::write(root.path().join("other"), "4").unwrap();
    nothing(&mut watch).await;
}

#[tokio::test]
async fn links_are_followed_and_watched() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for version in ["v1", "v2"] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("stack.yaml"), version).unwrap();
    }
    std::os::unix::fs::symlink("v1", at("data")).unwrap();
    std::os::unix::fs::symlink("data/stack.yaml", at("stack.yaml")).unwrap();
    let mut watch = on(&at("stack.yaml"));
    // As Kubernetes swaps its config maps.
    std::os::unix::fs::symlink("v2", at("new")).unwrap();
    std::fs::rename(at("new"), at("data")).unwrap();
    assert_eq!(next(&mut watch, &at("stack.yaml")).await, "v2");
    std::fs::write(at("v2").join("stack.yaml"), "3").unwrap();
    assert_eq!(next(&mut watch, &at("stack.yaml")).await, "3");
}

#[tokio::test]
async fn a_folder_that_is_made_anew_is_watched_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("deploy");
    let path = folder.join("stack.yaml");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&path, "1").unwrap();
    let mut watch = on(&path);
    for text in ["2", "3"] {
        std::fs::remove_dir_all(&folder).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&path, text).unwrap();
        assert_eq!(next(&mut watch, &path).await, text);
    }
}

#[tokio::test]
async fn a_half_written_file_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("stack.yaml");
    std::fs::write(&path, "1").unwrap();
    let mut watch = on(&path);
    let slow = path.clone();
    let writer = tokio::spawn(async move {
        let mut file = std::fs::File::create(slow).unwrap();
        for part in ["first ", "second ", "third"] {
            file.write_all(part.as_bytes()).unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    });
    assert_eq!(next(&mut watch, &path).await, "first second third");
    writer.await.unwrap();
}

#[tokio::test]
async fn a_storm_ends_at_the_last() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("stack.yaml");
    std::fs::write(&path, "start").unwrap();
    let mut watch = on(&path);
    let stormy = path.clone();
    let storm = tokio::spawn(async move {
        for number in 0..300 {
            std::fs::write(&stormy, number.to_string()).unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut looks = 0;
    while next(&mut watch, &path).await != "299" {
        looks += 1;
    }
    storm.await.unwrap();
    assert!(looks < 10, "{looks} of 300 were looked at");
}

#[tokio::test]
async fn without_events_it_is_found_by_looking() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("stack.yaml");
    std::fs::write(&path, "1").unwrap();
    let mut watch = Watch { watcher: None, ..Watch::new() };
    watch.follow(read(&path).1);
    std::fs::write(&path, "2").unwrap();
    assert_eq!(next(&mut watch, &path).await, "2");
}

/// A disk on which somebody saves just after a file was read.
struct SavedMeanwhile(std::sync::atomic::AtomicBool);

impl compose::Files for SavedMeanwhile {
    fn read(&self, path: &str) -> Result<Vec<u8>, compose::FileError> {
        let bytes = DISK.read(path);
        if !self.0.swap(true, std::sync::atomic::Ordering::Relaxed) {
            std::fs::write(path, "two").unwrap();
        }
        bytes
    }

    fn exists(&self, path: &str) -> bool {
        DISK.exists(path)
    }
}

impl Folder for SavedMeanwhile {
    fn names(&self, folder: &str) -> Vec<String> {
        DISK.names(folder)
    }
}

#[tokio::test]
async fn without_events_what_is_saved_while_it_is_looked_is_found() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("stack.yaml");
    std::fs::write(&path, "1").unwrap();
    let mut watch = Watch { watcher: None, ..Watch::new() };
    watch.follow(read(&path).1);
    let disk = SavedMeanwhile(false.into());
    tokio::time::timeout(Duration::from_secs(4), watch.changed(&disk)).await.expect("a change");
}

/// git, without anything of the machine's.
fn git(folder: &Path, words: &[&str]) {
    let mut command = std::process::Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(words).current_dir(folder);
    let out = command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(out.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&out.stderr));
}

#[tokio::test]
async fn a_checkout_of_another_branch_is_a_save() {
    let root = tempfile::tempdir().unwrap();
    let (folder, path) = (root.path().join("deploy"), root.path().join("deploy/stack.yaml"));
    git(root.path(), &["init", "-q", "-b", "none"]);
    std::fs::write(root.path().join("readme"), "no stack here").unwrap();
    git(root.path(), &["add", "-A"]);
    git(root.path(), &["commit", "-q", "-m", "none"]);
    for branch in ["first", "second"] {
        git(root.path(), &["checkout", "-q", "-b", branch, "none"]);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, branch).unwrap();
        git(root.path(), &["add", "-A"]);
        git(root.path(), &["commit", "-q", "-m", branch]);
    }
    git(root.path(), &["checkout", "-q", "first"]);
    let mut watch = on(&path);
    git(root.path(), &["checkout", "-q", "second"]);
    assert_eq!(next(&mut watch, &path).await, "second");
    // The branch has no such folder: git removes it, and makes another one.
    git(root.path(), &["checkout", "-q", "none"]);
    assert_eq!(next(&mut watch, &path).await, "");
    git(root.path(), &["checkout", "-q", "first"]);
    assert_eq!(next(&mut watch, &path).await, "first");
}
