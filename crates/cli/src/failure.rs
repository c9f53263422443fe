//! How a command ends that did not go well: what is said, and the exit code.

use crate::printer::{Colour, Printer, paint};
use api::client::ClientError;
use std::fmt;

/// Ends the command with this code; whatever there was to say has been said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silent(pub(crate) u8);

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Silent {}

/// An error with its own exit code (`run` and `exec`: 125, 126, 127).
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) error: anyhow::Error,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Coded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        None
    }
}

/// An error with advice.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Advised {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// An error with advice.
pub(crate) fn advised(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Advised { message: message.into(), hint: hint.into() }.into()
}

/// Says what went wrong on standard error; returns the exit code.
pub(crate) fn tell(printer: Printer, error: &anyhow::Error) -> u8 {
    if let Some(silent) = error.downcast_ref::<Silent>() {
        return silent.0;
    }
    if let Some(coded) = error.downcast_ref::<Coded>() {
        tell(printer, &coded.error);
        return coded.code;
    }
    // `rswarm ps | head -1` has done what it should.
    if error.chain().any(is_broken_pipe) {
        return 0;
    }
    let (text, hint) = words(error);
    for line in text.lines() {
        printer.say(&format!("{}: {line}", paint(printer.colour_err, Colour::Red, "error")));
    }
    if let Some(hint) = hint {
        printer.hint(&hint);
    }
    1
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<StdoutClosed>().is_some()
}

/// Standard output is closed: nobody reads.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct StdoutClosed;

/// Tells a closed standard output from other failures of writing to it.
pub(crate) fn stdout(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => StdoutClosed.into(),
        _ => anyhow::Error::new(error).context("write to standard output"),
    }
}

/// The error with its causes on one line (a cause that is repeated is left out), and its advice.
pub(crate) fn words(error: &anyhow::Error) -> (String, Option<String>) {
    let mut text = String::new();
    let mut hint = None;
    for cause in error.chain() {
        // What rustls says of a connection that was cut is for programmers.
        let said = if cause.to_string().contains("close_notify") {
            "the connection was cut".to_owned()
        } else {
            cause.to_string()
        };
        if text.is_empty() {
            text = said;
        } else if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        hint = hint.or_else(|| advice(cause));
    }
    (text, hint)
}

fn advice(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(advised) = cause.downcast_ref::<Advised>() {
        return Some(advised.hint.clone());
    }
    match cause.downcast_ref::<ClientError>()? {
        ClientError::Api(error) => error.hint.clone(),
        ClientError::Connect { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Some("run it as root, or as a member of the group that owns the socket".to_owned())
        }
        ClientError::Connect { .. } => {
            Some("`rswarm daemon` starts one, `rswarm up` does too; -H or --run-root name another".to_owned())
        }
        ClientError::Protocol(cause) => certificate(&**cause),
    }
}

/// What a manager that refuses a certificate says, in rustls's words: the alert comes in place of the first answer.
fn certificate(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut causes = std::iter::successors(Some(cause), |cause| cause.source());
    let refused = causes.any(|cause| {
        let said = cause.to_string();
        ["UnknownCA", "CertificateUnknown", "CertificateExpired", "BadCertificate", "DecryptError"]
            .iter()
            .any(|alert| said.contains(alert))
    });
    refused.then(|| {
        "the managers do not take this certificate (any more): `rswarm context create NAME --certificate-from \
         ssh://USER@MANAGER` gets a new one"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn causes_are_told_once_and_hints_travel_along() {
        let inner = advised("no such thing", "make one");
        let error = Err::<(), _>(inner).context("look for it").map_err(|error| error.context("do it"));
        let (text, hint) = words(&error.err().unwrap_or_else(|| advised("", "")));
        assert_eq!(text, "do it: look for it: no such thing");
        assert_eq!(hint.as_deref(), Some("make one"));
    }
}
