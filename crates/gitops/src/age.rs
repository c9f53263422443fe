//! Files that were encrypted with `age` (<https://age-encryption.org/v1>, the format of age and rage), for
//! keys of the kind X25519 only: so that secrets can lie in a repository. They are opened in memory.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit as _, Nonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::fmt;
use x25519_dalek::{PublicKey, StaticSecret};

/// How every file begins.
const MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// How one begins that is written as text.
const ARMOR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

/// How that ends.
const ARMOR_END: &str = "-----END AGE ENCRYPTED FILE-----";

/// What a secret key begins with, before the `1` of bech32.
const SECRET: &str = "age-secret-key-";

/// Bytes of one part of the content, and of the tag after it.
const PART: usize = 64 << 10;
const TAG: usize = 16;

/// Longest head: some thousand recipients.
const HEAD: usize = 1 << 20;

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AgeError {
    /// A line of a key file.
    #[error("line {0} is no secret key of age: it is to begin with AGE-SECRET-KEY-1 (`age-keygen` makes one)")]
    Key(usize),
    /// A key file without a key.
    #[error("there is no secret key in it: `age-keygen` makes one")]
    NoKey,
    /// Not what age writes.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// For somebody else.
    #[error("it is encrypted for other keys than those of this source (recipients: {})", .0.join(", "))]
    NotForUs(Vec<String>),
}

/// Is it such a file?
pub fn is_sealed(data: &[u8]) -> bool {
    data.starts_with(MAGIC) || data.trim_ascii_start().starts_with(ARMOR.as_bytes())
}

/// Secret keys. They are shown to nobody.
#[derive(Clone)]
pub struct Keys(Vec<StaticSecret>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// From a file that `age-keygen` has written: a key in each line, `#` before what is for people.
    ///
    /// # Errors
    /// A line that is no key; the number tells which, the line itself is secret.
    pub fn parse(text: &str) -> Result<Keys, AgeError> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|(at, line)| secret(line).ok_or(AgeError::Key(at + 1)));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(AgeError::NoKey) } else { Ok(Keys(keys)) }
    }

    /// What is in the file.
    ///
    /// # Errors
    /// It is for nobody of us, or not as it was written.
    pub fn open(&self, data: &[u8]) -> Result<Vec<u8>, AgeError> {
        if data.starts_with(MAGIC) {
            return self.open_binary(data);
        }
        self.open_binary(&without_armor(data)?)
    }

    fn open_binary(&self, data: &[u8]) -> Result<Vec<u8>, AgeError> {
        let head = Head::parse(data)?;
        let file_key = head.stanzas.iter().find_map(|stanza| self.0.iter().find_map(|key| stanza.open(key)));
        let Some(file_key) = file_key else {
            let mut kinds: Vec<String> = head.stanzas.into_iter().map(|stanza| stanza.kind).collect();
            kinds.dedup();
            return Err(AgeError::NotForUs(kinds));
        };
        let mac = mac(&expand(&file_key, b"", b"header"), &[head.signed]);
        mac.verify_slice(&head.mac).map_err(|_| AgeError::Damaged("its head was changed"))?;
        content(&file_key, head.rest)
    }
}

/// One way to the key of the file.
struct Stanza {
    kind: String,
    words: Vec<String>,
    body: Vec<u8>,
}

impl Stanza {
    /// The key of the file, if the stanza is for the owner of `secret`.
    fn open(&self, secret: &StaticSecret) -> Option<[u8; 16]> {
        let [share] = self.words.as_slice() else { return None };
        if self.kind != "X25519" || self.body.len() != 16 + TAG {
            return None;
        }
        let share: [u8; 32] = STANDARD_NO_PAD.decode(share).ok()?.try_into().ok()?;
        let shared = secret.diffie_hellman(&PublicKey::from(share));
        // A share that makes the same of every key would be no secret.
        if !shared.was_contributory() {
            return None;
        }
        let salt = [share, PublicKey::from(secret).to_bytes()].concat();
        let key = expand(shared.as_bytes(), &salt, b"age-encryption.org/v1/X25519");
        let opened = ChaCha20Poly1305::new(&Key::from(key)).decrypt(&Nonce::default(), self.body.as_slice());
        opened.ok()?.try_into().ok()
    }
}

/// What stands before the content.
struct Head<'d> {
    stanzas: Vec<Stanza>,
    /// What the code is of.
    signed: &'d [u8],
    mac: Vec<u8>,
    rest: &'d [u8],
}

