//! Clients that ask all the time, and a server that lets nobody down.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::BUSYBOX;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A server that answers with its argument, keeps connections, and once it is asked to end says so with the next
/// answer on each: nobody's question is lost.
pub const SERVER: &str = r#"
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
static volatile sig_atomic_t ending;
static void end(int signal) { (void)signal; ending = 1; }
int main(int argc, char **argv) {
    static struct pollfd open[1024];
    int one = 1, count = 1, idle = 0, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(80) };
    if (argc != 2) return 2;
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 1024)) return 1;
    open[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
    /* Asked to end, it hears first whoever has called already, however late it or the caller gets to run. */
    while (!ending || idle < (count > 1 ? 400 : 1)) {
        int ready = poll(open, count, 50);
        idle = ready == 0 ? idle + 1 : 0;
        for (int i = count - 1; i >= 0; i--) {
            char buffer[4096], answer[256];
            if (ready <= 0 || !open[i].revents) continue;
            if (i == 0) {
                int client = accept(listener, 0, 0);
                if (client < 0) continue;
                if (count == 1024) { close(client); continue; }
                open[count++] = (struct pollfd){ .fd = client, .events = POLLIN };
                continue;
            }
            ssize_t got = read(open[i].fd, buffer, sizeof buffer - 1);
            int last = got <= 0;
            if (got > 0) {
                buffer[got] = 0;
                last = ending || !strstr(buffer, "HTTP/1.1");
                int length = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n%s\r\n%s",
                    strlen(argv[1]), last ? "Connection: close\r\n" : "", argv[1]);
                if (write(open[i].fd, answer, length) != length) last = 1;
            }
            if (last) {
                close(open[i].fd);
                open[i] = open[--count];
            }
        }
    }
    return 0;
}
"#;

/// A service of [`SERVER`], in the words of a Compose file: it answers with its version at port 8080.
pub fn served(server: &str, version: u32, deploy: &str) -> String {
    let check =
        "{test: wget -q -O /dev/null http://127.0.0.1/, interval: 1s, start_interval: 100ms, start_period: 20s}";
    let web = format!("command: /server {version}, volumes: ['{server}:/server:ro'], stop_grace_period: 30s");
    format!("{{image: {BUSYBOX}, {web}, ports: ['8080:80'], healthcheck: {check}, deploy: {deploy}}}")
}

/// Who asks whom.
#[derive(Debug, Clone)]
pub struct Client {
    /// The network namespace that it asks from.
    pub namespace: PathBuf,
    /// Whom it asks.
    pub address: SocketAddr,
    /// Does it keep its connection, or make a new one for each question?
    pub keeps: bool,
    /// How long each thread waits between two questions.
    pub pause: Duration,
}

/// What came of asking.
#[derive(Debug, Default)]
pub struct Tally {
    over: AtomicBool,
    answers: AtomicU32,
    failures: AtomicU32,
    newest: AtomicU32,
}

impl Tally {
    /// Questions that were answered.
    pub fn answers(&self) -> u32 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Questions that were not.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The largest number that was an answer.
    pub fn newest(&self) -> u32 {
        self.newest.load(Ordering::Relaxed)
    }
}

/// Has each of the clients ask, on four threads, while something is done.
///
/// # Panics
/// There is no such namespace.
pub fn under_load(clients: &[Client], work: impl FnOnce(&Tally)) -> Tally {
    /// Ends the others when the work panics, too.
    struct Over<'a>(&'a Tally);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.over.store(true, Ordering::Relaxed);
        }
    }
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for client in clients.iter().flat_map(|client| std::iter::repeat_n(client, 4)) {
            scope.spawn(|| client.ask_all_the_time(&tally));
        }
        let _over = Over(&tally);
        work(&tally);
    });
    tally
}

impl Client {
    #[expect(clippy::print_stdout, reason = "what failed is worth seeing")]
    fn ask_all_the_time(&self, tally: &Tally) {
        let namespace = File::open(&self.namespace).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let mut kept = None;
        while !tally.over.load(Ordering::Relaxed) {
            std::thread::sleep(self.pause);
            match self.ask(&mut kept) {
                Ok(body) => {
                    tally.answers.fetch_add(1, Ordering::Relaxed);
                    tally.newest.fetch_max(body.trim().parse().unwrap_or_default(), Ordering::Relaxed);
                }
                Err(error) => {
                    println!("{}{}: {error}", self.address, if self.keeps { ", kept" } else { "" });
                    tally.failures.fetch_add(1, Ordering::Relaxed);
                    kept = None;
                }
            }
        }
    }

    /// One question, over the connection that was kept, if one was.
    fn ask(&self, kept: &mut Option<BufReader<TcpStream>>) -> std::io::Result<String> {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                BufReader::new(stream)
            }
        };
        let version = if self.keeps { "1.1" } else { "1.0" };
        stream.get_mut().write_all(format!("GET / HTTP/{version}\r\nHost: web\r\n\r\n").as_bytes())?;
        let (mut length, mut is_last, mut first, mut line) = (None, !self.keeps, true, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other("no answer"));
            }
            if std::mem::take(&mut first) && !line.starts_with("HTTP/1.") {
                return Err(std::io::Error::other(format!("{line:?}")));
            }
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse::<u64>().ok();
            }
            is_last |= header == "connection: close";
        }
        let mut body = String::new();
        match length {
            Some(length) => (&mut stream).take(length).read_to_string(&mut body)?,
            None => stream.read_to_string(&mut body)?,
        };
        if body.is_empty() {
            return Err(std::io::Error::other("an empty answer"));
        }
        if !is_last {
            *kept = Some(stream);
        }
        Ok(body)
    }
}
