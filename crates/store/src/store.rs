//! The store itself: opening, replaying, appending, cutting.

mod shape;

use crate::atomic::{TEMPORARY, sync_dir};
use crate::error::{StoreError, io_error};
use crate::key::NodeKey;
use crate::record::{self, Record};
use crate::segment::{self, Failure, Segment};
use crate::snapshot;
use crate::timings::Timings;
use consensus::{Entry, HardState, Persist, Snapshot, Stable};
use rustix::fs::FlockOperation;
use shape::Shape;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A segment that has grown to this is closed, and a new one begun.
const SEGMENT_SIZE: u64 = 8 << 20;
/// A batch larger than this is written in several frames.
const FRAME_SIZE: usize = 64 << 20;

/// What was found on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The newest hard state that was made durable.
    pub hard_state: HardState,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The entries after it, without a gap.
    pub entries: Vec<Entry>,
    /// The unfinished write that was cut off the end, if there was one.
    pub torn: Option<String>,
}

impl Recovered {
    /// What a member begins from; `None` if nothing was ever stored (then
    /// [`Store::bootstrap`] first).
    pub fn into_stable(self) -> Option<Stable> {
        let snapshot = self.snapshot?;
        Some(Stable { hard_state: self.hard_state, snapshot, entries: self.entries })
    }
}

/// The durable side of one Raft member. One process only; calls block on the disk.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    key: NodeKey,
    _lock: File,
    /// Older segments: number and highest index in them.
    closed: Vec<(u64, u64)>,
    /// `None` after a full disk: a new one is begun with the next write.
    active: Option<Segment>,
    /// Highest index in the active segment.
    active_last: u64,
    next_number: u64,
    shape: Shape,
    snapshot: u64,
    hard_state: HardState,
    /// The hard state in memory is newer than the one on disk.
    unwritten: bool,
    /// The next frame is the first of its segment: it repeats what older segments said.
    fresh: bool,
    poisoned: bool,
    timings: Arc<Timings>,
}

