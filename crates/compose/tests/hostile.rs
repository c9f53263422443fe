//! Files from anywhere: a clear error, soon, and no crash.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test that measures")]

use compose::{FileError, FileErrorKind, Files, Input, Loaded, load};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

struct Memory(BTreeMap<String, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let missing = || FileError { kind: FileErrorKind::NotFound, message: "not there".to_owned() };
        self.0.get(path).cloned().ok_or_else(missing)
    }

    fn exists(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

fn load_all(files: &[(&str, &[u8])]) -> Loaded {
    let memory = Memory(files.iter().map(|(path, bytes)| (format!("/p/{path}"), bytes.to_vec())).collect());
    load(&Input::new("/p", &memory))
}

fn load_bytes(bytes: &[u8]) -> Loaded {
    load_all(&[("compose.yaml", bytes)])
}

/// Loads within a few seconds (debug builds on busy machines; release is far below one) and gives
/// the codes.
fn codes(bytes: &[u8]) -> Vec<String> {
    let start = Instant::now();
    let loaded = load_bytes(bytes);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "took {took:?}");
    loaded.diagnostics.into_iter().map(|d| d.code).collect()
}

#[test]
fn bombs_and_depths_end_early() {
    let mut bomb = "x-a0: &a0 {k: v}\n".to_owned();
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("x-a{level}: &a{level} [{list}]\n"));
    }
    assert_eq!(codes(bomb.as_bytes()), ["RS0103"]);
    let deep: String = (0..10_000).map(|_| "[").collect();
    assert_eq!(codes(format!("services: {deep}").as_bytes()).len(), 1);
    let maps: String = (0..10_000).map(|_| "{a: ").collect();
    assert_eq!(codes(maps.as_bytes()).len(), 1);
    let nested: String = "${A:-".repeat(10_000) + &"}".repeat(10_000);
    assert_eq!(codes(format!("services: {{a: {{image: '{nested}'}}}}").as_bytes())[0], "RS0206");
}

#[test]
fn large_files_are_read_or_refused() {
    let many: String = (0..15_000).map(|n| format!("  s{n}: {{image: i, environment: {{A: '{n}'}}}}\n")).collect();
    assert!(codes(format!("services:\n{many}").as_bytes()).is_empty());
    let more: String = (0..21_000).map(|n| format!("  s{n}: {{image: i}}\n")).collect();
    assert_eq!(codes(format!("services:\n{more}").as_bytes()), ["RS0103"]);
    let list = "services: {a: {image: i}}\nx-data:\n".to_owned() + &"  - [1, b, c]\n".repeat(200_000);
    assert_eq!(codes(list.as_bytes()), ["RS0103"]);
    assert_eq!(codes(&vec![b'#'; 17 << 20]), ["RS0100", "RS0109"][..1].to_vec());
    let lines = "services:\n  a:\n    image: i\n    command: [\n".to_owned() + &"x,\n".repeat(3000) + "]\n";
    assert!(codes(lines.as_bytes()).len() <= 1);
    let tabs: String = (0..100_000).map(|n| format!("  k{n}:\t'v'\n")).collect();
    assert_eq!(codes(format!("services: {{a: {{image: i}}}}\nx-data:\n{tabs}").as_bytes()), Vec::<String>::new());
    let lines: String = (0..100_000).map(|n| format!("  k{n}:\tv # '\n")).collect();
    assert_eq!(codes(format!("x-data:\n{lines}").as_bytes()), ["RS0101"]);
}

#[test]
fn small_files_can_not_become_large_projects() {
    let find = |files: &[(&str, &[u8])]| {
        let loaded = load_all(files);
        loaded.diagnostics.into_iter().map(|d| d.code).collect::<std::collections::BTreeSet<_>>()
    };
    let env = format!("A={}\n", "x".repeat(1 << 20));
    let uses: String = (0..2000).map(|n| format!("  s{n}: {{image: i, hostname: '$A'}}\n")).collect();
    let text = format!("services:\n{uses}");
    assert!(find(&[("compose.yaml", text.as_bytes()), (".env", env.as_bytes())]).contains("RS0206"));
    let uses: String = (0..2000).map(|n| format!("  s{n}: {{image: i, env_file: .env}}\n")).collect();
    let text = format!("services:\n{uses}");
    assert!(find(&[("compose.yaml", text.as_bytes()), (".env", env.as_bytes())]).contains("RS0205"));
    let labels: String = (0..3000).map(|n| format!("l{n}: x, ")).collect();
    let uses: String = (0..3000).map(|n| format!("  s{n}: {{extends: {{file: b.yaml, service: b}}}}\n")).collect();
    let (text, base) = (format!("services:\n{uses}"), format!("services: {{b: {{image: i, labels: {{{labels}}}}}}}"));
    assert!(find(&[("compose.yaml", text.as_bytes()), ("b.yaml", base.as_bytes())]).contains("RS0103"));
}

