//! `-v`, `--mount`, `--tmpfs`.

use crate::args::run::Storage;
use crate::parse;
use anyhow::{Context as _, Result, anyhow, bail};
use model::{Mount, MountSource};

/// All mounts, in the order volumes, mounts, tmpfs.
///
/// # Errors
/// The first that makes no sense, or two at one target.
pub(crate) fn all(storage: &Storage, cwd: &str) -> Result<Vec<Mount>> {
    let mut all = Vec::new();
    for text in &storage.volume {
        all.push(volume(text, cwd).with_context(|| format!("-v {text}"))?);
    }
    for text in &storage.mount {
        all.push(mount(text, cwd).with_context(|| format!("--mount {text}"))?);
    }
    for text in &storage.tmpfs {
        all.push(tmpfs(text).with_context(|| format!("--tmpfs {text}"))?);
    }
    for (index, mount) in all.iter().enumerate() {
        if all.iter().take(index).any(|other: &Mount| other.target == mount.target) {
            bail!("{} is mounted twice", mount.target);
        }
    }
    Ok(all)
}

/// `-v [SOURCE:]TARGET[:OPTIONS]`: a source with a slash or a leading dot or `~` is a path.
fn volume(text: &str, cwd: &str) -> Result<Mount> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => bail!("it has too many parts: write SOURCE:TARGET:OPTIONS"),
    };
    let target = absolute_target(target)?;
    let (mut read_only, mut nocopy, mut propagation, mut recursive) = (false, false, None, true);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            "nocopy" => nocopy = true,
            // Relabelling is for SELinux, consistency for Docker Desktop: nothing to do here.
            "rw" | "z" | "Z" | "copy" | "cached" | "delegated" | "consistent" => {}
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => propagation = Some(option.to_owned()),
            "bind-nonrecursive" => recursive = false,
            _ => bail!("`{option}` is no option of a volume: ro, rw, nocopy and the propagation modes are"),
        }
    }
    let source = match source {
        None => MountSource::Anonymous,
        Some("") => bail!("the source is empty"),
        Some(source) if is_path(source) => {
            if nocopy {
                bail!("nocopy is for volumes, {source} is a path");
            }
            MountSource::Bind { path: absolute(source, cwd), create: true, propagation, recursive }
        }
        Some(name) => MountSource::Volume { name: volume_name(name)?, nocopy, subpath: None },
    };
    Ok(Mount { target, source, read_only })
}

fn is_path(source: &str) -> bool {
    source.starts_with(['/', '.', '~'])
}

fn volume_name(name: &str) -> Result<String> {
    // What is filled in for each task is letters as well.
    let filled = template(name);
    let first = filled.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !first || !filled.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')) {
        bail!("`{name}` is no name of a volume (letters, digits, `_`, `.`, `-`); a path begins with / or ./");
    }
    Ok(name.to_owned())
}

/// A name whose placeholders (`{{.Task.Slot}}`) have something in their place.
fn template(name: &str) -> String {
    let mut parts = name.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("}}") {
            Some((_, rest)) => filled = format!("{filled}x{rest}"),
            None => filled = format!("{filled}{{{{{part}"),
        }
    }
    filled
}

/// Makes a path of the host absolute; `.` and `..` are resolved as text, as Docker does.
pub(crate) fn absolute(path: &str, cwd: &str) -> String {
    let home = || std::env::var("HOME").unwrap_or_else(|_| "/".to_owned());
    let full = match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{}{rest}", home()),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("{cwd}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in full.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn absolute_target(target: &str) -> Result<String> {
    if !target.starts_with('/') {
        bail!("`{target}` is not absolute: targets in a container begin with /");
    }
    match absolute(target, "/").as_str() {
        "/" => bail!("the root of a container cannot be mounted over"),
        target => Ok(target.to_owned()),
    }
}

/// `--mount type=…,source=…,target=…,…`.
///
/// # Errors
/// A field that is not known, or whose value makes no sense.
pub(crate) fn mount(text: &str, cwd: &str) -> Result<Mount> {
    let (mut kind, mut source, mut target, mut read_only) = ("volume", None, None, false);
    let (mut nocopy, mut subpath, mut propagation, mut recursive) = (false, None, None, true);
    let (mut size, mut mode) = (None, None);
    for field in text.split(',') {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        let needed = || value.filter(|value| !value.is_empty()).ok_or_else(|| anyhow!("`{key}` needs a value"));
        match key {
            "type" => kind = needed()?,
            "source" | "src" => source = Some(needed()?),
            "target" | "dst" | "destination" => target = Some(absolute_target(needed()?)?),
            "readonly" | "ro" => read_only = flag(key, value)?,
            "volume-nocopy" => nocopy = flag(key, value)?,
            "volume-subpath" => subpath = Some(needed()?.to_owned()),
            "bind-propagation" => propagation = Some(needed()?.to_owned()),
            "bind-nonrecursive" => recursive = !flag(key, value)?,
            "bind-recursive" => recursive = needed()? != "disabled",
            "tmpfs-size" => size = Some(parse::bytes(needed()?)?),
            "tmpfs-mode" => mode = Some(octal(needed()?)?),
            "consistency" => {}
            _ => bail!("`{key}` is no field of a mount that rswarm knows"),
        }
    }
    let target = target.ok_or_else(|| anyhow!("there is no target"))?;
    let source = match (kind, source) {
        ("volume", None) => MountSource::Anonymous,
        ("volume", Some(name)) => MountSource::Volume { name: volume_name(name)?, nocopy, subpath },
        ("bind", Some(path)) => MountSource::Bind { path: absolute(path, cwd), create: false, propagation, recursive },
        ("bind", None) => bail!("a bind mount needs a source"),
        ("tmpfs", None) => MountSource::Tmpfs { size, mode, options: Vec::new() },
        ("tmpfs", Some(_)) => bail!("a tmpfs mount has no source"),
        _ => bail!("`{kind}` is no type of mount: volume, bind and tmpfs are"),
    };
    Ok(Mount { target, source, read_only })
}

fn flag(key: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(value) => bail!("`{key}={value}` is neither true nor false"),
    }
}

