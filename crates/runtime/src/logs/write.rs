//! The writing side, in the shim: lines are gathered per stream, written in one piece per read, and
//! the file is exchanged when it is full.

use super::pack::{self, Packer};
use super::{LogOptions, LogStream, line};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Longest text of a record; longer lines come in several (as Docker cuts them).
const LONGEST: usize = 16 << 10;

/// Writes the log of one container.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    file: File,
    size: u64,
    options: LogOptions,
    /// What stands beside each line, a JSON object or nothing.
    attrs: Vec<u8>,
    /// Who compresses the file that was exchanged last.
    packer: Packer,
    /// What came after the last newline, by stream.
    partial: [Vec<u8>; 2],
    out: Vec<u8>,
    failures: u64,
}

impl LogWriter {
    /// Goes on at the end of the file.
    ///
    /// # Errors
    /// It can't be opened.
    pub(crate) fn open(path: &Path, options: LogOptions, attrs: Vec<u8>) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let mut size = file.metadata()?.len();
        // A power cut may have torn the last line; it must not swallow the next one.
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        let partial = [Vec::new(), Vec::new()];
        let packer = Packer::default();
        let path = path.to_owned();
        Ok(LogWriter { path, file, size, options, attrs, packer, partial, out: Vec::new(), failures: 0 })
    }

    /// Takes what was read from a stream at `now_ns`.
    ///
    /// # Errors
    /// The disk (full, say): those lines are lost, the next ones are tried again.
    pub(crate) fn write(&mut self, stream: LogStream, data: &[u8], now_ns: u64) -> io::Result<()> {
        let partial = &mut self.partial[usize::from(stream == LogStream::Stderr)];
        let mut rest = data;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (piece, after) = match end {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, &rest[rest.len()..]),
            };
            rest = after;
            if partial.is_empty() && end.is_some() && piece.len() <= LONGEST {
                line::encode(&mut self.out, &self.attrs, stream, now_ns, piece, true);
                continue;
            }
            partial.extend_from_slice(piece);
            while partial.len() > LONGEST {
                let cut = cut_at(partial);
                line::encode(&mut self.out, &self.attrs, stream, now_ns, &partial[..cut], false);
                partial.drain(..cut);
            }
            if end.is_some() {
                line::encode(&mut self.out, &self.attrs, stream, now_ns, partial, true);
                partial.clear();
            }
        }
        self.flush()
    }

    /// Writes what came without a newline at the end of a stream, and waits for what is being
    /// compressed: whoever removes the folder next shall find it quiet.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn finish(&mut self, now_ns: u64) -> io::Result<()> {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let partial = std::mem::take(&mut self.partial[usize::from(stream == LogStream::Stderr)]);
            if !partial.is_empty() {
                line::encode(&mut self.out, &self.attrs, stream, now_ns, &partial, false);
            }
        }
        let written = self.flush();
        self.packer.wait();
        written
    }

    /// How many writes have failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    fn flush(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        let mut result = Ok(());
        // Files end at a line, so a piece that crosses the limit is written line by line.
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            let room = self.options.max_size.map_or(u64::MAX, |max| max.saturating_sub(self.size));
            let take = match usize::try_from(room) {
                Ok(room) if room < rest.len() => {
                    let whole = rest[..room].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
                    match whole {
                        Some(whole) => whole,
                        None if self.size > 0 => {
                            result = self.rotate().and(result);
                            if self.size == 0 {
                                continue;
                            }
                            // Exchanging failed: better a file that is too long than a lost line.
                            rest.len()
                        }
                        // One line alone is longer than a file may be.
                        None => rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1),
                    }
                }
                _ => rest.len(),
            };
            let (piece, after) = rest.split_at(take);
            result = result.and(self.append(piece));
            rest = after;
        }
        self.out = out;
        self.out.clear();
        // A burst must not stay in memory for the life of the container.
        self.out.shrink_to(LONGEST);
        result
    }

    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        match self.file.write_all(piece) {
            Ok(()) => {
                self.size += piece.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.failures += 1;
                // Half a line must not stay.
                self.file.set_len(self.size)?;
                Err(error)
            }
        }
    }

    /// `log.json.1` becomes `.2` and so on; the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        if self.options.max_file <= 1 {
            // The only file there may be: whoever reads it still has it open.
            std::fs::remove_file(&self.path)?;
            return self.begin();
        }
        // Its names change now. Rarely is there something to wait for, and then it has to be.
        self.packer.wait();
        for number in (1..self.options.max_file - 1).rev() {
            shift(&self.path, number)?;
        }
        let newest = pack::numbered(&self.path, 1);
        std::fs::rename(&self.path, &newest)?;
        remove(&pack::packed(&newest))?;
        self.begin()?;
        if self.options.compress { self.packer.start(&newest) } else { Ok(()) }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.file = OpenOptions::new().create(true).append(true).read(true).open(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }
}

