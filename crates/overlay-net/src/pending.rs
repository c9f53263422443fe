//! TCP connections that have begun and that no program has yet: what a container would leave in the lurch if it ended
//! now. The kernel answers for them until a program accepts them, and resets them when that has ended.

use std::collections::BTreeSet;
use std::io;

/// Connections on their way to the programs of one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Those whose caller has not confirmed yet that it was answered; both ends of each.
    answered: BTreeSet<(String, String)>,
    /// How many are made and wait to be accepted.
    waiting: u64,
}

impl Arrivals {
    /// Those in the namespace of this process, by `/proc/PID/net/tcp` (proc_net_tcp.txt of Linux's documentation).
    ///
    /// # Errors
    /// The process has gone.
    pub fn of(pid: u32) -> io::Result<Arrivals> {
        let mut arrivals = Arrivals::default();
        arrivals.read(&std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))?);
        match std::fs::read_to_string(format!("/proc/{pid}/net/tcp6")) {
            Ok(text) => arrivals.read(&text),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(arrivals)
    }

    fn read(&mut self, text: &str) {
        const SYN_RECV: &str = "03";
        const LISTEN: &str = "0A";
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().take(5).collect();
            let [_, local, remote, state, queues] = words[..] else { continue };
            match state {
                SYN_RECV => {
                    self.answered.insert((local.to_owned(), remote.to_owned()));
                }
                LISTEN => {
                    let waiting = queues.split_once(':').and_then(|(_, it)| u64::from_str_radix(it, 16).ok());
                    self.waiting = self.waiting.saturating_add(waiting.unwrap_or_default());
                }
                _ => {}
            }
        }
    }

    /// Is any of these still on its way `now`, or does one wait to be accepted? One that began later is not asked for.
    #[must_use]
    pub fn remain(&self, now: &Arrivals) -> bool {
        now.waiting > 0 || !self.answered.is_disjoint(&now.answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn what_nobody_has_accepted_is_seen_until_somebody_does() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 00000000:0050 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n\
            1: 0100000A:0050 0200000A:C001 03 00000000:00000000 01:00000064 00000000     0        0 0 1 0\n\
            2: 0100000A:0050 0300000A:C002 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0\n\
            nonsense\n";
        let (mut first, mut later) = (Arrivals::default(), Arrivals::default());
        first.read(text);
        assert_eq!((first.waiting, first.answered.len()), (2, 1));
        assert!(first.remain(&first) && !first.remain(&later));
        later.read(&text.replace("C001", "C003").replace("00000002", "00000000"));
        assert!(!first.remain(&later), "what came later is not waited for");
        later.waiting = 1;
        assert!(first.remain(&later));
    }

    #[test]
    fn the_kernel_tells_of_who_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let of = || Arrivals::of(std::process::id()).unwrap();
        let soon = |what: &dyn Fn(&Arrivals) -> bool| {
            (0..200).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                what(&of())
            })
        };
        let _caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(of().waiting > 0);
        listener.accept().unwrap();
        assert!(soon(&|now| now.waiting == 0));
        assert!(Arrivals::of(0).is_err());
    }
}
