//! Mounts of the spec, made by init inside its own mount namespace.

use super::Error;
use super::options::{MountOptions, Recursive};
use super::paths::{self, Kind};
use super::prepare::{self, PreparedMount, Tree, on_procfs};
use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Files of procfs that may be covered by a file of their own, as lxcfs does.
const COVERABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Puts a detached mount on top of the file or folder of `target`.
pub(crate) fn attach(tree: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
}

/// Mounts one entry of the spec below `root`.
pub(crate) fn mount(root: impl AsFd, mount: &PreparedMount) -> Result<(), Error> {
    let what = || match mount.tree {
        Tree::Bind { .. } => format!("mount volume {}", mount.target.display()),
        _ => format!("mount {} on {}", mount.kind, mount.target.display()),
    };
    let failed = |error: Errno| Error::io(what(), error);
    let (target, existed) = open_target(&root, mount).map_err(|error| Error::new(&what(), error))?;
    match &mount.tree {
        Tree::Bind { tree, folder, .. } => {
            attach(tree, &target).map_err(|error| unlike(&target, *folder, &what()).unwrap_or_else(|| failed(error)))
        }
        Tree::CgroupV2(tree) => {
            prepare::apply_attributes(tree, &mount.options).and_then(|()| attach(tree, &target)).map_err(failed)
        }
        Tree::CgroupV1(trees) => cgroup_v1(trees, &mount.options, &target).map_err(failed),
        Tree::New => {
            let tree = new_file_system(mount, existed.then_some(target.as_fd())).map_err(failed)?;
            if mount.options.copy_up && existed {
                super::copy_up::copy(&target, &tree).map_err(failed)?;
            }
            prepare::apply_attributes(&tree, &mount.options).map_err(failed)?;
            attach(&tree, &target).map_err(failed)?;
            match mount.options.propagation {
                Some((kind, recursive)) => prepare::propagation(&tree, kind, recursive).map_err(failed),
                None => Ok(()),
            }
        }
    }
}

/// What the kernel calls an invalid argument: a file over a folder, or a folder over a file.
fn unlike(target: &OwnedFd, folder: bool, what: &str) -> Option<Error> {
    let kind = FileType::from_raw_mode(fs::fstat(target).ok()?.st_mode);
    match (folder, kind == FileType::Directory) {
        (true, false) => Some(Error::text(format!("{what}: the source is a folder, and there is a file"))),
        (false, true) => Some(Error::text(format!("{what}: the source is a file, and there is a folder"))),
        _ => None,
    }
}

/// A path without `.` and `..`, as the container would write it.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// Opens (or makes) the target, and refuses one that would fake procfs or sysfs: everything that
/// is written there later, by us or by a runtime that joins the container, must reach the kernel.
fn open_target(root: impl AsFd, mount: &PreparedMount) -> Result<(OwnedFd, bool), Error> {
    let target = lexical(&mount.target);
    let kind = match &mount.tree {
        Tree::Bind { folder: false, .. } => Kind::File,
        _ => Kind::Folder,
    };
    if target == Path::new("/") {
        return Err(Error::text("the root itself is no target"));
    }
    if matches!(mount.tree, Tree::New) && matches!(mount.kind.as_str(), "proc" | "sysfs") {
        return open_plain_folder(root, &target);
    }
    let (fd, existed) = paths::target(root, &target, kind)?;
    let procfs_source = matches!(mount.tree, Tree::Bind { procfs: true, folder: true, .. });
    let covers_proc = target == Path::new("/proc") && !procfs_source;
    let inside = on_procfs(&fd).map_err(|error| Error::io("look at the target", error))?;
    let coverable = COVERABLE.iter().any(|path| target == Path::new(path));
    // A target that exists under another name (a symlink of the image) can be inside procfs too.
    if covers_proc || (inside && !coverable && target != Path::new("/proc")) {
        return Err(Error::text(format!("{} can't be mounted over, it is inside /proc", target.display())));
    }
    Ok((fd, existed))
}

/// The target of a procfs or sysfs: no component may be a symlink of the image.
fn open_plain_folder(root: impl AsFd, target: &Path) -> Result<(OwnedFd, bool), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match paths::open_with(&root, target, flags, ResolveFlags::NO_SYMLINKS) {
        Ok(fd) => Ok((fd, true)),
        Err(Errno::NOENT) => {
            paths::target(&root, target, Kind::Folder)?;
            let fd = paths::open_with(&root, target, flags, ResolveFlags::NO_SYMLINKS);
            fd.map(|fd| (fd, false)).map_err(|error| Error::io(format!("open {}", target.display()), error))
        }
        Err(Errno::LOOP) => Err(Error::text(format!("{} must be a folder, not a symlink", target.display()))),
        Err(error) => Err(Error::io(format!("open {}", target.display()), error)),
    }
}

