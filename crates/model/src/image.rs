//! Image references and digests (OCI distribution spec; Docker's reference grammar).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The registry that a name without one means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag that a reference without one means.
pub const DEFAULT_TAG: &str = "latest";
/// Where names of one word live on the default registry.
const OFFICIAL: &str = "library/";
/// Longest repository name, host included (Docker's limit).
const MAX_NAME: usize = 255;
/// Longest tag (OCI distribution spec).
const MAX_TAG: usize = 128;

/// Text that is no reference or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid image reference {:?}: {}", self.text, self.why)
    }
}

impl std::error::Error for ReferenceError {}

/// A SHA-256 digest, `sha256:` and 64 lower-case hexadecimal digits. Other algorithms are not
/// accepted: registries in use have only this one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    const PREFIX: &'static str = "sha256:";

    /// The digest with these 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        use fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str(Self::PREFIX);
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Digest(text)
    }

    /// `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        self.0.get(Self::PREFIX.len()..).unwrap_or_default()
    }

    /// The first 12 digits, as `image ls` shows ids.
    pub fn short(&self) -> &str {
        self.hex().get(..12).unwrap_or_default()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why| ReferenceError { text: text.to_owned(), why };
        let hex = text.strip_prefix(Self::PREFIX).ok_or_else(|| refuse("a digest begins with sha256:"))?;
        match hex.len() == 64 && hex.bytes().all(is_lower_hex) {
            true => Ok(Digest(text.to_owned())),
            false => Err(refuse("sha256: is followed by 64 lower-case hexadecimal digits")),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(is_lower_hex)
}

/// `HOST/PATH[:TAG][@DIGEST]`, with what Docker leaves out filled in: `nginx` is
/// `docker.io/library/nginx`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Registry, `docker.io` or `host:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Repository on that registry, `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Tag, if one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Tag, or what its absence means: `latest`.
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }

    /// Full repository, `docker.io/library/nginx`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// Repository as people write it: `nginx`, `user/app`, `host:5000/app`.
    pub fn familiar_repository(&self) -> String {
        if self.host != DEFAULT_REGISTRY {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL) {
            // Alone it would be an id.
            Some(short) if !short.contains('/') && !is_id(short) => short.to_owned(),
            // `docker.io/a.b/c`: without its host the first part would be taken for one.
            _ if split_host(&self.path).1 != self.path => self.repository(),
            _ => self.path.clone(),
        }
    }

    /// Full name with tag, `docker.io/library/nginx:latest`: what the image store knows it by.
    pub fn tagged(&self) -> String {
        format!("{}/{}:{}", self.host, self.path, self.tag_or_latest())
    }

    /// The same as people write it, `nginx:latest`.
    pub fn familiar(&self) -> String {
        format!("{}:{}", self.familiar_repository(), self.tag_or_latest())
    }

    /// The same repository under another digest, without a tag.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }
}

/// As people write it, with only the tag and digest that were given.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar_repository())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |why| ReferenceError { text: text.to_owned(), why };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|_| refuse("@ is followed by sha256: and 64 lower-case hexadecimal digits"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon after the last slash is a tag's; before it, a port's.
        let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest.get(name_end..).and_then(|last| last.find(':')) {
            Some(colon) => {
                let (name, tag) = rest.split_at(name_end + colon);
                (name, Some(tag.trim_start_matches(':')))
            }
            None => (rest, None),
        };
        if let Some(tag) = tag
            && (!is_tag(tag) || rest.len() != name.len() + 1 + tag.len())
        {
            return Err(refuse("a tag has letters, digits, _, . and -, and at most 128 of them"));
        }
        let (host, path) = split_host(name);
        if host != DEFAULT_REGISTRY && !is_host(&host) {
            return Err(refuse("the registry is no host name or address with an optional port"));
        }
        if path.is_empty() {
            return Err(refuse("the name is missing"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(refuse("a name is lower case"));
        }
        if !path.split('/').all(is_component) {
            return Err(refuse("a name has lower-case letters and digits, separated by one . or _, two _, or -"));
        }
        if host.len() + 1 + path.len() > MAX_NAME {
            return Err(refuse("a name has at most 255 characters"));
        }
        if is_id(name) {
            return Err(refuse("64 hexadecimal digits are an id, not a name"));
        }
        Ok(Reference { host, path, tag: tag.map(str::to_owned), digest })
    }
}

