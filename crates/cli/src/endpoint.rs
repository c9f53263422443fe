//! Where a daemon is, as people write it: `unix:///PATH`, `tcp://HOST[:PORT]`, `ssh://[USER@]HOST[:PORT][/PATH]`.

use anyhow::{Context as _, Result, bail};
use api::road::{Program, Road, Tls};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A socket of this machine.
    Unix(PathBuf),
    /// The cluster ports of managers: `host:port` each; the first that answers is taken.
    Tcp(Vec<String>),
    /// A socket of another machine, by way of ssh.
    Ssh(Ssh),
}

/// Where ssh leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ssh {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// The socket there, where it is not the usual one.
    socket: Option<String>,
}

impl FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Endpoint> {
        if text.starts_with('/') {
            return Ok(Endpoint::Unix(text.into()));
        }
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Endpoint::Unix(path.into())),
            Some(("tcp", hosts)) => {
                let hosts = hosts.trim_end_matches('/').split(',').map(manager).collect::<Option<_>>();
                hosts.map(Endpoint::Tcp).with_context(|| format!("`{text}` is no address: write tcp://HOST[:PORT]"))
            }
            Some(("ssh", rest)) => ssh(rest).map(Endpoint::Ssh).with_context(|| {
                format!("`{text}` is no place for ssh: write ssh://[USER@]HOST[:PORT][/PATH/OF/SOCKET]")
            }),
            _ => bail!(
                "`{text}` is no host that can be reached: write unix:///PATH/OF/SOCKET, tcp://HOST[:PORT] or ssh://[USER@]HOST"
            ),
        }
    }
}

/// `host:port` of what may lack the port.
fn manager(text: &str) -> Option<String> {
    let (host, port) = host_and_port(text)?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("{host}:{}", port.unwrap_or(model::CLUSTER_PORT)))
}

/// A host without the brackets of IPv6, and its port.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    // What begins with a dash would be an option of ssh.
    let is_host = !host.is_empty() && !host.starts_with('-') && host.bytes().all(fits);
    let port =
        port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0)).map_or(Some(None), |p| p.map(Some))?;
    is_host.then(|| (host.to_owned(), port))
}

fn ssh(rest: &str) -> Option<Ssh> {
    let (place, socket) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (user, place) = match place.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, place),
    };
    let (host, port) = host_and_port(place)?;
    // A password in an address would end in the history of the shell; ssh has better ways.
    let is_user = |user: &str| !user.is_empty() && !user.starts_with('-') && !user.contains([':', '/', ' ']);
    if !user.is_none_or(is_user) {
        return None;
    }
    let socket = Some(socket).filter(|socket| !matches!(*socket, "" | "/")).map(str::to_owned);
    Some(Ssh { user: user.map(str::to_owned), host, port, socket })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Tcp(managers) => write!(f, "tcp://{}", managers.join(",")),
            Endpoint::Ssh(ssh) => ssh.fmt(f),
        }
    }
}

impl fmt::Display for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.socket.as_deref().unwrap_or_default())
    }
}

impl Ssh {
    fn program(&self) -> Program {
        let mut args = vec!["-T".to_owned(), "-o".to_owned(), "ConnectTimeout=30".to_owned()];
        if let Some(user) = &self.user {
            args.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            args.extend(["-p".to_owned(), port.to_string()]);
        }
        args.extend(["--".to_owned(), self.host.clone(), "rswarm".to_owned()]);
        if let Some(socket) = &self.socket {
            // A shell reads it there.
            args.extend(["-H".to_owned(), format!("'unix://{}'", socket.replace('\'', r"'\''"))]);
        }
        args.push("dial-stdio".to_owned());
        Program { at: self.to_string(), name: "ssh".to_owned(), args }
    }
}

impl Endpoint {
    /// The way there; managers are shown these credentials.
    ///
    /// # Errors
    /// There are none, or they are no good.
    pub(crate) fn road(&self, credentials: Option<&pki::Credentials>) -> Result<Road> {
        Ok(match self {
            Endpoint::Unix(path) => Road::Unix(path.clone()),
            Endpoint::Ssh(ssh) => Road::Program(ssh.program()),
            Endpoint::Tcp(addresses) => {
                let credentials = credentials.ok_or_else(|| {
                    crate::failure::advised(
                        format!("{self} wants a certificate, and there is none"),
                        "`rswarm context create NAME --certificate-from ssh://USER@MANAGER` gets one; RSWARM_CERT names a file that `rswarm ca client create` made",
                    )
                })?;
                let keyring = pki::Keyring::new(credentials).context("use the certificate")?;
                let config = pki::client_config(&keyring).context("use the certificate")?;
                Road::Tls(Tls { addresses: addresses.clone(), config, name: pki::server_name(None) })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_written_in_one_way() {
        for (text, written) in [
            ("/run/x.sock", "unix:///run/x.sock"),
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("tcp://m1", "tcp://m1:2377"),
            ("tcp://m1:99/", "tcp://m1:99"),
            ("tcp://10.0.0.1,[fd00::1]:5", "tcp://10.0.0.1:2377,[fd00::1]:5"),
            ("ssh://m1", "ssh://m1"),
            ("ssh://me@m1:22/run/x.sock", "ssh://me@m1:22/run/x.sock"),
            ("ssh://[fd00::1]:22/", "ssh://[fd00::1]:22"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), written);
            assert_eq!(written.parse::<Endpoint>().unwrap(), endpoint);
        }
        for bad in [
            "",
            "m1",
            "unix://x",
            "http://m1",
            "tcp://",
            "tcp://m1:0",
            "tcp://m1:99999",
            "tcp://a,,b",
            "tcp://fd00::1",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-x@m1",
            "ssh://me:secret@m1",
            "ssh://m1:x",
            "tcp://me@m1",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ssh_gets_words_and_no_options_of_others() {
        let program = |text: &str| match text.parse::<Endpoint>().unwrap().road(None).unwrap() {
            Road::Program(program) => program.args.join(" "),
            other => panic!("{other:?}"),
        };
        assert_eq!(program("ssh://m1"), "-T -o ConnectTimeout=30 -- m1 rswarm dial-stdio");
        assert_eq!(
            program("ssh://me@m1:2222/run/it's.sock"),
            r"-T -o ConnectTimeout=30 -l me -p 2222 -- m1 rswarm -H 'unix:///run/it'\''s.sock' dial-stdio"
        );
        assert!("tcp://m1".parse::<Endpoint>().unwrap().road(None).unwrap_err().to_string().contains("certificate"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(tcp|ssh|unix)?(://)?\\PC{0,40}") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
            }
        }
    }
}
