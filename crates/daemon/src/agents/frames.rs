//! What goes over the connection of a session: four bytes of length (big-endian), then JSON.

use crate::agents::place::Place;
use bytes::{Buf as _, BytesMut};
use model::{AgentReport, Assignment, Node, Request, RequestId, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Longest frame that a manager takes: a node's report of some ten thousand tasks.
pub(super) const FROM_AGENT: usize = 64 << 20;
/// Longest frame that an agent takes: an assignment with all its configs and secrets.
pub(super) const FROM_MANAGER: usize = 256 << 20;

/// An agent tells its manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToManager {
    /// The first frame: the machine, and its number in the managers' group if it is in there.
    Hello { node: Box<Node>, member: Option<u64> },
    /// What it tells of the machine has changed.
    Describe(Box<Node>),
    /// How its tasks are.
    Report(AgentReport),
    /// Something for the replicated state that only the node knows of.
    Ask { id: RequestId, request: Box<Request> },
    /// A sign of life.
    Alive,
}

/// A manager tells an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToAgent {
    /// Its place in the cluster.
    Place(Place),
    /// What it should do.
    Assignment(Arc<Assignment>),
    /// Serve the API on a connection of your own making, under this word.
    Dial(String),
    /// To an `Ask`.
    Answer { id: RequestId, response: Box<Response> },
    /// The last frame: this manager does not lead; that one does, as far as is known.
    Redirect(Option<String>),
    /// The last frame: the node is not part of the cluster (any more).
    Removed,
    /// To a sign of life.
    Alive,
}

/// Writes a frame whole.
///
/// # Errors
/// Those of the stream.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    if let Some(head) = bytes.first_chunk_mut() {
        *head = length.to_be_bytes();
    }
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads frames. What is read is kept when [`Reader::next`] is cancelled.
#[derive(Debug)]
pub(super) struct Reader<R> {
    from: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Takes frames of up to `limit` bytes.
    pub(super) fn new(from: R, limit: usize) -> Reader<R> {
        Reader { from, buffer: BytesMut::new(), limit }
    }

    /// The next frame; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    /// Those of the stream; `TimedOut` when not one byte came for `silence`; `InvalidData` for what is no
    /// frame, or too long.
    pub(super) async fn next<T: DeserializeOwned>(&mut self, silence: Duration) -> io::Result<Option<T>> {
        loop {
            if let Some(frame) = self.take()? {
                return serde_json::from_slice(&frame).map(Some).map_err(io::Error::from);
            }
            let read = tokio::time::timeout(silence, self.from.read_buf(&mut self.buffer)).await;
            let silent = || io::Error::new(io::ErrorKind::TimedOut, format!("nothing was heard for {silence:?}"));
            match read.map_err(|_| silent())?? {
                0 if self.buffer.is_empty() => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<BytesMut>> {
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > self.limit {
            let text = format!("a frame of {length} bytes is over the limit of {}", self.limit);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[tokio::test]
    async fn frames_come_as_they_went_however_they_are_cut() {
        let (mut one, other) = tokio::io::duplex(3);
        let sent = [ToAgent::Alive, ToAgent::Redirect(Some("10.0.0.1:2377".to_owned())), ToAgent::Removed];
        let frames = sent.clone();
        let writing = tokio::spawn(async move {
            for frame in &frames {
                write(&mut one, frame).await.unwrap();
            }
        });
        let mut reader = Reader::new(other, 1024);
        for frame in sent {
            // Cancelled again and again meanwhile.
            let got = loop {
                tokio::select! {
                    biased;
                    got = reader.next::<ToAgent>(Duration::from_secs(5)) => break got,
                    () = tokio::task::yield_now() => {}
                }
            };
            assert_eq!(got.unwrap(), Some(frame));
        }
        writing.await.unwrap();
        assert_eq!(reader.next::<ToAgent>(Duration::from_secs(5)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_frame_or_never_comes_is_an_error() {
        let next = async |bytes: &'static [u8], end: bool| {
            let (mut one, other) = tokio::io::duplex(64);
            one.write_all(bytes).await.unwrap();
            let kept = (!end).then_some(one);
            let result = Reader::new(other, 8).next::<ToAgent>(Duration::from_millis(20)).await;
            drop(kept);
            result.unwrap_err().kind()
        };
        assert_eq!(next(b"\0\0\0\x09", false).await, io::ErrorKind::InvalidData, "too long, refused before it is read");
        assert_eq!(next(b"\0\0\0\x02{{", false).await, io::ErrorKind::InvalidData);
        assert_eq!(next(b"\0\0\0\x05{", true).await, io::ErrorKind::UnexpectedEof);
        assert_eq!(next(b"\0\0\0", false).await, io::ErrorKind::TimedOut);
    }
}
