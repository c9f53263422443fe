//! Tar archives, read as a stream of entries. Every length in them is a claim of a stranger: nothing
//! is allocated or believed before it is checked.

mod header;
mod pax;
mod sparse;
pub(crate) mod write;

pub(crate) use header::Kind;

use crate::error::{Error, Result};
use crate::limits::Limits;
use header::{BLOCK, Header};
use pax::Records;
use std::io::{self, BufRead};

/// One entry, with all extensions applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub(crate) mtime: (i64, u32),
    /// Bytes of payload in the archive.
    pub(crate) size: u64,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Logical size and the pieces that the payload holds, in order.
    pub(crate) sparse: Option<(u64, Vec<(u64, u64)>)>,
}

/// Hears every byte of the archive that is not handed out by [`Reader::payload`].
pub(crate) trait Tape {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()>;
}

impl Tape for () {
    fn bytes(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Reads an archive.
pub(crate) struct Reader<'a, T> {
    input: &'a mut dyn BufRead,
    limits: &'a Limits,
    pub(crate) tape: T,
    globals: Records,
    /// Payload not yet read of the current entry, and the padding after it.
    left: u64,
    padding: u64,
    overhead: u64,
    entries: u64,
    name: Vec<u8>,
}

impl<'a, T: Tape> Reader<'a, T> {
    pub(crate) fn new(input: &'a mut dyn BufRead, limits: &'a Limits, tape: T) -> Self {
        Reader {
            input,
            limits,
            tape,
            globals: Records::default(),
            left: 0,
            padding: 0,
            overhead: 0,
            entries: 0,
            name: Vec::new(),
        }
    }

    /// The next entry; `None` after the last, then all input is read.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        self.skip()?;
        let mut local = Records::default();
        let mut long_name = None;
        let mut long_link = None;
        loop {
            let Some(block) = self.header()? else {
                return self.end().map(|()| None);
            };
            let header = Header::parse(&block).map_err(|why| self.wrong(why))?;
            self.count()?;
            match header.kind {
                Kind::Extended => local = self.records(header.size, local)?,
                Kind::Global => {
                    let globals = std::mem::take(&mut self.globals);
                    self.globals = self.records(header.size, globals)?;
                }
                Kind::LongName => long_name = Some(self.long(header.size)?),
                Kind::LongLink => long_link = Some(self.long(header.size)?),
                _ => return self.entry(&block, header, local, long_name, long_link).map(Some),
            }
        }
    }

    /// Hands out the next `len` bytes of payload piece by piece; they don't go to the tape.
    pub(crate) fn payload(&mut self, mut len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if len > self.left {
            return Err(self.wrong("its pieces are longer than its content"));
        }
        self.left -= len;
        while len > 0 {
            let available = fill(&mut *self.input, &self.name)?;
            let take = available.len().min(usize::try_from(len).unwrap_or(usize::MAX));
            let bytes = available.get(..take).unwrap_or_default();
            if bytes.is_empty() {
                return Err(truncated(&self.name));
            }
            sink(bytes)?;
            self.input.consume(take);
            len -= take as u64;
        }
        Ok(())
    }

