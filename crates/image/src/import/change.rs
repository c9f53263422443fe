//! `--change`: a Dockerfile instruction applied to a config.

use crate::error::{Error, Result};
use crate::schema::{Health, RunConfig};

/// Applies one instruction.
///
/// # Errors
/// It is unknown or malformed.
pub(super) fn apply(config: &mut RunConfig, line: &str) -> Result<()> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let wrong = |why: &str| Error::Invalid(format!("--change {line:?}: {why}"));
    if rest.is_empty() {
        return Err(wrong("an instruction and its argument are expected, CMD [\"sh\"] say"));
    }
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = command(rest, &config.shell),
        "ENTRYPOINT" => {
            config.entrypoint = command(rest, &config.shell);
        }
        "ENV" => {
            for (key, value) in pairs(rest).map_err(wrong)? {
                config.env.retain(|known| known.split('=').next() != Some(&key));
                config.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest).map_err(wrong)?),
        "EXPOSE" => {
            for port in words(rest).map_err(wrong)? {
                config.exposed_ports.extend(ports(&port).ok_or_else(|| wrong("a port is PORT[-PORT][/tcp|udp|sctp]"))?);
            }
        }
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => config.working_dir = join(&config.working_dir, rest),
        "VOLUME" => match serde_json::from_str::<Vec<String>>(rest) {
            Ok(list) => config.volumes.extend(list),
            Err(_) => config.volumes.extend(words(rest).map_err(wrong)?),
        },
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "SHELL" => {
            config.shell = serde_json::from_str(rest).map_err(|_| wrong("SHELL takes a JSON list"))?;
        }
        "HEALTHCHECK" => config.healthcheck = Some(health(rest, &config.shell).map_err(wrong)?),
        "ONBUILD" => return Err(wrong("there are no builds here that ONBUILD could act on")),
        _ => {
            return Err(wrong(
                "known are CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR",
            ));
        }
    }
    Ok(())
}

/// A JSON list is the command itself, other text goes to the shell.
fn command(text: &str, shell: &[String]) -> Vec<String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(text) {
        return list;
    }
    let mut command = match shell.is_empty() {
        true => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        false => shell.to_vec(),
    };
    command.push(text.to_owned());
    command
}

/// `KEY=VALUE …` with quotes and escapes, or the old form `KEY VALUE`.
fn pairs(text: &str) -> std::result::Result<Vec<(String, String)>, &'static str> {
    let words = words(text)?;
    let is_old = words.first().is_some_and(|word| !word.contains('='));
    if is_old {
        let (key, value) = text.split_once(char::is_whitespace).ok_or("KEY=VALUE is expected")?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let split = |word: &String| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let pairs: Option<Vec<_>> = words.iter().map(split).collect();
    match pairs {
        Some(pairs) if pairs.iter().all(|(key, _)| !key.is_empty()) => Ok(pairs),
        _ => Err("KEY=VALUE is expected"),
    }
}

/// Words as a shell splits them: single and double quotes, backslashes.
fn words(text: &str) -> std::result::Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => match chars.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("it ends in a backslash"),
            },
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// `80`, `80/udp`, `8000-8010` → `80/tcp`, …
fn ports(text: &str) -> Option<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn join(folder: &str, path: &str) -> String {
    match (path.starts_with('/'), folder.is_empty()) {
        (true, _) => path.to_owned(),
        (false, true) => format!("/{path}"),
        (false, false) => format!("{}/{path}", folder.trim_end_matches('/')),
    }
}

