//! Plans, files that are watched, and sources that are followed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Host, Options, eventually, run};

/// One service with a variable, by which a version is known.
fn stack(value: &str, more: &str) -> String {
    format!(
        "services:\n  web:\n    image: {BUSYBOX}\n    command: sleep 10000\n    stop_grace_period: 0s\n    \
         environment: {{V: '{value}'}}\n{more}"
    )
}

/// Two services of the same version.
fn pair(value: &str) -> String {
    let other = stack(value, "").replace("services:\n  web:", "  other:");
    stack(value, &other)
}

/// The variable as the cluster wants it, of each service of a stack, seen at one moment.
fn versions(host: &Host, stack: &str) -> Vec<String> {
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
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn until(host: &Host, stack: &str, wanted: &[&str], within: Duration) -> Duration {
    let began = Instant::now();
    eventually(&format!("{stack} is at {wanted:?}; the log: {}", host.log_tail()), within, || {
        versions(host, stack) == wanted
    });
    began.elapsed()
}

const SOON: Duration = Duration::from_secs(10);

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

/// A repository, and a place to commit from.
struct Repo {
    work: PathBuf,
    bare: PathBuf,
}

impl Repo {
    fn new(host: &Host) -> Repo {
        let (work, bare) = (host.work().join("clone"), host.work().join("repo.git"));
        let repo = Repo { work, bare };
        repo.git(Path::new("/"), &["init", "-q", "--bare", "-b", "main", repo.bare.to_str().unwrap()]);
        repo.git(Path::new("/"), &["clone", "-q", repo.bare.to_str().unwrap(), repo.work.to_str().unwrap()]);
        repo
    }

    fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    fn git(&self, cwd: &Path, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com"]).args(words).current_dir(cwd);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        run(&mut command).ok().text()
    }

    /// Writes a file, commits and pushes; the commit.
    fn commit(&self, name: &str, text: &str, more: &[&str]) -> String {
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

#[test]
fn only_signed_commits_if_so_asked() {
    let Some(host) = Host::new() else { return };
    let key = host.work().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("SKIPPED: needs ssh-keygen");
        return;
    }
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    host.write("signers", &format!("ann@example.com {public}"));
    let repo = Repo::new(&host);
    repo.commit("compose.yaml", &stack("1", ""), &[]);
    let add = ["gitops", "add", "shop", &repo.url(), "--verify", "signers", "--interval", "0"];
    let refused = host.rswarm(add).fails();
    assert!(
        refused.stdout.contains("invalid") && refused.stderr.contains("no signature of an allowed signer"),
        "{refused}"
    );
    assert!(versions(&host, "shop").is_empty());
    let signing = format!("user.signingkey={}", key.display());
    repo.commit("compose.yaml", &stack("2", ""), &["gpg.format=ssh", &signing, "-S"]);
    host.sh("gitops sync shop").ok();
    assert_eq!(versions(&host, "shop"), ["2"]);
    host.sh("gitops rm shop").ok();
}

#[test]
fn a_push_over_http_is_told_by_a_webhook() {
    let (port, hooks) = (18_080, 18_081);
    let daemon = vec!["--webhook".to_owned(), format!("127.0.0.1:{hooks}")];
    let Some(host) = Host::with(Options { daemon, ..Options::default() }) else { return };
    let repo = Repo::new(&host);
    repo.commit("compose.yaml", &stack("1", ""), &[]);
    let script = format!(
        "#!/bin/sh\nexport GIT_PROJECT_ROOT={} GIT_HTTP_EXPORT_ALL=1 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory \
         GIT_CONFIG_VALUE_0='*'\nexec git http-backend\n",
        host.work().display()
    );
    let path = host.write("www/cgi-bin/git", &script);
    run(Command::new("chmod").args(["+x", &path])).ok();
    let conf = host.write("httpd.conf", "/cgi-bin:ann:pass\n");
    let mut server = host.command("busybox");
    server.args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-c", &conf, "-h", "www"]);
    let _server = Running(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    host.write("token", "ann:pass\n");
    host.write("hush", "webhook secret\n");
    let url = format!("http://127.0.0.1:{port}/cgi-bin/git/repo.git");
    eventually("the server answers", SOON, || {
        let mut curl = host.command("curl");
        run(curl.args(["-s", "-m", "2", "-u", "ann:pass", &format!("{url}/info/refs")])).succeeded()
    });
    let add = ["gitops", "add", "shop", &url, "--ref", "main", "--interval", "0", "--webhook-secret", "hush"];
    let refused = host.rswarm(add).fails();
    assert!(refused.stdout.contains("refuses the credentials"), "{refused}");
    host.rswarm(add.iter().chain(&["--token-file", "token", "--replace"])).ok();
    assert_eq!(versions(&host, "shop"), ["1"]);
    assert!(!host.sh("gitops status shop --format json").stdout.contains("ann:pass"));
    repo.commit("compose.yaml", &stack("2", ""), &[]);
    let hook = |name: &str, token: &str| {
        let mut curl = host.command("curl");
        curl.args([
            "-s",
            "-m",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            &format!("X-Gitlab-Token: {token}"),
        ]);
        run(curl.args(["-d", "{}", &format!("http://127.0.0.1:{hooks}/hook/{name}")])).ok().text()
    };
    assert_eq!((hook("shop", "guess"), hook("nobody", "guess")), ("401".to_owned(), "401".to_owned()));
    assert_eq!(versions(&host, "shop"), ["1"]);
    assert_eq!(hook("shop", "webhook secret"), "202");
    until(&host, "shop", &["2"], SOON);
    host.sh("gitops rm shop").ok();
}

#[test]
fn killed_in_the_middle_of_a_sync_it_is_one_of_two_commits() {
    let Some(host) = Host::new() else { return };
    let repo = Repo::new(&host);
    repo.commit("compose.yaml", &pair("0"), &[]);
    host.rswarm(["gitops", "add", "shop", &repo.url(), "--interval", "200ms"]).ok();
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    for round in 1..=10 {
        let value = round.to_string();
        repo.commit("compose.yaml", &pair(&value), &[]);
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        std::thread::sleep(Duration::from_millis(dice % 400));
        host.kill_daemon();
        host.start_daemon();
        let seen = versions(&host, "shop");
        assert!(seen.len() == 2 && seen[0] == seen[1], "half of a commit: {seen:?}");
        until(&host, "shop", &[&value, &value], SOON);
    }
    host.sh("gitops rm shop").ok();
}

#[test]
fn a_repository_is_reached_by_ssh() {
    let Some(host) = Host::new() else { return };
    if !Path::new("/usr/sbin/sshd").exists() {
        println!("SKIPPED: needs sshd");
        return;
    }
    let port = 18_022;
    let key = |name: &str| {
        let path = host.work().join(name);
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path)).ok();
        (path.display().to_string(), std::fs::read_to_string(path.with_extension("pub")).unwrap())
    };
    let (host_key, host_public) = key("host_key");
    let (user_key, user_public) = key("user_key");
    let (other_key, _) = key("other_key");
    let keys = host.write("authorized", &user_public);
    let conf = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nAuthorizedKeysFile {keys}\nStrictModes no\nUsePAM no\n\
         PidFile none\nPasswordAuthentication no\nPermitRootLogin yes\n"
    );
    let conf = host.write("sshd.conf", &conf);
    // sshd wants it, whatever its configuration says.
    std::fs::create_dir_all("/run/sshd").unwrap();
    let mut server = host.command("/usr/sbin/sshd");
    server.args(["-D", "-q", "-f", &conf]);
    let _server = Running(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let mut known: Vec<&str> = host_public.split_whitespace().take(2).collect();
    let address = format!("[127.0.0.1]:{port}");
    known.insert(0, &address);
    host.write("known", &known.join(" "));
    host.write(
        "stranger",
        &format!("{address} {}", user_public.split_whitespace().take(2).collect::<Vec<_>>().join(" ")),
    );
    let repo = Repo::new(&host);
    repo.commit("compose.yaml", &stack("1", ""), &[]);
    let url = format!("ssh://root@127.0.0.1:{port}{}", repo.bare.display());
    let add = |key: &str, known: &str| {
        let words = ["gitops", "add", "shop", &url, "--interval", "0", "--ssh-key", key, "--known-hosts", known];
        host.rswarm(words.iter().chain(&["--replace"]))
    };
    eventually("sshd listens", SOON, || {
        let mut probe = host.command("busybox");
        run(probe.args(["nc", "-w", "1", "127.0.0.1", &port.to_string(), "-e", "true"])).succeeded()
    });
    let refused = add(&other_key, "known").fails();
    assert!(refused.stdout.contains("refuses the credentials"), "{refused}");
    let refused = add(&user_key, "stranger").fails();
    assert!(refused.stdout.contains("Host key verification failed"), "{refused}");
    add(&user_key, "known").ok();
    assert_eq!(versions(&host, "shop"), ["1"]);
    let left: Vec<_> =
        std::fs::read_dir(host.run_root().join("gitops")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("key-")), "{left:?}");
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
