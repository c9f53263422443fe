//! `/etc/resolv.conf`: reading the host's, writing the container's.

use std::net::IpAddr;

/// What matters to us of a `resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostResolv {
    /// Servers in order, at most those that parse; link-local ones with a scope are left out.
    pub servers: Vec<IpAddr>,
    /// Search domains of the last `search` or `domain` line.
    pub search: Vec<String>,
}

impl HostResolv {
    /// Parses; unknown lines are ignored as resolvers do.
    pub fn parse(text: &str) -> HostResolv {
        let mut resolv = HostResolv::default();
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => resolv.servers.extend(words.next().and_then(|w| w.parse::<IpAddr>().ok())),
                Some("search" | "domain") => resolv.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        resolv
    }
}

/// The text of a container's `/etc/resolv.conf`.
///
/// `host`: the host's file. `dns`: whether DNS is served at 127.0.0.11 in the container; without it
/// `dns_servers`, else the host's servers, are named directly. `dns_search` replaces the host's domains,
/// a lone `.` means none. `dns_opt` is kept; `ndots:0` is put before unless it sets `ndots` (libnetwork).
pub fn resolv_conf(host: &str, dns: bool, dns_servers: &[String], dns_search: &[String], dns_opt: &[String]) -> String {
    let host = HostResolv::parse(host);
    let servers: Vec<String> = match (dns, dns_servers) {
        (true, _) => vec!["127.0.0.11".to_owned()],
        (false, []) => host.servers.iter().map(IpAddr::to_string).collect(),
        (false, own) => own.to_vec(),
    };
    let search = match dns_search {
        [] => host.search,
        [dot] if dot == "." => Vec::new(),
        own => own.to_vec(),
    };
    let mut options = dns_opt.to_vec();
    if dns && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.insert(0, "ndots:0".to_owned());
    }
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_ask_the_embedded_server() {
        let host = "# x\nnameserver 10.1.1.1\nnameserver fe80::1%eth0\ndomain old\nsearch corp.example lan ; note\n";
        let text = resolv_conf(host, true, &[], &[], &[]);
        assert_eq!(text, "nameserver 127.0.0.11\nsearch corp.example lan\noptions ndots:0\n");
        let text = resolv_conf(host, true, &["1.1.1.1".into()], &[".".into()], &["ndots:2".into(), "rotate".into()]);
        assert_eq!(text, "nameserver 127.0.0.11\noptions ndots:2 rotate\n");
        assert_eq!(resolv_conf(host, false, &[], &["a".into()], &[]), "nameserver 10.1.1.1\nsearch a\n");
    }
}
