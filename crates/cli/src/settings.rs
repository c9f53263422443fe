//! What was typed, with the environment and the defaults: what it means.

use crate::args::Global;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Where the daemon's data is by default.
pub(crate) const DATA_ROOT: &str = "/var/lib/rswarm";
/// Where the daemon's socket is by default.
pub(crate) const RUN_ROOT: &str = "/run/rswarm";
/// The cgroup below which containers get theirs by default.
pub(crate) const CGROUP_PARENT: &str = "rswarm";
/// Names the daemon to talk to.
pub(crate) const HOST_VARIABLE: &str = "RSWARM_HOST";

/// Which daemon is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) data_root: PathBuf,
    pub(crate) run_root: PathBuf,
    pub(crate) cgroup_parent: String,
    pub(crate) socket: PathBuf,
    /// The socket was named: it may be anyone's, so none is started there.
    pub(crate) named_host: bool,
}

impl Settings {
    /// Typed options win over `RSWARM_HOST` (`host_variable`), which wins over the defaults.
    ///
    /// # Errors
    /// A host that is no unix socket.
    pub(crate) fn new(global: &Global, host_variable: Option<String>) -> Result<Settings> {
        let or = |typed: &Option<PathBuf>, default: &str| typed.clone().unwrap_or_else(|| PathBuf::from(default));
        let run_root = or(&global.run_root, RUN_ROOT);
        // A run root that was typed says more than a variable of the environment.
        let variable = host_variable.filter(|text| !text.is_empty() && global.run_root.is_none());
        let host = global.host.clone().or(variable);
        let socket = match &host {
            Some(host) => socket(host)?,
            None => run_root.join("rswarm.sock"),
        };
        Ok(Settings {
            data_root: or(&global.data_root, DATA_ROOT),
            cgroup_parent: global.cgroup_parent.clone().unwrap_or_else(|| CGROUP_PARENT.to_owned()),
            named_host: host.is_some() && socket != run_root.join("rswarm.sock"),
            run_root,
            socket,
        })
    }
}

fn socket(host: &str) -> Result<PathBuf> {
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(Path::new(path).to_owned()),
        _ if host.starts_with('/') => Ok(Path::new(host).to_owned()),
        _ => bail!("`{host}` is no host that can be reached: write unix:///PATH/OF/SOCKET"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn typed_beats_environment_beats_default() {
        let of = |global: &Global, variable: Option<&str>| {
            Settings::new(global, variable.map(str::to_owned)).unwrap().socket.display().to_string()
        };
        let mut global = Global::default();
        assert_eq!(of(&global, None), "/run/rswarm/rswarm.sock");
        assert_eq!(of(&global, Some("unix:///e")), "/e");
        assert_eq!(of(&global, Some("")), "/run/rswarm/rswarm.sock");
        global.run_root = Some("/r".into());
        assert_eq!(of(&global, Some("unix:///e")), "/r/rswarm.sock");
        global.host = Some("unix:///h".to_owned());
        assert_eq!(of(&global, Some("unix:///e")), "/h");
        assert!(Settings::new(&global, None).unwrap().named_host);
        global.host = Some("unix:///r/rswarm.sock".to_owned());
        assert!(!Settings::new(&global, None).unwrap().named_host);
        global.host = Some("tcp://x:1".to_owned());
        assert!(Settings::new(&global, None).is_err());
    }
}
