//! Values of the image store → values of the engine and the API.

use crate::failure;
use api::{ApiError, ErrorKind};
use image::{Error, Health, Image, TlsProblem};
use model::{HealthCheck, HealthTest};
use runtime::engine::{ImageConfig, ImageInfo};
use std::time::Duration;

/// What a client is told.
pub(crate) fn failed(error: &Error) -> ApiError {
    let kind = match error {
        Error::NotFound(_) | Error::NotOnRegistry { .. } => ErrorKind::NotFound,
        Error::Conflict(_) => ErrorKind::Conflict,
        Error::Reference(_)
        | Error::Ambiguous(_)
        | Error::Invalid(_)
        | Error::Hostile { .. }
        | Error::Corrupt { .. }
        | Error::Denied { .. } => ErrorKind::Invalid,
        _ => ErrorKind::Failed,
    };
    let hint = match error {
        Error::Denied { .. } | Error::NotOnRegistry { .. } => {
            Some("check the name; for a private repository log in first: `rswarm login`, here or where the daemon runs")
        }
        Error::Tls { problem, .. } => Some(trust(*problem)),
        Error::DiskFull { .. } => Some("`rswarm image prune` removes images that nothing uses"),
        _ => None,
    };
    let error = ApiError::new(kind, failure::chain(error));
    match hint {
        Some(hint) => failure::hint(error, hint),
        None => error,
    }
}

/// What a task says of a registry that lets its node in neither with the login that came with it nor with the node's
/// own.
pub(super) fn denied(error: &Error, host: &str, has_login: bool) -> ApiError {
    let what = match has_login {
        true => "the login that its service was given is no good (any more)",
        false => "its service was given no login",
    };
    let advice =
        format!("`rswarm login {host}`, then give yours: `service update --with-registry-auth`, or `up` with that");
    failure::hint(ApiError::new(ErrorKind::Invalid, format!("{}; {what}: {advice}", failure::chain(error))), &advice)
}

/// What to do when there is no trust in a registry.
fn trust(problem: TlsProblem) -> &'static str {
    match problem {
        TlsProblem::UnknownAuthority => {
            "put the authority's certificate into /etc/docker/certs.d/HOST:PORT/ca.crt, or name the registry to the \
             daemon with --insecure-registry HOST:PORT"
        }
        TlsProblem::NoTls => "a registry without TLS has to be named to the daemon with --insecure-registry HOST:PORT",
        TlsProblem::OtherTime => "compare this machine's clock with the dates of the certificate",
        TlsProblem::OtherName => "name the registry as its certificate does",
        TlsProblem::Handshake => {
            "a registry that wants a certificate finds it in /etc/docker/certs.d/HOST:PORT/client.cert and client.key"
        }
    }
}

/// What the engine makes containers from.
pub(super) fn info(image: &Image) -> ImageInfo {
    let run = &image.config.config;
    ImageInfo {
        id: image.id.to_string(),
        config: ImageConfig {
            entrypoint: run.entrypoint.clone(),
            cmd: run.cmd.clone(),
            env: run.env.clone(),
            user: run.user.clone(),
            working_dir: run.working_dir.clone(),
            volumes: run.volumes.clone(),
            stop_signal: run.stop_signal.clone(),
            healthcheck: run.healthcheck.as_ref().and_then(health),
            labels: run.labels.clone(),
            exposed_ports: run.exposed_ports.clone(),
        },
        layers: image.layers.clone(),
    }
}

fn health(health: &Health) -> Option<HealthCheck> {
    let (word, rest) = health.test.split_first()?;
    let test = match (word.as_str(), rest) {
        ("NONE", _) => HealthTest::None,
        ("CMD", rest) if !rest.is_empty() => HealthTest::Cmd(rest.to_vec()),
        ("CMD-SHELL", [command, ..]) => HealthTest::CmdShell(command.clone()),
        // A base image of which only the times are left.
        _ => return None,
    };
    let time = |nanos: i64| u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
    Some(HealthCheck {
        test: Some(test),
        interval: time(health.interval),
        timeout: time(health.timeout),
        retries: u32::try_from(health.retries).ok().filter(|retries| *retries > 0),
        start_period: time(health.start_period),
        start_interval: time(health.start_interval),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks_of_images_are_understood() {
        let of = |test: &[&str]| Health {
            test: test.iter().map(|&word| word.to_owned()).collect(),
            interval: 2_000_000_000,
            retries: 4,
            ..Health::default()
        };
        let check = health(&of(&["CMD-SHELL", "true"]));
        assert_eq!(check.as_ref().and_then(|it| it.interval), Some(Duration::from_secs(2)));
        assert_eq!(check.as_ref().and_then(|it| it.retries), Some(4));
        assert_eq!(check.as_ref().and_then(|it| it.timeout), None);
        assert_eq!(check.and_then(|it| it.test), Some(HealthTest::CmdShell("true".to_owned())));
        let argv = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(health(&of(&["CMD", "a", "b"])).and_then(|it| it.test), Some(HealthTest::Cmd(argv)));
        assert_eq!(health(&of(&["NONE"])).and_then(|it| it.test), Some(HealthTest::None));
        assert_eq!(health(&of(&[])), None);
        assert_eq!(health(&of(&["CMD"])), None);
    }

    #[test]
    fn a_task_that_is_denied_its_image_says_what_to_do() {
        let (host, what) = ("a:5000".to_owned(), "web".to_owned());
        let error = Error::Denied { host, what, why: "authentication required".to_owned() };
        for (has_login, why) in [(false, "was given no login"), (true, "is no good (any more)")] {
            let told = denied(&error, "a:5000", has_login);
            assert_eq!(told.kind, ErrorKind::Invalid, "trying again by itself helps nobody");
            assert!(told.message.starts_with("a:5000 denies access to web: authentication required; "), "{told}");
            assert!(told.message.contains(why) && told.message.contains("--with-registry-auth"), "{told}");
        }
    }

    #[test]
    fn errors_have_their_kind() {
        let kind = |error: &Error| failed(error).kind;
        assert_eq!(kind(&Error::NotFound("x".to_owned())), ErrorKind::NotFound);
        assert_eq!(kind(&Error::Conflict("x".to_owned())), ErrorKind::Conflict);
        assert_eq!(kind(&Error::Cancelled), ErrorKind::Failed);
        let full = failed(&Error::DiskFull { path: "/x".into() });
        assert_eq!((full.kind, full.hint.is_some()), (ErrorKind::Failed, true));
    }
}
