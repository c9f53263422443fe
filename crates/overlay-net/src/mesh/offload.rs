//! What is read of the interface and of the wire, without either: for those who try it on its own, as fuzz targets do.

use super::gro::Coalescer;
use super::virtio::{self, FRONT, Header};
use crate::kernel::tun::Takes;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use std::sync::Arc;

/// Hands on each packet of what the interface gave, its headers in front; `false`: it makes no sense. `bytes` may be
/// changed.
pub fn split(bytes: &mut [u8], scratch: &mut [u8], emit: impl FnMut(&[u8])) -> bool {
    let Some((front, packet)) = bytes.split_first_chunk_mut::<FRONT>() else { return false };
    Header::read(front).is_some_and(|header| virtio::split(&header, packet, scratch, emit))
}

/// Hands what is written to the interface for these packets to `write`, headers in front. `udp`, `tunnels`: the kernel
/// takes super-packets of UDP, and of what is in a VXLAN.
pub fn join<'p>(packets: impl IntoIterator<Item = &'p [u8]>, udp: bool, tunnels: bool, mut write: impl FnMut(&[u8])) {
    let mut up = Coalescer::new(Takes { udp, tunnels });
    packets.into_iter().for_each(|packet| up.take(packet, &mut write));
    up.finish(&mut write);
}

/// One end of a conversation, which listens to the wire.
pub struct Ear {
    private: StaticSecret,
    public: PublicKey,
    limiter: Arc<RateLimiter>,
    tunnel: Tunn,
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ear").finish_non_exhaustive()
    }
}

impl Ear {
    /// With a key that anybody may know.
    #[must_use]
    pub fn new() -> Ear {
        let private = StaticSecret::from([7; 32]);
        let (public, peer) = (PublicKey::from(&private), PublicKey::from(&StaticSecret::from([9; 32])));
        let limiter = Arc::new(RateLimiter::new(&public, u64::MAX));
        let tunnel = Tunn::new(private.clone(), peer, None, None, 0, Some(limiter.clone()));
        Ear { private, public, limiter, tunnel }
    }

    /// Takes a datagram as it would come from the wire; does it lead to a packet for the interface?
    pub fn hear(&mut self, datagram: &[u8]) -> bool {
        let mut plain = vec![0; datagram.len() + 256];
        if let Ok(Packet::HandshakeInit(init)) = self.limiter.verify_packet(None, datagram, &mut plain) {
            let _half = parse_handshake_anon(&self.private, &self.public, &init);
        }
        let heard = self.tunnel.decapsulate(None, datagram, &mut plain);
        matches!(heard, TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..))
    }
}

impl Default for Ear {
    fn default() -> Ear {
        Ear::new()
    }
}
