//! `-p`: `[[ADDRESS:]HOST-PORT[-END]:]PORT[-END][/PROTOCOL]`.

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
                ports.push(PortSpec { target, published: None, host_ip: None, protocol, mode: PortMode::Ingress });
            }
        }
    }
    Ok(())
}

fn one(text: &str) -> Result<Vec<PortSpec>> {
    let (rest, protocol) = split_protocol(text)?;
    let (rest, target) = match rest.rsplit_once(':') {
        Some((rest, target)) => (Some(rest), target),
        None => (None, rest),
    };
    let (host_ip, published) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            // `[::1]::80`, `127.0.0.1:8080:80`
            Some((address, published)) => (Some(self::address(address)?), published),
            None if rest.contains('.') => bail!("between the address and the port there must be a host port or `::`"),
            None => (None, rest),
        },
    };
    let host_ip = host_ip.flatten();
    let (first, last) = range(target)?;
    let count = last - first;
    let published: Vec<Option<u16>> = if published.is_empty() {
        vec![None; usize::from(count) + 1]
    } else {
        let (from, to) = range(published)?;
        if to - from != count {
            bail!("the ranges {published} and {target} differ in length");
        }
        (from..=to).map(Some).collect()
    };
    let make = |(target, published)| PortSpec {
        target,
        published,
        host_ip: host_ip.clone(),
        protocol,
        mode: PortMode::Ingress,
    };
    Ok((first..=last).zip(published).map(make).collect())
}

/// `None` for every address.
fn address(text: &str) -> Result<Option<String>> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    if plain.is_empty() {
        return Ok(None);
    }
    let address: std::net::IpAddr = plain.parse().map_err(|_| anyhow!("`{text}` is no IP address"))?;
    Ok(Some(address.to_string()))
}

fn split_protocol(text: &str) -> Result<(&str, Protocol)> {
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
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(anyhow!("`{text}` is no port: ports go from 1 to 65535")),
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if last < first {
        bail!("the range {text} ends before it begins");
    }
    Ok((first, last))
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
        assert_eq!(shown("8000-8001:80-81"), "* 8000 80 Tcp, * 8001 81 Tcp");
        assert_eq!(shown("80-81"), "* ? 80 Tcp, * ? 81 Tcp");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "0", "65536", "8080:", "1-2:3", "2-1", "80/sctp", "1.2.3:1:2", "127.0.0.1:80", "a:b:c:80"]
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
