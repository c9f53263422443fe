//! Everything that people may write in a short form. The first byte chooses a key of a service, the rest
//! is its value; what has a parser of its own is asked directly as well.
#![no_main]

use compose::{FileError, FileErrorKind, Files, Input};
use libfuzzer_sys::fuzz_target;

/// Keys with `@` where the value goes.
const KEYS: &[&str] = &[
    "ports: [@]",
    "expose: [@]",
    "volumes: [@]",
    "tmpfs: [@]",
    "devices: [@]",
    "device_cgroup_rules: [@]",
    "environment: [@]",
    "labels: [@]",
    "env_file: [@]",
    "extra_hosts: [@]",
    "sysctls: [@]",
    "ulimits: {nofile: @}",
    "dns: [@]",
    "command: @",
    "entrypoint: @",
    "healthcheck: {test: @}",
    "healthcheck: {test: 'true', interval: @}",
    "stop_grace_period: @",
    "stop_signal: @",
    "mem_limit: @",
    "shm_size: @",
    "cpus: @",
    "cpuset: @",
    "user: @",
    "restart: @",
    "network_mode: @",
    "pid: @",
    "ipc: @",
    "security_opt: [@]",
    "cap_add: [@]",
    "configs: [@]",
    "secrets: [@]",
    "depends_on: [@]",
    "image: @",
    "logging: {options: {max-size: @}}",
    "deploy: {placement: {constraints: [@]}}",
    "deploy: {resources: {limits: {cpus: @}}}",
    "deploy: {resources: {limits: {memory: @}}}",
    "deploy: {update_config: {delay: @}}",
    "deploy: {labels: [@]}",
    "networks: [@]",
    "links: [@]",
    "external_links: [@]",
    "volumes_from: [@]",
    "extends: @",
    "build: @",
    "build: {args: [@]}",
    "build: {ssh: [@]}",
    "build: {extra_hosts: [@]}",
    "gpus: @",
    "annotations: [@]",
    "label_file: @",
    "dns_search: @",
    "group_add: [@]",
    "pull_policy: @",
    "platform: @",
    "mac_address: @",
    "uts: @",
    "userns_mode: @",
    "configs: [{source: c, mode: @}]",
    "ports: [{target: 80, published: @}]",
    "blkio_config: {device_read_bps: [{path: /dev/a, rate: @}]}",
];

struct One(String);

impl Files for One {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        match self.exists(path) {
            true => Ok(self.0.clone().into_bytes()),
            false => Err(FileError { kind: FileErrorKind::NotFound, message: "not there".to_owned() }),
        }
    }

    fn exists(&self, path: &str) -> bool {
        path == "/p/compose.yaml"
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    parsers(text);
    let key = KEYS[usize::from(*choice) % KEYS.len()];
    let quoted = format!("'{}'", text.replace('\'', "''").replace('$', "$$"));
    let image = if key.starts_with("image") { "" } else { "    image: i\n" };
    let compose = format!("services:\n  a:\n{image}    {}\n", key.replace('@', &quoted));
    let files = One(compose);
    let loaded = compose::load(&Input::new("/p", &files));
    assert!(loaded.stack.is_some() || !loaded.diagnostics.is_empty(), "a refusal says why");
});

fn parsers(text: &str) {
    let _refused = compose::short::ports(text);
    if let Ok((first, last)) = compose::short::port_range(text) {
        assert!(first <= last);
    }
    let _refused = compose::short::words(text);
    let _refused = compose::units::duration(text);
    let _refused = compose::units::bytes(text);
}
