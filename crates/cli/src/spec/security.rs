//! Capabilities, namespaces, seccomp, devices, ulimits.

use super::Surroundings;
use crate::args::run::Security;
use anyhow::{Context as _, Result, anyhow, bail};
use model::{ContainerSpec, Device, Seccomp, ULIMITS};

/// Puts the flags of this family into the spec.
///
/// # Errors
/// The first value that makes no sense, by flag.
pub(super) fn apply(flags: &Security, around: &Surroundings<'_>, spec: &mut ContainerSpec) -> Result<()> {
    spec.privileged = flags.privileged;
    spec.cap_add = capabilities(&flags.cap_add);
    spec.cap_drop = capabilities(&flags.cap_drop);
    for option in &flags.security_opt {
        security_opt(option, around, spec).with_context(|| format!("--security-opt {option}"))?;
    }
    spec.pid_host = host_mode("--pid", flags.pid.as_deref(), &["private", ""])?;
    spec.ipc_host = host_mode("--ipc", flags.ipc.as_deref(), &["private", "shareable", ""])?;
    spec.uts_host = host_mode("--uts", flags.uts.as_deref(), &[""])?;
    spec.cgroup_host = host_mode("--cgroupns", flags.cgroupns.as_deref(), &["private", ""])?;
    Ok(())
}

/// As specs have them; several may be in one word.
pub(crate) fn capabilities(words: &[String]) -> Vec<String> {
    words.iter().flat_map(|list| list.split(',')).map(capability).collect()
}

fn capability(name: &str) -> String {
    let upper = name.trim().to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
}

fn host_mode(flag: &str, value: Option<&str>, own: &[&str]) -> Result<bool> {
    match value {
        None => Ok(false),
        Some("host") => Ok(true),
        Some(value) if own.contains(&value) => Ok(false),
        Some(value) => bail!("{flag} {value}: only `host` and the default are supported"),
    }
}

fn security_opt(option: &str, around: &Surroundings<'_>, spec: &mut ContainerSpec) -> Result<()> {
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match (key, value) {
        ("no-new-privileges", "" | "true") => spec.no_new_privileges = true,
        ("no-new-privileges", "false") => spec.no_new_privileges = false,
        ("seccomp", "unconfined") => spec.seccomp = Seccomp::Unconfined,
        ("seccomp", "builtin" | "") => spec.seccomp = Seccomp::Default,
        ("seccomp", path) => {
            let text = (around.read)(path).with_context(|| format!("read the seccomp profile {path}"))?;
            serde_json::from_str::<serde_json::Value>(&text)
                .with_context(|| format!("the seccomp profile {path} is no JSON"))?;
            spec.seccomp = Seccomp::Profile(text);
        }
        // Neither is in force here, so switching it off changes nothing.
        ("apparmor", "unconfined") | ("label", "disable") => {}
        _ => bail!("this option is not supported; seccomp and no-new-privileges are"),
    }
    Ok(())
}

/// `--device PATH[:PATH[:rwm]]`.
pub(super) fn device(text: &str) -> Result<Device> {
    let is_permissions = |text: &str| !text.is_empty() && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, permissions] if is_permissions(permissions) => (*source, *source, *permissions),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] if is_permissions(permissions) => (*source, *target, *permissions),
        _ => bail!("`{text}` is not of the form PATH[:PATH[:rwm]]"),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        bail!("`{text}`: devices have absolute paths");
    }
    Ok(Device { source: source.to_owned(), target: target.to_owned(), permissions: permissions.to_owned() })
}

/// `--ulimit NAME=SOFT[:HARD]`; -1 or `unlimited` for no limit.
pub(crate) fn ulimit(text: &str) -> Result<(String, (i64, i64))> {
    let (name, value) = text.split_once('=').ok_or_else(|| anyhow!("`{text}` is not of the form NAME=SOFT[:HARD]"))?;
    if !ULIMITS.contains(&name) {
        bail!("`{name}` is no limit that the kernel knows: {}", ULIMITS.join(", "));
    }
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(-1),
        text => text.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(|| anyhow!("`{text}` is no limit")),
    };
    let (soft, hard) = match value.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(value)?, number(value)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        bail!("the soft limit of `{text}` is above the hard one");
    }
    Ok((name.to_owned(), (soft, hard)))
}
