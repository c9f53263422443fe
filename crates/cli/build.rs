//! Links what is released to fixed addresses, as containerd and runc of Debian are: a program that moves has 40,000
//! addresses to mend at each start, which is half of what `config` takes, and no process shares the pages that they
//! are on. What is lost: where the program's own code is can be known. Stack, heap and libraries move still.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
