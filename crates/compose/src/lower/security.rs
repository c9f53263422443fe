//! `security_opt`.

use super::Lower;
use crate::loader::explain;
use crate::paths::Base;
use crate::tree::Node;
use model::spec::Seccomp;

impl Lower<'_> {
    /// Whether new privileges are refused, and which seccomp filter there is.
    pub(super) fn security_opt(&mut self, key: &str, node: &Node) -> (bool, Seccomp) {
        let (mut no_new_privileges, mut seccomp) = (false, Seccomp::Default);
        for (index, item) in node.items("security_opt").iter().enumerate() {
            let text = item.as_text().unwrap_or_default();
            let path = format!("services.{key}.security_opt[{index}]");
            let (name, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
            match (name, value) {
                ("no-new-privileges", "" | "true") => no_new_privileges = true,
                ("no-new-privileges", "false") => no_new_privileges = false,
                ("seccomp", "unconfined") => seccomp = Seccomp::Unconfined,
                ("seccomp", "builtin") => seccomp = Seccomp::Default,
                ("seccomp", file) if !file.is_empty() => {
                    if let Some(profile) = self.profile(&path, item, file) {
                        seccomp = profile;
                    }
                }
                ("apparmor" | "label" | "systempaths" | "credentialspec", _) => {
                    let message = format!("{path} `{text}` is not done yet: nothing is changed");
                    self.context.warn_on("RS0701", item, message, None);
                }
                _ => {
                    let message = format!("{path} can't be `{text}`");
                    let hint = "such as `no-new-privileges:true` or `seccomp=unconfined`".to_owned();
                    self.context.error_on("RS0601", item, message, Some(hint));
                }
            }
        }
        (no_new_privileges, seccomp)
    }

    fn profile(&mut self, path: &str, item: &Node, file: &str) -> Option<Seccomp> {
        let file = Base { folder: self.folder, home: None }.absolute(file);
        let wrong = match self.source.read(&file) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) if serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_object()) => {
                    return Some(Seccomp::Profile(text));
                }
                _ => "it is no JSON object".to_owned(),
            },
            Err(error) => explain(&error),
        };
        self.context.error_on("RS0606", item, format!("{path}: the seccomp profile `{file}`: {wrong}"), None);
        None
    }
}
