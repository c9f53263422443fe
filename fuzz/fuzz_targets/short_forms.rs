//! Ports, durations, sizes and command lines as people write them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _refused = compose::short::ports(text);
    if let Ok((first, last)) = compose::short::port_range(text) {
        assert!(first <= last);
    }
    let _refused = compose::short::words(text);
    let _refused = compose::units::duration(text);
    let _refused = compose::units::bytes(text);
});
