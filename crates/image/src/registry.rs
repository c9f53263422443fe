//! Registries: manifests and blobs over HTTP (OCI distribution spec, Docker's token protocol).
//!
//! Written on `reqwest` alone, not on a registry library: those that there are read manifests
//! without a bound and leave resuming, retries and credential helpers to their caller anyway.

pub(crate) mod auth;
mod challenge;
mod check;
pub mod credentials;
mod tls;

use crate::error::{Error, Result};
use crate::schema::MANIFESTS;
use crate::store::Options;
use auth::Auth;
use model::Login;
use model::image::{DEFAULT_REGISTRY, Digest, Reference};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, Response, StatusCode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tls::Clients;

/// Where the default registry's API really is.
const DEFAULT_API: &str = "registry-1.docker.io";
/// Waits before trying again after a failure that may pass.
const WAITS: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(3)];
/// Longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// All registries.
#[derive(Debug)]
pub(crate) struct Registry {
    insecure: BTreeSet<String>,
    auth: Auth,
    clients: Clients,
    /// Insecure registries that speak plain HTTP (true) or unverified TLS.
    plain: Mutex<BTreeMap<String, bool>>,
}

/// An image, and as whom its registry is asked for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) reference: &'a Reference,
    /// `None`: as Docker's file says.
    pub(crate) login: Option<&'a Login>,
}

impl<'a> Asked<'a> {
    /// With the login that is in Docker's file, if one is.
    pub(crate) fn plainly(reference: &'a Reference) -> Asked<'a> {
        Asked { reference, login: None }
    }
}

/// What a request is about, for its scope and for messages.
struct Request<'a> {
    asked: Asked<'a>,
    path: String,
    headers: Vec<(reqwest::header::HeaderName, HeaderValue)>,
    what: String,
}

impl Registry {
    pub(crate) fn new(options: &Options) -> Registry {
        Registry {
            insecure: options.insecure_registries.iter().cloned().collect(),
            auth: Auth::new(options.docker_config.clone()),
            clients: Clients::new(options.certificates.clone()),
            plain: Mutex::default(),
        }
    }

    /// A manifest or index by its digest, or else by its tag; with its digest, which is checked.
    ///
    /// # Errors
    /// It is not to be had, too long, or not what the digest says.
    pub(crate) async fn manifest(
        &self,
        asked: Asked<'_>,
        digest: Option<&Digest>,
        limit: u64,
    ) -> Result<(Vec<u8>, Digest)> {
        let reference = asked.reference;
        let name = digest.map_or(reference.tag_or_latest(), Digest::as_str);
        let what = match digest {
            Some(digest) => format!("the manifest {}@{digest}", reference.familiar_repository()),
            None => format!("the manifest of {}", reference.familiar()),
        };
        let accept = HeaderValue::from_str(&MANIFESTS.join(", ")).unwrap_or(HeaderValue::from_static("*/*"));
        let request =
            Request { asked, path: format!("manifests/{name}"), headers: vec![(ACCEPT, accept)], what: what.clone() };
        let bytes = self.small(&request, limit).await?;
        let found = crate::digest::of(&bytes);
        match digest {
            Some(wanted) if *wanted != found => {
                Err(Error::corrupt(what, format!("the registry sent something with the digest {found}")))
            }
            _ => Ok((bytes, found)),
        }
    }

