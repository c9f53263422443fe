//! `dial-stdio`: what `-H ssh://…` runs on the other machine. Standard input and output become a connection to the
//! daemon's socket there.

use crate::context::Context;
use anyhow::{Context as _, Result, bail};
use api::client::ClientError;
use api::road::Road;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

/// Ends when the daemon has nothing more to say; that the input has ended is told to the daemon.
pub(super) fn run(context: &Context) -> Result<u8> {
    let Road::Unix(socket) = &context.settings.road else { bail!("dial-stdio leads to a socket of this machine only") };
    let connect = |source| ClientError::Connect { at: socket.display().to_string(), source };
    let mut from = UnixStream::connect(socket).map_err(connect)?;
    let mut to = from.try_clone().map_err(connect)?;
    // As files: what std puts before standard streams would hold back the end of each piece.
    let input = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let mut input = input.context("use standard input")?;
    let output = std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let mut output = output.context("use standard output")?;
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let _broken = pass_on(&mut input, &mut to);
            let _gone = to.shutdown(Shutdown::Write);
        })
        .context("start a thread for standard input")?;
    pass_on(&mut from, &mut output).map_err(crate::failure::stdout)?;
    Ok(0)
}

/// Everything until the end. Not `std::io::copy`: that splices, and a splice into a pipe locks it against its reader
/// for as long as it waits for the socket.
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(piece.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