impl<'d> Head<'d> {
    fn parse(data: &'d [u8]) -> Result<Head<'d>, AgeError> {
        let mut rest = data.get(MAGIC.len()..).unwrap_or_default();
        let mut stanzas = Vec::new();
        loop {
            let before = data.len() - rest.len();
            if before > HEAD {
                return Err(AgeError::Damaged("its head is too long"));
            }
            let line = line(&mut rest)?;
            if let Some(code) = line.strip_prefix("--- ") {
                let mac = unbase64(code)?;
                let signed = data.get(..before + "---".len()).unwrap_or_default();
                return Ok(Head { stanzas, signed, mac, rest });
            }
            let words = line.strip_prefix("-> ").ok_or(AgeError::Damaged("a line of its head makes no sense"))?;
            let mut words = words.split(' ').map(str::to_owned);
            let kind = words.next().unwrap_or_default();
            stanzas.push(Stanza { kind, words: words.collect(), body: body(&mut rest)? });
        }
    }
}

/// Lines of 64 letters, and a shorter one at the end.
fn body(rest: &mut &[u8]) -> Result<Vec<u8>, AgeError> {
    let mut text = String::new();
    loop {
        let line = line(rest)?;
        text.push_str(line);
        match line.len() {
            64 => {}
            0..64 => return unbase64(&text),
            _ => return Err(AgeError::Damaged("a line of its head is too long")),
        }
    }
}

fn unbase64(text: &str) -> Result<Vec<u8>, AgeError> {
    STANDARD_NO_PAD.decode(text).map_err(|_| AgeError::Damaged("its head is no base64"))
}

fn line<'d>(rest: &mut &'d [u8]) -> Result<&'d str, AgeError> {
    let end = rest.iter().take(HEAD).position(|byte| *byte == b'\n').ok_or(AgeError::Damaged("it ends in its head"))?;
    let (line, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    std::str::from_utf8(line).map_err(|_| AgeError::Damaged("its head is no text"))
}

/// The content: parts that are sealed each for its place, the last one as the last.
fn content(file_key: &[u8], rest: &[u8]) -> Result<Vec<u8>, AgeError> {
    let (salt, sealed) = rest.split_at_checked(16).ok_or(AgeError::Damaged("it has no content"))?;
    let cipher = ChaCha20Poly1305::new(&Key::from(expand(file_key, salt, b"payload")));
    let mut plain = Vec::with_capacity(sealed.len());
    let parts = sealed.chunks(PART + TAG);
    let last = parts.len().checked_sub(1).ok_or(AgeError::Damaged("it has no content"))?;
    for (number, part) in parts.enumerate() {
        // Eleven bytes of a counter, and one that says whether it is the last.
        let mut nonce = [0; 12];
        nonce
            .iter_mut()
            .skip(3)
            .zip(u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes())
            .for_each(|(to, from)| *to = from);
        nonce[11] = u8::from(number == last);
        let opened = cipher.decrypt(&Nonce::from(nonce), part);
        let opened = opened.map_err(|_| AgeError::Damaged("its content was changed or cut"))?;
        if opened.is_empty() && number > 0 {
            return Err(AgeError::Damaged("its last part is empty"));
        }
        plain.extend(opened);
    }
    Ok(plain)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // Only a key without an end would be refused.
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// HKDF-SHA256 (RFC 5869), of one block.
fn expand(secret: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let extracted = mac(salt, &[secret]).finalize().into_bytes();
    mac(&extracted, &[info, &[1]]).finalize().into_bytes().into()
}

fn without_armor(data: &[u8]) -> Result<Vec<u8>, AgeError> {
    let damaged = AgeError::Damaged("its armor is broken");
    let Ok(text) = std::str::from_utf8(data) else { return Err(damaged) };
    let inner = text.trim().strip_prefix(ARMOR).and_then(|text| text.strip_suffix(ARMOR_END));
    let Some(inner) = inner else { return Err(damaged) };
    let letters: String = inner.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let binary = STANDARD.decode(letters).ok().filter(|binary| binary.starts_with(MAGIC));
    binary.ok_or(damaged)
}

/// A secret key as bech32 (BIP 173).
fn secret(text: &str) -> Option<StaticSecret> {
    const LETTERS: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    if text.chars().any(|c| c.is_ascii_lowercase()) && text.chars().any(|c| c.is_ascii_uppercase()) {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let data = text.strip_prefix(SECRET)?.strip_prefix('1')?;
    let place = |letter: u8| LETTERS.iter().position(|known| *known == letter);
    let values: Vec<usize> = data.bytes().map(place).collect::<Option<_>>()?;
    let high = SECRET.bytes().map(|letter| usize::from(letter >> 5));
    let low = SECRET.bytes().map(|letter| usize::from(letter & 31));
    if polymod(high.chain([0]).chain(low).chain(values.iter().copied())) != 1 {
        return None;
    }
    // 52 letters of five bits are 32 bytes and four bits that must be zero; six more are the checksum.
    let values = values.get(..values.len().checked_sub(6)?)?;
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_usize, 0_u32);
    for value in values {
        (bits, count) = ((bits << 5 | value) & 0xfff, count + 5);
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    if count >= 5 || bits & ((1 << count) - 1) != 0 {
        return None;
    }
    Some(StaticSecret::from(<[u8; 32]>::try_from(bytes).ok()?))
}

/// The checksum of bech32.
fn polymod(values: impl Iterator<Item = usize>) -> usize {
    const GENERATOR: [usize; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |sum, value| {
        let top = sum >> 25;
        let taken = GENERATOR.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1);
        taken.fold((sum & 0x01ff_ffff) << 5 ^ value, |sum, (_, term)| sum ^ term)
    })
}

#[cfg(test)]
mod tests;
