//! Connections that are open, so that they can be cut.

use pki::PeerIdentity;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Those of one listener.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    open: BTreeMap<u64, (PeerIdentity, OwnedFd)>,
}

impl Connections {
    /// Notes a connection until what is returned is dropped, which goes wherever the stream goes.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub(super) fn note<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        peer: PeerIdentity,
        socket: &impl AsFd,
        stream: impl FnOnce() -> S,
    ) -> io::Result<Noted<S>> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.next += 1;
        let number = inner.next;
        inner.open.insert(number, (peer, socket));
        drop(inner);
        Ok(Noted { stream: stream(), connections: self.clone(), number })
    }

    /// Cuts those whose peer is one of these: both ends see the connection break.
    pub(super) fn cut(&self, whom: impl Fn(&PeerIdentity) -> bool) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for (peer, socket) in inner.open.values().filter(|(peer, _)| whom(peer)) {
            tracing::info!(node = %peer.node.short(), "cut off: it is not part of the cluster any more");
            let _broken_already = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
    }
}

/// A stream that is noted as long as it lives.
#[derive(Debug)]
pub(super) struct Noted<S> {
    stream: S,
    connections: Connections,
    number: u64,
}

impl<S> Drop for Noted<S> {
    fn drop(&mut self) {
        let mut inner = self.connections.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.open.remove(&self.number);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
