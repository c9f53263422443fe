//! Which of the managers a node has its session with: the first that answers.
//!
//! One that is dead must not keep a node from those that are not. Waiting for it takes as long as the cluster
//! waits for the node before it runs its tasks elsewhere. So the next is called while the one before may still
//! answer, as RFC 8305 (section 5) does with the addresses of one host.

use anyhow::Result;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::NodeId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// A manager to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `host:port`.
    pub(super) address: String,
    /// Who should answer there, if that is known.
    pub(super) node: Option<NodeId>,
}

/// What a manager answers.
#[derive(Debug)]
pub(super) enum Answer<S> {
    /// It leads.
    Session(S),
    /// It does not; that one does, as far as it knows.
    Redirect(Option<String>),
}

/// Who was called, the last one last. Whoever was no help is asked again only after all the others.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<String>);

impl Turns {
    /// In which order to call: the preferred one, then those that were not called for the longest time.
    fn order(&mut self, preferred: Option<Target>, mut managers: Vec<Target>) -> VecDeque<Target> {
        self.0.retain(|called| managers.iter().any(|manager| manager.address == *called));
        managers.sort_by_key(|manager| self.0.iter().position(|called| *called == manager.address));
        let mut order: VecDeque<Target> = VecDeque::new();
        for target in preferred.into_iter().chain(managers) {
            match order.iter_mut().find(|known| known.address == target.address) {
                // Of one that was set up anew where another was, either may be the one that is there.
                Some(known) if known.node != target.node => known.node = None,
                Some(_) => {}
                None => order.push_back(target),
            }
        }
        order
    }

    fn called(&mut self, target: &Target) {
        self.0.retain(|called| *called != target.address);
        self.0.push(target.address.clone());
    }
}

