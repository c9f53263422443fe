//! The reading side: from the last lines over exchanged files, then on as the log grows.

use super::pack::{self, FileId};
use super::{LogQuery, LogRecord, line};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Bytes read at once.
const BLOCK: usize = 64 << 10;

/// Records handed out at once.
const BATCH: usize = 256;

/// More than any line that the writer makes: a longer one is no record.
const LONGEST_LINE: usize = 1 << 20;

/// A place in the log of one container.
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    query: LogQuery,
    /// Files still to be read, the present one first.
    files: VecDeque<Open>,
    /// Bytes of the present file that were read but not handed out.
    buffer: Vec<u8>,
    done: bool,
}

#[derive(Debug)]
struct Open {
    /// As it lies on the disk. It stays open, so that its inode can't become another's.
    file: File,
    id: FileId,
    /// What it was before it was compressed.
    was: Option<FileId>,
    /// The content of one that is compressed, once somebody has looked into it.
    unpacked: Option<File>,
    offset: u64,
}

impl Open {
    /// The content, as it was written.
    fn plain(&mut self, path: &Path) -> io::Result<&File> {
        if self.was.is_some() && self.unpacked.is_none() {
            self.unpacked = Some(pack::unpack(&self.file, path.parent().unwrap_or(Path::new("/")))?);
        }
        Ok(self.unpacked.as_ref().unwrap_or(&self.file))
    }

    /// Appends the next bytes; false at the end.
    fn read(&mut self, path: &Path, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let offset = self.offset;
        let before = buffer.len();
        let file = self.plain(path)?;
        buffer.resize(before + BLOCK, 0);
        let count = file.read_at(buffer.get_mut(before..).unwrap_or_default(), offset);
        buffer.truncate(before + *count.as_ref().unwrap_or(&0));
        self.offset += count? as u64;
        Ok(buffer.len() > before)
    }
}

impl Cursor {
    /// Opens the log at the place where the query begins. A log that does not exist yet is empty.
    ///
    /// # Errors
    /// The disk.
    pub fn open(path: &Path, query: &LogQuery) -> io::Result<Cursor> {
        let mut files = snapshot(path)?;
        if let Some(tail) = query.tail {
            seek_tail(path, &mut files, tail)?;
        }
        files.reverse();
        let files = VecDeque::from(files);
        Ok(Cursor { path: path.to_owned(), query: query.clone(), files, buffer: Vec::new(), done: false })
    }

    /// Whether a record after the last one that was asked for has come.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The next records; empty when there are none at this moment.
    ///
    /// # Errors
    /// The disk.
    pub fn batch(&mut self) -> io::Result<Vec<LogRecord>> {
        let mut records = Vec::new();
        while records.len() < BATCH && !self.done {
            if !self.take_lines(&mut records) && !self.fill()? {
                break;
            }
        }
        Ok(records)
    }

    /// Hands out lines of the buffer; false if there was no whole one.
    fn take_lines(&mut self, records: &mut Vec<LogRecord>) -> bool {
        let mut used = 0;
        while records.len() < BATCH
            && let Some(rest) = self.buffer.get(used..)
            && let Some(length) = rest.iter().position(|byte| *byte == b'\n')
        {
            let record = rest.get(..length).and_then(line::decode);
            used += length + 1;
            let Some(record) = record else { continue };
            if self.query.until_ns.is_some_and(|until| record.time_ns > until) {
                self.done = true;
                break;
            }
            if self.query.since_ns.is_none_or(|since| record.time_ns >= since) {
                records.push(record);
            }
        }
        self.buffer.drain(..used);
        used > 0
    }

    /// Reads on; false at the end of the newest file.
    fn fill(&mut self) -> io::Result<bool> {
        if self.buffer.len() > LONGEST_LINE {
            self.buffer.clear();
        }
        loop {
            let Some(open) = self.files.front_mut() else {
                if !self.find_newer(None)? {
                    return Ok(false);
                }
                continue;
            };
            let id = open.id;
            if open.read(&self.path, &mut self.buffer)? {
                return Ok(true);
            }
            if self.files.len() == 1 {
                if !self.find_newer(Some(id))? {
                    return Ok(false);
                }
                // It was exchanged after the read above: what was written in between is still unread.
                if let Some(open) = self.files.front_mut()
                    && open.read(&self.path, &mut self.buffer)?
                {
                    return Ok(true);
                }
            }
            self.files.pop_front();
            self.buffer.clear();
        }
    }

