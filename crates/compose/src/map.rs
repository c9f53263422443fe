//! A mapping as a sorted list: small, quick to walk and to copy. Files have many mappings of few
//! entries; the large ones are built in one go.

use crate::tree::Node;

/// Names to values, sorted by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Map(Vec<(String, Node)>);

impl Map {
    /// Without entries.
    pub(crate) const fn new() -> Map {
        Map(Vec::new())
    }

    /// Of entries that are sorted and distinct.
    pub(crate) fn from_sorted(entries: Vec<(String, Node)>) -> Map {
        debug_assert!(entries.is_sorted_by(|(a, _), (b, _)| a < b), "sorted and distinct");
        Map(entries)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where a name is.
    fn position(&self, name: &str) -> Option<usize> {
        // in a short list, comparing lengths first beats halving
        if self.0.len() <= 16 {
            return self.0.iter().position(|(known, _)| known == name);
        }
        self.find(name).ok()
    }

    /// Where a name is, or belongs.
    fn find(&self, name: &str) -> Result<usize, usize> {
        // most entries arrive in order
        match self.0.last() {
            Some((last, _)) if last.as_str() < name => Err(self.0.len()),
            _ => self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.position(name).map(|at| &self.0[at].1)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.position(name).map(|at| &mut self.0[at].1)
    }

    /// Sets an entry; gives the old one.
    pub(crate) fn insert(&mut self, name: String, node: Node) -> Option<Node> {
        match self.find(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, node)),
            Err(at) => {
                self.0.insert(at, (name, node));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Node> {
        self.position(name).map(|at| self.0.remove(at).1)
    }

    /// The entry of a name, made when there is none.
    pub(crate) fn or_insert_with(&mut self, name: impl Into<String>, make: impl FnOnce() -> Node) -> &mut Node {
        let name = name.into();
        let at = match self.find(&name) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (name, make()));
                at
            }
        };
        &mut self.0[at].1
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> + Clone {
        self.0.iter().map(|(name, _)| name)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Node> {
        self.0.iter().map(|(_, node)| node)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.0.iter_mut().map(|(_, node)| node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.into_iter()
    }

    /// Adds entries over those that are there.
    pub(crate) fn add(&mut self, entries: Map) {
        *self = std::mem::take(self).union(entries, |_, _, over| over);
    }

    /// Two parts: entries for which `first` holds, and the others.
    pub(crate) fn split(self, first: impl Fn(&Node) -> bool) -> (Map, Map) {
        let (ones, others): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|(_, node)| first(node));
        (Map(ones), Map(others))
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &Node) -> bool) {
        self.0.retain(|(name, node)| keep(name, node));
    }

    /// The same names, each with what becomes of its value; without those that nothing becomes of.
    pub(crate) fn changed(self, mut change: impl FnMut(&str, Node) -> Option<Node>) -> Map {
        Map(self.0.into_iter().filter_map(|(name, node)| change(&name, node).map(|node| (name, node))).collect())
    }

    /// The union of two; `both` decides where both have a name. Takes time for each entry once.
    pub(crate) fn union(self, other: Map, mut both: impl FnMut(&str, Node, Node) -> Node) -> Map {
        let mut merged = Vec::with_capacity(self.0.len().max(other.0.len()));
        let (mut ours, mut theirs) = (self.0.into_iter().peekable(), other.0.into_iter().peekable());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return Map(merged),
            };
            match order {
                std::cmp::Ordering::Less => merged.extend(ours.next()),
                std::cmp::Ordering::Greater => merged.extend(theirs.next()),
                std::cmp::Ordering::Equal => {
                    if let (Some((name, ours)), Some((_, theirs))) = (ours.next(), theirs.next()) {
                        let node = both(&name, ours, theirs);
                        merged.push((name, node));
                    }
                }
            }
        }
    }
}

/// Of equal names the last stays.
impl FromIterator<(String, Node)> for Map {
    fn from_iter<T: IntoIterator<Item = (String, Node)>>(entries: T) -> Map {
        let mut entries: Vec<(String, Node)> = entries.into_iter().collect();
        if !entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(later, earlier);
                }
                same
            });
        }
        Map(entries)
    }
}

impl<const N: usize> From<[(String, Node); N]> for Map {
    fn from(entries: [(String, Node); N]) -> Map {
        entries.into_iter().collect()
    }
}

impl IntoIterator for Map {
    type Item = (String, Node);
    type IntoIter = std::vec::IntoIter<(String, Node)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

type Pair<'a> = fn(&'a (String, Node)) -> (&'a String, &'a Node);

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a String, &'a Node);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (String, Node)>, Pair<'a>>;
    fn into_iter(self) -> Self::IntoIter {
        let pair: Pair<'a> = |entry| (&entry.0, &entry.1);
        self.0.iter().map(pair)
    }
}

type PairMut<'a> = fn(&'a mut (String, Node)) -> (&'a String, &'a mut Node);

impl<'a> IntoIterator for &'a mut Map {
    type Item = (&'a String, &'a mut Node);
    type IntoIter = std::iter::Map<std::slice::IterMut<'a, (String, Node)>, PairMut<'a>>;
    fn into_iter(self) -> Self::IntoIter {
        let pair: PairMut<'a> = |entry| (&entry.0, &mut entry.1);
        self.0.iter_mut().map(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn node(number: i64) -> Node {
        Node::new(crate::tree::Value::Int(number), Default::default())
    }

    proptest! {
        #[test]
        fn behaves_like_a_tree(entries in proptest::collection::vec(("[a-d]{1,2}", 0i64..9), 0..20), cut in 0usize..20) {
            let cut = cut.min(entries.len());
            let pairs = |part: &[(String, i64)]| part.iter().map(|(k, v)| (k.clone(), node(*v))).collect::<Vec<_>>();
            let tree: BTreeMap<String, Node> = pairs(&entries).into_iter().collect();
            let all: Map = pairs(&entries).into_iter().collect();
            prop_assert!(all.iter().eq(tree.iter()));
            let mut grown: Map = pairs(&entries[..cut]).into_iter().collect();
            for (name, value) in pairs(&entries[cut..]) {
                grown.insert(name, value);
            }
            prop_assert_eq!(&grown, &all);
            let parts: (Map, Map) = (pairs(&entries[..cut]).into_iter().collect(), pairs(&entries[cut..]).into_iter().collect());
            prop_assert_eq!(parts.0.union(parts.1, |_, _, over| over), all);
        }
    }
}
