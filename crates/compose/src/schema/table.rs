//! The table of all keys, for `docs/compose.md`.

use super::{Done, Field, Kind, TOP};
use std::fmt::Write;

/// Text above the table.
const HEAD: &str = "\
# Compose keys

This table is made from the tables that the loader itself reads (`crates/compose/src/schema/`), and a test
keeps it in step: `UPDATE=1 cargo test -p compose --test keys` writes it anew.

*done*: it is done; *done, but*: values that are not are told with their place. *not yet*: the loader knows the
key and warns; the text says what happens instead.
*meaningless*: nothing to do here. Keys that are not in the table are errors, except those that start with
`x-`. `[]` stands for each item of a list, `*` for each name.

Editors check files against `compose.schema.json`, which is made from the same tables: put
`# yaml-language-server: $schema=PATH` on the first line. `rswarm config --explain KEY.PATH` tells where a
value came from.

| key | state |
|---|---|
";

/// The whole document.
pub(crate) fn markdown() -> String {
    let mut out = HEAD.to_owned();
    fields(TOP, "", &mut out);
    out
}

fn fields(fields: &'static [Field], path: &str, out: &mut String) {
    for field in fields {
        let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        let state = match field.done {
            Done::Yes => "done".to_owned(),
            Done::NotYet(instead) => format!("not yet: {instead}"),
            Done::But(exceptions) => format!("done, but {exceptions}"),
            Done::Only(values, instead) => format!("`{}` done; other values not yet: {instead}", values.join("`, `")),
            Done::Meaningless(why) => format!("meaningless: {why}"),
        };
        let _ = writeln!(out, "| `{path}` | {state} |");
        // what is in a key that is not done is not done either
        if matches!(field.done, Done::Yes | Done::But(_)) {
            inner(&field.kind, &path, out);
        }
    }
}

fn inner(kind: &Kind, path: &str, out: &mut String) {
    match kind {
        Kind::Object(inside) | Kind::Strict(inside) | Kind::Nullable(inside) | Kind::Short(_, inside) => {
            fields(inside, path, out);
        }
        Kind::Named(kind) => inner(kind, &format!("{path}.*"), out),
        Kind::Names(_, inside) => fields(inside, &format!("{path}.*"), out),
        Kind::List(kind, _) => inner(kind, &format!("{path}[]"), out),
        _ => {}
    }
}
