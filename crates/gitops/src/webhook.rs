//! The signature of a webhook, as GitHub, Gitea, Forgejo and GitLab write it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Headers with `HMAC-SHA256(secret, body)` in hex; the first has `sha256=` before it.
const SIGNATURES: [&str; 3] = ["x-hub-signature-256", "x-gitea-signature", "x-forgejo-signature"];

/// GitLab sends the secret itself.
const TOKEN: &str = "x-gitlab-token";

/// Is a message from somebody who knows the secret? Its body is looked at while it comes in, and never kept:
/// until the end, whoever sends it is a stranger.
#[derive(Debug)]
pub struct Check {
    mac: Hmac<Sha256>,
    /// What the whole body should come to.
    tags: Vec<Vec<u8>>,
    /// The secret itself was sent.
    knows: bool,
}

impl Check {
    /// `header` gives a header by its lower-case name. `None`: it is not signed in any way that we know.
    pub fn new<'h>(secret: &str, header: impl Fn(&str) -> Option<&'h [u8]>) -> Option<Check> {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        let signed = SIGNATURES.into_iter().filter_map(&header);
        let tag = |value: &[u8]| hex::decode(value.strip_prefix(b"sha256=").unwrap_or(value)).ok();
        let tags: Vec<Vec<u8>> = signed.filter_map(tag).collect();
        let token = header(TOKEN);
        let is_signed = !tags.is_empty() || token.is_some();
        let knows = token.is_some_and(|value| same(&mac, value, secret.as_bytes()));
        is_signed.then_some(Check { mac, tags, knows })
    }

    /// The next part of the body.
    pub fn take(&mut self, part: &[u8]) {
        self.mac.update(part);
    }

    /// That was all of it.
    pub fn is_genuine(self) -> bool {
        // Compared in a time that does not tell how much of it was right.
        let signed = self.tags.iter().any(|tag| self.mac.clone().verify_slice(tag).is_ok());
        signed || self.knows
    }
}

/// Equal, asked in a time that depends on neither.
fn same(mac: &Hmac<Sha256>, a: &[u8], b: &[u8]) -> bool {
    let expected = mac.clone().chain_update(b).finalize().into_bytes();
    mac.clone().chain_update(a).verify(&expected).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of GitHub's documentation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const GOOD: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    /// A body in two parts, signed by these headers.
    fn ask(body: &[u8], headers: &[(&str, &str)]) -> bool {
        let header = |asked: &str| headers.iter().find(|(name, _)| *name == asked).map(|(_, value)| value.as_bytes());
        let Some(mut check) = Check::new(SECRET, header) else { return false };
        let (first, rest) = body.split_at(body.len() / 2);
        check.take(first);
        check.take(rest);
        check.is_genuine()
    }

    #[test]
    fn each_way_of_signing_is_known() {
        let bare = &GOOD[7..];
        let upper = format!("sha256={}", bare.to_uppercase());
        for (name, value) in [
            ("x-hub-signature-256", GOOD),
            ("x-hub-signature-256", &upper),
            ("x-gitea-signature", bare),
            ("x-forgejo-signature", bare),
            ("x-gitlab-token", SECRET),
        ] {
            assert!(ask(BODY, &[(name, value)]), "{name}: {value}");
        }
        // Forgejo sends all of them; one that is right is enough.
        assert!(ask(BODY, &[("x-gitea-signature", bare), ("x-hub-signature-256", GOOD)]));
    }

    #[test]
    fn what_is_not_signed_by_the_secret_is_refused() {
        let other = format!("{}8", &GOOD[..GOOD.len() - 1]);
        let short = &GOOD[..GOOD.len() - 2];
        for headers in [
            &[][..],
            &[("x-hub-signature-256", "")],
            &[("x-hub-signature-256", "sha256=")],
            &[("x-hub-signature-256", "sha256=00")],
            &[("x-hub-signature-256", "nonsense")],
            &[("x-hub-signature-256", &other)],
            &[("x-hub-signature-256", short)],
            // SHA-1, which GitHub sends too, proves little.
            &[("x-hub-signature", GOOD)],
            &[("x-gitea-signature", &other)],
            &[("x-forgejo-signature", short)],
            &[("x-gitlab-token", "")],
            &[("x-gitlab-token", &SECRET[1..])],
            &[("x-gitlab-token", GOOD)],
            &[("authorization", SECRET)],
        ] {
            assert!(!ask(BODY, headers), "{headers:?}");
        }
        assert!(!ask(b"Hello, World?", &[("x-hub-signature-256", GOOD)]), "another body");
        assert!(!ask(b"", &[("x-hub-signature-256", GOOD)]), "no body");
    }
}
