//! A conversation with a process in a container: its output here, our input, signals and terminal
//! sizes there.

use crate::terminal::{DetachKeys, Raw};
use anyhow::{Context as _, Result, anyhow};
use api::client::ClientError;
use api::frame::{self, Frame};
use std::io::{Read as _, Write as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How to converse.
#[derive(Debug, Clone)]
pub(crate) struct Wants {
    /// Send standard input.
    pub(crate) stdin: bool,
    /// The process has a terminal: every key goes there, the size follows ours.
    pub(crate) tty: bool,
    /// Keys that end the conversation and leave the process alone.
    pub(crate) detach: DetachKeys,
    /// Pass signals on.
    pub(crate) sig_proxy: bool,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process ended with this code.
    Exit(i32),
    /// The user left; the process goes on.
    Detached,
}

impl End {
    /// The exit code of the command.
    pub(crate) fn code(self) -> u8 {
        match self {
            End::Exit(code) => u8::try_from(code & 0xff).unwrap_or(1),
            End::Detached => 0,
        }
    }
}

/// Converses until the process ends or the user leaves.
///
/// # Errors
/// The session failed, or the daemon went away (the process goes on then).
pub(crate) async fn converse(stream: impl AsyncRead + AsyncWrite + Send + 'static, wants: Wants) -> Result<End> {
    let (mut from, mut to) = tokio::io::split(stream);
    let (sender, mut frames) = mpsc::channel(16);
    // Reading a frame can't be interrupted, so it has a task of its own.
    tokio::spawn(async move {
        loop {
            let read = frame::read(&mut from).await;
            let last = !matches!(read, Ok(Some(_)));
            if sender.send(read).await.is_err() || last {
                return;
            }
        }
    });
    let mut signals = Signals::new(&wants)?;
    let _raw = if wants.tty && wants.stdin && crate::terminal::stdin_is_terminal() {
        Some(Raw::enter().context("switch the terminal to raw mode")?)
    } else {
        None
    };
    if wants.tty
        && let Some((rows, columns)) = crate::terminal::size()
    {
        let _ended = frame::write(&mut to, &Frame::Resize(rows, columns)).await;
    }
    let mut keys = if wants.tty { wants.detach.clone() } else { DetachKeys::parse("")? };
    let mut input = if wants.stdin { Some(read_stdin()) } else { None };
    loop {
        tokio::select! {
            biased;
            read = frames.recv() => match read {
                Some(Ok(Some(Frame::Exit(code)))) => return Ok(End::Exit(code)),
                Some(Ok(Some(Frame::Error(error)))) => return Err(ClientError::Api(error).into()),
                Some(Ok(Some(frame))) => show(&frame)?,
                Some(Ok(None)) | None => return Err(anyhow!("the daemon went away; the process goes on without it")),
                Some(Err(error)) => return Err(error).context("the connection to the daemon broke"),
            },
            event = signals.next() => match event {
                Event::Resize => if let Some((rows, columns)) = crate::terminal::size() {
                    let _ended = frame::write(&mut to, &Frame::Resize(rows, columns)).await;
                },
                Event::Signal(name) => {
                    let _ended = frame::write(&mut to, &Frame::Signal(name.to_owned())).await;
                }
                Event::Enough => return Err(crate::failure::advised(
                    "interrupted again and again: the process goes on without this command",
                    "`rswarm kill` ends it",
                )),
            },
            piece = next(&mut input) => {
                let frame = match piece {
                    Some(bytes) => {
                        let typed = keys.feed(&bytes);
                        if typed.detach {
                            return Ok(End::Detached);
                        }
                        Frame::Stdin(typed.pass)
                    }
                    None => {
                        input = None;
                        Frame::StdinEof
                    }
                };
                // Fails when the process has ended: its exit code is on the way.
                let _ended = frame::write(&mut to, &frame).await;
            }
        }
    }
}

async fn next(input: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

fn show(frame: &Frame) -> Result<()> {
    match frame {
        Frame::Stdout(data) => {
            let mut out = std::io::stdout().lock();
            out.write_all(data).and_then(|()| out.flush()).map_err(crate::failure::stdout)
        }
        Frame::Stderr(data) => {
            let mut err = std::io::stderr().lock();
            err.write_all(data).and_then(|()| err.flush()).context("write to standard error")
        }
        _ => Ok(()),
    }
}

/// A thread that reads standard input: it may block for ever, and ends with the process.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 32 * 1024];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or(&[]).to_vec();
                    if sender.blocking_send(bytes).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

enum Event {
    Resize,
    Signal(&'static str),
    /// The user has pressed `ctrl-c` again and again: he wants out.
    Enough,
}

/// Signals of this process that are passed on.
struct Signals {
    resize: Option<Signal>,
    passed: Vec<(Signal, &'static str)>,
    interrupts: u32,
}

/// Interrupts after which the client ends by itself, as Docker's does.
const ENOUGH: u32 = 3;

impl Signals {
    fn new(wants: &Wants) -> Result<Signals> {
        let listen = |kind| signal(kind).context("listen for signals");
        let resize = if wants.tty { Some(listen(SignalKind::window_change())?) } else { None };
        let mut passed = Vec::new();
        // A terminal in raw mode sends its keys as bytes; signals from elsewhere are passed on all the same.
        if wants.sig_proxy {
            for (kind, name) in [
                (SignalKind::interrupt(), "INT"),
                (SignalKind::terminate(), "TERM"),
                (SignalKind::hangup(), "HUP"),
                (SignalKind::quit(), "QUIT"),
                (SignalKind::user_defined1(), "USR1"),
                (SignalKind::user_defined2(), "USR2"),
            ] {
                passed.push((listen(kind)?, name));
            }
        }
        Ok(Signals { resize, passed, interrupts: 0 })
    }

    async fn next(&mut self) -> Event {
        let (resize, passed) = (&mut self.resize, &mut self.passed);
        let event = std::future::poll_fn(|context| {
            if let Some(resize) = resize
                && resize.poll_recv(context).is_ready()
            {
                return std::task::Poll::Ready(Event::Resize);
            }
            for (signal, name) in passed.iter_mut() {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(Event::Signal(name));
                }
            }
            std::task::Poll::Pending
        })
        .await;
        if matches!(event, Event::Signal("INT" | "TERM")) {
            self.interrupts += 1;
            if self.interrupts == ENOUGH {
                return Event::Enough;
            }
        }
        event
    }
}