/// The file of this number, compressed or not, becomes the next one; what had that number goes.
fn shift(path: &Path, number: u32) -> io::Result<()> {
    let (from, to) = (pack::numbered(path, number), pack::numbered(path, number + 1));
    for (from, to, other) in
        [(pack::packed(&from), pack::packed(&to), &to), (from.clone(), to.clone(), &pack::packed(&to))]
    {
        match std::fs::rename(from, to) {
            Ok(()) => remove(other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where to cut a text that is too long: at [`LONGEST`], or a little before so that no character is
/// torn.
fn cut_at(text: &[u8]) -> usize {
    let starts_character = |at: &usize| text.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    (LONGEST - 3..=LONGEST).rev().find(starts_character).unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Cursor, LogQuery, LogRecord};
    use proptest::prelude::*;

    fn all(path: &Path, query: &LogQuery) -> Vec<LogRecord> {
        let mut cursor = Cursor::open(path, query).unwrap();
        let mut records = Vec::new();
        loop {
            let batch = cursor.batch().unwrap();
            if batch.is_empty() {
                return records;
            }
            records.extend(batch);
        }
    }

    /// Records joined to whole lines, per stream in order of their ends.
    fn lines(records: &[LogRecord]) -> Vec<String> {
        let mut open = [String::new(), String::new()];
        let mut lines = Vec::new();
        for record in records {
            let open = &mut open[usize::from(record.stream == LogStream::Stderr)];
            open.push_str(&record.line);
            if record.newline {
                lines.push(std::mem::take(open));
            }
        }
        lines
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn every_line_comes_back_and_tail_counts_them(
            texts in proptest::collection::vec((0usize..3, "[a-zé\u{1F600}\"\\\\]{0,40}"), 0..30),
            step in 100usize..3000,
            max_size in 2000u64..40_000,
            tail in 0u64..40,
            compress: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log.json");
            let options = LogOptions { max_size: Some(max_size), max_file: 10_000, compress };
            let mut writer = LogWriter::open(&path, options, Vec::new()).unwrap();
            // Now and then a line that is longer than a record.
            let texts: Vec<String> =
                texts.iter().map(|(kind, text)| if *kind == 0 { text.repeat(250) } else { text.clone() }).collect();
            let mut stream = String::new();
            for text in &texts {
                stream.push_str(text);
                stream.push('\n');
            }
            for (index, piece) in stream.as_bytes().chunks(step).enumerate() {
                writer.write(LogStream::Stdout, piece, 1000 + index as u64).unwrap();
            }
            let records = all(&path, &LogQuery::default());
            prop_assert_eq!(&lines(&records), &texts);
            prop_assert!(records.iter().all(|record| record.line.len() <= LONGEST));
            let query = LogQuery { tail: Some(tail), ..LogQuery::default() };
            let want: Vec<String> =
                texts.iter().skip(texts.len().saturating_sub(usize::try_from(tail).unwrap())).cloned().collect();
            prop_assert_eq!(lines(&all(&path, &query)), want);
        }
    }

    #[test]
    fn rotation_keeps_so_many_files_and_lines_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        for max_file in [1, 2, 4] {
            let options = LogOptions { max_size: Some(1000), max_file, compress: false };
            let mut writer = LogWriter::open(&path, options, Vec::new()).unwrap();
            for number in 0..200 {
                writer.write(LogStream::Stdout, format!("line {number}\n").as_bytes(), number).unwrap();
            }
            let count = u32::try_from(std::fs::read_dir(folder.path()).unwrap().count()).unwrap();
            assert_eq!(count, max_file);
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                assert!(entry.unwrap().metadata().unwrap().len() <= 1000);
            }
            let last = all(&path, &LogQuery { tail: Some(1), ..LogQuery::default() });
            assert_eq!(last.first().map(|record| record.line.as_str()), Some("line 199"));
        }
    }

    #[test]
    fn exchanged_files_are_compressed_and_who_follows_misses_and_repeats_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let options = LogOptions { max_size: Some(1000), max_file: 3, compress: true };
        let mut writer = LogWriter::open(&path, options, br#"{"tag":"box"}"#.to_vec()).unwrap();
        let mut cursor = Cursor::open(&path, &LogQuery { follow: true, ..LogQuery::default() }).unwrap();
        let mut seen = Vec::new();
        for number in 0..200u64 {
            writer.write(LogStream::Stdout, format!("line {number}\n").as_bytes(), number).unwrap();
            if number % 5 == 0 {
                seen.extend(cursor.batch().unwrap());
            }
        }
        seen.extend(cursor.batch().unwrap());
        assert_eq!(lines(&seen), (0..200).map(|number| format!("line {number}")).collect::<Vec<_>>());
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log.json", "log.json.1.gz", "log.json.2.gz"]);
        let raw = std::fs::read_to_string(&path).unwrap();
        assert!(raw.lines().all(|line| line.starts_with(r#"{"attrs":{"tag":"box"},"log":"line "#)), "{raw}");
    }

    #[test]
    fn a_log_may_be_compressed_from_now_on_or_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let mut number = 0;
        for compress in [false, true, false, true] {
            let options = LogOptions { max_size: Some(1000), max_file: 50, compress };
            let mut writer = LogWriter::open(&path, options, Vec::new()).unwrap();
            for _ in 0..50 {
                writer.write(LogStream::Stdout, format!("line {number}\n").as_bytes(), number).unwrap();
                number += 1;
            }
        }
        let every = lines(&all(&path, &LogQuery::default()));
        assert_eq!(every, (0..200).map(|number| format!("line {number}")).collect::<Vec<_>>());
        // One that was torn by a power cut ends where it was torn.
        std::fs::write(folder.path().join("log.json.1.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
        let _plain = std::fs::remove_file(folder.path().join("log.json.1"));
        let fewer = lines(&all(&path, &LogQuery::default()));
        assert!(fewer.len() < 200 && fewer.last() == every.last());
    }

    #[test]
    fn a_torn_line_swallows_nothing_and_an_unfinished_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        std::fs::write(&path, b"{\"log\":\"torn").unwrap();
        let mut writer =
            LogWriter::open(&path, LogOptions { max_size: None, max_file: 1, compress: false }, Vec::new()).unwrap();
        writer.write(LogStream::Stderr, b"whole\nprompt: ", 7).unwrap();
        writer.finish(8).unwrap();
        let records = all(&path, &LogQuery::default());
        let seen: Vec<_> =
            records.iter().map(|record| (record.line.as_str(), record.newline, record.time_ns)).collect();
        assert_eq!(seen, [("whole", true, 7), ("prompt: ", false, 8)]);
        for (tail, count) in [(0, 0), (1, 1), (2, 2)] {
            assert_eq!(all(&path, &LogQuery { tail: Some(tail), ..LogQuery::default() }).len(), count);
        }
        let since = LogQuery { since_ns: Some(8), ..LogQuery::default() };
        assert_eq!(all(&path, &since).len(), 1);
        let until = LogQuery { until_ns: Some(7), ..LogQuery::default() };
        assert_eq!(all(&path, &until).len(), 1);
    }
}
