//! Typed ids, 128 random bits each, shown as 32 lower-case hex digits, and the seeded stream that
//! makes them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A text that is no id: ids are 32 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError(pub String);

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an id (32 hex digits)", self.0)
    }
}

impl std::error::Error for ParseIdError {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// The first 12 hex digits, as Docker shows ids in tables.
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(12);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:032x})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(ParseIdError(text.to_owned()));
                }
                u128::from_str_radix(text, 16).map(Self).map_err(|_| ParseIdError(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A machine in the cluster.
    NodeId
);
id!(
    /// A cluster.
    ClusterId
);
id!(
    /// A service: what should run, and how many of it.
    ServiceId
);
id!(
    /// One attempt to fill a slot of a service; also the id of its container.
    TaskId
);
id!(
    /// A network.
    NetworkId
);
id!(
    /// A secret of one content; a changed content is a new secret.
    SecretId
);
id!(
    /// A config of one content; a changed content is a new config.
    ConfigId
);
id!(
    /// A client's request; repeating the id gets the first answer again.
    RequestId
);

/// A seeded stream of ids (SplitMix64), so that planning is a function of its inputs.
#[derive(Debug, Clone)]
pub struct Ids {
    state: u64,
}

impl Ids {
    /// A stream that yields the same ids for the same seed.
    pub fn new(seed: u64) -> Self {
        Ids { state: seed }
    }

    /// The next 64 bits of the stream.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next id, of whichever kind: `ids.next(TaskId)`.
    pub fn next<T>(&mut self, make: fn(u128) -> T) -> T {
        let high = u128::from(self.next_u64());
        make(high << 64 | u128::from(self.next_u64()))
    }
}
