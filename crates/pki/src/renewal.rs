//! When certificates are renewed.

use model::{Ids, Time};

/// The moment at which a certificate that holds from `begins` to `expires` is to be renewed: somewhere between
/// half and four fifths of its life, so that the nodes of a cluster that were made together do not all ask at
/// once. The same `seed` always gives the same moment.
pub fn renew_at(begins: Time, expires: Time, seed: u64) -> Time {
    let life = u128::from(expires.0.saturating_sub(begins.0));
    // 2⁶⁴ is the whole span of three tenths.
    let offset = life / 2 + ((life * 3 / 10 * u128::from(Ids::new(seed).next_u64())) >> 64);
    Time(begins.0.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_between_half_and_four_fifths(begins in 0..u64::MAX / 4, life in 0..u64::MAX / 4, seed in any::<u64>()) {
            let at = renew_at(Time(begins), Time(begins + life), seed).0 - begins;
            prop_assert!(at >= life / 2 && u128::from(at) * 10 <= u128::from(life) * 8);
        }
    }

    #[test]
    fn nodes_do_not_ask_all_at_once() {
        let mut moments: Vec<u64> = (0..1000).map(|seed| renew_at(Time(0), Time(1_000_000), seed).0).collect();
        moments.sort_unstable();
        let widest = moments.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(5_000), "{widest:?}");
        assert!(moments[0] < 505_000 && moments[999] > 795_000);
    }
}
