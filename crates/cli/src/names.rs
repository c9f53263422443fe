//! Names for containers that nobody named: `calm_otter`.

use anyhow::Result;

const MANNERS: [&str; 64] = [
    "able", "airy", "amber", "avid", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid", "cheery", "clear",
    "clever", "cosy", "crisp", "daring", "deft", "eager", "early", "easy", "fair", "fleet", "fond", "frank", "fresh",
    "gentle", "glad", "golden", "grand", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "light",
    "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient",
    "plain", "polite", "proud", "quick", "quiet", "ready", "serene", "sharp", "sunny", "swift", "tidy", "warm", "wise",
    "witty",
];

const CREATURES: [&str; 64] = [
    "alder", "ant", "ash", "badger", "beaver", "bee", "birch", "bison", "bream", "cedar", "clover", "cod", "crane",
    "cricket", "curlew", "deer", "dove", "duck", "eider", "elk", "elm", "fern", "finch", "fox", "gannet", "goose",
    "hare", "hawk", "hazel", "heron", "ibex", "iris", "jay", "kestrel", "kite", "lark", "larch", "lichen", "lynx",
    "maple", "marten", "mole", "moss", "newt", "oak", "osprey", "otter", "owl", "perch", "pike", "pine", "plover",
    "poplar", "raven", "robin", "rowan", "salmon", "seal", "stork", "swan", "tern", "trout", "willow", "wren",
];

/// A random name. With `again` a number follows, for when the first was taken.
///
/// # Errors
/// The kernel has no random bytes, which does not happen.
pub(crate) fn random(again: bool) -> Result<String> {
    let [a, b, c, d] = crate::context::random::<4>()?;
    let pick =
        |list: &'static [&'static str; 64], byte: u8| list.get(usize::from(byte) % 64).copied().unwrap_or("name");
    let name = format!("{}_{}", pick(&MANNERS, a), pick(&CREATURES, b));
    Ok(if again { format!("{name}{}", u16::from_be_bytes([c, d])) } else { name })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    #[test]
    fn names_are_valid_and_lists_hold_no_word_twice() {
        for list in [super::MANNERS, super::CREATURES] {
            let set: std::collections::BTreeSet<_> = list.iter().collect();
            assert_eq!(set.len(), list.len());
        }
        let name = super::random(true).unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
    }
}
