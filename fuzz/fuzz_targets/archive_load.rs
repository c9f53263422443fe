//! An archive of `docker save` or an OCI layout: loaded or refused, and nothing outside of the store is
//! touched. Needs root.
#![no_main]

use image::{Limits, Options, Store, Uses};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::LazyLock;

static LAB: LazyLock<(tempfile::TempDir, Store)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut options = Options::new(folder.path().join("images"), Vec::new());
    options.limits = Limits { layer_bytes: 16 << 20, ratio_from: 1 << 20, overhead: 16 << 20, ..Limits::default() };
    (folder, Store::open(options).expect("a store"))
});

fuzz_target!(|bytes: &[u8]| {
    let (folder, store) = &*LAB;
    let mut source = bytes;
    let _refused = store.load(&mut source);
    store.prune(true, &Uses::new()).expect("nothing uses it");
    assert_eq!(entries(folder.path()), 1, "only the store is there");
    for place in ["layers", "staging", "blobs"] {
        assert_eq!(entries(&folder.path().join("images").join(place)), 0, "{place} is empty");
    }
});

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("the folder is there").count()
}
