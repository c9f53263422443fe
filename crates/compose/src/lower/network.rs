//! Networks and ports of a service.

use super::{Lower, list};
use crate::short::port_range;
use crate::tree::Node;
use model::spec::{ExposedPort, NetworkAttachment, NetworkMode, PortMode, PortSpec, Protocol};
use std::collections::BTreeSet;

impl Lower<'_> {
    /// Networks, the most important first.
    pub(super) fn attachments(&self, node: &Node) -> Vec<NetworkAttachment> {
        let mut entries: Vec<(&String, &Node)> = node.entries("networks").collect();
        entries.sort_by_key(|(_, entry)| -entry.get_int("priority").unwrap_or(0));
        let attachment = |(key, entry): (&String, &Node)| {
            let text = |name: &str| entry.get_text(name).map(str::to_owned);
            NetworkAttachment {
                network: self.full_name("networks", key),
                aliases: list(entry, "aliases"),
                ipv4_address: text("ipv4_address"),
                ipv6_address: text("ipv6_address"),
                mac_address: text("mac_address"),
            }
        };
        let mut attachments: Vec<NetworkAttachment> = entries.into_iter().map(attachment).collect();
        if let (Some(mac), Some(first)) = (node.get_text("mac_address"), attachments.first_mut()) {
            first.mac_address.get_or_insert_with(|| mac.to_owned());
        }
        attachments
    }

    /// `network_mode`.
    pub(super) fn network_mode(&mut self, key: &str, node: &Node) -> NetworkMode {
        let Some(mode) = node.get("network_mode") else { return NetworkMode::Networks };
        let text = mode.as_text().unwrap_or_default();
        match text.split_once(':') {
            None if text == "host" => NetworkMode::Host,
            None if text == "none" => NetworkMode::None,
            None if matches!(text, "bridge" | "default") => {
                let message = format!(
                    "services.{key}.network_mode `{text}` is not done yet: the container joins `{}_default`",
                    self.project
                );
                self.context.warn_on("RS0701", mode, message, None);
                NetworkMode::Networks
            }
            Some(("service", other)) if !other.is_empty() => NetworkMode::Service(other.to_owned()),
            Some(("container", other)) if !other.is_empty() => NetworkMode::Container(other.to_owned()),
            _ => {
                let message = format!("services.{key}.network_mode can't be `{text}`");
                let hint = "one of: host, none, service:NAME, container:NAME; for networks of your own use `networks:`";
                self.context.error_on("RS0601", mode, message, Some(hint.to_owned()));
                NetworkMode::None
            }
        }
    }

    /// Published ports.
    pub(super) fn ports(&mut self, key: &str, node: &Node) -> Vec<PortSpec> {
        let mut ports = Vec::new();
        for (index, item) in node.items("ports").iter().enumerate() {
            let path = format!("services.{key}.ports[{index}]");
            if let Some(port) = self.port(&path, item) {
                ports.push(port);
            }
        }
        ports
    }

    /// Ports of `expose`, and those of `ports` that have a name.
    pub(super) fn exposed(&mut self, key: &str, node: &Node) -> BTreeSet<ExposedPort> {
        let named = node.items("ports").iter().filter_map(|item| {
            let name = item.get_text("name").filter(|name| !name.is_empty())?.to_lowercase();
            let target = item.get_int("target").and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?;
            let protocol = protocol(item.get_text("protocol").unwrap_or("tcp"))?;
            Some(ExposedPort { first: target, last: target, protocol, name: Some(name) })
        });
        let mut all: BTreeSet<ExposedPort> = named.collect();
        for (index, item) in node.items("expose").iter().enumerate() {
            let text = item.as_text().unwrap_or_default();
            let (range, word) = text.split_once('/').unwrap_or((text, "tcp"));
            match port_range(range) {
                // Of other protocols nobody can be told.
                Ok((first, last)) if first > 0 => {
                    all.extend(protocol(&word.to_lowercase()).map(|protocol| ExposedPort {
                        first,
                        last,
                        protocol,
                        name: None,
                    }));
                }
                _ => {
                    let message = format!("services.{key}.expose[{index}]: `{text}` is no port");
                    let hint = "PORT or PORT-PORT, with /tcp or /udp after it if you like".to_owned();
                    self.context.error_on("RS0604", item, message, Some(hint));
                }
            }
        }
        all
    }

    fn port(&mut self, path: &str, item: &Node) -> Option<PortSpec> {
        let target = item.get_int("target").and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        let Some(target) = target else {
            self.context.error_on(
                "RS0604",
                item,
                format!("{path}: the target is no port"),
                Some("1 to 65535".to_owned()),
            );
            return None;
        };
        let word = item.get_text("protocol").unwrap_or("tcp");
        let Some(protocol) = protocol(word) else {
            let message = format!("{path}: the protocol `{word}` is not done yet");
            self.context.error_on("RS0605", item, message, Some("use tcp or udp".to_owned()));
            return None;
        };
        let mode = match item.get_text("mode") {
            None | Some("ingress") => PortMode::Ingress,
            Some("host") => PortMode::Host,
            Some(other) => {
                let message = format!("{path}.mode can't be `{other}`");
                self.context.error_on("RS0601", item, message, Some("one of: ingress, host".to_owned()));
                return None;
            }
        };
        let published = item.get_text("published").and_then(|text| port_range(text).ok());
        let (single, range) = published_as(published);
        Some(PortSpec {
            target,
            published: single,
            published_range: range,
            host_ip: item.get_text("host_ip").map(str::to_owned),
            protocol,
            mode,
        })
    }
}

fn protocol(word: &str) -> Option<Protocol> {
    match word {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

/// What stands for the host's side: one port, or the ends of a range that one is chosen from. From 0: any.
fn published_as(range: Option<(u16, u16)>) -> (Option<u16>, Option<(u16, u16)>) {
    match range {
        None | Some((0, _)) => (None, None),
        Some((low, high)) if low == high => (Some(low), None),
        Some(both) => (None, Some(both)),
    }
}
