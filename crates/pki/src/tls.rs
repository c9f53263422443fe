//! TLS as both ends of every connection between machines of a cluster speak it.
//!
//! The configurations are made once; what they present and trust is looked up in a [`Keyring`] with each
//! handshake, so that a renewed certificate or a new root needs no new configuration and cuts no connection.
//! Sessions are never resumed: each handshake sees a certificate anew.

use crate::credentials::Credentials;
use crate::error::Error;
use crate::peer::{self, PeerIdentity, PeerRole};
use crate::pem;
use model::{NodeId, Root, Time};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DistinguishedName, OtherError, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What both ends must mean to speak.
const PROTOCOL: &[u8] = b"rswarm/1";

/// After the id of a node: whom a client expects, in the place of a host name.
const NODE_SUFFIX: &str = ".node.rswarm";

pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// What is presented and trusted now.
struct Held {
    presented: Arc<CertifiedKey>,
    identity: PeerIdentity,
    roots: Vec<Root>,
}

/// Credentials in use; they may be replaced at any time.
pub struct Keyring {
    held: RwLock<Arc<Held>>,
    provider: CryptoProvider,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("identity", &self.held().identity).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Begins with these.
    ///
    /// # Errors
    /// They do not belong together.
    pub fn new(credentials: &Credentials) -> Result<Arc<Keyring>, Error> {
        let provider = provider();
        Ok(Arc::new(Keyring { held: RwLock::new(Arc::new(held(credentials)?)), provider }))
    }

    /// Uses these from the next handshake on. Connections that are there stay.
    ///
    /// # Errors
    /// They do not belong together; then nothing has changed.
    pub fn replace(&self, credentials: &Credentials) -> Result<(), Error> {
        let next = Arc::new(held(credentials)?);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Who its holder is by its certificate.
    pub fn identity(&self) -> PeerIdentity {
        self.held().identity
    }

    /// What is trusted.
    pub fn roots(&self) -> Vec<Root> {
        self.held().roots.clone()
    }

    fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The peer behind a certificate that holds and is of our cluster.
    fn peer(
        &self,
        certificate: &CertificateDer<'_>,
        usage: Usage,
        now: UnixTime,
    ) -> Result<PeerIdentity, rustls::Error> {
        let held = self.held();
        let peer = verify(certificate, &held.roots, usage, now)?;
        if peer.cluster != held.identity.cluster {
            return Err(other(Error::Certificate("it is of another cluster")));
        }
        Ok(peer)
    }
}

fn held(credentials: &Credentials) -> Result<Held, Error> {
    let leaf = pem::certificate(&credentials.certificate.pem)?;
    // Whoever joins knows only the digest of the root, so that is sent along.
    let root = pem::certificate(&credentials.issuer()?.certificate)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.key.pair.serialized_der()));
    let signing = rustls::crypto::ring::sign::any_ecdsa_type(&key)?;
    Ok(Held {
        presented: Arc::new(CertifiedKey::new(vec![leaf, root], signing)),
        identity: credentials.certificate.identity,
        roots: credentials.roots.clone(),
    })
}

/// What a certificate is used for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Usage {
    Client,
    Server,
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn refused(error: webpki::Error) -> rustls::Error {
    match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired.into(),
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature.into(),
        error => other(error),
    }
}

/// Does this certificate hold before these roots, now and for this use? Then: who is it?
pub(crate) fn verify(
    certificate: &CertificateDer<'_>,
    roots: &[Root],
    usage: Usage,
    now: UnixTime,
) -> Result<PeerIdentity, rustls::Error> {
    let ders: Vec<CertificateDer<'_>> =
        roots.iter().map(|root| pem::certificate(&root.certificate)).collect::<Result<_, _>>().map_err(other)?;
    let anchors = ders.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let leaf = webpki::EndEntityCert::try_from(certificate).map_err(refused)?;
    let usage = match usage {
        Usage::Client => webpki::KeyUsage::client_auth(),
        Usage::Server => webpki::KeyUsage::server_auth(),
    };
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    leaf.verify_for_usage(algorithms, &anchors, &[], now, usage, None, None).map_err(refused)?;
    peer::of_certificate(certificate).map_err(other)
}

/// The same as a client's, at a moment of ours.
pub(crate) fn verify_at(certificate: &CertificateDer<'_>, roots: &[Root], at: Time) -> Result<PeerIdentity, Error> {
    let at = UnixTime::since_unix_epoch(Duration::from_millis(at.0));
    verify(certificate, roots, Usage::Client, at).map_err(|error| Error::Untrusted(error.to_string()))
}

/// What every verifier here says of signatures: those of TLS 1.3, by its `provider`. TLS 1.2 is never offered.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("TLS before 1.3 is not spoken here".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls_pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}
pub(crate) use signatures;

impl ResolvesServerCert for Keyring {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.held().presented.clone())
    }
}

impl ResolvesClientCert for Keyring {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.held().presented.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Keyring {
    /// Whoever joins has no certificate yet: what it may reach without is decided above.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.peer(certificate, Usage::Client, now).map(|_| ClientCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for Keyring {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let peer = self.peer(certificate, Usage::Server, now)?;
        if peer.role != PeerRole::Manager {
            return Err(other(Error::Certificate("it is none of a manager")));
        }
        match expected(name) {
            Some(node) if node != peer.node => Err(other(Error::Certificate("it is of another node than expected"))),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    signatures!();
}

/// What a client gives TLS in the place of a host name: the node that it expects, or any manager. It is not sent.
pub fn server_name(expect: Option<NodeId>) -> ServerName<'static> {
    let name = match expect {
        Some(node) => format!("{node}{NODE_SUFFIX}"),
        None => "manager.rswarm".to_owned(),
    };
    // 32 hex digits and two words are a valid name.
    ServerName::try_from(name).unwrap_or(ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into()))
}

fn expected(name: &ServerName<'_>) -> Option<NodeId> {
    match name {
        ServerName::DnsName(name) => name.as_ref().strip_suffix(NODE_SUFFIX)?.parse().ok(),
        _ => None,
    }
}

/// What a manager listens with. Certificates of peers are asked for, and verified if there is one.
///
/// # Errors
/// TLS cannot be set up.
pub fn server_config(keyring: &Arc<Keyring>) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(keyring.clone())
        .with_cert_resolver(keyring.clone());
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A resumed session would not see that a certificate has ended, or its root is not trusted any more.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What a node, or a client elsewhere, dials managers with.
///
/// # Errors
/// TLS cannot be set up.
pub fn client_config(keyring: &Arc<Keyring>) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(keyring.clone())
        .with_client_cert_resolver(keyring.clone());
    settle(&mut config);
    Ok(Arc::new(config))
}

pub(crate) fn settle(config: &mut ClientConfig) {
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
}

/// Who is at the other end, after the handshake has verified these certificates. `None`: it showed none.
///
/// # Errors
/// The certificate names nobody.
pub fn peer_identity(certificates: Option<&[CertificateDer<'_>]>) -> Result<Option<PeerIdentity>, Error> {
    certificates.and_then(<[_]>::first).map(peer::of_certificate).transpose()
}
