//! The sockets at 127.0.0.11: one UDP and one TCP socket per namespace, a task for each.

use super::answer::{Answer, Names, View, answer};
use super::forward::{HostServers, forward, parse_servers};
use crate::kernel::apply::DnsSockets;
use model::{HostNet, TaskId, Zone};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Questions of one container under way to other servers. One more is dropped; its client asks again.
const IN_FLIGHT: usize = 256;
const TCP_CLIENTS: usize = 64;
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Datagrams are as large as clients make them; questions are not.
const MAX_QUESTION: usize = 4096;

/// What all servers look at: the newest wanted value.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    net: RwLock<Arc<HostNet>>,
    rotation: AtomicUsize,
    host: HostServers,
}

impl Directory {
    pub(crate) fn replace(&self, net: Arc<HostNet>) {
        *self.net.write().unwrap_or_else(PoisonError::into_inner) = net;
    }

    fn net(&self) -> Arc<HostNet> {
        self.net.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answer(&self, task: TaskId, packet: &[u8], udp: bool) -> Answer {
        let net = self.net();
        let none = Names::new();
        let endpoint = net.endpoints.get(&task);
        let attachments = endpoint.map(|endpoint| endpoint.attachments.as_slice()).unwrap_or_default();
        let zones: Vec<&Zone> =
            attachments.iter().filter_map(|attachment| net.zones.get(&attachment.network)).collect();
        let view = View { own: endpoint.map_or(&none, |endpoint| &endpoint.names), zones: &zones };
        answer(view, packet, self.rotation.fetch_add(1, Ordering::Relaxed), udp)
    }

    /// Whom to ask about other names. Nobody for a container without a way out: names would be one.
    fn servers(&self, task: TaskId) -> Vec<SocketAddr> {
        let net = self.net();
        let Some(endpoint) = net.endpoints.get(&task) else { return Vec::new() };
        let outside = |network| net.networks.get(network).is_some_and(|network| !network.spec.internal);
        if !endpoint.attachments.iter().any(|attachment| outside(&attachment.network)) {
            return Vec::new();
        }
        if endpoint.dns_servers.is_empty() { self.host.get() } else { parse_servers(&endpoint.dns_servers) }
    }

    async fn resolve(&self, task: TaskId, packet: &[u8], otherwise: Vec<u8>, udp: bool) -> Vec<u8> {
        let servers = self.servers(task);
        forward(&servers, packet, udp).await.unwrap_or(otherwise)
    }
}

/// Serves a namespace until dropped or aborted.
pub(crate) async fn serve(task: TaskId, sockets: DnsSockets, directory: Arc<Directory>) {
    let udp = UdpSocket::from_std(sockets.udp);
    let tcp = TcpListener::from_std(sockets.tcp);
    match (udp, tcp) {
        (Ok(udp), Ok(tcp)) => {
            tokio::join!(serve_udp(task, Arc::new(udp), directory.clone()), serve_tcp(task, tcp, directory));
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%task, %error, "cannot serve dns"),
    }
}

async fn serve_udp(task: TaskId, socket: Arc<UdpSocket>, directory: Arc<Directory>) {
    // Dropped with this future, and everything under way with it.
    let mut under_way = JoinSet::new();
    let mut buffer = [0; MAX_QUESTION];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // Most often an earlier answer that nobody wanted any more (ECONNREFUSED).
                tracing::debug!(%task, %error, "dns over udp");
                tokio::task::yield_now().await;
                continue;
            }
        };
        while under_way.try_join_next().is_some() {}
        let packet = buffer.get(..length).unwrap_or_default();
        match directory.answer(task, packet, true) {
            Answer::Reply(reply) => send(&socket, &reply, client).await,
            Answer::Forward { otherwise } if under_way.len() < IN_FLIGHT => {
                let (socket, directory, packet) = (socket.clone(), directory.clone(), packet.to_vec());
                under_way.spawn(async move {
                    let reply = directory.resolve(task, &packet, otherwise, true).await;
                    send(&socket, &reply, client).await;
                });
            }
            Answer::Forward { .. } | Answer::Drop => {}
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(reply, client).await {
        tracing::debug!(%error, "dns over udp");
    }
}

async fn serve_tcp(task: TaskId, listener: TcpListener, directory: Arc<Directory>) {
    let places = Arc::new(Semaphore::new(TCP_CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let directory = directory.clone();
                clients.spawn(async move {
                    let _place = place;
                    // Whatever goes wrong on a client's connection ends that connection only.
                    let _ended = serve_client(task, stream, &directory).await;
                });
            }
            Err(error) => {
                tracing::debug!(%task, %error, "dns over tcp");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_client(task: TaskId, mut stream: TcpStream, directory: &Directory) -> io::Result<()> {
    loop {
        let length = timeout(TCP_IDLE, stream.read_u16()).await??;
        let mut packet = vec![0; usize::from(length)];
        timeout(TCP_IDLE, stream.read_exact(&mut packet)).await??;
        let reply = match directory.answer(task, &packet, false) {
            Answer::Reply(reply) => reply,
            Answer::Forward { otherwise } => directory.resolve(task, &packet, otherwise, false).await,
            Answer::Drop => return Ok(()),
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        timeout(TCP_IDLE, stream.write_all(&[&length.to_be_bytes()[..], &reply].concat())).await??;
    }
}
