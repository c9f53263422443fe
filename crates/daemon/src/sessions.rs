//! Sessions: a client joined to a process in a container, frames both ways.

use crate::api_server::Body;
use crate::calls::{looks, propose};
use crate::rendezvous::{Awaited, Meeting};
use crate::shared::Daemon;
use crate::{failure, pin, worker};
use api::frame::{self, Frame};
use api::{ApiError, ErrorKind, ExecProcess, SessionCall};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use model::{Logins, PowerAction, RequestId, ServiceSpec, TaskId, TaskState};
use runtime::engine::{ExecCommand, Input, Output, Session};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};

/// An open session and what is held while it lasts.
struct Opened {
    session: Session,
    /// Send the client's input on.
    stdin: bool,
    /// Holds back the removal of the container.
    drain: Option<watch::Sender<()>>,
    /// Ends when the container is gone, for one that is removed when it ends: the client is told the
    /// exit code after that, as Docker's is, so that its next command finds name, ports and image free.
    gone: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Opened {
    fn new(session: Session, stdin: bool) -> Opened {
        Opened { session, stdin, drain: None, gone: None }
    }
}

/// Longest time that a client waits for the removal of its container.
const REMOVAL: Duration = Duration::from_secs(10);

/// What there is to talk about.
enum Talk {
    Session(Opened),
    /// It could not be started: said on standard error, then the exit code, as Docker's users know it.
    NotStarted {
        exit_code: i32,
        message: String,
    },
    /// Nothing to say: it runs on its own.
    Detached,
}

/// Opens a session; what is wrong with the call is answered instead of the upgrade.
///
/// # Errors
/// No such container, it does not run, it could not be made, or this is no upgrade.
pub(crate) async fn open(
    daemon: Arc<Daemon>,
    call: SessionCall,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let wants = request.headers().get("upgrade").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"rswarm"));
    if !wants {
        return Err(failure::invalid("a session needs the header `Upgrade: rswarm`"));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let opening = daemon.clone();
    // On a task of its own: a client that goes away must not leave half of a change behind.
    let talk = tokio::spawn(async move { begin(&opening, call).await }).await.map_err(failure::joined)??;
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let stop = daemon.stop.clone();
                tokio::select! {
                    result = converse(TokioIo::new(upgraded), talk) => if let Err(error) = result {
                        tracing::debug!("session: {error}");
                    },
                    () = stop.cancelled() => {}
                }
            }
            Err(error) => tracing::debug!("upgrade to a session: {error}"),
        }
    });
    let mut response = Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", hyper::header::HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", hyper::header::HeaderValue::from_static("rswarm"));
    Ok(response)
}

async fn begin(daemon: &Arc<Daemon>, call: SessionCall) -> Result<Talk, ApiError> {
    match call {
        SessionCall::Attach { container, stdin, start } => {
            let task = looks::task(daemon, &container).await?;
            if start {
                return start_attached(daemon, task.id, stdin).await;
            }
            let session = daemon.engine.attach(task.id).await.map_err(|error| failure::engine(&error))?;
            daemon.container_event(&task, "attach", &[]);
            Ok(Talk::Session(Opened::new(session, stdin)))
        }
        SessionCall::Run { id, spec, stdin, size, logins } => run(daemon, (id, spec, logins), stdin, size).await,
        SessionCall::Exec { container, process } => exec(daemon, &container, process).await,
    }
}

async fn exec(daemon: &Daemon, container: &str, process: ExecProcess) -> Result<Talk, ApiError> {
    let task = looks::task(daemon, container).await?;
    if process.args.is_empty() {
        return Err(failure::invalid("exec: there is no command"));
    }
    let (stdin, detach) = (process.stdin, process.detach);
    let command = ExecCommand {
        argv: process.args,
        env: process.env,
        user: process.user,
        working_dir: process.working_dir,
        tty: process.tty,
        privileged: process.privileged,
        stdin,
        detach,
        size: process.size,
    };
    let said = command.argv.join(" ");
    match daemon.engine.exec(task.id, command).await {
        Ok(session) => {
            daemon.container_event(&task, format!("exec_start: {said}"), &[]);
            if detach {
                return Ok(Talk::Detached);
            }
            Ok(Talk::Session(Opened::new(session, stdin)))
        }
        // The container can't have it (it is paused, say): that is an error of the command and not of what it
        // was to run.
        Err(runtime::engine::Error::Rejected { exit_code: 125, message }) => {
            Err(ApiError::new(ErrorKind::Failed, message))
        }
        Err(runtime::engine::Error::Rejected { exit_code, message }) => Ok(Talk::NotStarted { exit_code, message }),
        Err(error) => Err(failure::engine(&error)),
    }
}

