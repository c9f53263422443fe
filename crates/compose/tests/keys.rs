//! `docs/compose.md` says what the code does.

#![allow(clippy::disallowed_methods, reason = "a test reads and writes a document")]

#[test]
fn the_table_of_keys_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compose.md");
    let wanted = compose::keys_markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &wanted).expect("docs/ can be written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == wanted, "docs/compose.md is out of date; run UPDATE=1 cargo test -p compose --test keys");
}
