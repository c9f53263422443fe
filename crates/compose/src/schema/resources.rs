//! Keys of the file itself, networks, volumes, configs, secrets.

use super::{Absent, COUNT, Field, Form, Kind, SERVICE, Unique, field};

/// A network.
const NETWORK: &[Field] = &[
    field("name", Kind::Text).keep(),
    field("driver", Kind::Text).but("others than `bridge`, `overlay` and `default` are refused"),
    field("driver_opts", Kind::Options).but("all options except `encrypted` are ignored"),
    field("ipam", Kind::Object(IPAM)).keep().absent(Absent::Empty),
    field("external", Kind::External),
    field("internal", Kind::Flag),
    field("attachable", Kind::Flag),
    field("labels", Kind::Labels),
    field("enable_ipv4", Kind::Flag).keep().only(&["true"], "every network has IPv4 addresses"),
    field("enable_ipv6", Kind::Flag).keep(),
];

const IPAM: &[Field] = &[
    field("driver", Kind::Text).only(&["default"], "addresses come from the built-in pools"),
    field("config", Kind::List(&Kind::Object(POOL), Unique::Subnet))
        .but("of the subnets of one family only the first counts"),
    field("options", Kind::TextMap).not_yet("the options are ignored"),
];

const POOL: &[Field] = &[
    field("subnet", Kind::Text),
    field("gateway", Kind::Text),
    field("ip_range", Kind::Text),
    field("aux_addresses", Kind::TextMap),
];

/// A volume.
const VOLUME: &[Field] = &[
    field("name", Kind::Text).keep(),
    field("driver", Kind::Text).but("others than `local` are refused"),
    field("driver_opts", Kind::Options),
    field("external", Kind::External),
    field("labels", Kind::Labels),
];

/// A config.
const CONFIG: &[Field] = &[
    field("name", Kind::Text).keep(),
    field("file", Kind::Text),
    field("environment", Kind::Text),
    field("content", Kind::Text),
    field("external", Kind::External),
    field("labels", Kind::Labels),
    field("template_driver", Kind::Text),
];

/// A secret.
const SECRET: &[Field] = &[
    field("name", Kind::Text).keep(),
    field("file", Kind::Text),
    field("environment", Kind::Text),
    field("external", Kind::External),
    field("labels", Kind::Labels),
    field("driver", Kind::Text).not_yet("secrets come from files and variables"),
    field("driver_opts", Kind::Options).not_yet("the options are ignored"),
    field("template_driver", Kind::Text),
];

const MODEL: &[Field] = &[
    field("name", Kind::Text),
    field("model", Kind::Text).required(),
    field("context_size", COUNT),
    field("runtime_flags", Kind::Texts(Unique::No)),
];

/// `include`.
const INCLUDE: &[Field] = &[
    field("path", Kind::OneOrMore(Unique::No)),
    field("env_file", Kind::OneOrMore(Unique::No)),
    field("project_directory", Kind::Text),
];

/// The file.
pub(crate) const TOP: &[Field] = &[
    field("version", Kind::Text).meaningless("every version is read alike"),
    field("name", Kind::Text),
    field("include", Kind::List(&Kind::Short(Form::Include, INCLUDE), Unique::No)),
    field("services", Kind::Named(&Kind::Object(SERVICE))),
    field("networks", Kind::Named(&Kind::Nullable(NETWORK))),
    field("volumes", Kind::Named(&Kind::Nullable(VOLUME))),
    field("secrets", Kind::Named(&Kind::Object(SECRET))),
    field("configs", Kind::Named(&Kind::Object(CONFIG))),
    field("models", Kind::Named(&Kind::Object(MODEL))).not_yet("no model is started"),
];
