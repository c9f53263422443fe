//! Frames of a session: one byte of kind, four bytes of length (big-endian), the payload.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest payload that is accepted.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client to process.
    Stdin(Vec<u8>),
    /// The client's input has ended.
    StdinEof,
    /// Process to client; everything when it has a terminal.
    Stdout(Vec<u8>),
    /// Process to client.
    Stderr(Vec<u8>),
    /// Client: new terminal size, rows and columns.
    Resize(u16, u16),
    /// Client: deliver this signal to the process.
    Signal(String),
    /// Daemon: it ended with this code; the last frame.
    Exit(i32),
    /// Daemon: the session failed; the last frame.
    Error(crate::ApiError),
}

impl Frame {
    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Frame::Stdin(data) => (0, data.clone()),
            Frame::Stdout(data) => (1, data.clone()),
            Frame::Stderr(data) => (2, data.clone()),
            Frame::StdinEof => (3, Vec::new()),
            Frame::Resize(rows, columns) => (4, [rows.to_be_bytes(), columns.to_be_bytes()].concat()),
            Frame::Signal(name) => (5, name.clone().into_bytes()),
            Frame::Exit(code) => (6, code.to_be_bytes().to_vec()),
            Frame::Error(error) => (7, serde_json::to_vec(error).unwrap_or_default()),
        }
    }

    fn from_parts(kind: u8, data: Vec<u8>) -> std::io::Result<Frame> {
        let bad =
            || std::io::Error::new(std::io::ErrorKind::InvalidData, format!("malformed session frame of kind {kind}"));
        Ok(match kind {
            0 => Frame::Stdin(data),
            1 => Frame::Stdout(data),
            2 => Frame::Stderr(data),
            3 => Frame::StdinEof,
            4 => match data.as_slice() {
                &[a, b, c, d] => Frame::Resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
                _ => return Err(bad()),
            },
            5 => Frame::Signal(String::from_utf8(data).map_err(|_| bad())?),
            6 => Frame::Exit(i32::from_be_bytes(data.try_into().map_err(|_| bad())?)),
            7 => Frame::Error(serde_json::from_slice(&data).map_err(|_| bad())?),
            _ => return Err(bad()),
        })
    }
}

/// Writes a frame whole.
///
/// # Errors
/// Those of the stream.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> std::io::Result<()> {
    let (kind, data) = frame.parts();
    let length = u32::try_from(data.len()).map_err(std::io::Error::other)?;
    let mut bytes = Vec::with_capacity(data.len() + 5);
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&data);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads a frame; `None` at the end of the stream.
///
/// # Errors
/// Those of the stream; `InvalidData` for a malformed or oversized frame. Not cancel-safe.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Frame>> {
    let mut head = [0u8; 5];
    match stream.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [kind, a, b, c, d] = head;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > MAX_PAYLOAD {
        let text = format!("session frame of {length} bytes is over the limit of {MAX_PAYLOAD}");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
    }
    let mut data = vec![0; length];
    stream.read_exact(&mut data).await?;
    Frame::from_parts(kind, data).map(Some)
}
