//! Programs that the spec wants run at points of a container's life.

use super::Error;
use oci_spec::runtime::{Hook, Spec};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A point of a container's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Namespaces exist; in the runtime's. Deprecated by the spec, and used by everybody.
    Prestart,
    /// The same, by its newer name.
    CreateRuntime,
    /// Before pivot_root; in the container's namespaces.
    CreateContainer,
    /// Before the program is executed; in the container.
    StartContainer,
    /// After it was; in the runtime's namespaces.
    Poststart,
    /// The container was deleted; in the runtime's namespaces.
    Poststop,
}

/// What hooks read about the container.
#[derive(Debug, Clone)]
pub struct State<'a> {
    /// Its name.
    pub id: &'a str,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: &'a str,
    /// Its init, as the runtime sees it; 0 for none.
    pub pid: i32,
    /// Its folder.
    pub bundle: &'a Path,
}

impl State<'_> {
    /// The state in the spec's JSON.
    pub fn json(&self, spec: &Spec) -> serde_json::Value {
        let mut state = serde_json::json!({
            "ociVersion": spec.version(),
            "id": self.id,
            "status": self.status,
            "bundle": self.bundle,
            "annotations": spec.annotations().clone().unwrap_or_default(),
        });
        if self.pid > 0 {
            state["pid"] = self.pid.into();
        }
        state
    }
}

/// The hooks of a point.
pub fn at(spec: &Spec, point: Point) -> &[Hook] {
    let Some(hooks) = spec.hooks() else { return &[] };
    let hooks = match point {
        Point::Prestart => hooks.prestart(),
        Point::CreateRuntime => hooks.create_runtime(),
        Point::CreateContainer => hooks.create_container(),
        Point::StartContainer => hooks.start_container(),
        Point::Poststart => hooks.poststart(),
        Point::Poststop => hooks.poststop(),
    };
    hooks.as_deref().unwrap_or_default()
}

/// Runs the hooks of a point one after the other; the first that fails is an error.
pub fn run(spec: &Spec, point: Point, state: &State<'_>) -> Result<(), Error> {
    let hooks = at(spec, point);
    if hooks.is_empty() {
        return Ok(());
    }
    let json = state.json(spec).to_string();
    hooks.iter().try_for_each(|hook| {
        run_one(hook, &json).map_err(|error| Error::new(&format!("{point:?} hook {}", hook.path().display()), error))
    })
}

fn run_one(hook: &Hook, state: &str) -> Result<(), Error> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Error::io(what, error)
    };
    let mut command = Command::new(hook.path());
    let args = hook.args().as_deref().unwrap_or_default();
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear().stdin(Stdio::piped());
    command.envs(hook.env().iter().flatten().filter_map(|variable| variable.split_once('=')));
    let mut child = command.spawn().map_err(failed("run it"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its state is fine.
        let _ = stdin.write_all(state.as_bytes());
    }
    let timeout = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let status = wait(&mut child, timeout).map_err(failed("wait for it"))?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::text(status.to_string())),
        None => Err(Error::text("it took too long and was killed")),
    }
}

fn wait(child: &mut Child, timeout: Option<Duration>) -> std::io::Result<Option<ExitStatus>> {
    let Some(timeout) = timeout else { return child.wait().map(Some) };
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= timeout {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
