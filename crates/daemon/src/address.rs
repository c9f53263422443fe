//! Where nodes find each other: `ADDRESS[:PORT]`, `INTERFACE[:PORT]`, or what can be concluded.

use crate::failure;
use api::ApiError;
use model::CLUSTER_PORT as PORT;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _, UdpSocket};
use std::path::Path;

/// An address of the documentation's block: asking for the way there sends nothing (RFC 5737).
const FAR_AWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// The links of this host with their addresses.
pub(crate) type Links = [(String, IpAddr)];

/// Those of the host that a daemon with this run root is on.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn links(run_root: &Path) -> Result<Vec<(String, IpAddr)>, ApiError> {
    overlay_net::host_addresses(run_root)
        .map_err(|error| failure::failed(format!("read the addresses of this host: {error}")))
}

/// Tries to listen there, so that a taken port is told before anything changes.
///
/// # Errors
/// It is taken, or no address of this host.
pub(crate) fn check_free(listen: SocketAddr) -> Result<(), ApiError> {
    TcpListener::bind(listen)
        .map(drop)
        .map_err(|error| failure::conflict(format!("the cluster port cannot listen at {listen}: {error}")))
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT` or `V6` in its two parts.
fn split(text: &str) -> Result<(&str, u16), String> {
    let port = |text: &str, whole: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("`{whole}`: `{text}` is no port (1 to 65535)")),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| format!("`{text}`: the `]` is missing"))?;
        return match rest.strip_prefix(':') {
            Some(number) => Ok((host, port(number, text)?)),
            None if rest.is_empty() => Ok((host, PORT)),
            None => Err(format!("`{text}`: after `]` comes `:PORT` or nothing")),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, PORT)),
        Some((host, number)) => Ok((host, port(number, text)?)),
        None => Ok((text, PORT)),
    }
}

/// Where the port listens.
///
/// # Errors
/// It is neither an address nor a link of this host; for people.
pub(crate) fn listen(text: Option<&str>, links: &Links) -> Result<SocketAddr, String> {
    let Some(text) = text else { return Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT)) };
    let (host, port) = split(text)?;
    Ok(SocketAddr::new(own(host, links).map_err(|why| format!("--listen-addr {text}: {why}"))?, port))
}

/// Where others reach it. `towards`: a manager that it can reach; the address it does so from is the one.
///
/// # Errors
/// It is neither an address nor a link of this host, or nothing can be concluded; for people.
pub(crate) fn advertise(
    text: Option<&str>,
    listen: SocketAddr,
    towards: Option<SocketAddr>,
    links: &Links,
) -> Result<String, String> {
    let (address, port) = match text {
        Some(text) => {
            let (host, port) = split(text)?;
            let explicit = host != text && !text.ends_with(']');
            let port = if explicit { port } else { listen.port() };
            (own(host, links).map_err(|why| format!("--advertise-addr {text}: {why}"))?, port)
        }
        None if !listen.ip().is_unspecified() => (listen.ip(), listen.port()),
        None => (concluded(towards, links)?, listen.port()),
    };
    if address.is_unspecified() {
        return Err(format!("{address} is every address of this host: name one that other nodes reach"));
    }
    Ok(SocketAddr::new(address, port).to_string())
}

/// An address as it was typed: itself, or the name of a link.
///
/// # Errors
/// It is neither; for people.
pub(crate) fn own(host: &str, links: &Links) -> Result<IpAddr, String> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let of: Vec<IpAddr> = links.iter().filter(|(name, _)| name == host).map(|(_, address)| *address).collect();
    of.iter().find(|address| address.is_ipv4()).or(of.first()).copied().ok_or_else(|| {
        let known: Vec<&str> = links.iter().map(|(name, _)| name.as_str()).collect();
        format!("`{host}` is neither an address nor a network interface with one (there are: {})", known.join(", "))
    })
}

/// The address that the host itself would speak from.
fn concluded(towards: Option<SocketAddr>, links: &Links) -> Result<IpAddr, String> {
    if let Some(address) = source(towards.unwrap_or(FAR_AWAY)) {
        return Ok(address);
    }
    match links {
        [(_, only)] => Ok(*only),
        [] => Err("this host has no address that others could reach: give one with --advertise-addr".to_owned()),
        several => {
            let list: Vec<String> = several.iter().map(|(name, address)| format!("{address} on {name}")).collect();
            Err(format!("this host has several addresses ({}): give one with --advertise-addr", list.join(", ")))
        }
    }
}

/// Which address the kernel takes on the way there. Nothing is sent.
fn source(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

/// A manager's address as it was typed, with its port.
///
/// # Errors
/// It makes no sense; for people.
pub(crate) fn manager(text: &str) -> Result<String, String> {
    let (host, port) = split(text)?;
    if host.is_empty() {
        return Err(format!("`{text}` names no host"));
    }
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// The first address of a manager, as far as its name can be resolved. Blocks.
pub(crate) fn resolve(manager: &str) -> Option<SocketAddr> {
    manager.to_socket_addrs().ok()?.next()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn links() -> Vec<(String, IpAddr)> {
        let link = |name: &str, address: &str| (name.to_owned(), address.parse().unwrap());
        vec![link("eth0", "fd00::5"), link("eth0", "10.1.0.5"), link("wg0", "10.2.0.5")]
    }

    #[test]
    fn addresses_and_links_with_ports_and_without() {
        let links = links();
        let at = |text: Option<&str>| listen(text, &links).map(|address| address.to_string());
        assert_eq!(at(None).unwrap(), "0.0.0.0:2377");
        assert_eq!(at(Some("eth0")).unwrap(), "10.1.0.5:2377");
        assert_eq!(at(Some("wg0:4000")).unwrap(), "10.2.0.5:4000");
        assert_eq!(at(Some("[fd00::5]:9")).unwrap(), "[fd00::5]:9");
        assert_eq!(at(Some("fd00::5")).unwrap(), "[fd00::5]:2377");
        for (bad, words) in
            [("eth7", "eth0, eth0, wg0"), ("eth0:0", "no port"), ("10.0.0.1:x", "no port"), ("[::1", "]")]
        {
            let why = at(Some(bad)).unwrap_err();
            assert!(why.contains(words), "{bad}: {why}");
        }
    }

    #[test]
    fn what_others_are_told() {
        let links = links();
        let any = "0.0.0.0:4000".parse().unwrap();
        let told = |text: Option<&str>, listen| advertise(text, listen, None, &links);
        assert_eq!(told(Some("10.1.0.5"), any).unwrap(), "10.1.0.5:4000", "the port that it listens at");
        assert_eq!(told(Some("eth0:5000"), any).unwrap(), "10.1.0.5:5000", "behind a forwarded port");
        assert_eq!(told(None, "10.2.0.5:2377".parse().unwrap()).unwrap(), "10.2.0.5:2377");
        assert!(told(Some("0.0.0.0"), any).unwrap_err().contains("every address"));
        let own = advertise(None, any, Some("127.0.0.1:2377".parse().unwrap()), &links).unwrap();
        assert_eq!(own, "127.0.0.1:4000", "the address that it reaches the manager from");
    }

    #[test]
    fn managers_as_they_are_typed() {
        assert_eq!(manager("m1").unwrap(), "m1:2377");
        assert_eq!(manager("10.0.0.1:9").unwrap(), "10.0.0.1:9");
        assert_eq!(manager("fd00::1").unwrap(), "[fd00::1]:2377");
        assert!(manager(":2377").is_err());
    }
}
