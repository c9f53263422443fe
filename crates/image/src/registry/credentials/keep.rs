//! `login` and `logout`: a login is put where Docker would put it, and taken away from wherever it is. All else in
//! the file stays as it is.

use super::{File, SERVER_OF_DEFAULT, malformed, names, run};
use crate::error::{Error, Result};
use base64::Engine as _;
use model::Login;
use model::image::DEFAULT_REGISTRY;
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where a login was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Into the file, where whoever can read it finds it.
    File(PathBuf),
    /// In the care of this helper.
    Helper(String),
}

/// What Docker's tools call a registry in the file, and to helpers.
pub(super) fn server(host: &str) -> &str {
    if host == DEFAULT_REGISTRY { SERVER_OF_DEFAULT } else { host }
}

/// Keeps the login for a registry in place of any that there is.
///
/// # Errors
/// The file is malformed or can't be written, a helper fails, or this kind of login is not one that is typed.
pub async fn save(folder: &Path, host: &str, login: &Login) -> Result<Kept> {
    let Login::Password { user, password } = login else {
        return Err(Error::Invalid("only a name with its password can be kept".to_owned()));
    };
    let path = place(folder);
    let (mut whole, file) = read(&path)?;
    let helper = file.helper(host).map(str::to_owned);
    if let Some(helper) = &helper {
        let asked = json!({ "ServerURL": server(host), "Username": user, "Secret": password });
        run(helper, "store", host, asked.to_string().as_bytes()).await?;
    }
    let entry = match &helper {
        // An empty one says that there is one elsewhere.
        Some(_) => json!({}),
        None => {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            json!({ "auth": pair })
        }
    };
    let auths = auths(&mut whole, &path)?;
    auths.retain(|key, _| !names(key, host));
    auths.insert(server(host).to_owned(), entry);
    write(&path, &whole)?;
    Ok(helper.map_or(Kept::File(path), Kept::Helper))
}

/// Takes the login for a registry away; false: there was none.
///
/// # Errors
/// The file is malformed or can't be written, or a helper fails.
pub async fn erase(folder: &Path, host: &str) -> Result<bool> {
    let path = place(folder);
    let (mut whole, file) = read(&path)?;
    let mut was_there = false;
    if let Some(helper) = file.helper(host) {
        was_there = super::ask(helper, host).await?.is_some();
        if was_there {
            run(helper, "erase", host, server(host).as_bytes()).await?;
        }
    }
    let auths = auths(&mut whole, &path)?;
    let before = auths.len();
    auths.retain(|key, _| !names(key, host));
    if auths.len() < before {
        was_there = true;
        write(&path, &whole)?;
    }
    Ok(was_there)
}

/// The file itself, where there is a link in its place.
fn place(folder: &Path) -> PathBuf {
    let path = folder.join("config.json");
    path.canonicalize().unwrap_or(path)
}

/// All of it, and what of it is understood.
fn read(path: &Path) -> Result<(Value, File)> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => b"{}".to_vec(),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let whole = serde_json::from_slice(&bytes).map_err(|error| malformed(path, &error))?;
    let file = serde_json::from_slice(&bytes).map_err(|error| malformed(path, &error))?;
    Ok((whole, file))
}

fn auths<'v>(whole: &'v mut Value, path: &Path) -> Result<&'v mut Map<String, Value>> {
    let auths = whole.as_object_mut().and_then(|whole| whole.entry("auths").or_insert(json!({})).as_object_mut());
    auths.ok_or_else(|| Error::corrupt(path.display().to_string(), "malformed: `auths` is no object"))
}

/// As a whole or not at all, and for its owner's eyes only.
fn write(path: &Path, whole: &Value) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::on("make", folder))?;
    let new = folder.join(format!(".config.json.{}", std::process::id()));
    let _left_over = std::fs::remove_file(&new);
    let text = format!("{whole:#}\n");
    let written =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            if let Ok(before) = std::fs::metadata(path) {
                // Of whose file it was; only root can, and only root needs to.
                let _not_root = std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()));
            }
            file.sync_all()
        });
    let renamed = written.and_then(|()| std::fs::rename(&new, path));
    renamed.map_err(|error| {
        let _half = std::fs::remove_file(&new);
        Error::io("write", path, error)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::super::find;
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn joe(password: &str) -> Login {
        Login::Password { user: "joe".to_owned(), password: password.to_owned() }
    }

    #[tokio::test]
    async fn a_login_is_kept_found_replaced_and_taken_away() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("home/.docker");
        let path = folder.join("config.json");
        assert!(!erase(&folder, "a:5000").await.unwrap(), "there is nothing");
        assert!(!path.exists());
        assert_eq!(save(&folder, "a:5000", &joe("one:two")).await.unwrap(), Kept::File(path.clone()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(find(&folder, "a:5000").await.unwrap(), Some(joe("one:two")));
        save(&folder, DEFAULT_REGISTRY, &joe("hub")).await.unwrap();
        save(&folder, "a:5000", &joe("three")).await.unwrap();
        assert_eq!(find(&folder, "a:5000").await.unwrap(), Some(joe("three")));
        assert_eq!(find(&folder, DEFAULT_REGISTRY).await.unwrap(), Some(joe("hub")));
        assert!(std::fs::read_to_string(&path).unwrap().contains("https://index.docker.io/v1/"), "as Docker calls it");
        assert!(erase(&folder, "a:5000").await.unwrap());
        assert_eq!(find(&folder, "a:5000").await.unwrap(), None);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
    }

    #[tokio::test]
    async fn all_else_in_the_file_stays() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("dotfiles.json");
        let text = r#"{"auths": {"https://a:5000/v2/": {"auth": "eDp5"}, "b": {"auth": "eDp5", "email": "x@y"}},
            "HttpHeaders": {"X": "y"}, "psFormat": "table {{.ID}}", "detachKeys": "ctrl-e,e"}"#;
        std::fs::write(&target, text).unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&target, root.path().join("config.json")).unwrap();
        save(root.path(), "a:5000", &joe("secret")).await.unwrap();
        let now: Value = serde_json::from_slice(&std::fs::read(&target).unwrap()).unwrap();
        let mut wanted: Value = serde_json::from_str(text).unwrap();
        let auths = wanted.pointer_mut("/auths").unwrap().as_object_mut().unwrap();
        auths.remove("https://a:5000/v2/");
        auths.insert("a:5000".to_owned(), json!({ "auth": "am9lOnNlY3JldA==" }));
        assert_eq!(now, wanted);
        assert!(root.path().join("config.json").is_symlink());
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_that_makes_no_sense_is_left_alone_and_not_told() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("config.json");
        for text in ["{", r#"{"auths": "hunter2"}"#, "[]"] {
            std::fs::write(&path, text).unwrap();
            let error = save(root.path(), "a:5000", &joe("secret")).await.unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(erase(root.path(), "a:5000").await.is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