/// The first component is a registry if it can't be a user: it has a dot, a port or upper case, or
/// is `localhost`.
fn split_host(name: &str) -> (String, String) {
    let (host, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':', '['])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    };
    let host = if host == "index.docker.io" { DEFAULT_REGISTRY } else { host };
    match host == DEFAULT_REGISTRY && !path.contains('/') && !path.is_empty() {
        true => (host.to_owned(), format!("{OFFICIAL}{path}")),
        false => (host.to_owned(), path.to_owned()),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                return !address.is_empty()
                    && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
                    && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(is_word) || !bytes.last().copied().is_some_and(is_word) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn a_repository_that_looks_like_an_id_keeps_its_folder() {
        let name = format!("docker.io/library/{}", "0a".repeat(32));
        let reference: Reference = name.parse().unwrap();
        assert_eq!(reference.familiar_repository(), format!("library/{}", "0a".repeat(32)));
        assert_eq!(reference.familiar().parse::<Reference>().unwrap().repository(), name);
    }

    #[test]
    fn a_repository_that_begins_like_a_registry_keeps_its_registry() {
        for name in ["docker.io/docker.io/library/nginx", "docker.io/index.docker.io/a", "docker.io/a.b/c"] {
            let reference: Reference = name.parse().unwrap();
            assert_eq!(reference.familiar_repository(), name);
        }
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        for (text, tagged, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest", "127.0.0.1:5000/app:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
            ("gcr.io/a/b__c/d---e", "gcr.io/a/b__c/d---e:latest", "gcr.io/a/b__c/d---e:latest"),
        ] {
            let reference = parse(text);
            assert_eq!((reference.tagged().as_str(), reference.familiar().as_str()), (tagged, familiar), "{text}");
        }
    }

    #[test]
    fn digests_are_kept() {
        let hex = "0123456789abcdef".repeat(4);
        let reference = parse(&format!("repo:tag@sha256:{hex}"));
        assert_eq!(reference.tag(), Some("tag"));
        assert_eq!(reference.digest().unwrap().hex(), hex);
        assert_eq!(reference.digest().unwrap().short(), "0123456789ab");
        assert_eq!(reference.to_string(), format!("repo:tag@sha256:{hex}"));
        assert_eq!(parse("other").at(reference.digest().unwrap().clone()).to_string(), format!("other@sha256:{hex}"));
    }

    #[test]
    fn nonsense_is_refused() {
        let hex = "a".repeat(64);
        let long = "a".repeat(256);
        for text in [
            "",
            ":",
            "/",
            "a//b",
            "a/",
            "/a",
            "A",
            "a:",
            "a::b",
            "a:b:c",
            "a@",
            "a@sha256:12",
            "a@md5:00",
            "a b",
            "a:b/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a.-b",
            "host:port/a",
            "host:99999/a",
            "ex_ample.com/a",
            "..",
            "../etc",
            "https://host/a",
            "a@sha256:A",
            "é",
            "a:é",
            "[::1/a",
            "[]/a",
            "[x]/a",
            "localhost:5000",
            &hex,
            &long,
        ] {
            // `localhost:5000` alone is the name `localhost` with a tag, as Docker reads it.
            let expected = text == "localhost:5000";
            assert_eq!(text.parse::<Reference>().is_ok(), expected, "{text}");
        }
        assert!(format!("a:{}", "b".repeat(129)).parse::<Reference>().is_err());
    }

    #[test]
    fn digests_have_one_form() {
        assert_eq!(Digest::from_bytes([0xab; 32]).as_str(), format!("sha256:{}", "ab".repeat(32)));
        for text in ["", "sha256:", "sha256:AB", "sha512:00", &format!("sha256:{}", "A".repeat(64))] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_without_panic(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(reference.tagged().parse::<Reference>().unwrap().tagged(), reference.tagged());
            }
        }

        #[test]
        fn well_formed_references_survive_a_round_trip(
            text in "((localhost|[a-z]{1,5}\\.[a-z]{2,3})(:[1-9][0-9]{0,3})?/)?([a-z0-9]{1,6}/){0,2}[a-z0-9]{1,6}([._-][a-z0-9]{1,4}){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,10})?(@sha256:[0-9a-f]{64})?"
        ) {
            let reference = parse(&text);
            let again = parse(&reference.to_string());
            prop_assert_eq!(&again, &reference);
            prop_assert_eq!(parse(&reference.familiar()).tagged(), reference.tagged());
            prop_assert!(!reference.path().is_empty() && !reference.host().is_empty());
        }
    }
}
