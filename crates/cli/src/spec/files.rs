//! `--secret`, `--config`: a name, or `source=NAME,target=PATH,uid=UID,gid=GID,mode=OCTAL`.

use super::mounts;
use anyhow::{Context as _, Result, anyhow, bail};
use model::{ContentKind, FileRef};

/// A file in a container. `kind`: whose defaults it has.
///
/// # Errors
/// A field that is not known, or whose value makes no sense.
pub(crate) fn file<Id>(text: &str, kind: ContentKind) -> Result<FileRef<Id>> {
    parsed(text, kind).with_context(|| format!("--{kind} {text}"))
}

fn parsed<Id>(text: &str, kind: ContentKind) -> Result<FileRef<Id>> {
    const MODE: u32 = 0o444;
    let mut file = FileRef { name: String::new(), id: None, target: String::new(), uid: 0, gid: 0, mode: MODE };
    if !text.contains('=') {
        text.clone_into(&mut file.name);
    } else {
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let value = Some(value.trim()).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| anyhow!("`{key}` needs a value"))?;
            let number = || value.parse::<u32>().map_err(|_| anyhow!("`{key}` is a number, not `{value}`"));
            match key.trim().to_ascii_lowercase().as_str() {
                "source" | "src" => value.clone_into(&mut file.name),
                "target" => value.clone_into(&mut file.target),
                "uid" => file.uid = number()?,
                "gid" => file.gid = number()?,
                "mode" => file.mode = mounts::octal(value)?,
                _ => bail!("`{key}` is no field of a {kind}: source, target, uid, gid and mode are"),
            }
        }
    }
    if file.name.is_empty() {
        bail!("it does not name a {kind}");
    }
    let folder = match kind {
        ContentKind::Secret => "/run/secrets",
        ContentKind::Config => "/",
    };
    let target = if file.target.is_empty() { &file.name } else { &file.target };
    file.target = mounts::absolute(target, folder);
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use model::SecretId;

    #[test]
    fn both_forms_are_known() {
        let of = |text: &str, kind| file::<SecretId>(text, kind).unwrap();
        assert_eq!(of("key", ContentKind::Secret).target, "/run/secrets/key");
        assert_eq!(of("key", ContentKind::Config).target, "/key");
        let long = of("source=key,target=tls/k.pem,uid=7,gid=8,mode=0400", ContentKind::Secret);
        assert_eq!((long.name.as_str(), long.target.as_str()), ("key", "/run/secrets/tls/k.pem"));
        assert_eq!((long.uid, long.gid, long.mode), (7, 8, 0o400));
        assert_eq!(of("src=key,target=/etc/key", ContentKind::Config).target, "/etc/key");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, why) in [
            ("target=/x", "does not name a secret"),
            ("source=", "`source` needs a value"),
            ("source=a,mode=999", "999"),
            ("source=a,uid=ann", "`uid` is a number"),
            ("source=a,owner=ann", "`owner` is no field"),
        ] {
            let error = format!("{:#}", file::<SecretId>(text, ContentKind::Secret).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
