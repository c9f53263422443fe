//! Layer: edge.
//!
//! `rswarm`: the command line, and the one file that is daemon, shim and network process too. The
//! way of a command: words ([`args`]) → what they mean ([`mod@settings`]) → [`commands`] → data → text
//! ([`render`]).

mod args;
mod codes;
mod commands;
mod containers;
mod context;
mod contexts;
mod endpoint;
mod failure;
mod follow;
mod logins;
mod names;
mod parse;
mod printer;
mod project;
mod render;
mod session;
mod settings;
mod spec;
mod start;
mod template;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = helper(&words) {
        return code;
    }
    let cli = match args::parse(&words) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &words),
    };
    let printer = printer::Printer::detect();
    match run(cli, printer) {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(failure::tell(printer, &error)),
    }
}

/// Runs the command; its exit code.
fn run(cli: args::Cli, printer: printer::Printer) -> anyhow::Result<u8> {
    // Asks no daemon, so it matters to it neither which is meant nor what is said of it.
    if let args::Command::Config(args) = &cli.command {
        return commands::config::run(printer, args);
    }
    let settings = settings(&cli, printer)?;
    match cli.command {
        args::Command::Daemon(args) => commands::daemon::run(&settings, args),
        command => client(context::Context::new(settings, printer), command),
    }
}

/// Which daemon is meant. What concerns this machine only knows of no contexts: a damaged one must not be in its way.
fn settings(cli: &args::Cli, printer: printer::Printer) -> anyhow::Result<settings::Settings> {
    let environment = match &cli.command {
        args::Command::Daemon(_) | args::Command::DialStdio | args::Command::Context(_) => {
            settings::Environment::default()
        }
        _ => settings::Environment::read(),
    };
    let settings = settings::Settings::new(&cli.global, &environment, context::now())?;
    if let Some(warning) = &settings.warning {
        printer.warn(warning);
    }
    Ok(settings)
}

/// Help, or what was typed wrong. Where a command hands on the exit code of what it runs, 125 says as in
/// Docker that nothing ran.
fn usage(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let _nobody_reads = error.print();
    match error.use_stderr() {
        false => ExitCode::SUCCESS,
        true if args::hands_on_exit_code(words) => ExitCode::from(125),
        true => ExitCode::from(2),
    }
}

/// The processes that the daemon starts beside itself, and the OCI runtime's command line, before anything that costs time or threads.
fn helper(words: &[OsString]) -> Option<ExitCode> {
    let rest = words.get(1..)?;
    match rest.first()?.to_str()? {
        "shim" => Some(runtime::shim::main(rest.get(1..)?)),
        "oci" => Some(runtime::oci::main(rest.get(1..)?)),
        _ => netd(rest),
    }
}

/// `--run-root R --data-root D netd`, and nothing else.
fn netd(words: &[OsString]) -> Option<ExitCode> {
    let (last, options) = words.split_last()?;
    if last != "netd" {
        return None;
    }
    let mut args =
        overlay_net::netd::NetdArgs { run_root: settings::RUN_ROOT.into(), data_root: settings::DATA_ROOT.into() };
    for pair in options.chunks(2) {
        match pair {
            [name, value] if name == "--run-root" => args.run_root = value.into(),
            [name, value] if name == "--data-root" => args.data_root = value.into(),
            _ => return None,
        }
    }
    Some(overlay_net::netd::main(args))
}

fn client(context: context::Context, command: args::Command) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(commands::run(&context, command));
    // A thread that waits for standard input must not hold up the end.
    runtime.shutdown_background();
    result
}
