//! Starts a daemon in the background when none answers.

use crate::context::Context;
use crate::failure::advised;
use crate::settings::Settings;
use anyhow::{Context as _, Result};
use api::Call;
use api::client::ClientError;
use api::road::Road;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes sure that a daemon answers. Costs one `connect` when one does.
///
/// # Errors
/// None answers and none may be started, or the new one ended or stays silent.
pub(crate) async fn ensure(context: &Context) -> Result<()> {
    // Of a daemon elsewhere, the call itself tells whether it is there.
    let Road::Unix(socket) = context.client.road() else { return Ok(()) };
    // Whoever listens there is a daemon that serves, or will in a moment.
    let Err(source) = std::os::unix::net::UnixStream::connect(socket) else { return Ok(()) };
    let nobody_there = matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused);
    if !nobody_there || context.settings.named_host {
        return Err(ClientError::Connect { at: socket.display().to_string(), source }.into());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(advised(
            format!("no daemon answers at {}, and only root can start one", socket.display()),
            "run this command as root, or `systemctl start rswarm`",
        ));
    }
    start(context).await
}

async fn start(context: &Context) -> Result<()> {
    let settings = &context.settings;
    let log = settings.data_root.join("daemon.log");
    let mut child = spawn(settings, &log)?;
    context.printer.say(&format!(
        "no daemon is running: started one (pid {}), data in {}, log in {}",
        child.id(),
        settings.data_root.display(),
        log.display()
    ));
    let began = Instant::now();
    loop {
        if context.client.call(&Call::Ping).await.is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait().context("look after the new daemon")? {
            // Another `up` may have been faster: then that one's daemon answers.
            if context.client.call(&Call::Ping).await.is_ok() {
                return Ok(());
            }
            return Err(ended(&log, &status.to_string()));
        }
        if began.elapsed() > PATIENCE {
            return Err(advised(
                format!("the new daemon does not answer after {} s", PATIENCE.as_secs()),
                format!("look into {}", log.display()),
            ));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn spawn(settings: &Settings, log: &std::path::Path) -> Result<Child> {
    let exe = std::env::current_exe().context("find this program's own file")?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&settings.data_root)
        .with_context(|| format!("make the folder {}", settings.data_root.display()))?;
    let open = || std::fs::OpenOptions::new().create(true).append(true).open(log);
    let output = open().with_context(|| format!("open {}", log.display()))?;
    let errors = output.try_clone().with_context(|| format!("open {}", log.display()))?;
    let mut command = Command::new(exe);
    command
        .arg("--data-root")
        .arg(&settings.data_root)
        .arg("--run-root")
        .arg(&settings.run_root)
        .arg("--cgroup-parent")
        .arg(&settings.cgroup_parent)
        .arg("daemon")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    // SAFETY: setsid is async-signal-safe and touches no memory of this process.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(Into::into));
    }
    command.spawn().context("start a daemon")
}

fn ended(log: &std::path::Path, status: &str) -> anyhow::Error {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(5)..).unwrap_or(&[]).join("\n");
    let said = if last.is_empty() { String::new() } else { format!("\n{last}") };
    advised(format!("the new daemon ended at once ({status}){said}"), format!("its log is {}", log.display()))
}
