//! The `git` program, as far as following a repository needs it. It is what the credentials, the ssh
//! settings and the protocols of servers are made for; here it runs without any configuration, hook or
//! prompt of the machine, with limits of time and size.

mod call;

use crate::tree::Tree;
use base64::Engine as _;
use call::{LIMIT, Trouble, own, run};
use model::{Commit, Credentials, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

/// Packs of earlier commits that may lie about, before a repository is fetched anew.
const PACKS: usize = 50;

/// Where the commit that was fetched last is kept.
const CURRENT: &str = "refs/rswarm/current";

/// How all is fetched.
const FETCH: [&str; 6] =
    ["fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];

/// Begins a public key of OpenPGP in armor, and ends it.
const PGP: (&str, &str) = ("-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----");

/// Why a repository could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git`, or the disk fails.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The server wants other credentials.
    #[error("{url} refuses the credentials: {said}")]
    Refused {
        /// Of the repository.
        url: String,
        /// What git says.
        said: String,
    },
    /// Anything else that git says.
    #[error("{what}: {said}")]
    Failed {
        /// What was tried.
        what: String,
        /// What git says.
        said: String,
    },
    /// No such branch, tag or commit.
    #[error("there is no branch, tag or commit `{reference}` in {url}")]
    NoReference {
        /// What was asked for.
        reference: String,
        /// Of the repository.
        url: String,
    },
    /// It took too long.
    #[error("{what} took longer than {} s", LIMIT.as_secs())]
    Slow {
        /// What was tried.
        what: String,
    },
    /// No good signature.
    #[error("commit {commit} has no signature of an allowed signer: {said}")]
    Unsigned {
        /// Which.
        commit: String,
        /// What git says.
        said: String,
    },
    /// What commits should be signed with makes no sense.
    #[error("read the public keys of --verify: {0}")]
    Keys(String),
    /// An address that we do not speak.
    #[error("`{0}` is no address of a repository: write https://…, ssh://…, USER@HOST:PATH or file:///…")]
    Url(String),
}

impl GitError {
    /// Says the commit itself, not the way to it, that nothing can come of it?
    pub fn is_final(&self) -> bool {
        matches!(self, GitError::Unsigned { .. })
    }
}

/// A repository somewhere.
#[derive(Debug, Clone, Copy)]
pub struct Remote<'a> {
    /// Its address.
    pub url: &'a str,
    /// How we are let in.
    pub credentials: &'a Credentials,
}

/// Git on this machine, with folders of its own.
#[derive(Debug, Clone)]
pub struct Git {
    /// Repositories, `NAME.git` each.
    root: PathBuf,
    /// Keys while they are used; gone with the boot.
    scratch: PathBuf,
    /// Repositories that somebody is at; git itself would refuse the second one.
    held: Arc<Mutex<Held>>,
}

/// By name.
type Held = BTreeMap<String, Arc<tokio::sync::Mutex<()>>>;

/// One of the ways to speak to a server.
fn protocol(url: &str) -> Result<&'static str, GitError> {
    const SCHEMES: [&str; 5] = ["https", "http", "ssh", "file", "git"];
    let bad = || GitError::Url(url.to_owned());
    if url.starts_with('-') || url.chars().any(char::is_control) || url.contains("::") {
        return Err(bad());
    }
    match url.split_once("://") {
        Some((scheme, _)) => SCHEMES.into_iter().find(|known| *known == scheme).ok_or_else(bad),
        None => match url.split_once(':') {
            Some((host, _)) if !host.contains('/') && host.contains('@') => Ok("ssh"),
            _ => Err(bad()),
        },
    }
}

/// Is it an address that can be followed?
///
/// # Errors
/// It is not.
pub fn check_url(url: &str) -> Result<(), GitError> {
    protocol(url).map(|_| ())
}

