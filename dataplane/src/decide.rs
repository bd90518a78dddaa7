//! Which gateway a request gets: a pure function of the request and the snapshot.
//!
//! The same request under the same snapshot gets the same gateway on every core, so retransmissions need no memory and
//! cores need not talk.

use platform::snapshot::{SLOTS, Vip};
use platform::wire::ethernet::Mac;

use crate::{Reason, Request, View, siphash::siphash13};

/// Steps through the slots in search of a gateway other than the one to exclude, before the list is searched.
const PROBES: u64 = 8;

/// The decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Answer, naming this address (of the request's family).
    Redirect {
        /// The address; IPv4 in the first 4 bytes.
        address: [u8; 16],
        /// Index of the gateway in the virtual address's list; `None` for this node's own address.
        gateway: Option<usize>,
        /// The virtual MAC, the answer's source.
        mac: Mac,
        /// Which kind of answer it is.
        reason: Reason,
        /// The keyed hash of SPIi and source address, which retransmissions share; 0 without a gateway.
        hash: u64,
    },
    /// The kernel's side gets the request, for this reason.
    Pass(Reason),
}

/// Decides about a request.
#[inline(always)]
pub fn decide(request: &Request, view: &View) -> Decision {
    let Some(vip) = view.vip(request.vip) else { return Decision::Pass(Reason::GroupInactive) };
    if let Some(from) = &request.redirected_from
        && view.is_virtual(from, request.family)
    {
        // Somebody redirects to us what we redirected: this node's own address ends the circle.
        return check(request, vip.own, None, Reason::LoopSuspect, vip, 0);
    }
    let hash = hash(request, view.body().hash_key);
    let Some((mut index, mut gateway)) = vip.gateway_at(hash as usize) else {
        return Decision::Pass(Reason::NoGateway);
    };
    if let Some(from) = request.redirected_from
        && gateway.addr == from
    {
        // RFC 5685 section 5: a client that was redirected should not be sent back. An odd stride of the hash's other
        // bits visits the slots in an order of this request's own, so the excluded share spreads over the others.
        let stride = hash >> 32 | 1;
        let mut probes =
            (1..=PROBES).filter_map(|step| vip.gateway_at(hash.wrapping_add(step * stride) as usize));
        let other = probes.find(|(_, other)| other.addr != from).or_else(|| {
            let start = hash as usize % SLOTS;
            let usable = vip.gateways().iter().enumerate();
            let count = vip.gateways().len();
            usable
                .cycle()
                .skip(start % count.max(1))
                .take(count)
                .find(|(_, other)| other.usable() && other.addr != from)
        });
        match other {
            Some(other) => (index, gateway) = other,
            None => return Decision::Pass(Reason::NoGateway),
        }
    }
    let reason = if gateway.is_self() { Reason::RedirectedSelf } else { Reason::Redirected };
    check(request, gateway.addr, Some(index), reason, vip, hash)
}

/// The keyed hash of SPIi and source address.
#[inline(always)]
fn hash(request: &Request, key: [u64; 2]) -> u64 {
    let [a, b, c, d] = *request.source.as_chunks::<4>().0 else { return 0 };
    let word = |bytes: [u8; 4]| u64::from(u32::from_ne_bytes(bytes));
    match request.family {
        4 => siphash13(key, [request.spi_i], u32::from_ne_bytes(a)),
        _ => siphash13(key, [request.spi_i, word(a) << 32 | word(b), word(c)], u32::from_ne_bytes(d)),
    }
}

/// A redirect must name a unicast address other than the one asked (RFC 5685 section 4) and than the client's own.
#[inline]
fn check(
    request: &Request,
    address: [u8; 16],
    gateway: Option<usize>,
    reason: Reason,
    vip: &Vip,
    hash: u64,
) -> Decision {
    let unicast = match request.family {
        4 => !matches!(address[0], 0 | 127 | 224..) && address[4..] == [0; 12],
        _ => address[0] != 0xff && address[..15] != [0; 15],
    };
    if !unicast && gateway.is_none() && address == [0; 16] {
        return Decision::Pass(Reason::NoGateway);
    }
    if !unicast || address == vip.addr || address == request.source {
        return Decision::Pass(Reason::GatewayRefused);
    }
    Decision::Redirect { address, gateway, mac: vip.mac, reason, hash }
}
