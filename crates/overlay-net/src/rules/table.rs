//! A table of nftables, and how one becomes another while packets pass through it. Pure.
//!
//! The kernel exchanges rules for packets that enter a chain afterwards; one that is in an old chain in just that moment
//! reads it to the end. What the old rules hold themselves is still there then, sets without a name, too, but for the
//! elements of maps without a name: those count as gone at once, and the packet finds nothing (Linux 6.18; ten of a
//! million packets, when rules are exchanged forty times a second). So whatever a packet must find is in a map with a
//! name, whose elements stay when rules go, or is said once more after it without a map.
//!
//! Maps with names are read as they are now, also by a packet in an old chain. A chain that came with the element that
//! leads to it has nothing in it for such a one.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Removes the table, and is no error without one.
pub(crate) fn remove(name: &str) -> String {
    format!("add table inet {name}\ndelete table inet {name}\n")
}

/// Chains and maps by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    chains: BTreeMap<String, Chain>,
    maps: BTreeMap<String, Map>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Chain {
    /// What makes a base chain of it; nothing for one that others lead to.
    hook: String,
    rules: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Map {
    kind: String,
    elements: BTreeMap<String, String>,
}

impl Table {
    pub(crate) fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Adds rules at the end of a chain. `hook`: as in `filter hook input priority 0`, or nothing for a chain that
    /// others lead to.
    pub(crate) fn chain(&mut self, name: &str, hook: &str, rules: impl IntoIterator<Item = String>) {
        let chain = self.chains.entry(name.to_owned()).or_default();
        if !hook.is_empty() {
            chain.hook = format!("type {hook}; policy accept;");
        }
        chain.rules.extend(rules);
    }

    /// Adds elements to a map. `kind`: as in `type ether_addr : mark`.
    pub(crate) fn map(&mut self, name: &str, kind: &str, elements: impl IntoIterator<Item = (String, String)>) {
        let map = self
            .maps
            .entry(name.to_owned())
            .or_insert_with(|| Map { kind: kind.to_owned(), elements: BTreeMap::new() });
        map.elements.extend(elements);
    }

    /// A script that makes it where there is none of that name; empty if there is nothing to make.
    pub(crate) fn script(&self, name: &str) -> String {
        self.changes(name, &Table::default())
    }

    /// A script, for one transaction, that makes it of what is there. Chains that stay are emptied and filled, if they
    /// change at all: were they deleted and made, a packet that is between the new ones and the old ones in just that
    /// moment would be seen by neither, and a connection that begins with it would lead nowhere for good.
    pub(crate) fn changes(&self, name: &str, before: &Table) -> String {
        match (before.is_empty(), self.is_empty()) {
            (true, true) => return String::new(),
            (false, true) => return remove(name),
            (_, false) => {}
        }
        let old = |chain: &String| before.chains.get(chain).filter(|old| self.chains[chain].hook == old.hook);
        let new = |chain: &String| self.chains.get(chain).filter(|new| before.chains[chain].hook == new.hook);
        let old_map = |map: &String| before.maps.get(map).filter(|old| self.maps[map].kind == old.kind);
        let new_map = |map: &String| self.maps.get(map).filter(|new| before.maps[map].kind == new.kind);
        // A map that another takes the place of has to be let go of.
        let is_replaced = |map: &str| before.maps.get(map).map(|it| &it.kind) != self.maps.get(map).map(|it| &it.kind);
        let lets_go = |rule: &String| rule.split(' ').filter_map(|word| word.strip_prefix('@')).any(is_replaced);
        let stays = |old: &Chain, new: &Chain| old.rules == new.rules && !old.rules.iter().any(lets_go);

        let mut text = format!("add table inet {name}\n");
        let mut say = |words: &str, what: &str, more: &str| {
            let _infallible = writeln!(text, "{words} inet {name} {what}{more}");
        };
        for (chain, old) in &before.chains {
            if new(chain).is_none_or(|new| !stays(old, new)) && !old.rules.is_empty() {
                say("flush chain", chain, "");
            }
        }
        // Before the chains that elements lead to.
        for (map, Map { elements, .. }) in &before.maps {
            match new_map(map) {
                None => say("delete map", map, ""),
                Some(new) => {
                    let gone = elements.iter().filter(|(key, value)| new.elements.get(*key) != Some(value));
                    let keys: Vec<&str> = gone.map(|(key, _)| key.as_str()).collect();
                    listed(&keys).iter().for_each(|keys| say("delete element", map, keys));
                }
            }
        }
        before.chains.keys().filter(|chain| new(chain).is_none()).for_each(|chain| say("delete chain", chain, ""));

        for (chain, Chain { hook, .. }) in self.chains.iter().filter(|(chain, _)| old(chain).is_none()) {
            let hook = if hook.is_empty() { String::new() } else { format!(" {{ {hook} }}") };
            say("add chain", chain, &hook);
        }
        for (map, Map { kind, elements }) in &self.maps {
            let old = old_map(map);
            if old.is_none() {
                say("add map", map, &format!(" {{ {kind}; }}"));
            }
            let is_there = |key: &String, value: &String| old.is_some_and(|old| old.elements.get(key) == Some(value));
            let fresh = elements.iter().filter(|(key, value)| !is_there(key, value));
            let fresh: Vec<String> = fresh.map(|(key, value)| format!("{key} : {value}")).collect();
            listed(&fresh).iter().for_each(|fresh| say("add element", map, fresh));
        }
        for (chain, new) in &self.chains {
            if old(chain).is_none_or(|old| !stays(old, new)) {
                new.rules.iter().for_each(|rule| say("add rule", chain, &format!(" {rule}")));
            }
        }
        text
    }
}

/// ` { a, b }`, or nothing: the language knows no empty set.
fn listed(elements: &[impl AsRef<str>]) -> Option<String> {
    let elements: Vec<&str> = elements.iter().map(AsRef::as_ref).collect();
    (!elements.is_empty()).then(|| format!(" {{ {} }}", elements.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "type ether_addr : mark";

    fn table(chains: &[(&str, &str, &[&str])], elements: &[(&str, &str)]) -> Table {
        let mut table = Table::default();
        for (name, hook, rules) in chains {
            table.chain(name, hook, rules.iter().map(|rule| (*rule).to_owned()));
        }
        if !elements.is_empty() {
            table.map("m", MARK, elements.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        }
        table
    }

    #[test]
    fn what_stays_is_not_touched() {
        let hook = "filter hook input priority 0";
        let old = table(
            &[("same", hook, &["a"]), ("other", hook, &["b"]), ("gone", "", &["c"])],
            &[("1", "x"), ("2", "goto gone"), ("3", "z")],
        );
        let new = table(
            &[("same", hook, &["a"]), ("other", hook, &["d", "e"]), ("fresh", "", &["f"])],
            &[("1", "x"), ("2", "goto fresh"), ("4", "z")],
        );
        let expected = "add table inet t\nflush chain inet t gone\nflush chain inet t other\n\
             delete element inet t m { 2, 3 }\ndelete chain inet t gone\nadd chain inet t fresh\n\
             add element inet t m { 2 : goto fresh, 4 : z }\n\
             add rule inet t fresh f\nadd rule inet t other d\nadd rule inet t other e\n";
        assert_eq!(new.changes("t", &old), expected);
        assert_eq!(new.changes("t", &new), "add table inet t\n");
        assert_eq!(Table::default().changes("t", &new), remove("t"));
        assert_eq!(Table::default().script("t"), "");
    }

    #[test]
    fn a_chain_at_another_hook_and_a_map_of_another_kind_are_made_anew() {
        let reads = ("d", "", &["a map @m"] as &[&str]);
        let old = table(&[("c", "filter hook input priority 0", &["a"]), reads], &[("1", "x")]);
        let mut new = table(&[("c", "filter hook input priority 1", &["a"]), reads], &[]);
        new.map("m", "type ipv4_addr : mark", [("1".to_owned(), "x".to_owned())]);
        let expected = "add table inet t\nflush chain inet t c\nflush chain inet t d\ndelete map inet t m\n\
             delete chain inet t c\n\
             add chain inet t c { type filter hook input priority 1; policy accept; }\n\
             add map inet t m { type ipv4_addr : mark; }\nadd element inet t m { 1 : x }\nadd rule inet t c a\n\
             add rule inet t d a map @m\n";
        assert_eq!(new.changes("t", &old), expected);
    }
}
