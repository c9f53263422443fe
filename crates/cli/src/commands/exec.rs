//! `exec`.

use crate::args::container::Exec;
use crate::containers;
use crate::context::Context;
use crate::failure::advised;
use crate::project;
use crate::session::{self, Wants};
use crate::spec::{self, Surroundings};
use crate::terminal::{self, DetachKeys};
use anyhow::{Result, bail};
use api::{ExecProcess, SessionCall};

pub(super) async fn run(context: &Context, args: Exec) -> Result<u8> {
    let detach = DetachKeys::parse(&args.detach_keys)?;
    if args.tty && args.interactive && !args.detach && !terminal::stdin_is_terminal() {
        return Err(advised("the input is no terminal, so -t makes no sense", "leave out -t, or run it in a terminal"));
    }
    let Some((container, command)) = args.words.split_first() else { bail!("there is no container") };
    let variable = |name: &str| std::env::var(name).ok();
    let read = |path: &str| std::fs::read_to_string(path);
    let around = Surroundings { variable: &variable, read: &read, cwd: project::cwd()? };
    let process = ExecProcess {
        args: command.to_vec(),
        env: spec::env::list(&args.env, &args.env_file, &around)?,
        working_dir: args.workdir.clone(),
        user: args.user.clone(),
        privileged: args.privileged,
        tty: args.tty,
        stdin: args.interactive && !args.detach,
        detach: args.detach,
        size: if args.tty { terminal::size() } else { None },
    };
    let container = containers::one(context, container, &args.stack, args.index).await?;
    let stream = context.client.session(&SessionCall::Exec { container, process }).await?;
    let wants = Wants {
        stdin: args.interactive && !args.detach,
        tty: args.tty && !args.detach,
        detach,
        sig_proxy: !args.detach,
    };
    Ok(session::converse(stream, wants).await?.code())
}
