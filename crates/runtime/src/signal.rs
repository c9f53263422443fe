//! Signals by name or number, real-time ones included.

use std::fmt;
use std::str::FromStr;

/// A signal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signal(pub i32);

/// A text that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no signal: give a name such as SIGTERM or a number from 1 to 64")]
pub struct ParseSignalError(pub String);

const NAMES: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

impl Signal {
    /// The default stop signal.
    pub const TERM: Signal = Signal(15);
    /// The one that nobody can ignore.
    pub const KILL: Signal = Signal(9);
}

impl FromStr for Signal {
    type Err = ParseSignalError;

    /// Numbers, `TERM`, `SIGTERM`, `sigterm`, `RTMIN`, `SIGRTMIN+3`, `RTMAX-2`.
    fn from_str(text: &str) -> Result<Self, ParseSignalError> {
        let bad = || ParseSignalError(text.to_owned());
        if let Ok(number) = text.parse::<i32>() {
            return if (1..=64).contains(&number) { Ok(Signal(number)) } else { Err(bad()) };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Signal(*number));
        }
        let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
            Some(digits) => digits.parse::<i32>().ok(),
            None if rest.is_empty() => Some(0),
            None => None,
        };
        // glibc and musl keep the first two or three real-time signals; 34 is what programs see.
        let number = if let Some(rest) = name.strip_prefix("RTMIN") {
            offset(rest, '+').and_then(|by| 34i32.checked_add(by))
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            offset(rest, '-').and_then(|by| 64i32.checked_sub(by))
        } else {
            None
        };
        number.filter(|number| (34..=64).contains(number)).map(Signal).ok_or_else(bad)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 >= 34 => write!(f, "SIGRTMIN+{}", self.0 - 34),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time() {
        for (text, number) in
            [("9", 9), ("TERM", 15), ("SIGHUP", 1), ("sigusr1", 10), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-2", 62)]
        {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
        for text in ["", "0", "65", "-1", "SIG", "NOPE", "RTMIN+99", "RTMIN-1", "SIGRTMAX+1"] {
            assert_eq!(text.parse::<Signal>(), Err(ParseSignalError(text.to_owned())), "{text}");
        }
        assert_eq!(Signal(15).to_string(), "SIGTERM");
        assert_eq!(Signal(37).to_string(), "SIGRTMIN+3");
    }
}
