//! Rules of routing: which packets are looked up in which of our tables. A host that publishes ports has a table for
//! each other node, and the kernel reads rules one after the other for every packet that it forwards, so they are a
//! tree: whatever has no mark of ours, as nearly everything, steps over all of them at once, and what has one reads
//! only those of nodes whose number ends as its own does.

use super::ingress::{self, TAG_MASK};
use super::link;
use super::netlink::{Batch, F_ACK, F_CREATE, F_DUMP, F_EXCL, Socket, attr, u32_at};
use std::collections::BTreeSet;
use std::io;

const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FR_ACT_NOP: u8 = 3;
const FIB_RULE_INVERT: u32 = 2;

/// Where those of the first daemon begin; all are before everybody's main table (32766).
const FIRST: u32 = 5200;
/// Priorities that each daemon has for its own: what steps over them must not step over another's.
const BAND: u32 = 40;
/// Groups of nodes, by the last bits of their number.
const GROUPS: u32 = 32;

/// A rule of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Of IPv6.
    pub v6: bool,
    /// When it is read: lower ones first.
    pub priority: u32,
    /// Which packets.
    pub whose: Whose,
    /// What of them.
    pub then: Then,
}

/// Packets that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// What this host itself sends.
    Own,
    /// What has this mark, as far as the mask goes.
    Marked(u32, u32),
    /// What has not.
    Unmarked(u32, u32),
}

/// What becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// They are looked up in this table.
    Table(u32),
    /// The rules from this priority on are next.
    Goto(u32),
    /// The next rule is next: this one is there to be gone to.
    Nothing,
}

/// The rules that lead to these tables of one daemon, each for the packets whose mark is its number.
pub(crate) fn tree(owner: u32, v6: bool, tables: &BTreeSet<u32>) -> BTreeSet<Rule> {
    let tag = ingress::tag(owner);
    let first = FIRST + BAND * (tag >> (TAG_MASK.trailing_zeros() + 1));
    let last = first + BAND - 1;
    let rule = |priority, whose, then| Rule { v6, priority, whose, then };
    let (gate, branches, groups) = (first + 1, first + 3, first + 4);
    let mut rules = BTreeSet::new();
    if tables.is_empty() {
        return rules;
    }
    rules.insert(rule(gate, Whose::Unmarked(tag, TAG_MASK), Then::Goto(last)));
    rules.insert(rule(last, Whose::Marked(tag, TAG_MASK), Then::Nothing));
    for table in tables {
        if *table == tag {
            // What this host itself sends is looked up the moment its destination is translated, when nothing could
            // have marked it yet. All that is in the table are backends elsewhere.
            rules.insert(rule(first, Whose::Own, Then::Table(tag)));
            rules.insert(rule(gate + 1, Whose::Marked(tag, u32::MAX), Then::Table(tag)));
            continue;
        }
        let group = table % GROUPS;
        let branch = Whose::Marked(tag | group, TAG_MASK | (GROUPS - 1));
        rules.insert(rule(branches, branch, Then::Goto(groups + group)));
        rules.insert(rule(groups + group, Whose::Marked(*table, u32::MAX), Then::Table(*table)));
    }
    rules
}

/// Those of one daemon that are there.
pub(crate) fn known(socket: &Socket, owner: u32) -> io::Result<BTreeSet<Rule>> {
    let mut batch = Batch::default();
    batch.message(RTM_GETRULE, F_DUMP, &[0; 12]);
    let replies = socket.dump(batch)?;
    let rules = replies.iter().filter(|reply| reply.kind == RTM_NEWRULE).filter_map(|reply| parse(&reply.payload));
    Ok(rules.filter(|rule| rule.is_ours(owner)).collect())
}

fn parse(payload: &[u8]) -> Option<Rule> {
    let v6 = match *payload.first()? {
        link::AF_INET => false,
        link::AF_INET6 => true,
        _ => return None,
    };
    let rest = payload.get(12..)?;
    let number = |kind| attr(rest, kind).map(|value| u32_at(value, 0));
    let whose = match (attr(rest, FRA_IIFNAME), number(FRA_FWMARK)) {
        (Some(name), None) if name.starts_with(b"lo\0") => Whose::Own,
        (None, Some(mark)) => {
            let mask = number(FRA_FWMASK).unwrap_or(u32::MAX);
            match u32_at(payload, 8) & FIB_RULE_INVERT {
                0 => Whose::Marked(mark, mask),
                _ => Whose::Unmarked(mark, mask),
            }
        }
        _ => return None,
    };
    let then = match *payload.get(7)? {
        FR_ACT_TO_TBL => Then::Table(number(FRA_TABLE)?),
        FR_ACT_GOTO => Then::Goto(number(FRA_GOTO)?),
        FR_ACT_NOP => Then::Nothing,
        _ => return None,
    };
    Some(Rule { v6, priority: number(FRA_PRIORITY).unwrap_or_default(), whose, then })
}

