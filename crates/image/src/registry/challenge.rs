//! `WWW-Authenticate` (RFC 9110): which proof a registry wants.

use std::collections::BTreeMap;

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password.
    Basic,
    /// A token from there.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The best of the challenges: a token before a password.
pub(super) fn choose(headers: &[String]) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.iter().filter_map(|header| parse(header)).collect();
    all.iter().find(|it| matches!(it, Challenge::Bearer { .. })).or(all.first()).cloned()
}

fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = parameters(rest);
    let realm = parameters.remove("realm")?;
    Some(Challenge::Bearer { realm, service: parameters.remove("service"), scope: parameters.remove("scope") })
}

/// `key="value", key=value`; a value in quotes may have commas and escapes.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| *c == ',' || c.is_whitespace()).is_some() {}
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=') {
            key.push(c);
        }
        if chars.next().is_none() {
            return found;
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                value.push(c);
            }
        }
        found.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer =
            r#"Bearer realm="https://auth.example/token",service="registry, the",scope="repository:a/b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("registry, the".to_owned()),
            scope: Some("repository:a/b:pull,push".to_owned()),
        };
        assert_eq!(choose(&[bearer.to_owned()]), Some(expected.clone()));
        assert_eq!(choose(&["Basic realm=\"x\"".to_owned(), bearer.to_owned()]), Some(expected));
        assert_eq!(choose(&["basic".to_owned()]), Some(Challenge::Basic));
        assert_eq!(choose(&["Bearer service=x".to_owned(), "Negotiate".to_owned()]), None);
        assert_eq!(choose(&["Bearer realm=\"never ends".to_owned()]).map(|_| ()), Some(()));
    }
}