/// `[--interval=30s …] CMD …`, or `NONE`.
fn health(text: &str, shell: &[String]) -> std::result::Result<Health, &'static str> {
    let mut health = Health::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).ok_or("CMD is missing")?;
        let (name, value) = option.split_once('=').ok_or("an option of HEALTHCHECK is --NAME=VALUE")?;
        match name {
            "interval" => health.interval = nanoseconds(value)?,
            "timeout" => health.timeout = nanoseconds(value)?,
            "start-period" => health.start_period = nanoseconds(value)?,
            "start-interval" => health.start_interval = nanoseconds(value)?,
            "retries" => health.retries = value.parse().map_err(|_| "--retries takes a number")?,
            _ => {
                return Err(
                    "options of HEALTHCHECK are --interval, --timeout, --start-period, --start-interval, --retries",
                );
            }
        }
        rest = after.trim_start();
    }
    let (word, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    health.test = match word.to_ascii_uppercase().as_str() {
        "CMD" if argument.trim().is_empty() => return Err("CMD needs a command"),
        "NONE" => vec!["NONE".to_owned()],
        "CMD" => match serde_json::from_str::<Vec<String>>(argument.trim()) {
            Ok(list) => [vec!["CMD".to_owned()], list].concat(),
            Err(_) if shell.is_empty() => vec!["CMD-SHELL".to_owned(), argument.trim().to_owned()],
            Err(_) => [vec!["CMD".to_owned()], command(argument.trim(), shell)].concat(),
        },
        _ => return Err("HEALTHCHECK takes CMD or NONE"),
    };
    match health.test.len() == 1 && health.test[0] != "NONE" {
        true => Err("CMD needs a command"),
        false => Ok(health),
    }
}

/// Go's durations: `1m30s`, `500ms`.
fn nanoseconds(text: &str) -> std::result::Result<i64, &'static str> {
    const WRONG: &str = "a duration is 30s, 1m30s, 500ms";
    let mut total = 0f64;
    let mut rest = text;
    if rest.is_empty() {
        return Err(WRONG);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(WRONG)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let nanos = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(WRONG),
        };
        total += number.parse::<f64>().map_err(|_| WRONG)? * nanos;
        rest = after;
    }
    // Durations of centuries saturate.
    #[expect(clippy::cast_possible_truncation, reason = "a cast from a float saturates")]
    Ok(total as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn changed(lines: &[&str]) -> RunConfig {
        let mut config = RunConfig::default();
        lines.iter().for_each(|line| apply(&mut config, line).unwrap());
        config
    }

    #[test]
    fn instructions_change_the_config() {
        let config = changed(&[
            r#"CMD ["sh", "-l"]"#,
            "entrypoint exec /init $X",
            "ENV A=1 B=\"two words\" C=x\\ y",
            "ENV A 2 and more",
            "LABEL a.b=c",
            "EXPOSE 80 53/udp 8000-8002",
            "USER nobody:nogroup",
            "WORKDIR /srv",
            "WORKDIR app",
            "VOLUME /data /log",
            r#"VOLUME ["/json"]"#,
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK --interval=1m30s --timeout=500ms --retries=5 CMD curl -f http://localhost/",
        ]);
        assert_eq!(config.cmd, ["sh", "-l"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "exec /init $X"]);
        assert_eq!(config.env, ["B=two words", "C=x y", "A=2 and more"]);
        assert_eq!(config.labels["a.b"], "c");
        let ports: Vec<_> = config.exposed_ports.iter().map(String::as_str).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("nobody:nogroup", "/srv/app"));
        assert_eq!(config.volumes.len(), 3);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        let health = config.healthcheck.unwrap();
        assert_eq!(health.test, ["CMD-SHELL", "curl -f http://localhost/"]);
        assert_eq!((health.interval, health.timeout, health.retries), (90_000_000_000, 500_000_000, 5));
        assert_eq!(changed(&["HEALTHCHECK NONE"]).healthcheck.unwrap().test, ["NONE"]);
        assert_eq!(changed(&["HEALTHCHECK CMD [\"a\", \"b\"]"]).healthcheck.unwrap().test, ["CMD", "a", "b"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "CMD",
            "RUN ls",
            "EXPOSE x",
            "EXPOSE 80/x",
            "EXPOSE 9-8",
            "EXPOSE 0",
            "ENV A",
            "ENV =x",
            "ENV A=\"x",
            "HEALTHCHECK x",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval=3 CMD x",
            "HEALTHCHECK --bad=1s CMD x",
            "ONBUILD RUN x",
            "SHELL bash",
            "ENV A=x\\",
        ] {
            assert!(apply(&mut RunConfig::default(), line).is_err(), "{line}");
        }
    }
}
