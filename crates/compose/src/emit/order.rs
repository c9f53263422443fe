//! The order of names in YAML, as Go's YAML library has it: digits count as the number that they make.

use std::cmp::Ordering;

/// Where a key of a service stands: with its name, but for two that the reference has behind their neighbours.
pub(super) fn shown_as(name: &str) -> (&str, bool) {
    match name {
        "cpu_shares" => ("cpuset", true),
        "mem_swappiness" => ("memswap_limit", true),
        name => (name, false),
    }
}

/// A letter, a whole number or a sign of a name.
#[derive(Clone, Copy)]
enum Piece<'t> {
    Sign(char),
    Number(&'t str),
    Letter(char),
}

/// Which of two names stands first.
pub(super) fn natural(mut a: &str, mut b: &str) -> Ordering {
    let mut behind_number = false;
    loop {
        match (first_piece(a), first_piece(b)) {
            (Some((x, rest_a)), Some((y, rest_b))) => match compare(x, y, behind_number) {
                Ordering::Equal => {
                    behind_number = matches!(x, Piece::Number(_));
                    (a, b) = (rest_a, rest_b);
                }
                order => return order,
            },
            (x, y) => return x.is_some().cmp(&y.is_some()),
        }
    }
}

fn first_piece(text: &str) -> Option<(Piece<'_>, &str)> {
    let first = text.chars().next()?;
    if first.is_ascii_digit() {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        return Some((Piece::Number(&text[..end]), &text[end..]));
    }
    let piece = if first.is_alphabetic() { Piece::Letter(first) } else { Piece::Sign(first) };
    Some((piece, &text[first.len_utf8()..]))
}

/// Signs, then numbers, then letters; but right behind a number the letters are first.
fn compare(x: Piece<'_>, y: Piece<'_>, behind_number: bool) -> Ordering {
    match (x, y) {
        (Piece::Letter(x), Piece::Letter(y)) | (Piece::Sign(x), Piece::Sign(y)) => x.cmp(&y),
        (Piece::Number(x), Piece::Number(y)) => size(x).cmp(&size(y)),
        (Piece::Sign(_), Piece::Number(_)) => Ordering::Less,
        (Piece::Number(_), Piece::Sign(_)) => Ordering::Greater,
        (Piece::Letter(_), _) if behind_number => Ordering::Less,
        (Piece::Letter(_), _) => Ordering::Greater,
        (_, Piece::Letter(_)) if behind_number => Ordering::Greater,
        (_, Piece::Letter(_)) => Ordering::Less,
    }
}

/// What orders numbers of any length; of equal ones, that with fewer zeros in front is first.
fn size(digits: &str) -> (usize, &str, usize) {
    let number = digits.trim_start_matches('0');
    (number.len(), number, digits.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_stand_in_the_order_of_people() {
        let sorted = [
            "",
            "-",
            "_a",
            "1a",
            "1-",
            "01",
            "2",
            "10",
            "A",
            "DB_DATA",
            "DB_DATABASE",
            "a-b",
            "a1",
            "a01",
            "a2",
            "a10",
            "ab",
            "é",
        ];
        let mut names = sorted;
        names.reverse();
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, sorted);
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[a0-2_é.]{0,6}", b in "[a0-2_é.]{0,6}", c in "[a0-2_é.]{0,6}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b) == Ordering::Equal, a == b);
            if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
                prop_assert!(natural(&a, &c).is_le());
            }
        }
    }
}
