//! Who moves packets, both ways: from the wire to the interface, then from the interface to the wire. What comes in
//! most often leads to an answer, which is there as soon as it is handed up; with a thread for each way the two would
//! wake each other for every row of packets, and wait for each other's hold of the peer.
//!
//! There are several, each with a queue of the interface and a socket of its own, and a peer is one worker's (`steer`): so
//! its order is kept, and many peers are spread over the cores.

use super::inward::Inward;
use super::outward::Outward;
use super::udp::Socket;
use super::userspace::Shared;
use crate::kernel::tun::Queue;
use rustix::thread::sched_yield;

/// The most workers; what two hosts say to each other is one worker's anyway.
const MOST: usize = 4;

/// A turn that moved so many bytes is one of many: what follows is on its way.
const BULK: usize = 16_384;
/// How often it is looked for then, before it is waited for. Others may use the processor meanwhile; to sleep and to be
/// woken for each row of packets costs more than it takes to move it.
const LOOKS: u32 = 10;

/// How many there are.
pub(super) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST)
}

/// Until it is over, or the interface is gone.
pub(super) fn run(shared: &Shared, socket: &Socket, device: &Queue) {
    let mut inward = Inward::new(device.takes);
    let mut outward = Outward::new();
    let mut looks = 0;
    while !shared.is_over() {
        let table = shared.table();
        let came = inward.turn(shared, socket, &table, &device.fd);
        let went = match outward.turn(shared, socket, &table, &device.fd) {
            Ok(went) => went,
            Err(error) => {
                // `netd` opens it again when it has made it anew.
                tracing::warn!(%error, "read from the interface of the mesh");
                return;
            }
        };
        match came + went {
            0 if looks > 0 => {
                looks -= 1;
                sched_yield();
            }
            0 if shared.wait(socket, &device.fd).is_err() => return,
            moved => looks = if moved < BULK { 0 } else { LOOKS },
        }
    }
}
