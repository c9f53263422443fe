//! `--network`: Docker's short form, a name, and its long one, `name=NETWORK,alias=NAME,ip=ADDRESS`.

use crate::args::run::Network;
use anyhow::{Context as _, Result, anyhow, bail};
use model::{DEFAULT_NETWORK, NetworkAttachment, NetworkMode};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a container is attached to, in the order of the flags.
///
/// # Errors
/// Networks that exclude each other, or a long form that makes no sense.
pub(crate) fn of(network: &Network) -> Result<(Vec<NetworkAttachment>, NetworkMode)> {
    let fixed = NetworkAttachment {
        network: DEFAULT_NETWORK.to_owned(),
        aliases: network.network_alias.clone(),
        ipv4_address: network.ip.clone(),
        ipv6_address: network.ip6.clone(),
        mac_address: network.mac_address.clone(),
    };
    match network.networks.as_slice() {
        [] => Ok((vec![fixed], NetworkMode::Networks)),
        [one] if one == "host" => Ok((Vec::new(), NetworkMode::Host)),
        [one] if one == "none" => Ok((Vec::new(), NetworkMode::None)),
        [one] if one.starts_with("container:") => {
            let name = one.trim_start_matches("container:");
            if name.is_empty() {
                bail!("--network container: needs the name of a container");
            }
            Ok((Vec::new(), NetworkMode::Container(name.to_owned())))
        }
        several => {
            let mut list: Vec<NetworkAttachment> = Vec::new();
            for text in several {
                let mut attachment = attachment(text)?;
                if list.iter().any(|other| other.network == attachment.network) {
                    bail!("--network {}: it is named twice", attachment.network);
                }
                if !attachment.aliases.is_empty() && !fixed.aliases.is_empty() {
                    bail!("--network {text}: --network-alias and an alias of one network contradict each other");
                }
                attachment.aliases.extend_from_slice(&fixed.aliases);
                // Addresses that flags of their own name are of the first network.
                if list.is_empty() {
                    let either = |own: Option<String>, flag: &Option<String>, name: &str| match (own, flag) {
                        (Some(_), Some(_)) => Err(anyhow!("--network {text}: --{name} says it as well")),
                        (own, flag) => Ok(own.or_else(|| flag.clone())),
                    };
                    attachment.ipv4_address = either(attachment.ipv4_address, &fixed.ipv4_address, "ip")?;
                    attachment.ipv6_address = either(attachment.ipv6_address, &fixed.ipv6_address, "ip6")?;
                    attachment.mac_address = either(attachment.mac_address, &fixed.mac_address, "mac-address")?;
                }
                list.push(attachment);
            }
            Ok((list, NetworkMode::Networks))
        }
    }
}

/// One of several networks, in either form.
///
/// # Errors
/// A field that is not known, or that is no address; a network that excludes all others.
pub(crate) fn attachment(text: &str) -> Result<NetworkAttachment> {
    parsed(text).with_context(|| format!("--network {text}"))
}

fn parsed(text: &str) -> Result<NetworkAttachment> {
    let mut attachment = NetworkAttachment::default();
    if !text.contains('=') {
        text.clone_into(&mut attachment.network);
    } else {
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let value = Some(value.trim()).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| anyhow!("`{key}` needs a value"))?.to_owned();
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => attachment.network = value,
                "alias" => attachment.aliases.push(value),
                "ip" => {
                    value.parse::<Ipv4Addr>().map_err(|_| anyhow!("`{value}` is no IPv4 address"))?;
                    attachment.ipv4_address = Some(value);
                }
                "ip6" => {
                    value.parse::<Ipv6Addr>().map_err(|_| anyhow!("`{value}` is no IPv6 address"))?;
                    attachment.ipv6_address = Some(value);
                }
                "mac-address" => attachment.mac_address = Some(value),
                _ => bail!("`{key}` is no field of a network: name, alias, ip, ip6 and mac-address are"),
            }
        }
    }
    match attachment.network.as_str() {
        "" => bail!("it does not name a network"),
        "default" => DEFAULT_NETWORK.clone_into(&mut attachment.network),
        name if matches!(name, "host" | "none") || name.starts_with("container:") => {
            bail!("it cannot be combined with other networks")
        }
        _ => {}
    }
    Ok(attachment)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn flags(networks: &[&str]) -> Network {
        Network { networks: networks.iter().map(|text| (*text).to_owned()).collect(), ..Network::default() }
    }

    #[test]
    fn the_long_form_is_of_one_network() {
        let asked = Network {
            ip: Some("10.1.0.9".to_owned()),
            ..flags(&["one", "name=two,alias=db,alias=store,ip6=fd00::7,mac-address=02:00:00:00:00:01"])
        };
        let (list, mode) = of(&asked).unwrap();
        assert_eq!(mode, NetworkMode::Networks);
        assert_eq!((list[0].network.as_str(), list[0].ipv4_address.as_deref()), ("one", Some("10.1.0.9")));
        assert_eq!((list[1].network.as_str(), list[1].aliases.join(" ").as_str()), ("two", "db store"));
        assert_eq!((list[1].ipv4_address.as_deref(), list[1].ipv6_address.as_deref()), (None, Some("fd00::7")));
    }

    #[test]
    fn aliases_of_a_flag_are_of_all() {
        let asked = Network { network_alias: vec!["db".to_owned()], ..flags(&["one", "name=two"]) };
        assert!(of(&asked).unwrap().0.iter().all(|attachment| attachment.aliases == ["db"]));
        let twice = Network { network_alias: vec!["db".to_owned()], ..flags(&["name=two,alias=x"]) };
        assert!(of(&twice).unwrap_err().to_string().contains("contradict"));
        let twice = Network { ip: Some("10.0.0.1".to_owned()), ..flags(&["name=two,ip=10.0.0.2"]) };
        assert!(of(&twice).unwrap_err().to_string().contains("--ip says it as well"));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, why) in [
            ("alias=x", "does not name a network"),
            ("name=", "`name` needs a value"),
            ("name=a,color=red", "`color` is no field"),
            ("name=a,ip=fd00::1", "no IPv4 address"),
            ("host", "cannot be combined"),
            ("name=container:x", "cannot be combined"),
        ] {
            let error = format!("{:#}", attachment(text).unwrap_err());
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
        assert!(of(&flags(&["one", "name=one"])).unwrap_err().to_string().contains("twice"));
        assert!(of(&flags(&["one", "none"])).is_err());
    }
}
