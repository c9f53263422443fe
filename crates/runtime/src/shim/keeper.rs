//! The life of one shim: start the container, look after its streams and its clients, write down how
//! it ended, tell, go.

mod endings;

use endings::end_probe;

use super::backend::Running;
use super::conn::{Conn, FULL, Role};
use super::epoll::{Epoll, Interest, Token};
use super::job::{ENOUGH_INPUT, Job, Out, Piece, Probe, Purpose};
use super::launch::{self, Born};
use super::{complain, reap};
use crate::container::Cgroup;
use crate::container::cgroup::OomEvents;
use crate::engine::ExecCommand;
use crate::layout::{Folder, Layout};
use crate::logs::{LogStream, LogWriter};
use crate::record::{self, Durable, Ended, Run};
use crate::sys;
use crate::wire::{self, Kind, Reply, Request, Start};
use model::Exit;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// How long a process waits for a client that takes nothing before the client is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// The container's own job.
const MAIN: u64 = 0;

/// Bytes read at once.
const SCRATCH: usize = 32 << 10;

/// Serves one container from its start to its end.
///
/// # Errors
/// What went wrong before the engine could be told.
pub(super) fn run(engine: OwnedFd, sessions: Vec<OwnedFd>) -> io::Result<()> {
    let mut engine = UnixStream::from(engine);
    sys::ignore_children(false);
    let _leader = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let start = read_start(&mut engine)?;
    // Until its name is known; see `launch::title`.
    launch::title(start.task, None);
    let folder = Layout::new(&start.data_root, &start.run_root).container(start.task);
    let mut keeper = match Keeper::start(&start, folder.clone(), engine.try_clone()?) {
        Ok(keeper) => keeper,
        Err(why) => {
            record::remove_all(&folder.run)?;
            return tell(engine, sessions, &why);
        }
    };
    for session in sessions {
        keeper.adopt_session(UnixStream::from(session))?;
    }
    // What setting up needed is not needed any more.
    sys::trim_heap();
    while !keeper.step()? {}
    Ok(())
}

/// The request that this shim was born for.
fn read_start(engine: &mut UnixStream) -> io::Result<Start> {
    use std::io::Read as _;
    let mut header = [0; wire::HEADER];
    engine.read_exact(&mut header)?;
    let (kind, length) = wire::parse_header(header).map_err(io::Error::other)?;
    let mut payload = vec![0; length];
    engine.read_exact(&mut payload)?;
    match (kind, serde_json::from_slice(&payload)) {
        (Kind::Call, Ok(Request::Start(start))) => Ok(*start),
        _ => Err(io::Error::other("the first request was no start")),
    }
}

/// Says why there will be no container, to the engine and to those who wait for its output.
fn tell(mut engine: UnixStream, sessions: Vec<OwnedFd>, why: &Reply) -> io::Result<()> {
    use std::io::Write as _;
    for session in sessions {
        let code = match why {
            Reply::Refused { exit_code, .. } => *exit_code,
            _ => 125,
        };
        // Whoever has left need not be told.
        let _left = UnixStream::from(session).write_all(&wire::frame(Kind::Exit, &code.to_le_bytes()));
    }
    engine.write_all(&wire::call(why))
}

struct Keeper {
    folder: Folder,
    run: Run,
    pid: i32,
    running: Running,
    log: Option<LogWriter>,
    auto_remove: bool,
    held: Vec<super::guests::Held>,
    epoll: Epoll,
    listener: Option<UnixListener>,
    children: OwnedFd,
    oom: Option<OomEvents>,
    oom_kills: u64,
    conns: BTreeMap<u64, Conn>,
    jobs: BTreeMap<u64, Job>,
    next: u64,
    scratch: Vec<u8>,
    /// The container has ended and everybody was told; what remains is to be sent.
    ended: bool,
    lock: Option<OwnedFd>,
}

