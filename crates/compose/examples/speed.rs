//! How long loading takes: a project of many services, made up here, or the files that are named.
//! `cargo run --release -p compose --example speed [SERVICES | FILE...]`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program that measures"
)]

use compose::{FileError, FileErrorKind, Files, Input, load};
use std::fmt::Write;
use std::time::Instant;

/// How often a load is repeated; the quickest counts, because others may use the machine too.
const ROUNDS: usize = 10;

/// Disk, with one file that is made up.
struct Source(String);

impl Files for Source {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        if path == "-" {
            return Ok(self.0.clone().into_bytes());
        }
        let failed = |error: std::io::Error| FileError {
            kind: match error.kind() {
                std::io::ErrorKind::NotFound => FileErrorKind::NotFound,
                _ => FileErrorKind::Other,
            },
            message: error.to_string(),
        };
        std::fs::read(path).map_err(failed)
    }

    fn exists(&self, path: &str) -> bool {
        std::path::Path::new(path).exists()
    }
}

/// About 500 bytes a service, as people write them.
fn project(services: usize) -> String {
    let mut text = "name: speed\nservices:\n".to_owned();
    for n in 0..services {
        let before = n.saturating_sub(1);
        let (low, high) = (n / 200, n % 200);
        let _ = write!(
            text,
            "  service-{n}:\n    image: registry.example.com/team/service-{n}:1.{n}\n    command: [\"/bin/server\", \
             \"--listen\", \"0.0.0.0:8080\"]\n    environment:\n      LOG_LEVEL: ${{LOG_LEVEL:-info}}\n      DATABASE_URL: \
             postgres://user@db-{n}/app\n      PEER: service-{before}\n    ports:\n      - \"127.{low}.{high}.1:8080:80\"\n    \
             volumes:\n      - data-{n}:/var/lib/data\n    networks: [front]\n    healthcheck:\n      test: [\"CMD\", \
             \"true\"]\n      interval: 10s\n    deploy:\n      replicas: 2\n      resources:\n        limits: {{memory: 64M}}\n    \
             labels:\n      com.example.team: core\n",
        );
    }
    text.push_str("networks:\n  front:\nvolumes:\n");
    (0..services).for_each(|n| _ = writeln!(text, "  data-{n}:"));
    text
}

fn measure(name: &str, bytes: usize, input: &Input<'_>) {
    let mut best = f64::MAX;
    let mut found = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let loaded = load(input);
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
        found = loaded.diagnostics.len();
    }
    println!("{name}: {bytes} bytes, {found} diagnostics, best of {ROUNDS}: {best:.1} ms");
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let cwd = std::env::current_dir().unwrap().into_os_string().into_string().unwrap();
    let services = match args.as_slice() {
        [] => Some(2000),
        [number] => number.parse().ok(),
        _ => None,
    };
    let source = Source(services.map(project).unwrap_or_default());
    let mut input = Input::new(cwd, &source);
    if let Some(services) = services {
        input.files = vec!["-".to_owned()];
        return measure(&format!("{services} services"), source.0.len(), &input);
    }
    for file in args {
        let bytes = std::fs::metadata(&file).map_or(0, |found| usize::try_from(found.len()).unwrap_or(0));
        input.files = vec![file.clone()];
        measure(&file, bytes, &input);
    }
}
