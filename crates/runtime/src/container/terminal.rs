//! A pseudo-terminal of the container's own devpts.

use super::Error;
use super::paths;
use rustix::fs::{self, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Both ends of a terminal.
pub(crate) struct Terminal {
    /// For the creator.
    pub(crate) master: OwnedFd,
    /// For the process.
    pub(crate) slave: OwnedFd,
}

/// Superblock magic of devpts.
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Opens a new terminal below `root`, owned by `uid`. The other end comes from the master itself,
/// and not by its name.
pub(crate) fn open(root: impl AsFd, size: Option<(u16, u16)>, uid: u32) -> Result<Terminal, Error> {
    let open = || {
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let master = paths::open_with(root, Path::new("/dev/pts/ptmx"), flags, ResolveFlags::NO_SYMLINKS)?;
        if fs::fstatfs(&master)?.f_type as u64 != DEVPTS_SUPER_MAGIC {
            return Err(Errno::NOTTY);
        }
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        if let Some((rows, columns)) = size {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&master, size)?;
        }
        own(&slave, uid)?;
        Ok(Terminal { master, slave })
    };
    open().map_err(|error: Errno| Error::io("open a terminal of the container's /dev/pts", error))
}

fn own(slave: &OwnedFd, uid: u32) -> Result<(), Errno> {
    if fs::fstat(slave)?.st_uid != uid {
        fs::fchown(slave, Some(Uid::from_raw(uid)), None::<Gid>)?;
    }
    fs::fchmod(slave, Mode::from_raw_mode(0o620))
}
