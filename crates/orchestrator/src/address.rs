//! Arithmetic of address blocks.

use model::{Network, Subnet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First and last IPv4 address of a block, as numbers; `None` for an IPv6 block.
pub(crate) fn bounds(subnet: &Subnet) -> Option<(u32, u32)> {
    let IpAddr::V4(v4) = subnet.address else { return None };
    let first = u32::from(v4);
    let hosts = u32::MAX.checked_shr(u32::from(subnet.prefix)).unwrap_or(0);
    Some((first, first | hosts))
}

/// The addresses that tasks of a network may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    first: u32,
    last: u32,
    /// Addresses in between that are not for tasks; sorted.
    reserved: Vec<u32>,
}

impl Range {
    /// Those of the subnet, or of `ip_range`, without the gateway and what the user keeps back.
    pub(crate) fn of(network: &Network) -> Range {
        let (low, high) = bounds(&network.subnet).unwrap_or((1, 0));
        let (mut first, mut last) = (low, high);
        // In blocks of one or two addresses all are for hosts (RFC 3021).
        if high.saturating_sub(low) > 1 {
            (first, last) = (low + 1, high - 1);
        }
        let ipam = network.spec.ipam.iter().filter(|ipam| !is_v6(ipam.subnet.as_deref()));
        let mut reserved: Vec<u32> = v4(&network.gateway).into_iter().collect();
        for ipam in ipam {
            if let Some((a, b)) = ipam.ip_range.as_deref().and_then(Subnet::parse).as_ref().and_then(bounds) {
                (first, last) = (first.max(a), last.min(b));
            }
            reserved.extend(ipam.aux_addresses.values().filter_map(|text| v4(&text.parse().ok()?)));
        }
        // Their counterparts in IPv6 are not for tasks either.
        let kept6 = network.spec.ipam.iter().flat_map(|ipam| ipam.aux_addresses.values());
        let kept6 = kept6.filter_map(|text| text.parse().ok()).chain(network.gateway6);
        reserved.extend(kept6.filter_map(|address| counterpart(network, address)));
        reserved.retain(|address| (first..=last).contains(address));
        reserved.sort_unstable();
        reserved.dedup();
        Range { first, last, reserved }
    }

    /// How many addresses it has.
    pub(crate) fn size(&self) -> u64 {
        (u64::from(self.last) + 1).saturating_sub(u64::from(self.first)).saturating_sub(self.reserved.len() as u64)
    }

    /// The first free address after `last`, around the end if need be: one that was just given back is the
    /// last to be given out again, for caches and connections that still know it.
    pub(crate) fn next(&self, last: Option<u32>, is_free: impl Fn(u32) -> bool) -> Option<u32> {
        if self.first > self.last {
            return None;
        }
        let start = match last {
            Some(last) if (self.first..self.last).contains(&last) => last + 1,
            _ => self.first,
        };
        let fits = |candidate: &u32| self.reserved.binary_search(candidate).is_err() && is_free(*candidate);
        (start..=self.last).find(fits).or_else(|| (self.first..start).find(fits))
    }

    /// The free address nearest to its end.
    pub(crate) fn highest(&self, mut is_free: impl FnMut(u32) -> bool) -> Option<u32> {
        let fits = |candidate: &u32| self.reserved.binary_search(candidate).is_err() && is_free(*candidate);
        (self.first..=self.last).rev().find(fits)
    }
}

fn v4(address: &IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(v4) => Some(u32::from(*v4)),
        IpAddr::V6(_) => None,
    }
}

/// Is this text an IPv6 block?
pub(crate) fn is_v6(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.contains(':'))
}

/// The IPv6 address that goes with an IPv4 address of a network: the same place in its block.
pub(crate) fn derived6(network: &Network, v4: u32) -> Option<Ipv6Addr> {
    let subnet = network.subnet6.as_ref()?;
    let IpAddr::V6(base) = subnet.address else { return None };
    let (first, _) = bounds(&network.subnet)?;
    let place = u128::from(v4.wrapping_sub(first));
    let hosts = u128::MAX.checked_shr(u32::from(subnet.prefix)).unwrap_or(0);
    (place <= hosts).then(|| Ipv6Addr::from(u128::from(base) | place))
}

/// The IPv4 address that an IPv6 address of a network goes with.
fn counterpart(network: &Network, v6: IpAddr) -> Option<u32> {
    let (IpAddr::V6(v6), IpAddr::V6(base)) = (v6, network.subnet6.as_ref()?.address) else { return None };
    let place = u128::from(v6).checked_sub(u128::from(base))?;
    let v4 = bounds(&network.subnet)?.0.checked_add(u32::try_from(place).ok()?)?;
    (derived6(network, v4) == Some(v6)).then_some(v4)
}

