//! A daemon that answers by a script, on a real socket.

use api::frame::{self, Frame};
use api::{ApiError, CALL_HEADER, Call, DownloadCall, Reply, SessionCall, StreamCall, StreamItem, UploadCall};
use base64::Engine as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What the client asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    Call(Call),
    Stream(StreamCall),
    Session(SessionCall),
    Upload(UploadCall, Vec<u8>),
    Download(DownloadCall),
}

/// What it is answered.
pub(crate) enum Answer {
    Reply(Reply),
    Refuse(ApiError),
    /// Items, then the end.
    Items(Vec<StreamItem>),
    /// Items, then nothing more.
    Open(Vec<StreamItem>),
    /// Frames, whatever the client says.
    Frames(Vec<Frame>),
    /// Frames, then nothing more until the client leaves.
    OpenFrames(Vec<Frame>),
    /// All of the client's input back once it has ended, then exit code 0.
    Echo,
    /// Exit code 5 once this signal has come.
    UntilSignal(&'static str),
    Archive(Vec<u8>),
}

type Script = Box<dyn FnMut(&Asked) -> Answer + Send>;
type Body = BoxBody<Bytes, Infallible>;

/// The daemon, with what it was asked so far. It ends with the test.
pub(crate) struct Fake {
    pub(crate) root: tempfile::TempDir,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(crate) fn new(script: impl FnMut(&Asked) -> Answer + Send + 'static) -> Fake {
        let root = tempfile::tempdir().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (path, log) = (root.path().join("rswarm.sock"), asked.clone());
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (script, log) = (script.clone(), log.clone());
                    let service = service_fn(move |request| answer(request, script.clone(), log.clone()));
                    let http = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
                }
            });
        });
        Fake { root, asked }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.path().join("rswarm.sock")
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(
    mut request: Request<Incoming>,
    script: Arc<Mutex<Script>>,
    log: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Body>, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    let path = request.uri().path().to_owned();
    let header = request.headers().get(CALL_HEADER).map(|value| value.as_bytes().to_vec());
    let body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
    let asked = match path.as_str() {
        "/v1/call" => Asked::Call(parse(&body)),
        "/v1/stream" => Asked::Stream(parse(&body)),
        "/v1/session" => Asked::Session(decode(header)),
        "/v1/upload" => Asked::Upload(decode(header), body),
        "/v1/download" => Asked::Download(parse(&body)),
        other => panic!("{other}"),
    };
    // Of no interest to most tests: nothing is removed, nothing changes.
    if let Asked::Call(Call::Plan(wanted)) = &asked {
        let reply = Reply::Plan(Box::new((model::StackPlan::default(), (**wanted).clone())));
        return Ok(full(StatusCode::OK, serde_json::to_vec(&reply).unwrap()));
    }
    let answer = script.lock().unwrap()(&asked);
    log.lock().unwrap().push(asked);
    Ok(match answer {
        Answer::Reply(reply) => full(StatusCode::OK, serde_json::to_vec(&reply).unwrap()),
        Answer::Refuse(error) => full(StatusCode::CONFLICT, serde_json::to_vec(&error).unwrap()),
        Answer::Archive(bytes) => full(StatusCode::OK, bytes),
        Answer::Items(items) => full(StatusCode::OK, lines(&items)),
        Answer::Open(items) => {
            let first = futures_util::stream::iter([Ok(hyper::body::Frame::data(Bytes::from(lines(&items))))]);
            Response::new(BodyExt::boxed(StreamBody::new(first.chain(futures_util::stream::pending()))))
        }
        session => {
            tokio::spawn(async move {
                let stream = TokioIo::new(upgrade.await.unwrap());
                let _client_left = converse(stream, session).await;
            });
            let mut response = full(StatusCode::SWITCHING_PROTOCOLS, Vec::new());
            response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
            response.headers_mut().insert("upgrade", "rswarm".parse().unwrap());
            response
        }
    })
}

async fn converse(mut stream: TokioIo<hyper::upgrade::Upgraded>, how: Answer) -> std::io::Result<()> {
    match how {
        Answer::Frames(frames) | Answer::OpenFrames(frames) => {
            for frame in frames {
                frame::write(&mut stream, &frame).await?;
            }
        }
        Answer::Echo => {
            let mut all = Vec::new();
            while let Some(frame) = frame::read(&mut stream).await? {
                match frame {
                    Frame::Stdin(data) => all.extend(data),
                    Frame::StdinEof => break,
                    _ => {}
                }
            }
            frame::write(&mut stream, &Frame::Stdout(all)).await?;
            frame::write(&mut stream, &Frame::Exit(0)).await?;
        }
        Answer::UntilSignal(wanted) => {
            frame::write(&mut stream, &Frame::Stdout(b"ready\n".to_vec())).await?;
            while let Some(frame) = frame::read(&mut stream).await? {
                if frame == Frame::Signal(wanted.to_owned()) {
                    frame::write(&mut stream, &Frame::Exit(5)).await?;
                    break;
                }
            }
        }
        _ => {}
    }
    // The client reads to the end before it closes.
    while let Ok(Some(_)) = frame::read(&mut stream).await {}
    Ok(())
}

fn lines(items: &[StreamItem]) -> Vec<u8> {
    items.iter().flat_map(|item| [serde_json::to_vec(item).unwrap(), b"\n".to_vec()].concat()).collect()
}

fn full(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(bytes)).boxed());
    *response.status_mut() = status;
    response
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> T {
    serde_json::from_slice(bytes).unwrap()
}

fn decode<T: DeserializeOwned>(header: Option<Vec<u8>>) -> T {
    parse(&base64::engine::general_purpose::STANDARD.decode(header.unwrap()).unwrap())
}
