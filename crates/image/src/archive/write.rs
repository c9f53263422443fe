//! Tar archives, written: ustar headers, with extended (pax) ones before those that need them.

use super::header::BLOCK;
use super::{Entry, Kind, padding};
use crate::error::{Error, Result};
use std::io::Write;
use std::path::Path;

/// Largest number of a field of 12 and of 8 octal digits, one of which ends it.
const LARGE: u64 = 0o77_777_777_777;
const SMALL: u32 = 0o7_777_777;

/// Writes an archive. The content of each entry is the caller's: exactly `size` bytes, then
/// [`Writer::pad`].
pub(crate) struct Writer<'a> {
    out: &'a mut dyn Write,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Writer { out }
    }

    /// The headers of an entry.
    ///
    /// # Errors
    /// Nobody takes the bytes.
    pub(crate) fn header(&mut self, entry: &Entry) -> Result<()> {
        let records = records(entry);
        if !records.is_empty() {
            let extended = Entry { mode: 0o644, size: records.len() as u64, ..Entry::default() };
            self.bytes(&block(&extended, b"pax", b'x'))?;
            self.bytes(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.bytes(&block(entry, &entry.path, flag(entry.kind)))
    }

    /// For content that writes itself.
    pub(crate) fn content(&mut self) -> &mut dyn Write {
        self.out
    }

    /// Content.
    ///
    /// # Errors
    /// Nobody takes the bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(Error::on("write", Path::new("the archive")))
    }

    /// What follows content of that length.
    ///
    /// # Errors
    /// Nobody takes the bytes.
    pub(crate) fn pad(&mut self, length: u64) -> Result<()> {
        let padding = usize::try_from(padding(length)).unwrap_or(0);
        self.bytes([0u8; BLOCK].get(..padding).unwrap_or_default())
    }

    /// The end mark.
    ///
    /// # Errors
    /// Nobody takes the bytes.
    pub(crate) fn end(mut self) -> Result<()> {
        self.bytes(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(Error::on("write", Path::new("the archive")))
    }
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::Hardlink => b'1',
        Kind::Symlink => b'2',
        Kind::Char => b'3',
        Kind::Block => b'4',
        Kind::Dir => b'5',
        Kind::Fifo => b'6',
        // The others are made by the writer, or are not written.
        _ => b'0',
    }
}

/// A header; what has no room in it is cut, and stands in the records before it.
fn block(entry: &Entry, name: &[u8], flag: u8) -> [u8; BLOCK] {
    let mut block = [0u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8], room: usize| {
        let bytes = bytes.get(..room).unwrap_or(bytes);
        if let Some(to) = block.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    };
    let small = |value: u32| format!("{:07o}\0", value.min(SMALL));
    let large = |value: u64| format!("{:011o}\0", value.min(LARGE));
    put(0, name, 100);
    put(100, small(entry.mode).as_bytes(), 8);
    put(108, small(entry.uid).as_bytes(), 8);
    put(116, small(entry.gid).as_bytes(), 8);
    put(124, large(entry.size).as_bytes(), 12);
    put(136, large(u64::try_from(entry.mtime.0).unwrap_or(0)).as_bytes(), 12);
    put(148, b"        ", 8);
    put(156, &[flag], 1);
    put(157, &entry.link, 100);
    put(257, b"ustar\x0000", 8);
    put(329, small(entry.device.0).as_bytes(), 8);
    put(337, small(entry.device.1).as_bytes(), 8);
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Records for all that the header cannot say.
fn records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    if entry.path.len() > 100 {
        record(&mut records, b"path", &entry.path);
    }
    if entry.link.len() > 100 {
        record(&mut records, b"linkpath", &entry.link);
    }
    let mut number = |key: &[u8], value: u64, most: u64| {
        if value > most {
            record(&mut records, key, value.to_string().as_bytes());
        }
    };
    number(b"size", entry.size, LARGE);
    number(b"uid", entry.uid.into(), SMALL.into());
    number(b"gid", entry.gid.into(), SMALL.into());
    if entry.mtime.1 != 0 || u64::try_from(entry.mtime.0).map_or(true, |seconds| seconds > LARGE) {
        record(&mut records, b"mtime", time(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&mut records, &[super::pax::XATTR, name].concat(), value);
    }
    records
}

/// Seconds with their fraction; before 1970 both count backwards.
fn time((seconds, nanos): (i64, u32)) -> String {
    match seconds < 0 && nanos > 0 {
        true if seconds == -1 => format!("-0.{:09}", 1_000_000_000 - nanos),
        true => format!("{}.{:09}", seconds + 1, 1_000_000_000 - nanos),
        false if nanos == 0 => seconds.to_string(),
        false => format!("{seconds}.{nanos:09}"),
    }
}

/// `LENGTH KEY=VALUE\n`, the length being that of all of it.
fn record(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    to.extend_from_slice(format!("{length} ").as_bytes());
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}
