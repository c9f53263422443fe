//! What the engine does to files. All of it blocks, and all of it may be cut short at any point and
//! done again.

use super::entry::{Phase, Seen};
use super::{ContentFile, CreateContainer, Error, Result, hosts};
use crate::container::Cgroup;
use crate::layout::{Folder, Layout};
use crate::record::{self, Config, Durable, Ended, Run};
use crate::volume::{VolumeStore, anonymous_name};
use model::{Exit, MountSource, TaskId, Time};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Exit code of a run that nobody saw the end of: the host went down (Docker says 255 too).
const UNSEEN: i32 = 255;

/// Exit code of a run that was killed because its shim was.
const KILLED: i32 = 137;

/// Files of all containers.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) layout: Layout,
    pub(super) volumes: VolumeStore,
    cgroup_parent: String,
    /// Held while the memory file system is mounted or unmounted.
    memory: Mutex<()>,
    /// Held while it is settled whose the anonymous volumes of a container are.
    shares: Mutex<()>,
}

pub(super) fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: path.to_owned(), source }
}

fn make_private(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make folder", path))
}

impl Disk {
    pub(super) fn new(layout: Layout, volumes: VolumeStore, cgroup_parent: String) -> Self {
        Disk { layout, volumes, cgroup_parent, memory: Mutex::default(), shares: Mutex::default() }
    }

    /// Cgroup of a container, below the root of each hierarchy.
    pub(super) fn cgroup(&self, task: TaskId) -> String {
        format!("/{}/{task}", self.cgroup_parent.trim_matches('/'))
    }

    /// Makes the roots and sweeps what removals have left; gives the ids of all containers.
    pub(super) fn open(&self) -> Result<Vec<TaskId>> {
        for path in [self.layout.containers(), self.layout.tasks(), self.layout.all_files()] {
            make_private(&path)?;
        }
        // Whoever is root in a container leaves programs in a volume that would make anybody root here.
        let volumes = self.layout.volumes();
        make_private(&volumes)?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        if let Err(error) = fs::set_permissions(&volumes, private) {
            tracing::warn!("{} should be root's alone: {error}", volumes.display());
        }
        self.volumes.sweep();
        let path = self.layout.containers();
        for name in self.names()?.iter().filter(|name| name.ends_with(".removed")) {
            if let Err(error) = record::remove_all(&path.join(name)) {
                tracing::warn!("sweep {name}: {error}");
            }
        }
        self.tasks()
    }

