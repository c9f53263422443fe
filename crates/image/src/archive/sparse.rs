//! Files with holes: GNU's own entry type, and its three formats within pax.

use super::header::{BLOCK, Kind, number};
use super::pax::{SparseFormat, decimal};
use super::{Entry, Reader, Tape};
use crate::error::Result;

/// Most pieces of one file: a map is held in memory.
const MAX_PIECES: usize = 1 << 16;

/// Finds the pieces of a sparse file, reading what of its map precedes its content.
pub(super) fn resolve<T: Tape>(
    reader: &mut Reader<'_, T>,
    block: &[u8; BLOCK],
    entry: &mut Entry,
    format: SparseFormat,
) -> Result<()> {
    let (size, numbers) = match (entry.kind, format) {
        (Kind::Sparse, SparseFormat::None) => gnu(reader, block)?,
        (Kind::File, SparseFormat::Given(size, numbers)) => (size, numbers),
        (Kind::File, SparseFormat::InContent(size)) => (size, in_content(reader)?),
        (_, SparseFormat::None) => return Ok(()),
        _ => return Err(reader.wrong("a sparse map for what is no file")),
    };
    entry.kind = Kind::File;
    entry.size = reader.left();
    let pieces = check(size, entry.size, &numbers).map_err(|why| reader.wrong(why))?;
    if size > reader.limits.layer_bytes {
        return Err(reader.wrong(&format!("a sparse file of {size} bytes")));
    }
    entry.sparse = Some((size, pieces));
    Ok(())
}

/// In order, without overlap, within the file, and as long as the content.
fn check(size: u64, content: u64, numbers: &[u64]) -> std::result::Result<Vec<(u64, u64)>, &'static str> {
    if !numbers.len().is_multiple_of(2) || numbers.len() / 2 > MAX_PIECES {
        return Err("a malformed sparse map");
    }
    let mut pieces = Vec::with_capacity(numbers.len() / 2);
    let (mut end, mut total) = (0u64, 0u64);
    for pair in numbers.chunks_exact(2) {
        let (offset, length) = (pair[0], pair[1]);
        let until = offset.checked_add(length).ok_or("a sparse map that overflows")?;
        if offset < end || until > size {
            return Err("a sparse map whose pieces overlap or lie beyond the end");
        }
        end = until;
        total += length;
        if length > 0 {
            pieces.push((offset, length));
        }
    }
    match total == content {
        true => Ok(pieces),
        false => Err("a sparse map that does not fit its content"),
    }
}

/// Four pieces in the header, 21 in each block that follows.
fn gnu<T: Tape>(reader: &mut Reader<'_, T>, block: &[u8; BLOCK]) -> Result<(u64, Vec<u64>)> {
    let field = |bytes: &[u8]| number(bytes).and_then(|number| u64::try_from(number).ok());
    let size = field(&block[483..495]).ok_or_else(|| reader.wrong("a sparse file without a size"))?;
    let mut numbers = Vec::new();
    let add = |numbers: &mut Vec<u64>, area: &[u8]| -> Option<()> {
        for pair in area.chunks_exact(24).take_while(|pair| pair[12] != 0) {
            numbers.extend([field(&pair[..12])?, field(&pair[12..])?]);
        }
        Some(())
    };
    let wrong = "a malformed sparse map";
    add(&mut numbers, &block[386..482]).ok_or_else(|| reader.wrong(wrong))?;
    let mut more = block[482] != 0;
    while more {
        if numbers.len() / 2 > MAX_PIECES {
            return Err(reader.wrong(wrong));
        }
        let block = reader.block()?;
        add(&mut numbers, &block[..504]).ok_or_else(|| reader.wrong(wrong))?;
        more = block[504] != 0;
    }
    Ok((size, numbers))
}

/// Decimal lines before the content, padded to whole blocks: how many pieces, then the pieces.
fn in_content<T: Tape>(reader: &mut Reader<'_, T>) -> Result<Vec<u64>> {
    let mut text = Vec::new();
    let mut numbers: Vec<u64> = Vec::new();
    loop {
        text.extend_from_slice(&reader.payload_block()?);
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let number = decimal(&line[..end]).ok_or_else(|| reader.wrong("a malformed sparse map"))?;
            numbers.push(number);
            let wanted = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
            if wanted > MAX_PIECES {
                return Err(reader.wrong("a sparse map of too many pieces"));
            }
            if numbers.len() == 1 + 2 * wanted {
                numbers.remove(0);
                return Ok(numbers);
            }
        }
        if text.len() > BLOCK {
            return Err(reader.wrong("a malformed sparse map"));
        }
    }
}
