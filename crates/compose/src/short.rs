//! The short syntaxes: ports, volumes, devices, command lines.

/// One published port of the short syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Address of the host, perhaps empty.
    pub host_ip: String,
    /// Port or range on the host, perhaps empty.
    pub published: String,
    /// Port in the container.
    pub target: u16,
    /// Lower case.
    pub protocol: String,
}

/// `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, each port perhaps a range.
///
/// # Errors
/// What does not belong there.
pub fn ports(text: &str) -> Result<Vec<Port>, String> {
    let ports = PortRange::parse(text)?;
    let port = |target: u16, published: String| Port {
        host_ip: ports.host_ip.to_owned(),
        published,
        target,
        protocol: ports.protocol.clone(),
    };
    let (first, last) = ports.targets;
    Ok(match ports.published {
        None => (first..=last).map(|target| port(target, String::new())).collect(),
        Some((low, high)) if first == last && low != high => vec![port(first, format!("{low}-{high}"))],
        Some((low, high)) => {
            (first..=last).zip(low..=high).map(|(target, host)| port(target, host.to_string())).collect()
        }
    })
}

/// How many ports a text in the short syntax stands for.
///
/// # Errors
/// As [`ports`].
pub(crate) fn port_count(text: &str) -> Result<usize, String> {
    PortRange::parse(text).map(|ports| usize::from(ports.targets.1 - ports.targets.0) + 1)
}

/// The short syntax of ports, in pieces.
struct PortRange<'t> {
    host_ip: &'t str,
    /// First and last; as many as targets, unless there is one target.
    published: Option<(u16, u16)>,
    /// First and last.
    targets: (u16, u16),
    protocol: String,
}

impl PortRange<'_> {
    fn parse(text: &str) -> Result<PortRange<'_>, String> {
        let (rest, protocol) = match text.split_once('/') {
            Some((rest, protocol)) => (rest, protocol.to_ascii_lowercase()),
            None => (text, "tcp".to_owned()),
        };
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(format!("`{protocol}` is no protocol"));
        }
        let (rest, container) = match rest.rsplit_once(':') {
            Some((rest, container)) => (Some(rest), container),
            None => (None, rest),
        };
        let (host_ip, published) = match rest {
            None => ("", ""),
            Some(rest) => rest.rsplit_once(':').map_or(("", rest), |(ip, port)| (ip, port)),
        };
        let bare = host_ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
        let address = bare.unwrap_or(host_ip);
        if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("`{address}` is no address"));
        }
        if bare.is_none() && address.contains(':') {
            return Err(format!("an IPv6 address stands in brackets: `[{address}]`"));
        }
        if container.is_empty() {
            return Err("the port in the container is missing".to_owned());
        }
        let targets = port_range(container)?;
        if targets.0 == 0 {
            return Err("the port in the container can't be 0".to_owned());
        }
        let host = if published.is_empty() { None } else { Some(port_range(published)?) };
        let count = |(first, last): (u16, u16)| last - first;
        match host {
            Some(range) if count(targets) > 0 && count(range) != count(targets) => {
                Err(format!("the ranges `{published}` and `{container}` differ in length"))
            }
            _ => Ok(PortRange { host_ip: address, published: host, targets, protocol }),
        }
    }
}

/// `80` or `80-90`.
///
/// # Errors
/// What is no port, or that the range runs backwards.
pub fn port_range(text: &str) -> Result<(u16, u16), String> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| digits).ok_or_else(|| format!("`{part}` is no port (0 to 65535)"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if last < first {
        return Err(format!("the range `{text}` runs backwards"));
    }
    Ok((first, last))
}

/// A mount of the short syntax.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    /// A path of the host rather than a volume.
    pub(crate) bind: bool,
    /// Name or path; empty: anonymous.
    pub(crate) source: String,
    /// Path in the container.
    pub(crate) target: String,
    /// `ro`.
    pub(crate) read_only: bool,
    /// `nocopy`.
    pub(crate) nocopy: bool,
    /// `rshared` and so on.
    pub(crate) propagation: Option<String>,
    /// `z` or `Z`.
    pub(crate) selinux: Option<String>,
    /// Options that nobody knows.
    pub(crate) unknown: Vec<String>,
}

/// `[SOURCE:]TARGET[:OPTIONS]`.
pub(crate) fn volume(text: &str) -> Result<Volume, String> {
    let mut volume = Volume::default();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.chars().count() <= 2 {
        text.clone_into(&mut volume.target);
        return Ok(volume);
    }
    let parts = split_colons(text);
    if parts.iter().any(String::is_empty) {
        return Err("there is nothing before, after or between its colons".to_owned());
    }
    match parts.as_slice() {
        [target] => volume.target.clone_from(target),
        [source, target] => {
            volume.source.clone_from(source);
            volume.target.clone_from(target);
        }
        [source, target, options] => {
            volume.source.clone_from(source);
            volume.target.clone_from(target);
            options.split(',').for_each(|option| volume_option(&mut volume, option));
        }
        _ => return Err("it has too many colons".to_owned()),
    }
    volume.bind = is_path(&volume.source);
    Ok(volume)
}

fn volume_option(volume: &mut Volume, option: &str) {
    match option {
        "ro" => volume.read_only = true,
        "rw" => volume.read_only = false,
        "nocopy" => volume.nocopy = true,
        "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
            volume.propagation = Some(option.to_owned());
        }
        "z" | "Z" => volume.selinux = Some(option.to_owned()),
        // hints for Docker Desktop, without meaning on Linux
        "cached" | "delegated" | "consistent" => {}
        _ => volume.unknown.push(option.to_owned()),
    }
}