/// `start -a`.
async fn start_attached(daemon: &Daemon, task: TaskId, stdin: bool) -> Result<Talk, ApiError> {
    let what = Awaited::Task(task);
    let running = daemon
        .cluster
        .state()
        .await?
        .tasks
        .iter()
        .any(|candidate| candidate.id == task && crate::views::container::is_up(candidate));
    if running {
        let session = daemon.engine.attach(task).await.map_err(|error| failure::engine(&error))?;
        return Ok(Talk::Session(Opened::new(session, stdin)));
    }
    let Some(receiver) = daemon.rendezvous.wait_for(what.clone(), None) else {
        return Err(failure::conflict("another client starts this container at this moment"));
    };
    let asked = daemon.cluster.ask(model::Request::Power { task, action: PowerAction::Start }).await;
    if let Err(error) = asked {
        daemon.rendezvous.forget(&what);
        return Err(error);
    }
    meet(daemon, receiver, &what, stdin, |candidate| candidate.id == task).await
}

/// `run` in the foreground: this side is attached before the container is started.
async fn run(
    daemon: &Arc<Daemon>,
    (id, spec, logins): (RequestId, Box<ServiceSpec>, Logins),
    stdin: bool,
    size: Option<(u16, u16)>,
) -> Result<Talk, ApiError> {
    let auto_remove = spec.container.auto_remove;
    let Launched { receiver, what, service } = launch(daemon, id, spec, size, &logins).await?;
    let talk = meet(daemon, receiver, &what, stdin, |task| Some(task.service.to_string()) == service).await;
    if !auto_remove {
        return talk;
    }
    let gone = gone(daemon.clone(), service);
    match talk {
        Ok(Talk::Session(opened)) => Ok(Talk::Session(Opened { gone: Some(Box::pin(gone)), ..opened })),
        // What never ran is removed as well.
        other => {
            gone.await;
            other
        }
    }
}

/// Waits until a standalone service is removed, within reason.
async fn gone(daemon: Arc<Daemon>, service: Option<String>) {
    let is_ours = |it: &model::Service| Some(it.id.to_string()) == service;
    let gone = daemon.cluster.until(|state| (!state.services.iter().any(is_ours)).then_some(()));
    let _took_too_long = tokio::time::timeout(REMOVAL, gone).await;
}

/// `run -d`: answers when the container has been started, or could not be.
///
/// # Errors
/// Nothing was made.
pub(crate) async fn run_detached(
    daemon: &Arc<Daemon>,
    id: RequestId,
    spec: Box<ServiceSpec>,
    logins: &Logins,
) -> Result<api::Reply, ApiError> {
    let Launched { receiver, what, service } = launch(daemon, id, spec, None, logins).await?;
    let is_ours = |task: &model::Task| Some(task.service.to_string()) == service;
    // As long as this lives the container is not removed, so its id can be looked up.
    let talk = meet(daemon, receiver, &what, false, is_ours).await;
    let state = daemon.cluster.state().await?;
    let id = state.tasks.iter().find(|task| is_ours(task)).map(|task| task.id.to_string()).unwrap_or_default();
    let failure = match talk {
        Ok(Talk::Session(_) | Talk::Detached) => None,
        Ok(Talk::NotStarted { exit_code, message }) => Some((exit_code, failure::failed(message))),
        Err(error) => Some((125, error)),
    };
    Ok(api::Reply::Started { id, failure })
}

/// A standalone service that was made, and where its start is waited for.
struct Launched {
    receiver: oneshot::Receiver<Meeting>,
    what: Awaited,
    service: Option<String>,
}

