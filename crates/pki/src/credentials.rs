//! What a node (or a client elsewhere) holds: its key, its certificate, and the roots that it trusts.

use crate::authority::{Certificate, LIFETIME, sign};
use crate::error::Error;
use crate::key::{Key, digest};
use crate::peer::{PeerIdentity, PeerRole};
use crate::{pem, tls};
use model::{Authority, ClusterId, NodeId, Root, Time};

/// A key with its certificate, and whom to trust.
#[derive(Debug)]
pub struct Credentials {
    /// The private key.
    pub key: Key,
    /// Its certificate.
    pub certificate: Certificate,
    /// What is trusted; one of them signed the certificate.
    pub roots: Vec<Root>,
}

impl Credentials {
    /// Those of a cluster's first manager, who holds the authority.
    ///
    /// # Errors
    /// The system gives no random bytes, or the authority's key is damaged.
    pub fn own(authority: &Authority, cluster: ClusterId, node: NodeId, now: Time) -> Result<Credentials, Error> {
        let key = Key::generate()?;
        let identity = PeerIdentity { cluster, node, role: PeerRole::Manager, since: 0 };
        let certificate = sign(authority, &key.request()?, &identity, now, LIFETIME)?;
        Ok(Credentials { key, certificate, roots: vec![authority.root.clone()] })
    }

    /// Puts together what was signed elsewhere, and sees whether it belongs together: the certificate is for
    /// this key, and one of the roots has signed it.
    ///
    /// # Errors
    /// It does not.
    pub fn new(key: Key, certificate: &str, roots: Vec<Root>) -> Result<Credentials, Error> {
        let certificate = Certificate::from_pem(certificate)?;
        let credentials = Credentials { key, certificate, roots };
        credentials.issuer()?;
        credentials.check_key()?;
        Ok(credentials)
    }

    /// All of it in one text: the key, the certificate, and the roots after it.
    pub fn to_pem(&self) -> String {
        let roots = self.roots.iter().map(|root| root.certificate.as_str());
        [self.key.to_pem().as_str(), self.certificate.pem.as_str()].into_iter().chain(roots).collect()
    }

    /// Reads what [`Credentials::to_pem`] wrote.
    ///
    /// # Errors
    /// It is no such text, or what is in it does not belong together.
    pub fn from_pem(text: &str) -> Result<Credentials, Error> {
        let key = Key::from_pem(text)?;
        let certificates = pem::certificates(text)?;
        let (own, roots) = certificates.split_first().ok_or(Error::Pem("certificate"))?;
        let roots = roots.iter().map(|der| root(&pem::of_certificate(der))).collect::<Result<_, _>>()?;
        Credentials::new(key, &pem::of_certificate(own), roots)
    }

    /// The same with other roots.
    ///
    /// # Errors
    /// None of them has signed the certificate.
    pub fn trusting(&self, roots: Vec<Root>) -> Result<Credentials, Error> {
        Credentials::new(Key::from_pem(&self.key.to_pem())?, &self.certificate.pem, roots)
    }

    /// The root that has signed the certificate.
    ///
    /// # Errors
    /// It is none of the trusted ones.
    pub fn issuer(&self) -> Result<&Root, Error> {
        let der = pem::certificate(&self.certificate.pem)?;
        // In the middle of its life: whether it is over is asked with each handshake.
        let at = Time(self.certificate.begins.0.midpoint(self.certificate.expires.0));
        let signed = |root: &&Root| tls::verify_at(&der, std::slice::from_ref(*root), at).is_ok();
        self.roots.iter().find(signed).ok_or_else(|| Error::Untrusted("no trusted root has signed it".to_owned()))
    }

    fn check_key(&self) -> Result<(), Error> {
        let der = pem::certificate(&self.certificate.pem)?;
        let certificate = webpki::EndEntityCert::try_from(&der).map_err(|_| Error::Certificate("it cannot be read"))?;
        if digest(&certificate.subject_public_key_info()) != self.key.digest() {
            return Err(Error::Certificate("it is for another key"));
        }
        Ok(())
    }
}

/// A trusted root from its certificate (PEM).
///
/// # Errors
/// It is no certificate of an authority.
pub fn root(certificate: &str) -> Result<Root, Error> {
    let der = pem::certificate(certificate)?;
    webpki::anchor_from_trusted_cert(&der).map_err(|_| Error::Certificate("it is none of an authority"))?;
    Ok(Root { certificate: pem::of_certificate(&der), digest: digest(&der) })
}
