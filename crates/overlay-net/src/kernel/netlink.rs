//! Netlink, as much of it as is needed here: messages are built into one buffer and go to the kernel in
//! one send, because a stack of a hundred containers is a thousand messages.
//!
//! Own code instead of a library: route and netfilter messages share this page of encoding, a socket
//! must be usable from a thread that has moved into another namespace, and the asynchronous crates wait
//! for each answer before the next request.

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) const F_REQUEST: u16 = 1;
pub(crate) const F_ACK: u16 = 4;
pub(crate) const F_DUMP: u16 = 0x300;
pub(crate) const F_EXCL: u16 = 0x200;
pub(crate) const F_REPLACE: u16 = 0x100;
pub(crate) const F_CREATE: u16 = 0x400;
pub(crate) const F_APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
const MSG_ERROR: u16 = 2;
const MSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// Acknowledgements of this many messages fit any receive buffer.
const CHUNK: usize = 64;

/// Messages on their way to the kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    /// Opens a message; attributes follow. Its number within the batch is its sequence number.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.pad();
        let sequence = self.starts.len() as u32;
        self.starts.push(self.buffer.len());
        self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&(flags | F_REQUEST).to_ne_bytes());
        self.buffer.extend_from_slice(&sequence.to_ne_bytes());
        self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
        self.buffer.extend_from_slice(header);
        self
    }

    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.pad();
        self.buffer.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(value);
        self
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.pad();
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0, 0]);
        self.buffer.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        inside(self);
        let length = (self.buffer.len() - start) as u16;
        self.patch(start, &length.to_ne_bytes());
        self
    }

    /// Bytes as they are, for headers inside of attributes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.pad();
        self.buffer.extend_from_slice(bytes);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Asks that the last message so far be acknowledged.
    pub(crate) fn acknowledged(&mut self) -> &mut Self {
        if let Some(start) = self.starts.last().copied() {
            let flags = u16_at(&self.buffer, start + 6) | F_ACK;
            self.patch(start + 6, &flags.to_ne_bytes());
        }
        self
    }

    fn pad(&mut self) {
        while !self.buffer.len().is_multiple_of(4) {
            self.buffer.push(0);
        }
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        for (slot, byte) in self.buffer.iter_mut().skip(at).zip(bytes) {
            *slot = *byte;
        }
    }

    /// Fills in the lengths; gives the bytes and where messages begin, with the end as the last entry.
    fn finish(mut self) -> (Vec<u8>, Vec<usize>) {
        self.pad();
        let mut bounds = std::mem::take(&mut self.starts);
        bounds.push(self.buffer.len());
        for pair in bounds.windows(2) {
            if let [start, end] = pair {
                self.patch(*start, &((end - start) as u32).to_ne_bytes());
            }
        }
        (self.buffer, bounds)
    }
}

/// A message from the kernel.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) kind: u16,
    sequence: u32,
    pub(crate) payload: Vec<u8>,
}

