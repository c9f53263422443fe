//! One layer: a compressed archive in, a folder for overlayfs and a recipe out.
//!
//! Two threads share the work: one hashes the compressed bytes and decompresses them, the other
//! hashes the archive and makes the files, so that neither the network nor the disk waits for the
//! decompressor alone.

pub(crate) mod place;
pub(crate) mod recipe;
pub(crate) mod unpack;

use crate::archive::through;
use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::limits::Limits;
use model::image::Digest;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Bytes that pass between the two threads at a time, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 8;

/// Name of the folder that overlayfs gets, within a layer's folder.
pub(crate) const FILES: &str = "fs";
/// Name of the file that says what the layer is.
pub(crate) const ABOUT: &str = "layer.json";

/// What a layer's folder says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct About {
    /// Digest of its uncompressed archive.
    pub(crate) diff_id: Digest,
    /// Length of that archive.
    pub(crate) archive_bytes: u64,
    /// Bytes in its files.
    pub(crate) size: u64,
    /// Boot of the machine during which it was unpacked.
    pub(crate) boot: String,
}

/// What unpacking a layer found.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) diff_id: Digest,
    pub(crate) archive_bytes: u64,
    pub(crate) size: u64,
    /// Digest and length of the bytes as they came.
    pub(crate) blob: (Digest, u64),
}

/// Unpacks an archive (plain, gzip or zstd, by its first bytes) into `folder`, which exists and is
/// empty. What came before a failure is left there for the caller to remove.
///
/// # Errors
/// A hostile or damaged archive; errors of `source` (one of our own kind inside passes through);
/// errors of the disk.
pub(crate) fn unpack(source: &mut (dyn Read + Send), folder: &Path, limits: &Limits) -> Result<Unpacked> {
    let (sender, receiver) = sync_channel(WAITING);
    let (spare_sender, spares) = sync_channel(WAITING);
    thread::scope(|scope| {
        let decompressing = scope.spawn(move || decompress(source, &sender, &spares));
        let mut archive = Pieces::new(receiver, spare_sender, limits.clone());
        let result = unpack::unpack(&mut archive, folder, limits);
        let (hash, length) = archive.finish();
        let decompressed = decompressing.join().map_err(|_| Error::corrupt("layer", "the decompressor panicked"));
        let size = result?;
        Ok(Unpacked { diff_id: hash, archive_bytes: length, size, blob: decompressed?? })
    })
}

/// A piece of the archive and how many compressed bytes were read for it so far.
type Piece = io::Result<(Vec<u8>, u64)>;

fn decompress(
    source: &mut (dyn Read + Send),
    sender: &SyncSender<Piece>,
    spares: &Receiver<Vec<u8>>,
) -> Result<(Digest, u64)> {
    let mut hashing = Hashing { inner: source, hasher: Hasher::default(), length: 0 };
    let result = pump(&mut hashing, sender, spares);
    match result {
        Ok(()) => Ok((hashing.hasher.finish(), hashing.length)),
        Err(error) => {
            // Whoever unpacks tells it; if it has gone it has an error of its own.
            let _gone = sender.send(Err(error));
            Err(Error::Cancelled)
        }
    }
}