    /// Opens the files that came after the one with this id; false if it is the newest.
    fn find_newer(&mut self, id: Option<FileId>) -> io::Result<bool> {
        let mut newer = snapshot(&self.path)?;
        match id {
            // The newest first: whatever had this inode before, also in a compressed file, comes after it.
            Some(id) => {
                let known = newer.iter().position(|open| open.id == id || open.was == Some(id));
                newer.truncate(known.unwrap_or(newer.len()));
            }
            // Without a present file only the newest matters: older ones were read or never wanted.
            None => newer.truncate(1),
        }
        newer.reverse();
        let found = !newer.is_empty();
        self.files.extend(newer);
        Ok(found)
    }
}

/// All files of a log as they are at one moment, the newest first. They are renamed meanwhile, so they are
/// looked at again until nothing has changed; after many times what was seen last has to do.
fn snapshot(path: &Path) -> io::Result<Vec<Open>> {
    const TIMES: u32 = 32;
    let mut before: Vec<Open> = open_all(path)?;
    for _ in 0..TIMES {
        let after = open_all(path)?;
        if before.iter().map(|open| open.id).eq(after.iter().map(|open| open.id)) {
            return Ok(before);
        }
        before = after;
    }
    Ok(before)
}

fn open_all(path: &Path) -> io::Result<Vec<Open>> {
    let mut files = Vec::new();
    let mut missing = 0;
    for number in 0.. {
        match open_number(path, number)? {
            Some(open) => files.push(open),
            // At an exchange one number is missing for a moment, and another at its beginning.
            None => missing += 1,
        }
        if missing > 2 {
            break;
        }
    }
    Ok(files)
}

fn open_number(path: &Path, number: u32) -> io::Result<Option<Open>> {
    let name = if number > 0 { pack::numbered(path, number) } else { path.to_owned() };
    if let Some((file, id)) = open_if_there(&name)? {
        return Ok(Some(Open { file, id, was: None, unpacked: None, offset: 0 }));
    }
    if number == 0 {
        return Ok(None);
    }
    let Some((file, id)) = open_if_there(&pack::packed(&name))? else { return Ok(None) };
    // One that somebody else compressed never was a file that is known here.
    let was = Some(pack::id(&file).unwrap_or(id));
    Ok(Some(Open { file, id, was, unpacked: None, offset: 0 }))
}

fn open_if_there(path: &Path) -> io::Result<Option<(File, FileId)>> {
    match File::open(path) {
        Ok(file) => {
            let metadata = file.metadata()?;
            Ok(Some((file, (metadata.dev(), metadata.ino()))))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets the offsets (newest file first) so that the last `tail` lines remain. A line that was cut
/// into several records counts once; one without an end counts too.
fn seek_tail(path: &Path, files: &mut Vec<Open>, tail: u64) -> io::Result<()> {
    let mut wanted: Option<u64> = None;
    for index in 0..files.len() {
        let Some(open) = files.get_mut(index) else { return Ok(()) };
        let length = open.plain(path)?.metadata()?.len();
        if tail == 0 {
            open.offset = length;
            files.truncate(1);
            return Ok(());
        }
        if let Some(offset) = scan_back(open.plain(path)?, length, tail, &mut wanted)? {
            open.offset = offset;
            files.truncate(index + 1);
            return Ok(());
        }
    }
    Ok(())
}

/// Looks for the end of the line before the last `tail` ones. `wanted` counts the ends that are still
/// to be passed, over files; `None` before the first.
fn scan_back(file: &File, length: u64, tail: u64, wanted: &mut Option<u64>) -> io::Result<Option<u64>> {
    /// The tail of a record, from the end of its text on, is shorter than this.
    const OVERLAP: u64 = 128;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let from = start.saturating_sub(OVERLAP);
        let mut block = vec![0; usize::try_from(end - from).unwrap_or(0)];
        file.read_exact_at(&mut block, from)?;
        let first = usize::try_from(start - from).unwrap_or(0);
        for at in (first..block.len()).rev() {
            if block.get(at) != Some(&b'\n') {
                continue;
            }
            let window = block.get(at.saturating_sub(OVERLAP as usize)..at).unwrap_or_default();
            let window = window.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            let ends = line::ends_line(window);
            let left = wanted.get_or_insert(if ends { tail.saturating_add(1) } else { tail });
            if ends {
                *left -= 1;
                if *left == 0 {
                    return Ok(Some(from + at as u64 + 1));
                }
            }
        }
        end = start;
    }
    Ok(None)
}
