//! Writes through the API, by clients that keep their connection: what is measured is the managers, not the start of
//! programs.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use api::{Call, Reply};
use base64::Engine as _;
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use model::{ContentKind, ContentSpec, Ids, RequestId, Response};
use serde_json::json;
use tokio::net::UnixStream;

/// Whose API is spoken.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dialect {
    Ours,
    Docker,
}

/// The content of each config.
const SMALL: &[u8] = b"a small write";

/// So many small configs, made by so many clients, each of which waits for its answer before it asks again. How long
/// all took together, and each.
pub(crate) fn configs(
    dialect: Dialect,
    socket: &Path,
    clients: usize,
    count: usize,
    name: &str,
) -> (Duration, Vec<Duration>) {
    let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let (next, ids) = (Cell::new(0), RefCell::new(Ids::new(seed)));
    let client = async |_| {
        let mut connection = connect(socket).await;
        let mut samples = Vec::new();
        while next.get() < count {
            let number = next.replace(next.get() + 1);
            let id = ids.borrow_mut().next(RequestId);
            let request = request(dialect, format!("{name}-{number}"), id);
            let began = Instant::now();
            answered(dialect, &mut connection, request).await;
            samples.push(began.elapsed());
        }
        samples
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    let samples = runtime.block_on(join_all((0..clients).map(client)));
    (began.elapsed(), samples.into_iter().flatten().collect())
}

async fn connect(socket: &Path) -> SendRequest<Full<Bytes>> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(dialect: Dialect, name: String, id: RequestId) -> Request<Full<Bytes>> {
    let (path, body) = match dialect {
        Dialect::Ours => {
            let content = Box::new(ContentSpec { name, data: SMALL.to_vec(), ..ContentSpec::default() });
            let request = Box::new(model::Request::CreateContent { kind: ContentKind::Config, content });
            ("/v1/call", serde_json::to_vec(&Call::Cluster { id, request, logins: model::Logins::default() }))
        }
        Dialect::Docker => {
            let data = base64::engine::general_purpose::STANDARD.encode(SMALL);
            ("/configs/create", serde_json::to_vec(&json!({ "Name": name, "Data": data })))
        }
    };
    let request = Request::post(path).header("host", "localhost").header("content-type", "application/json");
    request.header("x-rswarm-version", api::VERSION).body(Full::new(Bytes::from(body.unwrap()))).unwrap()
}

/// Fails unless the write was taken.
async fn answered(dialect: Dialect, connection: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) {
    connection.ready().await.unwrap();
    let response = connection.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    if let Dialect::Ours = dialect {
        let reply = serde_json::from_slice(&body).unwrap();
        assert!(matches!(&reply, Reply::Cluster(response) if matches!(**response, Response::Done { .. })), "{reply:?}");
    }
}
