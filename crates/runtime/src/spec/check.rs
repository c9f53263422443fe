//! What no host could ever do, found out before anything is changed for it.

use super::{caps, limits, permissions, seccomp};
use crate::logs::Policy;
use crate::signal::Signal;
use model::{ContainerSpec, Seccomp};
use std::net::IpAddr;

/// The newest capability that there is (`CAP_CHECKPOINT_RESTORE`); a kernel may know fewer.
const LAST_CAP: usize = 40;

/// Does each value of a container's spec make sense by itself, whatever the host? Placeholders (`{{…}}`) do.
///
/// # Errors
/// All that do not, a sentence each, with the name of the key in Compose files.
pub fn check(container: &ContainerSpec) -> Result<(), Vec<String>> {
    let is_filled_later = |text: &str| text.contains("{{");
    let mut wrong = Vec::new();
    let asked = caps::set(&container.cap_add, &container.cap_drop, container.privileged, LAST_CAP);
    match (&asked, &container.seccomp) {
        (Ok(asked), Seccomp::Profile(text)) => {
            wrong
                .extend(seccomp::custom_profile(text, asked, "x86_64").err().map(|why| format!("security_opt: {why}")));
        }
        _ => wrong.extend(asked.err().map(|why| format!("cap_add, cap_drop: {why}"))),
    }
    wrong.extend(Policy::parse(&container.logging).err().map(|why| format!("logging: {why}")));
    wrong.extend(limits::rlimits(container).err());
    wrong.extend(limits::rules(container).err());
    wrong.extend(container.devices.iter().filter_map(|device| permissions(device).err()));
    if let Some(text) = &container.stop_signal
        && text.parse::<Signal>().is_err()
    {
        wrong.push(format!("stop_signal: `{text}` is no signal"));
    }
    for name in container.sysctls.keys().filter(|name| !is_of_namespace(name)) {
        wrong.push(format!(
            "sysctls: `{name}` is the whole machine's, not a container's (net.*, fs.mqueue.* and those of IPC are)"
        ));
    }
    for text in container.dns.iter().filter(|text| text.parse::<IpAddr>().is_err()) {
        wrong.push(format!("dns: `{text}` is no address"));
    }
    // Each is a word of a line in a file of the container.
    let is_word = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    for (key, words) in [("dns_search", &container.dns_search), ("dns_opt", &container.dns_opt)] {
        wrong.extend(words.iter().filter(|text| !is_word(text)).map(|text| format!("{key}: {text:?} is no word")));
    }
    for (name, target) in &container.extra_hosts {
        if !is_filled_later(name) && !is_word(name) {
            wrong.push(format!("extra_hosts: {name:?} is no name of a host"));
        }
        let bare = target.trim_start_matches('[').trim_end_matches(']');
        if target != "host-gateway" && !is_filled_later(target) && bare.parse::<IpAddr>().is_err() {
            wrong.push(format!("extra_hosts: `{target}` of `{name}` is no address"));
        }
    }
    if container.env.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
        wrong.push("environment: a variable has no name".to_owned());
    }
    if let Some(name) = &container.hostname
        && !is_filled_later(name)
        && !is_host(name)
    {
        wrong.push(format!("hostname: `{name}` is no name of a host"));
    }
    if let Some(folder) = &container.working_dir
        && !folder.is_empty()
        && !folder.starts_with('/')
    {
        wrong.push(format!("working_dir: `{folder}` does not begin with /"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Of a namespace that a container has for itself (runc's list).
fn is_of_namespace(name: &str) -> bool {
    const IPC_AND_UTS: [&str; 10] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.domainname",
        "kernel.hostname",
    ];
    let name = name.replace('/', ".");
    IPC_AND_UTS.contains(&name.as_str()) || name.starts_with("net.") || name.starts_with("fs.mqueue.")
}

/// Letters, digits and what is between them, as the kernel and `/etc/hosts` can bear it.
fn is_host(name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    !name.is_empty() && name.len() <= 253 && name.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Logging;

    fn wrong(change: impl FnOnce(&mut ContainerSpec)) -> String {
        let mut container = ContainerSpec::default();
        change(&mut container);
        check(&container).map_or_else(|wrong| wrong.join("\n"), |()| String::new())
    }

    #[test]
    fn what_is_usual_passes() {
        let usual = wrong(|it| {
            it.cap_add = vec!["NET_ADMIN".to_owned(), "cap_sys_time".to_owned()];
            it.stop_signal = Some("SIGRTMIN+3".to_owned());
            it.dns = vec!["1.1.1.1".to_owned(), "2606:4700::1111".to_owned()];
            it.extra_hosts = [("a", "host-gateway"), ("b", "[::1]"), ("c", "10.0.0.1"), ("d", "{{.Node.Addr}}")]
                .map(|(name, target)| (name.to_owned(), target.to_owned()))
                .to_vec();
            it.sysctls.insert("net.core.somaxconn".to_owned(), "1024".to_owned());
            it.hostname = Some("{{.Node.Hostname}}-web".to_owned());
            it.working_dir = Some("/srv".to_owned());
        });
        assert_eq!(usual, "");
    }

    #[test]
    fn each_mistake_is_told_by_its_key() {
        assert_eq!(wrong(|it| it.cap_add.push("NOPE".to_owned())), "cap_add, cap_drop: `NOPE` is no capability");
        assert_eq!(wrong(|it| it.stop_signal = Some("SIGNOPE".to_owned())), "stop_signal: `SIGNOPE` is no signal");
        assert_eq!(wrong(|it| it.dns.push("notip".to_owned())), "dns: `notip` is no address");
        let host = ("foo".to_owned(), "notip".to_owned());
        assert_eq!(wrong(|it| it.extra_hosts.push(host)), "extra_hosts: `notip` of `foo` is no address");
        let host = ("foo\n6.6.6.6 bank".to_owned(), "10.0.0.1".to_owned());
        assert!(wrong(|it| it.extra_hosts.push(host)).contains("is no name of a host"));
        let search = "a\nnameserver 6.6.6.6".to_owned();
        assert_eq!(wrong(|it| it.dns_search.push(search)), "dns_search: \"a\\nnameserver 6.6.6.6\" is no word");
        assert!(wrong(|it| drop(it.sysctls.insert("kernel.pid_max".to_owned(), "5".to_owned()))).contains("sysctls"));
        assert_eq!(wrong(|it| it.hostname = Some("a b".to_owned())), "hostname: `a b` is no name of a host");
        assert_eq!(wrong(|it| it.working_dir = Some("rel".to_owned())), "working_dir: `rel` does not begin with /");
        assert!(wrong(|it| drop(it.env.insert(String::new(), Some("x".to_owned())))).contains("environment"));
        let logging = |it: &mut ContainerSpec| {
            it.logging = Logging { options: [("max-size".to_owned(), "xx".to_owned())].into(), ..Logging::default() };
        };
        assert!(wrong(logging).starts_with("logging: "));
        let both = wrong(|it| (it.dns, it.working_dir) = (vec!["x".to_owned()], Some("rel".to_owned())));
        assert_eq!(both.lines().count(), 2);
    }
}
