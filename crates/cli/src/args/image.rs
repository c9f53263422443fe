//! `image …` and its short forms.

use super::Listing;
use clap::{Args, Subcommand};

/// `image …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// List images
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Download an image
    Pull(Pull),
    /// Show everything about images as JSON
    Inspect(super::object::InspectOne),
    /// Show how an image was made
    History(History),
    /// Give an image one more name
    Tag(Tag),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove images that nothing uses
    Prune(Prune),
    /// Load images from an archive
    Load(Load),
    /// Write images to an archive
    Save(Save),
    /// Make an image from the archive of a root file system
    Import(Import),
}

/// `image ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only of this repository
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) reference: Option<String>,
    /// Untagged ones too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// `KEY=VALUE` (dangling, reference)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    #[command(flatten)]
    pub(crate) listing: Listing,
}

/// `pull`.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Image: NAME, NAME:TAG or NAME@DIGEST
    pub(crate) reference: String,
    /// Print the reference only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `image history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Image
    pub(crate) image: String,
    /// Sizes and times for people
    #[arg(long = "human", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, value_name = "BOOL", id = "human")]
    pub(crate) human: bool,
    #[command(flatten)]
    pub(crate) listing: Listing,
}

/// `image tag`.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// Image that is there
    pub(crate) source: String,
    /// New name
    pub(crate) target: String,
}

/// `image rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Also when ended containers use it or it has several names
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Accepted for Docker's sake
    #[arg(long)]
    pub(crate) no_prune: bool,
}

/// `image prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// All that no container uses, not only untagged ones
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `image load`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Archive (OCI or Docker, plain, gzip or zstd) in place of standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<String>,
    /// Print less
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `image save`.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Write to a file in place of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<String>,
}

/// `image import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Archive of the root file system, or `-`
    pub(crate) file: String,
    /// Name to give it
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) reference: Option<String>,
    /// Dockerfile instruction to apply, such as `CMD ["sh"]`
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Comment
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
}
