//! The container's root: an overlay over the image's layers as a mount that is in no namespace, so
//! that the host's mount table never shows it and nothing has to be unmounted after a crash.

use crate::engine::CreateContainer;
use crate::layout::Folder;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// `fsconfig` takes no longer text.
const LONGEST_VALUE: usize = 255;

/// What an overlay is made of.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    /// Bottom first.
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    /// Syncs are skipped: for what is thrown away anyway.
    pub(crate) volatile: bool,
}

impl Overlay {
    /// The root of a container. An image without layers gets an empty one.
    ///
    /// # Errors
    /// The empty one cannot be made.
    pub(crate) fn of(create: &CreateContainer, folder: &Folder) -> io::Result<Overlay> {
        let mut layers = create.image.layers.clone();
        if layers.is_empty() {
            let empty = folder.path.join("empty");
            std::fs::create_dir_all(&empty)?;
            layers.push(empty);
        }
        let volatile = create.spec.container.auto_remove;
        Ok(Overlay { layers, upper: folder.upper(), work: folder.work(), volatile })
    }
}

/// Mounts it, detached. The caller has one thread, whose working folder becomes `/` on older kernels.
///
/// # Errors
/// What the kernel does not like, in its own words where it has any.
pub(crate) fn mount(overlay: &Overlay) -> io::Result<OwnedFd> {
    if overlay.volatile {
        // Left by a crash; without it the kernel trusts the folder again, which is what we want.
        crate::record::remove_all(&overlay.work.join("work/incompat"))?;
    }
    for way in [one_by_one as fn(&Overlay) -> io::Result<Option<OwnedFd>>, by_descriptors] {
        if let Some(mounted) = way(overlay)? {
            return Ok(mounted);
        }
    }
    by_mount_call(overlay)
}

/// `None` where that is not possible: before Linux 6.8, or for very long paths.
fn one_by_one(overlay: &Overlay) -> io::Result<Option<OwnedFd>> {
    let longest = overlay.layers.iter().chain([&overlay.upper, &overlay.work]).map(|path| path.as_os_str().len());
    if longest.max().unwrap_or(0) > LONGEST_VALUE || !checks_each_option()? {
        return Ok(None);
    }
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, path: &Path| rustix::mount::fsconfig_set_string(&context, key, path);
    for (index, layer) in overlay.layers.iter().rev().enumerate() {
        match set("lowerdir+", layer) {
            Err(rustix::io::Errno::INVAL) if index == 0 => return Ok(None),
            result => result.map_err(|error| in_words(&context, error))?,
        }
    }
    let upper = set("upperdir", &overlay.upper).and_then(|()| set("workdir", &overlay.work));
    upper.map_err(|error| in_words(&context, error))?;
    finish(&context, overlay).map(Some)
}

/// Whether overlayfs looks at each option as it is set. Before Linux 6.5 it took every option in silence
/// and looked at all of them when the file system was made.
fn checks_each_option() -> io::Result<bool> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    Ok(rustix::mount::fsconfig_set_flag(&context, "no-such-option").is_err())
}

/// All layers have to fit into one value there: they are opened and named by their numbers, which are
/// short. `None` if they are too many even so, some 80.
fn by_descriptors(overlay: &Overlay) -> io::Result<Option<OwnedFd>> {
    let open = |path: &Path| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let layers = overlay.layers.iter().rev().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    let (upper, work) = (open(&overlay.upper)?, open(&overlay.work)?);
    let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
    let lower = layers.iter().map(number).collect::<Vec<_>>().join(":");
    if lower.len() > LONGEST_VALUE {
        return Ok(None);
    }
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::process::chdir("/proc/self/fd")?;
    let set = |key: &str, value: &str| rustix::mount::fsconfig_set_string(&context, key, value);
    let mounted = set("lowerdir", &lower)
        .and_then(|()| set("upperdir", &number(&upper)))
        .and_then(|()| set("workdir", &number(&work)))
        .map_err(|error| in_words(&context, error))
        .and_then(|()| finish(&context, overlay));
    rustix::process::chdir("/")?;
    mounted.map(Some)
}

