//! Join tokens: `RWMTKN-1-DIGEST-SECRET`. The digest (SHA-256 of the authority's certificate) tells the one who
//! joins whom to trust before anything is sent; the secret tells the cluster to trust the one who joins, and as
//! what. Both are numbers written in base 36, 50 and 25 digits (the shape of Swarm's).

use crate::error::Error;
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "RWMTKN-1-";
const DIGEST: usize = 50;
const SECRET: usize = 25;

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    digest: [u8; 32],
    secret: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("digest", &self.digest()).finish_non_exhaustive()
    }
}

impl fmt::Display for Token {
    /// The token itself: whoever reads it may join.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}-{}", base36(&self.digest, DIGEST), self.secret)
    }
}

impl Token {
    /// The token that lets nodes in below this root (its digest, in hex) with this secret.
    ///
    /// # Errors
    /// The digest or the secret is not of the form that this crate makes.
    pub fn new(digest: &str, secret: &str) -> Result<Token, Error> {
        let bytes = hex::decode(digest).map_err(|_| Error::Token("the digest is no SHA-256 in hex"))?;
        let digest = bytes.try_into().map_err(|_| Error::Token("the digest is no SHA-256 in hex"))?;
        if !is_base36(secret, SECRET) {
            return Err(Error::Token("the secret is not of 25 digits and lower-case letters"));
        }
        Ok(Token { digest, secret: secret.to_owned() })
    }

    /// SHA-256 (hex) of the authority's certificate.
    pub fn digest(&self) -> String {
        hex::encode(self.digest)
    }

    /// What proves to the cluster that its holder was let in.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Token, Error> {
        let rest = text.strip_prefix(PREFIX).ok_or(Error::Token("it does not begin with RWMTKN-1-"))?;
        let (digest, secret) = rest.split_once('-').ok_or(Error::Token("it has no secret"))?;
        if !is_base36(digest, DIGEST) {
            return Err(Error::Token("its digest is not of 50 digits and lower-case letters"));
        }
        if !is_base36(secret, SECRET) {
            return Err(Error::Token("its secret is not of 25 digits and lower-case letters"));
        }
        let digest = from_base36(digest).ok_or(Error::Token("its digest is out of bounds"))?;
        Ok(Token { digest, secret: secret.to_owned() })
    }
}

/// A new secret of a token: 128 bits of chance.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_secret() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    Ok(base36(&bytes, SECRET))
}

fn is_base36(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

/// A big-endian number in base 36, filled up with zeros to `width` digits.
fn base36(number: &[u8], width: usize) -> String {
    let mut number = number.to_vec();
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0u16;
        for byte in &mut number {
            let value = rest << 8 | u16::from(*byte);
            // Below 36 · 256, so the quotient fits.
            *byte = u8::try_from(value / 36).unwrap_or(u8::MAX);
            rest = value % 36;
        }
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz".get(usize::from(rest)).copied().unwrap_or(b'0');
    }
    debug_assert!(number.iter().all(|byte| *byte == 0), "the number does not fit");
    digits.into_iter().map(char::from).collect()
}

/// `None`: the number is over 256 bits.
fn from_base36(text: &str) -> Option<[u8; 32]> {
    let mut number = [0u8; 32];
    for digit in text.chars() {
        let mut carry = u16::try_from(digit.to_digit(36)?).ok()?;
        for byte in number.iter_mut().rev() {
            let value = u16::from(*byte) * 36 + carry;
            *byte = value.to_be_bytes()[1];
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_read_as_it_was_written(digest in any::<[u8; 32]>(), secret in any::<[u8; 16]>()) {
            let token = Token::new(&hex::encode(digest), &base36(&secret, SECRET)).unwrap();
            let text = token.to_string();
            prop_assert_eq!(text.len(), "RWMTKN-1-".len() + 50 + 1 + 25);
            prop_assert_eq!(&text.parse::<Token>().unwrap(), &token);
            prop_assert_eq!(token.digest(), hex::encode(digest));
        }

        #[test]
        fn any_text_is_refused_without_panic(text in "(RWMTKN-1-)?[0-9a-z-]{0,90}|\\PC{0,90}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }

        #[test]
        fn secrets_are_compared_as_texts_are(a in "[0-9a-z]{0,3}", b in "[0-9a-z]{0,3}") {
            prop_assert_eq!(model::same_secret(&a, &b), a == b);
        }
    }

    #[test]
    fn the_largest_digest_fits_and_more_does_not() {
        let token = Token::new(&"f".repeat(64), &"0".repeat(25)).unwrap();
        assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        let over = format!("RWMTKN-1-{}-{}", "z".repeat(50), "0".repeat(25));
        assert!(matches!(over.parse::<Token>(), Err(Error::Token("its digest is out of bounds"))));
    }

    #[test]
    fn nothing_that_is_printed_for_debugging_tells_the_secret() {
        let secret = new_secret().unwrap();
        let token = Token::new(&"0".repeat(64), &secret).unwrap();
        assert!(!format!("{token:?}").contains(&secret));
        assert_ne!(secret, new_secret().unwrap());
    }
}
