//! Folders of cgroup file systems.

use super::Error;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The folder of one cgroup in one hierarchy.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn exists(&self) -> bool {
        fs::access(&self.path, fs::Access::EXISTS).is_ok()
    }

    pub(super) fn has(&self, file: &str) -> bool {
        fs::access(self.path.join(file), fs::Access::EXISTS).is_ok()
    }

    fn failed(&self, what: &str, file: &str, error: impl Into<std::io::Error>) -> Error {
        Error::io(format!("{what} {}", self.path.join(file).display()), error)
    }

    /// Makes it and its parents. One that is left from before is removed first, with its limits.
    pub(super) fn make(&self) -> Result<(), Error> {
        match fs::mkdir(&self.path, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => {
                std::fs::create_dir_all(&self.path).map_err(|error| self.failed("make cgroup", "", error))
            }
            Err(Errno::EXIST) => {
                self.remove(Duration::ZERO)?;
                fs::mkdir(&self.path, Mode::from_raw_mode(0o755)).map_err(|error| self.failed("make cgroup", "", error))
            }
            Err(error) => Err(self.failed("make cgroup", "", error)),
        }
    }

    pub(super) fn open(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::open(&self.path, flags, Mode::empty()).map_err(|error| self.failed("open cgroup", "", error))
    }

    /// The kernel attaches programs to a folder that was opened for good, not to a handle.
    pub(super) fn open_readable(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::open(&self.path, flags, Mode::empty()).map_err(|error| self.failed("open cgroup", "", error))
    }

    pub(super) fn open_for_writing(&self, file: &str) -> Result<OwnedFd, Error> {
        fs::open(self.path.join(file), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| self.failed("open", file, error))
    }

    pub(super) fn open_for_reading(&self, file: &str) -> Result<OwnedFd, Error> {
        fs::open(self.path.join(file), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| self.failed("open", file, error))
    }

    /// Writes a value in one go, as these files want it.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        let fd = fs::open(self.path.join(file), OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC, Mode::empty());
        let write = fd.and_then(|fd| rustix::io::write(&fd, value.as_bytes()));
        write.map(drop).map_err(|error| self.failed(&format!("write {value:?} to"), file, error))
    }

    pub(super) fn read(&self, file: &str) -> Result<String, Error> {
        std::fs::read_to_string(self.path.join(file)).map_err(|error| self.failed("read", file, error))
    }

    /// The number in a file; `None` for `max` and for a file that is not there.
    pub(super) fn number(&self, file: &str) -> Result<Option<u64>, Error> {
        match self.read(file) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if super::is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn children(&self) -> Vec<Folder> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| Folder::new(entry.path())).collect()
    }

    /// Adds the processes of this group and of those below it.
    pub(super) fn collect_pids(&self, pids: &mut Vec<i32>) -> Result<(), Error> {
        match self.read("cgroup.procs") {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            // Gone, or going.
            Err(error) if super::is_missing(&error) || error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.children().iter().try_for_each(|child| child.collect_pids(pids))
    }

    /// Removes it and those below it, trying again while processes are dying.
    pub(super) fn remove(&self, patience: Duration) -> Result<(), Error> {
        if self.try_remove()? {
            return Ok(());
        }
        if wait_until(patience, || self.try_remove())? {
            return Ok(());
        }
        Err(self.failed("remove cgroup", "", Errno::BUSY))
    }

    /// Whether it is gone.
    fn try_remove(&self) -> Result<bool, Error> {
        match fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            Err(Errno::BUSY) => {}
            Err(error) => return Err(self.failed("remove cgroup", "", error)),
        }
        for child in self.children() {
            child.try_remove()?;
        }
        Ok(matches!(fs::rmdir(&self.path), Ok(()) | Err(Errno::NOENT)))
    }
}

/// Asks again and again, ever more slowly, until it is so or patience is at its end.
pub(super) fn wait_until(patience: Duration, mut done: impl FnMut() -> Result<bool, Error>) -> Result<bool, Error> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if done()? {
            return Ok(true);
        }
        if begun.elapsed() >= patience {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Sends a signal by number.
pub(super) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // 0 and below name groups of processes, and some kernels show 0 for one of another namespace.
    if pid > 0 { crate::container::sys::kill(pid, signal) } else { Err(Errno::SRCH) }
}

/// Gives a new cpuset of version 1, and those above it, what the next one above has.
pub(super) fn inherit_cpuset(folder: &Folder, path: &str) -> Result<(), Error> {
    let depth = path.split('/').filter(|part| !part.is_empty()).count();
    let mut chain: Vec<&Path> = folder.path().ancestors().take(depth + 1).collect();
    chain.reverse();
    for pair in chain.windows(2) {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let child = Folder::new(pair[1].to_owned());
            if child.read(file)?.trim().is_empty() {
                let value = Folder::new(pair[0].to_owned()).read(file)?;
                child.write(file, value.trim())?;
            }
        }
    }
    Ok(())
}

/// Hands the controllers of version 2 down to the group `path`, from the root to its parent.
pub(super) fn delegate(root: &Path, path: &str) -> Result<(), Error> {
    const WANTED: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];
    let mut folder = Folder::new(root.to_owned());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let has = folder.read("cgroup.controllers")?;
        let given = folder.read("cgroup.subtree_control")?;
        let among = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
        let missing = WANTED.iter().filter(|name| among(&has, name) && !among(&given, name));
        let words: Vec<String> = missing.map(|name| format!("+{name}")).collect();
        if !words.is_empty() {
            match folder.write("cgroup.subtree_control", &words.join(" ")) {
                // One that has processes can't hand anything down: a group below a container's own
                // does without controllers.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Ok(()),
                result => result?,
            }
        }
        folder = Folder::new(folder.path().join(part));
    }
    Ok(())
}
