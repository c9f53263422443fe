//! `login` and `logout`: Docker's file, without a daemon.

use crate::args::login;
use crate::context::Context;
use crate::failure::advised;
use crate::terminal;
use anyhow::{Context as _, Result, bail};
use image::credentials::{self, Kept};
use image::{Options, Registries};
use model::Login;
use model::image::{DEFAULT_REGISTRY, Reference};
use std::io::Read as _;
use std::path::PathBuf;

/// Longest password or token, in bytes.
const LONGEST: u64 = 64 << 10;

pub(super) async fn login(context: &Context, args: login::Login) -> Result<u8> {
    let host = host(args.server.as_deref())?;
    let folder = folder()?;
    let (user, password) = typed(context, &args).await?;
    let login = Login::Password { user, password };
    let options = Options::new(PathBuf::new(), args.insecure_registries.clone());
    let registries = Registries::new(&options);
    registries.check(&host, &login).await.with_context(|| format!("log in to {host}"))?;
    match credentials::save(&folder, &host, &login).await.context("keep the login")? {
        Kept::File(path) => context.printer.warn(&format!(
            "the password is in {}, not encrypted; a helper program (`credsStore`) would keep it better",
            path.display()
        )),
        Kept::Helper(_) => {}
    }
    context.line("Login Succeeded")?;
    Ok(0)
}

pub(super) async fn logout(context: &Context, args: login::Logout) -> Result<u8> {
    let host = host(args.server.as_deref())?;
    match credentials::erase(&folder()?, &host).await.context("take the login away")? {
        true => context.line(&format!("Removing login credentials for {host}"))?,
        false => context.printer.say(&format!("there is no login for {host}")),
    }
    Ok(0)
}

fn folder() -> Result<PathBuf> {
    credentials::folder().context("there is no place for logins without a home: set HOME or DOCKER_CONFIG")
}

/// The registry as names of images have it.
fn host(server: Option<&str>) -> Result<String> {
    let Some(text) = server else { return Ok(DEFAULT_REGISTRY.to_owned()) };
    let host = credentials::registry(text);
    match format!("{host}/x").parse::<Reference>() {
        Ok(reference) if reference.host() == host => Ok(host.to_owned()),
        _ => Err(advised(
            format!("`{text}` is no registry"),
            "it is what stands before the first slash of an image's name: registry.example.com, or localhost:5000",
        )),
    }
}

/// Name and password, asked for where they were not given.
async fn typed(context: &Context, args: &login::Login) -> Result<(String, String)> {
    let needs_person = args.username.is_none() || !(args.password.is_some() || args.password_stdin);
    if needs_person && !terminal::stdin_is_terminal() {
        return Err(advised(
            "nobody can be asked for a name and a password: the input is no terminal",
            "`-u NAME --password-stdin` reads the password from there",
        ));
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => terminal::ask("Username: ")?,
    };
    let password = match &args.password {
        Some(password) => {
            context.printer.warn("-p shows the password to all who see what runs: --password-stdin does not");
            password.clone()
        }
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin().lock().take(LONGEST).read_to_string(&mut text).context("read the password")?;
            text
        }
        None => terminal::secret("Password: ").await?,
    };
    let (user, password) = (user.trim().to_owned(), password.trim_end_matches(['\r', '\n']).to_owned());
    if user.is_empty() || password.is_empty() || user.contains(':') {
        bail!("a login is a name, without a colon, and a password");
    }
    Ok((user, password))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn registries_are_named_as_images_name_them() {
        for (typed, meant) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("registry-1.docker.io"), "docker.io"),
            (Some("a.example"), "a.example"),
            (Some("https://a.example:5000/v2/"), "a.example:5000"),
            (Some("localhost"), "localhost"),
        ] {
            assert_eq!(host(typed).unwrap(), meant);
        }
        for bad in ["", "shop", "a b.c", "https://"] {
            assert!(host(Some(bad)).is_err(), "{bad}");
        }
    }
}
