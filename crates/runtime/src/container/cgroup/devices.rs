//! Which devices a container may use.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// One rule; the last that matches decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    /// `b`, `c`, or both for `a`.
    pub(super) kind: char,
    /// `None`: all.
    pub(super) major: Option<u32>,
    /// `None`: all.
    pub(super) minor: Option<u32>,
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) mknod: bool,
}

const fn allowed(kind: char, major: Option<u32>, minor: Option<u32>) -> Rule {
    Rule { allow: true, kind, major, minor, read: true, write: true, mknod: true }
}

/// What every container may use, by the OCI spec and by what all runtimes do: the default devices,
/// terminals; and nodes of any kind may be made, though not opened.
const DEFAULT: [Rule; 10] = [
    Rule { read: false, write: false, ..allowed('c', None, None) },
    Rule { read: false, write: false, ..allowed('b', None, None) },
    allowed('c', Some(1), Some(3)),
    allowed('c', Some(1), Some(5)),
    allowed('c', Some(1), Some(7)),
    allowed('c', Some(1), Some(8)),
    allowed('c', Some(1), Some(9)),
    allowed('c', Some(5), Some(0)),
    allowed('c', Some(5), Some(2)),
    allowed('c', Some(136), None),
];

/// The rules of a container; what none of them matches is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules(pub(super) Vec<Rule>);

impl Rules {
    /// Those of the spec over the ones that every container has. A rule for all devices makes the
    /// ones before it void.
    pub(super) fn of(spec: &[LinuxDeviceCgroup]) -> Self {
        let mut rules: Vec<Rule> = Vec::new();
        for rule in spec.iter().map(rule) {
            if rule.kind == 'a' && rule.major.is_none() && rule.minor.is_none() && rule.read && rule.write && rule.mknod
            {
                rules.clear();
                if !rule.allow {
                    continue;
                }
            }
            rules.push(rule);
        }
        for rule in DEFAULT {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        Self(rules)
    }

    /// Whether nothing is denied at all.
    pub(super) fn allow_all(&self) -> bool {
        self.0.first().is_some_and(|first| first.kind == 'a' && first.allow) && self.0.iter().all(|rule| rule.allow)
    }

    /// What to write to which file of version 1.
    pub(super) fn v1_lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("devices.deny", "a".to_owned())];
        for rule in &self.0 {
            let file = if rule.allow { "devices.allow" } else { "devices.deny" };
            // The kernel takes `a` to mean everything, whatever stands after it.
            let kinds: &[char] = if rule.kind == 'a' && !rule.is_everything() { &['b', 'c'] } else { &[rule.kind] };
            lines.extend(kinds.iter().map(|kind| (file, rule.line(*kind))));
        }
        lines
    }
}

impl Rule {
    fn is_everything(&self) -> bool {
        self.kind == 'a' && self.major.is_none() && self.minor.is_none() && self.read && self.write && self.mknod
    }

    fn line(&self, kind: char) -> String {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let letters = [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')];
        let access: String = letters.iter().filter(|(on, _)| *on).map(|(_, letter)| *letter).collect();
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }
}

fn rule(spec: &LinuxDeviceCgroup) -> Rule {
    let kind = match spec.typ().unwrap_or_default() {
        LinuxDeviceType::B => 'b',
        LinuxDeviceType::C | LinuxDeviceType::U => 'c',
        // Pipes are no devices to the kernel's check, so nothing can be said about them here.
        LinuxDeviceType::A | LinuxDeviceType::P => 'a',
    };
    // Negative numbers are the old way to say all.
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let access = spec.access().as_deref().unwrap_or("rwm");
    let access = if access.is_empty() { "rwm" } else { access };
    Rule {
        allow: spec.allow(),
        kind,
        major: number(spec.major()),
        minor: number(spec.minor()),
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    }
}
