//! Every key of a Compose file: what it may hold, how it prints, and whether it is done here.
//! Checking, merging, printing, `docs/compose.md` and `docs/compose.schema.json` all read these
//! tables; their order is that of the output.

mod deploy;
mod json;
mod resources;
mod service;
mod table;

pub(crate) use deploy::DEVICES;
pub(crate) use json::schema as json_schema;
pub(crate) use resources::TOP;
pub(crate) use service::SERVICE;
pub(crate) use table::markdown;

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`, perhaps as text after interpolation.
    Flag,
    /// A whole number within bounds, perhaps as text.
    Whole(i64, i64),
    /// A number, perhaps as text.
    Number,
    /// A size in bytes: a number or text with a unit.
    Bytes,
    /// The same, but text only.
    TextBytes,
    /// Text such as `1m30s`.
    Duration,
    /// Permission bits: text or number, octal.
    FileMode,
    /// A command line: text, or a list of words.
    Command,
    /// The command of a health check: text, or a list.
    HealthTest,
    /// `KEY=value` list or mapping; null takes the value of the environment.
    Env,
    /// `KEY=value` list or mapping; null is empty.
    Labels,
    /// A mapping of text or numbers.
    Options,
    /// A mapping of texts.
    TextMap,
    /// A mapping of scalars, or lists of them.
    MultiOptions,
    /// A list of texts; equal ones by the given rule are one.
    Texts(Unique),
    /// One text or a list of them.
    OneOrMore(Unique),
    /// One text or a list of them; empty ones say nothing.
    Addresses,
    /// A list of texts or numbers.
    Loose(Unique),
    /// A mapping with known keys.
    Object(&'static [Field]),
    /// The same without `x-` keys.
    Strict(&'static [Field]),
    /// The same, but null is allowed.
    Nullable(&'static [Field]),
    /// A mapping with names as keys.
    Named(&'static Kind),
    /// A list.
    List(&'static Kind, Unique),
    /// A mapping with a short syntax.
    Short(Form, &'static [Field]),
    /// A list of names, or a mapping of names to options.
    Names(Form, &'static [Field]),
    /// `hostname=address` list or mapping.
    Hosts,
    /// Limits by name: a number or soft and hard.
    Ulimits,
    /// `true`, or the old mapping with a name.
    External,
    /// `all` or a number of devices.
    Count,
    /// `all`, or a list of device requests.
    Gpus,
    /// `default`, or `ID=PATH` entries.
    Ssh,
    /// Text or `true`/`false`, printed as text.
    TextOrFlag,
    /// Text or a whole number, printed as text.
    TextOrWhole,
}

/// The short syntaxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `8080:80/tcp`
    Port,
    /// `name:/target:ro`
    Mount,
    /// `/dev/x:/dev/y:rwm`
    Device,
    /// The name of a config.
    FileMount,
    /// The name of a secret, which has a usual place.
    Secret,
    /// A path.
    EnvFile,
    /// A service.
    Extends,
    /// A path.
    Include,
    /// A folder.
    Build,
    /// Services.
    DependsOn,
    /// Networks.
    Networks,
    /// Models.
    Models,
}

/// When two items of a list are the same, so that the later replaces the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unique {
    /// Never.
    No,
    /// Equal ones are a mistake.
    Once,
    /// Equal up to the first `=`.
    Key,
    /// Equal text or number.
    Value,
    /// Same target, address and protocol.
    Port,
    /// Same `target`.
    Target,
    /// Same `target`, which defaults to the source.
    Mount,
    /// Same `path`.
    Path,
    /// Same `subnet`.
    Subnet,
}

/// What rswarm does about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// Does it.
    Yes,
    /// Not yet; the text says what happens instead.
    NotYet(&'static str),
    /// These values, being what happens anyway; the text says what happens instead of others.
    Only(&'static [&'static str], &'static str),
    /// Does it but for some values, which are told of one by one; the text says which, and what happens instead.
    But(&'static str),
    /// Means nothing here; the text says why.
    Meaningless(&'static str),
}

/// What the reference prints for a key that nobody wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Nothing.
    Nothing,
    /// An empty mapping.
    Empty,
    /// Null, in JSON.
    Null,
    /// A hook without a command, in JSON.
    NoHook,
    /// All devices, unless they are named.
    AllDevices,
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: &'static str,
    /// The beginning of the name, which tells most names apart.
    beginning: u64,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Printed even when zero, false or empty.
    pub(crate) keep: bool,
    /// What is printed when nobody wrote it.
    pub(crate) absent: Absent,
    /// Must be there.
    pub(crate) required: bool,
    /// Done or not.
    pub(crate) done: Done,
}

const fn field(name: &'static str, kind: Kind) -> Field {
    let beginning = beginning(name.as_bytes());
    Field { name, beginning, kind, keep: false, absent: Absent::Nothing, required: false, done: Done::Yes }
}

impl Field {
    const fn keep(self) -> Field {
        Field { keep: true, ..self }
    }

    const fn absent(self, absent: Absent) -> Field {
        Field { absent, ..self }
    }

    const fn required(self) -> Field {
        Field { required: true, ..self }
    }

    const fn not_yet(self, instead: &'static str) -> Field {
        Field { done: Done::NotYet(instead), ..self }
    }

    const fn only(self, values: &'static [&'static str], instead: &'static str) -> Field {
        Field { done: Done::Only(values, instead), ..self }
    }

    const fn but(self, exceptions: &'static str) -> Field {
        Field { done: Done::But(exceptions), ..self }
    }

    const fn meaningless(self, why: &'static str) -> Field {
        Field { done: Done::Meaningless(why), ..self }
    }
}

/// Tables of so many keys are sorted, and looked up by halving.
const SORTED: usize = 40;

/// The first eight bytes of a name as a number that sorts as they do, for names that are known beforehand.
const fn beginning(name: &[u8]) -> u64 {
    let mut number = 0;
    let mut at = 0;
    while at < 8 {
        number = number << 8 | if at < name.len() { name[at] as u64 } else { 0 };
        at += 1;
    }
    number
}

/// The entry of a key.
pub(crate) fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    let mut start = [0; 8];
    let length = name.len().min(8);
    start[..length].copy_from_slice(&name.as_bytes()[..length]);
    let start = u64::from_be_bytes(start);
    if fields.len() < SORTED {
        return fields.iter().find(|field| field.beginning == start && field.name == name);
    }
    let order = |field: &Field| field.beginning.cmp(&start).then_with(|| field.name.cmp(name));
    fields.binary_search_by(order).ok().map(|at| &fields[at])
}

/// Where a key is printed among the others; those that nobody knows come last.
pub(crate) fn rank(fields: &[Field], name: &str) -> usize {
    // the one that the reference takes out of the order of names
    if name == "profiles" {
        return 0;
    }
    if fields.len() < SORTED {
        return fields.iter().position(|field| field.name == name).map_or(usize::MAX, |at| at + 1);
    }
    match find(fields, name) {
        // sorted by name, as the values that are ranked
        Some(_) => 1,
        None => usize::MAX,
    }
}

/// The keys that a mapping of this kind may have, where those are known.
pub(crate) fn keys_of(kind: &Kind) -> Option<&'static [Field]> {
    match kind {
        Kind::Object(fields) | Kind::Strict(fields) | Kind::Nullable(fields) | Kind::Short(_, fields) => Some(fields),
        _ => None,
    }
}

/// Both sides of a limit, in the order in which they are printed.
pub(crate) const LIMITS: &[Field] = &[field("soft", ANY_WHOLE), field("hard", ANY_WHOLE)];

const ANY_WHOLE: Kind = Kind::Whole(i64::MIN, i64::MAX);
const COUNT: Kind = Kind::Whole(0, u32::MAX as i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_tables_are_sorted() {
        assert!(SERVICE.len() >= SORTED && SERVICE.is_sorted_by(|a, b| a.name < b.name));
        for table in [TOP, DEVICES] {
            assert!(table.len() < SORTED);
        }
        assert!(SERVICE.iter().all(|field| find(SERVICE, field.name).is_some()));
        assert!(find(SERVICE, "imagee").is_none());
    }
}
