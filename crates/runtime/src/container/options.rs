//! The options of a mount, from the words of fstab and the OCI spec to what the kernel takes.

use super::sys::MountAttr;

const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// Nothing but read-only.
pub(crate) const READ_ONLY: MountAttr = MountAttr { set: RDONLY, clear: 0, propagation: 0, userns_fd: 0 };

/// The options of one mount, sorted by who acts upon them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// For this mount.
    pub(crate) attr: MountAttr,
    /// For it and those below it.
    pub(crate) recursive: MountAttr,
    /// Propagation, `MS_*` without `MS_REC`.
    pub(crate) propagation: Option<(u64, Recursive)>,
    /// A bind mount, and whether with those below it.
    pub(crate) bind: Option<Recursive>,
    /// Fill a tmpfs with what the image has there.
    pub(crate) copy_up: bool,
    /// Map ids as the mount's mappings say, here or also below.
    pub(crate) idmap: Option<Recursive>,
    /// For the file system: `key` or `key=value`.
    pub(crate) data: Vec<String>,
}

/// One mount, or all below it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recursive {
    No,
    Yes,
}

impl MountOptions {
    /// Sorts the words of `options`; those nobody knows are for the file system.
    pub(crate) fn parse<'a>(options: impl IntoIterator<Item = &'a str>) -> Self {
        let mut parsed = Self::default();
        for option in options {
            if !parsed.take_mount_word(option) && !parsed.take_flag(option) {
                parsed.data.push(option.to_owned());
            }
        }
        parsed
    }

    /// Whether the mount itself is read-only.
    pub(crate) fn read_only(&self) -> bool {
        (self.attr.set | self.recursive.set) & RDONLY != 0
    }

    fn take_mount_word(&mut self, option: &str) -> bool {
        match option {
            "bind" => self.bind = self.bind.or(Some(Recursive::No)),
            "rbind" => self.bind = Some(Recursive::Yes),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(Recursive::No),
            "ridmap" => self.idmap = Some(Recursive::Yes),
            // `defaults` says nothing; the others are notes of mount(8) and systemd.
            "defaults" | "nofail" | "_netdev" | "auto" | "noauto" | "user" | "nouser" => {}
            _ => return self.take_propagation(option),
        }
        true
    }

    fn take_propagation(&mut self, option: &str) -> bool {
        let (word, recursive) = match option.strip_prefix('r') {
            Some(rest) if matches!(rest, "shared" | "slave" | "private" | "unbindable") => (rest, Recursive::Yes),
            _ => (option, Recursive::No),
        };
        let flag = match word {
            "shared" => libc::MS_SHARED,
            "slave" => libc::MS_SLAVE,
            "private" => libc::MS_PRIVATE,
            "unbindable" => libc::MS_UNBINDABLE,
            _ => return false,
        };
        self.propagation = Some((flag, recursive));
        true
    }

    fn take_flag(&mut self, option: &str) -> bool {
        if let Some((flag, on)) = attr_flag(option) {
            apply(&mut self.attr, flag, on);
            return true;
        }
        // `rro` and its kin; `ro` and `relatime` were caught above.
        if let Some((flag, on)) = option.strip_prefix('r').and_then(attr_flag) {
            apply(&mut self.recursive, flag, on);
            return true;
        }
        // Flags of the superblock go to the file system as words.
        false
    }
}

/// The attribute that a word sets or clears.
fn attr_flag(word: &str) -> Option<(u64, bool)> {
    Some(match word {
        "ro" => (RDONLY, true),
        "rw" => (RDONLY, false),
        "nosuid" => (NOSUID, true),
        "suid" => (NOSUID, false),
        "nodev" => (NODEV, true),
        "dev" => (NODEV, false),
        "noexec" => (NOEXEC, true),
        "exec" => (NOEXEC, false),
        "noatime" => (NOATIME, true),
        "atime" => (NOATIME, false),
        "strictatime" => (STRICTATIME, true),
        "nostrictatime" => (STRICTATIME, false),
        "relatime" | "norelatime" => (0, true),
        "nodiratime" => (NODIRATIME, true),
        "diratime" => (NODIRATIME, false),
        "nosymfollow" => (NOSYMFOLLOW, true),
        "symfollow" => (NOSYMFOLLOW, false),
        _ => return None,
    })
}

/// The last word on a flag wins. The access-time modes are one number of three bits, which the
/// kernel wants cleared whole whenever it is set; zero is `relatime`.
fn apply(attr: &mut MountAttr, flag: u64, on: bool) {
    if flag & ATIME != 0 || flag == 0 {
        attr.set &= !ATIME;
        attr.clear |= ATIME;
        if on {
            attr.set |= flag;
        }
    } else if on {
        attr.set |= flag;
        attr.clear &= !flag;
    } else {
        attr.set &= !flag;
        attr.clear |= flag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted() {
        let options = MountOptions::parse(["rbind", "ro", "rnosuid", "rprivate", "nodev", "dev", "size=64m"]);
        assert_eq!(options.bind, Some(Recursive::Yes));
        assert_eq!(options.attr, MountAttr { set: RDONLY, clear: NODEV, ..MountAttr::default() });
        assert_eq!(options.recursive.set, NOSUID);
        assert_eq!(options.propagation, Some((libc::MS_PRIVATE, Recursive::Yes)));
        assert_eq!(options.data, ["size=64m"]);
        assert!(options.read_only());
    }

    #[test]
    fn the_access_time_mode_is_cleared_when_set() {
        for (word, set) in [("noatime", NOATIME), ("strictatime", STRICTATIME), ("relatime", 0), ("atime", 0)] {
            let options = MountOptions::parse([word]);
            assert_eq!((options.attr.set, options.attr.clear), (set, ATIME), "{word}");
        }
        let options = MountOptions::parse(["rnoatime", "rro"]);
        assert_eq!((options.recursive.set, options.recursive.clear), (NOATIME | RDONLY, ATIME));
        assert_eq!(options.attr, MountAttr::default());
    }
}
