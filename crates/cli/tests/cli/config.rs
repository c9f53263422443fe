//! `config --explain`, `config --resolve-image-digests`, and files that are meant to do harm.

use crate::fake::Fake;
use crate::stacks::write;
use crate::{run, snapshot};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FILE: &str = "name: shop\nservices:\n  web:\n    image: web:${TAG:-1}\n    ports: [\"${PORT}:80\"]\n";

#[test]
fn explain_tells_where_a_value_came_from() {
    let fake = Fake::new(|asked| panic!("{asked:?}"));
    write(&fake, FILE);
    std::fs::write(fake.root.path().join(".env"), "PORT=8080\n").unwrap();
    assert_eq!(
        run(&fake, &["config", "--explain", "services.web.ports[0].published"]),
        "exit 0\n-- out\nservices.web.ports[0].published: \"8080\"\n  part of the short form `${PORT}:80` at \
         compose.yaml:5:13\n  filled in from `${PORT}:80` at compose.yaml:5:13\n  `PORT` is `8080`, set by the \
         project's env file .env:1\n-- err\n"
    );
    let output = run(&fake, &["config", "--explain", "services.web.image"]);
    assert!(output.contains("`TAG` is not set or empty: its default is `1`"), "{output}");
    let output = run(&fake, &["config", "--explain", "services.web.prots"]);
    assert!(output.starts_with("exit 1\n-- out\n-- err\nerror: there is no `prots` in services.web"), "{output}");
    assert!(output.contains("did you mean `ports`"), "{output}");
}

/// What the registry has under the tag `1` of `team/web`, and its digest.
const INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const DIGEST: &str = "sha256:dff9de10919148711140d349bf03f1a99eb06f94b03e51715ccebfa7cdc518e2";

/// A registry without TLS; ends with the test. Gives its name.
fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let Ok(length) = stream.read(&mut head) else { continue };
            let line = String::from_utf8_lossy(&head[..length]).lines().next().unwrap_or_default().to_owned();
            let (status, body) = match line.split(' ').nth(1) {
                Some("/v2/") => ("200 OK", ""),
                Some("/v2/team/web/manifests/1") => ("200 OK", INDEX),
                Some(_) => ("404 Not Found", ""),
                // somebody tries whether there is TLS
                None => continue,
            };
            let _left = write!(
                stream,
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    name
}

#[test]
fn tags_are_pinned_to_what_the_registry_says() {
    let fake = Fake::new(|asked| panic!("{asked:?}"));
    let host = registry();
    let known = format!("{host}/team/web:1");
    write(
        &fake,
        &format!("services:\n  web: {{image: \"{known}\"}}\n  more: {{image: \"{known}\"}}\n  made: {{build: .}}\n"),
    );
    let resolve = ["config", "--resolve-image-digests", "--insecure-registry", &host];
    let output = run(&fake, &[&resolve[..], &["--images"]].concat());
    assert!(output.starts_with("exit 0\n"), "{output}");
    assert_eq!(output.matches(&format!("{known}@{DIGEST}\n")).count(), 2, "{output}");
    // what was printed is a file with the same meaning, in which every image is pinned already
    let pinned = run(&fake, &[&resolve[..], &["-o", "pinned.yaml"]].concat());
    assert!(pinned.starts_with("exit 0\n"), "{pinned}");
    let again = run(&fake, &["config", "-f", "pinned.yaml", "--resolve-image-digests", "--images"]);
    assert_eq!(again.matches(&format!("{host}/team/web@{DIGEST}\n")).count(), 2, "{again}");
}

#[test]
fn images_without_a_digest_are_told_with_their_places() {
    let fake = Fake::new(|asked| panic!("{asked:?}"));
    let host = registry();
    let file = format!("services:\n  a:\n    image: {host}/team/none:2\n  b:\n    image: ${{IMAGE:-No Image}}\n");
    write(&fake, &file);
    let output = run(&fake, &["config", "--resolve-image-digests", "--insecure-registry", &host]);
    let (first, second) = output.split_once("services.b.image").unwrap();
    assert!(first.starts_with("exit 1\n-- out\n-- err\n"), "{output}");
    assert!(
        first.contains(&format!("error[RS0801]: services.a.image: no digest of `{host}/team/none:2`: ")),
        "{output}"
    );
    assert!(first.contains("compose.yaml:3:12") && first.contains("hint: check the name"), "{output}");
    assert!(second.contains("no digest of `No Image`") && second.contains("compose.yaml:5:12"), "{output}");
}

/// `config -q` of a file, with 300 MiB of address space, program and libraries included.
fn bounded(fake: &Fake, text: &[u8]) -> String {
    std::fs::write(fake.root.path().join("hostile.yaml"), text).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 307200 && exec \"$0\" config -q -f hostile.yaml", env!("CARGO_BIN_EXE_rswarm")]);
    command.current_dir(fake.root.path()).env_clear().env("PATH", "/bin:/usr/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = snapshot(command.spawn().unwrap());
    // each takes less than a second on a machine that has nothing else to do
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    output
}

#[test]
fn files_that_are_meant_to_do_harm_end_soon_and_small() {
    let fake = Fake::new(|asked| panic!("{asked:?}"));
    let bomb = (1..12).fold("x-a0: &a0 {k: v}\n".to_owned(), |text, level| {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        text + &format!("x-a{level}: &a{level} [{list}]\n")
    });
    let many = |line: &str, times: usize| format!("services:\n{}", line.repeat(times));
    let cases: [(&str, Vec<u8>); 8] = [
        ("RS0103", bomb.into_bytes()),
        ("RS0101", format!("services: {}", "[".repeat(10_000)).into_bytes()),
        ("RS0103", "- ".repeat(10_000).into_bytes()),
        ("RS0103", many("  a: {image: i}\n", 600_000).into_bytes()),
        ("RS0103", format!("services: {{a: {{image: i, command: [{}]}}}}", "x,".repeat(5 << 20)).into_bytes()),
        (
            "RS0103",
            (0..1000)
                .fold("services:\n".to_owned(), |text, n| text + &format!("  s{n}: {{image: i, ports: ['1-65535']}}\n"))
                .into_bytes(),
        ),
        (
            "RS0206",
            format!("services: {{a: {{image: '{}{}'}}}}", "${A:-".repeat(10_000), "}".repeat(10_000)).into_bytes(),
        ),
        ("RS0100", b"services: {a: {image: i, hostname: caf\xe9}}".to_vec()),
    ];
    for (code, text) in cases {
        let output = bounded(&fake, &text);
        let told = output.starts_with("exit 1\n") && output.contains(&format!("error[{code}]"));
        assert!(told, "{code}: {}", output.chars().take(500).collect::<String>());
    }
}
