//! `docs/compose.md` and `docs/compose.schema.json` say what the code does.

#![allow(clippy::disallowed_methods, reason = "a test reads and writes a document")]

#[track_caller]
fn in_step(name: &str, wanted: &str) {
    let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, wanted).expect("docs/ can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/{name} is out of date; run UPDATE=1 cargo test -p compose --test keys");
}

#[test]
fn the_table_of_keys_is_up_to_date() {
    in_step("compose.md", &compose::keys_markdown());
}

#[test]
fn the_schema_for_editors_is_up_to_date() {
    in_step("compose.schema.json", &compose::json_schema());
}
