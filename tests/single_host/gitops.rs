//! Plans, files that are watched, and sources that are followed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Host, eventually, eventually_or, run};

/// One service with a variable, by which a version is known.
pub(crate) fn stack(value: &str, more: &str) -> String {
    format!(
        "services:\n  web:\n    image: {BUSYBOX}\n    command: sleep 10000\n    stop_grace_period: 0s\n    \
         environment: {{V: '{value}'}}\n{more}"
    )
}

/// Two services of the same version.
pub(crate) fn pair(value: &str) -> String {
    let other = stack(value, "").replace("services:\n  web:", "  other:");
    stack(value, &other)
}

/// The variable as the cluster wants it, of each service of a stack, seen at one moment.
pub(crate) fn versions(host: &Host, stack: &str) -> Vec<String> {
    let names = host.rswarm(["stack", "services", "-q", stack]).lines();
    if names.is_empty() {
        return Vec::new();
    }
    let words = ["service", "inspect", "--format", "{{json .Spec.TaskTemplate.ContainerSpec.Env}}"].map(str::to_owned);
    let out = host.rswarm(words.into_iter().chain(names));
    let value = |line: &str| line.split("\"V=").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    out.stdout.lines().map(|line| value(line).unwrap_or_default()).collect()
}

#[test]
fn a_plan_is_shown_saved_and_done() {
    let Some(host) = Host::new() else { return };
    let secret = "    secrets: [key]\nsecrets:\n  key: {file: ./key}\n";
    host.write("key", "hush-hush");
    let file = host.write("a.yaml", &stack("1", secret));
    let up = ["-p", "shop", "-f", &file];
    let verb = |verb: &str, more: &[&str]| host.rswarm([verb].iter().chain(&up).chain(more));
    let out = verb("plan", &[]);
    assert_eq!(out.code(), 2, "{out}");
    assert!(out.stdout.contains("+ service web") && out.stdout.contains("1. web.1 starts on"), "{out}");
    assert!(host.sh("ls -q").stdout.is_empty(), "it was only a plan");
    verb("up", &[]).ok();
    let same = verb("plan", &[]);
    assert_eq!(same.code(), 0, "{same}");
    host.write("key", "other-hush");
    host.write("a.yaml", &stack("2", secret));
    let out = verb("plan", &["--out", "saved"]);
    assert_eq!(out.code(), 2, "{out}");
    for text in ["~ secret shop_key: content", "environment.V: changed", "web.1 stops", "web.1 starts"] {
        assert!(out.stdout.contains(text), "{text} is not in {out}");
    }
    assert!(!out.stdout.contains("hush"), "{out}");
    let json = verb("up", &["--dry-run"]);
    assert_eq!((json.code(), versions(&host, "shop")), (2, vec!["1".to_owned()]), "{json}");
    assert!(!verb("plan", &["--format", "json"]).stdout.contains("hush"));
    host.sh("up --plan saved").ok();
    assert_eq!(versions(&host, "shop"), ["2"]);
    // The state is another by now.
    let stale = host.sh("up --plan saved").fails();
    assert!(stale.stderr.contains("has changed since the plan was made"), "{stale}");
    host.write("a.yaml", "services: {web: {image: 7, ports: x}}");
    assert_eq!(verb("plan", &[]).code(), 1);
}

/// A command that goes on until the test ends.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

pub(crate) fn until(host: &Host, stack: &str, wanted: &[&str], within: Duration) -> Duration {
    let began = Instant::now();
    let what = || format!("{stack} is at {wanted:?}; the log: {}", host.log_tail());
    eventually_or(what, within, || versions(host, stack) == wanted);
    began.elapsed()
}

pub(crate) const SOON: Duration = Duration::from_secs(10);

