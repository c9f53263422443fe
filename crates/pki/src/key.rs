//! Keys of nodes.

use crate::error::Error;
use crate::pem;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData as _};
use std::fmt;

/// SHA-256 in hex.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes))
}

/// A private key; it never leaves the machine that made it.
pub struct Key {
    pub(crate) pair: KeyPair,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("public", &self.digest()).finish_non_exhaustive()
    }
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<Key, Error> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
        Ok(Key { pair: pair.map_err(|error| Error::Key(error.to_string()))? })
    }

    /// Reads what [`Key::to_pem`] wrote.
    ///
    /// # Errors
    /// It is no such key.
    pub fn from_pem(text: &str) -> Result<Key, Error> {
        let der = pem::key(text)?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256);
        Ok(Key { pair: pair.map_err(|error| Error::Key(error.to_string()))? })
    }

    /// PKCS#8 as PEM.
    pub fn to_pem(&self) -> String {
        pem::of_key(self.pair.serialized_der())
    }

    /// SHA-256 (hex) of the public key's DER form: the name of the key in the state of the cluster.
    pub fn digest(&self) -> String {
        digest(&self.pair.subject_public_key_info())
    }

    /// A request for a certificate (PKCS#10, DER): the public key, and proof that the private one is held.
    /// There are no names in it; whoever signs knows them.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn request(&self) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.pair).map_err(|error| Error::Sign(error.to_string()))?;
        Ok(request.der().to_vec())
    }
}
