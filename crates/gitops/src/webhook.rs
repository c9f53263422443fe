//! The signature of a webhook, as GitHub, Gitea, Forgejo and GitLab write it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Headers with `HMAC-SHA256(secret, body)` in hex; the first has `sha256=` before it.
const SIGNATURES: [&str; 3] = ["x-hub-signature-256", "x-gitea-signature", "x-forgejo-signature"];

/// GitLab sends the secret itself.
const TOKEN: &str = "x-gitlab-token";

/// Does the message come from somebody who knows the secret? `header` gives a header by its lower-case name.
pub fn is_genuine<'h>(secret: &str, body: &[u8], header: impl Fn(&str) -> Option<&'h [u8]>) -> bool {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    let signed = SIGNATURES.into_iter().filter_map(&header).any(|value| {
        let value = value.strip_prefix(b"sha256=").unwrap_or(value);
        // Compared in a time that does not tell how much of it was right.
        hex::decode(value).is_ok_and(|tag| mac.clone().chain_update(body).verify_slice(&tag).is_ok())
    });
    signed || header(TOKEN).is_some_and(|value| same(&mac, value, secret.as_bytes()))
}

/// Equal, asked in a time that depends on neither.
fn same(mac: &Hmac<Sha256>, a: &[u8], b: &[u8]) -> bool {
    let expected = mac.clone().chain_update(b).finalize().into_bytes();
    mac.clone().chain_update(a).verify(&expected).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_checked() {
        // The example of GitHub's documentation.
        let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let ask = |name: &'static str, value: &'static str| {
            is_genuine(secret, body, |asked| (asked == name).then_some(value.as_bytes()))
        };
        assert!(ask("x-hub-signature-256", good));
        assert!(ask("x-gitea-signature", &good[7..]));
        assert!(!ask("x-hub-signature-256", "sha256=00"));
        assert!(!ask("x-hub-signature", good));
        assert!(ask("x-gitlab-token", "It's a Secret to Everybody"));
        assert!(!ask("x-gitlab-token", "It's a Secret to Everybod"));
        assert!(!is_genuine(secret, body, |_| None));
    }
}
