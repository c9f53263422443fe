//! A daemon's life. Its drivers come with the crates that they drive; until then it says so.

use crate::DaemonArgs;
use crate::config::Roots;

/// Runs a daemon until it is told to stop.
#[expect(clippy::unused_async, reason = "it will wait for signals")]
pub(crate) async fn run(args: DaemonArgs) -> anyhow::Result<()> {
    let _roots = Roots::open(&args)?;
    anyhow::bail!("this build has no drivers yet: consensus, the agent and the image store are still being built")
}