#[test]
fn what_is_saved_is_what_runs() {
    let Some(host) = Host::new() else { return };
    let file = host.write("a.yaml", &stack("1", "    env_file: [./more]\n"));
    host.write("more", "X=1\n");
    let log = std::fs::File::create(host.work().join("watch.log")).unwrap();
    let mut command = host.rswarm_command(["up", "--watch", "-p", "shop", "-f", &file]);
    let watching = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    until(&host, "shop", &["1"], SOON);
    // As editors save, and files that the spec refers to.
    host.write("a.new", &stack("2", "    env_file: [./more]\n"));
    std::fs::rename(host.work().join("a.new"), &file).unwrap();
    until(&host, "shop", &["2"], SOON);
    host.write("more", "X=2\n");
    eventually("the variable of the file", SOON, || host.sh("service inspect shop_web").stdout.contains("X=2"));
    // What makes no sense changes nothing, and is told.
    host.write("a.yaml", "services:\n  web:\n    imagee: x\n");
    let told = || std::fs::read_to_string(host.work().join("watch.log")).unwrap();
    eventually("the error is told", SOON, || told().contains("nothing was changed"));
    assert!(told().contains("a.yaml:3"), "{}", told());
    assert_eq!(versions(&host, "shop"), ["2"]);
    host.write("a.yaml", &stack("3", ""));
    until(&host, "shop", &["3"], SOON);
    drop(watching);
}

#[test]
fn a_folder_is_followed() {
    let Some(host) = Host::new() else { return };
    host.write("src/compose.yaml", &stack("1", ""));
    host.sh("gitops add shop src --self-heal --prune").ok();
    assert_eq!(versions(&host, "shop"), ["1"]);
    host.sh("gitops status shop --wait").ok();
    host.write("src/compose.yaml", &stack("2", ""));
    until(&host, "shop", &["2"], SOON);
    // By hand: put right at once.
    host.sh("service scale -d shop_web=3").ok();
    let replicas = host.sh("service ls --format {{.Replicas}}").text();
    assert!(replicas.ends_with("/1"), "{replicas}");
    // Not allowed, and nonsense: told, and nothing changes.
    host.write("src/compose.yaml", &stack("3", "    privileged: true\n    volumes: ['/etc:/x']\n"));
    eventually("it is refused", SOON, || host.sh("gitops status shop").stdout.contains("invalid"));
    let status = host.sh("gitops status shop");
    assert!(status.stderr.contains("--allow bind") && status.stderr.contains("privileged"), "{status}");
    assert_eq!((status.code(), versions(&host, "shop")), (1, vec!["2".to_owned()]), "{status}");
    host.sh("gitops suspend shop").ok();
    host.write("src/compose.yaml", &stack("4", ""));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(versions(&host, "shop"), ["2"]);
    host.sh("gitops resume shop").ok();
    until(&host, "shop", &["4"], SOON);
    // It goes on where another daemon left it.
    host.kill_daemon();
    host.write("src/compose.yaml", &stack("5", ""));
    host.start_daemon();
    until(&host, "shop", &["5"], SOON);
    let history = host.sh("gitops history shop").ok();
    assert!(history.stdout.contains("put right") && history.stdout.contains("invalid"), "{history}");
    host.sh("gitops rm shop --down").ok();
    eventually("the stack goes", SOON, || host.sh("stack services -q shop").lines().is_empty());
}

/// A mount that goes with the test.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_folder_whose_kernel_tells_nothing_is_looked_at() {
    let Some(host) = Host::new() else { return };
    host.write("server/compose.yaml", &stack("1", ""));
    let mount = host.work().join("mnt");
    std::fs::create_dir(&mount).unwrap();
    // As on NFS: what others write to the server's folder is there, and no event says so.
    let server = host.work().join("server");
    let mounted = Command::new("bindfs").arg(&server).arg(&mount).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("SKIPPED: needs bindfs and FUSE");
        return;
    }
    let _mount = Mount(mount);
    host.sh("gitops add shop mnt").ok();
    let log = std::fs::File::create(host.work().join("watch.log")).unwrap();
    let mut command = host.rswarm_command(["up", "--watch", "-p", "other", "-f", "mnt/compose.yaml"]);
    let watching = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    until(&host, "other", &["1"], SOON);
    for value in ["2", "3"] {
        host.write("server/new", &stack(value, ""));
        std::fs::rename(server.join("new"), server.join("compose.yaml")).unwrap();
        until(&host, "shop", &[value], SOON);
        let told = || std::fs::read_to_string(host.work().join("watch.log")).unwrap();
        let what = || format!("other is at {value}; the command said: {}", told());
        eventually_or(what, SOON, || versions(&host, "other") == [value]);
    }
    drop(watching);
    host.sh("gitops rm shop --down").ok();
    host.down("other").ok();
}

/// A repository, and a place to commit from.
pub(crate) struct Repo {
    pub(crate) work: PathBuf,
    pub(crate) bare: PathBuf,
}

impl Repo {
    pub(crate) fn new(host: &Host) -> Repo {
        Repo::named(host, "repo")
    }

