//! Volumes, binds, memory; and the files of configs and secrets.

use super::Lower;
use crate::tree::Node;
use crate::units;
use model::spec::{FileRef, Mount, MountSource};
use model::stack::StackSpec;

impl Lower<'_> {
    /// `volumes`, then `tmpfs`.
    pub(super) fn mounts(&mut self, key: &str, node: &Node) -> Vec<Mount> {
        let mut mounts = Vec::new();
        for (index, item) in node.items("volumes").iter().enumerate() {
            let path = format!("services.{key}.volumes[{index}]");
            if let Some(source) = self.mount_source(&path, item) {
                let target = item.get_text("target").unwrap_or_default().to_owned();
                self.absolute_target(&path, item, &target);
                mounts.push(Mount { target, source, read_only: item.flag("read_only") });
            }
        }
        for (index, item) in node.items("tmpfs").iter().enumerate() {
            let text = item.as_text().unwrap_or_default();
            let mount = tmpfs(text);
            self.absolute_target(&format!("services.{key}.tmpfs[{index}]"), item, &mount.target);
            mounts.push(mount);
        }
        mounts
    }

    fn absolute_target(&mut self, path: &str, item: &Node, target: &str) {
        if !target.starts_with('/') {
            let message = format!("{path}: the target `{target}` is no absolute path");
            let hint = match target.as_bytes() {
                [letter, b':', ..] if letter.is_ascii_alphabetic() => {
                    "a letter before a colon is a Windows drive; names of volumes have two characters or more"
                }
                _ => "start it with `/`",
            };
            self.context.error_on("RS0602", item, message, Some(hint.to_owned()));
        }
    }

    fn mount_source(&mut self, path: &str, item: &Node) -> Option<MountSource> {
        let source = item.get_text("source").unwrap_or_default();
        Some(match item.get_text("type").unwrap_or_default() {
            "volume" if source.is_empty() => MountSource::Anonymous,
            "volume" => {
                let options = item.get("volume").cloned().unwrap_or_default();
                MountSource::Volume {
                    name: self.full_name("volumes", source),
                    nocopy: options.flag("nocopy"),
                    subpath: options.get_text("subpath").map(str::to_owned),
                }
            }
            "bind" => {
                let bind = item.get("bind");
                let options = bind.cloned().unwrap_or_default();
                MountSource::Bind {
                    path: source.to_owned(),
                    create: bind.is_some() && options.get("create_host_path").is_none(),
                    propagation: options.get_text("propagation").map(str::to_owned),
                    recursive: options.get_text("recursive") != Some("disabled"),
                }
            }
            "tmpfs" => {
                let options = item.get("tmpfs").cloned().unwrap_or_default();
                MountSource::Tmpfs {
                    size: options.get_text("size").and_then(|size| size.parse().ok()),
                    mode: options.get_int("mode").and_then(|mode| u32::try_from(mode).ok()),
                    options: Vec::new(),
                }
            }
            other => {
                let message = format!("{path}: mounts of type `{other}` are not done yet");
                self.context.error_on("RS0605", item, message, Some("use bind, volume or tmpfs".to_owned()));
                return None;
            }
        })
    }

    /// `volumes_from`: the mounts of another service, except its anonymous volumes.
    pub(super) fn volumes_from(&mut self, stack: &mut StackSpec) {
        for (key, node) in self.services() {
            for (index, item) in node.items("volumes_from").iter().enumerate() {
                let text = item.as_text().unwrap_or_default();
                let (other, mode) = text.split_once(':').unwrap_or((text, "rw"));
                let Some(mounts) =
                    stack.services.get(&self.service_name(other)).map(|spec| spec.container.mounts.clone())
                else {
                    let message =
                        format!("services.{key}.volumes_from[{index}] `{text}` is not done yet: nothing is mounted");
                    self.context.warn_on("RS0701", item, message, None);
                    continue;
                };
                let Some(spec) = stack.services.get_mut(&self.service_name(key)) else { continue };
                for mut mount in mounts {
                    let taken = spec.container.mounts.iter().any(|own| own.target == mount.target);
                    if taken || mount.source == MountSource::Anonymous {
                        continue;
                    }
                    mount.read_only |= mode == "ro";
                    spec.container.mounts.push(mount);
                }
            }
        }
    }

    /// `configs` or `secrets` of a service.
    pub(super) fn file_refs<Id>(&mut self, key: &str, node: &Node, section: &str) -> Vec<FileRef<Id>> {
        let mut refs = Vec::new();
        for (index, item) in node.items(section).iter().enumerate() {
            let source = item.get_text("source").unwrap_or_default();
            let folder = if section == "secrets" { "/run/secrets/" } else { "/" };
            let target = match item.get_text("target") {
                Some(target) if target.starts_with('/') => target.to_owned(),
                Some(target) => format!("{folder}{target}"),
                None => format!("{folder}{source}"),
            };
            let path = format!("services.{key}.{section}[{index}]");
            let mode = item.get_text("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok());
            refs.push(FileRef {
                name: self.full_name(section, source),
                id: None,
                target,
                uid: self.numeric(&path, item, "uid"),
                gid: self.numeric(&path, item, "gid"),
                mode: mode.unwrap_or(0o444),
            });
        }
        refs
    }

    fn numeric(&mut self, path: &str, item: &Node, key: &str) -> u32 {
        let Some(node) = item.get(key) else { return 0 };
        let text = node.as_text().unwrap_or_default();
        text.parse().unwrap_or_else(|_| {
            let message = format!("{path}.{key}: `{text}` is no number");
            self.context.error_on(
                "RS0609",
                node,
                message,
                Some("names are not looked up here; write the number".to_owned()),
            );
            0
        })
    }
}

/// `/path:size=64m,mode=1770,noexec`
fn tmpfs(text: &str) -> Mount {
    let (target, list) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut options, mut read_only) = (None, None, Vec::new(), false);
    for option in list.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) if units::bytes(value).is_some() => {
                size = units::bytes(value).and_then(|bytes| u64::try_from(bytes).ok());
            }
            Some(("mode", value)) if u32::from_str_radix(value, 8).is_ok() => mode = u32::from_str_radix(value, 8).ok(),
            _ if option == "ro" => read_only = true,
            _ if option == "rw" => {}
            _ => options.push(option.to_owned()),
        }
    }
    Mount { target: target.to_owned(), source: MountSource::Tmpfs { size, mode, options }, read_only }
}