/// Calls one after the other, each `head_start` after the one before, or as soon as that has failed, and those that
/// have failed again, until one has a session for us. Who is said to lead is the next; who was called is waited for
/// all the while, however far away it is.
///
/// # Errors
/// Each of them has failed once.
pub(super) async fn first<S, C: Future<Output = Result<Answer<S>>>>(
    turns: &mut Turns,
    preferred: Option<Target>,
    managers: Vec<Target>,
    head_start: Duration,
    call: impl Fn(Target) -> C,
) -> Result<(Target, S)> {
    // Who is not called at this moment; those that were never called come first.
    let mut queue = turns.order(preferred, managers);
    let mut known: BTreeSet<String> = queue.iter().map(|target| target.address.clone()).collect();
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    let mut calls = FuturesUnordered::new();
    let mut due = Instant::now();
    let mut hint = None;
    loop {
        let all_failed = failed.len() == known.len();
        if all_failed && calls.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            Some((target, answer)) = calls.next(), if !calls.is_empty() => {
                let why = match answer {
                    Ok(Answer::Session(session)) => return Ok((target, session)),
                    Ok(Answer::Redirect(leader)) => {
                        if let Some(address) = &leader {
                            let at = queue.iter().position(|target| target.address == *address);
                            let is_new = known.insert(address.clone());
                            let fresh = is_new.then(|| Target { address: address.clone(), node: None });
                            // One that is neither is called already.
                            if let Some(leader) = at.and_then(|at| queue.remove(at)).or(fresh) {
                                // One that was no help comes after those that nobody has asked.
                                let has_failed = |it: &Target| failed.contains_key(&it.address);
                                let at = if has_failed(&leader) { queue.iter().position(has_failed) } else { Some(0) };
                                queue.insert(at.unwrap_or(queue.len()), leader);
                            }
                        }
                        if leader.is_some() && leader != hint {
                            // It may have come to lead since it was asked.
                            due = Instant::now();
                            hint = leader;
                        }
                        format!("{} does not lead", target.address)
                    }
                    Err(error) => format!("{error:#}"),
                };
                tracing::debug!(manager = target.address, "no session: {why}");
                failed.insert(target.address.clone(), why);
                queue.push_back(target);
                if queue.front().is_some_and(|next| !failed.contains_key(&next.address)) {
                    due = Instant::now();
                }
            }
            () = tokio::time::sleep_until(due), if !queue.is_empty() && !all_failed => {
                let Some(target) = queue.pop_front() else { continue };
                turns.called(&target);
                due = Instant::now() + head_start;
                let answer = call(target.clone());
                calls.push(async move { (target, answer.await) });
            }
        }
    }
    let failures: Vec<String> = failed.into_values().collect();
    anyhow::bail!("no manager answers: {}", failures.join("; "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::sync::Mutex;

    const HEAD_START: Duration = Duration::from_millis(40);
    /// How long one that is dead keeps its caller.
    const DEAD: Duration = Duration::from_secs(60);

    fn targets(names: &str) -> Vec<Target> {
        names.split_whitespace().map(|name| Target { address: name.to_owned(), node: None }).collect()
    }

    /// Those that begin with `d` are dead, with `r` refuse, with `o` are open; `l` is open when it is called a
    /// second time, `s` answers slowly, and `f` follows who stands behind the colon.
    async fn search(turns: &mut Turns, preferred: &str, managers: &str) -> (Result<String>, Vec<String>) {
        let called = Mutex::new(Vec::new());
        let call = |target: Target| {
            let name = target.address;
            let again = called.lock().unwrap().contains(&name);
            called.lock().unwrap().push(name.clone());
            async move {
                match name.as_bytes()[0] {
                    b'd' => tokio::time::sleep(DEAD).await,
                    b's' => tokio::time::sleep(HEAD_START * 3 / 2).await,
                    b'o' => {}
                    b'l' if again => {}
                    b'f' => return Ok(Answer::Redirect(name.split_once(':').map(|(_, leader)| leader.to_owned()))),
                    _ => anyhow::bail!("{name} refuses"),
                }
                Ok(Answer::Session(name))
            }
        };
        let found = first(turns, targets(preferred).pop(), targets(managers), HEAD_START, call).await;
        (found.map(|(target, stream)| [target.address, stream].join("=")), called.into_inner().unwrap())
    }

    #[tokio::test]
    async fn dead_managers_keep_nobody_from_one_that_lives() {
        let began = Instant::now();
        let (found, called) = search(&mut Turns::default(), "", "dead1 refuses dead2 dead3 open never").await;
        assert_eq!(found.unwrap(), "open=open");
        assert_eq!(called.join(" "), "dead1 refuses dead2 dead3 open");
        assert!(began.elapsed() >= HEAD_START * 3, "each has its head start");
        assert!(began.elapsed() < DEAD / 2);
    }

    #[tokio::test]
    async fn one_that_refused_is_asked_again_while_others_keep_silent() {
        let (found, called) = search(&mut Turns::default(), "", "later dead1 dead2").await;
        assert_eq!(found.unwrap(), "later=later");
        assert_eq!(called.join(" "), "later dead1 dead2 later");
    }

    #[tokio::test]
    async fn when_all_have_failed_it_tells_why() {
        let (found, called) = search(&mut Turns::default(), "", "refuses1 refuses2").await;
        let error = found.unwrap_err().to_string();
        assert_eq!(error, "no manager answers: refuses1 refuses; refuses2 refuses");
        assert_eq!(called.len(), 2);
        let (found, called) = search(&mut Turns::default(), "", "").await;
        assert!(found.is_err() && called.is_empty());
    }

    #[tokio::test]
    async fn whoever_was_no_help_comes_last() {
        let mut turns = Turns::default();
        let managers = "o1 o2 o3";
        for expected in ["o1", "o2", "o3", "o1"] {
            assert_eq!(search(&mut turns, "", managers).await.1, [expected]);
        }
        // The preferred one is the first whenever it was called, and need not be known.
        assert_eq!(search(&mut turns, "o1", managers).await.1, ["o1"]);
        assert_eq!(search(&mut turns, "refuses", managers).await.1, ["refuses", "o2"]);
        assert_eq!(search(&mut turns, "", managers).await.1, ["o3"]);
        // One that is no manager any more is forgotten.
        assert_eq!(search(&mut turns, "", "o2").await.1, ["o2"]);
        assert_eq!(turns.0, ["o2"]);
    }

    #[tokio::test]
    async fn one_that_answers_late_answers_nevertheless() {
        let (found, called) = search(&mut Turns::default(), "", "slow dead1").await;
        assert_eq!(found.unwrap(), "slow=slow");
        assert_eq!(called[0], "slow");
    }
    #[tokio::test]
    async fn who_is_said_to_lead_is_the_next_known_or_not() {
        let (found, called) = search(&mut Turns::default(), "", "follower:open1 refuses open2 open1").await;
        assert_eq!((found.unwrap().as_str(), called.join(" ").as_str()), ("open1=open1", "follower:open1 open1"));
        let (found, called) = search(&mut Turns::default(), "", "follower:open").await;
        assert_eq!((found.unwrap().as_str(), called.join(" ").as_str()), ("open=open", "follower:open open"));
        // It is far away: it is waited for, whatever those nearby say.
        let (found, called) = search(&mut Turns::default(), "slow", "follower:slow").await;
        assert_eq!(found.unwrap(), "slow=slow");
        assert_eq!(called.iter().filter(|name| *name == "slow").count(), 1, "{called:?}");
        // It is dead, and nobody knows better yet: no end of calls, and no haste.
        let (found, called) = search(&mut Turns::default(), "", "f1:refuses f2:refuses f3").await;
        assert!(found.is_err());
        assert_eq!(called.join(" "), "f1:refuses refuses f2:refuses f3");
        // It leads since it was asked.
        let (found, called) = search(&mut Turns::default(), "", "later follower:later dead1").await;
        assert_eq!(
            (found.unwrap().as_str(), called.join(" ").as_str()),
            ("later=later", "later follower:later dead1 later")
        );
    }

    #[test]
    fn one_address_is_one_target() {
        let target = |node: u128| Target { address: "one".to_owned(), node: Some(NodeId(node)) };
        let order = |managers: &[u128]| Turns::default().order(None, managers.iter().map(|it| target(*it)).collect());
        assert_eq!(order(&[1, 1]), [target(1)]);
        assert_eq!(order(&[1, 2]), [Target { node: None, ..target(1) }], "either may be there");
    }
}