/// Permission bits.
///
/// # Errors
/// They are not written in octal digits.
pub(super) fn octal(text: &str) -> Result<u32> {
    u32::from_str_radix(text.trim_start_matches("0o"), 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| anyhow!("`{text}` is no mode: write octal digits such as 1777"))
}

/// `--tmpfs TARGET[:OPTIONS]`.
fn tmpfs(text: &str) -> Result<Mount> {
    let (target, list) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut read_only, mut options) = (None, None, false, Vec::new());
    for option in list.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(parse::bytes(value)?),
            Some(("mode", value)) => mode = Some(octal(value)?),
            None if option == "ro" => read_only = true,
            None if option == "rw" => {}
            _ => options.push(option.to_owned()),
        }
    }
    Ok(Mount { target: absolute_target(target)?, source: MountSource::Tmpfs { size, mode, options }, read_only })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn bind(path: &str, create: bool) -> MountSource {
        MountSource::Bind { path: path.to_owned(), create, propagation: None, recursive: true }
    }

    #[test]
    fn a_source_is_a_path_or_a_name() {
        assert_eq!(
            volume("/a:/b:ro", "/w").unwrap(),
            Mount { target: "/b".into(), source: bind("/a", true), read_only: true }
        );
        assert_eq!(volume("./x/../y:/b/", "/w").unwrap().source, bind("/w/y", true));
        assert_eq!(volume("/b", "/w").unwrap().source, MountSource::Anonymous);
        let named = MountSource::Volume { name: "data".into(), nocopy: true, subpath: None };
        assert_eq!(volume("data:/b:nocopy", "/w").unwrap().source, named);
        for text in ["", "b", "data:b", "a:/b:zz", "a:/b:ro:x", ":/b", "a b:/b", "/a:/", "/a:/b:nocopy"] {
            assert!(volume(text, "/w").is_err(), "{text}");
        }
    }

    #[test]
    fn the_long_form_says_everything() {
        let made = mount("type=bind,src=conf,dst=/etc/x,readonly,bind-propagation=rshared", "/w").unwrap();
        let source = MountSource::Bind {
            path: "/w/conf".into(),
            create: false,
            propagation: Some("rshared".into()),
            recursive: true,
        };
        assert_eq!(made, Mount { target: "/etc/x".into(), source, read_only: true });
        let made = mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770", "/w").unwrap();
        assert_eq!(made.source, MountSource::Tmpfs { size: Some(64 << 20), mode: Some(0o1770), options: vec![] });
        assert_eq!(mount("target=/v,readonly=false", "/w").unwrap().source, MountSource::Anonymous);
        for text in
            ["type=bind,target=/x", "type=nfs,target=/x", "source=a", "target=/x,colour=red", "target=/x,ro=maybe"]
        {
            assert!(mount(text, "/w").is_err(), "{text}");
        }
    }

    #[test]
    fn memory_is_mounted_with_options() {
        let made = tmpfs("/t:size=1m,mode=755,noexec,uid=5,ro").unwrap();
        let options = vec!["noexec".to_owned(), "uid=5".to_owned()];
        let source = MountSource::Tmpfs { size: Some(1 << 20), mode: Some(0o755), options };
        assert_eq!(made, Mount { target: "/t".into(), source, read_only: true });
    }
}
