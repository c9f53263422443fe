//! Numbers that are the same each time.

/// A generator with a fixed seed (SplitMix64).
#[derive(Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// With this seed, or that of `RSWARM_TEST_SEED`: others are worth a try now and then.
    ///
    /// # Panics
    /// It is no number.
    pub fn seeded(seed: u64) -> Numbers {
        let other = std::env::var("RSWARM_TEST_SEED").ok();
        Numbers(other.map_or(seed, |other| other.parse().expect("RSWARM_TEST_SEED is a number")))
    }

    /// The next one below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
