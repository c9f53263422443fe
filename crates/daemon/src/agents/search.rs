//! Which of the managers a node has its session with: the first that answers.
//!
//! One that is dead must not keep a node from those that are not. Waiting for it takes as long as the cluster
//! waits for the node before it runs its tasks elsewhere. So the next is called while the one before may still
//! answer, as RFC 8305 (section 5) does with the addresses of one host.

use anyhow::Result;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::NodeId;
use std::collections::{BTreeMap, VecDeque};
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

/// Who was called, the last one last. Whoever was no help is asked again only after all the others.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<String>);

impl Turns {
    /// In which order to call: the preferred one, then those that were not called for the longest time.
    fn order(&mut self, preferred: Option<Target>, mut managers: Vec<Target>) -> VecDeque<Target> {
        self.0.retain(|called| managers.iter().any(|manager| manager.address == *called));
        managers.retain(|manager| preferred.as_ref().is_none_or(|preferred| preferred.address != manager.address));
        managers.sort_by_key(|manager| self.0.iter().position(|called| *called == manager.address));
        preferred.into_iter().chain(managers).collect()
    }

    fn called(&mut self, target: &Target) {
        self.0.retain(|called| *called != target.address);
        self.0.push(target.address.clone());
    }
}

/// Calls one after the other, each `head_start` after the one before, or as soon as that has failed, and those
/// that have failed again, until one answers.
///
/// # Errors
/// Each of them has failed once.
pub(super) async fn first<S, C: Future<Output = Result<S>>>(
    turns: &mut Turns,
    preferred: Option<Target>,
    managers: Vec<Target>,
    head_start: Duration,
    call: impl Fn(Target) -> C,
) -> Result<(Target, S)> {
    let mut queue = turns.order(preferred, managers);
    let (mut untried, all) = (queue.len(), queue.len());
    let mut failed = BTreeMap::new();
    let mut calls = FuturesUnordered::new();
    let mut due = Instant::now();
    while failed.len() < all {
        tokio::select! {
            Some((target, answer)) = calls.next(), if !calls.is_empty() => match answer {
                Ok(stream) => return Ok((target, stream)),
                Err(error) => {
                    tracing::debug!(manager = target.address, "no session: {error:#}");
                    failed.insert(target.address.clone(), format!("{error:#}"));
                    queue.push_back(target);
                    if untried > 0 {
                        due = Instant::now();
                    }
                }
            },
            () = tokio::time::sleep_until(due), if !queue.is_empty() => {
                let Some(target) = queue.pop_front() else { continue };
                turns.called(&target);
                untried = untried.saturating_sub(1);
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
    /// second time, `s` answers slowly.
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
                    _ => anyhow::bail!("{name} refuses"),
                }
                Ok(name)
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
        assert_eq!(called.join(" "), "slow dead1");
    }
}
