//! The mounts and devices that a container asks for, found on the host.

use super::launch::refused;
use crate::layout::Folder;
use crate::record::Config;
use crate::spec::{Guest, GuestKind, HostDevice, permissions};
use crate::volume::{self, VolumeError, VolumeStore};
use crate::wire::Reply;
use model::{ContainerSpec, Device, Mount, MountSource};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A volume that is mounted on the host for as long as it is used.
pub(super) struct Held {
    store: VolumeStore,
    name: String,
    users: Option<OwnedFd>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.users = None;
        if let Err(error) = self.store.release(&self.name) {
            super::complain(&format!("release volume {}: {error}", self.name));
        }
    }
}

/// Finds the sources of all mounts, filling volumes that are used for the first time; `held` gets those
/// to hold while the container lives.
pub(super) fn resolve(
    config: &Config,
    folder: &Folder,
    store: &VolumeStore,
    root: &OwnedFd,
    held: &mut Vec<Held>,
) -> Result<Vec<Guest>, Reply> {
    let create = &config.create;
    let mut guests = Vec::new();
    let mut taken = BTreeSet::new();
    for mount in &create.spec.container.mounts {
        if !mount.target.starts_with('/') {
            return Err(refused(format!("mount target `{}` is not an absolute path", mount.target)));
        }
        if !taken.insert(mount.target.trim_end_matches('/').to_owned()) {
            return Err(refused(format!("duplicate mount point: {}", mount.target)));
        }
        let kind = find(mount, config, store, root, held)?;
        guests.push(Guest { target: mount.target.clone(), kind, read_only: mount.read_only });
    }
    for (target, name) in &config.anonymous {
        if !taken.contains(target.trim_end_matches('/')) {
            let kind = volume_kind(store, root, name, target, false, None, held)?;
            guests.push(Guest { target: target.clone(), kind, read_only: false });
        }
    }
    for (index, file) in create.files.iter().enumerate() {
        let source = folder.files.join(index.to_string());
        guests.push(Guest { target: file.target.clone(), kind: GuestKind::File { source }, read_only: true });
    }
    Ok(guests)
}

fn find(
    mount: &Mount,
    config: &Config,
    store: &VolumeStore,
    root: &OwnedFd,
    held: &mut Vec<Held>,
) -> Result<GuestKind, Reply> {
    match &mount.source {
        MountSource::Volume { name, nocopy, subpath } => {
            volume_kind(store, root, name, &mount.target, *nocopy, subpath.as_deref(), held)
        }
        MountSource::Anonymous => match config.anonymous.get(&mount.target) {
            Some(name) => volume_kind(store, root, name, &mount.target, false, None, held),
            None => Err(Reply::Failed { message: format!("the volume at {} is missing", mount.target) }),
        },
        MountSource::Bind { path, create, propagation, recursive } => {
            let source = PathBuf::from(path);
            if !source.is_absolute() {
                return Err(refused(format!("bind source `{path}` is not an absolute path")));
            }
            match fs::symlink_metadata(&source) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && *create => {
                    fs::create_dir_all(&source).map_err(|error| refused(format!("make bind source {path}: {error}")))?
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(refused(format!("bind source path does not exist: {path}")));
                }
                Err(error) => return Err(refused(format!("bind source {path}: {error}"))),
                Ok(_) => {}
            }
            check_propagation(propagation.as_deref())?;
            Ok(GuestKind::Host { source, recursive: *recursive, propagation: propagation.clone() })
        }
        MountSource::Tmpfs { size, mode, options } => {
            Ok(GuestKind::Tmpfs { size: *size, mode: *mode, options: options.clone() })
        }
    }
}

fn check_propagation(propagation: Option<&str>) -> Result<(), Reply> {
    match propagation {
        None | Some("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave") => Ok(()),
        Some(other) => Err(refused(format!("bind propagation `{other}` is not known"))),
    }
}

fn volume_kind(
    store: &VolumeStore,
    root: &OwnedFd,
    name: &str,
    target: &str,
    nocopy: bool,
    subpath: Option<&str>,
    held: &mut Vec<Held>,
) -> Result<GuestKind, Reply> {
    let volume_error = |error: VolumeError| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        refused(format!("mount volume {name}: {error}{source}"))
    };
    let (mut source, users) = store.ready(name).map_err(volume_error)?;
    if users.is_some() {
        held.push(Held { store: store.clone(), name: name.to_owned(), users });
    }
    if !nocopy && subpath.is_none() {
        volume::seed(store, name, root, target).map_err(volume_error)?;
    }
    if let Some(subpath) = subpath.filter(|subpath| !subpath.is_empty()) {
        source = inside(&source, subpath)
            .map_err(|error| refused(format!("mount volume {name}: subpath {subpath}: {error}")))?;
    }
    Ok(GuestKind::Host { source, recursive: true, propagation: None })
}

/// A folder of a volume; no link in it may lead elsewhere.
fn inside(volume: &Path, subpath: &str) -> io::Result<PathBuf> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let top = rustix::fs::open(volume, flags | OFlags::DIRECTORY, Mode::empty())?;
    let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(&top, subpath, flags, Mode::empty(), strict)?;
    Ok(volume.join(subpath))
}

/// Folders of /dev that are no devices of the host.
const NOT_DEVICES: [&str; 8] = ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"];

/// Devices asked for; all of the host for a privileged container.
///
/// # Errors
/// One that is none, as a sentence.
pub(super) fn devices(container: &ContainerSpec) -> Result<Vec<HostDevice>, String> {
    let mut found = Vec::new();
    if container.privileged {
        walk(Path::new("/dev"), "/dev", "rwm", &mut found);
    }
    for device in &container.devices {
        let permissions = permissions(device)?;
        let target = if device.target.is_empty() { &device.source } else { &device.target };
        add(device, target, &permissions, &mut found)?;
    }
    Ok(found)
}

fn add(device: &Device, target: &str, permissions: &str, found: &mut Vec<HostDevice>) -> Result<(), String> {
    let source = Path::new(&device.source);
    let metadata = fs::metadata(source).map_err(|error| format!("device {}: {error}", device.source))?;
    if metadata.is_dir() {
        walk(source, target, permissions, found);
        return Ok(());
    }
    match node(&metadata, target, permissions) {
        Some(node) => {
            found.retain(|known| known.path != node.path);
            found.push(node);
            Ok(())
        }
        None => Err(format!("{} is not a device node", device.source)),
    }
}

fn walk(folder: &Path, target: &str, permissions: &str, found: &mut Vec<HostDevice>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !NOT_DEVICES.contains(name)) else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        let target = format!("{}/{name}", target.trim_end_matches('/'));
        if metadata.is_dir() {
            walk(&entry.path(), &target, permissions, found);
        } else {
            found.extend(node(&metadata, &target, permissions));
        }
    }
}

fn node(metadata: &fs::Metadata, path: &str, permissions: &str) -> Option<HostDevice> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => return None,
    };
    Some(HostDevice {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        permissions: permissions.to_owned(),
    })
}
