//! What every command has: the settings, a client of the daemon, and a printer.

use crate::printer::Printer;
use crate::settings::Settings;
use anyhow::{Context as _, Result, anyhow, bail};
use api::client::{Client, ClientError};
use api::{ApiError, Call, ErrorKind, Reply};
use model::{Logins, Request, RequestId, Response, State};
use std::time::{Duration, SystemTime};

/// How long a daemon that went away in the middle of a call is waited for.
const RETURN_WITHIN: Duration = Duration::from_secs(10);

/// What every command has.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) client: Client,
    pub(crate) printer: Printer,
}

impl Context {
    pub(crate) fn new(settings: Settings, printer: Printer) -> Context {
        let client = Client::new(settings.road.clone());
        Context { settings, client, printer }
    }

    /// One call.
    ///
    /// # Errors
    /// The daemon can't be reached, or refuses.
    pub(crate) async fn call(&self, call: Call) -> Result<Reply, ClientError> {
        self.client.call(&call).await
    }

    /// A call that has nothing to say when it is done.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub(crate) async fn order(&self, call: Call) -> Result<(), ClientError> {
        self.call(call).await.map(|_| ())
    }

    /// A request to the cluster. A daemon that dies before it answers is waited for and asked again
    /// under the same id, so that nothing happens twice. Refusals are errors.
    ///
    /// # Errors
    /// The daemon can't be reached, or refuses.
    pub(crate) async fn request(&self, request: Request) -> Result<Response> {
        self.request_as(request, Logins::default()).await
    }

    /// The same with logins for the registries of its images.
    ///
    /// # Errors
    /// As [`Context::request`].
    pub(crate) async fn request_as(&self, request: Request, logins: Logins) -> Result<Response> {
        match self.propose(request, logins).await? {
            Response::Refused { kind, diagnostics } => Err(refused(kind, &diagnostics).into()),
            response => Ok(response),
        }
    }

    /// The same, with refusals as answers.
    ///
    /// # Errors
    /// The daemon can't be reached, or fails.
    pub(crate) async fn propose(&self, request: Request, logins: Logins) -> Result<Response> {
        let call = Call::Cluster { id: request_id()?, request: Box::new(request), logins };
        let mut result = self.client.call(&call).await;
        if let Err(ClientError::Protocol(_)) = &result
            && self.returns().await
        {
            result = self.client.call(&call).await;
        }
        match result? {
            Reply::Cluster(response) => Ok(*response),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits for a daemon that has gone away; false when it does not come back in time.
    pub(crate) async fn returns(&self) -> bool {
        let deadline = tokio::time::Instant::now() + RETURN_WITHIN;
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if self.client.call(&Call::Ping).await.is_ok() {
                return true;
            }
        }
        false
    }

    /// The state of the cluster.
    ///
    /// # Errors
    /// The daemon can't be reached, or refuses.
    pub(crate) async fn state(&self) -> Result<State> {
        match self.request(Request::Read).await? {
            Response::State(state) => Ok(*state),
            _ => bail!("the daemon answered something else than its state"),
        }
    }

    /// One JSON object in Docker's shape.
    ///
    /// # Errors
    /// No such object, or the daemon can't be reached.
    pub(crate) async fn inspect(&self, call: Call) -> Result<serde_json::Value, ClientError> {
        match self.call(call).await? {
            Reply::Inspect(value) => Ok(value),
            other => Err(ClientError::Protocol(unexpected(&other).into())),
        }
    }

    /// Data to standard output.
    ///
    /// # Errors
    /// Nobody reads any more, or the disk is full.
    pub(crate) fn data(&self, text: &str) -> Result<()> {
        self.printer.data(text.as_bytes()).map_err(crate::failure::stdout)
    }

    /// A line to standard output.
    ///
    /// # Errors
    /// As [`Context::data`].
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        self.printer.line(text).map_err(crate::failure::stdout)
    }
}

/// An answer that fits no question of this client.
pub(crate) fn unexpected(reply: &Reply) -> anyhow::Error {
    anyhow!("the daemon's answer does not fit the question: {}", shorten(&format!("{reply:?}")))
}

fn shorten(text: &str) -> String {
    crate::render::human::ellipsis(text, 80)
}

/// A refusal as an error, a line for each reason.
pub(crate) fn refused(kind: model::RefusalKind, diagnostics: &[model::diagnostic::Diagnostic]) -> ClientError {
    let kind = match kind {
        model::RefusalKind::NotFound => ErrorKind::NotFound,
        model::RefusalKind::Conflict => ErrorKind::Conflict,
        model::RefusalKind::Invalid => ErrorKind::Invalid,
    };
    let lines: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
    let mut error = ApiError::new(kind, lines.join("\n"));
    error.hint = diagnostics.iter().find_map(|diagnostic| diagnostic.hint.clone());
    ClientError::Api(error)
}

/// Is this the answer that there is no such thing?
pub(crate) fn is_not_found(error: &ClientError) -> bool {
    matches!(error, ClientError::Api(error) if error.kind == ErrorKind::NotFound)
}

/// The same of an error with its context.
pub(crate) fn means_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ClientError>().is_some_and(is_not_found)
}

/// Random bytes of the kernel.
///
/// # Errors
/// The kernel has none, which does not happen.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()).context("read random bytes")?;
    }
    Ok(bytes)
}

/// A new id for a request.
///
/// # Errors
/// As [`random`].
pub(crate) fn request_id() -> Result<RequestId> {
    Ok(RequestId(u128::from_be_bytes(random()?)))
}

/// Milliseconds since the epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
