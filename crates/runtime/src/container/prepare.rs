//! What the creator opens on the host before init exists: the root, the sources of bind mounts, the
//! cgroup's own folders. All of it as detached mounts with their final attributes, so that init
//! looks up no path of the host at all, and a user namespace needs no right to any of them.

use super::cgroup::Cgroup;
use super::options::{MountOptions, Recursive};
use super::sys::{self, MountAttr};
use super::{Error, Rootfs, idmap};
use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{self, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Everything of the host that the container's mount namespace is made from.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The root, detached.
    pub(crate) root: OwnedFd,
    /// One for each mount of the spec.
    pub(crate) mounts: Vec<PreparedMount>,
    /// `/proc` of the host, known to be procfs.
    pub(crate) proc: OwnedFd,
    /// `/dev/null` of the host as a detached mount, known to be that device.
    pub(crate) null: OwnedFd,
}

/// A mount with its options sorted, and what it needs from the host.
#[derive(Debug)]
pub(crate) struct PreparedMount {
    /// Where in the container, as written.
    pub(crate) target: PathBuf,
    /// Type as written; empty for none.
    pub(crate) kind: String,
    /// Source as written; empty for none.
    pub(crate) source: String,
    /// Options.
    pub(crate) options: MountOptions,
    /// Sources on the host.
    pub(crate) tree: Tree,
}

/// Detached sources.
#[derive(Debug)]
pub(crate) enum Tree {
    /// A new file system is made by init, in its namespaces.
    New,
    /// A bind mount, and whether its root is a folder and is procfs.
    Bind { tree: OwnedFd, folder: bool, procfs: bool },
    /// The cgroup's folder in each hierarchy of version 1, with the folder's name in the container.
    CgroupV1(Vec<(String, OwnedFd)>),
    /// The cgroup's folder of version 2.
    CgroupV2(OwnedFd),
}

/// Superblock magic of procfs.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Whether a descriptor lies on procfs.
pub(crate) fn on_procfs(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(fs::fstatfs(fd)?.f_type as u64 == PROC_SUPER_MAGIC)
}

/// Opens everything. Nothing shows on the host; dropping the result undoes it.
pub(crate) fn prepare(spec: &Spec, bundle: &Path, rootfs: Rootfs, cgroup: &Cgroup) -> Result<Prepared, Error> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    Ok(Prepared {
        root: root(rootfs, bundle)?,
        mounts: mounts.iter().map(|mount| prepare_mount(mount, bundle, spec, cgroup)).collect::<Result<_, _>>()?,
        proc: host_proc()?,
        null: host_null()?,
    })
}

/// `/proc` of the host, checked: what is written below it later must reach the kernel.
pub(crate) fn host_proc() -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::open("/proc", flags, Mode::empty()).map_err(|error| Error::io("open /proc of the host", error))?;
    if on_procfs(&fd).map_err(|error| Error::io("look at /proc of the host", error))? {
        Ok(fd)
    } else {
        Err(Error::new("open /proc of the host", "no procfs is mounted there"))
    }
}

fn host_null() -> Result<OwnedFd, Error> {
    let failed = |error| Error::io("open /dev/null of the host", error);
    let flags = clone_flags(Recursive::No) | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let fd = open_tree(CWD, "/dev/null", flags).map_err(failed)?;
    // Read-only, or root of the container could change the mode of the host's own device; bytes can
    // be written to a device all the same.
    let attr = MountAttr { propagation: libc::MS_PRIVATE, ..super::options::READ_ONLY };
    sys::mount_setattr(&fd, false, &attr).map_err(failed)?;
    let stat = fs::fstat(&fd).map_err(failed)?;
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if character && stat.st_rdev == fs::makedev(1, 3) {
        Ok(fd)
    } else {
        Err(Error::new("open /dev/null of the host", "it is some other file"))
    }
}

/// The root as a detached mount. A folder must not itself be a symlink.
fn root(rootfs: Rootfs, bundle: &Path) -> Result<OwnedFd, Error> {
    let path = match rootfs {
        Rootfs::Mount(fd) => return Ok(fd),
        Rootfs::Path(path) => bundle.join(path),
    };
    let failed = |error| Error::io(format!("open root file system {}", path.display()), error);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = fs::open(&path, flags, Mode::empty()).map_err(failed)?;
    let tree = open_tree(&folder, "", clone_flags(Recursive::Yes) | OpenTreeFlags::AT_EMPTY_PATH).map_err(failed)?;
    propagation(&tree, libc::MS_PRIVATE, Recursive::Yes).map_err(failed)?;
    Ok(tree)
}

