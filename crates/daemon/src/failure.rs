//! Errors of the crates below → what a client is told.

use api::{ApiError, ErrorKind};
use std::error::Error;

/// The error with its causes, joined by `: `; a cause that its effect repeats is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::Invalid, message)
}

pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::NotFound, message)
}

pub(crate) fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::Conflict, message)
}

pub(crate) fn failed(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::Failed, message)
}

/// What failed in a way that nobody who asks can help, with all its causes.
pub(crate) fn internal(error: &anyhow::Error) -> ApiError {
    failed(format!("{error:#}"))
}

/// The same with advice.
pub(crate) fn hint(mut error: ApiError, hint: &str) -> ApiError {
    error.hint = Some(hint.to_owned());
    error
}

/// An error of the engine.
pub(crate) fn engine(error: &runtime::engine::Error) -> ApiError {
    use runtime::engine::Error as E;
    let kind = match error {
        E::NotFound(_) => ErrorKind::NotFound,
        E::Exists(_) | E::NotRunning(_) | E::Running(_) | E::VolumeInUse { .. } => ErrorKind::Conflict,
        E::Rejected { .. } => ErrorKind::Invalid,
        E::Volume(runtime::volume::VolumeError::NotFound(_)) => ErrorKind::NotFound,
        E::Volume(runtime::volume::VolumeError::BadName(_) | runtime::volume::VolumeError::UnknownDriver { .. }) => {
            ErrorKind::Invalid
        }
        _ => ErrorKind::Failed,
    };
    ApiError::new(kind, chain(error))
}

/// A blocking task that died.
pub(crate) fn joined(error: tokio::task::JoinError) -> ApiError {
    failed(format!("a task of the daemon ended early: {error}"))
}

/// The first line says it all; the rest follow, each on its own.
pub(crate) fn refused(kind: model::RefusalKind, diagnostics: &[model::diagnostic::Diagnostic]) -> ApiError {
    let kind = match kind {
        model::RefusalKind::NotFound => ErrorKind::NotFound,
        model::RefusalKind::Conflict => ErrorKind::Conflict,
        model::RefusalKind::Invalid => ErrorKind::Invalid,
    };
    let lines: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
    let mut error = ApiError::new(kind, lines.join("\n"));
    error.hint = diagnostics.iter().find_map(|diagnostic| diagnostic.hint.clone());
    error
}