/// Is it the whole hash of a commit?
pub fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Git {
    /// The same without making anything, to forget what is there.
    pub fn at(root: PathBuf, scratch: PathBuf) -> Git {
        Git { root, scratch, held: Arc::default() }
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// The disk fails.
    pub fn open(root: PathBuf, scratch: PathBuf) -> Result<Git, GitError> {
        let git = Git::at(root, scratch);
        git.prepare()?;
        Ok(git)
    }

    /// Folders and configuration, which go with the last repository.
    fn prepare(&self) -> Result<(), GitError> {
        if self.config().exists() {
            return Ok(());
        }
        for folder in [&self.root, &self.scratch] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| GitError::Io { what: format!("make the folder {}", folder.display()), source })?;
        }
        self.write(&self.config(), CONFIG)
    }

    fn config(&self) -> PathBuf {
        self.scratch.join("gitconfig")
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.git"))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), GitError> {
        let _old = std::fs::remove_file(path);
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|source| GitError::Io { what: format!("write {}", path.display()), source })
    }

    /// Forgets what was fetched of all sources but these.
    pub fn keep(&self, names: &BTreeSet<String>) {
        let found = std::fs::read_dir(&self.root).into_iter().flatten().filter_map(Result::ok);
        let found = found.filter_map(|entry| entry.file_name().into_string().ok());
        let gone: Vec<String> = found.filter(|file| !names.iter().any(|name| format!("{name}.git") == *file)).collect();
        for file in gone {
            let _gone_already = std::fs::remove_dir_all(self.root.join(file));
        }
        if std::fs::remove_dir(&self.root).is_ok() {
            let _never_made = std::fs::remove_dir_all(&self.scratch);
        }
    }

    /// A repository for one caller at a time: who fetches, and reads what was fetched, holds it meanwhile.
    pub async fn hold(&self, name: &str) -> OwnedMutexGuard<()> {
        let one = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody is at those that only this table knows.
            held.retain(|_, one| Arc::strong_count(one) > 1);
            held.entry(name.to_owned()).or_default().clone()
        };
        one.lock_owned().await
    }

    fn forget(&self, name: &str) {
        let _never_fetched = std::fs::remove_dir_all(self.folder(name));
    }

    /// Which commit a reference means now: its hash, and the name to fetch it by.
    ///
    /// # Errors
    /// The server can't be reached, refuses us, or has no such reference.
    pub async fn resolve(&self, remote: Remote<'_>, reference: &str) -> Result<(String, String), GitError> {
        self.prepare()?;
        if is_hash(reference) {
            return Ok((reference.to_owned(), reference.to_owned()));
        }
        let missing = || GitError::NoReference { reference: reference.to_owned(), url: remote.url.to_owned() };
        if reference.is_empty() || reference.starts_with('-') || reference.contains(|c: char| " ~^:?*[\\".contains(c)) {
            return Err(missing());
        }
        let names = match reference {
            "HEAD" => vec!["HEAD".to_owned()],
            full if full.starts_with("refs/") => vec![full.to_owned()],
            short => vec![format!("refs/heads/{short}"), format!("refs/tags/{short}")],
        };
        let mut words = vec!["ls-remote", "--", remote.url];
        words.extend(names.iter().map(String::as_str));
        let peeled: Vec<String> = names.iter().map(|name| format!("{name}^{{}}")).collect();
        words.extend(peeled.iter().map(String::as_str));
        let text = self.far(remote, None, &words).await?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('\t')).collect();
        for (name, peeled) in names.iter().zip(&peeled) {
            let hash = |wanted: &str| lines.iter().find(|(_, name)| *name == wanted).map(|(hash, _)| *hash);
            if let Some(hash) = hash(peeled).or_else(|| hash(name)).filter(|hash| is_hash(hash)) {
                return Ok((hash.to_owned(), name.clone()));
            }
        }
        Err(missing())
    }

    /// Fetches one commit, without its past, unless it is here.
    ///
    /// # Errors
    /// As [`Git::resolve`].
    pub async fn fetch(&self, name: &str, remote: Remote<'_>, commit: &str, by: &str) -> Result<Commit, GitError> {
        self.prepare()?;
        self.fetch_into(name, remote, commit, by, true).await
    }

    /// `again`: once more from the beginning if what is here is of no use.
    async fn fetch_into(
        &self,
        name: &str,
        remote: Remote<'_>,
        commit: &str,
        by: &str,
        again: bool,
    ) -> Result<Commit, GitError> {
        let folder = self.folder(name);
        let packs = std::fs::read_dir(folder.join("objects/pack")).map_or(0, Iterator::count);
        if packs > 2 * PACKS {
            self.forget(name);
        }
        if !folder.join("HEAD").exists() {
            let path = folder.display().to_string();
            self.near(None, &["init", "--quiet", "--bare", "--template=", "--", &path], "make a repository").await?;
        }
        if !self.has(name, commit).await {
            match self.get(name, remote, commit, by).await {
                Err(GitError::Failed { said, .. }) if again && is_locked(&said) => {
                    // Of a git that died with the machine: nobody else is at it.
                    tracing::warn!(source = name, "what was fetched before is forgotten: {said}");
                    self.forget(name);
                    return Box::pin(self.fetch_into(name, remote, commit, by, false)).await;
                }
                got => got?,
            }
        }
        self.describe(name, commit).await
    }

    async fn has(&self, name: &str, commit: &str) -> bool {
        let object = format!("{commit}^{{tree}}");
        self.near(Some(name), &["cat-file", "-e", &object], "look for a commit").await.is_ok()
    }

    async fn get(&self, name: &str, remote: Remote<'_>, commit: &str, by: &str) -> Result<(), GitError> {
        let target = format!("+{by}:{CURRENT}");
        let words: Vec<&str> = FETCH.into_iter().chain(["--depth=1", "--", remote.url, &target]).collect();
        let shallow = self.far(remote, Some(name), &words).await;
        if self.has(name, commit).await {
            return Ok(());
        }
        // Not every server gives a commit by its hash; and a branch may have moved on meanwhile.
        if !is_hash(by) {
            shallow?;
        }
        let all = "+refs/*:refs/rswarm/all/*";
        let words: Vec<&str> = FETCH.into_iter().chain(["--", remote.url, all]).collect();
        self.far(remote, Some(name), &words).await?;
        match self.has(name, commit).await {
            true => Ok(()),
            false => Err(GitError::NoReference { reference: commit.to_owned(), url: remote.url.to_owned() }),
        }
    }

    /// Does the branch `by`, which is at `commit` now, still contain `old`? Only as much of its past is fetched
    /// as is younger than that. Not asked of tags and single commits, which have no direction.
    ///
    /// # Errors
    /// As [`Git::resolve`].
    pub async fn contains(
        &self,
        name: &str,
        remote: Remote<'_>,
        (commit, by): (&str, &str),
        old: &Commit,
    ) -> Result<bool, GitError> {
        if !by.starts_with("refs/heads/") || !is_hash(&old.id) || old.id == commit {
            return Ok(true);
        }
        // A second before it: the commit itself is in.
        let since = format!("--shallow-since={}", (old.time.0 / 1000).saturating_sub(1));
        let target = format!("+{by}:{CURRENT}");
        let words: Vec<&str> = FETCH.into_iter().chain([since.as_str(), "--", remote.url, &target]).collect();
        match self.far(remote, Some(name), &words).await {
            Ok(_) => {}
            // All of the branch is older than what ran.
            Err(GitError::Failed { said, .. }) if said.contains("no commits selected") => return Ok(false),
            Err(GitError::Failed { what, said }) => {
                // As in `fetch`: the next time begins anew.
                if is_locked(&said) {
                    self.forget(name);
                }
                return Err(GitError::Failed { what, said });
            }
            Err(error) => return Err(error),
        }
        let words = ["merge-base", "--is-ancestor", &old.id, commit];
        match self.near(Some(name), &words, "compare two commits").await {
            Ok(_) => Ok(true),
            Err(GitError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn describe(&self, name: &str, commit: &str) -> Result<Commit, GitError> {
        let words = ["log", "-1", "--no-show-signature", "--format=%H%x00%an <%ae>%x00%ct%x00%s", commit, "--"];
        let text = self.near(Some(name), &words, "read the commit").await?;
        let text = String::from_utf8_lossy(&text);
        let mut parts = text.trim_end().splitn(4, '\0');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (id, author, seconds, subject) = (next(), next(), next(), next());
        let time = Time(seconds.parse::<u64>().unwrap_or(0).saturating_mul(1000));
        let plain = |text: String| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
        Ok(Commit { id, author: plain(author), time, subject: plain(subject) })
    }

    /// Is the commit signed by one of `signers`? These are lines of an allowed signers file, public keys of
    /// OpenPGP in armor, or both.
    ///
    /// # Errors
    /// It is not.
    pub async fn verify(&self, name: &str, commit: &str, signers: &str) -> Result<(), GitError> {
        let (lines, keys) = split_signers(signers);
        let (file, ring) = (self.scratch.join(format!("{name}.signers")), self.scratch.join(format!("{name}.gnupg")));
        let verified = async {
            self.write(&file, &lines)?;
            self.keyring(&ring, &keys).await?;
            let setting = format!("gpg.ssh.allowedSignersFile={}", file.display());
            let mut command = std::process::Command::new("git");
            // Certificates (gpgsm) would be asked for in the machine's own store.
            command.args(["-c", &setting, "-c", "gpg.x509.program=/bin/false", "verify-commit", "--", commit]);
            self.plain(&mut command, Some(name));
            own("check the signature", run(command.env("GNUPGHOME", &ring), "check the signature").await)
        };
        let verified = verified.await;
        let _it_is_there = std::fs::remove_file(&file);
        let _it_is_there = std::fs::remove_dir_all(&ring);
        verified.map(|_| ()).map_err(|error| match error {
            GitError::Failed { said, .. } => {
                let said = if said.is_empty() { "it is not signed".to_owned() } else { said };
                GitError::Unsigned { commit: commit.get(..12).unwrap_or(commit).to_owned(), said }
            }
            other => other,
        })
    }

    /// A key ring of these keys and no others, without an agent and without asking any server.
    async fn keyring(&self, ring: &Path, keys: &str) -> Result<(), GitError> {
        let _of_a_daemon_that_died = std::fs::remove_dir_all(ring);
        let made = std::fs::DirBuilder::new().mode(0o700).create(ring);
        made.map_err(|source| GitError::Io { what: format!("make the folder {}", ring.display()), source })?;
        self.write(&ring.join("gpg.conf"), "no-autostart\nno-auto-key-retrieve\n")?;
        if keys.is_empty() {
            return Ok(());
        }
        let file = ring.join("allowed.asc");
        self.write(&file, keys)?;
        let mut command = std::process::Command::new("gpg");
        self.plain(command.args(["--batch", "--quiet", "--import", "--"]).arg(&file), None);
        let what = "read the public keys of --verify";
        own(what, run(command.env("GNUPGHOME", ring), what).await).map(|_| ()).map_err(|error| match error {
            GitError::Failed { said, .. } => GitError::Keys(said),
            other => other,
        })
    }

    /// The files of a commit that was fetched.
    ///
    /// # Errors
    /// It is not here, or has too many.
    pub async fn tree(&self, name: &str, commit: &str) -> Result<Tree, GitError> {
        let words = ["ls-tree", "-r", "-z", "-l", "--full-tree", commit];
        let list = self.near(Some(name), &words, "list the files of the commit").await?;
        let mut cat = std::process::Command::new("git");
        self.plain(cat.arg("cat-file").arg("--batch"), Some(name));
        Tree::parse(name, &list, cat).map_err(|said| GitError::Failed { what: format!("read commit {commit}"), said })
    }

    /// Environment of every call: nothing of the machine's.
    fn plain(&self, command: &mut std::process::Command, name: Option<&str>) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()))
            .env("HOME", &self.scratch)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.config())
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS", "")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .current_dir("/")
            .stdin(std::process::Stdio::null());
        if let Some(name) = name {
            command.env("GIT_DIR", self.folder(name));
        }
    }

    /// A call that stays on this machine.
    async fn near(&self, name: Option<&str>, words: &[&str], what: &str) -> Result<Vec<u8>, GitError> {
        let mut command = std::process::Command::new("git");
        self.plain(command.args(words), name);
        own(what, run(&mut command, what).await)
    }

    /// A call that speaks to a server.
    async fn far(&self, remote: Remote<'_>, name: Option<&str>, words: &[&str]) -> Result<Vec<u8>, GitError> {
        let protocol = protocol(remote.url)?;
        let mut command = std::process::Command::new("git");
        self.plain(command.args(words), name);
        let mut settings = vec![("protocol.allow".to_owned(), "never".to_owned())];
        settings.push((format!("protocol.{protocol}.allow"), "always".to_owned()));
        if let Some(token) = remote.credentials.token.as_ref().filter(|_| protocol.starts_with("http")) {
            // In the environment, not in the list of words, which every user of the machine can read.
            let pair = if token.contains(':') { token.clone() } else { format!("x-access-token:{token}") };
            let basic = base64::engine::general_purpose::STANDARD.encode(pair);
            settings.push(("http.extraHeader".to_owned(), format!("Authorization: Basic {basic}")));
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        let keys = self.keys(remote, &mut command, protocol)?;
        let what = format!("ask {}", remote.url);
        let result = run(&mut command, &what).await;
        keys.iter().for_each(|file| drop(std::fs::remove_file(file)));
        result.map_err(|error| match error {
            Trouble::Own(error) => error,
            Trouble::Said(said) if is_refusal(&said) => GitError::Refused { url: remote.url.to_owned(), said },
            Trouble::Said(said) => GitError::Failed { what, said },
        })
    }

    /// Key and known hosts as files for ssh, as long as the call lasts.
    fn keys(
        &self,
        remote: Remote<'_>,
        command: &mut std::process::Command,
        protocol: &str,
    ) -> Result<Vec<PathBuf>, GitError> {
        if protocol != "ssh" {
            return Ok(Vec::new());
        }
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (key, hosts) = (self.scratch.join(format!("key-{number}")), self.scratch.join(format!("hosts-{number}")));
        let with_end = |text: &str| format!("{}\n", text.trim_end());
        self.write(&key, &with_end(remote.credentials.ssh_key.as_deref().unwrap_or_default()))?;
        self.write(&hosts, &with_end(remote.credentials.known_hosts.as_deref().unwrap_or_default()))?;
        let ssh = format!(
            "ssh -F /dev/null -i '{}' -o IdentitiesOnly=yes -o IdentityAgent=none -o UserKnownHostsFile='{}' \
             -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=15 \
             -o ForwardAgent=no -o ClearAllForwardings=yes -o PermitLocalCommand=no",
            key.display(),
            hosts.display()
        );
        command.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh");
        Ok(vec![key, hosts])
    }
}

