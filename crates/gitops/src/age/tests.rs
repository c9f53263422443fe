//! Files that the real program wrote, and every way in which one may be broken.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;

/// What `age-keygen` 1.1.1 wrote, made for this test.
const KEY: &str = "# public key: age1xynwypqscwuzh7mapd2hm8nseqjtuc9sz7a7mrf7sme3w2h49a4sql0h4e\n\
                   AGE-SECRET-KEY-1Y62YT7MPMX65Y3NPHDP25RQF248Y79GUXDZQQ4VENRA5UKX7HV4SKL0NF5\n";

/// `printf hush-hush | age -a -r` of the same version, for that key.
const SEALED: &str = "-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSAxcFN1MjVHVFBFdDdvcVIz
ekpHdWkva0VSQk1MQjhjYjdHSjdCTzgrdlRVCjJBOVVUSmlXM2Q5bzBiSU9tdGM4
bzBCdGRzRGVVUm9iYkJLUzViQ1JGaDAKLS0tIGZ4ckdLYUo4Z1czT1dXL2p3NzAw
UmRBVUtteWdFUWZmOFEzNFNOOW94WW8KLJO9TE9mCkjLJ4HHXYbGukHyaMI6LMci
nFh4J/r1h+angO7/+iOVGeI=
-----END AGE ENCRYPTED FILE-----
";

/// A key of somebody else: the scalar 1, with its checksum.
fn stranger() -> Keys {
    Keys(vec![StaticSecret::from([1; 32])])
}

#[test]
fn what_age_wrote_is_opened() {
    let keys = Keys::parse(KEY).unwrap();
    assert!(is_sealed(SEALED.as_bytes()) && !is_sealed(b"hush-hush"));
    assert_eq!(keys.open(SEALED.as_bytes()).unwrap(), b"hush-hush");
    let crlf = SEALED.replace('\n', "\r\n");
    assert_eq!(keys.open(crlf.as_bytes()).unwrap(), b"hush-hush");
    let error = stranger().open(SEALED.as_bytes()).unwrap_err();
    assert_eq!(error, AgeError::NotForUs(vec!["X25519".to_owned()]));
}

#[test]
fn a_file_that_was_changed_or_cut_is_refused() {
    let keys = Keys::parse(KEY).unwrap();
    let binary = without_armor(SEALED.as_bytes()).unwrap();
    assert!(keys.open(&binary).is_ok());
    for place in 0..binary.len() {
        let mut changed = binary.clone();
        changed[place] ^= 1;
        assert!(keys.open(&changed).is_err(), "byte {place} changed");
        assert!(keys.open(&binary[..place]).is_err(), "cut at {place}");
    }
    let mut longer = binary;
    longer.push(0);
    assert!(keys.open(&longer).is_err());
    for nonsense in [
        "-----BEGIN AGE ENCRYPTED FILE-----",
        "-----BEGIN AGE ENCRYPTED FILE-----\n?\n-----END AGE ENCRYPTED FILE-----",
    ] {
        assert!(is_sealed(nonsense.as_bytes()) && keys.open(nonsense.as_bytes()).is_err());
    }
}

/// Seals as age does, for contents that would be long here.
fn seal(plain: &[u8]) -> Vec<u8> {
    let secret = Keys::parse(KEY).unwrap().0.remove(0);
    let ephemeral = StaticSecret::from([7; 32]);
    let (share, ours) = (PublicKey::from(&ephemeral).to_bytes(), PublicKey::from(&secret));
    let wrap = expand(
        ephemeral.diffie_hellman(&ours).as_bytes(),
        &[share, ours.to_bytes()].concat(),
        b"age-encryption.org/v1/X25519",
    );
    let file_key = [9; 16];
    let body = ChaCha20Poly1305::new(&Key::from(wrap)).encrypt(&Nonce::default(), file_key.as_slice()).unwrap();
    let (share, body) = (STANDARD_NO_PAD.encode(share), STANDARD_NO_PAD.encode(body));
    let mut all = format!("age-encryption.org/v1\n-> a-grease x\n\n-> X25519 {share}\n{body}\n---").into_bytes();
    let code = mac(&expand(&file_key, b"", b"header"), &[&all]).finalize().into_bytes();
    all.extend(format!(" {}\n", STANDARD_NO_PAD.encode(code)).into_bytes());
    all.extend([3; 16]);
    let cipher = ChaCha20Poly1305::new(&Key::from(expand(&file_key, &[3; 16], b"payload")));
    let parts: Vec<&[u8]> = if plain.is_empty() { vec![b""] } else { plain.chunks(PART).collect() };
    for (number, part) in parts.iter().enumerate() {
        let mut nonce = [0; 12];
        nonce[10] = u8::try_from(number).unwrap();
        nonce[11] = u8::from(number + 1 == parts.len());
        all.extend(cipher.encrypt(&Nonce::from(nonce), *part).unwrap());
    }
    all
}

#[test]
fn parts_are_in_their_places() {
    let keys = Keys::parse(KEY).unwrap();
    for length in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 5] {
        let plain: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let sealed = seal(&plain);
        assert_eq!(keys.open(&sealed).unwrap(), plain, "{length}");
        // Without the last part.
        let cut = sealed.len() - (length.saturating_sub(1) % PART + 1 + TAG).min(sealed.len());
        assert!(keys.open(&sealed[..cut]).is_err(), "{length} cut");
    }
    let mut swapped = seal(&vec![5; 3 * PART]);
    let start = swapped.len() - 3 * (PART + TAG);
    let (one, two) = swapped[start..].split_at_mut(PART + TAG);
    one.swap_with_slice(&mut two[..PART + TAG]);
    assert!(keys.open(&swapped).is_err());
}

#[test]
fn keys_are_checked() {
    let key = KEY.lines().nth(1).unwrap();
    assert!(Keys::parse(&key.to_lowercase()).is_ok());
    assert_eq!(Keys::parse("# nothing\n\n").unwrap_err(), AgeError::NoKey);
    let wrong = key.replace("KL0NF5", "KL0NF6");
    assert_eq!(Keys::parse(&format!("#\n{wrong}")).unwrap_err(), AgeError::Key(2));
    for wrong in [
        "AGE-SECRET-KEY-1",
        "AGE-SECRET-KEY-",
        "age1xynwypqscwuzh7mapd2hm8nseqjtuc9sz7a7mrf7sme3w2h49a4sql0h4e",
        &key[..40],
    ] {
        assert_eq!(Keys::parse(wrong).unwrap_err(), AgeError::Key(1), "{wrong}");
    }
    assert!(!format!("{:?}", Keys::parse(KEY).unwrap()).contains("Y62"));
}
