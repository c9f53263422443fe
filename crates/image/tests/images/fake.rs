//! A registry that misbehaves on demand, and counts.

use crate::lab::{Made, digest};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What to do to answers.
#[derive(Default)]
pub(crate) struct Behaviour {
    /// Cut each connection after so many bytes of a blob.
    pub(crate) cut_after: AtomicU64,
    /// Ignore `Range`.
    pub(crate) no_ranges: AtomicBool,
    /// Stop sending blobs for good (keeping the connection open) after so many bytes in all; 0: never.
    pub(crate) stall_after: AtomicU64,
    /// Answer 503 to so many requests first.
    pub(crate) unavailable: AtomicU64,
    /// Want this `Authorization`, and say to get it at `/token` with the basic authorization `.1`.
    pub(crate) token: Mutex<Option<(String, Option<String>)>>,
    /// Wait before each piece of a blob.
    pub(crate) slow: AtomicBool,
}

/// Media type and bytes by path.
type Content = Arc<Mutex<BTreeMap<String, (String, Vec<u8>)>>>;

pub(crate) struct Fake {
    pub(crate) host: String,
    pub(crate) behaviour: Arc<Behaviour>,
    /// Bytes of blobs sent.
    pub(crate) sent: Arc<AtomicU64>,
    /// Requests by path.
    pub(crate) requests: Arc<Mutex<BTreeMap<String, u64>>>,
    pub(crate) content: Content,
    over: Arc<AtomicBool>,
}

impl Fake {
    pub(crate) fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Fake {
            host: listener.local_addr().unwrap().to_string(),
            behaviour: Arc::default(),
            sent: Arc::default(),
            requests: Arc::default(),
            content: Arc::default(),
            over: Arc::default(),
        };
        let connection = Connection {
            host: fake.host.clone(),
            behaviour: fake.behaviour.clone(),
            sent: fake.sent.clone(),
            requests: fake.requests.clone(),
            content: fake.content.clone(),
        };
        let over = fake.over.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (connection, stream) = (connection.clone(), stream.unwrap());
                std::thread::spawn(move || connection.serve(&stream));
            }
        });
        fake
    }

    /// Serves an image under a tag of `app`.
    pub(crate) fn serve(&self, tag: &str, made: &Made) -> String {
        for blob in made.blobs.iter().chain([&made.config]) {
            self.put(&format!("/v2/app/blobs/{}", digest(blob)), "application/octet-stream", blob.clone());
        }
        self.put_manifest(tag, made.kind, made.manifest.clone())
    }

    /// Serves a manifest under a tag and its digest, which is returned.
    pub(crate) fn put_manifest(&self, tag: &str, kind: &str, bytes: Vec<u8>) -> String {
        let digest = digest(&bytes);
        self.put(&format!("/v2/app/manifests/{tag}"), kind, bytes.clone());
        self.put(&format!("/v2/app/manifests/{digest}"), kind, bytes);
        digest
    }

    pub(crate) fn put(&self, path: &str, kind: &str, bytes: Vec<u8>) {
        self.content.lock().unwrap().insert(path.to_owned(), (kind.to_owned(), bytes));
    }

    pub(crate) fn name(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.host)
    }

    pub(crate) fn count(&self, part: &str) -> u64 {
        self.requests.lock().unwrap().iter().filter(|(path, _)| path.contains(part)).map(|(_, count)| count).sum()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(&self.host);
    }
}

#[derive(Clone)]
struct Connection {
    host: String,
    behaviour: Arc<Behaviour>,
    sent: Arc<AtomicU64>,
    requests: Arc<Mutex<BTreeMap<String, u64>>>,
    content: Content,
}

impl Connection {
    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some((path, headers)) = request(&mut reader) {
            if !self.answer(stream, &path, &headers) {
                let _gone = stream.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }

    /// False: cut the connection.
    fn answer(&self, mut stream: &TcpStream, path: &str, headers: &BTreeMap<String, String>) -> bool {
        *self.requests.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        let b = &self.behaviour;
        if b.unavailable.load(Ordering::SeqCst) > 0 {
            b.unavailable.fetch_sub(1, Ordering::SeqCst);
            return reply(stream, "503 Service Unavailable", &[], b"{}");
        }
        if let Some((token, basic)) = b.token.lock().unwrap().clone() {
            let given = headers.get("authorization").map(String::as_str);
            if path.starts_with("/token") {
                return match basic.as_deref() == given {
                    true => {
                        let body = format!(r#"{{"access_token": "{token}", "expires_in": 300}}"#);
                        reply(stream, "200 OK", &[], body.as_bytes())
                    }
                    false => {
                        reply(stream, "401 Unauthorized", &[], br#"{"details": "incorrect username or password"}"#)
                    }
                };
            }
            if given != Some(&format!("Bearer {token}")) {
                let challenge = format!(
                    "www-authenticate: Bearer realm=\"http://{}/token\",service=\"test registry\",scope=\"repository:app:pull\"",
                    self.host
                );
                return reply(stream, "401 Unauthorized", &[&challenge], b"{}");
            }
        }
        let content = self.content.lock().unwrap().get(path).cloned();
        let Some((kind, bytes)) = content else {
            let body = br#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}"#;
            return reply(stream, "404 Not Found", &[], body);
        };
        if !path.contains("/blobs/") {
            return reply(stream, "200 OK", &[&format!("content-type: {kind}")], &bytes);
        }
        let range =
            headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let start: usize = if b.no_ranges.load(Ordering::SeqCst) { 0 } else { range.unwrap_or(0) };
        let rest = bytes.get(start..).unwrap_or_default();
        let status = match start {
            0 => "HTTP/1.1 200 OK".to_owned(),
            start => {
                let (last, all) = (bytes.len() - 1, bytes.len());
                format!("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{last}/{all}")
            }
        };
        if write!(stream, "{status}\r\ncontent-length: {}\r\n\r\n", rest.len()).is_err() {
            return false;
        }
        self.blob(stream, rest)
    }

    fn blob(&self, mut stream: &TcpStream, bytes: &[u8]) -> bool {
        let cut = self.behaviour.cut_after.load(Ordering::SeqCst);
        let mut here = 0;
        for piece in bytes.chunks(16 << 10) {
            let stall = self.behaviour.stall_after.load(Ordering::SeqCst);
            if stall > 0 && self.sent.load(Ordering::SeqCst) >= stall {
                std::thread::sleep(Duration::from_secs(30));
                return false;
            }
            if self.behaviour.slow.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            if stream.write_all(piece).is_err() {
                return false;
            }
            self.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            here += piece.len() as u64;
            if cut > 0 && here >= cut && here < bytes.len() as u64 {
                return false;
            }
        }
        true
    }
}

fn request(reader: &mut BufReader<&TcpStream>) -> Option<(String, BTreeMap<String, String>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => return Some((path, headers)),
        };
    }
}

fn reply(mut stream: &TcpStream, status: &str, headers: &[&str], body: &[u8]) -> bool {
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|header| head.push_str(&format!("{header}\r\n")));
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_ok()
}
