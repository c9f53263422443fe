//! Every diagnostic code with a title and an explanation, for `rswarm explain`.

/// One code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Such as `RS0104`.
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// What it means and what to do, some sentences.
    pub explanation: &'static str,
}

const fn code(code: &'static str, title: &'static str, explanation: &'static str) -> Code {
    Code { code, title, explanation }
}

/// All codes in order.
pub const ALL: &[Code] = &[
    code(
        "RS0100",
        "a file can't be read",
        "A Compose file, or one that it includes or extends from, is missing, is a folder, is not UTF-8 text, or \
         may not be read. Relative paths in `include` and `extends` start at the folder of the project that names \
         them; paths after `-f` start at the working folder.",
    ),
    code(
        "RS0101",
        "the text is not YAML",
        "The parser could not make sense of the file at this place. The cause often stands a line earlier: a \
         missing colon, a quote or bracket that is not closed, a tab in the indentation, or a value that must be \
         quoted because it starts with `*`, `&`, `!`, `%`, `@` or a backtick.",
    ),
    code(
        "RS0102",
        "a key stands twice in one mapping",
        "YAML has no rule for which of two equal keys counts, so the file is refused. The message names the first \
         place; remove one of the two, or merge their values.",
    ),
    code(
        "RS0103",
        "the file is too large, too deep, or repeats itself too often",
        "Files are bounded at 16 MiB, 100 levels, 400,000 values, as many again that aliases repeat and 500,000 that \
         `extends` copies; projects at 20,000 services and 96 MiB of files and filled-in variables. So a hostile file \
         can't use up the machine, and no real Compose file comes near.",
    ),
    code(
        "RS0104",
        "a key is not text",
        "Keys of mappings must be text. Numbers, `true`, `null`, lists and mappings as keys need quotes, or are a \
         sign of a missing colon or quote elsewhere.",
    ),
    code(
        "RS0105",
        "an alias refers to the value that it is part of",
        "An alias (`*name`) inside of the value with the anchor (`&name`) would go on for ever. Put the common \
         part beside it, under an `x-` key.",
    ),
    code(
        "RS0106",
        "`<<` does not get a mapping",
        "The merge key takes a mapping or a list of mappings, mostly as aliases: `<<: *base` or `<<: [*base, \
         *more]`.",
    ),
    code(
        "RS0108",
        "the file is not a mapping",
        "A Compose file is a mapping with keys such as `services`, `networks` and `volumes`.",
    ),
    code(
        "RS0109",
        "the file, or one of its documents, is empty",
        "Nothing in it says what to run. Start with `services:`. A `---` begins another document, which must not be \
         empty either.",
    ),
    code(
        "RS0110",
        "there is no Compose file",
        "Without `-f`, the files compose.yaml, compose.yml, docker-compose.yml and docker-compose.yaml are looked \
         for in the working folder and in those above it. `COMPOSE_FILE` can name others.",
    ),
    code(
        "RS0201",
        "a template is not valid",
        "Variables are written `$NAME` or `${NAME}`, with `:-` or `-` for a default, `:?` or `?` for an error, \
         `:+` or `+` for a replacement. A plain dollar sign is written `$$`.",
    ),
    code(
        "RS0202",
        "a required variable has no value",
        "The file says `${NAME:?reason}` or `${NAME?reason}`, and nothing sets the variable. Values come from the \
         environment, then from `--env-file`, else from the `.env` file of the project folder.",
    ),
    code(
        "RS0203",
        "a variable is not set",
        "Nothing sets the variable, so it becomes an empty text, which may not be what was meant. Set it, or write \
         `${NAME:-default}`. Where a dollar sign is meant, write `$$`.",
    ),
    code(
        "RS0204",
        "an env file is wrong",
        "A line of an env file is no assignment: write `NAME=value`, with quotes around values with spaces at the \
         ends, line breaks or `#`.",
    ),
    code(
        "RS0205",
        "an env file can't be read",
        "An env file is missing or can't be read. In `env_file`, the long form with `required: false` allows for \
         one that may be missing.",
    ),
    code("RS0206", "a template grows too large", "Templates may be nested 30 deep and become 4 MiB long."),
    code(
        "RS0301",
        "unknown key",
        "Nobody knows this key here; a typing error, a wrong indentation, or a key of another tool. Keys of your \
         own start with `x-`. See docs/compose.md for all keys.",
    ),
    code(
        "RS0302",
        "a value has the wrong type",
        "The key needs another type of value. A number where text is expected needs quotes; `key:` without a value \
         is null and mostly not allowed.",
    ),
    code("RS0303", "a value is none of the allowed words", "The key takes one of a few words; the hint names them."),
    code("RS0304", "a number is out of range", "The number is too small or too large for the key."),
    code("RS0305", "something required is missing", "A mapping lacks a key without which it means nothing."),
    code(
        "RS0306",
        "a name has characters that are not allowed",
        "Names of services, networks, volumes, configs and secrets are made of letters, digits, `.`, `_` and `-`.",
    ),
    code(
        "RS0307",
        "not a duration",
        "Durations are numbers with units: `500ms`, `30s`, `1m30s`, `2h`, `1d`. A bare number is not accepted, as \
         its unit would be a guess.",
    ),
    code(
        "RS0308",
        "not a size",
        "Sizes are numbers of bytes, or numbers with `k`, `m`, `g` or `t` (powers of 1024), perhaps followed by \
         `b`.",
    ),
    code(
        "RS0309",
        "not a port",
        "The short form is `[[ADDRESS:]PUBLISHED:]TARGET[/PROTOCOL]`; each port may be a range, and both ranges \
         must have the same length.",
    ),
    code(
        "RS0310",
        "not a mount",
        "The short form is `[SOURCE:]TARGET[:OPTIONS]`. A source that starts with `/`, `.` or `~` is a path of the \
         host, any other is the name of a volume. An empty part is often a variable that is not set.",
    ),
    code("RS0311", "not a device", "The short form is `SOURCE[:TARGET[:PERMISSIONS]]`."),
    code(
        "RS0312",
        "a command can't be split into words",
        "The text has a quote or backslash that is not closed. A list of words avoids the question.",
    ),
    code(
        "RS0313",
        "a part of a command is dropped",
        "A command that is written as a text is split into words, and no shell runs it. As in Docker Compose, it ends at \
         the first `;`, `&`, `|`, `<` or `>` outside of quotes. Write a list with a shell to run it: \
         `[\"sh\", \"-c\", \"a | b\"]`.",
    ),
    code(
        "RS0314",
        "not an assignment",
        "Entries of `environment` and of `args` are `NAME=value`, without a space before the `=`.",
    ),
    code(
        "RS0315",
        "not a host entry",
        "Entries of `extra_hosts` are `name=address` or `name:address`; the address `host-gateway` means the host.",
    ),
    code("RS0316", "something is named twice", "The list must not have the same item twice."),
    code(
        "RS0317",
        "not a limit",
        "Limits have names of small letters such as `nofile`, and a number, or `soft` and `hard` numbers; -1 means \
         unlimited.",
    ),
    code(
        "RS0318",
        "not an address of a host",
        "The `host_ip` of a port is an IP address of the host; names are not looked up.",
    ),
    code(
        "RS0319",
        "an address or subnet of a network is wrong",
        "The text is no IP address of its family, no subnet in the form `10.5.0.0/16`, or lies outside of the subnet that \
         it belongs to.",
    ),
    code(
        "RS0401",
        "the service to extend is not there",
        "`extends` names a service that the same file, or the file beside it in `file:`, does not have. Services \
         of other `-f` files can't be extended without naming their file.",
    ),
    code(
        "RS0402",
        "services extend each other in a circle",
        "Following `extends` from service to service comes back to the start, so there is nothing to begin with.",
    ),
    code(
        "RS0403",
        "files include each other in a circle",
        "Following `include` from file to file comes back to a file that is being read.",
    ),
    code(
        "RS0405",
        "a remote file can't be included",
        "Files over the network or from git are not fetched, so that loading a project never depends on the \
         network. Fetch the file and include the copy.",
    ),
    code(
        "RS0501",
        "a service has no image",
        "A service needs an `image`. One with only a `build` is accepted, but the image must have been made \
         elsewhere, as nothing is built yet.",
    ),
    code(
        "RS0502",
        "a network is not defined",
        "The service joins a network that the top-level `networks:` does not list. The name `default` is always \
         there.",
    ),
    code(
        "RS0503",
        "a volume is not defined",
        "The service mounts a named volume that the top-level `volumes:` does not list. A path of the host starts \
         with `/`, `./` or `~`.",
    ),
    code("RS0504", "a secret is not defined", "The service uses a secret that the top-level `secrets:` does not list."),
    code(
        "RS0505",
        "a config or model is not defined",
        "The service uses a config or model that the top level does not list.",
    ),
    code(
        "RS0506",
        "a service is not defined",
        "A service is named that does not exist, or that no active profile has. With `required: false`, a \
         dependency may be missing.",
    ),
    code(
        "RS0507",
        "services wait for each other in a circle",
        "Following `depends_on` (or `links`, shared namespaces, `volumes_from`) comes back to the start, so \
         nothing could ever be started.",
    ),
    code("RS0508", "two keys exclude each other", "Two keys say incompatible things; keep one of them."),
    code(
        "RS0509",
        "two keys say different things",
        "An old and a new key for the same amount have different values, or a list lacks what another key says. \
         Keep one, or make them equal.",
    ),
    code(
        "RS0510",
        "a container name can't be unique",
        "Only one container can have a given name, so `container_name` does not go with several replicas, nor \
         twice in one project.",
    ),
    code(
        "RS0511",
        "a port is published twice",
        "Two services (or one twice) publish the same port of the same address and protocol; the second could not \
         start. Change one, or bind them to different addresses.",
    ),
    code("RS0512", "two things are mounted at one place", "Of two mounts with the same target only one would be seen."),
    code(
        "RS0513",
        "a reservation is above the limit",
        "More memory or CPU is reserved for a task than its limit lets it use; it could never be placed sensibly.",
    ),
    code(
        "RS0514",
        "subnets overlap",
        "Two networks of the project have subnets that share addresses, so packets could not be routed.",
    ),
    code(
        "RS0515",
        "an external resource is described",
        "`external: true` says that something else made the resource; then only `name` can be said about it. For \
         volumes this is an error, as in Docker Compose; for others the description is ignored with a warning.",
    ),
    code(
        "RS0516",
        "a config or secret has no content",
        "Say where the content comes from: `file`, `environment` (or `content`, for configs), or `external: true`.",
    ),
    code(
        "RS0517",
        "the project name is not allowed",
        "Project names are made of lower-case letters, digits, `-` and `_`, and start with a letter or digit. They \
         come from `-p`, `COMPOSE_PROJECT_NAME`, `name:` or the folder.",
    ),
    code(
        "RS0518",
        "a health check starts with no known word",
        "As a list, `test` starts with CMD, CMD-SHELL or NONE. As a text it is run by a shell.",
    ),
    code(
        "RS0519",
        "replicas would publish the same port of their host",
        "With `mode: host`, each replica publishes the port on the host that it runs on, and two on one host would \
         collide.",
    ),
    code(
        "RS0520",
        "two services want one container name",
        "Only one container can have a given name. Change one `container_name`, or remove it: containers have names of \
         their own.",
    ),
    code(
        "RS0521",
        "a placement constraint makes no sense",
        "A constraint compares what a node has with a value: `node.id`, `node.hostname`, `node.role` (manager or \
         worker), `node.platform.os`, `node.platform.arch`, `node.labels.KEY` or `engine.labels.KEY`, then `==` or \
         `!=`, then the value. One that is written otherwise fits no node, so the service would never run.",
    ),
    code(
        "RS0522",
        "no node can satisfy the placement",
        "Constraints of one service contradict each other, or they leave one node that may not have as many replicas \
         as the service wants. Its tasks would wait for ever.",
    ),
    code(
        "RS0601",
        "a value means nothing to rswarm",
        "The key takes one of a few words or a number within bounds; the hint names them.",
    ),
    code("RS0602", "the target of a mount is not absolute", "Targets are paths in the container and start with `/`."),
    code(
        "RS0603",
        "the permissions of a device are wrong",
        "Permissions are some of the letters r (read), w (write) and m (mknod).",
    ),
    code("RS0604", "the target of a port is wrong", "The port in the container is a number from 1 to 65535."),
    code(
        "RS0605",
        "a kind of mount, port or driver is not done yet",
        "Mounts of the types image, cluster and npipe, the protocol sctp, and drivers of networks and volumes other \
         than the built-in ones are not done yet; the service would not be what the file says, so it is refused.",
    ),
    code(
        "RS0606",
        "the content of a config, secret or profile can't be read",
        "The file that holds the content is missing or can't be read, or is no seccomp profile in JSON. Files are \
         read on the machine where the command runs.",
    ),
    code(
        "RS0607",
        "the variable of a config or secret is not set",
        "The content comes from a variable that nothing sets.",
    ),
    code(
        "RS0608",
        "a config or secret is too large",
        "Contents are part of the cluster's replicated state and may have 1 MiB. Mount larger files as a volume or \
         bind.",
    ),
    code(
        "RS0609",
        "an owner is not a number",
        "`uid` and `gid` of configs and secrets are numbers; names are not looked up in the image.",
    ),
    code(
        "RS0610",
        "a name that nothing can have",
        "Names of networks, volumes, configs and secrets are made of letters, digits, `_`, `.` and `-`, and begin with a \
         letter or digit: they become names of folders and links.",
    ),
    code(
        "RS0701",
        "a key is not done yet",
        "rswarm knows the key but does not act on it yet; the message says what happens instead. docs/compose.md \
         lists all such keys.",
    ),
    code(
        "RS0702",
        "a mount option is not known",
        "The options after the second colon of a mount are `ro`, `rw`, `nocopy`, `z`, `Z` and the ways in which mounts \
         spread. As in Docker Compose, others are ignored.",
    ),
    code(
        "RS0801",
        "the digest of an image can't be had",
        "`config --resolve-image-digests` asks the registry of each image for what its tag means now. The registry \
         does not have it, denies it or can't be reached, or the image has no valid name.",
    ),
];

/// The entry of a code; case does not matter.
pub fn find(code: &str) -> Option<&'static Code> {
    ALL.iter().find(|entry| entry.code.eq_ignore_ascii_case(code))
}

/// Is a code about what the file says right, but could not run? Docker Compose leaves such things
/// to the moment when a container starts.
pub(crate) fn is_about_running(code: &str) -> bool {
    const CODES: [&str; 9] = ["RS0317", "RS0319", "RS0511", "RS0513", "RS0514", "RS0519", "RS0520", "RS0521", "RS0522"];
    CODES.contains(&code) || code.starts_with("RS06")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_found() {
        assert!(ALL.is_sorted_by(|a, b| a.code < b.code));
        assert_eq!(find("rs0511").map(|entry| entry.title), Some("a port is published twice"));
        assert_eq!(find("RS9999"), None);
    }
}
