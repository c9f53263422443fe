//! A connection of the shim: frames in, frames out, never waiting.

use crate::wire::{self, Kind, WireError};
use serde::Serialize;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Output that waits for a client: from here on its process has to wait too.
pub(super) const FULL: usize = 256 << 10;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Has not said yet.
    Fresh,
    /// An engine that is told everything.
    Watch,
    /// Takes part in the job of this id.
    Session(u64),
    /// Waits for one answer.
    Once,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: UnixStream,
    pub(super) role: Role,
    /// Nothing more is sent after what waits now.
    pub(super) closing: bool,
    /// Its input is not read at this moment: the process has enough to do.
    pub(super) held: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// Since when nothing could be sent.
    stalled: Option<Instant>,
}

impl Conn {
    pub(super) fn new(stream: UnixStream, role: Role) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Conn {
            stream,
            role,
            closing: false,
            held: false,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            stalled: None,
        })
    }

    /// Bytes that wait to be sent.
    pub(super) fn pending(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Since when it takes nothing although something waits.
    pub(super) fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    pub(super) fn reply<T: Serialize>(&mut self, reply: &T) {
        self.output.extend_from_slice(&wire::call(reply));
    }

    pub(super) fn put(&mut self, kind: Kind, payload: &[u8]) {
        wire::put(&mut self.output, kind, payload);
    }

    /// Sends what it can.
    ///
    /// # Errors
    /// The other side has gone.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.pending() > 0 {
            match self.stream.write(self.output.get(self.sent..).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    self.stalled = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stalled.get_or_insert_with(Instant::now);
                    // Keeps the buffer from growing by what was sent already.
                    if self.sent > FULL {
                        self.output.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output = Vec::new();
        self.sent = 0;
        Ok(())
    }

    /// Reads what has come; false when the other side sends no more.
    ///
    /// # Errors
    /// It has gone.
    pub(super) fn receive(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        match self.stream.read(scratch) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.input.extend_from_slice(scratch.get(..count).unwrap_or_default());
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The next whole frame that was read.
    ///
    /// # Errors
    /// What was sent is no frame.
    pub(super) fn take(&mut self) -> Result<Option<(Kind, Vec<u8>)>, WireError> {
        let frame = wire::take(&mut self.input)?;
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Ok(frame)
    }
}