    /// The ids of all containers.
    fn tasks(&self) -> Result<Vec<TaskId>> {
        Ok(self.names()?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// What is in the folder of containers.
    fn names(&self) -> Result<Vec<String>> {
        let path = self.layout.containers();
        let entries = fs::read_dir(&path).map_err(failed("read", &path))?;
        let names = entries.map(|entry| Ok(entry.map_err(failed("read", &path))?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    /// Makes (or makes anew) the files of a container; its record comes last.
    pub(super) fn create(&self, create: CreateContainer) -> Result<Config> {
        let folder = self.layout.container(create.task);
        make_private(&folder.path)?;
        for path in [folder.upper(), folder.work()] {
            fs::create_dir_all(&path).map_err(failed("make folder", &path))?;
        }
        let upper = folder.upper();
        dress_root(&upper, create.image.layers.last().map(PathBuf::as_path)).map_err(failed("set up", &upper))?;
        let write = |name: &str, text: &str| {
            let path = folder.path.join(name);
            record::replace(&path, text.as_bytes(), Durable::No).map_err(failed("write", &path))
        };
        write(hosts::FILE, &hosts::text(&create))?;
        write("hostname", &format!("{}\n", create.hostname))?;
        write("resolv.conf", &create.resolv_conf)?;
        let anonymous = self.make_volumes(&folder, &create)?;
        self.write_files(&folder, &create.files)?;
        let config = Config { create, created: record::now(), anonymous };
        self.write_config(&folder, &config)?;
        Ok(config)
    }

    pub(super) fn config(&self, folder: &Folder) -> Result<Option<Config>> {
        record::read(&folder.config()).map_err(failed("read", &folder.config()))
    }

    pub(super) fn write_config(&self, folder: &Folder, config: &Config) -> Result<()> {
        record::write(&folder.config(), config, Durable::No).map_err(failed("write", &folder.config()))
    }

    /// Puts on disk what says that a container was started, so that a power cut does not make it one that
    /// never ran. Done after the start, which does not wait for it: a power cut in the moment between is
    /// one before the start. What is thrown away at its end needs none of it.
    pub(super) fn keep_start(&self, task: TaskId) -> io::Result<()> {
        let folder = self.layout.container(task);
        for path in [folder.config(), folder.last_run(), folder.path, self.layout.containers()] {
            match fs::File::open(&path).and_then(|file| file.sync_all()) {
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes the volumes that it mounts; anonymous ones keep the names that they have.
    fn make_volumes(&self, folder: &Folder, create: &CreateContainer) -> Result<BTreeMap<String, String>> {
        let mounts = &create.spec.container.mounts;
        let is_taken = |target: &str| mounts.iter().any(|mount| same_path(&mount.target, target));
        let mut wanted: Vec<&str> = Vec::new();
        for mount in mounts {
            match &mount.source {
                MountSource::Volume { name, .. } => {
                    let plain = || model::VolumeSpec { name: name.clone(), ..model::VolumeSpec::default() };
                    self.volumes.create(&create.volumes.get(name).cloned().unwrap_or_else(plain))?;
                }
                MountSource::Anonymous => wanted.push(&mount.target),
                MountSource::Bind { .. } | MountSource::Tmpfs { .. } => {}
            }
        }
        wanted.extend(create.image.config.volumes.iter().map(String::as_str).filter(|target| !is_taken(target)));
        let mut anonymous = self.anonymous(folder)?;
        if wanted.is_empty() && anonymous.is_empty() {
            return Ok(anonymous);
        }
        let of = create.volumes_of.unwrap_or(create.task);
        for target in wanted {
            anonymous.entry(target.to_owned()).or_insert_with(|| anonymous_name(of, target));
        }
        let _guard = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        // Named before they are made: whatever cuts this short, removal knows them.
        record::write(&folder.anonymous(), &anonymous, Durable::No).map_err(failed("write", &folder.anonymous()))?;
        for name in anonymous.values() {
            self.volumes.create_anonymous(name)?;
        }
        Ok(anonymous)
    }

    /// Its anonymous volumes, made or about to be made.
    fn anonymous(&self, folder: &Folder) -> Result<BTreeMap<String, String>> {
        let read = record::read(&folder.anonymous()).map_err(failed("read", &folder.anonymous()))?;
        Ok(read.unwrap_or_default())
    }

    /// Its anonymous volumes that no other container goes on with, or has left to it: the last one takes them along.
    fn own_volumes(&self, task: TaskId, folder: &Folder) -> Result<Vec<String>> {
        let _guard = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = self.anonymous(folder)?;
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let count = own.len();
        for other in self.tasks()?.into_iter().filter(|other| *other != task) {
            let others = self.anonymous(&self.layout.container(other))?;
            own.retain(|_, name| !others.values().any(|known| known == name));
        }
        if own.len() < count {
            // So that of two that go at the same time the second one finds nobody.
            record::write(&folder.anonymous(), &own, Durable::No).map_err(failed("write", &folder.anonymous()))?;
        }
        Ok(own.into_values().collect())
    }

    /// Removes a volume, unless it is an anonymous one of a container, be it one that is just being made: whose.
    pub(super) fn remove_volume(&self, name: &str) -> Result<Vec<TaskId>> {
        let is_anonymous = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let _guard = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let mut users = Vec::new();
        for task in if is_anonymous { self.tasks()? } else { Vec::new() } {
            let anonymous = self.anonymous(&self.layout.container(task))?;
            users.extend(anonymous.values().any(|known| known == name).then_some(task));
        }
        if users.is_empty() {
            self.volumes.remove(name)?;
        }
        Ok(users)
    }

    /// Writes configs and secrets, into memory only.
    pub(super) fn write_files(&self, folder: &Folder, files: &[ContentFile]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let _guard = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        self.ensure_memory()?;
        make_private(&folder.files)?;
        for (index, file) in files.iter().enumerate() {
            let path = folder.files.join(index.to_string());
            write_file(&path, file).map_err(failed("write", &path))?;
        }
        Ok(())
    }

    /// Are the contents there that it needs?
    pub(super) fn has_files(&self, folder: &Folder, create: &CreateContainer) -> bool {
        (0..create.files.len()).all(|index| folder.files.join(index.to_string()).exists())
    }

    /// The folder for contents has to be of memory; where the run root is not, one is mounted.
    fn ensure_memory(&self) -> Result<()> {
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        let path = self.layout.all_files();
        make_private(&path)?;
        let facts = rustix::fs::statfs(&path).map_err(|error| failed("look at", &path)(error.into()))?;
        if matches!(facts.f_type, TMPFS | RAMFS) {
            return Ok(());
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("rswarm-files", &path, "tmpfs", flags, c"mode=700")
            .map_err(|error| failed("mount memory at", &path)(error.into()))
    }

    /// Unmounts the memory when nothing is in it any more. Where the run root itself is of memory
    /// there is no such mount.
    fn release_memory(&self) {
        use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
        let _guard = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.layout.all_files();
        let facts = rustix::fs::statx(CWD, &path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
        let mounted = facts.is_ok_and(|facts| facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
        if mounted && fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none()) {
            // Busy only if somebody stands in it; the next removal tries again.
            let _busy = rustix::mount::unmount(&path, UnmountFlags::NOFOLLOW);
        }
    }

    /// Removes everything of a container that does not run.
    pub(super) fn remove(&self, task: TaskId, volumes: bool) -> Result<()> {
        let folder = self.layout.container(task);
        if volumes {
            for name in self.own_volumes(task, &folder)? {
                self.volumes.remove(&name)?;
            }
        }
        self.clear_host(task, &folder)?;
        record::remove_all(&folder.files).map_err(failed("remove", &folder.files))?;
        self.release_memory();
        let gone = self.layout.removed(task);
        record::remove_all(&gone).map_err(failed("remove", &gone))?;
        match fs::rename(&folder.path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed("remove", &folder.path))?,
        }
        record::remove_all(&gone).map_err(failed("remove", &gone))
    }

    /// Removes what a run leaves outside of the container's folder.
    fn clear_host(&self, task: TaskId, folder: &Folder) -> Result<()> {
        let path = self.cgroup(task);
        let cleared = Cgroup::open(&path).and_then(|cgroup| {
            cgroup.kill_all()?;
            cgroup.delete()
        });
        cleared.map_err(|error| Error::Shim { task, message: error.to_string() })?;
        record::remove_all(&folder.run).map_err(failed("remove", &folder.run))
    }

    /// Takes the container's lock; `None` while a shim holds it.
    fn lock(&self, folder: &Folder) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::open(folder.lock(), flags, Mode::RUSR | Mode::WUSR)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What a container without a shim has come to; `None` if it has a shim. A run whose shim was
    /// killed is brought to its end.
    pub(super) fn settle(&self, task: TaskId) -> Result<Option<Seen>> {
        let folder = self.layout.container(task);
        let Some(_lock) = self.lock(&folder).map_err(failed("lock", &folder.path))? else { return Ok(None) };
        let run: Option<Run> = record::read(&folder.last_run()).map_err(failed("read", &folder.last_run()))?;
        let ended: Option<Ended> = record::read(&folder.last_exit()).map_err(failed("read", &folder.last_exit()))?;
        let ended = match (run, ended) {
            (None, None) => None,
            (None, Some(ended)) => Some(ended),
            (Some(run), Some(ended)) if ended.run.run >= run.run => Some(ended),
            (Some(run), _) => Some(self.end_unseen(task, &folder, run)?),
        };
        self.clear_host(task, &folder)?;
        self.release_volumes(&folder)?;
        Ok(Some(match ended {
            None => Seen { phase: Phase::Created, attempt: 0, restarts: 0 },
            Some(Ended { run, exit }) => {
                Seen { phase: Phase::Exited(exit), attempt: run.attempt, restarts: run.restarts }
            }
        }))
    }

    /// What a shim that was killed did not let go.
    fn release_volumes(&self, folder: &Folder) -> Result<()> {
        let Some(config) = self.config(folder)? else { return Ok(()) };
        for mount in &config.create.spec.container.mounts {
            if let MountSource::Volume { name, .. } = &mount.source {
                self.volumes.release(name)?;
            }
        }
        Ok(())
    }

    fn end_unseen(&self, task: TaskId, folder: &Folder, run: Run) -> Result<Ended> {
        let path = self.cgroup(task);
        let alive = Cgroup::open(&path).and_then(|cgroup| cgroup.pids()).is_ok_and(|pids| !pids.is_empty());
        // Without a trace of this boot the host itself went down.
        let code = if alive || folder.run.exists() { KILLED } else { UNSEEN };
        let finished_at: Time = record::now();
        let exit = Exit { code, oom_killed: false, started_at: run.started_at, finished_at };
        let ended = Ended { run, exit };
        record::write(&folder.last_exit(), &ended, Durable::Yes).map_err(failed("write", &folder.last_exit()))?;
        Ok(ended)
    }
}

/// The root of an overlay is its upper folder: that gets owner and mode of the image's root.
fn dress_root(upper: &Path, top: Option<&Path>) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let facts = top.map(fs::metadata).transpose()?;
    let (uid, gid, mode) = facts.map_or((0, 0, 0o755), |facts| (facts.uid(), facts.gid(), facts.mode() & 0o7777));
    std::os::unix::fs::chown(upper, Some(uid), Some(gid))?;
    fs::set_permissions(upper, fs::Permissions::from_mode(mode))
}

fn same_path(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

fn write_file(path: &Path, file: &ContentFile) -> io::Result<()> {
    // A running container may have it mounted: what it sees is the old file, whole.
    let fresh = path.with_extension("new");
    record::remove_all(&fresh)?;
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    out.write_all(&file.data)?;
    std::os::unix::fs::fchown(&out, Some(file.uid), Some(file.gid))?;
    out.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(file.mode & 0o7777))?;
    fs::rename(&fresh, path)
}
