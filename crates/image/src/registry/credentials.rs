//! Docker's credential file, and the helper programs that it names.

mod keep;

pub use keep::{Kept, erase, save};

use crate::error::{Error, Result};
use base64::Engine as _;
use model::Login;
use model::image::DEFAULT_REGISTRY;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// Longest time that a helper may think.
const PATIENCE: Duration = Duration::from_secs(30);
/// What Docker's tools call the default registry.
const SERVER_OF_DEFAULT: &str = "https://index.docker.io/v1/";
/// What a helper calls its user when its secret is a refresh token.
const TOKEN_USER: &str = "<token>";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Entry>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

impl File {
    /// The helper that cares for a registry.
    fn helper(&self, host: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().find(|(key, _)| names(key, host)).map(|(_, helper)| helper);
        own.or(Some(&self.creds_store).filter(|store| !store.is_empty())).map(String::as_str)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Where the file is: `$DOCKER_CONFIG` or `~/.docker`; `None` without a home.
pub fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("DOCKER_CONFIG").filter(|text| !text.is_empty()).map(PathBuf::from);
    named.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")))
}

/// The login for a registry ([`model::image::Reference::host`]), read anew each time: people log in and out while
/// the daemon runs.
///
/// # Errors
/// The file is malformed; a helper fails.
pub async fn find(folder: &Path, host: &str) -> Result<Option<Login>> {
    let path = folder.join("config.json");
    let bytes = match tokio::fs::read(&path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let file: File = serde_json::from_slice(&bytes).map_err(|error| malformed(&path, &error))?;
    if let Some(helper) = file.helper(host)
        && let Some(login) = ask(helper, host).await?
    {
        return Ok(Some(login));
    }
    let entry = file.auths.into_iter().find(|(key, _)| names(key, host)).map(|(_, entry)| entry);
    entry.map_or(Ok(None), |entry| login(entry, &path))
}

/// Where it goes wrong, and not what is there: that may be a password.
fn malformed(path: &Path, error: &serde_json::Error) -> Error {
    let place = format!("malformed at line {} column {}", error.line(), error.column());
    Error::corrupt(path.display().to_string(), place)
}

/// The registry that is meant, as names of images have it ([`model::image::Reference::host`]): files and people write
/// schemes and paths at times, and the default one has several names.
pub fn registry(text: &str) -> &str {
    let host = text.trim_start_matches("https://").trim_start_matches("http://");
    match host.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        host => host,
    }
}

/// Does this key of the file speak of that registry?
fn names(key: &str, host: &str) -> bool {
    registry(key) == host
}

fn login(entry: Entry, path: &Path) -> Result<Option<Login>> {
    if !entry.registrytoken.is_empty() {
        return Ok(Some(Login::Bearer(entry.registrytoken)));
    }
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Login::Refresh(entry.identitytoken)));
    }
    if entry.auth.is_empty() {
        let has_both = !entry.username.is_empty() && !entry.password.is_empty();
        return Ok(has_both.then_some(Login::Password { user: entry.username, password: entry.password }));
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim()).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => Ok(Some(Login::Password {
            user: user.to_owned(),
            // Docker pads old entries with NULs.
            password: password.trim_end_matches('\0').to_owned(),
        })),
        None => Err(Error::corrupt(path.display().to_string(), "an \"auth\" that is no base64 of name:password")),
    }
}

async fn ask(helper: &str, host: &str) -> Result<Option<Login>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let failed = |why: &str| helper_failed(helper, host, why);
    let Some(output) = run(helper, "get", host, keep::server(host).as_bytes()).await? else { return Ok(None) };
    // What is in the answer is not repeated: it may be the password.
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| failed("malformed answer"))?;
    Ok(Some(match answer.username == TOKEN_USER {
        true => Login::Refresh(answer.secret),
        false => Login::Password { user: answer.username, password: answer.secret },
    }))
}

fn helper_failed(helper: &str, host: &str, why: &str) -> Error {
    Error::CredentialHelper { helper: helper.to_owned(), host: host.to_owned(), why: why.to_owned() }
}

/// Has a helper do something (`docker-credential-helpers`); what it says, `None`: it knows no such login.
async fn run(helper: &str, action: &str, host: &str, input: &[u8]) -> Result<Option<Vec<u8>>> {
    let failed = |why: &str| helper_failed(helper, host, why);
    if helper.contains('/') {
        return Err(failed("the name of a helper has no slash"));
    }
    let mut command = tokio::process::Command::new(format!("docker-credential-{helper}"));
    command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(&error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        let _it_need_not_read = stdin.write_all(input).await;
    }
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .map_err(|_| failed(&format!("no answer within {} s", PATIENCE.as_secs())))?
        .map_err(|error| failed(&error.to_string()))?;
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    // That is how helpers say it, on their standard output.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if said.contains("credentials not found") { Ok(None) } else { Err(failed(&said)) }
}
