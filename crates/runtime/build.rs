//! Builds `init/main.rs`, the PID 1 of containers with `init: true`: a static program without libc, so
//! that it runs in any image.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=init/main.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let out = PathBuf::from(variable("OUT_DIR")).join("init");
    let linker = std::env::var(format!("CARGO_TARGET_{}_LINKER", variable("TARGET").to_uppercase().replace('-', "_")));
    let mut command = Command::new(variable("RUSTC"));
    command
        .args(["--edition=2024", "--crate-name=init", "--crate-type=bin", "--target", &variable("TARGET")])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Crelocation-model=static", "-Cstrip=symbols"])
        .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static"])
        // Few pages, none of them both writable and executable.
        .args(["-Clink-arg=-Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096"]);
    if let Ok(linker) = linker {
        command.arg(format!("-Clinker={linker}"));
    }
    let status = command.arg("init/main.rs").arg("-o").arg(&out).status();
    assert!(status.is_ok_and(|status| status.success()), "could not build init/main.rs");
}
