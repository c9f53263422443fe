//! Talking to a shim.

use crate::engine::{Input, Output, Session};
use crate::layout::Folder;
use crate::signal::Signal;
use crate::wire::{self, HEADER, Kind, Reply, Request};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Pieces of output or input that wait for whoever takes them.
const QUEUE: usize = 32;

/// The longest that a shim takes for an answer that needs no work.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to the shim of a container.
///
/// # Errors
/// There is none.
pub(super) async fn connect(folder: &Folder) -> io::Result<UnixStream> {
    // The name of a socket may have 107 bytes only, so it is made short.
    let place = rustix::fs::open(&folder.run, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{}", place.as_raw_fd(), Folder::SOCKET)).await
}

/// Reads a whole frame; `None` when the other side has closed.
///
/// # Errors
/// The connection, or what comes is no frame.
pub(super) async fn read_frame(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut header = [0; HEADER];
    match stream.read_exact(&mut header).await {
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            return Ok(None);
        }
        other => other?,
    };
    let (kind, length) = wire::parse_header(header).map_err(io::Error::other)?;
    let mut payload = vec![0; length];
    match stream.read_exact(&mut payload).await {
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Ok(None),
        other => other.map(|_| Some((kind, payload))),
    }
}

/// Reads a reply; `None` when the shim has gone.
///
/// # Errors
/// The connection, or a reply that this release does not know.
pub(super) async fn read_reply(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Option<Reply>> {
    match read_frame(stream).await? {
        None => Ok(None),
        Some((Kind::Call, payload)) => serde_json::from_slice(&payload).map(Some).map_err(io::Error::other),
        Some((kind, _)) => Err(io::Error::other(format!("a frame of kind {kind:?} where a reply should be"))),
    }
}

/// One question, one answer. `extra` is what the answer may take beside the usual.
///
/// # Errors
/// No shim, or none that answers.
pub(super) async fn ask(folder: &Folder, request: &Request, extra: Duration) -> io::Result<Reply> {
    let mut stream = connect(folder).await?;
    stream.write_all(&wire::call(request)).await?;
    let reply = tokio::time::timeout(PATIENCE + extra, read_reply(&mut stream)).await;
    match reply {
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")),
        Ok(reply) => reply?.ok_or_else(|| io::ErrorKind::ConnectionReset.into()),
    }
}

/// Makes a session of a connection on which frames of output are going to come.
pub(super) fn session(stream: UnixStream) -> Session {
    let (input, inputs) = mpsc::channel(QUEUE);
    let (outputs, output) = mpsc::channel(QUEUE);
    let (from, to) = stream.into_split();
    tokio::spawn(async move {
        let sending = send_inputs(to, inputs);
        let receiving = receive_outputs(from, &outputs);
        let mut sending = std::pin::pin!(sending);
        let mut receiving = std::pin::pin!(receiving);
        let mut sent = false;
        loop {
            tokio::select! {
                () = &mut receiving => return,
                () = outputs.closed() => return,
                _writer = &mut sending, if !sent => sent = true,
            }
        }
    });
    Session { input, output }
}

/// Gives the writing half back when there is no more input, so that the connection stays whole.
async fn send_inputs(mut to: OwnedWriteHalf, mut inputs: mpsc::Receiver<Input>) -> OwnedWriteHalf {
    while let Some(input) = inputs.recv().await {
        let frame = match input {
            Input::Stdin(data) if data.is_empty() => continue,
            Input::Stdin(data) => wire::frame(Kind::Stdin, &data),
            Input::StdinEof => wire::frame(Kind::StdinEof, &[]),
            Input::Resize(rows, columns) => {
                let [a, b] = rows.to_le_bytes();
                let [c, d] = columns.to_le_bytes();
                wire::frame(Kind::Resize, &[a, b, c, d])
            }
            Input::Signal(Signal(number)) => wire::frame(Kind::Signal, &number.to_le_bytes()),
        };
        if to.write_all(&frame).await.is_err() {
            break;
        }
    }
    to
}

async fn receive_outputs(mut from: OwnedReadHalf, outputs: &mpsc::Sender<Output>) {
    loop {
        let output = match read_frame(&mut from).await {
            Ok(Some((Kind::Stdout, data))) => Output::Stdout(data),
            Ok(Some((Kind::Stderr, data))) => Output::Stderr(data),
            Ok(Some((Kind::Exit, data))) => Output::Exit(wire::parse_number(&data).unwrap_or(255)),
            Ok(Some((Kind::Failed, data))) => Output::Failed(String::from_utf8_lossy(&data).into_owned()),
            Ok(Some(_)) => continue,
            Ok(None) => {
                Output::Failed("the session broke off: its reader was too slow, or the container is gone".to_owned())
            }
            Err(error) => Output::Failed(format!("the session broke off: {error}")),
        };
        let last = matches!(output, Output::Exit(_) | Output::Failed(_));
        if outputs.send(output).await.is_err() || last {
            return;
        }
    }
}
