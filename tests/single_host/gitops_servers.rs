//! Repositories on servers, as they are reached, sign and tell of news.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::{Host, Options, eventually, run};

use crate::gitops::{Repo, Running, SOON, stack, until, versions};

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
fn a_key_of_openpgp_is_a_signer_too_and_a_forced_push_is_told() {
    let Some(host) = Host::new() else { return };
    let ring = host.work().join("ring");
    std::fs::DirBuilder::new().mode(0o700).create(&ring).unwrap();
    let _agent = Ring(ring.clone());
    let gpg = |words: &[&str]| {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", &ring).args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]);
        run(command.args(words))
    };
    if !gpg(&["--version"]).succeeded() {
        println!("SKIPPED: needs gpg");
        return;
    }
    for name in ["ann@example.com", "eve@example.com"] {
        gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"]).ok();
    }
    host.write("signers", &gpg(&["--armor", "--export", "ann@example.com"]).ok().stdout);
    // git signs with what gpg finds there.
    let program = format!("#!/bin/sh\nexec gpg --homedir {} \"$@\"\n", ring.display());
    let program = host.write("gpg.sh", &program);
    run(Command::new("chmod").args(["+x", &program])).ok();
    let program = format!("gpg.program={program}");
    let repo = Repo::new(&host);
    let signed = |value: &str, who: &str| {
        let key = format!("user.signingkey={who}");
        repo.commit("compose.yaml", &stack(value, ""), &[&program, &key, "-S"])
    };
    repo.commit("compose.yaml", &stack("1", ""), &[]);
    let add = ["gitops", "add", "shop", &repo.url(), "--ref", "main", "--verify", "signers", "--interval", "0"];
    let refused = host.rswarm(add.iter().chain(&["--forward-only"])).fails();
    assert!(refused.stderr.contains("no signature of an allowed signer"), "{refused}");
    signed("2", "eve@example.com");
    let refused = host.sh("gitops sync shop").fails();
    assert!(refused.stderr.contains("no signature of an allowed signer"), "{refused}");
    let good = signed("3", "ann@example.com");
    host.sh("gitops sync shop").ok();
    assert_eq!(versions(&host, "shop"), ["3"]);
    signed("4", "ann@example.com");
    host.sh("gitops sync shop").ok();
    assert_eq!(versions(&host, "shop"), ["4"], "forward is no force");

    // Another past: refused where so asked, told where not.
    host.rswarm([
        "gitops",
        "add",
        "shop",
        &repo.url(),
        "--ref",
        "main",
        "--interval",
        "200ms",
        "--forward-only",
        "--replace",
    ])
    .ok();
    repo.git(&repo.work, &["reset", "-q", "--hard", &good]);
    std::fs::write(repo.work.join("compose.yaml"), stack("5", "")).unwrap();
    repo.git(&repo.work, &["commit", "-q", "-a", "-m", "another"]);
    repo.git(&repo.work, &["push", "-q", "--force", "origin", "HEAD:main"]);
    eventually("it is refused", SOON, || host.sh("gitops status shop").stderr.contains("main was rewritten"));
    assert_eq!(versions(&host, "shop"), ["4"]);
    host.rswarm(["gitops", "add", "shop", &repo.url(), "--ref", "main", "--interval", "200ms", "--replace"]).ok();
    until(&host, "shop", &["5"], SOON);
    let history = host.sh("gitops history shop --format json").ok();
    assert!(history.stdout.contains("main was rewritten"), "{history}");
    host.sh("gitops rm shop").ok();
}

/// Ends the agent that gpg starts for its keys.
struct Ring(PathBuf);

impl Drop for Ring {
    fn drop(&mut self) {
        let _no_agent = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &self.0).status();
    }
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

/// The example of GitHub's documentation: a secret, a body, and what signs it.
const SECRET: &str = "It's a Secret to Everybody";
const BODY: &str = "Hello, World!";
const SIGNED: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