    /// A small blob as a whole, checked.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub(crate) async fn document(&self, asked: Asked<'_>, digest: &Digest, size: u64, limit: u64) -> Result<Vec<u8>> {
        let what = format!("the config {digest} of {}", asked.reference.familiar_repository());
        if size > limit {
            return Err(Error::corrupt(what, format!("its size is given as {size} bytes, more than {limit}")));
        }
        let request = Request { asked, path: format!("blobs/{digest}"), headers: Vec::new(), what: what.clone() };
        let bytes = self.small(&request, size).await?;
        let found = crate::digest::of(&bytes);
        match found == *digest {
            true => Ok(bytes),
            false => Err(Error::corrupt(what, format!("the registry sent something with the digest {found}"))),
        }
    }

    /// A blob from `offset` on, as a stream. Also says where the stream begins: a server that can't
    /// resume begins at 0.
    ///
    /// # Errors
    /// It is not to be had.
    pub(crate) async fn blob(&self, asked: Asked<'_>, digest: &Digest, offset: u64) -> Result<(Response, u64)> {
        let mut headers = Vec::new();
        if offset > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-"))
        {
            headers.push((RANGE, range));
        }
        let what = format!("the layer {} of {}", digest.short(), asked.reference.familiar_repository());
        let request = Request { asked, path: format!("blobs/{digest}"), headers, what };
        let response = self.send(&request).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok((response, 0));
        }
        let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let begins = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
        match begins {
            Some(begins) if begins <= offset => Ok((response, begins)),
            _ => Err(Error::corrupt(request.what, "the registry sent another range than was asked for")),
        }
    }

    async fn small(&self, request: &Request<'_>, limit: u64) -> Result<Vec<u8>> {
        let mut attempt = 0;
        loop {
            let mut response = self.send(request).await?;
            let mut bytes = Vec::new();
            let broken = loop {
                match response.chunk().await {
                    Ok(Some(chunk)) if (bytes.len() + chunk.len()) as u64 > limit => {
                        return Err(Error::corrupt(request.what.clone(), format!("is longer than {limit} bytes")));
                    }
                    Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                    Ok(None) => return Ok(bytes),
                    Err(error) => break error,
                }
            };
            let Some(wait) = WAITS.get(attempt) else {
                return Err(self.network(request, broken));
            };
            tokio::time::sleep(*wait).await;
            attempt += 1;
        }
    }

    /// Sends a request until it succeeds or there is no hope. Only answers of success come back.
    async fn send(&self, request: &Request<'_>) -> Result<Response> {
        let host = request.asked.reference.host();
        let mut attempt = 0;
        let mut asked = false;
        loop {
            let sent = self.once(request).await;
            let (error, wait) = match sent {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !asked => {
                    asked = true;
                    self.login(request, &response).await?;
                    continue;
                }
                Ok(response) => {
                    let is_passing =
                        response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS;
                    let wait = retry_after(&response);
                    let error = refusal(request, response).await;
                    if !is_passing {
                        return Err(error);
                    }
                    (error, wait)
                }
                // Trust does not come by itself.
                Err(error @ (Error::Tls { .. } | Error::Corrupt { .. } | Error::Io { .. })) => return Err(error),
                Err(error) => {
                    self.plain.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
                    (error, None)
                }
            };
            let Some(pause) = WAITS.get(attempt) else {
                return Err(error);
            };
            tracing::debug!(host, "{error}; trying again");
            tokio::time::sleep(wait.unwrap_or(*pause).min(LONGEST_WAIT)).await;
            attempt += 1;
        }
    }

    async fn once(&self, request: &Request<'_>) -> Result<Response> {
        let host = request.asked.reference.host();
        let (client, base) = self.endpoint(host).await?;
        let url = format!("{base}/v2/{}/{}", request.asked.reference.path(), request.path);
        let mut builder = client.get(url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value.clone());
        }
        if let Some(authorization) = self.auth.header(request.asked) {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        builder.send().await.map_err(|error| self.network(request, error))
    }

    async fn login(&self, request: &Request<'_>, response: &Response) -> Result<()> {
        let (client, _) = self.endpoint(request.asked.reference.host()).await?;
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenges: Vec<String> =
            headers.iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
        self.auth.answer(&client, request.asked, &challenges).await
    }

    fn network(&self, request: &Request<'_>, error: reqwest::Error) -> Error {
        let host = request.asked.reference.host().to_owned();
        let problem = tls::problem(&error);
        let what = format!("fetch {}", request.what);
        // The address is in the message already, and may have a signature in it.
        let source = Box::new(error.without_url());
        match problem {
            Some(problem) => Error::Tls { host, what, problem, source },
            None => Error::Network { host, what, source },
        }
    }

    /// The client and base address for a registry.
    async fn endpoint(&self, host: &str) -> Result<(Client, String)> {
        if !self.insecure.contains(host) {
            let name = if host == DEFAULT_REGISTRY { DEFAULT_API } else { host };
            return Ok((self.clients.of(host, false)?, format!("https://{name}")));
        }
        let client = self.clients.of(host, true)?;
        let known = self.plain.lock().unwrap_or_else(PoisonError::into_inner).get(host).copied();
        let is_plain = match known {
            Some(is_plain) => is_plain,
            None => {
                let is_plain = client.get(format!("https://{host}/v2/")).send().await.is_err();
                self.plain.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), is_plain);
                is_plain
            }
        };
        let scheme = if is_plain { "http" } else { "https" };
        Ok((client, format!("{scheme}://{host}")))
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// An answer that is no success, as an error.
async fn refusal(request: &Request<'_>, response: Response) -> Error {
    let host = request.asked.reference.host().to_owned();
    let status = response.status();
    let why = said(response).await;
    match status {
        StatusCode::NOT_FOUND => Error::NotOnRegistry { reference: request.what.clone(), host },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Error::Denied { host, what: request.asked.reference.familiar_repository(), why }
        }
        status => Error::Registry { host, what: request.what.clone(), status: status.as_u16(), why },
    }
}

/// The registry's own words, if it has some.
pub(crate) async fn said(mut response: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Item>,
        #[serde(default)]
        details: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let reason = response.status().canonical_reason().unwrap_or("no reason given").to_lowercase();
    let mut bytes = Vec::new();
    while bytes.len() < 16 << 10 {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            _ => break,
        }
    }
    let Ok(body) = serde_json::from_slice::<Body>(&bytes) else {
        return reason;
    };
    let errors = body.errors.iter().map(|item| match item.message.is_empty() {
        true => item.code.clone(),
        false => item.message.clone(),
    });
    let said: Vec<String> = errors.chain(body.details).filter(|text| !text.is_empty()).collect();
    match said.is_empty() {
        true => reason,
        false => said.join(", ").chars().take(300).collect(),
    }
}