    /// Payload of the current entry that nobody asked for yet.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        header: Header,
        local: Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry> {
        let records = Records::merged(&self.globals, local);
        let mut entry = header.entry;
        entry.size = header.size;
        let format = records.apply(&mut entry).map_err(|why| self.wrong(why))?;
        if let Some(name) = long_name {
            entry.path = name;
        }
        if let Some(link) = long_link {
            entry.link = link;
        }
        self.name.clone_from(&entry.path);
        if entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(self.wrong("its name has a NUL byte"));
        }
        if header.kind == Kind::File && entry.path.ends_with(b"/") {
            entry.kind = Kind::Dir;
        }
        // Only files have content, whatever their header says: as Go's reader (and so Docker) has it.
        if !matches!(entry.kind, Kind::File | Kind::Sparse) {
            entry.size = 0;
        }
        self.left = entry.size;
        self.padding = padding(entry.size);
        sparse::resolve(self, block, &mut entry, format)?;
        Ok(entry)
    }

    fn records(&mut self, size: u64, into: Records) -> Result<Records> {
        let bytes = self.extension(size)?;
        into.parse(&bytes).map_err(|why| self.wrong(why))
    }

    /// A GNU long name: ends at its first NUL.
    fn long(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut bytes = self.extension(size)?;
        if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
            bytes.truncate(end);
        }
        Ok(bytes)
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > self.limits.extended_header {
            return Err(self.wrong(&format!("an extended header of {size} bytes")));
        }
        let mut bytes = self.take(size)?;
        self.take(padding(size))?;
        bytes.shrink_to_fit();
        Ok(bytes)
    }

    /// The next header; `None` at the end mark or where the input ends between two entries.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if fill(&mut *self.input, &self.name)?.is_empty() {
            return Ok(None);
        }
        let block = self.block()?;
        if block.iter().any(|&byte| byte != 0) {
            return Ok(Some(block));
        }
        if fill(&mut *self.input, &self.name)?.is_empty() {
            return Ok(None);
        }
        match self.block()?.iter().any(|&byte| byte != 0) {
            true => Err(self.wrong("a lone zero block amid the archive")),
            false => Ok(None),
        }
    }

    pub(crate) fn block(&mut self) -> Result<[u8; BLOCK]> {
        let bytes = self.take(BLOCK as u64)?;
        bytes.try_into().map_err(|_| truncated(&self.name))
    }

    /// A block of the current entry's payload, for the map of a sparse file.
    fn payload_block(&mut self) -> Result<[u8; BLOCK]> {
        self.left = self.left.checked_sub(BLOCK as u64).ok_or_else(|| self.wrong("its sparse map is cut off"))?;
        self.block()
    }

    /// Bytes that are no payload: they go to the tape.
    fn take(&mut self, size: u64) -> Result<Vec<u8>> {
        let size = usize::try_from(size).map_err(|_| self.wrong("too long"))?;
        let mut bytes = Vec::with_capacity(size.min(64 << 10));
        while bytes.len() < size {
            let available = fill(&mut *self.input, &self.name)?;
            if available.is_empty() {
                return Err(truncated(&self.name));
            }
            let take = available.len().min(size - bytes.len());
            bytes.extend_from_slice(available.get(..take).unwrap_or_default());
            self.input.consume(take);
        }
        self.over(bytes.len() as u64)?;
        self.tape.bytes(&bytes)?;
        Ok(bytes)
    }

    /// Skips to the next header, by way of the tape.
    fn skip(&mut self) -> Result<()> {
        while self.left > 0 {
            let step = self.left.min(256 << 10);
            self.take(step)?;
            self.left -= step;
        }
        // Some writers (umoci's `insert`) leave out what would follow the last byte of the last file.
        let padding = std::mem::take(&mut self.padding);
        match fill(&mut *self.input, &self.name)?.is_empty() {
            true => Ok(()),
            false => self.take(padding).map(drop),
        }
    }

    /// What follows the end mark belongs to the archive's digest too.
    fn end(&mut self) -> Result<()> {
        loop {
            let available = fill(&mut *self.input, &self.name)?;
            let len = available.len();
            if len == 0 {
                return Ok(());
            }
            self.tape.bytes(available)?;
            self.input.consume(len);
            self.over(len as u64)?;
        }
    }

    fn over(&mut self, bytes: u64) -> Result<()> {
        self.overhead += bytes;
        match self.overhead > self.limits.overhead {
            true => Err(self.wrong("the archive has more bytes outside of files than any honest one")),
            false => Ok(()),
        }
    }

    fn count(&mut self) -> Result<()> {
        self.entries += 1;
        match self.entries > self.limits.entries {
            true => Err(self.wrong(&format!("the archive has more than {} entries", self.limits.entries))),
            false => Ok(()),
        }
    }

    /// Refuses the current entry (or what follows it).
    pub(crate) fn wrong(&self, why: &str) -> Error {
        Error::hostile(&self.name, why)
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn truncated(after: &[u8]) -> Error {
    Error::hostile(after, "the archive ends in the middle of it (truncated)")
}

/// Errors of our own pass through `Read` as the inner error.
fn fill<'b>(input: &'b mut dyn BufRead, name: &[u8]) -> Result<&'b [u8]> {
    input.fill_buf().map_err(|error| through(error, name))
}

/// Our own error out of an I/O error, if there is one in it.
pub(crate) fn through(error: io::Error, name: &[u8]) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => Error::hostile(name, format!("the compressed data is damaged: {error}")),
    }
}

#[cfg(test)]
mod tests;
