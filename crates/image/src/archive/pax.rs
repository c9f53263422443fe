//! Extended headers: records `LENGTH KEY=VALUE\n` (POSIX pax), with the keys of star for extended
//! attributes and of GNU for sparse files.

use super::Entry;
use std::collections::BTreeMap;

pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// Records by key, the last one wins; those of GNU's first sparse format repeat and are in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `offset,length` of GNU.sparse.offset and GNU.sparse.numbytes (format 0.0).
    pieces: Vec<u64>,
}

/// How the pieces of a sparse file are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SparseFormat {
    /// Not at all: a whole file, or one of GNU's own type.
    None,
    /// Logical size and pieces in the extended header (0.0 and 0.1).
    Given(u64, Vec<u64>),
    /// Logical size; the pieces come before the content (1.0).
    InContent(u64),
}

impl Records {
    /// Adds the records of one extended header.
    pub(crate) fn parse(mut self, mut bytes: &[u8]) -> Result<Records, &'static str> {
        const WRONG: &str = "the extended header after it is malformed";
        while !bytes.is_empty() {
            let space = bytes.iter().take(12).position(|&byte| byte == b' ').ok_or(WRONG)?;
            let length = decimal(bytes.get(..space).ok_or(WRONG)?).ok_or(WRONG)?;
            let length = usize::try_from(length).map_err(|_| WRONG)?;
            let record = bytes.get(space + 1..length).ok_or(WRONG)?;
            let record = record.strip_suffix(b"\n").ok_or(WRONG)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or(WRONG)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.pieces.push(decimal(value).ok_or(WRONG)?),
                _ => {
                    self.values.insert(key.to_vec(), value.to_vec());
                }
            }
            bytes = bytes.get(length..).ok_or(WRONG)?;
        }
        Ok(self)
    }

    /// Local records over global ones.
    pub(crate) fn merged(globals: &Records, local: Records) -> Records {
        if globals.values.is_empty() {
            return local;
        }
        let mut merged = globals.clone();
        merged.values.extend(local.values);
        merged.pieces = local.pieces;
        merged
    }

    /// Applies them to an entry.
    pub(crate) fn apply(self, entry: &mut Entry) -> Result<SparseFormat, &'static str> {
        if self.values.is_empty() && self.pieces.is_empty() {
            return Ok(SparseFormat::None);
        }
        const WRONG: &str = "an extended header has a number that is none";
        let mut values = self.values;
        let mut number = |key: &[u8]| match values.remove(key) {
            Some(value) if !value.is_empty() => decimal(&value).map(Some).ok_or(WRONG),
            _ => Ok(None),
        };
        if let Some(size) = number(b"size")? {
            entry.size = size;
        }
        if let Some(uid) = number(b"uid")? {
            entry.uid = u32::try_from(uid).map_err(|_| WRONG)?;
        }
        if let Some(gid) = number(b"gid")? {
            entry.gid = u32::try_from(gid).map_err(|_| WRONG)?;
        }
        let real_size = match number(b"GNU.sparse.realsize")? {
            Some(size) => Some(size),
            None => number(b"GNU.sparse.size")?,
        };
        let version = (number(b"GNU.sparse.major")?, number(b"GNU.sparse.minor")?);
        if let Some(value) = values.get(b"mtime".as_slice()).filter(|value| !value.is_empty()) {
            entry.mtime = time(value).ok_or(WRONG)?;
        }
        if let Some(path) = values.remove(b"path".as_slice()).filter(|path| !path.is_empty()) {
            entry.path = path;
        }
        if let Some(link) = values.remove(b"linkpath".as_slice()).filter(|link| !link.is_empty()) {
            entry.link = link;
        }
        if let Some(name) = values.remove(b"GNU.sparse.name".as_slice()) {
            entry.path = name;
        }
        let map = values.remove(b"GNU.sparse.map".as_slice());
        for (key, value) in values {
            if let Some(name) = key.strip_prefix(XATTR) {
                entry.xattrs.push((name.to_vec(), value));
            }
        }
        sparse(version, real_size, map, self.pieces)
    }
}

fn sparse(
    version: (Option<u64>, Option<u64>),
    real_size: Option<u64>,
    map: Option<Vec<u8>>,
    pieces: Vec<u64>,
) -> Result<SparseFormat, &'static str> {
    const WRONG: &str = "the map of a sparse file is malformed";
    let pieces = match map {
        Some(map) if !map.is_empty() => {
            map.split(|&byte| byte == b',').map(decimal).collect::<Option<Vec<_>>>().ok_or(WRONG)?
        }
        _ => pieces,
    };
    match (version, real_size) {
        ((Some(1), Some(0)), Some(size)) => Ok(SparseFormat::InContent(size)),
        ((None | Some(0), _), Some(size)) => Ok(SparseFormat::Given(size, pieces)),
        ((None, None), None) if pieces.is_empty() => Ok(SparseFormat::None),
        _ => Err(WRONG),
    }
}

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `[-]SECONDS[.FRACTION]`
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = nine.parse().ok()?;
    match whole.starts_with('-') && nanos > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        false => Some((seconds, nanos)),
    }
}
