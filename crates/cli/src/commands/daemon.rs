//! `daemon`.

use crate::args::system::{Daemon, LogFormat};
use crate::parse;
use crate::settings::Settings;
use anyhow::{Context as _, Result};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// This program's own file can't be found, or a label or resource makes no sense. What goes wrong later is in the daemon's log.
pub(crate) fn run(settings: &Settings, args: Daemon) -> Result<u8> {
    let exe = std::env::current_exe().context("find this program's own file")?;
    let code = daemon::main(daemon::DaemonArgs {
        data_root: settings.data_root.clone(),
        run_root: settings.run_root.clone(),
        cgroup_parent: settings.cgroup_parent.clone(),
        oci_runtime: args.oci_runtime,
        insecure_registries: args.insecure_registries,
        labels: parse::pairs(&args.labels).context("--label")?,
        generic: parse::counts(&args.generic).context("--node-generic-resource")?,
        webhook: args.webhook,
        metrics: args.metrics_addr,
        log_level: args.log_level,
        log_format: match args.log_format {
            LogFormat::Text => daemon::LogFormat::Text,
            LogFormat::Json => daemon::LogFormat::Json,
        },
        exe,
    });
    Ok(u8::from(code != std::process::ExitCode::SUCCESS))
}
