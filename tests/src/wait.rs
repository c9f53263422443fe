//! Waiting for something to become true, with an end.

use std::time::{Duration, Instant};

/// Waits until `probe` says yes.
///
/// # Panics
/// It did not within `limit`.
pub fn eventually(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
    eventually_some(what, limit, || probe().then_some(()));
}

/// Waits until `probe` says yes; what is said otherwise is made when the time is over, as logs have to be.
///
/// # Panics
/// It did not within `limit`.
pub fn eventually_or(what: impl FnOnce() -> String, limit: Duration, mut probe: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !probe() {
        if Instant::now() >= end {
            panic!("not within {limit:?}: {}", what());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `probe` has something.
///
/// # Panics
/// It had nothing within `limit`.
pub fn eventually_some<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
