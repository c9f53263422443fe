//! What runs: arguments, environment, folder, user, rights.

use super::{Host, Inputs};
use crate::engine::{CreateContainer, ExecCommand};
use crate::users::User;
use oci_spec::runtime::{Process, Spec};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where the init of `init: true` appears (as in Docker).
pub(super) const INIT: &str = "/sbin/docker-init";

/// Where programs are looked for unless the image says otherwise (Docker).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Program and arguments, by Docker's rules: an entrypoint of one's own drops the image's CMD.
///
/// # Errors
/// There is nothing to run.
pub(crate) fn arguments(create: &CreateContainer) -> Result<Vec<String>, String> {
    let container = &create.spec.container;
    let image = &create.image.config;
    let mut own = container.entrypoint.clone();
    if own.as_ref().is_some_and(|words| words.iter().all(String::is_empty)) {
        own = Some(Vec::new());
    }
    let drops = own.as_ref().is_some_and(|words| !words.is_empty());
    let mut all = own.unwrap_or_else(|| image.entrypoint.clone());
    match &container.command {
        Some(command) => all.extend(command.iter().cloned()),
        None if !drops => all.extend(image.cmd.iter().cloned()),
        None => {}
    }
    if all.is_empty() { Err("no command specified".to_owned()) } else { Ok(all) }
}

/// Folder that it runs in.
pub(crate) fn working_dir(create: &CreateContainer) -> String {
    let own = create.spec.container.working_dir.as_deref().filter(|folder| !folder.is_empty());
    let folder = own.unwrap_or(&create.image.config.working_dir);
    if folder.starts_with('/') { folder.to_owned() } else { format!("/{folder}") }
}

/// Variables of the container but for HOME, and whether HOME is among them.
pub(crate) fn environment(create: &CreateContainer) -> (Vec<String>, bool) {
    let container = &create.spec.container;
    let mut all = Variables::default();
    all.set(&format!("PATH={PATH}"));
    all.set(&format!("HOSTNAME={}", create.hostname));
    if container.tty {
        all.set("TERM=xterm");
    }
    for variable in &create.image.config.env {
        all.set(variable);
    }
    for (name, value) in &container.env {
        match value {
            Some(value) => all.set(&format!("{name}={value}")),
            None => all.remove(name),
        }
    }
    let home = all.has("HOME");
    (all.0, home)
}

#[derive(Debug, Default)]
struct Variables(Vec<String>);

impl Variables {
    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| known.split_once('=').is_some_and(|(known, _)| known == name))
    }

    fn has(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// `NAME=value`; a name alone removes it, as `env -u` would.
    fn set(&mut self, variable: &str) {
        match variable.split_once('=') {
            None => self.remove(variable),
            Some((name, _)) => match self.position(name) {
                Some(at) => self.0.splice(at..=at, [variable.to_owned()]).for_each(drop),
                None => self.0.push(variable.to_owned()),
            },
        }
    }

    fn remove(&mut self, name: &str) {
        if let Some(at) = self.position(name) {
            self.0.remove(at);
        }
    }
}

pub(super) fn main(inputs: &Inputs<'_>, caps: &BTreeSet<String>) -> Result<Value, String> {
    let container = &inputs.create.spec.container;
    let mut args = arguments(inputs.create)?;
    if inputs.init.is_some() {
        args.splice(..0, [INIT.to_owned(), "--".to_owned()]);
    }
    let (mut env, has_home) = environment(inputs.create);
    if !has_home {
        env.push(format!("HOME={}", inputs.user.home));
    }
    let mut process = json!({
        "terminal": container.tty,
        "user": user(inputs.user),
        "args": args,
        "env": env,
        "cwd": working_dir(inputs.create),
        "capabilities": sets(caps),
        "rlimits": super::limits::rlimits(container)?,
        "noNewPrivileges": container.no_new_privileges,
    });
    if let Some(adjust) = container.oom_score_adj {
        super::put(&mut process, "oomScoreAdj", json!(adjust));
    }
    if let Some((rows, columns)) = inputs.size {
        super::put(&mut process, "consoleSize", json!({"height": rows, "width": columns}));
    }
    Ok(process)
}

fn user(user: &User) -> Value {
    json!({"uid": user.uid, "gid": user.gid, "additionalGids": user.groups})
}

/// Nothing inheritable and nothing ambient: a user who is not root has none after execve.
fn sets(caps: &BTreeSet<String>) -> Value {
    json!({"bounding": caps, "effective": caps, "permitted": caps, "inheritable": [], "ambient": []})
}

/// A further process of the container, as the container's own user unless there is another one.
///
/// # Errors
/// Nothing to run.
pub(crate) fn exec_process(
    create: &CreateContainer,
    spec: &Spec,
    host: &Host,
    other: Option<&User>,
    command: &ExecCommand,
) -> Result<Process, String> {
    if command.argv.is_empty() {
        return Err("no command specified".to_owned());
    }
    let main = spec.process().clone().unwrap_or_default();
    let (env, has_home) = environment(create);
    let mut variables = Variables(env);
    if !has_home {
        let inherited = main.env().iter().flatten().find(|variable| variable.starts_with("HOME=")).cloned();
        let home = other.map(|user| format!("HOME={}", user.home)).or(inherited);
        home.iter().for_each(|home| variables.set(home));
    }
    if command.tty {
        variables.set("TERM=xterm");
    }
    for variable in &command.env {
        variables.set(variable);
    }
    let cwd = match command.working_dir.as_deref().filter(|folder| !folder.is_empty()) {
        Some(folder) => folder.to_owned(),
        None => working_dir(create),
    };
    let mut process = json!({
        "terminal": command.tty,
        "user": other.map_or_else(|| json!(main.user()), user),
        "args": command.argv,
        "env": variables.0,
        "cwd": cwd,
        "noNewPrivileges": create.spec.container.no_new_privileges,
    });
    if let Some((rows, columns)) = command.size {
        super::put(&mut process, "consoleSize", json!({"height": rows, "width": columns}));
    }
    let mut process: Process =
        serde_json::from_value(process).map_err(|error| format!("make the OCI process: {error}"))?;
    if command.privileged {
        let all = sets(&super::every_capability(host));
        process.set_capabilities(serde_json::from_value(all).ok());
    } else {
        process.set_capabilities(main.capabilities().clone());
    }
    process.set_rlimits(main.rlimits().clone());
    process.set_oom_score_adj(main.oom_score_adj());
    Ok(process)
}