async fn launch(
    daemon: &Arc<Daemon>,
    id: RequestId,
    mut spec: Box<ServiceSpec>,
    size: Option<(u16, u16)>,
    logins: &Logins,
) -> Result<Launched, ApiError> {
    if !spec.standalone {
        return Err(failure::invalid("run: this is no standalone container"));
    }
    worker::refuse(daemon)?;
    if daemon.membership.is_some() {
        // It is run where it was asked for: its client waits for it there.
        spec.placement.constraints.push(format!("node.id=={}", daemon.node));
    }
    let _until_committed = pin::service(daemon, &mut spec, logins).await?;
    let what = Awaited::Name(spec.name.clone());
    let Some(receiver) = daemon.rendezvous.wait_for(what.clone(), size) else {
        return Err(failure::conflict(format!("a container of the name `{}` is being made at this moment", spec.name)));
    };
    let request = model::Request::PutService { spec, create: true };
    let service = match propose(daemon, id, request).await {
        Ok(model::Response::Done { id, .. }) => id,
        Ok(model::Response::Refused { kind, diagnostics }) => {
            daemon.rendezvous.forget(&what);
            return Err(failure::refused(kind, &diagnostics));
        }
        Ok(model::Response::State(_)) => None,
        Err(error) => {
            daemon.rendezvous.forget(&what);
            return Err(error);
        }
    };
    Ok(Launched { receiver, what, service })
}

/// Waits until the effect that starts the container comes, or its task has failed before that.
async fn meet(
    daemon: &Daemon,
    mut receiver: oneshot::Receiver<Meeting>,
    what: &Awaited,
    stdin: bool,
    is_ours: impl Fn(&model::Task) -> bool,
) -> Result<Talk, ApiError> {
    let mut there = false;
    let failed = daemon.cluster.until(|state| {
        let task = state.tasks.iter().find(|task| is_ours(task));
        there |= task.is_some();
        match task {
            Some(task)
                if task.status.attempt >= task.attempt
                    && matches!(task.status.state, TaskState::Rejected | TaskState::Failed | TaskState::Shutdown) =>
            {
                Some(task.status.message.clone())
            }
            None if there => Some("it was removed before it started".to_owned()),
            _ => None,
        }
    });
    let met = tokio::select! {
        biased;
        met = &mut receiver => met,
        why = failed => {
            let why = why?;
            // The failure may be that of a start which has told us more.
            match receiver.try_recv() {
                Ok(met) => Ok(met),
                Err(_) => {
                    daemon.rendezvous.forget(what);
                    return Err(ApiError::new(ErrorKind::Failed, why));
                }
            }
        }
    };
    match met {
        Ok(Meeting::Session(session, drain)) => {
            Ok(Talk::Session(Opened { drain: Some(drain), ..Opened::new(session, stdin) }))
        }
        Ok(Meeting::Failed { exit_code: 125, message }) => Err(ApiError::new(ErrorKind::Failed, message)),
        Ok(Meeting::Failed { exit_code, message }) => Ok(Talk::NotStarted { exit_code, message }),
        Err(_) => Err(failure::failed("the container was given up before it started")),
    }
}

/// Frames both ways until the process has ended, or the client has left.
async fn converse(stream: impl AsyncRead + AsyncWrite, talk: Talk) -> std::io::Result<()> {
    let (from, mut to) = tokio::io::split(stream);
    let Opened { session, stdin, drain, mut gone } = match talk {
        Talk::Session(opened) => opened,
        Talk::Detached => return frame::write(&mut to, &Frame::Exit(0)).await,
        Talk::NotStarted { exit_code, message } => {
            frame::write(&mut to, &Frame::Stderr(format!("rswarm: {message}\n").into_bytes())).await?;
            return frame::write(&mut to, &Frame::Exit(exit_code)).await;
        }
    };
    let Session { input, mut output } = session;
    let mut drain = drain;
    let outgoing = async {
        while let Some(piece) = output.recv().await {
            let (frame, last) = match piece {
                Output::Stdout(data) => (Frame::Stdout(data), false),
                Output::Stderr(data) => (Frame::Stderr(data), false),
                Output::Exit(code) => (Frame::Exit(code), true),
                Output::Failed(why) => (Frame::Error(failure::failed(why)), true),
            };
            if last {
                drop(drain.take());
                if let Some(gone) = gone.take() {
                    gone.await;
                }
            }
            for frame in split(frame) {
                frame::write(&mut to, &frame).await?;
            }
            if last {
                return Ok(());
            }
        }
        frame::write(&mut to, &Frame::Error(failure::failed("the session ended without an exit code"))).await
    };
    let incoming = take_input(from, input, stdin);
    let (mut outgoing, mut incoming) = (std::pin::pin!(outgoing), std::pin::pin!(incoming));
    tokio::select! {
        result = &mut outgoing => result,
        // The client has left: the process goes on without it.
        result = &mut incoming => result,
    }
}

