//! What was typed, with the environment and the defaults: what it means.

use crate::args::Global;
use crate::contexts::{self, Store, Stored};
use crate::endpoint::Endpoint;
use anyhow::{Context as _, Result};
use api::road::Road;
use std::path::PathBuf;

/// Where the daemon's data is by default.
pub(crate) const DATA_ROOT: &str = "/var/lib/rswarm";
/// Where the daemon's socket is by default.
pub(crate) const RUN_ROOT: &str = "/run/rswarm";
/// The cgroup below which containers get theirs by default.
pub(crate) const CGROUP_PARENT: &str = "rswarm";

/// What the environment says of the daemon to talk to. Without: nothing, and no contexts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `RSWARM_HOST`.
    pub(crate) host: Option<String>,
    /// `RSWARM_CONTEXT`.
    pub(crate) context: Option<String>,
    /// `RSWARM_CERT`: a file as `ca client create` and `context export` write it.
    pub(crate) certificate: Option<PathBuf>,
    /// The contexts of whoever runs this.
    pub(crate) contexts: Option<Store>,
}

impl Environment {
    /// As it is.
    pub(crate) fn read() -> Environment {
        let text = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Environment {
            host: text("RSWARM_HOST"),
            context: text("RSWARM_CONTEXT"),
            certificate: text("RSWARM_CERT").map(PathBuf::from),
            contexts: Store::of_environment(),
        }
    }

    /// The context that is meant where no host is named.
    ///
    /// # Errors
    /// The file that says so can't be read.
    pub(crate) fn context(&self, typed: Option<&str>) -> Result<String> {
        match (typed, &self.context, &self.contexts) {
            (Some(name), _, _) => Ok(name.to_owned()),
            (None, Some(name), _) => Ok(name.clone()),
            (None, None, Some(contexts)) => contexts.current(),
            (None, None, None) => Ok(contexts::DEFAULT.to_owned()),
        }
    }

    /// What is kept of a context; `None`: it is that of this machine.
    fn stored(&self, name: &str) -> Result<Option<Stored>> {
        if name == contexts::DEFAULT {
            return Ok(None);
        }
        let contexts =
            self.contexts.as_ref().context("there are no contexts without a home: set HOME or RSWARM_CONFIG")?;
        contexts.get(name).map(Some)
    }
}

/// Which daemon is meant.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) data_root: PathBuf,
    pub(crate) run_root: PathBuf,
    pub(crate) cgroup_parent: String,
    /// The way to it.
    pub(crate) road: Road,
    /// It was named, and may be anyone's: none is started there.
    pub(crate) named_host: bool,
    /// What whoever runs this should know.
    pub(crate) warning: Option<String>,
}

impl Settings {
    /// Typed options win over `RSWARM_HOST`, which wins over contexts (`RSWARM_CONTEXT`, then the current one).
    ///
    /// # Errors
    /// A host that makes no sense, a context that is not there, a certificate that has ended.
    pub(crate) fn new(global: &Global, environment: &Environment, now: u64) -> Result<Settings> {
        let or = |typed: &Option<PathBuf>, default: &str| typed.clone().unwrap_or_else(|| PathBuf::from(default));
        let run_root = or(&global.run_root, RUN_ROOT);
        let own = run_root.join("rswarm.sock");
        let (road, warning) = road(global, environment, now)?.unwrap_or((Road::Unix(own.clone()), None));
        Ok(Settings {
            data_root: or(&global.data_root, DATA_ROOT),
            cgroup_parent: global.cgroup_parent.clone().unwrap_or_else(|| CGROUP_PARENT.to_owned()),
            named_host: !matches!(&road, Road::Unix(socket) if *socket == own),
            run_root,
            road,
            warning,
        })
    }
}