impl Rule {
    fn is_ours(&self, owner: u32) -> bool {
        match (self.then, self.whose) {
            (Then::Table(table), _) => ingress::is_ours(table, owner),
            (_, Whose::Marked(mark, mask) | Whose::Unmarked(mark, mask)) => {
                mask & TAG_MASK == TAG_MASK && ingress::is_ours(mark, owner)
            }
            (_, Whose::Own) => false,
        }
    }

    /// Asks for it.
    pub(crate) fn add(&self, batch: &mut Batch) {
        self.ask(batch, RTM_NEWRULE, F_CREATE | F_EXCL);
    }

    /// Asks for it to be gone.
    pub(crate) fn delete(&self, batch: &mut Batch) {
        self.ask(batch, RTM_DELRULE, 0);
    }

    fn ask(&self, batch: &mut Batch, kind: u16, flags: u16) {
        let family = if self.v6 { link::AF_INET6 } else { link::AF_INET };
        let action = match self.then {
            Then::Table(_) => FR_ACT_TO_TBL,
            Then::Goto(_) => FR_ACT_GOTO,
            Then::Nothing => FR_ACT_NOP,
        };
        let [a, b, c, d] = if matches!(self.whose, Whose::Unmarked(..)) { FIB_RULE_INVERT } else { 0 }.to_ne_bytes();
        batch.message(kind, F_ACK | flags, &[family, 0, 0, 0, 0, 0, 0, action, a, b, c, d]);
        batch.attr(FRA_PRIORITY, &self.priority.to_ne_bytes());
        match self.then {
            Then::Table(table) => drop(batch.attr(FRA_TABLE, &table.to_ne_bytes())),
            Then::Goto(priority) => drop(batch.attr(FRA_GOTO, &priority.to_ne_bytes())),
            Then::Nothing => {}
        }
        match self.whose {
            Whose::Own => drop(batch.text(FRA_IIFNAME, "lo")),
            Whose::Marked(mark, mask) | Whose::Unmarked(mark, mask) => {
                batch.attr(FRA_FWMARK, &mark.to_ne_bytes()).attr(FRA_FWMASK, &mask.to_ne_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel does (fib_rules_lookup), with tables that have a route for everything; and how many it reads.
    fn lookup(rules: &BTreeSet<Rule>, mark: u32) -> (Option<u32>, usize) {
        let mut list: Vec<&Rule> = rules.iter().collect();
        list.sort_by_key(|rule| rule.priority);
        let (mut at, mut read) = (0, 0);
        while let Some(rule) = list.get(at) {
            read += 1;
            at += 1;
            let is_it = match rule.whose {
                Whose::Own => false,
                Whose::Marked(wanted, mask) => mark & mask == wanted & mask,
                Whose::Unmarked(wanted, mask) => mark & mask != wanted & mask,
            };
            match rule.then {
                _ if !is_it => {}
                Then::Table(table) => return (Some(table), read),
                Then::Goto(priority) => {
                    at = list.iter().position(|rule| rule.priority == priority).unwrap_or(at);
                }
                Then::Nothing => {}
            }
        }
        (None, read)
    }

    proptest! {
        /// Every mark of ours leads to its table, and no other mark anywhere, whoever else has rules there.
        #[test]
        fn marks_lead_to_their_tables(
            owner in 0x100_u32..0x8000_0000,
            other in 0x100_u32..0x8000_0000,
            nodes in prop::collection::btree_set(1_u32..2000, 0..40),
            stranger in any::<u32>(),
        ) {
            let tables = |owner: u32| -> BTreeSet<u32> {
                nodes.iter().map(|node| ingress::tag(owner) | node).chain([ingress::tag(owner)]).collect()
            };
            let mut rules = tree(owner, false, &tables(owner));
            rules.extend(tree(other, false, &tables(other)));
            for table in tables(owner).into_iter().chain(tables(other)) {
                prop_assert_eq!(lookup(&rules, table).0, Some(table));
            }
            if !tables(owner).contains(&stranger) && !tables(other).contains(&stranger) {
                prop_assert_eq!(lookup(&rules, stranger).0, None);
            }
        }
    }

    #[test]
    fn few_are_read_of_many() {
        let tag = ingress::tag(0x1234_5678);
        let tables: BTreeSet<u32> = (0..1000).map(|node| tag | node).collect();
        let rules = tree(0x1234_5678, true, &tables);
        assert_eq!(lookup(&rules, 0).1, 3, "what is not marked");
        let most = tables.iter().map(|mark| lookup(&rules, *mark).1).max().unwrap_or_default();
        assert!(most <= 3 + 32 + 32, "{most}");
        assert!(rules.iter().all(|rule| rule.priority < 32_766), "before the main table");
    }
}