/// The options that all have, and the mount.
fn finish(context: &OwnedFd, overlay: &Overlay) -> io::Result<OwnedFd> {
    // Layers are shared by many overlays, which the index does not like. A kernel without it is fine.
    let _unknown = rustix::mount::fsconfig_set_string(context, "index", "off");
    if overlay.volatile {
        let _unknown = rustix::mount::fsconfig_set_flag(context, "volatile");
    }
    rustix::mount::fsconfig_create(context).map_err(|error| in_words(context, error))?;
    Ok(rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// The kernel's explanation, which waits in the context.
fn in_words(context: &OwnedFd, error: rustix::io::Errno) -> io::Error {
    let mut buffer = [0; 512];
    let error = io::Error::from(error);
    match rustix::io::read(context, &mut buffer) {
        Ok(count) if count > 2 => {
            let text = String::from_utf8_lossy(buffer.get(2..count).unwrap_or_default()).trim().to_owned();
            io::Error::new(error.kind(), format!("{text}: {error}"))
        }
        _ => error,
    }
}

/// mount(2) in a mount namespace that only this process sees for that moment, then a detached copy.
fn by_mount_call(overlay: &Overlay) -> io::Result<OwnedFd> {
    use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags};
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let home = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    crate::sys::unshare_mounts()?;
    let mounted = (|| {
        rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        // Short names: all options together may fill one page only.
        let parent = common_parent(&overlay.layers);
        rustix::process::chdir(&parent)?;
        let short = |path: &Path| escape(path.strip_prefix(&parent).unwrap_or(path));
        let lower: Vec<String> = overlay.layers.iter().rev().map(|layer| short(layer)).collect();
        let mut data = format!(
            "lowerdir={},upperdir={},workdir={},index=off",
            lower.join(":"),
            escape(&overlay.upper),
            escape(&overlay.work)
        );
        if overlay.volatile {
            data.push_str(",volatile");
        }
        let data = CString::new(data)?;
        let place = overlay.work.parent().unwrap_or(&overlay.work);
        rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), data.as_c_str())?;
        let copy =
            rustix::mount::open_tree(CWD, place, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
        rustix::mount::unmount(place, UnmountFlags::DETACH)?;
        Ok::<_, io::Error>(copy?)
    })();
    move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Mount))?;
    rustix::process::chdir("/")?;
    mounted
}

fn common_parent(layers: &[PathBuf]) -> PathBuf {
    let Some((first, rest)) = layers.split_first() else { return PathBuf::from("/") };
    let mut parent = first.parent().unwrap_or(Path::new("/"));
    while !rest.iter().all(|layer| layer.starts_with(parent)) {
        let Some(above) = parent.parent() else { break };
        parent = above;
    }
    parent.to_owned()
}

fn escape(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(root: &OwnedFd, path: &str) -> Option<String> {
        use std::io::Read as _;
        let file = rustix::fs::openat(root, path, OFlags::RDONLY, Mode::empty()).ok()?;
        let mut text = String::new();
        std::fs::File::from(file).read_to_string(&mut text).ok()?;
        Some(text)
    }

    #[test]
    fn every_way_shows_the_layers_and_the_host_sees_nothing() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a:1", "b,2", "upper", "work"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        std::fs::write(path("a:1").join("low"), "below").unwrap();
        std::fs::write(path("a:1").join("both"), "below").unwrap();
        std::fs::write(path("b,2").join("both"), "above").unwrap();
        let overlay = Overlay {
            layers: vec![path("a:1"), path("b,2")],
            upper: path("upper"),
            work: path("work"),
            volatile: false,
        };
        let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for way in [mount, by_mount_call, |overlay: &Overlay| by_descriptors(overlay).map(Option::unwrap)] {
            let overlay = overlay.clone();
            // Namespaces and the working folder are a thread's own here; the product has one thread only.
            let root = std::thread::spawn(move || {
                crate::sys::unshare_fs()?;
                way(&overlay)
            });
            let root = root.join().unwrap().unwrap();
            assert_eq!(read(&root, "low").as_deref(), Some("below"));
            assert_eq!(read(&root, "both").as_deref(), Some("above"));
            let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let ours = |text: &str| text.contains(folder.path().to_str().unwrap());
            assert!(!ours(&before) && !ours(&after));
        }
        let wrong = Overlay { layers: vec![path("nowhere")], ..overlay };
        assert!(mount(&wrong).is_err());
    }
}
