//! PEM in and out.

use crate::error::Error;
use base64::Engine as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::fmt::Write as _;

const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";

fn write(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    let _infallible = writeln!(pem, "-----END {label}-----");
    pem
}

pub(crate) fn of_certificate(der: &[u8]) -> String {
    write(CERTIFICATE, der)
}

pub(crate) fn of_key(der: &[u8]) -> String {
    write(KEY, der)
}

/// The first certificate in it.
pub(crate) fn certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::Pem("certificate"))
}

/// The first private key (PKCS#8) in it.
pub(crate) fn key(pem: &str) -> Result<PrivatePkcs8KeyDer<'static>, Error> {
    PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::Pem("private key"))
}

/// All certificates in it, in order.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|_| Error::Pem("certificate"))
}