/// A new file system in the namespaces of this process, detached.
fn new_file_system(mount: &PreparedMount, below: Option<std::os::fd::BorrowedFd<'_>>) -> Result<OwnedFd, Errno> {
    let kind = if mount.kind.is_empty() { return Err(Errno::NODEV) } else { mount.kind.as_str() };
    let made = configure(kind, mount, below);
    // A user namespace without a network namespace of its own may not make a sysfs; it may still
    // look at the one that is there.
    if kind == "sysfs" && matches!(made, Err(Errno::PERM)) {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        return open_tree(CWD, "/sys", flags);
    }
    made
}

fn configure(kind: &str, mount: &PreparedMount, below: Option<std::os::fd::BorrowedFd<'_>>) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let source = if mount.source.is_empty() { kind } else { &mount.source };
    fsconfig_set_string(context.as_fd(), "source", source)?;
    for option in &mount.options.data {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value)?,
            None => fsconfig_set_flag(context.as_fd(), option.as_str())?,
        }
    }
    // A tmpfs over a folder of the image looks like that folder unless told otherwise.
    if let (true, Some(below)) = (kind == "tmpfs" && !has_mode(&mount.options), below) {
        let stat = fs::fstat(below)?;
        fsconfig_set_string(context.as_fd(), "mode", format!("{:o}", stat.st_mode & 0o7777))?;
    }
    if mount.options.read_only() && !matches!(kind, "tmpfs" | "proc" | "sysfs" | "mqueue" | "devpts") {
        fsconfig_set_flag(context.as_fd(), "ro")?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn has_mode(options: &MountOptions) -> bool {
    options.data.iter().any(|option| option.starts_with("mode="))
}

/// A tmpfs with a folder for each hierarchy, as on the host.
fn cgroup_v1(trees: &[(String, OwnedFd)], options: &MountOptions, target: &OwnedFd) -> Result<(), Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "mode", "755")?;
    fsconfig_create(context.as_fd())?;
    let tmpfs = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    attach(&tmpfs, target)?;
    for (name, tree) in trees {
        fs::mkdirat(&tmpfs, name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = fs::openat(&tmpfs, name, flags, Mode::empty())?;
        prepare::apply_attributes(tree, options)?;
        attach(tree, &folder)?;
        // `cpu,cpuacct` is also known as `cpu` and as `cpuacct`.
        for alias in name.split(',').filter(|alias| alias != name) {
            fs::symlinkat(name, &tmpfs, alias)?;
        }
    }
    prepare::apply_attributes(&tmpfs, options)
}

/// Hides a path of the container: a file behind the null device, a folder behind an empty
/// read-only tmpfs. Paths that are not there need no hiding.
pub(crate) struct Masks<'a> {
    root: &'a OwnedFd,
    /// The null device of the host: detached until the first file is hidden behind it, after which
    /// it belongs to this namespace and can be cloned.
    null: &'a OwnedFd,
    null_is_attached: bool,
    /// The first empty folder that was mounted, of which the others are clones.
    empty: Option<OwnedFd>,
}

impl<'a> Masks<'a> {
    pub(crate) fn new(root: &'a OwnedFd, null: &'a OwnedFd) -> Self {
        Self { root, null, null_is_attached: false, empty: None }
    }

    /// Hides `path`.
    pub(crate) fn hide(&mut self, path: &Path) -> Result<(), Error> {
        self.try_hide(path).map_err(|error| Error::io(format!("mask {}", path.display()), error))
    }

    fn try_hide(&mut self, path: &Path) -> Result<(), Errno> {
        let Some(target) = existing(self.root, path)? else { return Ok(()) };
        if FileType::from_raw_mode(fs::fstat(&target)?.st_mode) != FileType::Directory {
            if self.null_is_attached {
                return attach(prepare::clone_of(self.null, Recursive::No)?, &target);
            }
            self.null_is_attached = true;
            return attach(self.null, &target);
        }
        if let Some(empty) = &self.empty {
            return attach(prepare::clone_of(empty, Recursive::No)?, &target);
        }
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), "mode", "755")?;
        fsconfig_create(context.as_fd())?;
        let tmpfs = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        attach(&tmpfs, &target)?;
        self.empty = Some(tmpfs);
        Ok(())
    }
}

/// Makes a path of the container and what is mounted below it read-only. No error if missing.
pub(crate) fn protect(root: &OwnedFd, path: &Path) -> Result<(), Error> {
    let protect = || {
        let Some(target) = existing(root, path)? else { return Ok(()) };
        let tree = prepare::clone_of(&target, Recursive::Yes)?;
        super::sys::mount_setattr(&tree, true, &super::options::READ_ONLY)?;
        attach(&tree, &target)
    };
    protect().map_err(|error| Error::io(format!("make {} read-only", path.display()), error))
}

fn existing(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>, Errno> {
    match paths::open(root, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_taken_out_of_targets() {
        assert_eq!(lexical(Path::new("/proc/../proc/./sys/")), Path::new("/proc/sys"));
        assert_eq!(lexical(Path::new("../../x")), Path::new("/x"));
    }
}