    pub(crate) fn named(host: &Host, name: &str) -> Repo {
        let (work, bare) = (host.work().join(format!("{name}.clone")), host.work().join(format!("{name}.git")));
        let repo = Repo { work, bare };
        repo.git(Path::new("/"), &["init", "-q", "--bare", "-b", "main", repo.bare.to_str().unwrap()]);
        repo.git(Path::new("/"), &["clone", "-q", repo.bare.to_str().unwrap(), repo.work.to_str().unwrap()]);
        repo
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    pub(crate) fn git(&self, cwd: &Path, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]).args(words).current_dir(cwd);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        run(&mut command).ok().text()
    }

    /// Writes a file, commits and pushes; the commit.
    pub(crate) fn commit(&self, name: &str, text: &str, more: &[&str]) -> String {
        let path = self.work.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self.git(&self.work, &["add", "-A"]);
        let words: Vec<&str> = ["commit", "-q", "-m", "a change"].iter().chain(more).copied().collect();
        let settings: Vec<&str> = more.iter().filter(|word| word.contains('=')).copied().collect();
        let words: Vec<&str> = words.into_iter().filter(|word| !word.contains('=')).collect();
        let words: Vec<&str> = settings.iter().flat_map(|setting| ["-c", setting]).chain(words).collect();
        self.git(&self.work, &words);
        self.git(&self.work, &["push", "-q", "origin", "HEAD:main"]);
        self.git(&self.work, &["rev-parse", "HEAD"])
    }
}

#[test]
fn a_repository_is_followed() {
    let Some(host) = Host::new() else { return };
    let repo = Repo::new(&host);
    let first = repo.commit("deploy/stack.yaml", &pair("1"), &[]);
    let add = ["gitops", "add", "shop", &repo.url(), "--ref", "main", "--path", "deploy", "--interval", "300ms"];
    host.rswarm(add.iter().chain(&["--rollback", "--health-timeout", "20s"])).ok();
    assert_eq!(versions(&host, "shop"), ["1", "1"]);
    host.sh("gitops status shop --wait").ok();
    // Another source can't have the stack.
    let other = host.rswarm(["gitops", "add", "other", &repo.url(), "--stack", "shop"]).fails();
    assert!(other.stderr.contains("is followed from source shop already"), "{other}");
    repo.commit("deploy/stack.yaml", &pair("2"), &[]);
    until(&host, "shop", &["2", "2"], SOON);
    host.sh("gitops status shop --wait").ok();
    // Nonsense is shown with its place, and changes nothing.
    repo.commit("deploy/stack.yaml", "services:\n  web: {imagee: x}\n", &[]);
    eventually("it is refused", SOON, || host.sh("gitops status shop").stdout.contains("invalid"));
    let status = host.sh("gitops status shop");
    assert!(status.stderr.contains("deploy/stack.yaml:2"), "{status}");
    assert_eq!(versions(&host, "shop"), ["2", "2"]);
    // Files of the host can't be named.
    repo.commit("deploy/stack.yaml", &stack("3", "    env_file: [/etc/passwd]\n"), &[]);
    eventually("it is refused", SOON, || host.sh("gitops status shop").stderr.contains("not in the repository"));
    // What does not come up is taken back as a whole.
    repo.commit("deploy/stack.yaml", &pair("4").replacen("sleep 10000", "\"false\"", 1), &[]);
    eventually("it goes back", Duration::from_secs(60), || {
        host.sh("gitops status shop").stdout.contains("rolled back") && versions(&host, "shop") == ["2", "2"]
    });
    repo.commit("deploy/stack.yaml", &pair("5"), &[]);
    until(&host, "shop", &["5", "5"], SOON);
    // Back by hand, and forward again.
    host.rswarm(["gitops", "rollback", "shop", &first[..12]]).ok();
    assert_eq!(versions(&host, "shop"), ["1", "1"]);
    host.sh("gitops resume shop").ok();
    until(&host, "shop", &["5", "5"], SOON);
    // A repository that is not there changes nothing.
    let away = repo.bare.with_extension("away");
    std::fs::rename(&repo.bare, &away).unwrap();
    eventually("it is unreachable", SOON, || host.sh("gitops status shop").stdout.contains("unreachable"));
    assert_eq!(versions(&host, "shop"), ["5", "5"]);
    std::fs::rename(&away, &repo.bare).unwrap();
    host.sh("gitops sync shop").ok();
    assert!(host.sh("gitops ls").ok().stdout.contains("shop"));
    assert_eq!(host.sh("gitops diff shop").code(), 0);
    let unknown = host.rswarm(["gitops", "add", "x", &repo.url(), "--ref", "nowhere", "--interval", "0"]);
    assert!(unknown.stdout.contains("there is no branch, tag or commit `nowhere`"), "{unknown}");
    host.sh("gitops rm x").ok();
    host.sh("gitops rm shop").ok();
}

