//! Files that are no longer written, as gzip: `log.json.1` becomes `log.json.1.gz`. Who reads a log knows
//! a file by its inode, so the inode that it had is kept in the comment of the gzip header.

use crate::sys::{self, Fork};
use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, WaitOptions};
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Device and inode of a file.
pub(super) type FileId = (u64, u64);

/// `log.json.3`
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    with(path, &format!(".{number}"))
}

/// `log.json.3.gz`
pub(super) fn packed(numbered: &Path) -> PathBuf {
    with(numbered, ".gz")
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The process that compresses: the shim has one thread, and its container shall not wait.
#[derive(Debug, Default)]
pub(super) struct Packer(Option<OwnedFd>);

impl Packer {
    /// Begins to compress a file. A process that has other threads does it at once.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn start(&mut self, file: &Path) -> io::Result<()> {
        match sys::fork() {
            Ok(Fork::Parent(pid)) => {
                let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
                match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                    Ok(child) => self.0 = Some(child),
                    // It can't be waited for later, when its number may be another's.
                    Err(_) => drop(rustix::process::waitpid(Some(pid), WaitOptions::empty())),
                }
                Ok(())
            }
            Ok(Fork::Child) => {
                // The container's pipes and the shim's socket must not outlive the shim here.
                sys::close_from(3);
                // Nobody waits for it: a container's own work goes first.
                let _as_it_was = rustix::process::nice(10);
                sys::leave(i32::from(pack(file).is_err()))
            }
            Err(_) => pack(file),
        }
    }

    /// Waits until nothing is being compressed.
    pub(super) fn wait(&mut self) {
        let Some(child) = self.0.take() else { return };
        // Its status is left to whoever reaps the shim's children.
        while let Err(rustix::io::Errno::INTR) = rustix::event::poll(&mut [PollFd::new(&child, PollFlags::IN)], None) {}
    }
}

/// Compresses a file in its place. Killed half-way, it leaves the file as it was and a part that the
/// next one writes over.
fn pack(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let comment = format!("{} {}", metadata.dev(), metadata.ino());
    let part = with(path, ".gz.part");
    let builder = GzBuilder::new().comment(comment);
    let mut encoder = builder.write(File::create(&part)?, Compression::default());
    io::copy(&mut BufReader::new(file), &mut encoder)?;
    encoder.finish()?;
    // The plain one is removed last: at each moment there is one to be read.
    std::fs::rename(&part, packed(path))?;
    std::fs::remove_file(path)
}

/// Which file this was before it was compressed; `None` for what is not one of ours.
pub(super) fn id(file: &File) -> Option<FileId> {
    let decoder = GzDecoder::new(BufReader::with_capacity(512, file));
    let (device, inode) = std::str::from_utf8(decoder.header()?.comment()?).ok()?.split_once(' ')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// The content as a file without a name beside it. What is torn ends where it is torn.
///
/// # Errors
/// The disk.
pub(super) fn unpack(file: &File, folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mut plain = File::from(rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?);
    let mut from_start = file;
    io::Seek::rewind(&mut from_start)?;
    match io::copy(&mut GzDecoder::new(BufReader::new(file)), &mut plain) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            Err(error)
        }
        _ => Ok(plain),
    }
}
