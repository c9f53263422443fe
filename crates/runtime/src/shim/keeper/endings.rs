//! How processes end: an exec, a probe, and the container itself with all that is left of it.

use super::*;

impl Keeper {
    pub(super) fn reap(&mut self) {
        reap::acknowledge(&self.children);
        let mut main = None;
        while let Some((pid, code)) = reap::next() {
            if pid == self.pid && !self.ended {
                main = Some(code);
            } else if let Some(id) = self.jobs.values().find(|job| job.pid == pid).map(|job| job.id) {
                self.job_ended(id, code);
            }
        }
        if let Some(code) = main {
            self.main_ended(code);
        }
    }

    /// Reads what a process has left in its pipes.
    pub(super) fn drain(&mut self, id: u64) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for out in [Out::Stdout, Out::Stderr] {
            while let Some(job) = self.jobs.get_mut(&id)
                && let Piece::Data(count) = job.read(&self.epoll, out, &mut scratch)
            {
                self.spread(id, out, scratch.get(..count).unwrap_or_default());
            }
        }
        self.scratch = scratch;
    }

    pub(super) fn job_ended(&mut self, id: u64, code: i32) {
        if let Some(Purpose::Probe(probe)) = self.jobs.get(&id).map(|job| &job.purpose) {
            end_probe(&self.running, probe.cgroup.as_ref());
        }
        self.drain(id);
        let Some(job) = self.jobs.remove(&id) else { return };
        match job.purpose {
            Purpose::Probe(probe) => {
                let exit_code = if probe.timed_out { -1 } else { code };
                let output = String::from_utf8_lossy(&probe.output).into_owned();
                self.answer(probe.conn, &Reply::Probed { exit_code, output, timed_out: probe.timed_out });
            }
            Purpose::Main | Purpose::Exec => self.end_sessions(&job.clients, code),
        }
    }

    pub(super) fn end_sessions(&mut self, clients: &[u64], code: i32) {
        for client in clients {
            self.with_conn(*client, |conn| {
                conn.put(Kind::Exit, &code.to_le_bytes());
                conn.closing = true;
            });
        }
    }

    /// Everything of the container goes, then it is written down, then it is told.
    pub(super) fn main_ended(&mut self, code: i32) {
        let finished_at = record::now();
        self.look_at_oom();
        self.running.end();
        self.drain(MAIN);
        if let Some(log) = &mut self.log
            && let Err(error) = log.finish(now_ns())
        {
            complain(&format!("write the log: {error}"));
        }
        // Execs and probes died with it.
        while let Some((pid, code)) = reap::next() {
            if let Some(id) = self.jobs.values().find(|job| job.pid == pid).map(|job| job.id) {
                self.job_ended(id, code);
            }
        }
        let others: Vec<u64> = self.jobs.keys().copied().filter(|id| *id != MAIN).collect();
        for id in others {
            self.job_ended(id, 137);
        }
        self.running.clear();
        self.held.clear();
        let oom_killed = code == 137 && self.oom_kills > 0;
        let exit = Exit { code, oom_killed, started_at: self.run.started_at, finished_at };
        self.write_down(exit);
        self.tell_watchers(&Reply::Exited { attempt: self.run.attempt, exit });
        if let Some(main) = self.jobs.remove(&MAIN) {
            self.end_sessions(&main.clients, code);
        }
        self.ended = true;
        let ids: Vec<u64> = self.conns.keys().copied().collect();
        for id in ids {
            self.with_conn(id, |conn| conn.closing = true);
        }
    }

    /// After this a new shim may start the container again.
    pub(super) fn write_down(&mut self, exit: Exit) {
        // A container that is removed at its end needs no record that survives a power cut.
        let durable = if self.auto_remove { Durable::No } else { Durable::Yes };
        let ended = Ended { run: self.run.clone(), exit };
        if let Err(error) = record::write(&self.folder.last_exit(), &ended, durable) {
            complain(&format!("write down the exit: {error}"));
        }
        if let Some(listener) = self.listener.take() {
            self.epoll.remove(&listener);
        }
        let _gone = std::fs::remove_file(self.folder.run.join(Folder::SOCKET));
        self.lock = None;
    }
}

pub(super) fn end_probe(running: &Running, cgroup: Option<&Cgroup>) {
    if let Some(cgroup) = cgroup
        && let Err(error) = running.end_probe(cgroup).and_then(|()| cgroup.delete())
    {
        complain(&format!("clear up after a probe: {error}"));
    }
}
