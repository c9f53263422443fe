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
    fn guesses_are_close_or_not_made() {
        let known = ["web", "database"];
        assert_eq!(did_you_mean("databse", known.into_iter()).as_deref(), Some("did you mean `database`?"));
        assert_eq!(did_you_mean("cache", known.into_iter()).as_deref(), Some("there are: web, database"));
        assert_eq!(did_you_mean("x", std::iter::empty()), None);
    }
}