#[test]
fn a_webhook_counts_when_it_is_signed() {
    let hooks = 18_082;
    let daemon = vec!["--webhook".to_owned(), format!("127.0.0.1:{hooks}")];
    let Some(host) = Host::with(Options { daemon, ..Options::default() }) else { return };
    let repo = Repo::new(&host);
    repo.commit("compose.yaml", &stack("0", ""), &[]);
    host.write("hush", SECRET);
    host.write("other", "another secret");
    host.rswarm(["gitops", "add", "shop", &repo.url(), "--interval", "0", "--webhook-secret", "hush"]).ok();
    let replicas = stack("0", "    deploy: {replicas: 0}\n");
    let more = Repo::named(&host, "more");
    more.commit("compose.yaml", &replicas, &[]);
    host.rswarm(["gitops", "add", "more", &more.url(), "--interval", "0", "--webhook-secret", "other"]).ok();
    host.rswarm(["gitops", "add", "mute", &more.url(), "--interval", "0"]).ok();
    let send = |path: &str, header: &str, words: &[&str]| {
        let mut curl = host.command("curl");
        let url = format!("http://127.0.0.1:{hooks}{path}");
        curl.args(["-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", "-H", header, &url]).args(words);
        run(&mut curl).text()
    };
    let hook = |name: &str, header: &str| send(&format!("/hook/{name}"), header, &["--data-binary", BODY]);
    let good = [
        format!("X-Hub-Signature-256: sha256={SIGNED}"),
        format!("X-Gitea-Signature: {SIGNED}"),
        format!("X-Forgejo-Signature: {SIGNED}"),
        format!("X-Gitlab-Token: {SECRET}"),
    ];
    repo.commit("compose.yaml", &stack("1", ""), &[]);
    let bad = [
        format!("X-Hub-Signature-256: sha256={}", SIGNED.replace('7', "8")),
        "X-Hub-Signature-256: sha256=".to_owned(),
        format!("X-Hub-Signature: sha256={SIGNED}"),
        "X-Gitlab-Token: guess".to_owned(),
        "X-Gitlab-Token;".to_owned(),
        "X-Nothing: at all".to_owned(),
    ];
    for header in &bad {
        assert_eq!(hook("shop", header), "401", "{header}");
    }
    for header in &good {
        // Signed by the secret of another source, of none, and for one that is not there.
        for name in ["more", "mute", "nobody", "", "../shop"] {
            assert!(["401", "404"].contains(&hook(name, header).as_str()), "{name}: {header}");
        }
        assert_eq!(send("/hook/shop", header, &[]), "405", "it is no question");
    }
    let other_body = send("/hook/shop", &good[0], &["--data-binary", "Hello, World?"]);
    assert_eq!((other_body.as_str(), send("/shop", &good[0], &["-d", ""]).as_str()), ("401", "404"));
    // A stranger's long message is refused before it is sent, or while it comes in, and not kept: who sends it at
    // once may see no more than a closed connection.
    std::fs::File::create(host.work().join("long")).unwrap().set_len(40 << 20).unwrap();
    let long = send("/hook/shop", &good[0], &["--data-binary", "@long"]);
    assert_eq!(long, "413", "it says how long it is, and asks before it sends");
    let chunks = ["-H", "Transfer-Encoding: chunked", "-H", "Expect:", "--data-binary", "@long"];
    let long = send("/hook/shop", &good[0], &chunks);
    assert!(["413", "000"].contains(&long.as_str()), "{long}");
    assert_eq!(versions(&host, "shop"), ["0"], "none of these was heard");
    for (round, header) in good.iter().enumerate() {
        let value = format!("good{round}");
        repo.commit("compose.yaml", &stack(&value, ""), &[]);
        assert_eq!(hook("shop", header), "202", "{header}");
        until(&host, "shop", &[&value], SOON);
    }
    // Somebody who repeats a message makes us look, and that is all.
    let history = || host.sh("gitops history shop --format json").ok().stdout;
    host.sh("gitops status shop --wait").ok();
    let before = history();
    for header in good.iter().cycle().take(20) {
        assert_eq!(hook("shop", header), "202");
    }
    host.sh("gitops sync shop").ok();
    assert_eq!(history(), before);
    for name in ["mute", "more", "shop"] {
        host.rswarm(["gitops", "rm", name, "--down"]).ok();
    }
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
