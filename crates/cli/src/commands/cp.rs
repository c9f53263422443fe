//! `cp`: an archive is made on one side while it is unpacked on the other.

use super::load;
use crate::args::container::Cp;
use crate::containers;
use crate::context::Context;
use crate::failure::{advised, stdout};
use crate::render::human;
use anyhow::{Context as _, Result, anyhow, bail};
use api::{ArchivePart, DownloadCall, UploadCall};
use image::tree::{How, Owners};
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Container { name: String, path: String },
    Here(String),
    Standard,
}

impl End {
    /// As Docker reads it: what begins with `/` or `.` is a path, whatever comes after.
    fn parse(text: &str) -> Result<End> {
        if text == "-" {
            return Ok(End::Standard);
        }
        if text.is_empty() {
            bail!("an empty path names nothing");
        }
        match text.split_once(':') {
            Some((name, path)) if !text.starts_with(['/', '.']) && !name.is_empty() => {
                let path = if path.is_empty() { "/" } else { path };
                Ok(End::Container { name: name.to_owned(), path: path.to_owned() })
            }
            _ => Ok(End::Here(text.to_owned())),
        }
    }
}

pub(super) async fn run(context: &Context, args: Cp) -> Result<u8> {
    let (from, to) = (End::parse(&args.from)?, End::parse(&args.to)?);
    let bytes = match (from, to) {
        (End::Container { .. }, End::Container { .. }) => {
            return Err(advised(
                "a copy from one container to another is not possible",
                "send it through a pipe: rswarm cp A:PATH - | rswarm cp - B:PATH",
            ));
        }
        (End::Container { name, path }, to) => {
            let name = containers::one(context, &name, &args.stack, args.index).await?;
            out(context, &args, name, path, to).await?
        }
        (from, End::Container { name, path }) => {
            let name = containers::one(context, &name, &args.stack, args.index).await?;
            into(context, &args, from, name, path).await?
        }
        _ => {
            return Err(advised("neither end of the copy is in a container", "write CONTAINER:PATH for one of them"));
        }
    };
    if !args.quiet && args.to != "-" {
        context.printer.say(&format!("Successfully copied {} to {}", human::decimal_size(bytes), args.to));
    }
    Ok(0)
}

/// Of `SOURCE/.` only what is in it is copied.
fn part(source: &str) -> ArchivePart {
    let last = source.trim_end_matches('/').rsplit('/').next();
    match last {
        Some("." | "..") | None => ArchivePart::Contents,
        Some(_) => ArchivePart::Thing,
    }
}

async fn into(context: &Context, args: &Cp, from: End, container: String, path: String) -> Result<u64> {
    let count = Arc::new(AtomicU64::new(0));
    let (part, archive, packing): (_, Box<dyn std::io::Read + Send>, _) = match from {
        End::Here(source) => {
            let (reader, mut writer) = std::io::pipe().context("make a pipe")?;
            let (root, local, follow) = (root()?, absolute(&source)?, args.follow_link);
            let packing = std::thread::spawn(move || image::tree::pack(root, &local, follow, &mut writer));
            (part(&source), Box::new(reader), Some(packing))
        }
        _ if crate::terminal::stdin_is_terminal() => {
            return Err(advised("no archive was given", "send a tar archive to standard input"));
        }
        _ => (ArchivePart::Entries, Box::new(std::io::stdin()), None),
    };
    let counted = Counted { inner: archive, count: count.clone() };
    let call = UploadCall::CopyTo { container, path, part, archive: args.archive };
    let sent = match context.client.upload(&call, load::stream(Box::new(counted))).await {
        Ok(mut items) => items.next().await.map(drop),
        Err(error) => Err(error),
    };
    // What went wrong here is why it went wrong there.
    match packing.map(std::thread::JoinHandle::join) {
        Some(Ok(Err(error))) if !is_broken_pipe(&error) => return Err(error.into()),
        Some(Err(_)) => bail!("reading the files ended early"),
        _ => {}
    }
    sent?;
    Ok(count.load(Ordering::Relaxed))
}

async fn out(context: &Context, args: &Cp, container: String, path: String, to: End) -> Result<u64> {
    let how = if part(&path) == ArchivePart::Contents { How::Contents } else { How::Thing };
    let call = DownloadCall::CopyFrom { container, path, follow: args.follow_link };
    let mut count = 0u64;
    let End::Here(target) = to else {
        if std::io::stdout().is_terminal() {
            return Err(advised("an archive is not for a terminal", "redirect standard output"));
        }
        let mut closed = None;
        let received = context.client.download(&call, |piece| {
            count += piece.len() as u64;
            std::io::stdout().lock().write_all(&piece).inspect_err(|error| closed = Some(error.kind()))
        });
        let received = received.await;
        if let Some(kind) = closed {
            return Err(stdout(kind.into()));
        }
        received?;
        std::io::stdout().lock().flush().map_err(stdout)?;
        return Ok(count);
    };
    let (mut reader, mut writer) = std::io::pipe().context("make a pipe")?;
    let (root, local) = (root()?, absolute(&target)?);
    let owners = if args.archive { Owners::Kept } else { Owners::Mine };
    let unpacking = std::thread::spawn(move || image::tree::unpack(root, &local, how, owners, &mut reader));
    let received = context.client.download(&call, |piece| {
        count += piece.len() as u64;
        writer.write_all(&piece)
    });
    let received = received.await;
    drop(writer);
    let unpacked = unpacking.join().map_err(|_| anyhow!("writing the files ended early"))?;
    match (received, unpacked) {
        // It stopped listening: its own reason is the one to tell.
        (Err(api::client::ClientError::Protocol(_)), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error.into()),
        (Ok(()), unpacked) => unpacked.map(|()| count).map_err(Into::into),
    }
}

fn is_broken_pipe(error: &image::Error) -> bool {
    matches!(error, image::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
}

fn root() -> Result<File> {
    File::open("/").context("open /")
}

/// The path from the root, as it is written otherwise: a slash at its end has a meaning.
fn absolute(path: &str) -> Result<Vec<u8>> {
    if path.starts_with('/') {
        return Ok(path.as_bytes().to_vec());
    }
    let here = std::env::current_dir().context("find the working folder")?;
    Ok([here.as_os_str().as_bytes(), b"/", path.as_bytes()].concat())
}

/// Counts what passes.
struct Counted {
    inner: Box<dyn std::io::Read + Send>,
    count: Arc<AtomicU64>,
}

impl std::io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_as_docker_reads_them() {
        let container = |name: &str, path: &str| End::Container { name: name.to_owned(), path: path.to_owned() };
        for (text, end) in [
            ("web:/etc", container("web", "/etc")),
            ("web:etc/x:y", container("web", "etc/x:y")),
            ("web:", container("web", "/")),
            ("./web:/etc", End::Here("./web:/etc".to_owned())),
            ("/a:b", End::Here("/a:b".to_owned())),
            (":x", End::Here(":x".to_owned())),
            ("file", End::Here("file".to_owned())),
            ("-", End::Standard),
        ] {
            assert_eq!(End::parse(text).ok(), Some(end), "{text}");
        }
        assert!(End::parse("").is_err());
    }

    #[test]
    fn a_dot_at_the_end_means_the_content() {
        for path in [".", "a/.", "a/./", "..", "a/..", "/a/."] {
            assert_eq!(part(path), ArchivePart::Contents, "{path}");
        }
        for path in ["a", "a/", "/a", ".a", "a."] {
            assert_eq!(part(path), ArchivePart::Thing, "{path}");
        }
    }
}