/// What holds for every call. Servers' objects are checked; nothing runs beside git.
const CONFIG: &str = "\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\tsymlinks = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[fetch]
\trecurseSubmodules = false
\tfsckObjects = true
[transfer]
\tfsckObjects = true
[credential]
\thelper =
[http]
\tlowSpeedLimit = 1000
\tlowSpeedTime = 20
[safe]
\tdirectory = *
[advice]
\tdetachedHead = false
[uploadpack]
\tallowAnySHA1InWant = true
";

/// Says git that another one is at work, or was?
fn is_locked(said: &str) -> bool {
    said.contains(".lock'") && said.contains("File exists")
}

/// What ssh says of a server that it does not know.
const HOST_KEY: &str = "Host key verification failed";

fn is_refusal(said: &str) -> bool {
    const SIGNS: [&str; 9] = [
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Permission denied",
        "returned error: 401",
        "returned error: 403",
        HOST_KEY,
        "access denied",
        "Repository not found",
    ];
    SIGNS.iter().any(|sign| said.contains(sign))
}

/// Lines of an allowed signers file, and the blocks of public keys.
fn split_signers(signers: &str) -> (String, String) {
    let (mut lines, mut keys, mut inside) = (String::new(), String::new(), false);
    for line in signers.lines() {
        inside |= line.trim() == PGP.0;
        let to = if inside { &mut keys } else { &mut lines };
        to.push_str(line);
        to.push('\n');
        inside &= line.trim() != PGP.1;
    }
    (lines, keys)
}

#[cfg(test)]
mod tests;