/// The first block of `prefix` bits inside `pool` that shares no address with `taken`.
pub(crate) fn free_block(pool: &Subnet, prefix: u8, taken: &[Subnet]) -> Option<Subnet> {
    let (first, last) = bounds(pool)?;
    let size = 1u64 << (32 - u32::from(prefix.clamp(1, 32)));
    let mut ranges: Vec<(u32, u32)> = taken.iter().filter_map(bounds).collect();
    ranges.sort_unstable();
    let mut start = u64::from(first);
    for (a, b) in ranges {
        if u64::from(a) >= start + size {
            break;
        }
        if u64::from(b) >= start {
            // Behind what is in the way, at the next boundary.
            start = (u64::from(b) + 1).div_ceil(size) * size;
        }
    }
    let fits = start + size - 1 <= u64::from(last);
    fits.then_some(Subnet { address: Ipv4Addr::from(u32::try_from(start).ok()?).into(), prefix })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{IpamConfig, NetworkId, NetworkSpec};

    fn subnet(text: &str) -> Subnet {
        Subnet::parse(text).expect("a subnet")
    }

    fn network(block: &str, range: Option<&str>) -> Network {
        let ipam = IpamConfig {
            subnet: Some(block.to_owned()),
            ip_range: range.map(str::to_owned),
            aux_addresses: [("nas".to_owned(), "10.1.0.3".to_owned())].into(),
            ..IpamConfig::default()
        };
        Network {
            id: NetworkId(1),
            spec: NetworkSpec { ipam: vec![ipam], ..NetworkSpec::default() },
            vni: 1,
            subnet: subnet(block),
            gateway: "10.1.0.1".parse().expect("an address"),
            subnet6: Some(subnet("fd00::/64")),
            gateway6: None,
            created: model::Time::default(),
        }
    }

    #[test]
    fn blocks_keep_clear_of_what_is_taken() {
        let pool = subnet("10.0.0.0/8");
        let free = |taken: &[&str]| {
            let taken: Vec<Subnet> = taken.iter().map(|text| subnet(text)).collect();
            free_block(&pool, 24, &taken).map(|block| block.to_string())
        };
        assert_eq!(free(&[]).as_deref(), Some("10.0.0.0/24"));
        assert_eq!(free(&["10.0.0.128/25", "10.0.1.0/24", "192.168.0.0/16"]).as_deref(), Some("10.0.2.0/24"));
        assert_eq!(free(&["10.0.0.0/9"]).as_deref(), Some("10.128.0.0/24"));
        assert_eq!(free(&["0.0.0.0/1"]), None);
        assert_eq!(free(&["10.0.0.0/9", "10.128.0.0/9"]), None);
    }

    #[test]
    fn addresses_go_round_and_leave_out_what_is_kept_back() {
        let range = Range::of(&network("10.1.0.0/29", None));
        assert_eq!(range.size(), 4);
        let address = |text: &str| u32::from(text.parse::<Ipv4Addr>().expect("an address"));
        assert_eq!(range.next(None, |_| true), Some(address("10.1.0.2")));
        assert_eq!(range.next(Some(address("10.1.0.2")), |_| true), Some(address("10.1.0.4")));
        assert_eq!(range.next(Some(address("10.1.0.6")), |_| true), Some(address("10.1.0.2")));
        assert_eq!(range.next(Some(address("10.1.0.4")), |_| false), None);
        let part = Range::of(&network("10.1.0.0/24", Some("10.1.0.0/30")));
        assert_eq!((part.size(), part.next(None, |_| true)), (1, Some(address("10.1.0.2"))));
        // What goes with the gateway's address, or with one that is kept back, in IPv6 is nobody's either.
        let mut both = network("10.1.0.0/29", None);
        both.gateway = "10.1.0.6".parse().expect("an address");
        both.gateway6 = Some("fd00::1".parse().expect("an address"));
        both.spec.ipam[0].aux_addresses.insert("printer".to_owned(), "fd00::2".to_owned());
        let range = Range::of(&both);
        assert_eq!((range.size(), range.next(None, |_| true)), (2, Some(address("10.1.0.4"))));
        assert_eq!(counterpart(&both, "fd00:1::1".parse().expect("an address")), None);
        let v6 = derived6(&network("10.1.0.0/29", None), address("10.1.0.6"));
        assert_eq!(v6, Some("fd00::6".parse().expect("an address")));
    }
}
