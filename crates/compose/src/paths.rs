//! Relative paths become absolute ones.

use crate::canon::clean_path;
use crate::tree::{Map, Node, Value};

/// Where relative paths start, and what `~` means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    /// A folder, absolute.
    pub(crate) folder: &'a str,
    /// `HOME`.
    pub(crate) home: Option<&'a str>,
}

impl Base<'_> {
    /// A path, absolute and clean. Absolute ones stay as they are.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let expanded = match (path.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) => clean_path(&format!("{home}/{rest}")),
            _ => path.to_owned(),
        };
        if expanded.starts_with('/') || is_windows(&expanded) || expanded.is_empty() {
            return expanded;
        }
        clean_path(&format!("{}/{expanded}", self.folder))
    }

    fn text(&self, node: Option<&mut Node>) {
        if let Some(node) = node
            && let Value::Text(path) = &mut node.value
        {
            *path = self.absolute(path);
        }
    }

    /// As [`Base::text`], but an empty path is the folder itself.
    fn source(&self, node: Option<&mut Node>) {
        let empty = node.as_ref().is_some_and(|node| node.as_text() == Some(""));
        match node {
            Some(node) if empty => node.value = Value::Text(self.folder.to_owned()),
            node => self.text(node),
        }
    }

    fn context(&self, node: Option<&mut Node>) {
        const REMOTE: [&str; 3] = ["github.com/", "git@", "service:"];
        if let Some(node) = node
            && node
                .as_text()
                .is_some_and(|text| !text.contains("://") && !REMOTE.iter().any(|prefix| text.starts_with(prefix)))
        {
            self.text(Some(node));
        }
    }

    /// The paths of a service.
    pub(crate) fn service(&self, service: &mut Node) {
        let Some(service) = service.as_map_mut() else { return };
        if let Some(build) = entry(service, "build") {
            self.context(build.get_mut("context"));
            for context in entry(build, "additional_contexts").into_iter().flat_map(Map::values_mut) {
                self.context(Some(context));
            }
            for key in entry(build, "ssh").into_iter().flat_map(Map::values_mut) {
                self.source(Some(key));
            }
        }
        for file in items(service, "env_file") {
            self.text(file.as_map_mut().and_then(|file| file.get_mut("path")));
        }
        for file in items(service, "label_file") {
            self.text(Some(file));
        }
        for watch in entry(service, "develop").into_iter().flat_map(|develop| items(develop, "watch")) {
            self.text(watch.as_map_mut().and_then(|watch| watch.get_mut("path")));
        }
        for mount in items(service, "volumes") {
            if mount.get_text("type") == Some("bind") {
                self.source(mount.as_map_mut().and_then(|mount| mount.get_mut("source")));
            }
        }
    }

    /// The paths of everything beside the services.
    pub(crate) fn resources(&self, top: &mut Map) {
        for section in ["configs", "secrets"] {
            for object in entry(top, section).into_iter().flat_map(Map::values_mut) {
                self.source(object.as_map_mut().and_then(|object| object.get_mut("file")));
            }
        }
        for volume in entry(top, "volumes").into_iter().flat_map(Map::values_mut) {
            let local = volume.get_text("driver") == Some("local");
            let Some(options) = volume.as_map_mut().and_then(|volume| entry(volume, "driver_opts")) else { continue };
            if local && options.get("o").and_then(Node::as_text) == Some("bind") {
                self.source(options.get_mut("device"));
            }
        }
    }
}

fn is_windows(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with(r"\\")
        || bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && matches!(bytes[2], b'\\' | b'/')
}

fn entry<'a>(map: &'a mut Map, name: &str) -> Option<&'a mut Map> {
    map.get_mut(name)?.as_map_mut()
}

fn items<'a>(map: &'a mut Map, name: &str) -> impl Iterator<Item = &'a mut Node> {
    let list = map.get_mut(name).and_then(|node| match &mut node.value {
        Value::List(items) => Some(items),
        _ => None,
    });
    list.into_iter().flatten()
}

/// The folder that a path is in.
pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) => "/",
        Some(at) => &path[..at],
        None => ".",
    }
}
