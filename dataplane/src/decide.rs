//! Which gateway a request gets: [`platform::choose`] as the worker needs it.

use platform::choose::{Asking, Choice, choose};
use platform::wire::ethernet::Mac;

use crate::{Reason, Request, View};

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
    let asking = Asking {
        family: request.family,
        spi_i: request.spi_i,
        source: &request.source,
        redirected_from: request.redirected_from.as_ref(),
    };
    let (address, gateway, reason, hash) = match choose(&asking, view.body(), vip) {
        Choice::Gateway(index, gateway, hash) => {
            let reason = if gateway.is_self() { Reason::RedirectedSelf } else { Reason::Redirected };
            (gateway.addr, Some(index), reason, hash)
        }
        Choice::Own => (vip.own, None, Reason::LoopSuspect, 0),
        Choice::NoGateway => return Decision::Pass(Reason::NoGateway),
        Choice::HopsSpent => return Decision::Pass(Reason::HopsSpent),
        Choice::Refused => return Decision::Pass(Reason::GatewayRefused),
    };
    Decision::Redirect { address, gateway, mac: vip.mac, reason, hash }
}
