//! Which gateway a request gets: a pure function of the request and the snapshot, in the data plane and in a dry run.
//!
//! The same request under the same snapshot gets the same gateway on every core, so retransmissions need no memory and
//! cores need not talk.

use crate::siphash::siphash13;
use crate::snapshot::{Body, Gateway, SLOTS, VIP_OWN, Vip};

/// Steps through the slots in search of a gateway other than the one to exclude, before the list is searched.
const PROBES: u64 = 8;

/// What of a request the choice depends on. Addresses have IPv4 in their first 4 bytes, the rest zero.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// 4 or 6.
    pub family: u8,
    /// The initiator's SPI.
    pub spi_i: u64,
    /// The client's address.
    pub source: &'a [u8; 16],
    /// The gateway named by REDIRECTED_FROM, if it is of this family.
    pub redirected_from: Option<&'a [u8; 16]>,
}

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// This gateway, its index, and the hash that picked it.
    Gateway(usize, &'a Gateway, u64),
    /// This node's own address: REDIRECTED_FROM names one of our virtual addresses, somebody redirects in a circle.
    Own,
    /// No gateway is there for it.
    NoGateway,
    /// The address is an own one of a member that sheds load, and another gateway has redirected the client already.
    HopsSpent,
    /// The gateway must not be named: not unicast, the address asked, or the client's own.
    Refused,
}

/// Chooses for a request to `vip`, an address of `body`.
#[inline(always)]
pub fn choose<'a>(asking: &Asking<'_>, body: &Body, vip: &'a Vip) -> Choice<'a> {
    let mut from = asking.redirected_from;
    if let Some(address) = from {
        match (is_virtual(body, address, asking.family), vip.flags & VIP_OWN != 0) {
            (true, false) => {
                return match nameable(asking, &vip.own, vip) {
                    true => Choice::Own,
                    false if vip.own == [0; 16] => Choice::NoGateway,
                    false => Choice::Refused,
                };
            }
            // The cluster sent the client to this member, which sheds load: it may go one hop further, and no more.
            (true, true) => from = None,
            (false, true) => return Choice::HopsSpent,
            (false, false) => {}
        }
    }
    let hash = hash(asking, body.hash_key);
    let Some((mut index, mut gateway)) = vip.gateway_at(hash as usize) else { return Choice::NoGateway };
    if let Some(from) = from
        && gateway.addr == *from
    {
        // RFC 5685 section 5: a client that was redirected should not be sent back. An odd stride of the hash's other
        // bits visits the slots in an order of this request's own, so the excluded share spreads over the others.
        let stride = hash >> 32 | 1;
        let mut probes =
            (1..=PROBES).filter_map(|step| vip.gateway_at(hash.wrapping_add(step * stride) as usize));
        let other = probes.find(|(_, other)| other.addr != *from).or_else(|| {
            let start = hash as usize % SLOTS;
            let usable = vip.gateways().iter().enumerate();
            let count = vip.gateways().len();
            usable
                .cycle()
                .skip(start % count.max(1))
                .take(count)
                .find(|(_, other)| other.usable() && other.addr != *from)
        });
        match other {
            Some(other) => (index, gateway) = other,
            None => return Choice::NoGateway,
        }
    }
    if nameable(asking, &gateway.addr, vip) { Choice::Gateway(index, gateway, hash) } else { Choice::Refused }
}

/// The keyed hash of SPIi and source address.
#[inline(always)]
fn hash(asking: &Asking<'_>, key: [u64; 2]) -> u64 {
    let [a, b, c, d] = *asking.source.as_chunks::<4>().0 else { return 0 };
    let word = |bytes: [u8; 4]| u64::from(u32::from_ne_bytes(bytes));
    match asking.family {
        4 => siphash13(key, [asking.spi_i], u32::from_ne_bytes(a)),
        _ => siphash13(key, [asking.spi_i, word(a) << 32 | word(b), word(c)], u32::from_ne_bytes(d)),
    }
}

/// A redirect must name a unicast address other than the one asked (RFC 5685 section 4) and than the client's own.
#[inline(always)]
fn nameable(asking: &Asking<'_>, address: &[u8; 16], vip: &Vip) -> bool {
    let unicast = match asking.family {
        4 => !matches!(address[0], 0 | 127 | 224..) && address[4..] == [0; 12],
        _ => address[0] != 0xff && address[..15] != [0; 15],
    };
    unicast && *address != vip.addr && address != asking.source
}

/// Whether an address is one of our virtual addresses, whatever its state.
#[inline(always)]
pub fn is_virtual(body: &Body, address: &[u8; 16], family: u8) -> bool {
    let found = |vip: &Vip| vip.family == family && vip.addr == *address && vip.flags & VIP_OWN == 0;
    body.vips().iter().any(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{GATEWAY_USABLE, addr16};
    use std::net::IpAddr;

    fn ip(text: &str) -> [u8; 16] {
        addr16(text.parse::<IpAddr>().unwrap())
    }

    fn body() -> Box<Body> {
        let mut body = Body::boxed();
        (body.vip_count, body.hash_key) = (1, [3, 4]);
        let mut vip = Vip::empty();
        (vip.family, vip.addr, vip.own, vip.gateway_count) = (4, ip("192.0.2.100"), ip("192.0.2.1"), 2);
        for (index, address) in ["192.0.2.11", "192.0.2.12"].into_iter().enumerate() {
            vip.gateways[index] = Gateway { addr: ip(address), flags: GATEWAY_USABLE };
        }
        for (index, slot) in vip.slots.iter_mut().enumerate() {
            *slot = (index % 2) as u8;
        }
        body.vips[0] = vip;
        body
    }

    #[test]
    fn a_request_gets_one_gateway_unless_it_comes_from_there() {
        let body = body();
        let vip = &body.vips[0];
        let source = ip("198.51.100.7");
        let asking = Asking { family: 4, spi_i: 0x1122_3344, source: &source, redirected_from: None };
        let Choice::Gateway(index, gateway, _) = choose(&asking, &body, vip) else { panic!("a gateway") };
        let back = Asking { redirected_from: Some(&gateway.addr), ..asking };
        assert!(matches!(choose(&back, &body, vip), Choice::Gateway(other, ..) if other == 1 - index));
        let circle = Asking { redirected_from: Some(&vip.addr), ..asking };
        assert_eq!(choose(&circle, &body, vip), Choice::Own);
        let own = Asking { source: &gateway.addr, ..asking };
        assert!(matches!(choose(&own, &body, vip), Choice::Refused | Choice::Gateway(..)));
    }

    #[test]
    fn without_a_gateway_there_is_none() {
        let mut body = body();
        body.vips[0].slots = [crate::snapshot::NO_GATEWAY; SLOTS];
        body.vips[0].own = [0; 16];
        let source = ip("198.51.100.7");
        let asking = Asking { family: 4, spi_i: 1, source: &source, redirected_from: None };
        assert_eq!(choose(&asking, &body, &body.vips[0]), Choice::NoGateway);
        let circle = Asking { redirected_from: Some(&body.vips[0].addr), ..asking };
        assert_eq!(choose(&circle, &body, &body.vips[0]), Choice::NoGateway);
    }
}