fn pump(hashing: &mut Hashing<'_>, sender: &SyncSender<Piece>, spares: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut input = io::BufReader::with_capacity(PIECE, hashing);
    let magic = peek(&mut input)?;
    let mut decoder = Decoder::new(magic, input)?;
    loop {
        let mut piece = spares.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut filled = 0;
        while filled < PIECE {
            match decoder.read(piece.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        piece.truncate(filled);
        let is_last = filled < PIECE;
        let read = decoder.compressed();
        if filled > 0 && sender.send(Ok((piece, read))).is_err() {
            return Err(io::Error::other(Error::Cancelled));
        }
        if is_last {
            return decoder.drain();
        }
    }
}

fn peek(input: &mut dyn BufRead) -> io::Result<[u8; 4]> {
    let mut magic = [0; 4];
    // A first read may be short, but never of less than a few bytes from our own sources.
    let bytes = input.fill_buf()?;
    let len = bytes.len().min(4);
    if let (Some(to), Some(from)) = (magic.get_mut(..len), bytes.get(..len)) {
        to.copy_from_slice(from);
    }
    Ok(magic)
}

type Input<'a, 'b> = io::BufReader<&'a mut Hashing<'b>>;

/// The forms in which layers come.
enum Decoder<'a, 'b> {
    Plain(Input<'a, 'b>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Input<'a, 'b>>>),
    Zstd(zstd::stream::read::Decoder<'static, Input<'a, 'b>>),
}

impl<'a, 'b> Decoder<'a, 'b> {
    fn new(magic: [u8; 4], input: Input<'a, 'b>) -> io::Result<Self> {
        Ok(match magic {
            [0x1f, 0x8b, ..] => Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
            [0x28, 0xb5, 0x2f, 0xfd] => Decoder::Zstd(zstd::stream::read::Decoder::with_buffer(input)?),
            // Zstandard's skippable frames, which zstd:chunked begins with at times.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Decoder::Zstd(zstd::stream::read::Decoder::with_buffer(input)?),
            _ => Decoder::Plain(input),
        })
    }

    fn compressed(&self) -> u64 {
        match self {
            Decoder::Plain(_) => u64::MAX,
            Decoder::Gzip(decoder) => decoder.get_ref().get_ref().length,
            Decoder::Zstd(decoder) => decoder.get_ref().get_ref().length,
        }
    }

    /// Bytes after the compressed data belong to the blob's digest, too.
    fn drain(self) -> io::Result<()> {
        let mut rest = match self {
            Decoder::Plain(input) => input,
            Decoder::Gzip(decoder) => decoder.into_inner(),
            Decoder::Zstd(decoder) => decoder.finish(),
        };
        io::copy(&mut rest, &mut io::sink()).map(drop)
    }
}

impl Read for Decoder<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(input) => input.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Hashes what passes.
struct Hashing<'a> {
    inner: &'a mut (dyn Read + Send),
    hasher: Hasher,
    length: u64,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.length += read as u64;
        Ok(read)
    }
}

/// The archive as it comes from the decompressor.
struct Pieces {
    receiver: Receiver<Piece>,
    spares: SyncSender<Vec<u8>>,
    limits: Limits,
    piece: Vec<u8>,
    at: usize,
    hasher: Hasher,
    length: u64,
}

impl Pieces {
    fn new(receiver: Receiver<Piece>, spares: SyncSender<Vec<u8>>, limits: Limits) -> Self {
        Pieces { receiver, spares, limits, piece: Vec::new(), at: 0, hasher: Hasher::default(), length: 0 }
    }

    fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.length)
    }

    fn check(&self, compressed: u64) -> Result<()> {
        let Limits { layer_bytes, ratio_from, ratio, .. } = self.limits;
        if self.length > layer_bytes {
            return Err(Error::corrupt("layer", format!("unpacks to more than {layer_bytes} bytes")));
        }
        if self.length > ratio_from && self.length / ratio > compressed {
            let why = format!("{compressed} compressed bytes unpack to {} and more: a bomb", self.length);
            return Err(Error::corrupt("layer", why));
        }
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let len = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..len), available.get(..len)) {
            to.copy_from_slice(from);
        }
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => {
                    let (piece, compressed) = piece?;
                    let _thread_has_ended = self.spares.try_send(std::mem::replace(&mut self.piece, piece));
                    self.at = 0;
                    self.length += self.piece.len() as u64;
                    self.hasher.update(&self.piece);
                    self.check(compressed).map_err(io::Error::other)?;
                }
                Err(_) => return Ok(&[]),
            }
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, len: usize) {
        self.at += len;
    }
}

/// Opens a plain, gzip or zstd stream for reading its content; for archives of archives.
pub(crate) fn open<'a>(source: &'a mut (dyn Read + Send)) -> io::Result<Box<dyn Read + 'a>> {
    let mut input = io::BufReader::with_capacity(PIECE, source);
    Ok(match peek(&mut input)? {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        _ => Box::new(input),
    })
}

/// An I/O error of an archive that is no layer.
pub(crate) fn source_error(error: io::Error) -> Error {
    through(error, b"archive")
}