impl Keeper {
    fn start(start: &Start, folder: Folder, engine: UnixStream) -> Result<Keeper, Reply> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| Reply::Failed { message: format!("{what}: {error}") }
        };
        let lock = launch::lock(&folder, &engine).map_err(failed("lock the container's folder"))?;
        let listener = launch::listen(&folder).map_err(failed("open the shim's socket"))?;
        let epoll = Epoll::new().map_err(failed("epoll"))?;
        let children = sys::child_signals().map_err(failed("signalfd"))?;
        let Born { pid, running, streams, log, stdin, auto_remove, run, held } = launch::launch(start, &folder)?;
        let oom = running.cgroup().oom_events().ok().flatten();
        let mut keeper = Keeper {
            folder,
            run,
            pid,
            running,
            log,
            auto_remove,
            held,
            epoll,
            listener: Some(listener),
            children,
            oom,
            oom_kills: 0,
            conns: BTreeMap::new(),
            jobs: BTreeMap::new(),
            next: 1,
            scratch: vec![0; SCRATCH],
            ended: false,
            lock: Some(lock),
        };
        keeper.watch_all(streams, stdin, engine).map_err(failed("watch the container"))?;
        Ok(keeper)
    }

    fn watch_all(&mut self, streams: super::job::Streams, stdin: bool, engine: UnixStream) -> io::Result<()> {
        let main = Job::new(&self.epoll, MAIN, self.pid, Purpose::Main, streams, stdin)?;
        self.jobs.insert(MAIN, main);
        if let Some(listener) = &self.listener {
            self.epoll.add(listener, Token::Listener, Interest::READ)?;
        }
        self.epoll.add(&self.children, Token::Children, Interest::READ)?;
        match &self.oom {
            Some(OomEvents::V1(fd)) => {
                rustix::io::ioctl_fionbio(fd, true)?;
                self.epoll.add(fd, Token::Oom, Interest::READ)?;
            }
            Some(OomEvents::V2(fd)) => self.epoll.add_priority(fd, Token::Oom)?,
            None => {}
        }
        let started = Reply::Started { pid: self.host_pid(), started_at: self.run.started_at };
        let id = self.adopt(engine, Role::Watch)?;
        self.with_conn(id, |conn| conn.reply(&started));
        Ok(())
    }

    fn host_pid(&self) -> u32 {
        u32::try_from(self.pid).unwrap_or(0)
    }

    /// Waits for what comes next and does it; true when all is done.
    fn step(&mut self) -> io::Result<bool> {
        let timeout = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        for token in self.epoll.wait(timeout)? {
            match token {
                Token::Listener => self.accept(),
                Token::Children => self.reap(),
                Token::Oom => self.look_at_oom(),
                Token::Conn(id) => self.serve(id),
                Token::Stdout(id) => self.output(id, Out::Stdout),
                Token::Stderr(id) => self.output(id, Out::Stderr),
                Token::Stdin(id) => self.input_room(id),
            }
        }
        self.look_at_clock();
        Ok(self.ended && self.conns.is_empty())
    }

    fn deadline(&self) -> Option<Instant> {
        let stalled = self.conns.values().filter_map(|conn| conn.stalled().map(|since| since + PATIENCE));
        let probes = self.jobs.values().filter_map(|job| match &job.purpose {
            Purpose::Probe(probe) if !probe.timed_out => Some(probe.deadline),
            _ => None,
        });
        stalled.chain(probes).min()
    }

    fn look_at_clock(&mut self) {
        let now = Instant::now();
        let slow = |conn: &Conn| {
            // As long as nobody waits for it, a client may be as slow as it likes.
            conn.stalled().is_some_and(|since| since + PATIENCE <= now) && (self.ended || conn.pending() >= FULL)
        };
        let slow: Vec<u64> = self.conns.iter().filter(|(_, conn)| slow(conn)).map(|(id, _)| *id).collect();
        for id in slow {
            self.drop_conn(id);
        }
        for job in self.jobs.values_mut() {
            if let Purpose::Probe(probe) = &mut job.purpose
                && !probe.timed_out
                && probe.deadline <= now
            {
                probe.timed_out = true;
                kill_probe(&self.running, job.pid, probe.cgroup.as_ref());
            }
        }
    }

    // Connections.

    fn adopt(&mut self, stream: UnixStream, role: Role) -> io::Result<u64> {
        let id = self.next;
        self.next += 1;
        let conn = Conn::new(stream, role)?;
        self.epoll.add(&conn.stream, Token::Conn(id), Interest::READ)?;
        self.conns.insert(id, conn);
        Ok(id)
    }

    fn adopt_session(&mut self, stream: UnixStream) -> io::Result<()> {
        let id = self.adopt(stream, Role::Session(MAIN))?;
        if let Some(main) = self.jobs.get_mut(&MAIN) {
            main.clients.push(id);
        }
        Ok(())
    }

    fn accept(&mut self) {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) {
            if let Err(error) = self.adopt(stream, Role::Fresh) {
                complain(&format!("a new connection: {error}"));
            }
        }
    }

    /// Does something with a connection, then sends what it can.
    fn with_conn(&mut self, id: u64, work: impl FnOnce(&mut Conn)) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        work(conn);
        if conn.flush().is_err() || (conn.closing && conn.pending() == 0) {
            self.drop_conn(id);
        } else {
            self.interest(id);
        }
    }

    fn interest(&mut self, id: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        let interest = Interest { read: !conn.held && !conn.closing, write: conn.pending() > 0 };
        // Fails only for a descriptor that is not there, and this one is.
        let _always = self.epoll.change(&conn.stream, Token::Conn(id), interest);
    }

    fn drop_conn(&mut self, id: u64) {
        let Some(conn) = self.conns.remove(&id) else { return };
        self.epoll.remove(&conn.stream);
        if let Role::Session(job) = conn.role {
            if let Some(job) = self.jobs.get_mut(&job) {
                job.clients.retain(|client| *client != id);
            }
            self.balance(job);
        }
    }

    /// A connection is readable or writable.
    fn serve(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.flush().is_err() || (conn.closing && conn.pending() == 0) {
            return self.drop_conn(id);
        }
        let role = conn.role;
        if !conn.held && !conn.closing {
            match conn.receive(&mut self.scratch) {
                Ok(true) => {}
                Ok(false) | Err(_) => return self.drop_conn(id),
            }
        }
        while let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.closing) {
            match conn.take() {
                Ok(Some((kind, payload))) => self.frame(id, kind, &payload),
                Ok(None) => break,
                Err(error) => {
                    complain(&format!("a client: {error}"));
                    return self.drop_conn(id);
                }
            }
        }
        self.interest(id);
        if let Role::Session(job) = role {
            self.balance(job);
        }
    }

    fn frame(&mut self, id: u64, kind: Kind, payload: &[u8]) {
        let Some(role) = self.conns.get(&id).map(|conn| conn.role) else { return };
        if let Role::Session(job_id) = role {
            let Some(job) = self.jobs.get_mut(&job_id) else { return };
            match kind {
                Kind::Stdin => job.input(&self.epoll, payload),
                Kind::StdinEof => job.end_input(&self.epoll),
                Kind::Resize => {
                    if let Some((rows, columns)) = wire::parse_size(payload) {
                        job.resize(rows, columns);
                    }
                }
                Kind::Signal => {
                    if let Some(number) = wire::parse_number(payload) {
                        // One that has ended meanwhile needs no signal.
                        let _gone = sys::kill(job.pid, number);
                    }
                }
                _ => {}
            }
            return;
        }
        match (kind, serde_json::from_slice::<Request>(payload)) {
            (Kind::Call, Ok(request)) => self.request(id, request),
            (_, Ok(_)) => {}
            (_, Err(error)) => self.answer(id, &Reply::Failed { message: format!("this shim: {error}") }),
        }
    }

    /// Answers a connection that wants one answer.
    fn answer(&mut self, id: u64, reply: &Reply) {
        self.with_conn(id, |conn| {
            conn.reply(reply);
            conn.closing = conn.role != Role::Watch;
        });
    }

    fn request(&mut self, id: u64, request: Request) {
        match request {
            Request::Start(_) => {
                self.answer(id, &Reply::Failed { message: "this shim has its container".to_owned() });
            }
            Request::Watch => {
                let state = Reply::State {
                    pid: self.host_pid(),
                    started_at: self.run.started_at,
                    attempt: self.run.attempt,
                    restarts: self.run.restarts,
                };
                self.with_conn(id, |conn| {
                    conn.role = Role::Watch;
                    conn.reply(&state);
                });
            }
            Request::Attach => self.attach(id, MAIN),
            Request::Exec { command } => self.exec(id, &command),
            Request::Probe { argv, timeout_ms } => self.probe(id, argv, Duration::from_millis(timeout_ms)),
            Request::Signal { number } => {
                let reply = match sys::kill(self.pid, number) {
                    Ok(()) => Reply::Done,
                    Err(error) => Reply::Failed { message: format!("signal {number}: {error}") },
                };
                self.answer(id, &reply);
            }
            Request::Resize { rows, columns } => {
                if let Some(main) = self.jobs.get(&MAIN) {
                    main.resize(rows, columns);
                }
                self.answer(id, &Reply::Done);
            }
        }
    }

    fn attach(&mut self, id: u64, job: u64) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.role = Role::Session(job);
        }
        if let Some(job) = self.jobs.get_mut(&job) {
            job.clients.push(id);
        }
    }

    fn exec(&mut self, id: u64, command: &ExecCommand) {
        let born = self.running.exec(command, None);
        let (pid, streams) = match born {
            Ok(born) => born,
            Err(refused) => return self.answer(id, &refused),
        };
        let job_id = self.next;
        self.next += 1;
        let stdin = command.stdin;
        match Job::new(&self.epoll, job_id, pid, Purpose::Exec, streams, stdin) {
            Ok(job) => self.jobs.insert(job_id, job),
            Err(error) => {
                let _gone = sys::kill(pid, 9);
                return self.answer(id, &Reply::Failed { message: format!("watch the process: {error}") });
            }
        };
        let started = Reply::Started { pid: u32::try_from(pid).unwrap_or(0), started_at: record::now() };
        if command.detach {
            return self.answer(id, &started);
        }
        self.attach(id, job_id);
        self.with_conn(id, |conn| conn.reply(&started));
    }

    fn probe(&mut self, id: u64, argv: Vec<String>, timeout: Duration) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.role = Role::Once;
        }
        let job_id = self.next;
        self.next += 1;
        let deadline = Instant::now() + timeout;
        let could_not = |message: String| Reply::Probed { exit_code: -1, output: message, timed_out: false };
        let cgroup = self.running.probe_cgroup(job_id);
        let command = ExecCommand { argv, ..ExecCommand::default() };
        let (pid, streams) = match self.running.exec(&command, cgroup.as_ref()) {
            Ok(born) => born,
            Err(why) => {
                end_probe(&self.running, cgroup.as_ref());
                let reply = match why {
                    Reply::Refused { exit_code, message } => {
                        Reply::Probed { exit_code, output: message, timed_out: false }
                    }
                    Reply::Failed { message } => could_not(message),
                    other => other,
                };
                return self.answer(id, &reply);
            }
        };
        let probe = Probe { conn: id, deadline, cgroup, output: Vec::new(), timed_out: false };
        match Job::new(&self.epoll, job_id, pid, Purpose::Probe(probe), streams, false) {
            Ok(job) => {
                self.jobs.insert(job_id, job);
            }
            Err(error) => {
                let _gone = sys::kill(pid, 9);
                self.answer(id, &could_not(error.to_string()));
            }
        }
    }

    // Streams.

    fn output(&mut self, id: u64, out: Out) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        if let Piece::Data(count) = job.read(&self.epoll, out, &mut scratch) {
            self.spread(id, out, scratch.get(..count).unwrap_or_default());
            self.balance(id);
        }
        self.scratch = scratch;
    }

    /// Gives a piece of output to all who want it.
    fn spread(&mut self, id: u64, out: Out, data: &[u8]) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match &mut job.purpose {
            Purpose::Main => {
                let stream = if out == Out::Stdout { LogStream::Stdout } else { LogStream::Stderr };
                if let Some(log) = &mut self.log
                    && let Err(error) = log.write(stream, data, now_ns())
                    && log.failures().is_power_of_two()
                {
                    complain(&format!("write the log ({} times now): {error}", log.failures()));
                }
            }
            Purpose::Exec => {}
            Purpose::Probe(probe) => probe.keep(data),
        }
        let kind = if out == Out::Stdout { Kind::Stdout } else { Kind::Stderr };
        for client in job.clients.clone() {
            self.with_conn(client, |conn| conn.put(kind, data));
        }
    }

    /// Lets a process wait for a client that has enough to do, and a client for a process.
    fn balance(&mut self, id: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let full = job.clients.iter().filter_map(|client| self.conns.get(client)).any(|conn| conn.pending() >= FULL);
        job.hold(&self.epoll, full);
        let enough = job.waiting() >= ENOUGH_INPUT;
        for client in job.clients.clone() {
            if let Some(conn) = self.conns.get_mut(&client)
                && conn.held != enough
            {
                conn.held = enough;
                self.interest(client);
            }
        }
    }

    fn input_room(&mut self, id: u64) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.pump(&self.epoll);
        }
        self.balance(id);
    }

    // Endings.

    fn look_at_oom(&mut self) {
        if let Some(OomEvents::V1(fd)) = &self.oom {
            let _count = rustix::io::read(fd, &mut [0; 8]);
        }
        let kills = self.running.cgroup().oom_kills().unwrap_or(self.oom_kills);
        if kills > self.oom_kills {
            self.oom_kills = kills;
            self.tell_watchers(&Reply::Oom);
        }
    }

    fn tell_watchers(&mut self, reply: &Reply) {
        let watchers: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| conn.role == Role::Watch).map(|(id, _)| *id).collect();
        for id in watchers {
            self.with_conn(id, |conn| conn.reply(reply));
        }
    }
}

/// Kills its first process and, where it has a cgroup, all that this has started.
fn kill_probe(running: &Running, pid: i32, cgroup: Option<&Cgroup>) {
    if let Some(Err(error)) = cgroup.map(|cgroup| running.end_probe(cgroup)) {
        complain(&format!("kill a probe: {error}"));
    }
    // A zombie until it is reaped here, so the number is still its own.
    let _ended = sys::kill(pid, 9);
}

fn now_ns() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0)
}
