//! Looking at a container: counters, processes, paths and facts.

use super::*;

impl Engine {
    /// Reads its counters.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn stats(&self, task: TaskId) -> Result<Stats> {
        let entry = self.running(task)?;
        let Phase::Running { pid, .. } = entry.phase() else { return Err(Error::NotRunning(task)) };
        let own_net = entry.config().is_some_and(|config| config.create.net != NetMode::Host);
        let read = self.block(move |inner| {
            usage::read(&inner.disk.cgroup(task), pid, own_net)
                .map_err(|error| Error::Shim { task, message: error.to_string() })
        });
        match read.await {
            Err(_) if !matches!(entry.phase(), Phase::Running { .. }) => Err(Error::NotRunning(task)),
            other => other,
        }
    }

    /// Its processes.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn top(&self, task: TaskId) -> Result<Vec<Process>> {
        self.running(task)?;
        self.block(move |inner| {
            let pids = Cgroup::open(&inner.disk.cgroup(task)).and_then(|cgroup| cgroup.pids());
            Ok(top::read(&pids.map_err(|error| Error::Shim { task, message: error.to_string() })?))
        })
        .await
    }

    /// Paths and facts.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn inspect(&self, task: TaskId) -> Result<Inspect> {
        let entry = self.known(task)?;
        let config = entry.config().ok_or(Error::NotFound(task))?;
        let observed = entry.observed().ok_or(Error::NotFound(task))?;
        let folder = self.folder(task);
        let keeps_log = config.create.spec.container.logging.driver.as_deref() != Some("none");
        Ok(Inspect {
            observed,
            created: config.created,
            argv: crate::spec::arguments(&config.create).unwrap_or_default(),
            upper: folder.upper(),
            log: keeps_log.then(|| folder.log()),
            mounts: self.mount_points(&config),
            create: config.create.clone(),
            folder: folder.path,
        })
    }

    fn mount_points(&self, config: &Config) -> Vec<MountPoint> {
        let volume = |name: &str, target: &str, read_only: bool| MountPoint {
            kind: "volume".to_owned(),
            name: name.to_owned(),
            source: self.volumes().folder(name).join("_data").display().to_string(),
            target: target.to_owned(),
            writable: !read_only,
        };
        let other = |kind: &str, source: &str, target: &str, read_only: bool| MountPoint {
            kind: kind.to_owned(),
            name: String::new(),
            source: source.to_owned(),
            target: target.to_owned(),
            writable: !read_only,
        };
        let mut points = Vec::new();
        for mount in &config.create.spec.container.mounts {
            match &mount.source {
                MountSource::Volume { name, .. } => points.push(volume(name, &mount.target, mount.read_only)),
                MountSource::Bind { path, .. } => points.push(other("bind", path, &mount.target, mount.read_only)),
                MountSource::Tmpfs { .. } => points.push(other("tmpfs", "", &mount.target, mount.read_only)),
                MountSource::Anonymous => {}
            }
        }
        points.extend(config.anonymous.iter().map(|(target, name)| volume(name, target, false)));
        points
    }
}
