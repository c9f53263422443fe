//! The 512 bytes before each entry (POSIX ustar, GNU, star, and V7's).

use super::Entry;

/// Size of a block.
pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    #[default]
    File,
    Sparse,
    Hardlink,
    Symlink,
    Char,
    Block,
    Dir,
    Fifo,
    Extended,
    Global,
    LongName,
    LongLink,
}

/// A header alone; extensions are yet to be applied.
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) entry: Entry,
}

impl Header {
    /// Reads a header.
    pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Header, &'static str> {
        check_sum(block)?;
        let kind = kind(block[156])?;
        let size = number(&block[124..136]).ok_or("its size is no number")?;
        let size = u64::try_from(size).map_err(|_| "its size is negative")?;
        let is_device = matches!(kind, Kind::Char | Kind::Block);
        let device = match is_device {
            true => (small(&block[329..337])?, small(&block[337..345])?),
            false => (0, 0),
        };
        let entry = Entry {
            path: path(block),
            link: text(&block[157..257]).to_vec(),
            kind,
            mode: small(&block[100..108])? & 0o7777,
            uid: small(&block[108..116])?,
            gid: small(&block[116..124])?,
            mtime: (number(&block[136..148]).unwrap_or(0), 0),
            device,
            ..Entry::default()
        };
        Ok(Header { kind, size, entry })
    }
}

fn kind(flag: u8) -> Result<Kind, &'static str> {
    Ok(match flag {
        // 7: contiguous, a plain file everywhere.
        b'0' | 0 | b'7' => Kind::File,
        b'1' => Kind::Hardlink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Char,
        b'4' => Kind::Block,
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        b'x' => Kind::Extended,
        b'g' => Kind::Global,
        b'L' => Kind::LongName,
        b'K' => Kind::LongLink,
        b'S' => Kind::Sparse,
        _ => return Err("the entry after it is of an unknown type"),
    })
}

/// The sum over the header with the sum's own field as spaces; old writers summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), &'static str> {
    let stored = number(&block[148..156]).ok_or("the header after it has no checksum: no tar archive, or damaged")?;
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    match stored == unsigned || stored == signed {
        true => Ok(()),
        false => Err("the header after it has a wrong checksum: no tar archive, or damaged"),
    }
}

fn path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = match &block[257..263] {
        b"ustar\0" if &block[508..512] == b"tar\0" => text(&block[345..476]),
        b"ustar\0" => text(&block[345..500]),
        _ => b"",
    };
    match prefix.is_empty() {
        true => name.to_vec(),
        false => [prefix, b"/", name].concat(),
    }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    field.get(..end).unwrap_or_default()
}

fn small(field: &[u8]) -> Result<u32, &'static str> {
    let number = number(field).ok_or("the entry after it has a number that is none")?;
    u32::try_from(number).map_err(|_| "the entry after it has a number that is out of range")
}

/// Octal digits between spaces and NULs, or (first bit set) a big-endian two's complement number.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Bit 6 is the sign.
        let mut value: i128 = if first & 0x40 != 0 { i128::from(first) - 0x100 } else { i128::from(first & 0x3f) };
        for &byte in rest {
            value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
        }
        return i64::try_from(value).ok();
    }
    let is_blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let digits = field.get(start..)?;
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    let mut value = 0i64;
    for &byte in digits.get(..end)? {
        if !(b'0'..=b'7').contains(&byte) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(byte - b'0'))?;
    }
    Some(value)
}