impl Store {
    /// Opens the store in `dir` (made if it is not there) and reads all of it. An unfinished write
    /// at the very end is cut off, with a warning.
    ///
    /// # Errors
    /// Damage, another key, a newer format, another process.
    pub fn open(dir: &Path, key: &NodeKey) -> Result<(Store, Recovered), StoreError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create", dir))?;
        let lock = lock(dir)?;
        let found = Found::list(dir)?;
        let snapshot = match found.snapshots.last() {
            Some(index) => Some(snapshot::read(&snapshot::path(dir, *index), key)?),
            None => None,
        };
        let replay = Replay::run(dir, key, &found.segments, snapshot.as_ref())?;
        let mut store = Store {
            dir: dir.to_owned(),
            key: key.clone(),
            _lock: lock,
            closed: replay.segments,
            active: None,
            active_last: 0,
            next_number: replay.next_number,
            shape: replay.shape,
            snapshot: snapshot.as_ref().map_or(0, |snapshot| snapshot.index),
            hard_state: replay.hard_state,
            unwritten: false,
            fresh: true,
            poisoned: false,
            timings: Arc::default(),
        };
        store.tidy(&found)?;
        store.timings.set(store.hard_state, store.shape.last());
        let recovered =
            Recovered { hard_state: store.hard_state, snapshot, entries: replay.entries, torn: replay.torn };
        Ok((store, recovered))
    }

    /// The first write of a new group: its common beginning.
    ///
    /// # Errors
    /// As for [`Store::persist`].
    pub fn bootstrap(&mut self, stable: &Stable) -> Result<(), StoreError> {
        self.persist(&[Persist {
            seq: 0,
            snapshot: Some(stable.snapshot.clone()),
            entries: stable.entries.clone(),
            hard_state: Some(stable.hard_state),
            must_sync: true,
        }])
    }

    /// Makes all of `batch` durable with one write and one sync (more only for snapshots and very
    /// large batches). What is not `must_sync` may wait in memory for the next that is.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing is lost; the same batch may be given again. Any other error:
    /// the store refuses all further writes until it is opened anew.
    pub fn persist(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { path: self.dir.clone() });
        }
        let before = (self.hard_state, self.unwritten);
        let result = self.write_batch(batch);
        match &result {
            Ok(()) => {
                self.timings.wrote(batch.iter().map(|persist| persist.entries.len()).sum());
                self.timings.set(self.hard_state, self.shape.last());
            }
            Err(StoreError::Full { .. } | StoreError::TooLarge { .. } | StoreError::Gap { .. }) => {
                (self.hard_state, self.unwritten) = before;
            }
            Err(_) => self.poisoned = true,
        }
        result
    }

    /// Writes what [`Store::persist`] kept in memory; for an orderly end.
    ///
    /// # Errors
    /// As for [`Store::persist`].
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if self.unwritten {
            self.persist(&[Persist {
                seq: 0,
                snapshot: None,
                entries: Vec::new(),
                hard_state: Some(self.hard_state),
                must_sync: true,
            }])?;
        }
        Ok(())
    }

    /// What it has done so far, to be looked at by others while it works.
    pub fn timings(&self) -> Arc<Timings> {
        self.timings.clone()
    }

    /// Bytes that the log takes on disk, so that its owner can tell when a snapshot pays.
    pub fn log_bytes(&self) -> u64 {
        let closed = self.closed.iter().map(|(number, _)| segment::path(&self.dir, *number));
        let closed: u64 = closed.filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum();
        closed + self.active.as_ref().map_or(0, Segment::length)
    }

    fn write_batch(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        let mut frame = Vec::new();
        let mut shape = self.shape.clone();
        let mut sync = false;
        for persist in batch {
            if let Some(snapshot) = &persist.snapshot {
                self.append(&mut frame, &shape)?;
                self.put_snapshot(snapshot, persist.hard_state)?;
                shape = self.shape.clone();
            }
            if let Some(hard_state) = persist.hard_state {
                self.unwritten |= hard_state != self.hard_state;
                self.hard_state = hard_state;
            }
            for entry in &persist.entries {
                if frame.len() > FRAME_SIZE {
                    self.append(&mut frame, &shape)?;
                }
                let bytes = entry.data.len();
                record::put_entry(&mut frame, entry).ok_or(StoreError::TooLarge { bytes })?;
                if !shape.append(entry.index, entry.term) {
                    return Err(StoreError::Gap { index: entry.index, last: shape.last() });
                }
            }
            sync |= persist.must_sync;
        }
        if !frame.is_empty() || (sync && self.unwritten) { self.write(&mut frame, &shape) } else { Ok(()) }
    }

    fn append(&mut self, frame: &mut Vec<u8>, shape: &Shape) -> Result<(), StoreError> {
        if frame.is_empty() { Ok(()) } else { self.write(frame, shape) }
    }

    /// Makes the records in `frame` durable, with the hard state; leaves it empty. `shape` is what
    /// the log is with them.
    fn write(&mut self, frame: &mut Vec<u8>, shape: &Shape) -> Result<(), StoreError> {
        if self.active.as_ref().is_some_and(|segment| segment.length() >= SEGMENT_SIZE) {
            self.close();
        }
        let active = match self.active.take() {
            Some(active) => self.active.insert(active),
            None => {
                let segment = Segment::create(&self.dir, self.next_number)?;
                self.next_number += 1;
                self.active_last = 0;
                self.fresh = true;
                self.active.insert(segment)
            }
        };
        let mut whole = Vec::with_capacity(frame.len() + 64);
        if self.fresh {
            self.shape.put(&mut whole);
        }
        whole.append(frame);
        // Never ahead of the entries that are on disk with it.
        let hard_state = HardState { commit: self.hard_state.commit.min(shape.last()), ..self.hard_state };
        record::put_hard_state(&mut whole, hard_state);
        let began = Instant::now();
        match active.append(&self.key, &whole) {
            Ok(()) => self.timings.writes.note(began.elapsed()),
            Err(Failure::Nothing(error)) => return Err(error),
            Err(Failure::Undone(error)) => {
                self.close();
                return Err(error);
            }
            Err(Failure::Unknown(error)) => {
                self.poisoned = true;
                return Err(error);
            }
        }
        self.fresh = false;
        self.unwritten = hard_state != self.hard_state;
        self.active_last = self.active_last.max(shape.last());
        self.shape = shape.clone();
        Ok(())
    }

    /// Ends the segment being written.
    fn close(&mut self) {
        if let Some(segment) = self.active.take() {
            self.closed.push((segment.number, self.active_last));
        }
    }

    /// Snapshot first, then a new segment that no longer needs the older ones, then these go: a
    /// crash between any two finds either state whole.
    fn put_snapshot(&mut self, snapshot: &Snapshot, hard_state: Option<HardState>) -> Result<(), StoreError> {
        if snapshot.index < self.snapshot {
            return Ok(());
        }
        snapshot::write(&self.dir, &self.key, snapshot)?;
        let older = self.snapshot;
        self.snapshot = snapshot.index;
        self.shape.take_snapshot(snapshot.index, snapshot.term);
        let hard_state = hard_state.unwrap_or(self.hard_state);
        self.hard_state = at_least(hard_state, snapshot);
        self.unwritten = true;
        self.close();
        self.restate()?;
        if older != 0 && older != snapshot.index {
            remove(&snapshot::path(&self.dir, older))?;
        }
        self.drop_obsolete()
    }

    /// Begins a segment with all that later frames build on.
    fn restate(&mut self) -> Result<(), StoreError> {
        let shape = self.shape.clone();
        self.write(&mut Vec::new(), &shape)
    }

    /// Removes segments whose entries the snapshot includes.
    fn drop_obsolete(&mut self) -> Result<(), StoreError> {
        let snapshot = self.snapshot;
        // From the front only: a younger segment may void what an older one says.
        while let Some((number, _)) = self.closed.first().copied().filter(|(_, last)| *last <= snapshot) {
            remove(&segment::path(&self.dir, number))?;
            self.closed.remove(0);
        }
        Ok(())
    }

    /// Finishes what a crash interrupted: older snapshots, segments that one of them made needless,
    /// temporary files.
    fn tidy(&mut self, found: &Found) -> Result<(), StoreError> {
        for path in &found.temporary {
            remove(path)?;
        }
        for index in found.snapshots.iter().rev().skip(1) {
            remove(&snapshot::path(&self.dir, *index))?;
        }
        if self.closed.first().is_some_and(|(_, last)| *last <= self.snapshot) {
            match self.restate() {
                Ok(()) => self.drop_obsolete()?,
                // The disk is full: tidying can wait, reading can't.
                Err(error) if error.is_full() => tracing::warn!("can't tidy the log: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A hard state never lies behind the snapshot that it goes with.
fn at_least(mut hard_state: HardState, snapshot: &Snapshot) -> HardState {
    if hard_state.term < snapshot.term {
        // No vote was given in a term that this member did not know of.
        hard_state = HardState { term: snapshot.term, vote: 0, commit: hard_state.commit };
    }
    hard_state.commit = hard_state.commit.max(snapshot.index);
    hard_state
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { path: dir.to_owned() }),
        Err(error) => Err(io_error("lock", &path)(error.into())),
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    fs::remove_file(path).map_err(io_error("remove", path))
}

/// The files of a store, each kind in order.
struct Found {
    snapshots: Vec<u64>,
    segments: Vec<u64>,
    temporary: Vec<PathBuf>,
}

impl Found {
    fn list(dir: &Path) -> Result<Found, StoreError> {
        let mut found = Found { snapshots: Vec::new(), segments: Vec::new(), temporary: Vec::new() };
        for file in fs::read_dir(dir).map_err(io_error("list", dir))? {
            let file = file.map_err(io_error("list", dir))?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(TEMPORARY) {
                found.temporary.push(file.path());
            } else if let Some(index) = snapshot::index_of(&name) {
                found.snapshots.push(index);
            } else if let Some(number) = segment::number_of(&name) {
                found.segments.push(number);
            }
        }
        found.snapshots.sort_unstable();
        found.segments.sort_unstable();
        Ok(found)
    }
}

/// The log as replayed from its segments.
#[derive(Default)]
struct Replay {
    segments: Vec<(u64, u64)>,
    next_number: u64,
    shape: Shape,
    hard_state: HardState,
    entries: Vec<Entry>,
    torn: Option<String>,
}

impl Replay {
    fn run(dir: &Path, key: &NodeKey, numbers: &[u64], snapshot: Option<&Snapshot>) -> Result<Replay, StoreError> {
        let mut replay = Replay { next_number: numbers.first().copied().unwrap_or(1), ..Replay::default() };
        for (at, number) in numbers.iter().enumerate() {
            if *number != replay.next_number {
                let path = segment::path(dir, replay.next_number);
                return Err(StoreError::Corrupt { path, offset: 0, why: "it is missing".to_owned() });
            }
            replay.segment(dir, key, *number, at + 1 == numbers.len())?;
        }
        let included = snapshot.map_or(0, |snapshot| snapshot.index);
        if replay.shape.base() > included {
            let why = format!("the log needs a snapshot of entry {}, and it is missing", replay.shape.base());
            return Err(StoreError::Corrupt { path: snapshot::path(dir, replay.shape.base()), offset: 0, why });
        }
        if let Some(snapshot) = snapshot {
            replay.shape.take_snapshot(snapshot.index, snapshot.term);
            replay.hard_state = at_least(replay.hard_state, snapshot);
        }
        let (base, last) = (replay.shape.base(), replay.shape.last());
        replay.entries.retain(|entry| base < entry.index && entry.index <= last);
        Ok(replay)
    }

    fn segment(&mut self, dir: &Path, key: &NodeKey, number: u64, last: bool) -> Result<(), StoreError> {
        let path = segment::path(dir, number);
        let contents = segment::read(&path, number, key, last)?;
        let mut highest = 0;
        for (offset, frame) in contents.frames {
            let corrupt = |why: String| StoreError::Corrupt { path: path.clone(), offset, why };
            let records = record::read_all(frame).ok_or_else(|| corrupt("a frame holds no records".to_owned()))?;
            for record in records {
                self.record(record).map_err(corrupt)?;
                highest = highest.max(self.shape.last());
            }
        }
        let kept = match contents.torn {
            Some((offset, why)) => {
                if offset > 0 {
                    let torn = format!("{}: {why} at byte {offset}: an unfinished write, cut off", path.display());
                    tracing::warn!("{torn}");
                    self.torn = Some(torn);
                }
                segment::repair(dir, &path, offset)?
            }
            None if last => {
                // A daemon that was killed may have written, but not synced, what was just read.
                let kept = segment::repair(dir, &path, contents.end)?;
                sync_dir(dir)?;
                kept
            }
            None => true,
        };
        if kept {
            self.segments.push((number, highest));
            self.next_number = number + 1;
        }
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::HardState(hard_state) => self.hard_state = hard_state,
            Record::Reset { index, term } => {
                self.shape.reset(index, term);
                self.entries.clear();
            }
            Record::Entry(entry) => {
                let last = self.shape.last();
                if !self.shape.append(entry.index, entry.term) {
                    return Err(format!("entry {} follows entry {last}", entry.index));
                }
                let keep = entry.index - self.shape.base() - 1;
                self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
                self.entries.push(entry);
            }
        }
        Ok(())
    }
}
