//! The user of a process.

use super::Error;
use oci_spec::runtime::User;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Largest part of /etc/passwd that is looked at.
const PASSWD_LIMIT: u64 = 1 << 20;

/// Becomes the user: groups first, while there is the right to.
pub(crate) fn set(user: &User) -> Result<(), Error> {
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    let failed = |what: String| move |error: Errno| Error::io(what, error);
    match set_thread_groups(&groups) {
        // A user namespace whose setgroups is denied keeps what it has, which is no more.
        Err(Errno::PERM) if groups.is_empty() => {}
        result => result.map_err(failed("set additional groups".to_owned()))?,
    }
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    set_thread_res_gid(gid, gid, gid).map_err(failed(format!("set group {}", user.gid())))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed(format!("set user {}", user.uid())))
}

/// `HOME=…` by the container's /etc/passwd, if the environment has none.
pub(crate) fn home_variable(env: &[&str], uid: u32) -> Option<String> {
    if env.iter().any(|variable| variable.starts_with("HOME=")) {
        return None;
    }
    Some(format!("HOME={}", passwd_home(uid).unwrap_or_else(|| "/".to_owned())))
}

fn passwd_home(uid: u32) -> Option<String> {
    use std::io::Read;
    let file = rustix::fs::open(
        "/etc/passwd",
        // An image may have a fifo there; that must not hold us.
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let mut text = Vec::new();
    std::fs::File::from(file.ok()?).take(PASSWD_LIMIT).read_to_end(&mut text).ok()?;
    home_in(&String::from_utf8_lossy(&text), uid)
}

fn home_in(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    line.split(':').nth(5).filter(|home| !home.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_comes_from_passwd_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad\napp:x:1000:1000::/home/app:/bin/sh\n";
        assert_eq!(home_in(passwd, 1000).as_deref(), Some("/home/app"));
        assert_eq!(home_in(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home_in(passwd, 7), None);
        assert_eq!(home_variable(&["HOME=/x"], 0), None);
    }
}
