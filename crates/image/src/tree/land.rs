//! Where a copy comes to lie, by the rules of `cp`: into a folder that is there, over a file, or under
//! a new name.

use super::{INSIDE, io, open, wrong};
use crate::error::{Error, Result};
use crate::layer::place::os;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, OFlags};
use rustix::io::Errno;

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// A folder and what the top of the archive is called in it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: OwnedFd,
    /// Empty: the folder itself takes the top's content.
    pub(super) name: Vec<u8>,
}

/// Finds the place for a thing of that name; `contents`: of a folder only what is in it.
///
/// # Errors
/// There is no such folder; a folder would replace a file.
pub(super) fn find(root: BorrowedFd<'_>, to: &[u8], is_folder: bool, name: &[u8], contents: bool) -> Result<Place> {
    match open(root, to, OFlags::PATH, INSIDE) {
        Ok(there) => {
            let stat = fs::fstat(&there).map_err(|errno| io("look at", to, errno))?;
            let shown = String::from_utf8_lossy(to);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let into_it = is_folder && (contents || name == b".");
                    return Ok(Place { folder: there, name: if into_it { Vec::new() } else { name.to_vec() } });
                }
                _ if is_folder => {
                    return Err(Error::Invalid(format!("{shown} is a file: a folder cannot take its place")));
                }
                FileType::RegularFile => {}
                _ => return Err(Error::Invalid(format!("{shown} is neither a file nor a folder"))),
            }
        }
        Err(Errno::NOENT) => {
            if !is_folder && to.ends_with(b"/") {
                return Err(Error::Invalid(format!("there is no folder {}", String::from_utf8_lossy(to))));
            }
        }
        Err(errno) => return Err(wrong(to, errno)),
    }
    by_name(root, to)
}

/// Folder and name of something that is no folder, or is not there; links are followed to where they
/// end.
fn by_name(root: BorrowedFd<'_>, to: &[u8]) -> Result<Place> {
    let mut path = to.to_vec();
    for _ in 0..LINKS {
        while path.ends_with(b"/") {
            path.pop();
        }
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (path[..=slash].to_vec(), path[slash + 1..].to_vec()),
            None => (Vec::new(), path.clone()),
        };
        if matches!(name.as_slice(), b"" | b"." | b"..") {
            return Err(wrong(to, Errno::NOENT));
        }
        let folder = open(root, &parent, OFlags::PATH | OFlags::DIRECTORY, INSIDE).map_err(|errno| match errno {
            Errno::NOENT => Error::Invalid(format!("there is no folder {}", String::from_utf8_lossy(&parent))),
            errno => wrong(&parent, errno),
        })?;
        match fs::statat(&folder, os(&name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                let link = fs::readlinkat(folder.as_fd(), os(&name), Vec::new());
                let link = link.map_err(|errno| io("read the link", &path, errno))?.into_bytes();
                path = if link.starts_with(b"/") { link } else { [parent, link].concat() };
            }
            Ok(_) | Err(Errno::NOENT) => return Ok(Place { folder, name }),
            Err(errno) => return Err(io("look at", &path, errno)),
        }
    }
    Err(wrong(to, Errno::LOOP))
}
