//! Addresses on the link of a group: which of them a router can speak from, and which can be a virtual address.

use crate::types::Prefix;
use std::net::{IpAddr, Ipv4Addr};

/// Why an address cannot be a router's, or the virtual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// In no subnet of the interface
    #[error("lies in no subnet of the interface")]
    OffLink,
    /// The address of a subnet itself
    #[error("is the network address of a subnet")]
    Network,
    /// The broadcast address of a subnet
    #[error("is the broadcast address of a subnet")]
    Broadcast,
    /// No host can have it
    #[error("is not the address of a host")]
    NotAHost,
    /// A virtual address of this node
    #[error("is a virtual address of a group")]
    Virtual,
    /// An address of this node
    #[error("is an address of this node")]
    Own,
    /// An address that another HSRP router speaks from
    #[error("is the own address of an HSRP router")]
    Router,
}

impl AddressError {
    /// The word for counters and debug output, of a source address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AddressError::OffLink => "off-link",
            AddressError::Network => "source-network",
            AddressError::Broadcast => "source-broadcast",
            AddressError::NotAHost => "source",
            AddressError::Virtual => "source-virtual",
            AddressError::Own => "source-own",
            AddressError::Router => "source-router",
        }
    }
}

/// Checks that `address` can be a host's on a link with these subnets.
///
/// # Errors
/// Why it cannot.
fn check_host(address: Ipv4Addr, subnets: impl Iterator<Item = Prefix>) -> Result<(), AddressError> {
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() || address.is_loopback() {
        return Err(AddressError::NotAHost);
    }
    let mut found = Err(AddressError::OffLink);
    for subnet in subnets.filter(|subnet| subnet.covers(address.into())) {
        found = Ok(());
        // /31 and /32 have neither (RFC 3021).
        let hosts = u32::MAX.checked_shr(subnet.length.into()).unwrap_or(0);
        if subnet.length < 31 {
            match u32::from(address) & hosts {
                0 => return Err(AddressError::Network),
                host if host == hosts => return Err(AddressError::Broadcast),
                _ => {}
            }
        }
    }
    found
}

/// Checks the source of a message: over IPv4 a host of a subnet of the link; no virtual address of this node, for a
/// router speaks from its own. A message from this node's own address is another matter: the machine names the
/// duplicate.
///
/// # Errors
/// Why no router speaks from it.
pub fn check_source(
    source: IpAddr,
    subnets: impl Iterator<Item = Prefix>,
    mut virtuals: impl Iterator<Item = IpAddr>,
) -> Result<(), AddressError> {
    if let IpAddr::V4(source) = source {
        check_host(source, subnets)?;
    }
    if virtuals.any(|address| address == source) { Err(AddressError::Virtual) } else { Ok(()) }
}

/// Checks a virtual address that an active router tells, as a configured one is checked: in a subnet of the interface,
/// and free as far as this node knows. The link is probed after this.
///
/// # Errors
/// Why it cannot be the virtual address.
pub fn check_learned(
    address: IpAddr,
    subnets: impl Iterator<Item = Prefix>,
    mut own: impl Iterator<Item = IpAddr>,
    mut virtuals: impl Iterator<Item = IpAddr>,
    mut routers: impl Iterator<Item = IpAddr>,
) -> Result<(), AddressError> {
    // Over IPv6 nothing is learned: the virtual link-local address follows from the group's number.
    let IpAddr::V4(host) = address else { return Err(AddressError::NotAHost) };
    check_host(host, subnets)?;
    if own.any(|own| own == address) {
        return Err(AddressError::Own);
    }
    if virtuals.any(|other| other == address) {
        return Err(AddressError::Virtual);
    }
    if routers.any(|router| router == address) { Err(AddressError::Router) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn subnets() -> impl Iterator<Item = Prefix> {
        [("192.0.2.11", 24), ("198.51.100.1", 31), ("203.0.113.9", 30)]
            .map(|(address, length)| Prefix { address: ip(address), length })
            .into_iter()
    }

    #[test]
    fn a_router_speaks_from_an_address_of_its_own_on_the_link() {
        let check = |source: &str| {
            let virtuals = [ip("192.0.2.1"), ip("fe80::5:73ff:fea0:1")];
            check_source(ip(source), subnets(), virtuals.into_iter())
        };
        for (source, expected) in [
            ("192.0.2.12", Ok(())),
            ("198.51.100.0", Ok(())),
            ("fe80::12", Ok(())),
            ("192.0.2.1", Err(AddressError::Virtual)),
            ("fe80::5:73ff:fea0:1", Err(AddressError::Virtual)),
            ("192.0.2.0", Err(AddressError::Network)),
            ("203.0.113.8", Err(AddressError::Network)),
            ("192.0.2.255", Err(AddressError::Broadcast)),
            ("203.0.113.11", Err(AddressError::Broadcast)),
            ("192.0.3.1", Err(AddressError::OffLink)),
            ("0.0.0.0", Err(AddressError::NotAHost)),
            ("255.255.255.255", Err(AddressError::NotAHost)),
            ("224.0.0.2", Err(AddressError::NotAHost)),
            ("127.0.0.1", Err(AddressError::NotAHost)),
        ] {
            assert_eq!(check(source), expected, "{source}");
        }
    }

    #[test]
    fn a_learned_address_is_free_and_on_the_link() {
        let check = |address: &str| {
            check_learned(
                ip(address),
                subnets(),
                [ip("192.0.2.11")].into_iter(),
                [ip("192.0.2.2")].into_iter(),
                [ip("192.0.2.12")].into_iter(),
            )
        };
        for (address, expected) in [
            ("192.0.2.1", Ok(())),
            ("192.0.2.11", Err(AddressError::Own)),
            ("192.0.2.2", Err(AddressError::Virtual)),
            ("192.0.2.12", Err(AddressError::Router)),
            ("192.0.2.0", Err(AddressError::Network)),
            ("192.0.2.255", Err(AddressError::Broadcast)),
            ("10.0.0.1", Err(AddressError::OffLink)),
            ("2001:db8::1", Err(AddressError::NotAHost)),
        ] {
            assert_eq!(check(address), expected, "{address}");
        }
    }

    #[test]
    fn the_whole_internet_is_a_subnet_too() {
        let all = || [Prefix { address: ip("10.0.0.1"), length: 0 }].into_iter();
        assert_eq!(check_host(Ipv4Addr::new(10, 0, 0, 2), all()), Ok(()));
        assert_eq!(check_host(Ipv4Addr::UNSPECIFIED, all()), Err(AddressError::NotAHost));
    }
}