fn clone_flags(recursive: Recursive) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match recursive {
        Recursive::Yes => flags | OpenTreeFlags::AT_RECURSIVE,
        Recursive::No => flags,
    }
}

/// A detached copy of the mount below a descriptor.
pub(crate) fn clone_of(fd: impl AsFd, recursive: Recursive) -> Result<OwnedFd, Errno> {
    open_tree(fd, "", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
}

/// Sets the propagation of a mount.
pub(crate) fn propagation(mount: impl AsFd, kind: u64, recursive: Recursive) -> Result<(), Errno> {
    let attr = MountAttr { propagation: kind, ..MountAttr::default() };
    sys::mount_setattr(mount, recursive == Recursive::Yes, &attr)
}

fn prepare_mount(mount: &Mount, bundle: &Path, spec: &Spec, cgroup: &Cgroup) -> Result<PreparedMount, Error> {
    let words = mount.options().as_deref().unwrap_or_default();
    let mut options = MountOptions::parse(words.iter().map(String::as_str));
    let kind = mount.typ().clone().unwrap_or_default();
    if kind == "bind" && options.bind.is_none() {
        options.bind = Some(Recursive::No);
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let tree = match (options.bind, kind.as_str()) {
        (Some(recursive), _) => bind(mount, &bundle.join(source), &options, recursive, spec),
        (None, "cgroup" | "cgroup2") => cgroup_tree(cgroup),
        (None, _) => Ok(Tree::New),
    };
    let target = mount.destination().clone();
    let tree = tree.map_err(|error| Error::new(&format!("mount volume {}", target.display()), error))?;
    let source = source.to_string_lossy().into_owned();
    Ok(PreparedMount { target, kind, source, options, tree })
}

fn bind(
    mount: &Mount,
    source: &Path,
    options: &MountOptions,
    recursive: Recursive,
    spec: &Spec,
) -> Result<Tree, Error> {
    let failed = |error| Error::io(format!("bind source {}", source.display()), error);
    let tree = open_tree(CWD, source, clone_flags(recursive)).map_err(failed)?;
    apply_attributes(&tree, options).map_err(failed)?;
    if let Some(recursive) = options.idmap {
        idmap::apply(&tree, mount, spec, recursive)?;
    }
    // Without a word on it a mount must not carry later mounts of the host into the container,
    // nor the other way.
    let (kind, depth) = options.propagation.unwrap_or((libc::MS_PRIVATE, Recursive::Yes));
    propagation(&tree, kind, depth).map_err(failed)?;
    let stat = fs::fstat(&tree).map_err(failed)?;
    let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let procfs = on_procfs(&tree).map_err(failed)?;
    Ok(Tree::Bind { tree, folder, procfs })
}

/// Sets read-only, nosuid and the like on a detached mount.
pub(crate) fn apply_attributes(tree: impl AsFd, options: &MountOptions) -> Result<(), Errno> {
    for (attr, recursive) in [(&options.attr, false), (&options.recursive, true)] {
        if *attr != MountAttr::default() {
            sys::mount_setattr(&tree, recursive, attr)?;
        }
    }
    Ok(())
}

fn cgroup_tree(cgroup: &Cgroup) -> Result<Tree, Error> {
    let open = |folder: &Path| {
        let failed = |error| Error::io(format!("open cgroup {}", folder.display()), error);
        let tree = open_tree(CWD, folder, clone_flags(Recursive::No)).map_err(failed)?;
        propagation(&tree, libc::MS_PRIVATE, Recursive::No).map_err(failed)?;
        Ok(tree)
    };
    match cgroup.v1_folders() {
        folders if folders.is_empty() => match cgroup.v2_folder() {
            Some(folder) => open(&folder).map(Tree::CgroupV2),
            None => Err(Error::text("the container has no cgroup")),
        },
        folders => folders
            .into_iter()
            .map(|(name, folder)| Ok((name, open(&folder)?)))
            .collect::<Result<_, _>>()
            .map(Tree::CgroupV1),
    }
}