/// Splits at colons, but not after a drive letter nor inside `${…}`.
fn split_colons(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let (mut start, mut open, mut before) = (0, 0usize, ' ');
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' if open > 0 => open -= 1,
            ':' if open == 0 && !is_drive(&text[start..at]) => {
                parts.push(text[start..at].to_owned());
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    parts.push(text[start..].to_owned());
    parts
}

/// Is this the letter of a drive?
fn is_drive(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none()
}

/// Does a source name a path of the host rather than a volume?
pub(crate) fn is_path(source: &str) -> bool {
    let mut chars = source.chars();
    match chars.next() {
        Some('.' | '/' | '~') => true,
        Some('\\') => source.starts_with(r"\\"),
        Some(letter) => letter.is_alphabetic() && chars.next() == Some(':'),
        None => false,
    }
}

/// `SOURCE[:TARGET[:PERMISSIONS]]` of a device.
pub(crate) fn device(text: &str) -> Result<(String, String, String), String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => return Err("it has too many colons; use the long syntax".to_owned()),
    };
    let target = if target.is_empty() { source } else { target };
    Ok((source.to_owned(), target.to_owned(), permissions.to_owned()))
}

/// A command line as words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The words.
    pub words: Vec<String>,
    /// From the first operator of the shell on; nothing runs it.
    pub dropped: Option<String>,
}

/// A command line into words, with the shell's quotes and backslashes; no expansion of anything.
///
/// # Errors
/// A quote that is not closed.
pub fn words(line: &str) -> Result<Words, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut dropped = None;
    let (mut started, mut escaped) = (false, false);
    let mut quote = None;
    for (at, c) in line.char_indices() {
        if escaped {
            word.push(c);
            escaped = false;
            continue;
        }
        match (c, quote) {
            ('\\', Some('\'')) => word.push(c),
            ('\\', _) => {
                escaped = true;
                started = true;
            }
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                started = true;
            }
            (' ' | '\t' | '\n' | '\r', None) => {
                if started || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            // the reference's parser stops at these, and takes `2>` as one of them
            (';' | '&' | '|' | '<' | '>', None) => {
                if c == '>' && word.len() == 1 && word.starts_with(|c: char| c.is_ascii_digit()) {
                    word.clear();
                }
                dropped = Some(line[at..].to_owned());
                break;
            }
            ('(' | ')', None) if !word.ends_with('$') && !word.contains("$(") => {
                return Err(format!("`{c}` must be quoted"));
            }
            (c, None) => word.push(c),
        }
    }
    if escaped || quote.is_some() {
        return Err("a quote or backslash in it is not closed".to_owned());
    }
    if started || !word.is_empty() {
        words.push(word);
    }
    Ok(Words { words, dropped })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<String> {
        let show = |port: Port| format!("{}|{}|{}|{}", port.host_ip, port.published, port.target, port.protocol);
        ports(text).unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn ports_in_every_short_form() {
        assert_eq!(shown("80"), ["||80|tcp"]);
        assert_eq!(shown("8080:80"), ["|8080|80|tcp"]);
        assert_eq!(shown("53:53/UDP"), ["|53|53|udp"]);
        assert_eq!(shown("127.0.0.1:8080:80"), ["127.0.0.1|8080|80|tcp"]);
        assert_eq!(shown("127.0.0.1::80"), ["127.0.0.1||80|tcp"]);
        assert_eq!(shown("[::1]:8080:80"), ["::1|8080|80|tcp"]);
        assert_eq!(shown("80-81"), ["||80|tcp", "||81|tcp"]);
        assert_eq!(shown("8080-8081:80-81"), ["|8080|80|tcp", "|8081|81|tcp"]);
        assert_eq!(shown("8080-8090:80"), ["|8080-8090|80|tcp"]);
        for bad in [
            "",
            "x",
            "80:",
            ":",
            "1:2:3:4:5",
            "8080-8081:80-82",
            "90-80",
            "65536",
            "80/icmp",
            "host:80:80",
            "+80",
            "::1:80:80",
        ] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_in_every_short_form() {
        let simple = |text: &str| volume(text).map(|v| (v.bind, v.source, v.target, v.read_only));
        let ok = |bind, source: &str, target: &str, ro| Ok((bind, source.to_owned(), target.to_owned(), ro));
        assert_eq!(simple("/data"), ok(false, "", "/data", false));
        assert_eq!(simple("db:/data:ro"), ok(false, "db", "/data", true));
        assert_eq!(simple("./x:/data:rw"), ok(true, "./x", "/data", false));
        assert_eq!(simple("~/x:/data"), ok(true, "~/x", "/data", false));
        assert_eq!(simple("c:\\x:/data"), ok(true, "c:\\x", "/data", false));
        assert_eq!(volume("ab:/b:rslave,z,nocopy").unwrap().propagation.as_deref(), Some("rslave"));
        assert_eq!(volume("ab:/b:what").unwrap().unknown, ["what"]);
        for bad in ["", ":/data", "db::ro", "aa:/bb:ro:x"] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_follow_the_shell() {
        let split = |line: &str| words(line).unwrap().words;
        assert_eq!(split("a 'b c' \"d \\\" e\" f\\ g"), ["a", "b c", "d \" e", "f g"]);
        assert_eq!(split("  a\n\tb ''"), ["a", "b", ""]);
        assert_eq!(split(""), Vec::<String>::new());
        assert_eq!(split("a $(b)"), ["a", "$(b)"]);
        assert_eq!(words("a 2>b").unwrap(), Words { words: vec!["a".to_owned()], dropped: Some(">b".to_owned()) });
        assert!(words("a (b)").is_err());
        assert!(words("a 'b").is_err());
        assert!(words("a\\").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*|[a-z0-9:/\\[\\].\\-${}~,]{0,24}") {
            let _ = (ports(&text), volume(&text), device(&text), words(&text));
        }
    }
}
