//! Which change of the group comes next, so that in the end its voters are those that are wanted: one
//! step at a time, each of which leaves a majority that can work.

use crate::group::Progress;
use crate::stable::{Member, Members};
use std::collections::BTreeSet;

/// The next step of a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask for these members ([`Input::ChangeMembers`](crate::Input::ChangeMembers)).
    Change {
        /// Who votes then.
        voters: BTreeSet<Member>,
        /// Who only follows then.
        learners: BTreeSet<Member>,
    },
    /// This leader is to go: another leads first ([`Input::HandOver`](crate::Input::HandOver)).
    HandOver(Member),
}

/// Can these voters still decide, with those that are alive?
pub fn outlives(voters: &BTreeSet<Member>, alive: impl Fn(Member) -> bool) -> bool {
    voters.iter().filter(|voter| alive(**voter)).count() > voters.len() / 2
}

/// The next step from `members` to voters that are `wanted`, as the leader `own` sees it; `None` where
/// nothing is to do, or nothing can be done now.
///
/// Who comes follows first, and votes once it has caught up: a vote of somebody without the log holds up
/// commits. Who goes is left out only while the rest has a majority that is alive. A leader that goes
/// hands over first.
pub fn next_step(
    own: Member,
    wanted: &BTreeSet<Member>,
    members: &Members,
    progress: impl Fn(Member) -> Option<Progress>,
) -> Option<Step> {
    if wanted.is_empty() || !members.voters_outgoing.is_empty() {
        return None;
    }
    let alive = |member: Member| progress(member).is_some_and(|it| it.alive);
    let ready = |member: Member| progress(member).is_some_and(|it| it.alive && it.caught_up);
    let voters: BTreeSet<Member> = members.voters.iter().copied().map(Member).collect();
    let learners: BTreeSet<Member> = members.learners.iter().copied().map(Member).collect();

    let heir = |of: &mut dyn Iterator<Item = Member>| {
        let matched = |voter: &Member| (wanted.contains(voter), progress(*voter).map(|it| it.matched));
        of.filter(|voter| *voter != own && ready(*voter)).max_by_key(matched).map(Step::HandOver)
    };
    // Elected before it knew that it had been taken out: it can propose nothing, and keeps others from leading.
    if !voters.contains(&own) {
        return heir(&mut voters.iter().copied());
    }
    let mut next_learners: BTreeSet<Member> = learners.intersection(wanted).copied().collect();
    next_learners.extend(wanted.difference(&voters));
    if next_learners != learners {
        return Some(Step::Change { voters, learners: next_learners });
    }
    let promoted: BTreeSet<Member> = learners.iter().copied().filter(|learner| ready(*learner)).collect();
    if !promoted.is_empty() {
        let next: BTreeSet<Member> = voters.union(&promoted).copied().collect();
        let learners = learners.difference(&promoted).copied().collect();
        return outlives(&next, alive).then_some(Step::Change { voters: next, learners });
    }
    let leaving: BTreeSet<Member> = voters.difference(wanted).copied().collect();
    let others: BTreeSet<Member> = leaving.iter().copied().filter(|voter| *voter != own).collect();
    if !others.is_empty() {
        let next: BTreeSet<Member> = voters.difference(&others).copied().collect();
        if outlives(&next, alive) {
            return Some(Step::Change { voters: next, learners });
        }
    }
    if leaving.contains(&own) {
        return heir(&mut voters.intersection(wanted).copied());
    }
    None
}
