//! What an engine and a shim say to each other over a stream socket: frames of one kind byte, four
//! bytes of length (little endian) and so many bytes. The two may be of different releases: an
//! upgraded daemon speaks to the shims that it finds, so requests and replies only ever gain fields
//! with defaults.

use crate::engine::{ExecCommand, NetMode};
use model::{Exit, TaskId, Time};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The most that one frame carries.
pub(crate) const MAX_PAYLOAD: usize = 1 << 20;

/// Bytes before the payload.
pub(crate) const HEADER: usize = 5;

/// Meaning of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A [`Request`] or [`Reply`] in JSON.
    Call,
    /// Bytes for a process's input.
    Stdin,
    /// No more input.
    StdinEof,
    /// Rows and columns, two little-endian `u16`.
    Resize,
    /// A signal for the process, little-endian `i32`.
    Signal,
    /// Output.
    Stdout,
    /// Error output.
    Stderr,
    /// The process has ended; exit code as little-endian `i32`. The last frame.
    Exit,
    /// The session is over for another reason, as text. The last frame.
    Failed,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::Call => b'J',
            Kind::Stdin => b'i',
            Kind::StdinEof => b'e',
            Kind::Resize => b'r',
            Kind::Signal => b's',
            Kind::Stdout => b'o',
            Kind::Stderr => b'x',
            Kind::Exit => b'c',
            Kind::Failed => b'f',
        }
    }

    fn from_byte(byte: u8) -> Option<Kind> {
        let all = [
            Kind::Call,
            Kind::Stdin,
            Kind::StdinEof,
            Kind::Resize,
            Kind::Signal,
            Kind::Stdout,
            Kind::Stderr,
            Kind::Exit,
            Kind::Failed,
        ];
        all.into_iter().find(|kind| kind.byte() == byte)
    }
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// No such kind.
    #[error("frame of unknown kind {0}")]
    UnknownKind(u8),
    /// Longer than [`MAX_PAYLOAD`].
    #[error("frame of {0} bytes is too long")]
    TooLong(u32),
}

/// The head of a frame: what follows, and how long it is.
///
/// # Errors
/// Not a frame.
pub(crate) fn parse_header(bytes: [u8; HEADER]) -> Result<(Kind, usize), WireError> {
    let [kind, a, b, c, d] = bytes;
    let length = u32::from_le_bytes([a, b, c, d]);
    let kind = Kind::from_byte(kind).ok_or(WireError::UnknownKind(kind))?;
    match usize::try_from(length) {
        Ok(length) if length <= MAX_PAYLOAD => Ok((kind, length)),
        _ => Err(WireError::TooLong(length)),
    }
}

/// Takes the first whole frame off the front of the bytes; `None` as long as there is none.
///
/// # Errors
/// Not a frame.
pub(crate) fn take(bytes: &mut Vec<u8>) -> Result<Option<(Kind, Vec<u8>)>, WireError> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let (kind, length) = parse_header(*header)?;
    if bytes.len() < HEADER + length {
        return Ok(None);
    }
    let payload = bytes.get(HEADER..HEADER + length).unwrap_or_default().to_vec();
    bytes.drain(..HEADER + length);
    Ok(Some((kind, payload)))
}

/// Appends a frame. A payload over the limit is cut into several, which only data ever needs.
pub(crate) fn put(bytes: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    if payload.is_empty() {
        bytes.extend_from_slice(&[kind.byte(), 0, 0, 0, 0]);
    }
    for piece in payload.chunks(MAX_PAYLOAD) {
        bytes.push(kind.byte());
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(piece);
    }
}

/// A frame by itself.
pub(crate) fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    put(&mut bytes, kind, payload);
    bytes
}

/// A call as a frame.
pub(crate) fn call<T: Serialize>(value: &T) -> Vec<u8> {
    // These types hold strings and numbers only, which always can be written.
    frame(Kind::Call, &serde_json::to_vec(value).unwrap_or_default())
}

