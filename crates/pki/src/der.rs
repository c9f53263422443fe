//! Just enough of DER to read the two things that are read here: requests for certificates (from anybody), and
//! the dates of certificates (which are verified elsewhere).

/// Tags as they stand in the bytes.
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    /// What is in it.
    pub(crate) content: &'a [u8],
    /// The same with its head.
    pub(crate) whole: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element; `None` when the bytes are no DER (or longer than 64 KiB, which nothing here is).
    pub(crate) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, after) = self.rest.split_first()?;
        let (&first, after) = after.split_first()?;
        let (length, after) = match first {
            0..=0x7f => (usize::from(first), after),
            0x81 => {
                let (&one, after) = after.split_first()?;
                (usize::from(one), after)
            }
            0x82 => {
                let (two, after) = after.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*two)), after)
            }
            _ => return None,
        };
        // The shortest form is the only one.
        let shortest = match first {
            0x81 => length > 0x7f,
            0x82 => length > 0xff,
            _ => true,
        };
        if !shortest || tag & 0x1f == 0x1f {
            return None;
        }
        let (content, rest) = after.split_at_checked(length)?;
        let whole = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }
}

/// Milliseconds since the epoch when a certificate begins and ends. Only its shape is looked at: whether it
/// holds is another question.
pub(crate) fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let mut body = Reader::new(Reader::new(certificate).expect(SEQUENCE)?.content);
    let mut body = Reader::new(body.expect(SEQUENCE)?.content);
    // version, serial number, algorithm, issuer, validity
    body.expect(CONTEXT_0)?;
    body.expect(INTEGER)?;
    body.expect(SEQUENCE)?;
    body.expect(SEQUENCE)?;
    let mut dates = Reader::new(body.expect(SEQUENCE)?.content);
    Some((date(dates.next()?)?, date(dates.next()?)?))
}

/// `YYMMDDhhmmssZ`, or the same with four digits of year.
fn date(element: Element<'_>) -> Option<u64> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match element.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year >= 50 { 1900 + year } else { 2000 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let month = time::Month::try_from(part(0)?).ok()?;
    let date = time::Date::from_calendar_date(year, month, part(2)?).ok()?;
    let moment = date.with_hms(part(4)?, part(6)?, part(8)?).ok()?.assume_utc();
    u64::try_from(moment.unix_timestamp()).ok()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_form_of_a_length_is_read() {
        let element = Reader::new(&[0x30, 1, 7, 9]).next();
        assert_eq!(element, Some(Element { tag: 0x30, content: &[7], whole: &[0x30, 1, 7] }));
        assert_eq!(Reader::new(&[0x30, 0x81, 1, 7]).next(), None, "a long form for a short length");
        assert_eq!(Reader::new(&[0x30, 0x80, 0, 0]).next(), None, "no length");
        assert_eq!(Reader::new(&[0x30, 2, 7]).next(), None, "cut short");
        assert_eq!(Reader::new(&[0x1f, 1, 7]).next(), None, "a tag of several bytes");
    }

    #[test]
    fn dates_of_both_forms() {
        let at = |tag, text: &str| date(Element { tag, content: text.as_bytes(), whole: &[] });
        assert_eq!(at(UTC_TIME, "700101000001Z"), Some(1000));
        assert_eq!(at(GENERALIZED_TIME, "19700101000100Z"), Some(60_000));
        assert_eq!(at(UTC_TIME, "490101000000Z"), at(GENERALIZED_TIME, "20490101000000Z"));
        assert_eq!(at(UTC_TIME, "701301000001Z"), None);
        assert_eq!(at(UTC_TIME, "7001010000+1Z"), None);
        assert_eq!(at(INTEGER, "700101000001Z"), None);
    }
}
