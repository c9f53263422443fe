//! Waiting for something to become true, with an end.

use std::time::{Duration, Instant};

/// Waits until `probe` says yes.
///
/// # Panics
/// It did not within `limit`.
pub fn eventually(what: &str, limit: Duration, probe: impl FnMut() -> bool) {
    eventually_or(|| what.to_owned(), limit, probe);
}

/// Waits until `probe` says yes; what is said otherwise is made when the time is over, as logs have to be.
///
/// # Panics
/// It did not within `limit`.
pub fn eventually_or(what: impl FnOnce() -> String, limit: Duration, mut probe: impl FnMut() -> bool) {
    until(what, limit, || probe().then_some(()));
}

/// Waits until `probe` has something.
///
/// # Panics
/// It had nothing within `limit`.
pub fn eventually_some<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    until(|| what.to_owned(), limit, probe)
}

fn until<T>(what: impl FnOnce() -> String, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        if Instant::now() >= end {
            panic!("not within {limit:?}: {}", what());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
