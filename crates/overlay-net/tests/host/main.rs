//! One host's network, for real: every test lives in a network namespace of its own that plays the
//! host. Needs root; prints SKIP and passes without.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test may fail so")]

mod containers;
mod crashes;
mod dns;
mod hosts;
mod ingress;
mod lab;
mod mtu;
mod pending;
mod published;
mod relay;
mod vips;
mod wire;

/// Not a test of its own: the process that the others start as `netd`.
#[test]
fn netd_process() {
    if let Some(root) = std::env::var_os(lab::NETD) {
        let args = overlay_net::netd::NetdArgs { run_root: root.clone().into(), data_root: root.into() };
        let _code = overlay_net::netd::main(args);
        std::process::exit(0);
    }
}
