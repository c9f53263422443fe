//! Asking the host's resolvers, or those that the container names.
//!
//! Questions leave from the host's namespace, so a resolver on the host's loopback works too, and none of
//! them can come back to us: our own servers live in containers' namespaces.

use super::answer::udp_limit;
use super::resolv::HostResolv;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

/// glibc gives up after 5 s; within that three servers must have had their chance.
const PER_SERVER: Duration = Duration::from_millis(1500);
/// So long before that the last question has to be given up, for what is known to be of use.
const MARGIN: Duration = Duration::from_millis(200);
const MAX_SERVERS: usize = 3;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The host's resolvers, read again when the file changes.
#[derive(Debug, Default)]
pub(crate) struct HostServers {
    seen: Mutex<(Option<SystemTime>, Vec<SocketAddr>)>,
}

impl HostServers {
    pub(crate) fn get(&self) -> Vec<SocketAddr> {
        let changed = std::fs::metadata(RESOLV_CONF).and_then(|meta| meta.modified()).ok();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != changed || changed.is_none() {
            let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
            let servers = HostResolv::parse(&text).servers.into_iter().map(|ip| SocketAddr::new(ip, 53)).collect();
            *seen = (changed, servers);
        }
        seen.1.clone()
    }
}

/// `1.1.1.1`, `1.1.1.1:5353`, `[::1]:53`.
pub(crate) fn parse_servers(texts: &[String]) -> Vec<SocketAddr> {
    let parse =
        |text: &String| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53)));
    texts.iter().filter_map(parse).collect()
}

/// Asks one server after the other; the first real answer counts. `None`: nobody gave any.
pub(crate) async fn forward(servers: &[SocketAddr], packet: &[u8], udp: bool) -> Option<Vec<u8>> {
    let mut refusal = None;
    for server in servers.iter().take(MAX_SERVERS) {
        match timeout(PER_SERVER, ask(*server, packet, udp)).await {
            Ok(Ok(reply)) if failed(&reply) => refusal = Some(reply),
            Ok(Ok(reply)) => return Some(reply),
            Ok(Err(error)) => tracing::debug!(%server, %error, "a resolver did not answer"),
            Err(_) => tracing::debug!(%server, "a resolver did not answer in time"),
        }
    }
    refusal
}

async fn ask(server: SocketAddr, packet: &[u8], udp: bool) -> io::Result<Vec<u8>> {
    if !udp {
        return ask_tcp(server, packet).await;
    }
    let end = Instant::now() + PER_SERVER - MARGIN;
    let reply = ask_udp(server, packet).await?;
    if !truncated(&reply) {
        return Ok(reply);
    }
    // Perhaps the whole fits what our client takes, if not what the server sends over UDP; if not, the
    // client sees the mark and asks again over TCP. Where that is dropped on the way, part of an answer is better than
    // none.
    match timeout_at(end, ask_tcp(server, packet)).await {
        Ok(Ok(whole)) if whole.len() <= udp_limit(packet) => Ok(whole),
        _ => Ok(reply),
    }
}

async fn ask_udp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A socket per question: the kernel picks a random port, which makes forging an answer hard, and
    // takes packets from this server only.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let reply = buffer.get(..length).unwrap_or_default();
        if answers(reply, packet) {
            return Ok(reply.to_vec());
        }
    }
}

async fn ask_tcp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    if !answers(&reply, packet) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"));
    }
    Ok(reply)
}

/// Same number, marked as an answer, same question.
fn answers(reply: &[u8], query: &[u8]) -> bool {
    let question_end = |packet: &[u8]| {
        let mut at = 12;
        loop {
            match packet.get(at)? {
                0 => return Some(at + 5),
                length @ 1..=63 => at += usize::from(*length) + 1,
                _ => return None,
            }
        }
    };
    let same_question = || match question_end(query) {
        Some(end) => match (reply.get(12..end), query.get(12..end)) {
            (Some(theirs), Some(ours)) => theirs.eq_ignore_ascii_case(ours),
            // A refusal may come without the question.
            _ => reply.len() == 12 && failed(reply),
        },
        None => true,
    };
    reply.get(..2) == query.get(..2) && reply.get(2).is_some_and(|flags| flags & 0x80 != 0) && same_question()
}

fn truncated(reply: &[u8]) -> bool {
    reply.get(2).is_some_and(|flags| flags & 2 != 0)
}

/// SERVFAIL, NOTIMP, REFUSED: another server may know better.
fn failed(reply: &[u8]) -> bool {
    matches!(reply.get(3).map(|flags| flags & 0x0f), Some(2 | 4 | 5))
}
