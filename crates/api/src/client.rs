//! The client's side, whatever the road to the daemon.

use crate::call::{ApiError, Call, ErrorKind, Reply};
use crate::road::{self, Connected, Road};
use crate::stream::{DownloadCall, SessionCall, StreamCall, StreamItem, UploadCall};
use crate::{CALL_HEADER, VERSION};
use base64::Engine as _;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use std::path::PathBuf;

/// Why a client's call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens there.
    #[error("no daemon answers at {at}")]
    Connect {
        /// Where that is: a path, or addresses.
        at: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke or spoke nonsense.
    #[error("the daemon's answer could not be read")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The daemon said no.
    #[error(transparent)]
    Api(#[from] ApiError),
}

fn protocol(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Protocol(error.into())
}

type Body = BoxBody<Bytes, std::io::Error>;

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

/// A daemon that can be called. Each call opens a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    road: Road,
}

impl Client {
    /// A client of the daemon at the end of this road.
    pub fn new(road: Road) -> Self {
        Client { road }
    }

    /// A client of the daemon at this unix socket.
    pub fn unix(socket: impl Into<PathBuf>) -> Self {
        Client::new(Road::Unix(socket.into()))
    }

    /// The way to the daemon.
    pub fn road(&self) -> &Road {
        &self.road
    }

    async fn send(
        &self,
        path: &str,
        header: Option<Vec<u8>>,
        upgrade: bool,
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        let connect = |source| ClientError::Connect { at: self.road.place(), source };
        let Connected { stream, ended } = self.road.connect().await.map_err(connect)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(protocol)?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::post(path).header("host", "rswarm").header("x-rswarm-version", VERSION);
        if let Some(header) = header {
            request = request.header(CALL_HEADER, base64::engine::general_purpose::STANDARD.encode(header));
        }
        if upgrade {
            request = request.header("connection", "Upgrade").header("upgrade", "rswarm");
        }
        let response = match sender.send_request(request.body(body).map_err(protocol)?).await {
            Ok(response) => response,
            // A program that did not get there says why as it ends.
            Err(error) => return Err(road::last_words(ended).await.map_or_else(|| protocol(error), connect)),
        };
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(protocol)?.to_bytes();
        let error = serde_json::from_slice(&body)
            .unwrap_or_else(|_| ApiError::new(ErrorKind::Failed, format!("the daemon answered {status}")));
        Err(ClientError::Api(error))
    }

    /// One question, one answer.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn call(&self, call: &Call) -> Result<Reply, ClientError> {
        let response = self.send("/v1/call", None, false, full(json(call)?)).await?;
        let body = response.into_body().collect().await.map_err(protocol)?.to_bytes();
        serde_json::from_slice(&body).map_err(protocol)
    }

    /// Answers as they happen. An `Error` item is turned into an error here.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses at once.
    pub async fn stream(&self, call: &StreamCall) -> Result<Items, ClientError> {
        Ok(Items::of(self.send("/v1/stream", None, false, full(json(call)?)).await?.into_body()))
    }

    /// Sends an archive.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses at once.
    pub async fn upload<S>(&self, call: &UploadCall, archive: S) -> Result<Items, ClientError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static,
    {
        use futures_util::TryStreamExt as _;
        let body = BodyExt::boxed(StreamBody::new(archive.map_ok(BodyFrame::data)));
        Ok(Items::of(self.send("/v1/upload", Some(json(call)?), false, body).await?.into_body()))
    }

    /// Receives an archive; `each` gets its pieces in order.
    ///
    /// # Errors
    /// The daemon cannot be reached or refuses, the stream breaks, or `each` fails.
    pub async fn download(
        &self,
        call: &DownloadCall,
        mut each: impl FnMut(Bytes) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        let mut body = self.send("/v1/download", None, false, full(json(call)?)).await?.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(protocol)?.into_data() {
                each(data).map_err(protocol)?;
            }
        }
        Ok(())
    }

    /// Opens a session; speak [`crate::frame`]s on what it returns.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn session(&self, call: &SessionCall) -> Result<TokioIo<hyper::upgrade::Upgraded>, ClientError> {
        let response = self.send("/v1/session", Some(json(call)?), true, full(Vec::new())).await?;
        Ok(TokioIo::new(hyper::upgrade::on(response).await.map_err(protocol)?))
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(value).map_err(protocol)
}

/// The items of a stream, one after the other.
#[derive(Debug)]
pub struct Items {
    body: Incoming,
    buffer: BytesMut,
}

impl Items {
    /// Those of an answer to a stream call.
    pub fn of(body: Incoming) -> Self {
        Items { body, buffer: BytesMut::new() }
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or the daemon reports a failure.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                if line.is_empty() {
                    continue;
                }
                return match serde_json::from_slice(&line).map_err(protocol)? {
                    StreamItem::Error(error) => Err(error.into()),
                    item => Ok(Some(item)),
                };
            }
            match self.body.frame().await {
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(protocol("the stream ended in the middle of a line")),
                Some(frame) => {
                    if let Ok(data) = frame.map_err(protocol)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
