//! What it takes to write a layer's archive again, byte for byte: every byte of it that is not the
//! content of a file, and which files the rest is in.
//!
//! `image save` has to produce archives with the same digests. Keeping the blobs for that would cost
//! between a third and the whole of an image's size again; a recipe costs about a hundredth. (The
//! same idea as tar-split in Docker.) Format: records of a kind, lengths as little-endian `u64`,
//! compressed with zstd.

use crate::archive::Tape;
use crate::error::{Error, Result};
use crate::limits::Limits;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Name of the recipe within a layer's folder.
pub(crate) const RECIPE: &str = "recipe.zst";
/// Name of the folder for content that a later entry of the same archive replaced.
pub(crate) const REPLACED: &str = "replaced";

const BYTES: u8 = 0;
const CONTENT: u8 = 1;
const MOVED: u8 = 2;

/// Longest run of bytes in one record.
const RUN: usize = 64 << 10;
/// Most replaced files: each is looked through for each entry when the archive is written again.
const MAX_MOVED: u64 = 10_000;

/// A recipe being written.
pub(crate) struct Recipe {
    out: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    path: std::path::PathBuf,
    run: Vec<u8>,
    moved: u64,
}

impl Recipe {
    pub(crate) fn create(folder: &Path) -> Result<Recipe> {
        let path = folder.join(RECIPE);
        let file = File::create(&path).map_err(Error::on("make", &path))?;
        let out = zstd::stream::write::Encoder::new(BufWriter::with_capacity(RUN, file), 1)
            .map_err(Error::on("write", &path))?;
        Ok(Recipe { out, path, run: Vec::with_capacity(RUN), moved: 0 })
    }

    /// The next `length` bytes are those at `offset` of the file `path`.
    pub(crate) fn content(&mut self, path: &[u8], offset: u64, length: u64) -> Result<()> {
        self.flush()?;
        self.record(&[&[CONTENT], &(path.len() as u64).to_le_bytes(), path, &le(offset), &le(length)])
    }

    /// What was at `path` until now is in the folder of replaced content, under the number returned.
    pub(crate) fn moved(&mut self, path: &[u8]) -> Result<u64> {
        if self.moved == MAX_MOVED {
            return Err(Error::hostile(path, format!("the archive replaces more than {MAX_MOVED} of its own files")));
        }
        self.flush()?;
        let number = self.moved;
        self.moved += 1;
        self.record(&[&[MOVED], &(path.len() as u64).to_le_bytes(), path, &le(number), &le(0)])?;
        Ok(number)
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()?;
        let wrong = Error::on("write", &self.path);
        let finished = self.out.finish().and_then(|mut buffer| buffer.flush());
        finished.map_err(wrong)
    }

    fn flush(&mut self) -> Result<()> {
        if self.run.is_empty() {
            return Ok(());
        }
        let run = std::mem::take(&mut self.run);
        let result = self.record(&[&[BYTES], &le(run.len() as u64), &run]);
        self.run = run;
        self.run.clear();
        result
    }

    fn record(&mut self, parts: &[&[u8]]) -> Result<()> {
        for part in parts {
            self.out.write_all(part).map_err(Error::on("write", &self.path))?;
        }
        Ok(())
    }
}

fn le(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

impl Tape for Recipe {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(RUN) {
            if self.run.len() + part.len() > RUN {
                self.flush()?;
            }
            self.run.extend_from_slice(part);
        }
        Ok(())
    }
}

enum Record {
    Bytes(Vec<u8>),
    Content { path: Vec<u8>, offset: u64, length: u64 },
    Moved { path: Vec<u8>, number: u64 },
}

