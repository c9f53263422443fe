//! The roads on which a client reaches a daemon.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// How long a machine may take to answer a call for a connection, and for the handshake after it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a program that broke off is waited for, so that it can say why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// So much is kept of what it says.
const MAX_WORDS: usize = 4 << 10;

/// Both directions of a connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where a daemon is, and how one gets there.
#[derive(Debug, Clone)]
pub enum Road {
    /// A socket of this machine.
    Unix(PathBuf),
    /// The cluster ports of managers, over TLS: the first one that answers.
    Tls(Tls),
    /// A program whose standard input and output are the connection: `ssh HOST rswarm dial-stdio`.
    Program(Program),
}

/// Managers, and what is shown to them.
#[derive(Clone)]
pub struct Tls {
    /// `host:port` each, in the order in which they are tried.
    pub addresses: Vec<String>,
    /// The certificate that is shown, and those that are trusted.
    pub config: Arc<ClientConfig>,
    /// Who is expected.
    pub name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// A program that leads to a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What people call the place that it leads to.
    pub at: String,
    /// It.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// A connection that is there.
pub(crate) struct Connected {
    pub(crate) stream: Box<dyn Io>,
    /// How the program ended that is the connection.
    pub(crate) ended: Option<oneshot::Receiver<io::Error>>,
}

impl Connected {
    fn of(stream: impl Io + 'static) -> Connected {
        Connected { stream: Box::new(stream), ended: None }
    }
}

impl Road {
    /// Where it leads, for people.
    pub(crate) fn place(&self) -> String {
        match self {
            Road::Unix(path) => path.display().to_string(),
            Road::Tls(tls) => tls.addresses.join(", "),
            Road::Program(program) => program.at.clone(),
        }
    }

    /// Goes there.
    pub(crate) async fn connect(&self) -> io::Result<Connected> {
        match self {
            Road::Unix(path) => UnixStream::connect(path).await.map(Connected::of),
            Road::Tls(tls) => tls.connect().await,
            Road::Program(program) => program.start(),
        }
    }
}

/// Why a program that is a connection ended, if it did.
pub(crate) async fn last_words(ended: Option<oneshot::Receiver<io::Error>>) -> Option<io::Error> {
    tokio::time::timeout(LAST_WORDS, ended?).await.ok()?.ok()
}

impl Tls {
    async fn connect(&self) -> io::Result<Connected> {
        let mut failures = Vec::new();
        let mut kind = io::ErrorKind::NotConnected;
        for address in &self.addresses {
            match self.dial(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    kind = error.kind();
                    failures.push(match self.addresses.len() {
                        1 => error.to_string(),
                        _ => format!("{address}: {error}"),
                    });
                }
            }
        }
        Err(io::Error::new(kind, failures.join("; ")))
    }

    async fn dial(&self, address: &str) -> io::Result<Connected> {
        let late = |what| io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {} s", PATIENCE.as_secs()));
        let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| late("nothing answers"))??;
        let _works_without = stream.set_nodelay(true);
        let handshake = tokio_rustls::TlsConnector::from(self.config.clone()).connect(self.name.clone(), stream);
        let shaken = tokio::time::timeout(PATIENCE, handshake).await;
        shaken.map_err(|_| late("no TLS is spoken there"))?.map(Connected::of)
    }
}

impl Program {
    fn start(&self) -> io::Result<Connected> {
        let mut command = Command::new(&self.name);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("start {}: {error}", self.name)))?;
        let parts = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = parts else {
            return Err(io::Error::other(format!("{} was started without pipes", self.name)));
        };
        let (tell, ended) = oneshot::channel();
        let (held, dropped) = oneshot::channel();
        tokio::spawn(keep(self.name.clone(), child, stderr, tell, dropped));
        let stream = Piped { stdin: Some(stdin), stdout, _held: held };
        Ok(Connected { stream: Box::new(stream), ended: Some(ended) })
    }
}

/// Waits until the program ends, and tells how; ends it once nobody holds the connection any more.
async fn keep(
    name: String,
    mut child: Child,
    mut stderr: ChildStderr,
    tell: oneshot::Sender<io::Error>,
    dropped: oneshot::Receiver<()>,
) {
    let said = async {
        let (mut said, mut piece) = (Vec::new(), [0; 1024]);
        while let Ok(count) = stderr.read(&mut piece).await
            && count > 0
        {
            said.extend_from_slice(piece.get(..count).unwrap_or_default());
            said.drain(..said.len().saturating_sub(MAX_WORDS));
        }
        said
    };
    let mut ending = std::pin::pin!(async { tokio::join!(child.wait(), said) });
    let (status, said) = tokio::select! {
        ending = &mut ending => ending,
        // A connection that broke is dropped before the program has said why.
        _ = dropped => match tokio::time::timeout(LAST_WORDS, ending).await {
            Ok(ending) => ending,
            Err(_) => return,
        },
    };
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let said = String::from_utf8_lossy(&said);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = match said.is_empty() {
        true => format!("{name} ended ({status})"),
        false => format!("{name} ended ({status}): {}", said.join("; ")),
    };
    let _nobody_asks = tell.send(io::Error::other(text));
}

/// A program's input and output as one stream.
#[derive(Debug)]
struct Piped {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// The program is ended when this is gone.
    _held: oneshot::Sender<()>,
}

impl AsyncRead for Piped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// A pipe has no other way to say that nothing follows than to be closed.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(stdin) = &mut self.stdin {
            ready!(Pin::new(stdin).poll_flush(cx))?;
        }
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    fn program(name: &str, args: &[&str]) -> Program {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Program { at: "there".to_owned(), name: name.to_owned(), args }
    }

    #[tokio::test]
    async fn a_program_is_a_connection_until_its_input_ends() {
        let mut connected = Road::Program(program("cat", &[])).connect().await.unwrap();
        connected.stream.write_all(b"there and back").await.unwrap();
        connected.stream.shutdown().await.unwrap();
        let mut text = String::new();
        connected.stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "there and back");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted() {
        let road = program("sh", &["-c", "echo no route >&2; exit 255"]);
        let connected = Road::Program(road).connect().await.unwrap();
        let words = last_words(connected.ended).await.unwrap().to_string();
        assert_eq!(words, "sh ended (exit status: 255): no route");
        let missing = Road::Program(program("no-such-program", &[])).connect().await.err().unwrap().to_string();
        assert!(missing.starts_with("start no-such-program: "), "{missing}");
    }
}
