//! Words about configs and secrets that belong to no stack.

use super::object::{InspectOne, Ls};
use clap::{Args, Subcommand};

/// `secret …`, `config ls|create|inspect|rm`.
#[derive(Debug, Subcommand)]
pub(crate) enum Content {
    /// List them
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Make one from a file, or from standard input
    Create(Create),
    /// Show everything about some as JSON
    Inspect(InspectOne),
    /// Remove some that no service uses
    #[command(visible_alias = "remove")]
    Rm(Rm),
}

/// `secret create`, `config create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    pub(crate) name: String,
    /// What is in it; `-`: standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: String,
    /// Set a label
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Expand `{{…}}` placeholders in it: `golang`
    #[arg(long, value_name = "DRIVER", value_parser = ["golang"])]
    pub(crate) template_driver: Option<String>,
}

/// `secret rm`, `config rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Which
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}