/// Writes the archive of the layer in `folder` to `out`.
///
/// # Errors
/// Those of the disk and of `out`; a damaged recipe.
pub(crate) fn replay(folder: &Path, limits: &Limits, out: &mut dyn Write) -> Result<()> {
    let path = folder.join(RECIPE);
    let mut moves = Vec::new();
    let mut at = 0u64;
    for_each(&path, limits, &mut |record| {
        at += 1;
        if let Record::Moved { path, number } = record {
            moves.push((at, path, number));
        }
        Ok(())
    })?;
    let files = Files::open(folder)?;
    let mut at = 0u64;
    for_each(&path, limits, &mut |record| {
        at += 1;
        match record {
            Record::Bytes(bytes) => out.write_all(&bytes).map_err(Error::on("send the archive of", folder)),
            Record::Content { path, offset, length } => {
                let later = moves.iter().filter(|(when, _, _)| *when > at);
                let moved = later.filter_map(|(_, from, number)| rest(&path, from).map(|rest| (*number, rest))).next();
                let file = match moved {
                    Some((number, rest)) => files.replaced(number, rest)?,
                    None => files.current(&path)?,
                };
                copy(&file, offset, length, &path, out)
            }
            Record::Moved { .. } => Ok(()),
        }
    })
}

/// What is left of `path` below `from`, if it is there.
fn rest<'a>(path: &'a [u8], from: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(from)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

fn copy(file: &File, mut offset: u64, mut length: u64, path: &[u8], out: &mut dyn Write) -> Result<()> {
    let shown = Path::new(super::place::os(path));
    let mut buffer = vec![0; 256 << 10];
    while length > 0 {
        let want = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let read =
            file.read_at(buffer.get_mut(..want).unwrap_or_default(), offset).map_err(Error::on("read", shown))?;
        if read == 0 {
            return Err(Error::corrupt(shown.display().to_string(), "the file in the image store is too short"));
        }
        out.write_all(buffer.get(..read).unwrap_or_default()).map_err(Error::on("send", shown))?;
        offset += read as u64;
        length -= read as u64;
    }
    Ok(())
}

struct Files {
    folder: rustix::fd::OwnedFd,
}

impl Files {
    fn open(folder: &Path) -> Result<Files> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder =
            rustix::fs::open(folder, flags, Mode::empty()).map_err(|errno| Error::io("open", folder, errno.into()))?;
        Ok(Files { folder })
    }

    fn current(&self, path: &[u8]) -> Result<File> {
        self.at([super::FILES.as_bytes(), b"/", path].concat())
    }

    fn replaced(&self, number: u64, rest: &[u8]) -> Result<File> {
        self.at([format!("{REPLACED}/{number}").as_bytes(), rest].concat())
    }

    fn at(&self, path: Vec<u8>) -> Result<File> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = super::place::os(&path);
        let fd = rustix::fs::openat2(&self.folder, name, flags, Mode::empty(), resolve)
            .map_err(|errno| Error::io("open", Path::new(name), errno.into()))?;
        Ok(File::from(fd))
    }
}

fn for_each(path: &Path, limits: &Limits, each: &mut dyn FnMut(Record) -> Result<()>) -> Result<()> {
    let file = File::open(path).map_err(Error::on("open", path))?;
    let decoder = zstd::stream::read::Decoder::new(file).map_err(Error::on("read", path))?;
    let mut input = BufReader::with_capacity(RUN, decoder);
    let damaged = || Error::corrupt(path.display().to_string(), "the recipe is damaged");
    loop {
        let mut kind = [0];
        if input.read(&mut kind).map_err(Error::on("read", path))? == 0 {
            return Ok(());
        }
        let length = number(&mut input).map_err(Error::on("read", path))?;
        let longest = RUN.max(limits.path + 256) as u64;
        if length > longest {
            return Err(damaged());
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged())?];
        input.read_exact(&mut bytes).map_err(Error::on("read", path))?;
        if kind[0] == BYTES {
            each(Record::Bytes(bytes))?;
            continue;
        }
        let first = number(&mut input).map_err(Error::on("read", path))?;
        let second = number(&mut input).map_err(Error::on("read", path))?;
        each(match kind[0] {
            CONTENT => Record::Content { path: bytes, offset: first, length: second },
            MOVED => Record::Moved { path: bytes, number: first },
            _ => return Err(damaged()),
        })?;
    }
}

fn number(input: &mut dyn Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
