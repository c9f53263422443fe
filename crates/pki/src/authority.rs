//! The certificate authority of a cluster.

use crate::error::Error;
use crate::key::{Key, digest};
use crate::peer::{self, PeerIdentity, PeerRole};
use crate::{der, pem, request};
use model::{Authority, ClusterId, Root, Time};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType, SerialNumber,
};
use std::time::Duration;
use time::OffsetDateTime;

/// How long a certificate of a node holds; it is renewed long before ([`crate::renew_at`]).
pub const LIFETIME: Duration = Duration::from_hours(90 * 24);

/// How long an authority holds. `ca --rotate` replaces it sooner.
const AUTHORITY_LIFETIME: Duration = Duration::from_hours(20 * 365 * 24);

/// Certificates begin that much before they are made, for machines whose clocks are behind.
const SKEW: Duration = Duration::from_hours(1);

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// It, as PEM.
    pub pem: String,
    /// Who it says its holder is.
    pub identity: PeerIdentity,
    /// When it begins.
    pub begins: Time,
    /// When it ends.
    pub expires: Time,
}

impl Certificate {
    /// Reads one. Whether it holds is not looked at.
    ///
    /// # Errors
    /// It is no certificate of a node.
    pub fn from_pem(text: &str) -> Result<Certificate, Error> {
        let der = pem::certificate(text)?;
        let identity = peer::of_certificate(&der)?;
        let (begins, expires) = der::validity(&der).ok_or(Error::Certificate("its dates cannot be read"))?;
        Ok(Certificate { pem: pem::of_certificate(&der), identity, begins: Time(begins), expires: Time(expires) })
    }
}

/// Makes the authority of a cluster, or one that is to replace it.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_authority(cluster: ClusterId, now: Time) -> Result<Authority, Error> {
    let key = Key::generate()?;
    let mut params = authority_params(cluster, &key);
    params.serial_number = Some(serial()?);
    (params.not_before, params.not_after) = dates(now, AUTHORITY_LIFETIME)?;
    let certificate = params.self_signed(&key.pair).map_err(|error| Error::Sign(error.to_string()))?;
    let root = Root { certificate: pem::of_certificate(certificate.der()), digest: digest(certificate.der()) };
    Ok(Authority { root, key: key.to_pem() })
}

/// All that later certificates need to know of the authority follows from the cluster and its key.
fn authority_params(cluster: ClusterId, key: &Key) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, cluster.to_string());
    let digest = key.digest();
    name.push(DnType::CommonName, format!("rswarm CA {}", digest.get(..12).unwrap_or(&digest)));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Signs a certificate for the key in `request` (PKCS#10, DER). Who its holder is comes from `identity` alone.
///
/// # Errors
/// The request is not acceptable, or the authority's key is damaged.
pub fn sign(
    authority: &Authority,
    request: &[u8],
    identity: &PeerIdentity,
    now: Time,
    lifetime: Duration,
) -> Result<Certificate, Error> {
    let public = request::read(request)?;
    let key = Key::from_pem(&authority.key)?;
    let issuer = Issuer::new(authority_params(identity.cluster, &key), key.pair);
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, identity.cluster.to_string());
    name.push(DnType::OrganizationalUnitName, identity.role.to_string());
    name.push(DnType::CommonName, identity.node.to_string());
    params.distinguished_name = name;
    let uri = identity.to_string().try_into().map_err(|error: rcgen::Error| Error::Sign(error.to_string()))?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if identity.role != PeerRole::Client {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    (params.not_before, params.not_after) = dates(now, lifetime)?;
    let certificate = params.signed_by(&public, &issuer).map_err(|error| Error::Sign(error.to_string()))?;
    Certificate::from_pem(&pem::of_certificate(certificate.der()))
}

fn dates(now: Time, lifetime: Duration) -> Result<(OffsetDateTime, OffsetDateTime), Error> {
    let now = i64::try_from(now.0 / 1000).ok().and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok());
    let now = now.ok_or_else(|| Error::Sign("this machine's clock is out of bounds".to_owned()))?;
    Ok((now - SKEW, now + lifetime))
}

/// Drawn at random, and positive, as RFC 5280 wants it.
fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    let [first, ..] = &mut bytes;
    *first = *first & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