#[test]
fn short_forms_can_not_stand_for_too_much() {
    let ports: String = (0..1000).map(|n| format!("  s{n}: {{image: i, ports: ['1-65535']}}\n")).collect();
    let told = codes(format!("services:\n{ports}").as_bytes());
    assert_eq!(told.iter().filter(|code| *code == "RS0103").count(), 1, "told once, not for each range");
    assert!(codes(b"services: {a: {image: i, ports: ['1000-60000', '1000-60000/udp']}}").is_empty());
    let lines = "A=\n".repeat(1 << 20);
    let uses: &[u8] = b"services: {a: {image: i, env_file: big.env}}";
    let found = load_all(&[("compose.yaml", uses), ("big.env", lines.as_bytes())]).diagnostics;
    assert_eq!(found.iter().map(|d| d.code.as_str()).collect::<Vec<_>>(), ["RS0205"]);
    let networks: String = (0..15_000)
        .map(|n| format!("  n{n}: {{ipam: {{config: [{{subnet: 10.{}.{}.0/24}}]}}}}\n", n / 250, n % 250))
        .collect();
    assert!(codes(format!("services: {{a: {{image: i}}}}\nnetworks:\n{networks}").as_bytes()).is_empty());
}

#[test]
fn long_chains_are_told_in_a_line() {
    let chain = |last: &str| -> Loaded {
        let links: String = (0..15_000).map(|n| format!("  s{n}: {{extends: s{}}}\n", n + 1)).collect();
        load_bytes(format!("services:\n{links}  s15000: {last}\n").as_bytes())
    };
    for loaded in [chain("{image: i}"), chain("{extends: s0}")] {
        assert!(loaded.diagnostics.iter().all(|d| d.code == "RS0402" && d.message.len() < 200));
        assert!(loaded.diagnostics[0].message.contains("deep: "), "{}", loaded.diagnostics[0].message);
    }
    let waits: String =
        (0..15_000).map(|n| format!("  s{n}: {{image: i, depends_on: [s{}]}}\n", (n + 1) % 15_000)).collect();
    let loaded = load_bytes(format!("services:\n{waits}").as_bytes());
    assert_eq!(loaded.diagnostics.len(), 1);
    assert!(loaded.diagnostics[0].message.len() < 200 && loaded.diagnostics[0].code == "RS0507");
    let files: Vec<(String, String)> =
        (0..60).map(|n| (format!("i{n}.yaml"), format!("include: [i{}.yaml]\n", n + 1))).collect();
    let mut all: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
    all.push(("compose.yaml", b"include: [i0.yaml]\nservices: {a: {image: i}}\n"));
    let loaded = load_all(&all);
    assert!(loaded.diagnostics[0].message.starts_with("files include each other more than 30 deep: "));
}

