//! The reading side: from the last lines over exchanged files, then on as the log grows.

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
pub(crate) struct Cursor {
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
    file: File,
    id: (u64, u64),
    offset: u64,
}

impl Open {
    /// Appends the next bytes; false at the end.
    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let before = buffer.len();
        buffer.resize(before + BLOCK, 0);
        let count = self.file.read_at(buffer.get_mut(before..).unwrap_or_default(), self.offset);
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
    pub(crate) fn open(path: &Path, query: &LogQuery) -> io::Result<Cursor> {
        let mut files: Vec<Open> = Vec::new();
        // The newest first: one that is exchanged meanwhile is then seen twice, not missed.
        for number in 0.. {
            match open_number(path, number)? {
                Some(open) if files.iter().any(|known| known.id == open.id) => {}
                Some(open) => files.push(open),
                // At an exchange the newest is missing for a moment.
                None if number == 0 => {}
                None => break,
            }
        }
        if let Some(tail) = query.tail {
            seek_tail(&mut files, tail)?;
        }
        files.reverse();
        let files = VecDeque::from(files);
        Ok(Cursor { path: path.to_owned(), query: query.clone(), files, buffer: Vec::new(), done: false })
    }

    /// Whether a record after the last one that was asked for has come.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// The next records; empty when there are none at this moment.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn batch(&mut self) -> io::Result<Vec<LogRecord>> {
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
            if open.read(&mut self.buffer)? {
                return Ok(true);
            }
            if self.files.len() == 1 {
                if !self.find_newer(Some(id))? {
                    return Ok(false);
                }
                // It was exchanged after the read above: what was written in between is still unread.
                if let Some(open) = self.files.front_mut()
                    && open.read(&mut self.buffer)?
                {
                    return Ok(true);
                }
            }
            self.files.pop_front();
            self.buffer.clear();
        }
    }

    /// Opens the files that came after the one with this id; false if it is the newest.
    fn find_newer(&mut self, id: Option<(u64, u64)>) -> io::Result<bool> {
        let mut newer = Vec::new();
        for number in 0.. {
            match open_number(&self.path, number)? {
                Some(open) if Some(open.id) == id => break,
                Some(open) if newer.iter().any(|known: &Open| known.id == open.id) => {}
                Some(open) => newer.push(open),
                None if number == 0 => {}
                None => break,
            }
            // Without a present file only the newest matters: older ones were read or never wanted.
            if id.is_none() && !newer.is_empty() {
                break;
            }
        }
        newer.reverse();
        let found = !newer.is_empty();
        self.files.extend(newer);
        Ok(found)
    }
}

fn open_number(path: &Path, number: u32) -> io::Result<Option<Open>> {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    match File::open(&name) {
        Ok(file) => {
            let metadata = file.metadata()?;
            Ok(Some(Open { file, id: (metadata.dev(), metadata.ino()), offset: 0 }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets the offsets (newest file first) so that the last `tail` lines remain. A line that was cut
/// into several records counts once; one without an end counts too.
fn seek_tail(files: &mut Vec<Open>, tail: u64) -> io::Result<()> {
    let mut wanted: Option<u64> = None;
    for index in 0..files.len() {
        let Some(open) = files.get_mut(index) else { return Ok(()) };
        let length = open.file.metadata()?.len();
        if tail == 0 {
            open.offset = length;
            files.truncate(1);
            return Ok(());
        }
        if let Some(offset) = scan_back(&open.file, length, tail, &mut wanted)? {
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
