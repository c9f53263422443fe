//! Image references: whatever is accepted says the same when it is written out and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::image::{Digest, Reference};

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        for written in [reference.to_string(), reference.tagged()] {
            let again: Reference = written.parse().expect("what is written is a reference");
            assert_eq!(again.host(), reference.host());
            assert_eq!(again.path(), reference.path());
        }
        let again: Reference = reference.familiar().parse().expect("the short form is a reference");
        assert_eq!(again.tagged(), reference.tagged());
        assert!(!reference.host().contains('/'), "a host is a name of one folder");
        assert!(!matches!(reference.host(), "" | "." | ".."), "a host is a name of one folder");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.as_str(), text);
    }
});
