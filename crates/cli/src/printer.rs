//! Where words go: data to standard output, all else to standard error; colours on a terminal only.

use std::io::{IsTerminal as _, Write as _};

/// Decides what may be coloured or redrawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    /// Standard error is a terminal that can be redrawn.
    pub(crate) live: bool,
    /// Colours may be used on standard output.
    pub(crate) colour_out: bool,
    /// Colours may be used on standard error.
    pub(crate) colour_err: bool,
}

/// Colours by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Cyan,
    Dim,
    Bold,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Cyan => "36",
            Colour::Dim => "2",
            Colour::Bold => "1",
        }
    }
}

/// The text in a colour, when colours are wanted.
pub(crate) fn paint(wanted: bool, colour: Colour, text: &str) -> String {
    if wanted { format!("\x1b[{}m{text}\x1b[0m", colour.code()) } else { text.to_owned() }
}

impl Printer {
    /// What this process's streams allow; `NO_COLOR` (any value) and `TERM=dumb` switch colours off.
    pub(crate) fn detect() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = dumb || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Printer { live: err && !dumb, colour_out: out && !plain, colour_err: err && !plain }
    }

    /// Data, as it is.
    ///
    /// # Errors
    /// Nobody reads any more, or the disk is full.
    pub(crate) fn data(self, bytes: &[u8]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// A line of data.
    ///
    /// # Errors
    /// As [`Printer::data`].
    pub(crate) fn line(self, text: &str) -> std::io::Result<()> {
        self.data(format!("{text}\n").as_bytes())
    }

    /// A line for people. That it can't be written is no reason to fail.
    pub(crate) fn say(self, text: &str) {
        self.raw_err(&format!("{text}\n"));
    }

    /// A warning for people.
    pub(crate) fn warn(self, text: &str) {
        self.say(&format!("{}: {text}", paint(self.colour_err, Colour::Yellow, "warning")));
    }

    /// Advice for people.
    pub(crate) fn hint(self, text: &str) {
        self.say(&format!("{}: {text}", paint(self.colour_err, Colour::Cyan, "hint")));
    }

    /// Text to standard error as it is.
    pub(crate) fn raw_err(self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _nobody_reads = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}
