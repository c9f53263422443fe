//! What frames of the log carry: entries, hard states, and where a log begins anew.

use bytes::Bytes;
use consensus::{Entry, EntryKind, HardState};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// An entry; it replaces what stood at its index and after.
    Entry(Entry),
    /// The newest hard state.
    HardState(HardState),
    /// All entries so far are void: a snapshot up to this index took their place.
    Reset { index: u64, term: u64 },
}

const ENTRY: u8 = 1;
const HARD_STATE: u8 = 2;
const RESET: u8 = 3;

/// Appends an entry; `None` if its data is too large.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) -> Option<()> {
    let length = u32::try_from(entry.data.len()).ok()?;
    out.push(ENTRY);
    out.extend_from_slice(&entry.index.to_le_bytes());
    out.extend_from_slice(&entry.term.to_le_bytes());
    out.push(match entry.kind {
        EntryKind::Normal => 0,
        EntryKind::Change => 1,
        EntryKind::ChangeV2 => 2,
    });
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&entry.data);
    Some(())
}

pub(crate) fn put_hard_state(out: &mut Vec<u8>, hard_state: HardState) {
    out.push(HARD_STATE);
    for number in [hard_state.term, hard_state.vote, hard_state.commit] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(crate) fn put_reset(out: &mut Vec<u8>, index: u64, term: u64) {
    out.push(RESET);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&term.to_le_bytes());
}

/// All records of a frame; `None` if they make no sense.
pub(crate) fn read_all(frame: Vec<u8>) -> Option<Vec<Record>> {
    let mut reader = Reader(Bytes::from(frame));
    let mut records = Vec::new();
    while !reader.0.is_empty() {
        records.push(reader.record()?);
    }
    Some(records)
}

/// Takes numbers and bytes off the front.
pub(crate) struct Reader(pub(crate) Bytes);

impl Reader {
    pub(crate) fn bytes(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.as_ref().try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.as_ref().try_into().ok()?))
    }

    fn record(&mut self) -> Option<Record> {
        match self.u8()? {
            ENTRY => {
                let (index, term) = (self.u64()?, self.u64()?);
                let kind = match self.u8()? {
                    0 => EntryKind::Normal,
                    1 => EntryKind::Change,
                    2 => EntryKind::ChangeV2,
                    _ => return None,
                };
                let length = usize::try_from(self.u32()?).ok()?;
                Some(Record::Entry(Entry { index, term, kind, data: self.bytes(length)? }))
            }
            HARD_STATE => {
                Some(Record::HardState(HardState { term: self.u64()?, vote: self.u64()?, commit: self.u64()? }))
            }
            RESET => Some(Record::Reset { index: self.u64()?, term: self.u64()? }),
            _ => None,
        }
    }
}
