//! What the kernel still does for the programs of a network namespace, and what a container that leaves would leave
//! undone: TCP connections that have begun and that no program has yet (the kernel answers for them, and resets them
//! when the program has ended), and what programs have said that was not received yet (the kernel sends it once more,
//! as long as there is a network to send it by).

use crate::kernel::netns;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// Connections that are not all that they are going to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// Those whose caller has not confirmed yet that it was answered; both ends of each.
    answered: BTreeSet<(String, String)>,
    /// How many are made and wait to be accepted.
    waiting: u64,
    /// How many have been closed here, and not all that was said on them was received yet.
    closing: usize,
}

impl Pending {
    /// Those in the namespace of this name, by `/proc/net/tcp` (proc_net_tcp.txt of Linux's documentation).
    ///
    /// # Errors
    /// There is no such namespace.
    pub fn of(namespace: &Path) -> io::Result<Pending> {
        let namespace = netns::open(namespace)?.ok_or(io::ErrorKind::NotFound)?;
        netns::within(namespace, || {
            let mut pending = Pending::default();
            pending.read(&std::fs::read_to_string("/proc/thread-self/net/tcp")?);
            match std::fs::read_to_string("/proc/thread-self/net/tcp6") {
                Ok(text) => pending.read(&text),
                // A kernel without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            Ok(pending)
        })
    }

    fn read(&mut self, text: &str) {
        const SYN_RECV: &str = "03";
        const FIN_WAIT1: &str = "04";
        const LAST_ACK: &str = "09";
        const LISTEN: &str = "0A";
        const CLOSING: &str = "0B";
        /// Who has not answered for so many times in a row will not.
        const VANISHED: u64 = 5;
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().take(7).collect();
            let [_, local, remote, state, queues, _, retries] = words[..] else { continue };
            let (unsent, waiting) = queues.split_once(':').unwrap_or_default();
            let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or_default();
            match state {
                SYN_RECV => {
                    self.answered.insert((local.to_owned(), remote.to_owned()));
                }
                LISTEN => self.waiting = self.waiting.saturating_add(number(waiting)),
                // The end of a conversation counts as one byte: who has only that to hear has all that was said.
                FIN_WAIT1 | LAST_ACK | CLOSING if number(unsent) > 1 && number(retries) < VANISHED => self.closing += 1,
                _ => {}
            }
        }
    }

    /// Has a program all of these `now` that were on their way, and does none wait to be accepted? Those that began later
    /// are not asked for.
    #[must_use]
    pub fn has_arrived(&self, now: &Pending) -> bool {
        now.waiting == 0 && self.answered.is_disjoint(&now.answered)
    }

    /// Is anything that was said on a connection which is closed still on its way?
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.closing > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_the_kernel_is_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 00000000:0050 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n\
            1: 0100000A:0050 0200000A:C001 03 00000000:00000000 01:00000064 00000000     0        0 0 1 0\n\
            2: 0100000A:0050 0300000A:C002 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0\n\
            3: 0100000A:0050 0400000A:C002 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0\n\
            nonsense\n";
        let of = |text: &str| {
            let mut pending = Pending::default();
            pending.read(text);
            pending
        };
        let first = of(text);
        assert_eq!((first.waiting, first.answered.len(), first.closing), (2, 1, 0));
        assert!(!first.has_arrived(&first) && first.has_arrived(&Pending::default()));
        let accepted = of(&text.replace("00000002", "00000000"));
        assert!(!first.has_arrived(&accepted), "one was not confirmed");
        let later = of(&text.replace("00000002", "00000000").replace("C001", "C003"));
        assert!(first.has_arrived(&later), "what came later is not waited for");
        let unsent = text.replace(" 05 00000000:", " 05 00000007:");
        for state in [" 04 ", " 09 ", " 0B "] {
            assert!(of(&unsent.replace(" 05 ", state)).is_sending());
        }
        assert!(!of(&unsent).is_sending());
        assert!(!of(&unsent.replace(" 05 00000007:", " 04 00000001:")).is_sending(), "it has heard all");
        let silent = unsent.replace(" 05 ", " 04 ").replace("00:00000000 00000000 ", "01:00000064 00000006 ");
        assert!(!of(&silent).is_sending(), "nobody is there");
    }

    #[test]
    fn without_a_namespace_there_is_nothing() {
        assert!(Pending::of(Path::new("/nonexistent")).is_err());
        assert!(Pending::of(Path::new("/dev/null")).is_err());
    }
}
