//! The terminal: raw mode, its size, and the keys that detach.

use crate::failure::Silent;
use anyhow::{Context as _, Result, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios};
use std::io::Write as _;
use tokio::signal::unix::{SignalKind, signal};

/// Raw mode of standard input; the old mode comes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    old: Termios,
}

impl Raw {
    /// Every key goes to the process as it is typed, `ctrl-c` too.
    ///
    /// # Errors
    /// Standard input is no terminal.
    pub(crate) fn enter() -> std::io::Result<Raw> {
        let stdin = rustix::stdio::stdin();
        let old = rustix::termios::tcgetattr(stdin)?;
        let mut raw = old.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin, OptionalActions::Drain, &raw)?;
        Ok(Raw { old })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _gone = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.old);
    }
}

/// Would a person read standard output as it comes?
pub(crate) fn stdout_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdout())
}

/// Is standard input a terminal?
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdin())
}

/// Asks on standard error, and gives the line that is typed, as it is.
///
/// # Errors
/// The terminal fails.
pub(crate) fn ask(prompt: &str) -> Result<String> {
    show(prompt).context("ask on the terminal")?;
    typed().context("read the answer")
}

/// Asks what is answered by yes or no; everything that is not yes is no.
///
/// # Errors
/// The terminal fails.
pub(crate) fn agrees(question: &str) -> Result<bool> {
    let answer = ask(&format!("{question} [y/N] "))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn show(text: &str) -> std::io::Result<()> {
    let mut terminal = std::io::stderr();
    terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush())
}

fn typed() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).map(|_| text)
}

/// A secret: typed at a terminal, which does not show it, or a line of standard input.
///
/// # Errors
/// Standard input fails, or the person thinks better of it with ctrl-c.
pub(crate) async fn secret(prompt: &str) -> Result<String> {
    if !stdin_is_terminal() {
        return typed().context("read the key from standard input");
    }
    // The signal alone would end the process and leave a terminal that shows nothing.
    let mut interrupts = signal(SignalKind::interrupt()).context("wait for ctrl-c")?;
    show(prompt).context("ask for the key")?;
    let hidden = Hidden::enter().context("hide what is typed")?;
    tokio::select! {
        typed = tokio::task::spawn_blocking(typed) => typed?.context("read the key from the terminal"),
        _ = interrupts.recv() => {
            drop(hidden);
            show("\n").context("end the line")?;
            Err(Silent(130).into())
        }
    }
}

/// What is typed is not shown until this is dropped.
struct Hidden {
    old: Termios,
}

impl Hidden {
    fn enter() -> std::io::Result<Hidden> {
        let stdin = rustix::stdio::stdin();
        let old = rustix::termios::tcgetattr(stdin)?;
        let mut hidden = old.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        rustix::termios::tcsetattr(stdin, OptionalActions::Flush, &hidden)?;
        Ok(Hidden { old })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _gone = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.old);
    }
}

/// Rows and columns of the terminal that standard output (else input, else error) is.
pub(crate) fn size() -> Option<(u16, u16)> {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stdin(), rustix::stdio::stderr()];
    let sizes = streams.into_iter().filter_map(|stream| rustix::termios::tcgetwinsize(stream).ok());
    sizes.map(|size| (size.ws_row, size.ws_col)).find(|(rows, columns)| *rows > 0 && *columns > 0)
}

/// Looks for the keys that detach in what is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

/// What became of typed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Typed {
    /// What goes to the process.
    pub(crate) pass: Vec<u8>,
    /// The keys were typed: nothing goes on.
    pub(crate) detach: bool,
}

impl DetachKeys {
    /// `ctrl-p,ctrl-q`: letters, `ctrl-` with a letter or one of `@[\]^_`; empty for none.
    ///
    /// # Errors
    /// Something else.
    pub(crate) fn parse(text: &str) -> Result<DetachKeys> {
        let mut keys = Vec::new();
        for key in text.split(',').filter(|_| !text.is_empty()) {
            match (key.to_ascii_lowercase().strip_prefix("ctrl-").map(str::as_bytes), key.as_bytes()) {
                (Some(&[c @ b'a'..=b'z']), _) => keys.push(c - b'a' + 1),
                (Some(&[c @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]), _) => keys.push(c & 0x1f),
                (None, &[c]) => keys.push(c),
                _ => bail!("--detach-keys: `{key}` is no key: write a letter, or ctrl- and a letter"),
            }
        }
        Ok(DetachKeys { keys, matched: 0 })
    }

    /// Passes bytes through. Those that may become the keys are held back until that is known.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Typed {
        let mut pass = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Typed { pass, detach: true };
                }
                continue;
            }
            pass.extend_from_slice(self.keys.get(..self.matched).unwrap_or(&[]));
            self.matched = 0;
            if self.keys.first() == Some(byte) {
                self.matched = 1;
            } else {
                pass.push(*byte);
            }
        }
        Typed { pass, detach: false }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn keys_detach_and_all_else_passes() {
        let mut keys = DetachKeys::parse("ctrl-p,ctrl-q").unwrap();
        let typed = |pass: &[u8], detach| Typed { pass: pass.to_vec(), detach };
        assert_eq!(keys.feed(b"ls\x10"), typed(b"ls", false));
        assert_eq!(keys.feed(b"x"), typed(b"\x10x", false));
        assert_eq!(keys.feed(b"\x10\x10"), typed(b"\x10", false));
        assert_eq!(keys.feed(b"\x11rest"), typed(b"", true));
        let mut none = DetachKeys::parse("").unwrap();
        assert_eq!(none.feed(b"\x10\x11"), typed(b"\x10\x11", false));
        let mut single = DetachKeys::parse("ctrl-],x").unwrap();
        assert_eq!(single.feed(b"\x1dx"), typed(b"", true));
        assert!(DetachKeys::parse("ctrl-1").is_err() && DetachKeys::parse("ab").is_err());
    }
}
