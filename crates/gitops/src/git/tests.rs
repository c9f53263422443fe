//! Addresses, and repositories on this disk.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;

/// A repository to follow, and ours.
struct Place {
    root: tempfile::TempDir,
    git: Git,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        let git = Git::open(root.path().join("data"), root.path().join("run")).unwrap();
        let place = Place { root, git };
        std::fs::create_dir(place.theirs()).unwrap();
        place.run(&["init", "-q", "-b", "main"]);
        place
    }

    fn theirs(&self) -> PathBuf {
        self.root.path().join("theirs")
    }

    fn run(&self, words: &[&str]) -> String {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(words).current_dir(self.theirs());
        let out = command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
        assert!(out.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, text: &str) -> String {
        std::fs::write(self.theirs().join("file"), text).unwrap();
        self.run(&["add", "-A"]);
        self.run(&["commit", "-q", "-m", text]);
        self.run(&["rev-parse", "HEAD"])
    }

    /// The newest commit of `main`, fetched.
    async fn fetch(&self) -> Commit {
        let url = format!("file://{}", self.theirs().display());
        let remote = Remote { url: &url, credentials: &Credentials::default() };
        let (commit, by) = self.git.resolve(remote, "main").await.unwrap();
        self.git.fetch("x", remote, &commit, &by).await.unwrap()
    }
}

#[tokio::test]
async fn a_lock_that_a_crash_left_is_nobodys() {
    let place = Place::new();
    place.commit("1");
    assert_eq!(place.fetch().await.subject, "1");
    let second = place.commit("2");
    for lock in ["shallow.lock", "refs/rswarm/current.lock"] {
        std::fs::write(place.root.path().join("data/x.git").join(lock), "").unwrap();
    }
    assert_eq!(place.fetch().await.id, second);
}

#[tokio::test]
async fn a_repository_is_held_by_one_at_a_time() {
    let place = Place::new();
    let first = place.git.hold("x").await;
    let other = place.git.clone();
    let second = tokio::spawn(async move { drop(other.hold("x").await) });
    place.git.hold("y").await;
    assert!(!second.is_finished());
    drop(first);
    second.await.unwrap();
    place.git.hold("z").await;
    assert_eq!(place.git.held.lock().unwrap().len(), 1, "what nobody holds is forgotten");
}

#[test]
fn addresses_that_could_run_something_are_refused() {
    for url in ["https://h/r.git", "ssh://git@h/r", "git@h:r.git", "file:///srv/r.git", "http://127.0.0.1/r"] {
        assert!(check_url(url).is_ok(), "{url}");
    }
    for url in ["ext::sh -c x", "-x", "--upload-pack=x", "/srv/r", "r", "ftp://h/r", "https://h/\n", "fd::3"] {
        assert!(check_url(url).is_err(), "{url}");
    }
}
