//! What the kernel still does for the programs of a container, as the kernel tells it.

use crate::lab::*;
use overlay_net::Pending;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// What gets lost of what a container says by TCP: all but that it has heard.
const LOSSY: &str =
    "table inet lossy { chain output { type filter hook output priority 0; tcp flags & (psh | fin) != 0 drop; }; }";

#[test]
fn calls_that_nobody_took_and_answers_that_nobody_got() {
    on_a_host(|| {
        let mut daemon = Daemon::new();
        let net = daemon.network(1, "10.225.1.0/24", false);
        let task = daemon.container(2, &[net]);
        daemon.apply_clean();
        let address = SocketAddr::new(daemon.address(task), 80);
        let place = overlay_net::netns_path(daemon.run_root(), task);
        let now = || Pending::of(&place).unwrap();
        let soon = |what: &dyn Fn(&Pending) -> bool| {
            (0..200).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                what(&now())
            })
        };
        let nothing = now();
        assert!(nothing.has_arrived(&nothing) && !nothing.is_sending());

        let listener = daemon.inside(task, || TcpListener::bind(address).unwrap());
        let mut caller = TcpStream::connect(address).unwrap();
        assert!(soon(&|now| !nothing.has_arrived(now)), "nobody has accepted it");
        let (mut accepted, _) = listener.accept().unwrap();
        assert!(soon(&|now| nothing.has_arrived(now)));
        drop(listener);

        daemon.inside(task, || drop(nft(LOSSY)));
        caller.set_read_timeout(Some(SOON * 5)).unwrap();
        accepted.write_all(b"farewell").unwrap();
        drop(accepted);
        assert!(soon(&Pending::is_sending));
        daemon.inside(task, || drop(nft("delete table inet lossy")));
        let mut said = String::new();
        caller.read_to_string(&mut said).unwrap();
        assert_eq!(said, "farewell");
        assert!(soon(&|now| !now.is_sending()));
        daemon.finish();
    });
}