/// A netlink socket. It belongs to the network namespace of the thread that opened it, for ever.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// `NETLINK_ROUTE`.
    pub(crate) fn route() -> io::Result<Socket> {
        Self::open(None)
    }

    /// `NETLINK_NETFILTER`.
    pub(crate) fn netfilter() -> io::Result<Socket> {
        Self::open(Some(netlink::NETFILTER))
    }

    /// `NETLINK_GENERIC`.
    pub(crate) fn generic() -> io::Result<Socket> {
        Self::open(Some(netlink::GENERIC))
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<Socket> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        // Answers come at once or not at all: the kernel handles a request within the send.
        rustix::net::sockopt::set_socket_timeout(
            &fd,
            rustix::net::sockopt::Timeout::Recv,
            Some(std::time::Duration::from_secs(10)),
        )?;
        Ok(Socket { fd })
    }

    /// Sends all messages, each of them its own step, and gives each one's outcome in order.
    pub(crate) fn transact(&self, batch: Batch) -> io::Result<Vec<Result<(), Errno>>> {
        let (buffer, bounds) = batch.finish();
        let count = bounds.len() - 1;
        let mut outcomes: Vec<Result<(), Errno>> = vec![Ok(()); count];
        let mut first = 0;
        while first < count {
            let last = (first + CHUNK).min(count);
            let (Some(from), Some(to)) = (bounds.get(first), bounds.get(last)) else { break };
            self.send(buffer.get(*from..*to).unwrap_or_default())?;
            let mut missing = last - first;
            while missing > 0 {
                for reply in self.receive()? {
                    if reply.kind != MSG_ERROR {
                        continue;
                    }
                    missing = missing.saturating_sub(1);
                    if let Some(outcome) = outcomes.get_mut(reply.sequence as usize) {
                        *outcome = status(&reply);
                    }
                }
            }
            first = last;
        }
        Ok(outcomes)
    }

    /// Sends all messages as one netfilter transaction: all of it happens or nothing. The last message
    /// must be the only one that asks for an acknowledgement.
    pub(crate) fn commit(&self, batch: Batch) -> io::Result<()> {
        let (buffer, _) = batch.finish();
        self.send(&buffer)?;
        for reply in self.receive_until_error()? {
            status(&reply)?;
        }
        Ok(())
    }

    fn receive_until_error(&self) -> io::Result<Vec<Reply>> {
        loop {
            let replies: Vec<Reply> = self.receive()?.into_iter().filter(|reply| reply.kind == MSG_ERROR).collect();
            if !replies.is_empty() {
                return Ok(replies);
            }
        }
    }

    /// Makes room for a batch of this many bytes.
    pub(crate) fn room(&self, bytes: usize) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_send_buffer_size_force(&self.fd, bytes)?)
    }

    /// Asks for everything of one kind. The batch holds that one request.
    pub(crate) fn dump(&self, batch: Batch) -> io::Result<Vec<Reply>> {
        let (buffer, _) = batch.finish();
        self.send(&buffer)?;
        let mut all = Vec::new();
        loop {
            for reply in self.receive()? {
                match reply.kind {
                    MSG_DONE => return Ok(all),
                    MSG_ERROR => {
                        status(&reply)?;
                        return Ok(all);
                    }
                    _ => all.push(reply),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.fd, bytes, SendFlags::empty())?;
        Ok(())
    }

    fn receive(&self) -> io::Result<Vec<Reply>> {
        let mut buffer = vec![0; 64 << 10];
        let length = loop {
            match rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => break length,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let mut rest = buffer.get(..length).unwrap_or_default();
        let mut replies = Vec::new();
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let size = u32_at(header, 0) as usize;
            let Some(payload) = rest.get(HEADER..size) else { break };
            replies.push(Reply { kind: u16_at(header, 4), sequence: u32_at(header, 8), payload: payload.to_vec() });
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(replies)
    }
}

fn status(reply: &Reply) -> Result<(), Errno> {
    match u32_at(&reply.payload, 0) as i32 {
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(code.wrapping_neg())),
    }
}

/// The attributes of a message, nesting flag removed.
pub(crate) fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0));
        let kind = u16_at(bytes, 2) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The attribute of that kind.
pub(crate) fn attr(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// Text up to the first NUL.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_aligned_and_have_their_length() {
        let mut batch = Batch::default();
        batch.message(16, F_ACK, &[0; 16]).text(3, "abc").nest(18, |b| {
            b.attr(1, &[1, 2, 3]);
        });
        batch.message(17, 0, &[]);
        let (bytes, bounds) = batch.finish();
        assert_eq!(bounds, [0, 52, 68]);
        assert_eq!(u32_at(&bytes, 0), 52);
        let inside = attr(&bytes[32..52], 18).unwrap();
        assert_eq!(attr(inside, 1), Some(&[1, 2, 3][..]));
        assert_eq!(text(attr(&bytes[32..52], 3).unwrap()), "abc");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            assert!(attrs(&bytes).count() <= bytes.len());
        }
    }
}