/// The way to the daemon that was named, and a warning; `None`: none was.
fn road(global: &Global, environment: &Environment, now: u64) -> Result<Option<(Road, Option<String>)>> {
    // A run root or a context that was typed says more than a variable of the environment.
    let variable = || environment.host.as_ref().filter(|_| global.run_root.is_none() && global.context.is_none());
    if let Some(host) = global.host.as_ref().or_else(variable) {
        return towards(&host.parse()?, environment, now).map(Some);
    }
    if global.run_root.is_some() && global.context.is_none() {
        return Ok(None);
    }
    let name = environment.context(global.context.as_deref())?;
    let stored = environment.stored(&name)?;
    stored.map(|stored| stored.road(now).with_context(|| format!("the context `{name}`"))).transpose()
}

/// To a host that was named: what it is shown is in `RSWARM_CERT`, or in the context that is in use.
fn towards(endpoint: &Endpoint, environment: &Environment, now: u64) -> Result<(Road, Option<String>)> {
    if !matches!(endpoint, Endpoint::Tcp(_)) {
        return Ok((endpoint.road(None)?, None));
    }
    let stored = match &environment.certificate {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("read {} (RSWARM_CERT)", path.display()))?;
            Some(Stored::parse(&text).with_context(|| format!("make sense of {} (RSWARM_CERT)", path.display()))?)
        }
        None => environment.stored(&environment.context(None)?)?,
    };
    match stored {
        Some(stored) => stored.towards(endpoint).road(now),
        None => Ok((endpoint.road(None)?, None)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn road(global: &Global, environment: &Environment) -> String {
        match Settings::new(global, environment, 0).unwrap().road {
            Road::Unix(path) => path.display().to_string(),
            Road::Program(program) => program.at,
            Road::Tls(tls) => tls.addresses.join(","),
        }
    }

    #[test]
    fn typed_beats_environment_beats_default() {
        let of = |global: &Global, variable: Option<&str>| {
            road(global, &Environment { host: variable.map(str::to_owned), ..Environment::default() })
        };
        let mut global = Global::default();
        assert_eq!(of(&global, None), "/run/rswarm/rswarm.sock");
        assert_eq!(of(&global, Some("unix:///e")), "/e");
        global.run_root = Some("/r".into());
        assert_eq!(of(&global, Some("unix:///e")), "/r/rswarm.sock");
        global.host = Some("unix:///h".to_owned());
        assert_eq!(of(&global, Some("unix:///e")), "/h");
        let named = |global: &Global| Settings::new(global, &Environment::default(), 0).map(|it| it.named_host);
        assert!(named(&global).unwrap());
        global.host = Some("unix:///r/rswarm.sock".to_owned());
        assert!(!named(&global).unwrap());
        global.host = Some("tcp://x:1".to_owned());
        assert!(named(&global).unwrap_err().to_string().contains("wants a certificate"));
        global.host = Some("http://x".to_owned());
        assert!(named(&global).is_err());
    }

    #[test]
    fn contexts_are_used_where_no_host_is_named() {
        let root = tempfile::tempdir().unwrap();
        let contexts = Store::at(root.path().to_owned());
        for name in ["one", "two", "three"] {
            let endpoint = format!("ssh://{name}").parse().unwrap();
            contexts.put(name, &Stored::new(String::new(), &endpoint, None)).unwrap();
        }
        let mut environment = Environment { contexts: Some(contexts.clone()), ..Environment::default() };
        let mut global = Global::default();
        assert_eq!(road(&global, &environment), "/run/rswarm/rswarm.sock");
        contexts.use_one("one").unwrap();
        assert_eq!(road(&global, &environment), "ssh://one");
        environment.context = Some("two".to_owned());
        assert_eq!(road(&global, &environment), "ssh://two");
        environment.host = Some("/e".to_owned());
        assert_eq!(road(&global, &environment), "/e");
        global.context = Some("three".to_owned());
        assert_eq!(road(&global, &environment), "ssh://three");
        global.context = Some("default".to_owned());
        assert_eq!(road(&global, &environment), "/run/rswarm/rswarm.sock");
        global.context = Some("four".to_owned());
        assert!(Settings::new(&global, &environment, 0).unwrap_err().to_string().contains("no context `four`"));
        global = Global { run_root: Some("/r".into()), ..Global::default() };
        assert_eq!(road(&global, &environment), "/r/rswarm.sock");
    }
}
