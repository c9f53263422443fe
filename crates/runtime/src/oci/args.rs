//! Flags in the way Go programs take them: one dash or two, `=` or the next word.

use super::Error;

/// Name, short name or nothing, and whether it takes a value.
pub(super) type Flag = (&'static str, &'static str, bool);

/// What was typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Args {
    pub(super) flags: Vec<(&'static str, String)>,
    pub(super) rest: Vec<String>,
}

impl Args {
    /// Sorts words into flags and the rest. Flags end at `--`, and with `first_only` at the first
    /// word that is none.
    pub(super) fn parse(words: &[String], known: &[Flag], first_only: bool) -> Result<Self, Error> {
        let mut args = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                args.rest.extend(words.cloned());
                break;
            }
            let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                args.rest.push(word.clone());
                if first_only {
                    args.rest.extend(words.cloned());
                    break;
                }
                continue;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, inline) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
            let found = known.iter().find(|(long, short, _)| name == *long || (!short.is_empty() && name == *short));
            let (long, _, takes) = found.ok_or_else(|| Error::text(format!("unknown flag {word}")))?;
            let value = match (takes, inline) {
                (false, None) => "true".to_owned(),
                (_, Some(value)) => value.to_owned(),
                (true, None) => words.next().ok_or_else(|| Error::text(format!("flag {word} needs a value")))?.clone(),
            };
            args.flags.push((long, value));
        }
        Ok(args)
    }

    /// The last value of a flag.
    pub(super) fn last(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.flags.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag without value is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.last(name).is_some_and(|value| value != "false")
    }

    /// The first word, the container's id.
    pub(super) fn id(&self) -> Result<&str, Error> {
        self.rest.first().map(String::as_str).ok_or_else(|| Error::text("which container? give its id"))
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, Error> {
        let parse = |value: &str| {
            value.parse().map_err(|_| Error::text(format!("--{name} needs a number, and {value:?} is none")))
        };
        self.last(name).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Flag; 3] = [("bundle", "b", true), ("all", "a", false), ("env", "e", true)];

    fn parse(words: &[&str], first_only: bool) -> Result<Args, Error> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        Args::parse(&words, &KNOWN, first_only)
    }

    #[test]
    fn dashes_and_values() {
        let args = parse(&["-b", "x", "--all", "id", "--bundle=y", "-e", "A=1=2"], false).expect("parse");
        assert_eq!((args.last("bundle"), args.has("all"), args.last("env")), (Some("y"), true, Some("A=1=2")));
        assert_eq!(args.rest, ["id"]);
        assert_eq!(parse(&["id", "ls", "-b"], true).expect("parse").rest, ["id", "ls", "-b"]);
        assert_eq!(parse(&["--", "-b"], false).expect("parse").rest, ["-b"]);
        assert!(parse(&["--nope"], false).is_err());
        assert!(parse(&["-b"], false).is_err());
        assert!(!parse(&["--all=false"], false).expect("parse").has("all"));
    }
}
