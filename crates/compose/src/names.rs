//! Names: project names, and guesses at what a wrong name meant.

/// `did you mean …?`, or what there is.
pub(crate) fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let close = known
        .clone()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min();
    if let Some((_, name)) = close {
        return Some(format!("did you mean `{name}`?"));
    }
    let mut names: Vec<&str> = known.take(9).collect();
    if names.is_empty() {
        return None;
    }
    if names.len() > 8 {
        names[8] = "...";
    }
    Some(format!("there are: {}", names.join(", ")))
}

/// `a -> b -> c`; the middle of a long chain is left out.
pub(crate) fn chain(names: &[&str]) -> String {
    const SHOWN: usize = 10;
    match names.len().checked_sub(SHOWN).filter(|left| *left > 1) {
        None => names.join(" -> "),
        Some(left) => {
            let (first, last) = (&names[..SHOWN / 2], &names[names.len() - SHOWN / 2..]);
            format!("{} -> ({left} more) -> {}", first.join(" -> "), last.join(" -> "))
        }
    }
}

/// A text as a project name: lower case, other characters left out.
pub(crate) fn project(text: &str) -> String {
    let kept: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_made_of_what_is_allowed() {
        assert_eq!(project("_My App.2"), "myapp2");
        assert_eq!(project("---"), "");
    }

    #[test]
    fn long_chains_are_shortened() {
        assert_eq!(chain(&["a", "b", "a"]), "a -> b -> a");
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(chain(&names), "0 -> 1 -> 2 -> 3 -> 4 -> (90 more) -> 95 -> 96 -> 97 -> 98 -> 99");
        assert_eq!(chain(&names[..11]).matches("->").count(), 10);
    }

    #[test]
    fn guesses_are_close_or_not_made() {
        let known = ["web", "database"];
        assert_eq!(did_you_mean("databse", known.into_iter()).as_deref(), Some("did you mean `database`?"));
        assert_eq!(did_you_mean("cache", known.into_iter()).as_deref(), Some("there are: web, database"));
        assert_eq!(did_you_mean("x", std::iter::empty()), None);
    }
}