#[test]
fn odd_bytes_are_told() {
    assert_eq!(codes(b"services: \xff\xfe"), ["RS0100"]);
    assert_eq!(codes(b""), ["RS0109"]);
    assert_eq!(codes(b"\0\0\0")[0], "RS0101");
    let wide: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("services: {a: {image: i}}".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert!(codes(&wide).is_empty());
    assert!(codes(b"\xef\xbb\xbfservices: {a: {image: i}}\r\n").is_empty());
}

#[test]
fn circles_are_found() {
    let find = |files: &[(&str, &[u8])]| load_all(files).diagnostics.into_iter().map(|d| d.code).collect::<Vec<_>>();
    let itself = b"include: [compose.yaml]\nservices: {a: {image: i}}\n";
    assert_eq!(find(&[("compose.yaml", itself)]), ["RS0403"]);
    let (one, two): (&[u8], &[u8]) = (b"include: [b.yaml]\nservices: {a: {image: i}}\n", b"include: [compose.yaml]\n");
    assert_eq!(find(&[("compose.yaml", one), ("b.yaml", two)]), ["RS0403"]);
    let extends = b"services: {a: {image: i, extends: b}, b: {image: i, extends: a}}";
    assert!(find(&[("compose.yaml", extends)]).iter().all(|code| code == "RS0402"));
    let far: (&[u8], &[u8]) = (
        b"services: {a: {image: i, extends: {file: b.yaml, service: a}}}",
        b"services: {a: {image: i, extends: {file: compose.yaml, service: a}}}",
    );
    assert_eq!(find(&[("compose.yaml", far.0), ("b.yaml", far.1)]), ["RS0402"]);
    let wait =
        b"services: {a: {image: i, depends_on: [b]}, b: {image: i, depends_on: [c]}, c: {image: i, depends_on: [a]}}";
    assert_eq!(find(&[("compose.yaml", wait)]), ["RS0507"]);
    assert!(find(&[("compose.yaml", b"services: {a: {image: 'i$A'}}"), (".env", b"A=$B\nB=$A\n")]).is_empty());
}

#[test]
fn two_thousand_services_load_quickly() {
    let mut text =
        "x-base: &base\n  restart: always\n  logging: {driver: json-file, options: {max-size: 10m}}\nservices:\n"
            .to_owned();
    for n in 0..2000 {
        text.push_str(&format!(
            "  service{n}:\n    <<: *base\n    image: registry.example/team/app{n}:${{TAG:-latest}}\n    command: [serve, --port, \"80{n}\"]\n    \
             environment:\n      - NAME=service{n}\n      - LEVEL=info\n      - OTHER={n}\n    ports: [\"{}:80\"]\n    volumes:\n      - data{n}:/var/lib/data\n      - ./conf/{n}:/etc/conf:ro\n    \
             networks: [front, back]\n    depends_on:\n      service{}: {{condition: service_started}}\n    \
             healthcheck:\n      test: [CMD, curl, -f, \"http://localhost\"]\n      interval: 10s\n    \
             deploy:\n      replicas: 2\n      resources: {{limits: {{cpus: \"0.5\", memory: 64M}}}}\n",
            10_000 + n,
            if n == 0 { 1999 } else { n - 1 },
        ));
    }
    let text = text.replacen("    depends_on:\n      service1999: {condition: service_started}\n", "", 1);
    let volumes: String = (0..2000).map(|n| format!("  data{n}:\n")).collect();
    let text = format!("{text}networks:\n  front:\n  back:\nvolumes:\n{volumes}");
    let start = Instant::now();
    let loaded = load_bytes(text.as_bytes());
    let took = start.elapsed();
    assert!(loaded.stack.is_some(), "{:?}", loaded.diagnostics.first());
    assert_eq!(loaded.stack.unwrap().services.len(), 2000);
    // the bar is 100 ms in release; debug builds on a busy machine get room
    assert!(took < Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 }), "took {took:?}");
    #[allow(clippy::print_stderr, reason = "the measure")]
    {
        eprintln!("{} bytes with 2,000 services in {took:?}", text.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = load_bytes(&bytes);
    }

    #[test]
    fn no_file_panics(
        keys in proptest::collection::vec(("[a-z_]{3,10}|image|ports|volumes|deploy|networks|environment|build|ulimits|depends_on|env_file|healthcheck|command|tmpfs|configs|devices|extends", "[^\n]{0,30}|\\[[a-z:/,0-9]{0,20}\\]|\\{[a-z]{1,5}: [a-z0-9]{0,5}\\}|[0-9:/\\-]{0,12}|!reset null|!override x"), 0..8),
    ) {
        let mut text = "services:\n  web:\n".to_owned();
        for (key, value) in keys {
            text.push_str(&format!("    {key}: {value}\n"));
        }
        let loaded = load_bytes(text.as_bytes());
        if let Some(project) = &loaded.project {
            let _ = (project.to_json(), project.to_yaml());
        }
        prop_assert!(loaded.stack.is_some() != loaded.has_errors());
    }
}
