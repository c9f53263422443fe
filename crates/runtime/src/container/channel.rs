//! What init and its creator say to each other, as packets over a socket.
//!
//! The creator's end is close-on-exec in init: end-of-file after `Start` means that execve worked.

use super::Error;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// Larger than any message; texts are cut to fit.
const PACKET: usize = 8192;

/// From init.
#[derive(Debug)]
pub(crate) enum FromInit {
    /// All is set up; init waits for `Start`.
    Ready,
    /// Namespaces exist and nothing is mounted yet: run the hooks of the runtime's side.
    Hooks,
    /// Something the spec asks for that is left out.
    Warning(String),
    /// Master of the terminal.
    Console(OwnedFd),
    /// It failed and ends.
    Failed(Error),
}

/// To init, one byte each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToInit {
    /// Id maps are written and the cgroup joined; or: hooks have run.
    Go,
    /// State is on disk: outlive the creator and wait at the listener.
    Keep,
    /// Execute the program.
    Start,
}

impl ToInit {
    fn byte(self) -> u8 {
        match self {
            ToInit::Go => b'g',
            ToInit::Keep => b'k',
            ToInit::Start => b's',
        }
    }
}

/// A connected pair: the creator's end and init's.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one word to init.
pub(crate) fn tell(socket: impl AsFd, word: ToInit) -> Result<(), Errno> {
    net::send(socket, &[word.byte()], SendFlags::NOSIGNAL).map(drop)
}

/// Waits until the creator says `word`; any other packet or end-of-file is an error.
pub(crate) fn await_word(socket: impl AsFd, word: ToInit) -> Result<(), Errno> {
    let mut byte = [0u8];
    let (count, _) = retry(|| net::recv(&socket, &mut byte[..], RecvFlags::empty()))?;
    if count == 1 && byte[0] == word.byte() { Ok(()) } else { Err(Errno::PIPE) }
}

/// Sends a message of init.
pub(crate) fn report(socket: impl AsFd, message: &FromInit) -> Result<(), Errno> {
    let mut packet = Vec::new();
    let mut console = None;
    match message {
        FromInit::Ready => packet.push(b'R'),
        FromInit::Hooks => packet.push(b'H'),
        FromInit::Warning(text) => {
            packet.push(b'W');
            packet.extend_from_slice(text.as_bytes());
        }
        FromInit::Console(master) => {
            packet.push(b'T');
            console = Some(master);
        }
        FromInit::Failed(error) => {
            packet.push(b'E');
            packet.extend_from_slice(&error.exit_code().to_le_bytes());
            packet.extend_from_slice(&error.raw_os_error().unwrap_or(0).to_le_bytes());
            packet.extend_from_slice(error.message().as_bytes());
        }
    }
    packet.truncate(PACKET);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = net::SendAncillaryBuffer::new(&mut space);
    let fds = console.map(|fd| [fd.as_fd()]);
    if let Some(fds) = &fds {
        control.push(net::SendAncillaryMessage::ScmRights(fds));
    }
    net::sendmsg(socket, &[IoSlice::new(&packet)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// The next message of init; `None` when it closed its end.
pub(crate) fn receive(socket: impl AsFd) -> Result<Option<FromInit>, Errno> {
    let mut packet = vec![0u8; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = net::RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut iov = [IoSliceMut::new(&mut packet)];
        match net::recvmsg(&socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            // The child died with unread words in its queue.
            Err(Errno::CONNRESET) => return Ok(None),
            other => break other?.bytes,
        }
    };
    let mut console = control.drain().find_map(|message| match message {
        net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let packet = &packet[..received];
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(match packet.split_first() {
        None => return Ok(None),
        Some((b'R', _)) => FromInit::Ready,
        Some((b'H', _)) => FromInit::Hooks,
        Some((b'W', rest)) => FromInit::Warning(text(rest)),
        Some((b'T', _)) => FromInit::Console(console.take().ok_or(Errno::BADMSG)?),
        Some((b'E', [a, b, c, d, e, f, g, h, rest @ ..])) => {
            let exit_code = i32::from_le_bytes([*a, *b, *c, *d]);
            let errno = i32::from_le_bytes([*e, *f, *g, *h]);
            FromInit::Failed(match errno {
                0 => Error::text(text(rest)).with_exit_code(exit_code),
                _ => Error::io(text(rest), Errno::from_raw_os_error(errno)).with_exit_code(exit_code),
            })
        }
        Some(_) => return Err(Errno::BADMSG),
    }))
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_travel_with_text_number_and_exit_code() {
        let (ours, theirs) = pair().expect("pair");
        let error = Error::io("mount volume /data", Errno::NOTDIR).with_exit_code(126);
        report(&theirs, &FromInit::Failed(error)).expect("send");
        drop(theirs);
        let Some(FromInit::Failed(error)) = receive(&ours).expect("receive") else { panic!("no error came") };
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("mount volume /data: not a directory", 126));
        assert!(receive(&ours).expect("receive").is_none());
    }

    #[test]
    fn a_descriptor_travels_and_words_are_told_apart() {
        let (ours, theirs) = pair().expect("pair");
        let (read, write) = rustix::pipe::pipe().expect("pipe");
        report(&theirs, &FromInit::Console(write)).expect("send");
        let Some(FromInit::Console(write)) = receive(&ours).expect("receive") else { panic!("no console came") };
        rustix::io::write(&write, b"x").expect("write");
        assert_eq!(rustix::io::read(&read, &mut [0u8; 4][..]), Ok(1));
        tell(&ours, ToInit::Go).expect("tell");
        assert_eq!(await_word(&theirs, ToInit::Start), Err(Errno::PIPE));
    }
}
