//! Snapshots: one sealed file each, `snapshot-INDEX`, put in place as a whole.

use crate::atomic::write_atomic;
use crate::error::{StoreError, io_error};
use crate::key::NodeKey;
use crate::record::Reader;
use crate::sealed::{self, Kind};
use bytes::Bytes;
use consensus::{Members, Snapshot};
use std::fs;
use std::path::{Path, PathBuf};

const PREFIX: &str = "snapshot-";

pub(crate) fn path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{index:020}"))
}

/// The index in a file name, if it is a snapshot's.
pub(crate) fn index_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Puts it on disk, durably.
pub(crate) fn write(dir: &Path, key: &NodeKey, snapshot: &Snapshot) -> Result<(), StoreError> {
    let path = path(dir, snapshot.index);
    let members = &snapshot.members;
    let mut value = Vec::with_capacity(snapshot.data.len() + 128);
    value.extend_from_slice(&snapshot.index.to_le_bytes());
    value.extend_from_slice(&snapshot.term.to_le_bytes());
    value.push(u8::from(members.auto_leave));
    for list in [&members.voters, &members.learners, &members.voters_outgoing, &members.learners_next] {
        value.extend_from_slice(&(list.len() as u64).to_le_bytes());
        for member in list {
            value.extend_from_slice(&member.to_le_bytes());
        }
    }
    value.extend_from_slice(&snapshot.data);
    let file = sealed::encode(Kind::Snapshot, snapshot.index, &path, key, &value)?;
    write_atomic(&path, &file)
}

/// Reads it back.
pub(crate) fn read(path: &Path, key: &NodeKey) -> Result<Snapshot, StoreError> {
    let file = fs::read(path).map_err(io_error("read", path))?;
    let decoded = sealed::decode(Kind::Snapshot, path, &file, key)?;
    let parsed = parse(decoded.plain.concat().into());
    parsed.filter(|snapshot| snapshot.index == decoded.header.number()).ok_or_else(|| StoreError::Corrupt {
        path: path.to_owned(),
        offset: sealed::HEADER as u64,
        why: "it opens, but holds no snapshot".to_owned(),
    })
}

fn parse(value: Bytes) -> Option<Snapshot> {
    let mut reader = Reader(value);
    let (index, term, auto_leave) = (reader.u64()?, reader.u64()?, reader.u8()? != 0);
    let mut list = || -> Option<Vec<u64>> {
        let length = reader.u64()?;
        (0..length).map(|_| reader.u64()).collect()
    };
    let (voters, learners, voters_outgoing, learners_next) = (list()?, list()?, list()?, list()?);
    let members = Members { voters, learners, voters_outgoing, learners_next, auto_leave };
    Some(Snapshot { index, term, members, data: reader.0 })
}
