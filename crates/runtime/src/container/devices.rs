//! `/dev`: the device nodes, links and console that a container finds there.

use super::Error;
use super::mounts::attach;
use super::options::Recursive;
use super::paths::{self, Kind};
use super::prepare::clone_of;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The devices that each container has, by the OCI spec: name, major, minor.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// A node to be made.
struct Node<'a> {
    name: &'a OsStr,
    kind: FileType,
    device: fs::Dev,
    mode: Mode,
    owner: (u32, u32),
    /// Its path on the host, from where it is bound when it can't be made.
    host: &'a Path,
}

/// Makes the default devices and links, and those of the spec. `terminal`: there will be a console.
pub(crate) fn make(root: &OwnedFd, devices: &[LinuxDevice]) -> Result<(), Error> {
    let dev = paths::target(root, Path::new("/dev"), Kind::Folder)?.0;
    for (name, major, minor) in DEFAULT {
        let host = Path::new("/dev").join(name);
        // One that the spec describes itself is made as it says.
        if devices.iter().any(|device| *device.path() == host) {
            continue;
        }
        let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o666));
        let device = fs::makedev(major, minor);
        make_node(&dev, &Node { name: OsStr::new(name), kind, device, mode, owner: (0, 0), host: &host })?;
    }
    for (name, to) in LINKS {
        link(&dev, name, to)?;
    }
    // Also when the image or a mount has a /dev/ptmx: it has to be the container's own.
    link(&dev, "ptmx", "pts/ptmx")?;
    devices.iter().try_for_each(|device| make_device(root, device))
}

fn link(dev: &OwnedFd, name: &str, to: &str) -> Result<(), Error> {
    match fs::symlinkat(to, dev, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(Error::io(format!("link /dev/{name}"), error)),
    }
}

fn make_device(root: &OwnedFd, device: &LinuxDevice) -> Result<(), Error> {
    let (folder, name) = paths::parent(root, device.path())?;
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => {
            return Err(Error::text(format!("device {}: type a is for cgroup rules only", device.path().display())));
        }
    };
    let number = |value: i64| {
        u32::try_from(value).map_err(|_| Error::text(format!("device {}: bad number", device.path().display())))
    };
    let device_number = fs::makedev(number(device.major())?, number(device.minor())?);
    make_node(
        &folder,
        &Node {
            name: &name,
            kind,
            device: device_number,
            mode: Mode::from_raw_mode(device.file_mode().unwrap_or(0o666) & 0o7777),
            owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
            host: device.path(),
        },
    )
}

fn make_node(folder: &OwnedFd, node: &Node<'_>) -> Result<(), Error> {
    let failed = |error: Errno| Error::io(format!("make device {}", node.host.display()), error);
    match fs::mknodat(folder, node.name, node.kind, node.mode, node.device) {
        Ok(()) => {}
        Err(Errno::EXIST) => return same_device(folder, node).map_err(failed),
        Err(Errno::PERM) => return bind_from_host(folder, node).map_err(failed),
        Err(error) => return Err(failed(error)),
    }
    if node.owner != (0, 0) {
        let (uid, gid) = (Uid::from_raw(node.owner.0), Gid::from_raw(node.owner.1));
        fs::chownat(folder, node.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    }
    Ok(())
}

/// A node of the image is good if it is that device; anything else would be taken for it.
fn same_device(folder: &OwnedFd, node: &Node<'_>) -> Result<(), Errno> {
    let stat = fs::statat(folder, node.name, AtFlags::SYMLINK_NOFOLLOW)?;
    let same = FileType::from_raw_mode(stat.st_mode) == node.kind && stat.st_rdev == node.device;
    if same {
        return Ok(());
    }
    fs::unlinkat(folder, node.name, AtFlags::empty())?;
    fs::mknodat(folder, node.name, node.kind, node.mode, node.device)
}

/// In a user namespace nobody makes nodes; the host's own is bound, if it is what was asked for.
fn bind_from_host(folder: &OwnedFd, node: &Node<'_>) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, node.host, flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?;
    let stat = fs::fstat(&tree)?;
    if FileType::from_raw_mode(stat.st_mode) != node.kind || stat.st_rdev != node.device {
        return Err(Errno::NODEV);
    }
    attach(tree, empty_file(folder, node.name)?)
}

/// A file to mount upon, made if it is not there, never followed.
fn empty_file(folder: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(folder, name, flags, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let file = fs::openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    match FileType::from_raw_mode(fs::fstat(&file)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP),
        _ => Ok(file),
    }
}

/// Makes the terminal of `terminal` known as /dev/console. It is bound by its descriptor: no path
/// that somebody could exchange leads to it.
pub(crate) fn console(root: &OwnedFd, terminal: impl AsFd) -> Result<(), Error> {
    let bind = || {
        let dev = paths::open(root, Path::new("/dev"))?;
        attach(clone_of(terminal, Recursive::No)?, empty_file(&dev, OsStr::new("console"))?)
    };
    bind().map_err(|error| Error::io("make /dev/console", error))
}
