//! TLS of one who joins: it knows nothing of the cluster but the digest of its authority's certificate.

use crate::error::Error;
use crate::key::digest;
use crate::peer::PeerRole;
use crate::pem;
use crate::tls::{self, Usage};
use model::Root;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// Accepts only managers whose certificate was signed by the authority with this digest, which they send along.
#[derive(Debug)]
struct Pinned {
    digest: String,
    provider: CryptoProvider,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let known = others.iter().find(|other| model::same_secret(&digest(other), &self.digest));
        let root = known.ok_or(CertificateError::UnknownIssuer)?;
        let root = Root { certificate: pem::of_certificate(root), digest: self.digest.clone() };
        match tls::verify(certificate, &[root], Usage::Server, now)?.role {
            PeerRole::Manager => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::InvalidPurpose.into()),
        }
    }

    tls::signatures!();
}

/// What one who joins dials with: no certificate of its own, and trust in one authority, known by the SHA-256
/// (hex) of its certificate ([`crate::Token::digest`]).
///
/// # Errors
/// TLS cannot be set up.
pub fn pinned_client_config(digest: &str) -> Result<Arc<ClientConfig>, Error> {
    let pinned = Pinned { digest: digest.to_owned(), provider: tls::provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    tls::settle(&mut config);
    Ok(Arc::new(config))
}
