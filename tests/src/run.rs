//! One run of a command: what it was, how it ended and what it said.

use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing that a test runs in the foreground takes longer; what hangs must not hang the whole suite.
const LIMIT: Duration = Duration::from_secs(120);

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Output {
    words: String,
    status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

/// Runs it to its end, with no input.
///
/// # Panics
/// It cannot be started, or does not end.
pub fn run(command: &mut Command) -> Output {
    run_with_input(command, b"")
}

/// Runs it to its end, with this on its stdin.
///
/// # Panics
/// It cannot be started, or does not end.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Output {
    let words = words(command);
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start `{words}`: {error}"));
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // a command that does not read its input is no failure
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = read(child.stdout.take().unwrap());
    let stderr = read(child.stderr.take().unwrap());
    let mut hung = false;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > LIMIT && !hung {
            hung = true;
            let pid = Pid::from_child(&child);
            kill_process(pid, Signal::KILL).unwrap();
        }
        thread::sleep(Duration::from_millis(2));
    };
    let took = start.elapsed();
    writer.join().unwrap();
    let output = Output { words, status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap(), took };
    assert!(!hung, "does not end within {LIMIT:?}: {output}");
    output
}

fn read(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn words(command: &Command) -> String {
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    std::iter::once(command.get_program().to_string_lossy()).chain(args).collect::<Vec<_>>().join(" ")
}

impl Output {
    /// The exit code; 128 and the number for a signal, as shells have it.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Did it exit with 0?
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// It exited with this code.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// It exited with 0.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It failed, whatever the code.
    ///
    /// # Panics
    /// It exited with 0.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert_ne!(self.code(), 0, "should fail: {self}");
        self
    }

    /// Stdout without the white space around it is this.
    ///
    /// # Panics
    /// It is not.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert_eq!(self.stdout.trim(), text.trim(), "{self}");
        self
    }

    /// Stdout has this in it.
    ///
    /// # Panics
    /// It has not.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "stdout should say `{text}`: {self}");
        self
    }

    /// Stderr has this in it.
    ///
    /// # Panics
    /// It has not.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "stderr should say `{text}`: {self}");
        self
    }

    /// Neither stream has this in it.
    ///
    /// # Panics
    /// One has.
    #[track_caller]
    pub fn never_says(self, text: &str) -> Self {
        assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "should not say `{text}`: {self}");
        self
    }

    /// Stdout without the white space around it.
    pub fn text(&self) -> String {
        self.stdout.trim().to_owned()
    }

    /// The lines of stdout.
    pub fn lines(&self) -> Vec<String> {
        self.stdout.lines().map(str::to_owned).collect()
    }

    /// Stdout as one JSON value.
    ///
    /// # Panics
    /// It is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout should be JSON ({error}): {self}"))
    }

    /// Stdout as a JSON value a line, or one array: Docker has both.
    ///
    /// # Panics
    /// It is neither.
    #[track_caller]
    pub fn json_rows(&self) -> Vec<Value> {
        if let Ok(Value::Array(rows)) = serde_json::from_str(&self.stdout) {
            return rows;
        }
        let row = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"));
        self.stdout.lines().map(row).collect()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` exited with {} after {:?}\n----- stdout\n{}----- stderr\n{}-----",
            self.words,
            self.code(),
            self.took,
            self.stdout,
            self.stderr
        )
    }
}

/// Compiles a static C program; gives its path. For what busybox cannot do inside a container.
///
/// # Panics
/// There is no compiler, or the source is wrong.
pub fn compile(host: &crate::Host, name: &str, source: &str) -> String {
    let file = host.write(&format!("{name}.c"), source);
    let program = host.work().join(name);
    run(Command::new("gcc").args(["-static", "-O1", "-Wall", "-o"]).arg(&program).arg(file)).ok();
    program.to_str().unwrap().to_owned()
}
