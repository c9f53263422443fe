//! One file of the log, `log-NUMBER`: written by one life of one store, front to back, one frame
//! per durable write.
//!
//! Before a frame is written the one before it is on disk, and so is the header before the first.
//! Thus at most the last frame of the last segment can be unfinished after a crash, and a bad frame
//! with a good one anywhere behind it is damage.
//!
//! Behind the frames lie zeros, written ahead: a write over blocks that the file has already needs no
//! entry in the file system's journal, so its sync does not wait for what others on the same disk do.

use crate::atomic::sync_dir;
use crate::error::{StoreError, io_error};
use crate::key::NodeKey;
use crate::sealed::{Frame, HEADER, Header, Kind};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "log-";
/// How far zeros are written ahead, in bytes.
const AHEAD: usize = 128 << 10;

pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:020}"))
}

/// The number in a file name, if it is a segment's.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// A segment being written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    file: File,
    header: Header,
    /// Bytes that are on disk.
    length: u64,
    /// Up to here the file has its blocks.
    prepared: u64,
}

impl Segment {
    /// A new one with a durable header. A full disk leaves nothing behind.
    pub(crate) fn create(dir: &Path, number: u64) -> Result<Segment, StoreError> {
        let path = path(dir, number);
        let header = Header::new(Kind::Log, number, &path)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("create", &path))?;
        let written = file
            .write_all_at(header.bytes(), 0)
            .and_then(|()| file.sync_all())
            .map_err(io_error("write", &path))
            .and_then(|()| sync_dir(dir));
        if let Err(error) = written {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Segment { path, number, file, header, length: HEADER as u64, prepared: HEADER as u64 })
    }

    /// Writes zeros behind the place of a frame, if they have come to an end. They are made durable with
    /// the frame; where the disk has no room for them there are none.
    fn prepare(&mut self, end: u64) {
        if end <= self.prepared {
            return;
        }
        match self.file.write_all_at(&vec![0; AHEAD], end) {
            Ok(()) => self.prepared = end + AHEAD as u64,
            Err(_full) => {
                let _tried_by_the_frame_itself = self.file.set_len(self.length);
                self.prepared = self.length;
            }
        }
    }

    /// Appends one frame and waits until it is on disk.
    pub(crate) fn append(&mut self, key: &NodeKey, plain: &[u8]) -> Result<(), Failure> {
        let frame = self.header.seal(key, self.length, plain).map_err(Failure::Nothing)?;
        self.prepare(self.length + frame.len() as u64);
        let written = self.file.write_all_at(&frame, self.length).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.length += frame.len() as u64;
                Ok(())
            }
            Err(error) => Err(self.undo(error)),
        }
    }

    /// Cuts off what a failed write may have left. Only a full disk can be undone: after any other
    /// error the kernel may have dropped pages that it calls clean.
    fn undo(&mut self, error: io::Error) -> Failure {
        let error = io_error("write", &self.path)(error);
        self.prepared = self.length;
        let cut = self.file.set_len(self.length).and_then(|()| self.file.sync_all());
        if error.is_full() && cut.is_ok() { Failure::Undone(error) } else { Failure::Unknown(error) }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

/// Nothing will be written here any more: the zeros are cut off.
impl Drop for Segment {
    fn drop(&mut self) {
        if self.prepared > self.length {
            let _harmless_if_they_stay = self.file.set_len(self.length);
        }
    }
}

/// A failed append.
pub(crate) enum Failure {
    /// Nothing was written.
    Nothing(StoreError),
    /// What was written is cut off again; the segment must not be written any more (see
    /// [`sealed`](crate::sealed) on nonces).
    Undone(StoreError),
    /// Nobody knows what is on disk.
    Unknown(StoreError),
}

/// A segment read back: the frames with their offsets.
pub(crate) struct Contents {
    pub(crate) frames: Vec<(u64, Vec<u8>)>,
    /// Where they end; behind it there is nothing but zeros, or what is torn.
    pub(crate) end: u64,
    /// An unfinished end: where it begins and what is wrong with it.
    pub(crate) torn: Option<(u64, &'static str)>,
}

/// Reads a segment. Only in the `last` one the end may be unfinished.
pub(crate) fn read(path: &Path, number: u64, key: &NodeKey, last: bool) -> Result<Contents, StoreError> {
    let file = fs::read(path).map_err(io_error("read", path))?;
    parse(path, &file, number, key, last)
}

pub(crate) fn parse(path: &Path, file: &[u8], number: u64, key: &NodeKey, last: bool) -> Result<Contents, StoreError> {
    if last && file.len() <= HEADER && !matches!(Header::read(Kind::Log, path, file), Err(StoreError::Version { .. })) {
        // No frame can have been written: the header was not durable yet, or is all there is.
        return Ok(Contents { frames: Vec::new(), end: 0, torn: Some((0, "it has no frames")) });
    }
    let corrupt =
        |offset: usize, why: String| StoreError::Corrupt { path: path.to_owned(), offset: offset as u64, why };
    let header = Header::read(Kind::Log, path, file)?;
    if header.number() != number {
        return Err(corrupt(12, format!("it is segment {} under another name", header.number())));
    }
    let mut frames = Vec::new();
    let mut offset = HEADER;
    while file.get(offset..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0)) {
        match header.open(key, file, offset) {
            Frame::Good { plain, end } => {
                frames.push((offset as u64, plain));
                offset = end;
            }
            Frame::Locked => return Err(StoreError::WrongKey { path: path.to_owned() }),
            Frame::Bad(why) if !last => return Err(corrupt(offset, why.to_owned())),
            Frame::Bad(why) => {
                return match good_after(&header, key, file, offset) {
                    Some(later) => Err(corrupt(offset, format!("{why}, yet there is a good one at byte {later}"))),
                    None => Ok(Contents { frames, end: offset as u64, torn: Some((offset as u64, why)) }),
                };
            }
        }
    }
    if last && frames.is_empty() {
        return Ok(Contents { frames, end: 0, torn: Some((0, "it has no frames")) });
    }
    Ok(Contents { frames, end: offset as u64, torn: None })
}

/// Is there a good frame anywhere after a bad one?
fn good_after(header: &Header, key: &NodeKey, file: &[u8], bad: usize) -> Option<usize> {
    (bad + 1..file.len()).find(|offset| matches!(header.open(key, file, *offset), Frame::Good { .. }))
}

/// Cuts an unfinished end off, durably; a segment without frames goes altogether. `true`: it is
/// still there.
pub(crate) fn repair(dir: &Path, path: &Path, keep: u64) -> Result<bool, StoreError> {
    if keep <= HEADER as u64 {
        fs::remove_file(path).map_err(io_error("remove", path))?;
        return sync_dir(dir).map(|()| false);
    }
    let file = OpenOptions::new().write(true).open(path).map_err(io_error("open", path))?;
    file.set_len(keep).and_then(|()| file.sync_all()).map_err(io_error("cut", path))?;
    Ok(true)
}
