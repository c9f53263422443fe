//! `login` and `logout`.

use clap::Args;

/// `login`.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Name; without it it is asked for
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Password or token, for all to see who see what runs; without it it is asked for
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin", requires = "username")]
    pub(crate) password: Option<String>,
    /// Read the password or token from standard input
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
    /// Registry that may be asked without TLS, or with TLS that can't be verified
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) insecure_registries: Vec<String>,
    /// Registry; without one Docker Hub
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) server: Option<String>,
}

/// `logout`.
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// Registry; without one Docker Hub
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) server: Option<String>,
}
