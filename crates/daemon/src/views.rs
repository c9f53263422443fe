//! State → what clients see: rows of `ps`, and inspections in Docker's JSON shape.

pub(crate) mod container;
pub(crate) mod inspect;
pub(crate) mod objects;

/// The MAC address that an endpoint's interface has.
fn mac(endpoint: &model::Endpoint) -> String {
    overlay_net::names::mac_of(endpoint.address, endpoint.mac.as_deref())
}
