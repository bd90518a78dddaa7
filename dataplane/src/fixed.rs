//! Static mode: a snapshot body from the command line, for benchmarks, bring-up of a NIC and replay.

use std::net::IpAddr;

use platform::snapshot::{
    Body, GATEWAY_USABLE, Gateway, MAX_GATEWAYS, MAX_VIPS, NO_GATEWAY, VIP_REDIRECT_INIT, Vip, VipState,
    addr16,
};

/// Why the addresses of the command line make no snapshot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FixedError {
    /// No --vip or no --redirect-to.
    #[error("--vip and --redirect-to go together: name at least one of each, or none to work with usherd")]
    Half,
    /// An address family without a gateway.
    #[error("--vip {0} has no --redirect-to of its family: add one, or requests to it could not be answered")]
    NoGateway(IpAddr),
    /// Too many.
    #[error("{count} times {option}: at most {max} are possible: leave some out")]
    TooMany {
        /// The option.
        option: &'static str,
        /// How often it was given.
        count: usize,
        /// How often it may be given.
        max: usize,
    },
    /// An address that no client can use.
    #[error("{option} {address} is not a unicast address: name the address of one machine")]
    NotUnicast {
        /// The option.
        option: &'static str,
        /// The address.
        address: IpAddr,
    },
}

/// The load feed's TCP port where no configuration says another.
const CLB_PORT: u16 = 2012;

/// A body in which each virtual address spreads over all gateways of its family, evenly. `mac` becomes the virtual
/// MAC, the source of the answers; `key` keys the choice.
///
/// # Errors
/// See [`FixedError`].
pub fn body(
    vips: &[IpAddr],
    gateways: &[IpAddr],
    mac: [u8; 6],
    key: [u64; 2],
) -> Result<Box<Body>, FixedError> {
    if vips.is_empty() || gateways.is_empty() {
        return Err(FixedError::Half);
    }
    for (option, list, max) in [("--vip", vips, MAX_VIPS), ("--redirect-to", gateways, MAX_GATEWAYS)] {
        if list.len() > max {
            return Err(FixedError::TooMany { option, count: list.len(), max });
        }
        let unicast = |ip: &&IpAddr| ip.is_multicast() || ip.is_unspecified() || ip.is_loopback();
        if let Some(address) = list.iter().find(unicast) {
            return Err(FixedError::NotUnicast { option, address: *address });
        }
    }
    let mut body = Body::boxed();
    body.clb_port = CLB_PORT;
    body.hash_key = key;
    body.vip_count = vips.len() as u32;
    for (slot, address) in body.vips.iter_mut().zip(vips) {
        let mut vip = Vip::empty();
        vip.addr = addr16(*address);
        vip.family = if address.is_ipv4() { 4 } else { 6 };
        vip.mac = mac;
        vip.state = VipState::Active as u8;
        vip.flags = VIP_REDIRECT_INIT;
        let mut count = 0u16;
        for (entry, gateway) in vip
            .gateways
            .iter_mut()
            .zip(gateways.iter().filter(|gateway| gateway.is_ipv4() == address.is_ipv4()))
        {
            *entry = Gateway { addr: addr16(*gateway), flags: GATEWAY_USABLE };
            count += 1;
        }
        if count == 0 {
            return Err(FixedError::NoGateway(*address));
        }
        vip.gateway_count = count;
        for (index, entry) in vip.slots.iter_mut().enumerate() {
            *entry = u8::try_from(index % usize::from(count)).unwrap_or(NO_GATEWAY);
        }
        *slot = vip;
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_family_gets_its_own_gateways() {
        let vips = [ip("192.0.2.1"), ip("2001:db8::1")];
        let gateways = [ip("192.0.2.10"), ip("2001:db8::10"), ip("192.0.2.11")];
        let body = body(&vips, &gateways, [2; 6], [1, 2]).unwrap();
        let counts: Vec<_> = body.vips().iter().map(|vip| vip.gateways().len()).collect();
        assert_eq!(counts, [2, 1]);
        let to_first = body.vips[0].slots.iter().filter(|slot| **slot == 0).count();
        assert_eq!(to_first, 512);
        assert_eq!(body.vips[1].gateways()[0].ip(6), Some(ip("2001:db8::10")));
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let of = |vips: &[IpAddr], gateways: &[IpAddr]| body(vips, gateways, [2; 6], [1, 2]).err();
        assert_eq!(of(&[ip("192.0.2.1")], &[]), Some(FixedError::Half));
        let vip = ip("2001:db8::1");
        assert_eq!(of(&[vip], &[ip("192.0.2.10")]), Some(FixedError::NoGateway(vip)));
        assert!(matches!(
            of(&[ip("224.0.0.1")], &[vip]),
            Some(FixedError::NotUnicast { option: "--vip", .. })
        ));
        assert!(matches!(of(&[vip], &[vip; 65]), Some(FixedError::TooMany { count: 65, max: 64, .. })));
    }
}
