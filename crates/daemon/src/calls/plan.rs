//! `plan`: the planner on a copy of the state, beside the manager's thread.

use crate::shared::Daemon;
use crate::{clock, failure, pin};
use api::ApiError;
use model::diagnostic::Diagnostic;
use model::{Response, StackPlan, Wanted};

/// What applying would change, and what was looked at: the stack with the digests that are known here.
///
/// # Errors
/// What applying would be refused for.
pub(super) async fn plan(daemon: &Daemon, mut wanted: Wanted) -> Result<(StackPlan, Wanted), ApiError> {
    let unknown = pin::as_known(daemon, &mut wanted.stack).await?;
    pin::unchecked(daemon, &wanted.stack).await?;
    let snapshot = daemon.cluster.snapshot().await?;
    let asked = wanted.clone();
    let planning = tokio::task::spawn_blocking(move || orchestrator::preview(*snapshot, &asked, clock::steady()));
    let mut plan = match planning.await.map_err(failure::joined)? {
        Ok(plan) => plan,
        Err(Response::Refused { kind, diagnostics }) => return Err(failure::refused(kind, &diagnostics)),
        Err(_) => return Err(failure::failed("the plan was answered with something else than a plan")),
    };
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(String::as_str).collect();
        let text = format!("what these names mean is asked when it is applied: {}", names.join(", "));
        plan.warnings.push(Diagnostic::warning("RS8014", text).hint("`rswarm pull` fetches them now"));
    }
    Ok((plan, wanted))
}