/// Rows and columns of a [`Kind::Resize`].
pub(crate) fn parse_size(payload: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *payload.first_chunk::<4>()?;
    Some((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
}

/// The number of a [`Kind::Signal`] or [`Kind::Exit`].
pub(crate) fn parse_number(payload: &[u8]) -> Option<i32> {
    payload.first_chunk::<4>().map(|bytes| i32::from_le_bytes(*bytes))
}

/// What an engine asks of a shim; the first frame of a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "call")]
pub(crate) enum Request {
    /// Begin: only ever the first words on the socket that a shim is born with. The connection
    /// becomes a watching one.
    Start(Box<Start>),
    /// Tell of everything that happens: [`Reply::State`] at once, then events.
    Watch,
    /// Join the container's own streams. Answered by frames of output.
    Attach,
    /// Run a command: [`Reply::Started`] or [`Reply::Refused`], then frames of output.
    Exec {
        /// What to run.
        command: ExecCommand,
    },
    /// Run a health probe: [`Reply::Probed`].
    Probe {
        /// Program and arguments.
        argv: Vec<String>,
        /// Killed after so many milliseconds.
        timeout_ms: u64,
    },
    /// Send a signal to init: [`Reply::Done`].
    Signal {
        /// Its number.
        number: i32,
    },
    /// Size of the container's terminal: [`Reply::Done`].
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

/// How a shim starts its container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) task: TaskId,
    pub(crate) data_root: PathBuf,
    pub(crate) run_root: PathBuf,
    /// Below the root of each hierarchy, `/rswarm/ID`.
    pub(crate) cgroup: String,
    pub(crate) oci_runtime: Option<PathBuf>,
    pub(crate) attempt: u32,
    pub(crate) restarts: u32,
    pub(crate) net: NetMode,
    pub(crate) size: Option<(u16, u16)>,
}

/// What a shim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub(crate) enum Reply {
    /// The process runs.
    Started { pid: u32, started_at: Time },
    /// It can't, and trying again will not help.
    Refused { exit_code: i32, message: String },
    /// It can't at this moment.
    Failed { message: String },
    /// Answer to [`Request::Watch`].
    State { pid: u32, started_at: Time, attempt: u32, restarts: u32 },
    /// The container has ended; this is on disk.
    Exited { attempt: u32, exit: Exit },
    /// The out-of-memory killer was there.
    Oom,
    /// Done as asked.
    Done,
    /// Result of a probe; `exit_code` -1 when it was killed.
    Probed { exit_code: i32, output: String, timed_out: bool },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_back_however_they_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
            step in 1usize..64,
        ) {
            let mut stream = Vec::new();
            for payload in &payloads {
                put(&mut stream, Kind::Stdout, payload);
            }
            let mut buffer = Vec::new();
            let mut seen = Vec::new();
            for piece in stream.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some((kind, payload)) = take(&mut buffer).unwrap() {
                    prop_assert_eq!(kind, Kind::Stdout);
                    seen.push(payload);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(seen, payloads);
        }

        #[test]
        fn noise_never_panics(mut noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            while let Ok(Some(_)) = take(&mut noise) {}
        }
    }

    #[test]
    fn calls_survive_the_trip() {
        let request = Request::Exec { command: ExecCommand { argv: vec!["ls".to_owned()], ..ExecCommand::default() } };
        let mut bytes = call(&request);
        let (kind, payload) = take(&mut bytes).unwrap().unwrap();
        assert_eq!(kind, Kind::Call);
        assert_eq!(serde_json::from_slice::<Request>(&payload).unwrap(), request);
        assert_eq!(parse_header([b'?', 0, 0, 0, 0]), Err(WireError::UnknownKind(b'?')));
        assert_eq!(parse_header([b'o', 255, 255, 255, 255]), Err(WireError::TooLong(u32::MAX)));
    }
}
