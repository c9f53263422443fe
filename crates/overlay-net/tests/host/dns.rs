//! Names.

use crate::lab::*;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata::A};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

pub(crate) const SERVER: (&str, u16) = ("127.0.0.11", 53);

pub(crate) fn question(name: &str) -> Vec<u8> {
    let mut query = Message::query();
    query.metadata.id = 4711;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    query.to_vec().unwrap()
}

fn shown(reply: &[u8]) -> String {
    let reply = Message::from_vec(reply).unwrap();
    let data: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    match reply.metadata.response_code {
        ResponseCode::NoError => data.join(" "),
        code => format!("{code:?}"),
    }
}

pub(crate) fn lookup(name: &str) -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(SERVER).unwrap();
    let mut buffer = [0; 4096];
    let mut ask = |patience: Duration| {
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.send(&question(name)).and_then(|_| socket.recv(&mut buffer))
    };
    // Datagrams may be lost, so that resolvers ask twice.
    match ask(SOON / 5).or_else(|_| ask(SOON * 5)) {
        Ok(length) => shown(&buffer[..length]),
        Err(error) => error.kind().to_string(),
    }
}

fn lookup_tcp(name: &str) -> String {
    let mut stream = TcpStream::connect(SERVER).unwrap();
    stream.set_read_timeout(Some(SOON * 5)).unwrap();
    stream.write_all(&framed(&question(name))).unwrap();
    shown(&read_framed(&mut stream))
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes(), packet].concat()
}

fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut packet).unwrap();
    packet
}

/// A resolver on the host's loopback that knows 203.0.113.7; `big` names only over TCP.
fn upstream() -> u16 {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let udp = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let answer = |packet: &[u8], udp: bool| {
        let query = Message::from_vec(packet).unwrap();
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.queries.clone_from(&query.queries);
        let name = query.queries[0].name().clone();
        if udp && name.to_ascii().starts_with("big") {
            reply.metadata.truncation = true;
        } else if name.to_ascii().starts_with("missing") {
            reply.metadata.response_code = ResponseCode::NXDomain;
        } else {
            reply.answers.push(Record::from_rdata(name, 60, RData::A(A([203, 0, 113, 7].into()))));
        }
        reply.to_vec().unwrap()
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut buffer) {
            udp.send_to(&answer(&buffer[..length], true), client).unwrap();
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let packet = read_framed(&mut stream);
            if packet.windows(6).any(|name| name == b"silent") {
                std::thread::sleep(std::time::Duration::from_secs(3));
            }
            let _late = stream.write_all(&framed(&answer(&packet, false)));
        }
    });
    port
}

#[test]
fn names_of_networks_and_of_the_world() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let front = daemon.network(1, "10.230.1.0/24", false);
        let back = daemon.network(2, "10.230.2.0/24", true);
        let web = daemon.container(2, &[front]);
        let db = daemon.container(3, &[back]);
        let app = daemon.container(4, &[front, back]);
        let ip = |n: u8, host: u8| IpAddr::from([10, 230, n, host]);
        daemon.name(front, "web", &[ip(1, 2)]);
        daemon.name(front, "app", &[ip(1, 4)]);
        daemon.name(back, "app", &[ip(2, 4)]);
        daemon.name(back, "db", &[ip(2, 3)]);
        daemon.name(front, "asleep", &[]);
        let port = upstream();
        let dead = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for endpoint in daemon.net.endpoints.values_mut() {
            endpoint.dns_servers = vec![dead.to_string(), format!("127.0.0.1:{port}")];
        }
        daemon.apply_clean();
        assert_eq!(daemon.inside(web, || lookup("app.")), "10.230.1.4");
        assert_eq!(daemon.inside(web, || lookup("APP.")), "10.230.1.4");
        assert_eq!(daemon.inside(db, || lookup("app.")), "10.230.2.4");
        assert_eq!(daemon.inside(app, || lookup("app.")), "10.230.1.4");
        assert_eq!(daemon.inside(app, || lookup("db.")), "10.230.2.3");
        assert_eq!(daemon.inside(web, || lookup("asleep.")), "");
        assert_eq!(daemon.inside(web, || lookup_tcp("app.")), "10.230.1.4");
        assert_eq!(daemon.inside(web, || lookup("example.org.")), "203.0.113.7", "by the second server");
        assert_eq!(daemon.inside(web, || lookup("big.example.org.")), "203.0.113.7", "over tcp");
        assert_eq!(daemon.inside(web, || lookup_tcp("example.org.")), "203.0.113.7");
        assert_eq!(daemon.inside(web, || lookup("big.silent.example.org.")), "", "what came before TCP kept silent");
        assert_eq!(daemon.inside(web, || lookup("missing.example.org.")), "NXDomain");
        assert_eq!(daemon.inside(db, || lookup("example.org.")), "ServFail", "no way out of an internal network");
        assert_eq!(daemon.inside(db, || lookup("web.")), "NXDomain");
        // A new name is there with the apply that brings it, an old one gone with the apply that takes it.
        daemon.name(front, "new", &[ip(1, 9)]);
        daemon.net.zones.get_mut(&front).unwrap().names.remove("web");
        daemon.apply_clean();
        assert_eq!(daemon.inside(web, || lookup("new.")), "10.230.1.9");
        assert_ne!(daemon.inside(app, || lookup("web.")), "10.230.1.2");
        daemon.finish();
    });
}

#[test]
fn a_container_may_serve_dns_itself_and_send_rubbish() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network(1, "10.231.1.0/24", false);
        let a = daemon.container(2, &[net]);
        let b = daemon.container(3, &[net]);
        let ip_a = daemon.address(a);
        daemon.name(net, "a", &[ip_a]);
        daemon.apply_clean();
        udp_server(&daemon, a, 53, "mine");
        daemon.inside(a, || TcpListener::bind("0.0.0.0:53").map(drop)).unwrap();
        let asked = daemon.inside(b, || ask_udp(&UdpSocket::bind("0.0.0.0:0").unwrap(), (ip_a, 53).into()));
        assert_eq!(asked.as_deref(), Some("mine"));
        daemon.inside(a, || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for length in 0..300 {
                socket.send_to(&vec![length as u8; length * 7], SERVER).unwrap();
            }
            let mut stream = TcpStream::connect(SERVER).unwrap();
            stream.write_all(&[0, 3, 1, 2, 3, 0]).unwrap();
        });
        assert_eq!(daemon.inside(a, || lookup("a.")), "10.231.1.2");
        assert_eq!(daemon.inside(a, || lookup_tcp("a.")), "10.231.1.2");
        daemon.finish();
    });
}
