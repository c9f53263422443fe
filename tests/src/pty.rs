//! A terminal that a test types on and reads from.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// A command on a terminal of its own.
#[derive(Debug)]
pub struct Pty {
    master: File,
    child: Child,
    output: Receiver<Vec<u8>>,
    /// Everything that came so far.
    pub seen: String,
}

impl Pty {
    /// Starts the command on a terminal of 24 rows and 80 columns.
    ///
    /// # Panics
    /// The kernel has no terminal for us.
    pub fn spawn(command: &mut Command) -> Pty {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        // it is to become the child's terminal, never ours
        let no_ctty = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave: OwnedFd = rustix::fs::open(name.as_c_str(), no_ctty, Mode::empty()).unwrap();
        set_size(&master, 24, 80);
        let clone = || Stdio::from(slave.try_clone().unwrap());
        let command = command.stdin(clone()).stdout(clone()).stderr(clone());
        controlling_terminal(command);
        let child = command.spawn().unwrap();
        let master = File::from(master);
        let (sender, output) = channel();
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // the read fails when the last process on the other side is gone
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Pty { master, child, output, seen: String::new() }
    }

    /// Types.
    ///
    /// # Panics
    /// Nobody is there to read.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for a text beyond what earlier calls have consumed; consumes it and all before it.
    ///
    /// # Panics
    /// It does not come within ten seconds.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        while !self.seen.contains(text) {
            match self.output.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => panic!("`{text}` does not come; the terminal shows:\n{}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without `{text}`; it showed:\n{}", self.seen),
            }
        }
        let at = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..at);
    }

    /// Does it show what is typed?
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Changes the size; the kernel tells the foreground process.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.master, rows, columns);
    }

    /// Waits for the end; gives the exit code.
    ///
    /// # Panics
    /// It does not end within twenty seconds.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            while let Ok(bytes) = self.output.try_recv() {
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "it does not end; the terminal shows:\n{}", self.seen);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn set_size(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// Makes the terminal on stdin the child's own, so that it gets SIGWINCH and SIGINT.
fn controlling_terminal(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let claim = || {
        rustix::process::setsid()?;
        // SAFETY: descriptor 0 is the terminal: stdio is set up before this runs
        ioctl_tiocsctty(unsafe { std::os::fd::BorrowedFd::borrow_raw(0) })?;
        Ok(())
    };
    // SAFETY: between fork and exec only two system calls are made, and nothing is allocated
    unsafe { command.pre_exec(claim) };
}
