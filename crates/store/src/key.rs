//! The node's key: 32 random bytes in a file that only its owner may read. [`crate::KeyFile`] seals that file.

use crate::atomic;
use crate::error::{StoreError, io_error};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const PREFIX: &str = "rswarm-node-key-1 ";

/// Bytes by which a sealed text is longer than the plain one.
pub(crate) const TAG: usize = 16;

/// Seals what is written and opens what is read (XChaCha20-Poly1305).
#[derive(Clone)]
pub struct NodeKey {
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKey(…)")
    }
}

impl NodeKey {
    /// Reads the key, or makes one if there is no such file. Its folder must exist.
    ///
    /// # Errors
    /// [`StoreError::BadKey`] when others may read the file or it holds no key.
    pub fn load_or_create(path: &Path) -> Result<NodeKey, StoreError> {
        load_or_create(path).map(NodeKey::from_bytes)
    }

    /// A key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> NodeKey {
        NodeKey { cipher: XChaCha20Poly1305::new(&Key::from(bytes)) }
    }

    /// Seals `plain`. A nonce must never be used twice with one key.
    pub(crate) fn seal(&self, nonce: [u8; 24], bound_to: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        self.cipher.encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: bound_to }).ok()
    }

    /// Opens what [`NodeKey::seal`] made of the same nonce and `bound_to`.
    pub(crate) fn open(&self, nonce: [u8; 24], bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: bound_to }).ok()
    }
}

/// The bytes in the file, or new ones if there is no such file.
pub(crate) fn load_or_create(path: &Path) -> Result<[u8; 32], StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => refuse_readable(&metadata, path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
        Err(error) => return Err(io_error("look at", path)(error)),
    }
    let text = fs::read(path).map_err(io_error("read", path))?;
    let text = String::from_utf8(text).unwrap_or_default();
    let bytes = text.strip_prefix(PREFIX).and_then(|rest| unhex(rest.trim_end()));
    bytes.ok_or(StoreError::BadKey { path: path.to_owned(), why: "it is not a node key" })
}

/// Keys are for their owner's eyes.
pub(crate) fn refuse_readable(metadata: &fs::Metadata, path: &Path) -> Result<(), StoreError> {
    match metadata.mode() & 0o077 {
        0 => Ok(()),
        _ => Err(StoreError::BadKey { path: path.to_owned(), why: "others may read it; chmod 600 it" }),
    }
}

fn create(path: &Path) -> Result<(), StoreError> {
    let mut bytes = [0_u8; 32];
    random(&mut bytes, path)?;
    atomic::write_new(path, text(&bytes).as_bytes())
}

/// What is in the file.
pub(crate) fn text(bytes: &[u8; 32]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{hex}\n")
}

/// Fills `bytes` from the system's generator.
pub(crate) fn random(bytes: &mut [u8], for_path: &Path) -> Result<(), StoreError> {
    getrandom::fill(bytes)
        .map_err(|error| io_error("draw random bytes for", for_path)(io::Error::other(error.to_string())))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0_u8; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
