//! The common form of every file here: a header, then frames, each with its length, a checksum
//! and a sealed body.
//!
//! ```text
//! header  magic 8 · format u16 · cipher u16 · number u64 · salt 16 · crc32 of these u32     (40 bytes)
//! frame   length u32 · crc32 of length and body u32 · body = sealed text, 16 bytes longer than the plain
//! ```
//!
//! Numbers are little-endian. The nonce of a frame is the file's random salt and the frame's offset,
//! and the header is bound into every seal: a frame opens only in its own place of its own file, so
//! whatever opens was written there. Hence the rule that keeps nonces unique: an offset that may
//! have been written once is never written again under the same salt.

use crate::error::StoreError;
use crate::key::{self, NodeKey, TAG};
use std::path::Path;

/// The format that this code writes, and the newest that it reads.
pub(crate) const FORMAT: u16 = 1;
const XCHACHA20_POLY1305: u16 = 1;
/// Bytes of a header.
pub(crate) const HEADER: usize = 40;
/// Bytes of a frame before its body.
pub(crate) const FRAME: usize = 8;
/// Values larger than this are spread over several frames.
const CHUNK: usize = 4 << 20;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    Snapshot,
    Ledger,
    Backup,
    Key,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Kind::Log => b"rswarmLG",
            Kind::Snapshot => b"rswarmSN",
            Kind::Ledger => b"rswarmLD",
            Kind::Backup => b"rswarmBK",
            Kind::Key => b"rswarmKY",
        }
    }

    /// Does a file of this kind begin so?
    pub(crate) fn begins(self, file: &[u8]) -> bool {
        file.starts_with(self.magic())
    }
}

/// A header: which file this is, and what its frames are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    bytes: [u8; HEADER],
}

impl Header {
    pub(crate) fn new(kind: Kind, number: u64, path: &Path) -> Result<Header, StoreError> {
        let mut salt = [0_u8; 16];
        key::random(&mut salt, path)?;
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(kind.magic());
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&XCHACHA20_POLY1305.to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&salt);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let mut header = [0_u8; HEADER];
        header.copy_from_slice(&bytes);
        Ok(Header { bytes: header })
    }

    pub(crate) fn read(kind: Kind, path: &Path, file: &[u8]) -> Result<Header, StoreError> {
        let corrupt = |why: &str| StoreError::Corrupt { path: path.to_owned(), offset: 0, why: why.to_owned() };
        let bytes: [u8; HEADER] = take(file, 0).ok_or_else(|| corrupt("the header is cut short"))?;
        if bytes[..8] != *kind.magic() {
            return Err(corrupt("it does not begin as such a file does"));
        }
        if crc32fast::hash(&bytes[..36]).to_le_bytes() != bytes[36..] {
            return Err(corrupt("the header does not match its checksum"));
        }
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if format != FORMAT {
            return Err(StoreError::Version { path: path.to_owned(), found: format, known: FORMAT });
        }
        Ok(Header { bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number given to [`Header::new`].
    pub(crate) fn number(&self) -> u64 {
        u64::from_le_bytes(take(&self.bytes, 12).unwrap_or_default())
    }

    fn nonce(&self, offset: u64) -> [u8; 24] {
        let mut nonce = [0_u8; 24];
        nonce[..16].copy_from_slice(&self.bytes[20..36]);
        nonce[16..].copy_from_slice(&offset.to_le_bytes());
        nonce
    }

    /// The frame of `plain` for the place `offset` of the file.
    pub(crate) fn seal(&self, key: &NodeKey, offset: u64, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let too_large = || StoreError::TooLarge { bytes: plain.len() };
        let body = key.seal(self.nonce(offset), &self.bytes, plain).ok_or_else(too_large)?;
        let length = u32::try_from(body.len()).map_err(|_| too_large())?.to_le_bytes();
        let mut frame = Vec::with_capacity(FRAME + body.len());
        frame.extend_from_slice(&length);
        frame.extend_from_slice(&checksum(length, &body).to_le_bytes());
        frame.extend_from_slice(&body);
        Ok(frame)
    }

    /// The frame at `offset` of `file`: its plain text and where it ends.
    pub(crate) fn open(&self, key: &NodeKey, file: &[u8], offset: usize) -> Frame {
        let (Some(length), Some(expected)) = (take::<4>(file, offset), take::<4>(file, offset + 4)) else {
            return Frame::Bad("a frame is cut short");
        };
        let end = (u32::from_le_bytes(length) as usize).saturating_add(offset + FRAME);
        if u32::from_le_bytes(length) < TAG as u32 {
            return Frame::Bad("a frame has an impossible length");
        }
        let Some(body) = file.get(offset + FRAME..end) else {
            return Frame::Bad("a frame reaches beyond the end of the file");
        };
        if checksum(length, body).to_le_bytes() != expected {
            return Frame::Bad("a frame does not match its checksum");
        }
        match key.open(self.nonce(offset as u64), &self.bytes, body) {
            Some(plain) => Frame::Good { plain, end },
            None => Frame::Locked,
        }
    }
}

/// What is at a place of a file.
pub(crate) enum Frame {
    /// A frame.
    Good { plain: Vec<u8>, end: usize },
    /// None, and why not.
    Bad(&'static str),
    /// One that is whole but does not open: of another key, or moved here.
    Locked,
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize()
}

pub(crate) fn take<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// The whole file for one value.
pub(crate) fn encode(kind: Kind, number: u64, path: &Path, key: &NodeKey, value: &[u8]) -> Result<Vec<u8>, StoreError> {
    let header = Header::new(kind, number, path)?;
    let mut file = header.bytes().to_vec();
    // The first frame says how much follows, so that a file cut between frames is noticed.
    let frame = header.seal(key, file.len() as u64, &(value.len() as u64).to_le_bytes())?;
    file.extend_from_slice(&frame);
    for chunk in value.chunks(CHUNK) {
        let frame = header.seal(key, file.len() as u64, chunk)?;
        file.extend_from_slice(&frame);
    }
    Ok(file)
}

/// A value read back.
pub(crate) struct Decoded {
    pub(crate) header: Header,
    /// The value, in pieces.
    pub(crate) plain: Vec<Vec<u8>>,
}

/// Reads what [`encode`] made; anything amiss is an error.
pub(crate) fn decode(kind: Kind, path: &Path, file: &[u8], key: &NodeKey) -> Result<Decoded, StoreError> {
    let corrupt = |offset: usize, why: &str| StoreError::Corrupt {
        path: path.to_owned(),
        offset: offset as u64,
        why: why.into(),
    };
    let header = Header::read(kind, path, file)?;
    let mut plain = Vec::new();
    let mut offset = HEADER;
    while offset < file.len() {
        match header.open(key, file, offset) {
            Frame::Good { plain: piece, end } => {
                plain.push(piece);
                offset = end;
            }
            Frame::Bad(why) => return Err(corrupt(offset, why)),
            Frame::Locked => return Err(StoreError::WrongKey { path: path.to_owned() }),
        }
    }
    if plain.is_empty() {
        return Err(corrupt(offset, "it ends after its header"));
    }
    let length = plain.remove(0);
    let found: usize = plain.iter().map(Vec::len).sum();
    if length != (found as u64).to_le_bytes() {
        return Err(corrupt(offset, "it is shorter or longer than it says"));
    }
    Ok(Decoded { header, plain })
}
