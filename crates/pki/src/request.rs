//! Requests for certificates, as anybody on the network may send them.
//!
//! Nodes send PKCS#10; the one thing that is taken from it is the public key, and of that only the one kind
//! that nodes have. What else it asks for (names, extensions) is of no interest.

use crate::der::{BIT_STRING, CONTEXT_0, INTEGER, Reader, SEQUENCE};
use crate::error::Error;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

/// No honest request comes near.
const MAX: usize = 4096;

/// `SEQUENCE { SEQUENCE { ecPublicKey, prime256v1 }, BIT STRING` of 65 bytes and no unused bits: every public
/// key of the kind that is used here begins so (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// `SEQUENCE { ecdsa-with-SHA256 }` (RFC 5758).
const ECDSA_SHA256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// A public key whose owner has shown that the private one is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicKey<'a> {
    /// Its DER form.
    pub(crate) info: &'a [u8],
    /// The point alone.
    pub(crate) point: &'a [u8],
}

impl rcgen::PublicKeyData for PublicKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// Reads a request and verifies its signature.
pub(crate) fn read(request: &[u8]) -> Result<PublicKey<'_>, Error> {
    if request.len() > MAX {
        return Err(Error::Request("it is too long"));
    }
    let (signed, key, signature) = parts(request).ok_or(Error::Request("it is no PKCS#10 request"))?;
    let point = key.strip_prefix(&P256).ok_or(Error::Request("its key is not of the curve P-256"))?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(signed, signature)
        .map_err(|_| Error::Request("it is not signed by the key in it"))?;
    Ok(PublicKey { info: key, point })
}

/// What is signed, the public key in it, and the signature.
fn parts(request: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut outside = Reader::new(request);
    let mut request = Reader::new(outside.expect(SEQUENCE)?.content);
    let signed = request.expect(SEQUENCE)?;
    let algorithm = request.expect(SEQUENCE)?;
    let signature = request.expect(BIT_STRING)?.content.strip_prefix(&[0])?;
    let mut info = Reader::new(signed.content);
    let version = info.expect(INTEGER)?;
    info.expect(SEQUENCE)?;
    let key = info.expect(SEQUENCE)?;
    info.expect(CONTEXT_0)?;
    let whole = outside.is_empty() && request.is_empty() && info.is_empty();
    (whole && version.content == [0] && algorithm.whole == ECDSA_SHA256).then_some((signed.whole, key.whole, signature))
}

/// SHA-256 (hex) of the public key that a request (DER) is for.
///
/// # Errors
/// It is no request, for a key of another kind, or not signed by that key.
pub fn requested_key(request: &[u8]) -> Result<String, Error> {
    Ok(crate::key::digest(read(request)?.info))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::Key;
    use proptest::prelude::*;

    #[test]
    fn the_key_of_an_honest_request_is_found() {
        let key = Key::generate().unwrap();
        assert_eq!(requested_key(&key.request().unwrap()).unwrap(), key.digest());
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        for kind in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let pair = rcgen::KeyPair::generate_for(kind).unwrap();
            let request = rcgen::CertificateParams::default().serialize_request(&pair).unwrap();
            requested_key(request.der()).unwrap_err();
        }
    }

    #[test]
    fn a_request_for_somebody_elses_key_is_refused() {
        let (own, other) = (Key::generate().unwrap(), Key::generate().unwrap());
        let mut request = own.request().unwrap();
        let theirs = other.request().unwrap();
        let point = read(&theirs).unwrap().point.to_vec();
        let at = request.windows(P256.len()).position(|window| window == P256).unwrap() + P256.len();
        request.splice(at..at + point.len(), point);
        assert!(matches!(requested_key(&request), Err(Error::Request("it is not signed by the key in it"))));
    }

    #[test]
    fn bytes_after_its_end_are_refused() {
        let mut request = Key::generate().unwrap().request().unwrap();
        request.push(0);
        requested_key(&request).unwrap_err();
        requested_key(&vec![0x30; MAX + 1]).unwrap_err();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(requested_key(&bytes).is_err());
        }

        #[test]
        fn one_changed_byte_is_noticed(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let key = Key::from_pem(KEY).unwrap();
            let mut request = key.request().unwrap();
            let at = at.index(request.len());
            request[at] ^= flip;
            prop_assert!(requested_key(&request).is_err());
        }
    }

    /// An example that many documents print; always the same, so that a failing case can be lived again.
    const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2
OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r
1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G
-----END PRIVATE KEY-----
";
}
