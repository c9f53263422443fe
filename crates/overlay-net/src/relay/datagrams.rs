//! UDP: who said something is remembered for a while, with a socket of its own, so that answers find back.

use super::Targets;
use super::destination::{self, Destination};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;

/// A conversation in which nothing is said for so long is over (Docker's `docker-proxy` has it so).
const IDLE: Duration = Duration::from_secs(90);
/// The same while nobody has answered: most of them never will (Linux has `nf_conntrack_udp_timeout` for it).
const UNANSWERED: Duration = Duration::from_secs(30);
/// Datagrams of a client that wait to be passed on: more than are read before others get their turn.
const WAITING: usize = 256;
/// No datagram is larger.
const LARGEST: usize = 1 << 16;

/// Who speaks, and to which address of the host.
type Pair = (SocketAddr, Destination);

/// One that goes on.
struct Conversation {
    said: Sender<Vec<u8>>,
    target: SocketAddr,
}

/// Passes on what comes until dropped or aborted; `room`: conversations at a time.
pub(super) async fn serve(socket: Arc<UdpSocket>, targets: Arc<Targets>, room: usize) {
    let mut buffer = vec![0; LARGEST];
    let mut conversations: HashMap<Pair, Conversation> = HashMap::new();
    loop {
        let received = socket.async_io(Interest::READABLE, || destination::receive(&socket, &mut buffer)).await;
        let (length, pair) = match received {
            Ok((length, from, to)) => (length, (from, to)),
            Err(error) => {
                tracing::debug!(%error, "receive at a published port");
                sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        let mut datagram = buffer.get(..length).unwrap_or_default().to_vec();
        if let Some(open) = conversations.get(&pair).filter(|open| targets.has(open.target)) {
            match open.said.try_send(datagram) {
                Ok(()) | Err(TrySendError::Full(_)) => continue,
                Err(TrySendError::Closed(unsent)) => datagram = unsent,
            }
        }
        conversations.remove(&pair);
        if conversations.len() >= room {
            conversations.retain(|_, open| !open.said.is_closed());
        }
        // Dropped where there is no room, as the kernel drops where its table is full.
        let Some(target) = targets.next().filter(|_| conversations.len() < room) else { continue };
        let (sender, said) = mpsc::channel(WAITING);
        let _room = sender.try_send(datagram);
        conversations.insert(pair, Conversation { said: sender, target });
        let socket = socket.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(&socket, pair, target, said).await {
                tracing::debug!(%error, client = %pair.0, %target, "a conversation at a published port");
            }
        });
    }
}

/// Until nobody says anything any more, or the port is no longer published.
async fn converse(client: &UdpSocket, pair: Pair, target: SocketAddr, mut said: Receiver<Vec<u8>>) -> io::Result<()> {
    let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let server = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    server.connect(target).await?;
    let mut idle = UNANSWERED;
    loop {
        tokio::select! {
            datagram = said.recv() => match datagram {
                Some(datagram) => drop(server.send(&datagram).await?),
                None => return Ok(()),
            },
            readable = server.readable() => {
                readable?;
                // Of its own for the moment: most conversations are silent most of the time.
                let mut answer = Vec::with_capacity(LARGEST);
                match server.try_recv_buf(&mut answer) {
                    Ok(_) => {
                        idle = IDLE;
                        let send = || destination::send(client, &answer, pair.0, &pair.1);
                        client.async_io(Interest::WRITABLE, send).await?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            () = sleep(idle) => return Ok(()),
        }
    }
}
