//! Proofs for registries: tokens, which expire, and passwords.

use super::Asked;
use super::challenge::{self, Challenge};
use super::credentials;
use crate::error::{Error, Result};
use base64::Engine as _;
use model::Login;
use model::image::Digest;
use reqwest::Client;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Life of a token whose server does not say (Docker's token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// Longest answer of a token server.
const LONGEST_ANSWER: usize = 1 << 20;

/// The proofs that are known.
#[derive(Debug)]
pub(crate) struct Auth {
    docker_config: Option<PathBuf>,
    /// With the time until which they are good.
    known: Mutex<BTreeMap<Key, (HeaderValue, Instant)>>,
}

/// Registry, repository, and whose proof it is: what one who asks has got is not shown for another.
type Key = (String, String, Option<Digest>);

fn key(asked: Asked<'_>) -> Key {
    let (host, repository) = (asked.reference.host(), asked.reference.path());
    (host.to_owned(), repository.to_owned(), asked.login.map(fingerprint))
}

/// What tells one login from another.
pub(crate) fn fingerprint(login: &Login) -> Digest {
    // Strings can be written down in any case.
    crate::digest::of(&serde_json::to_vec(login).unwrap_or_default())
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Auth {
    pub(super) fn new(docker_config: Option<PathBuf>) -> Auth {
        Auth { docker_config, known: Mutex::default() }
    }

    /// The proof for a repository, if there is one that is still good.
    pub(super) fn header(&self, asked: Asked<'_>) -> Option<HeaderValue> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (header, until) = known.get(&key(asked))?;
        (*until > Instant::now()).then(|| header.clone())
    }

    /// Gets what a registry asks for.
    ///
    /// # Errors
    /// There are no credentials, or they are refused.
    pub(super) async fn answer(&self, client: &Client, asked: Asked<'_>, challenges: &[String]) -> Result<()> {
        let (host, repository) = (asked.reference.host(), asked.reference.path());
        let login = match (asked.login, &self.docker_config) {
            (Some(login), _) => Some(login.clone()),
            (None, Some(folder)) => credentials::find(folder, host).await?,
            (None, None) => None,
        };
        let denied =
            |why: &str| Error::Denied { host: host.to_owned(), what: repository.to_owned(), why: why.to_owned() };
        let (value, life) = match (challenge::choose(challenges), login) {
            (None, _) => return Err(denied("it asks for a kind of login that is not known here")),
            (Some(Challenge::Basic), Some(Login::Password { user, password })) => {
                (basic(&user, &password), Duration::from_secs(3600))
            }
            (Some(Challenge::Basic), _) => return Err(denied("a login is needed")),
            (Some(Challenge::Bearer { realm, service, scope }), login) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{repository}:pull"));
                token(client, host, &realm, service.as_deref(), &scope, login).await?
            }
        };
        let mut value =
            HeaderValue::from_str(&value).map_err(|_| denied("the proof has characters that can't be sent"))?;
        value.set_sensitive(true);
        let now = Instant::now();
        // Used up a little early, so that it does not end on its way.
        let until = now + life.mul_f64(0.9);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, until)| *until > now);
        known.insert(key(asked), (value, until));
        Ok(())
    }
}

pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// A token from its server, and how long it is good. An empty scope: for nothing but to see whether there is one.
pub(super) async fn token(
    client: &Client,
    host: &str,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    login: Option<Login>,
) -> Result<(String, Duration)> {
    let mut parameters = Vec::new();
    parameters.extend(Some(scope).filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope)));
    parameters.extend(service.map(|service| ("service", service)));
    let request = match &login {
        Some(Login::Bearer(token)) => return Ok((format!("Bearer {token}"), DEFAULT_LIFE)),
        Some(Login::Refresh(token)) => {
            parameters.extend([("grant_type", "refresh_token"), ("client_id", "rswarm"), ("refresh_token", token)]);
            client.post(realm).header("content-type", "application/x-www-form-urlencoded").body(encode(&parameters))
        }
        Some(Login::Password { user, password }) => {
            parameters.push(("account", user));
            client.get(address(realm, &parameters)).header("authorization", basic(user, password))
        }
        None => client.get(address(realm, &parameters)),
    };
    let network = |error: reqwest::Error| {
        let problem = super::tls::problem(&error);
        let (host, what) = (host.to_owned(), "fetch a token for images".to_owned());
        let source = Box::new(error.without_url());
        match problem {
            Some(problem) => Error::Tls { host, what, problem, source },
            None => Error::Network { host, what, source },
        }
    };
    let mut response = request.send().await.map_err(network)?;
    if !response.status().is_success() {
        let is_passing = response.status().is_server_error();
        let status = response.status().as_u16();
        let why = super::said(response).await;
        return Err(match is_passing {
            true => Error::Registry { host: host.to_owned(), what: "the request for a token".to_owned(), status, why },
            false => Error::Denied { host: host.to_owned(), what: scope.to_owned(), why },
        });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST_ANSWER {
            return Err(Error::corrupt(format!("the token server of {host}"), "its answer has no end"));
        }
    }
    let answer: Token = serde_json::from_slice(&bytes)
        .map_err(|error| Error::corrupt(format!("the token server of {host}"), format!("malformed answer: {error}")))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    let life = answer.expires_in.map_or(DEFAULT_LIFE, |seconds| Duration::from_secs(seconds.min(24 * 3600)));
    Ok((format!("Bearer {token}"), life))
}

fn address(realm: &str, parameters: &[(&str, &str)]) -> String {
    let separator = if realm.contains('?') { '&' } else { '?' };
    format!("{realm}{separator}{}", encode(parameters))
}

/// `application/x-www-form-urlencoded`
fn encode(parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(key, value)| format!("{key}={}", escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
