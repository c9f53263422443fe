//! A log as it may lie on the disk: torn, written by Docker, exchanged, compressed. It is read whatever it
//! holds, and the last lines are what the end of all lines is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::logs::{Cursor, LogQuery, LogRecord};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static LAB: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("log.json");
    (folder, path)
});

fuzz_target!(|bytes: &[u8]| {
    let (folder, path) = &*LAB;
    let (older, newer) = bytes.split_at(bytes.first().map_or(0, |at| usize::from(*at).min(bytes.len())));
    std::fs::write(folder.path().join("log.json.1"), older).expect("a disk");
    std::fs::write(folder.path().join("log.json.2.gz"), older).expect("a disk");
    std::fs::write(path, newer).expect("a disk");
    let every = read(path, &LogQuery::default());
    for tail in [0, 1, 5] {
        let last = read(path, &LogQuery { tail: Some(tail), ..LogQuery::default() });
        assert!(last.len() <= every.len());
        assert!(tail > 0 || last.is_empty());
    }
});

fn read(path: &Path, query: &LogQuery) -> Vec<LogRecord> {
    let Ok(mut cursor) = Cursor::open(path, query) else { return Vec::new() };
    let mut records = Vec::new();
    while let Ok(batch) = cursor.batch()
        && !batch.is_empty()
    {
        records.extend(batch);
    }
    records
}