/// A frame has a limit that a piece of output may be over.
fn split(frame: Frame) -> Vec<Frame> {
    let cut = |data: Vec<u8>, make: fn(Vec<u8>) -> Frame| {
        if data.len() <= frame::MAX_PAYLOAD {
            return vec![make(data)];
        }
        data.chunks(frame::MAX_PAYLOAD).map(|chunk| make(chunk.to_vec())).collect()
    };
    match frame {
        Frame::Stdout(data) => cut(data, Frame::Stdout),
        Frame::Stderr(data) => cut(data, Frame::Stderr),
        other => vec![other],
    }
}

async fn take_input(
    mut from: impl AsyncRead + Unpin,
    input: tokio::sync::mpsc::Sender<Input>,
    stdin: bool,
) -> std::io::Result<()> {
    while let Some(frame) = frame::read(&mut from).await? {
        let piece = match frame {
            Frame::Stdin(data) if stdin => Input::Stdin(data),
            Frame::StdinEof if stdin => Input::StdinEof,
            Frame::Resize(rows, columns) => Input::Resize(rows, columns),
            Frame::Signal(name) => match name.parse() {
                Ok(signal) => Input::Signal(signal),
                Err(error) => {
                    tracing::debug!("a client's signal: {error}");
                    continue;
                }
            },
            _ => continue,
        };
        if input.send(piece).await.is_err() {
            // The process has ended; what it said may still be on its way.
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use tokio::sync::mpsc;

    fn talk() -> (Talk, mpsc::Receiver<Input>, mpsc::Sender<Output>) {
        let (input, inputs) = mpsc::channel(8);
        let (outputs, output) = mpsc::channel(8);
        let opened = Opened::new(Session { input, output }, true);
        (Talk::Session(opened), inputs, outputs)
    }

    #[tokio::test]
    async fn input_goes_in_and_all_output_comes_out_before_the_code() {
        let (client, server) = tokio::io::duplex(64);
        let (talk, mut inputs, outputs) = talk();
        let serving = tokio::spawn(converse(server, talk));
        let (mut from, mut to) = tokio::io::split(client);
        frame::write(&mut to, &Frame::Stdin(b"in".to_vec())).await.unwrap();
        frame::write(&mut to, &Frame::Signal("TERM".to_owned())).await.unwrap();
        frame::write(&mut to, &Frame::Signal("no such".to_owned())).await.unwrap();
        frame::write(&mut to, &Frame::StdinEof).await.unwrap();
        assert_eq!(inputs.recv().await, Some(Input::Stdin(b"in".to_vec())));
        assert_eq!(inputs.recv().await, Some(Input::Signal(runtime::signal::Signal::TERM)));
        assert_eq!(inputs.recv().await, Some(Input::StdinEof));
        // The process ends while its client still holds its input open, and sends.
        drop(inputs);
        frame::write(&mut to, &Frame::Stdin(b"late".to_vec())).await.unwrap();
        let big = vec![b'x'; frame::MAX_PAYLOAD + 1];
        outputs.send(Output::Stdout(big.clone())).await.unwrap();
        outputs.send(Output::Exit(3)).await.unwrap();
        let mut got = Vec::new();
        loop {
            match frame::read(&mut from).await.unwrap().unwrap() {
                Frame::Stdout(data) => got.extend(data),
                other => {
                    assert_eq!(other, Frame::Exit(3));
                    break;
                }
            }
        }
        assert_eq!(got.len(), big.len());
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_session() {
        let (client, server) = tokio::io::duplex(64);
        let (talk, _inputs, _outputs) = talk();
        let serving = tokio::spawn(converse(server, talk));
        drop(client);
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_could_not_start_says_so_and_ends_with_its_code() {
        let (mut client, server) = tokio::io::duplex(4096);
        let talk = Talk::NotStarted { exit_code: 127, message: "nope: not found".to_owned() };
        converse(server, talk).await.unwrap();
        assert_eq!(frame::read(&mut client).await.unwrap(), Some(Frame::Stderr(b"rswarm: nope: not found\n".to_vec())));
        assert_eq!(frame::read(&mut client).await.unwrap(), Some(Frame::Exit(127)));
    }
}
