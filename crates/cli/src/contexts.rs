//! Contexts: daemons and clusters elsewhere, by name, with what is shown to them. One file each below
//! `~/.rswarm/contexts`, readable by their owner only; what `export` and `ca client create` write is such a file.

use crate::endpoint::Endpoint;
use crate::failure::advised;
use anyhow::{Context as _, Result, bail};
use api::road::Road;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The context that every machine has: the daemon of its own.
pub(crate) const DEFAULT: &str = "default";
/// Version of the files' format.
const FORMAT: u32 = 1;
/// Longest name.
const MAX_NAME: usize = 63;
/// A certificate that ends within this is told of with each command.
const SOON: Duration = Duration::from_hours(14 * 24);

/// One context, as it is in its file.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    format: u32,
    /// For people.
    #[serde(default)]
    pub(crate) description: String,
    /// Where: an [`Endpoint`].
    pub(crate) host: String,
    /// Key, certificate and roots, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credentials: Option<String>,
}

impl Stored {
    /// A new one.
    pub(crate) fn new(description: String, endpoint: &Endpoint, credentials: Option<&pki::Credentials>) -> Stored {
        let credentials = credentials.map(pki::Credentials::to_pem);
        Stored { format: FORMAT, description, host: endpoint.to_string(), credentials }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, or one of a newer version.
    pub(crate) fn parse(text: &str) -> Result<Stored> {
        let stored: Stored = serde_json::from_str(text).context("this is no context")?;
        if stored.format != FORMAT {
            bail!("this context is of format {}, this version knows {FORMAT}", stored.format);
        }
        stored.endpoint()?;
        stored.credentials()?;
        Ok(stored)
    }

    /// As it is written.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self).context("write the context")? + "\n")
    }

    /// Where it leads.
    ///
    /// # Errors
    /// That makes no sense.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        self.host.parse()
    }

    /// What is shown there.
    ///
    /// # Errors
    /// That is damaged.
    pub(crate) fn credentials(&self) -> Result<Option<pki::Credentials>> {
        let read = self.credentials.as_deref().map(pki::Credentials::from_pem).transpose();
        read.context("the certificate of the context")
    }

    /// The same, leading elsewhere.
    pub(crate) fn towards(self, endpoint: &Endpoint) -> Stored {
        Stored { host: endpoint.to_string(), ..self }
    }

    /// The same, told of in other words, if there are any.
    pub(crate) fn described(mut self, description: Option<String>) -> Stored {
        self.description = description.unwrap_or(self.description);
        self
    }

    /// The way there, and what is to be said about its certificate.
    ///
    /// # Errors
    /// The certificate has ended or is damaged, or there is none where one is wanted.
    pub(crate) fn road(&self, now: u64) -> Result<(Road, Option<String>)> {
        let endpoint = self.endpoint()?;
        // What is not shown need not be good.
        let credentials = if matches!(endpoint, Endpoint::Tcp(_)) { self.credentials()? } else { None };
        let warning = credentials.as_ref().map(|credentials| check(credentials, now)).transpose()?.flatten();
        Ok((endpoint.road(credentials.as_ref())?, warning))
    }
}

fn check(credentials: &pki::Credentials, now: u64) -> Result<Option<String>> {
    let expires = credentials.certificate.expires.0;
    if expires <= now {
        return Err(advised(
            format!("the certificate has ended on {}", crate::render::human::created_at(expires)),
            "`rswarm context create NAME --certificate-from ssh://USER@MANAGER` gets a new one",
        ));
    }
    let left = Duration::from_millis(expires - now);
    Ok((left < SOON).then(|| format!("the certificate of this context ends in {}", crate::render::human::span(left))))
}

