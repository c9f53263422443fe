//! Who is trusted: the system's authorities (or those of `SSL_CERT_FILE`), and for single
//! registries what is in Docker's folder of certificates, `/etc/docker/certs.d/HOST:PORT/`: each
//! `*.crt` is an authority, a `NAME.cert` and `NAME.key` are shown to a registry that asks for them.

use crate::error::{Error, Result, TlsProblem};
use reqwest::{Certificate, Client, Identity};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Longest time until a connection stands.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest silence of a server.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest file of certificates; a system's whole bundle has some 200 KiB.
const LONGEST: u64 = 4 << 20;

/// The files of one registry with what tells that one has changed.
type Files = Vec<(PathBuf, Option<SystemTime>, u64)>;

/// A registry with certificates of its own, if it is one; and laxness.
type Trust = (Option<String>, bool);

/// HTTP clients, one per way to trust.
#[derive(Debug)]
pub(super) struct Clients {
    folder: PathBuf,
    known: Mutex<BTreeMap<Trust, (Files, Client)>>,
}

impl Clients {
    pub(super) fn new(folder: PathBuf) -> Clients {
        Clients { folder, known: Mutex::default() }
    }

    /// The client for a registry; a lax one trusts every certificate and speaks plain HTTP as well.
    /// Looks at the folder each time: people add certificates while the daemon runs.
    ///
    /// # Errors
    /// A certificate can't be read or is none; there are no authorities at all.
    pub(super) fn of(&self, host: &str, is_lax: bool) -> Result<Client> {
        let files = self.files(host)?;
        let key = (Some(host.to_owned()).filter(|_| !files.is_empty()), is_lax);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, client)) = known.get(&key)
            && *seen == files
        {
            return Ok(client.clone());
        }
        let client = build(host, is_lax, &files)?;
        known.insert(key, (files, client.clone()));
        Ok(client)
    }

    fn files(&self, host: &str) -> Result<Files> {
        // A reference's host has no slash in it, so that this leads nowhere else.
        let folder = self.folder.join(host);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Files::new());
            }
            Err(error) => return Err(Error::io("read", &folder, error)),
        };
        let mut files = Files::new();
        for entry in entries {
            let path = entry.map_err(Error::on("read", &folder))?.path();
            if matches!(path.extension().and_then(|it| it.to_str()), Some("crt" | "cert" | "key")) {
                let metadata = std::fs::metadata(&path).map_err(Error::on("look at", &path))?;
                files.push((path, metadata.modified().ok(), metadata.len()));
            }
        }
        files.sort();
        Ok(files)
    }
}

fn build(host: &str, is_lax: bool, files: &Files) -> Result<Client> {
    // Somebody else may have chosen one already, which is as good.
    let _chosen_already = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("rswarm/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .https_only(!is_lax)
        .tls_danger_accept_invalid_certs(is_lax);
    for (path, _, length) in files {
        let what = || path.display().to_string();
        if *length > LONGEST {
            return Err(Error::corrupt(what(), "too long for a certificate"));
        }
        match path.extension().and_then(|it| it.to_str()) {
            Some("crt") => {
                let certificates = Certificate::from_pem_bundle(&read(path)?).ok().filter(|found| !found.is_empty());
                let certificates = certificates.ok_or_else(|| Error::corrupt(what(), "no certificate in PEM form"))?;
                builder = builder.tls_certs_merge(certificates);
            }
            Some("cert") => {
                let both = [read(path)?, b"\n".to_vec(), read(&path.with_extension("key"))?].concat();
                let identity = Identity::from_pem(&both)
                    .map_err(|_| Error::corrupt(what(), "no certificate and key in PEM form, with that of the key"))?;
                builder = builder.identity(identity);
            }
            _ => {}
        }
    }
    builder.build().map_err(|error| Error::Network {
        host: host.to_owned(),
        what: "set up TLS (is the package ca-certificates installed?) for images".to_owned(),
        source: Box::new(error),
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::on("read", path))
}

/// What is wrong with TLS, if that is why a request failed.
pub(super) fn problem(error: &(dyn std::error::Error + 'static)) -> Option<TlsProblem> {
    use rustls::CertificateError as Bad;
    use rustls::Error as Tls;
    Some(match cause(error)? {
        Tls::InvalidCertificate(Bad::UnknownIssuer) => TlsProblem::UnknownAuthority,
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => TlsProblem::OtherName,
        Tls::InvalidCertificate(
            Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. },
        ) => TlsProblem::OtherTime,
        Tls::InvalidMessage(_) => TlsProblem::NoTls,
        _ => TlsProblem::Handshake,
    })
}

/// The error of TLS in a chain of causes. I/O errors hide what is in them from `source`.
fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
