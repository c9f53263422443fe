//! What a machine without a certificate may send to a manager: a request for one, and a token; and the name in
//! a certificate that another one made.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = pki::requested_key(bytes) {
        assert_eq!(key.len(), 64);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = text.parse::<pki::Token>() {
        assert_eq!(token.to_string(), text);
    }
    if let Ok(peer) = text.parse::<pki::PeerIdentity>() {
        assert_eq!(peer.to_string(), text);
    }
    let _damaged = pki::root(text);
    let _damaged = pki::Credentials::from_pem(text);
});