/// Where the contexts of a person are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// Below `RSWARM_CONFIG`, or `~/.rswarm`; `None` without a home.
    pub(crate) fn of_environment() -> Option<Store> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = named("RSWARM_CONFIG").or_else(|| named("HOME").map(|home| home.join(".rswarm")))?;
        Some(Store { root })
    }

    /// Below this folder.
    #[cfg(test)]
    pub(crate) fn at(root: PathBuf) -> Store {
        Store { root }
    }

    /// Where one is kept.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join("contexts").join(format!("{name}.json"))
    }

    /// The one that is used when nothing else is said.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub(crate) fn current(&self) -> Result<String> {
        let path = self.root.join("context");
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Ok(_) => Ok(DEFAULT.to_owned()),
            // A home that others may not look into belongs to somebody else.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(DEFAULT.to_owned())
            }
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Uses this one when nothing else is said.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn use_one(&self, name: &str) -> Result<()> {
        write(&self.root.join("context"), format!("{name}\n").as_bytes())
    }

    /// Reads one; `None`: there is none of that name.
    ///
    /// # Errors
    /// It can't be read, or is damaged.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Stored>> {
        check_name(name)?;
        let path = self.path(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        Stored::parse(&text).map(Some).with_context(|| format!("make sense of {}", path.display()))
    }

    /// The same, of one that has to be there.
    ///
    /// # Errors
    /// And there is none.
    pub(crate) fn get(&self, name: &str) -> Result<Stored> {
        self.find(name)?
            .ok_or_else(|| advised(format!("there is no context `{name}`"), "`rswarm context ls` lists them"))
    }

    /// Writes one.
    ///
    /// # Errors
    /// The name is no good, or the disk fails.
    pub(crate) fn put(&self, name: &str, stored: &Stored) -> Result<()> {
        check_name(name)?;
        write(&self.path(name), stored.to_text()?.as_bytes())
    }

    /// Removes one; false: there was none.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        check_name(name)?;
        match std::fs::remove_file(self.path(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("remove {}", self.path(name).display())),
        }
    }

    /// All names, in order.
    ///
    /// # Errors
    /// The folder can't be read.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let folder = self.root.join("contexts");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("list {}", folder.display())),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.with_context(|| format!("list {}", folder.display()))?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
            names.extend(name.filter(|name| check_name(name).is_ok()).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// May a context be called so? It is the name of a file, too.
///
/// # Errors
/// It may not.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name == DEFAULT {
        return Err(advised(
            "`default` is the daemon of this machine, and is not kept anywhere",
            "`rswarm context use default` goes back to it",
        ));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !first || name.len() > MAX_NAME || !name.bytes().all(fits) {
        bail!(
            "`{name}` is no name of a context: it has up to {MAX_NAME} letters, digits and `_.+-`, a letter or digit first"
        );
    }
    Ok(())
}

/// Writes a file that only its owner may read, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("make {}", folder.display()))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = folder.join(name);
    let written = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
    let written = written.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    });
    if written.is_err() {
        let _was_not_made = std::fs::remove_file(&new);
    }
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn stored(host: &str) -> Stored {
        Stored::new("of mine".to_owned(), &host.parse().unwrap(), None)
    }

    #[test]
    fn contexts_are_kept_for_their_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let store = Store { root: root.path().join("rswarm") };
        assert_eq!(store.current().unwrap(), DEFAULT);
        assert!(store.names().unwrap().is_empty() && store.find("prod").unwrap().is_none());
        for name in ["prod", "lab"] {
            store.put(name, &stored("ssh://me@m1")).unwrap();
        }
        store.use_one("prod").unwrap();
        assert_eq!(
            (store.names().unwrap(), store.current().unwrap()),
            (vec!["lab".into(), "prod".into()], "prod".into())
        );
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&store.path("prod")), mode(store.path("prod").parent().unwrap())), (0o600, 0o700));
        assert_eq!(store.get("prod").unwrap().host, "ssh://me@m1");
        assert!(store.remove("prod").unwrap() && !store.remove("prod").unwrap());
        assert!(store.get("prod").is_err());
    }

    #[test]
    fn names_that_would_leave_the_folder_are_none() {
        for bad in ["", "default", "..", "../x", "a/b", ".x", "a b", "ä", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        for good in ["prod", "a", "eu-1.prod_x+y"] {
            check_name(good).unwrap();
        }
    }

    #[test]
    fn what_is_no_context_is_refused() {
        let text = stored("tcp://m1").to_text().unwrap();
        Stored::parse(&text).unwrap();
        for bad in [
            "{}".to_owned(),
            "x".to_owned(),
            text.replace("tcp://m1:2377", "http://m1"),
            text.replace("\"format\": 1", "\"format\": 2"),
            text.replace("\"format\"", "\"credentials\": \"x\", \"format\""),
        ] {
            assert!(Stored::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told_and_one_that_has_ended_is_not_shown() {
        let (now, hour) = (1_800_000_000_000, 3_600_000);
        let cluster = model::ClusterId(7);
        let authority = pki::new_authority(cluster, model::Time(now)).unwrap();
        let credentials = pki::Credentials::own(&authority, cluster, model::NodeId(1), model::Time(now)).unwrap();
        let days = |days: u64| check(&credentials, now + days * 24 * hour);
        assert_eq!(days(1).unwrap(), None);
        assert_eq!(days(80).unwrap().unwrap(), "the certificate of this context ends in 10 days");
        assert!(days(90).unwrap_err().to_string().starts_with("the certificate has ended on "));
        let elsewhere = Stored::new(String::new(), &"ssh://m1".parse().unwrap(), Some(&credentials));
        assert_eq!(elsewhere.road(now + 1000 * 24 * hour).unwrap().1, None, "ssh shows none");
    }
}