/// `age-keygen` made it for this test.
const AGE_KEY: &str = "AGE-SECRET-KEY-1Y62YT7MPMX65Y3NPHDP25RQF248Y79GUXDZQQ4VENRA5UKX7HV4SKL0NF5\n";

/// `hush-hush`, encrypted by `age` for that key.
const AGE_FILE: &str = "-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSAxcFN1MjVHVFBFdDdvcVIz
ekpHdWkva0VSQk1MQjhjYjdHSjdCTzgrdlRVCjJBOVVUSmlXM2Q5bzBiSU9tdGM4
bzBCdGRzRGVVUm9iYkJLUzViQ1JGaDAKLS0tIGZ4ckdLYUo4Z1czT1dXL2p3NzAw
UmRBVUtteWdFUWZmOFEzNFNOOW94WW8KLJO9TE9mCkjLJ4HHXYbGukHyaMI6LMci
nFh4J/r1h+angO7/+iOVGeI=
-----END AGE ENCRYPTED FILE-----
";

#[test]
fn secrets_in_a_repository_are_opened_with_the_key_of_the_source() {
    let Some(host) = Host::new() else { return };
    host.write("keys", AGE_KEY);
    let repo = Repo::new(&host);
    std::fs::write(repo.work.join("key.age"), AGE_FILE).unwrap();
    let secret = "    secrets: [key]\nsecrets:\n  key: {file: ./key.age}\n";
    let text = stack("1", secret).replace("sleep 10000", "sh -c 'cat /run/secrets/key; echo; exec sleep 10000'");
    repo.commit("compose.yaml", &text, &[]);
    let add = ["gitops", "add", "shop", &repo.url(), "--interval", "0"];
    let refused = host.rswarm(add).fails();
    assert!(refused.stderr.contains("secret shop_key is encrypted with age, and this source has no key"), "{refused}");
    host.write("nonsense", "AGE-SECRET-KEY-1NONSENSE\n");
    let nonsense = host.rswarm(add.iter().chain(&["--replace", "--age-key", "nonsense"])).fails();
    assert!(nonsense.stderr.contains("line 1 is no secret key"), "{nonsense}");
    assert!(!nonsense.stderr.contains("NONSENSE"), "{nonsense}");
    host.rswarm(add.iter().chain(&["--replace", "--age-key", "keys"])).ok();
    host.sh("gitops status shop --wait").ok();
    eventually("the secret is read", SOON, || host.sh("logs --no-log-prefix -p shop web").stdout == "hush-hush\n");
    let shown = ["gitops status shop --format json", "gitops history shop", "gitops diff shop --format json"];
    for shown in shown {
        let out = host.sh(shown);
        assert!(!out.stdout.contains("AGE-SECRET") && !out.stdout.contains("hush"), "{out}");
    }
    host.sh("gitops rm shop --down").ok();
}

#[test]
fn the_walk_through_walks() {
    let Some(host) = Host::new() else { return };
    let text = std::fs::read_to_string(e2e::root().join("examples/gitops/README.md")).unwrap();
    let script = text.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let script = script.replace("/srv/", &format!("{}/", host.work().display()));
    let binary = e2e::binary();
    host.write("walk.sh", &format!("set -ex\n{script}"));
    let mut shell = host.command("sh");
    shell.arg("walk.sh").env("RSWARM_HOST", format!("unix://{}", host.socket().display()));
    let path = std::env::var("PATH").unwrap();
    shell.env("PATH", format!("{}:{path}", binary.parent().unwrap().display()));
    for (name, value) in [("GIT_AUTHOR_NAME", "Ann"), ("GIT_COMMITTER_NAME", "Ann")] {
        shell.env(name, value).env(name.replace("NAME", "EMAIL"), "ann@example.com");
    }
    let out = run(shell.env("GIT_CONFIG_GLOBAL", "/dev/null")).ok();
    assert!(out.stdout.contains("first\n") && out.stdout.contains("second\n"), "{out}");
}
