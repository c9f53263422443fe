//! `-p`: `[[ADDRESS:]HOST-PORT[-END]:]PORT[-END][/PROTOCOL]`, or with names,
//! `target=PORT[,published=HOST-PORT][,protocol=PROTOCOL][,mode=host]`.

use anyhow::{Context as _, Result, anyhow, bail};
use model::{PortMode, PortSpec, Protocol};

/// All of them, in order, each once.
///
/// # Errors
/// The first that makes no sense.
pub(crate) fn publish(texts: &[String]) -> Result<Vec<PortSpec>> {
    let mut all: Vec<PortSpec> = Vec::new();
    for text in texts {
        for port in one(text).with_context(|| format!("`{text}`"))? {
            if !all.contains(&port) {
                all.push(port);
            }
        }
    }
    Ok(all)
}

/// `-P`: those that the image exposes and those of `--expose`, each on a port that is chosen, unless
/// it is published already.
///
/// # Errors
/// A port that makes no sense.
pub(crate) fn publish_exposed(ports: &mut Vec<PortSpec>, image: &[String], expose: &[String]) -> Result<()> {
    for text in image.iter().chain(expose) {
        let (text, protocol) = split_protocol(text)?;
        let (first, last) = range(text)?;
        for target in first..=last {
            if !ports.iter().any(|port| port.target == target && port.protocol == protocol) {
                ports.push(PortSpec {
                    target,
                    published: None,
                    published_range: None,
                    host_ip: None,
                    protocol,
                    mode: PortMode::Ingress,
                });
            }
        }
    }
    Ok(())
}

fn one(text: &str) -> Result<Vec<PortSpec>> {
    if text.contains('=') {
        return with_names(text);
    }
    let ports = compose::short::ports(text).map_err(|why| anyhow!(why))?;
    ports.into_iter().map(specified).collect()
}

fn with_names(text: &str) -> Result<Vec<PortSpec>> {
    let (mut target, mut published, mut protocol, mut mode) = ("", "", "tcp", PortMode::Ingress);
    for field in text.split(',') {
        match field.split_once('=').ok_or_else(|| anyhow!("`{field}` is not of the form NAME=VALUE"))? {
            ("target", value) => target = value,
            ("published", value) => published = value,
            ("protocol", value) => protocol = value,
            ("mode", "ingress") => mode = PortMode::Ingress,
            ("mode", "host") => mode = PortMode::Host,
            ("mode", value) => bail!("`{value}` is no mode of a port: ingress and host are"),
            (name, _) => bail!("a port has no `{name}`: target, published, protocol and mode are known"),
        }
    }
    if target.is_empty() {
        bail!("the port of the container is missing: target=PORT");
    }
    let between = if published.is_empty() { "" } else { ":" };
    let ports = one(&format!("{published}{between}{target}/{protocol}"))?;
    Ok(ports.into_iter().map(|port| PortSpec { mode, ..port }).collect())
}

fn specified(port: compose::short::Port) -> Result<PortSpec> {
    let (_, protocol) = split_protocol(&format!("/{}", port.protocol))?;
    let (published, published_range) = match port.published.as_str() {
        // Docker: 0 is "choose one".
        "" | "0" => (None, None),
        text => match range(text)? {
            (low, high) if low == high => (Some(low), None),
            both => (None, Some(both)),
        },
    };
    Ok(PortSpec {
        target: is_port(port.target)?,
        published,
        published_range,
        // An address in its one normal form; none, and the unspecified one as it is.
        host_ip: port.host_ip.parse::<std::net::IpAddr>().ok().map(|address| address.to_string()),
        protocol,
        mode: PortMode::Ingress,
    })
}

/// What stands before the `/`, and the protocol.
///
/// # Errors
/// A protocol that cannot be published.
pub(crate) fn split_protocol(text: &str) -> Result<(&str, Protocol)> {
    match text.split_once('/') {
        None => Ok((text, Protocol::Tcp)),
        Some((rest, protocol)) => match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Ok((rest, Protocol::Tcp)),
            "udp" => Ok((rest, Protocol::Udp)),
            _ => bail!("`{protocol}` is no protocol that can be published: tcp and udp can"),
        },
    }
}

fn range(text: &str) -> Result<(u16, u16)> {
    let (first, last) = compose::short::port_range(text).map_err(|why| anyhow!(why))?;
    Ok((is_port(first)?, last))
}

fn is_port(port: u16) -> Result<u16> {
    if port == 0 {
        bail!("`0` is no port: ports go from 1 to 65535");
    }
    Ok(port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn shown(text: &str) -> String {
        let ports = publish(&[text.to_owned()]).unwrap();
        let one = |port: &PortSpec| {
            let address = port.host_ip.as_deref().unwrap_or("*");
            let published = port.published.map_or("?".to_owned(), |port| port.to_string());
            format!("{address} {published} {} {:?}", port.target, port.protocol)
        };
        ports.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_form_of_docker() {
        assert_eq!(shown("80"), "* ? 80 Tcp");
        assert_eq!(shown("8080:80"), "* 8080 80 Tcp");
        assert_eq!(shown("53:53/udp"), "* 53 53 Udp");
        assert_eq!(shown("127.0.0.1:8080:80"), "127.0.0.1 8080 80 Tcp");
        assert_eq!(shown("127.0.0.1::80"), "127.0.0.1 ? 80 Tcp");
        assert_eq!(shown("[::1]:8080:80/TCP"), "::1 8080 80 Tcp");
        assert_eq!(shown("[::1]::80"), "::1 ? 80 Tcp");
        assert_eq!(shown(":80"), "* ? 80 Tcp");
        assert_eq!(shown("0:80"), "* ? 80 Tcp");
        assert_eq!(shown("8000-8001:80-81"), "* 8000 80 Tcp, * 8001 81 Tcp");
        let range = publish(&["8000-8010:80".to_owned()]).unwrap();
        assert!(range[0].published.is_none() && range[0].published_range == Some((8000, 8010)));
        assert_eq!(shown("80-81"), "* ? 80 Tcp, * ? 81 Tcp");
    }

    #[test]
    fn fields_have_names() {
        assert_eq!(shown("published=8181,target=80"), "* 8181 80 Tcp");
        assert_eq!(shown("target=53,protocol=udp"), "* ? 53 Udp");
        assert_eq!(shown("target=80-81,published=8000-8001"), "* 8000 80 Tcp, * 8001 81 Tcp");
        let host = publish(&["published=8181,target=80,mode=host".to_owned()]).unwrap();
        assert_eq!((host[0].mode, host[0].published), (PortMode::Host, Some(8181)));
        for text in ["target=x", "published=80", "target=80,mode=both", "target=80,port=1", "target=80,host", "=80"] {
            assert!(publish(&[text.to_owned()]).is_err(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "x", "0", "80-0", "1-2-3", "65536", "8080:", "2-1", "80/sctp", "1.2.3:1:2", "127.0.0.1:80", "a:b:c:80"]
        {
            assert!(publish(&[text.to_owned()]).is_err(), "{text}");
        }
    }

    #[test]
    fn exposed_ports_are_published_unless_they_are() {
        let mut ports = publish(&["8080:80".to_owned()]).unwrap();
        publish_exposed(&mut ports, &["80/tcp".to_owned(), "53/udp".to_owned()], &["90-91".to_owned()]).unwrap();
        assert_eq!(ports.iter().map(|port| port.target).collect::<Vec<_>>(), [80, 53, 90, 91]);
    }
}
