//! Who a process runs as: `user` and `group_add` looked up in the image's own files, with Docker's
//! rules (moby `pkg/user`).

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};

/// More of such a file is not read.
const LONGEST: u64 = 16 << 20;

/// A user and its groups, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Home folder, `/` for one that is not in the file.
    pub(crate) home: String,
}

/// Texts of `/etc/passwd` and `/etc/group`; empty where there is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    passwd: String,
    group: String,
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

impl Accounts {
    /// Reads both from a root file system, never leaving it.
    pub(crate) fn read(root: impl AsFd) -> Accounts {
        let text = |path| read_inside(root.as_fd(), path).unwrap_or_default();
        Accounts { passwd: text("etc/passwd"), group: text("etc/group") }
    }

    #[cfg(test)]
    pub(crate) fn from_texts(passwd: &str, group: &str) -> Accounts {
        Accounts { passwd: passwd.to_owned(), group: group.to_owned() }
    }

    fn users(&self) -> impl Iterator<Item = Entry<'_>> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let [name, _, uid, gid, ..] = *fields.as_slice() else { return None };
            let home = fields.get(5).copied().filter(|home| !home.is_empty()).unwrap_or("/");
            Some(Entry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let [name, _, gid, ..] = *fields.as_slice() else { return None };
            let members = fields.get(3).map(|list| list.split(',').filter(|name| !name.is_empty()).collect());
            Some(Group { name, gid: gid.parse().ok()?, members: members.unwrap_or_default() })
        })
    }

    /// `name|uid[:group|gid]`; empty is root.
    ///
    /// # Errors
    /// A name that is in neither file, or a number that is none, as a sentence.
    pub(crate) fn find(&self, user: &str, group_add: &[String]) -> Result<User, String> {
        let (who, group) = match user.split_once(':') {
            Some((who, group)) => (who, Some(group).filter(|group| !group.is_empty())),
            None => (user, None),
        };
        let who = if who.is_empty() { "0" } else { who };
        let number = who.parse::<u32>().ok().filter(|uid| i32::try_from(*uid).is_ok());
        let entry = self.users().find(|entry| entry.name == who).or_else(|| {
            let number = number?;
            self.users().find(|entry| entry.uid == number)
        });
        let mut found = match (&entry, number) {
            (Some(entry), _) => {
                let groups = self.groups().filter(|group| group.members.contains(&entry.name)).map(|group| group.gid);
                User { uid: entry.uid, gid: entry.gid, groups: groups.collect(), home: entry.home.to_owned() }
            }
            (None, Some(uid)) => User { uid, gid: 0, groups: Vec::new(), home: "/".to_owned() },
            (None, None) => return Err(format!("unable to find user {who}: no matching entries in passwd file")),
        };
        if let Some(group) = group {
            found.gid = self.find_group(group)?;
            found.groups.clear();
        }
        for group in group_add {
            found.groups.push(self.find_group(group)?);
        }
        found.groups.sort_unstable();
        found.groups.dedup();
        Ok(found)
    }

    fn find_group(&self, wanted: &str) -> Result<u32, String> {
        if let Some(group) = self.groups().find(|group| group.name == wanted) {
            return Ok(group.gid);
        }
        let number = wanted.parse::<u32>().ok().filter(|gid| i32::try_from(*gid).is_ok());
        number.ok_or_else(|| format!("unable to find group {wanted}: no matching entries in group file"))
    }
}

/// Reads a text file of a root file system. Links lead nowhere but inside it, and neither a device
/// nor a pipe can hold up the reader.
fn read_inside(root: BorrowedFd<'_>, path: &str) -> Option<String> {
    use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // The type is looked at first without opening: opening a device may already do something.
    let place = rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside).ok()?;
    let metadata = rustix::fs::fstat(&place).ok()?;
    if FileType::from_raw_mode(metadata.st_mode) != FileType::RegularFile {
        return None;
    }
    let file = rustix::fs::openat2(root, path, flags, Mode::empty(), inside).ok()?;
    let mut bytes = Vec::new();
    File::from(file).take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accounts() -> Accounts {
        Accounts::from_texts(
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv/web:/bin/false\n# note\nbad:x:no:1::/:\n1000:x:7:8::/seven:\nlast:x:5:6",
            "root:x:0:\nwww:x:34:\nadm:x:4:web,root\ndisk:x:6:web\nbroken\n",
        )
    }

    fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> Result<User, String> {
        Ok(User { uid, gid, groups: groups.to_vec(), home: home.to_owned() })
    }

    #[test]
    fn names_numbers_and_groups() {
        let accounts = accounts();
        let find = |who: &str| accounts.find(who, &[]);
        assert_eq!(find(""), user(0, 0, &[4], "/root"));
        assert_eq!(find("web"), user(33, 34, &[4, 6], "/srv/web"));
        assert_eq!(find("33"), user(33, 34, &[4, 6], "/srv/web"));
        // An explicit group replaces all others.
        assert_eq!(find("web:adm"), user(33, 4, &[], "/srv/web"));
        assert_eq!(find("4242:77"), user(4242, 77, &[], "/"));
        assert_eq!(find("4242"), user(4242, 0, &[], "/"));
        // A name of digits wins over the number.
        assert_eq!(find("1000"), user(7, 8, &[], "/seven"));
        assert_eq!(find("last"), user(5, 6, &[], "/"));
        for bad in ["nobody", "bad", "web:nope", "4294967295", "-1"] {
            assert!(find(bad).is_err(), "{bad}");
        }
        let more = ["adm".to_owned(), "99".to_owned(), "4".to_owned()];
        assert_eq!(accounts.find("1", &more), user(1, 0, &[4, 99], "/"));
        assert!(accounts.find("1", &["nope".to_owned()]).is_err());
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc/group", root.path().join("etc/group")).unwrap();
        let folder = File::open(root.path()).unwrap();
        let read = Accounts::read(&folder);
        assert_eq!((read.passwd.as_str(), read.group.as_str()), ("", ""));
    }

    proptest! {
        #[test]
        fn a_number_is_always_somebody(uid in 0u32..0x8000_0000, noise in ".{0,80}") {
            let found = Accounts::from_texts(&noise, &noise).find(&format!("{uid}:{uid}"), &[]);
            prop_assert!(found.is_ok());
        }

        #[test]
        fn whoever_is_listed_is_found(name in "[a-z]{1,8}", uid in 0u32..70_000, gid in 0u32..70_000) {
            let accounts = Accounts::from_texts(&format!("x\n{name}:*:{uid}:{gid}::/home/{name}:/bin/sh\n"), "");
            prop_assert_eq!(accounts.find(&name, &[]), user(uid, gid, &[], &format!("/home/{name}")));
        }
    }
}
