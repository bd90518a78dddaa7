//! `interface` and what belongs to an interface.

use super::command::{Command, Effect, row};
use super::values::{number, prefix6, set};
use crate::config::builder::{Builder, Fault};
use crate::config::mode::Mode;
use crate::config::model::{Interface, Suppress};
use crate::grammar::Matched;
use crate::net::announce::ROUTER_INTERVAL;
use crate::types::Prefix;
use Effect::{Now, Slip};
use Mode::{Global as G, Interface as I};
use std::net::IpAddr;

/// The table.
pub(super) const TABLE: &[Command] = &[
    row(
        G,
        "interface IFNAME",
        "interface IFNAME",
        Now,
        "enter the submode of an interface, making it where it is new",
        interface,
    ),
    row(I, "description LINE", "description [LINE]", Now, "a note", |b, m, no| {
        b.interface()?.description = set(no, m.text("LINE"));
        Ok(())
    }),
    row(
        I,
        "encapsulation dot1q VLAN",
        "encapsulation [dot1q [VLAN]]",
        Now,
        "the subinterface's VLAN: what carries this one tag (802.1Q) is its frames; the platform profile lists it in `vlans`",
        |b, m, no| b.encapsulate(set(no, m.number("VLAN"))),
    ),
    row(I, "encapsulation dot1q VLAN native", "", Slip, "", |_, m, _| {
        Err(Fault::at(
            "native",
            format!(
                "the native VLAN's frames have no tag: configure VLAN {} on the interface itself, not on a subinterface",
                m.number::<u16>("VLAN").unwrap_or_default()
            ),
        ))
    }),
    row(I, "encapsulation dot1q VLAN second-dot1q LINE", "", Slip, "", |_, _, _| {
        Err(Fault::at(
            "second-dot1q",
            "a subinterface of two tags is not supported: have the switch take the outer tag off".to_owned(),
        ))
    }),
    row(
        I,
        "shutdown",
        "shutdown",
        Now,
        "take the interface and its groups down, and its subinterfaces with it",
        |b, _, no| {
            b.interface()?.shutdown = !no;
            Ok(())
        },
    ),
    row(
        I,
        "ip address V4 MASK [secondary]",
        "ip address [V4 MASK [secondary]]",
        Now,
        "the interface's IPv4 address",
        ip_address,
    ),
    row(I, "ip address V6", "", Slip, "", |b, m, _| slip_ipv6(b, m, 64)),
    row(I, "ip address PREFIX6", "", Slip, "", |b, m, _| slip_ipv6(b, m, 64)),
    row(
        I,
        "ipv6 address PREFIX6",
        "ipv6 address [PREFIX6]",
        Now,
        "the interface's IPv6 address",
        ipv6_address,
    ),
    row(I, "ipv6 address V6", "", Slip, "", |b, m, _| slip_ipv6(b, m, 64)),
    row(
        I,
        "ipv6 nd ra lifetime RALIFETIME",
        "ipv6 nd ra lifetime [RALIFETIME]",
        Now,
        "Lifetime of the virtual address as a default router of hosts; 0, the default: hosts do not use it",
        ra_lifetime,
    ),
    row(
        I,
        "ipv6 nd ra suppress [all]",
        "ipv6 nd ra suppress [all]",
        Now,
        "Suppress router advertisements that no host asked for, or all",
        |b, m, no| {
            let suppress = if m.has("all") { Suppress::All } else { Suppress::Unsolicited };
            b.interface()?.ra.suppress = set(no, Some(suppress));
            Ok(())
        },
    ),
];

fn ra_lifetime(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    /// Between two advertisements, seconds (MaxRtrAdvInterval): a lifetime MUST be zero or no shorter (RFC 4861 section
    /// 6.2.1, AdvDefaultLifetime).
    const SHORTEST: u16 = ROUTER_INTERVAL.as_secs() as u16;
    let lifetime = set(no, m.number("RALIFETIME")).unwrap_or(0);
    if (1..SHORTEST).contains(&lifetime) {
        return Err(Fault::at(
            "RALIFETIME",
            format!(
                "{lifetime} s is shorter than the {SHORTEST} s between two advertisements: enter 0, or {SHORTEST} to 9000"
            ),
        ));
    }
    b.interface()?.ra.lifetime = lifetime;
    Ok(())
}

fn interface(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let name =
        m.interface("IFNAME").ok_or_else(|| Fault::at("IFNAME", "the interface is missing".to_owned()))?;
    if no {
        b.config.interfaces.remove(&name);
        return b.leave();
    }
    b.enter_interface(name)
}

fn ip_address(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let secondary = m.has("secondary");
    let Some(address) = m.address("V4") else {
        let interface = b.interface()?;
        interface.ip = None;
        interface.ip_secondary.clear();
        return Ok(());
    };
    let prefix = Prefix { address, length: number(m, "MASK")? };
    let interface = b.interface()?;
    if no {
        interface.ip_secondary.retain(|other| *other != prefix);
        if !secondary && interface.ip == Some(prefix) {
            interface.ip = None;
        }
        return Ok(());
    }
    if let IpAddr::V4(host) = address {
        let host_bits = u32::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
        let host = u32::from(host) & host_bits;
        if prefix.length < 31 && (host == 0 || host == host_bits) {
            return Err(Fault::at(
                "V4",
                format!("{address} is the subnet's own or its broadcast address: use a host of it"),
            ));
        }
    }
    if !secondary {
        interface.ip_secondary.retain(|other| other.address != address);
        interface.ip = Some(prefix);
    } else if interface.ip.is_none() {
        return Err(Fault::at(
            "secondary",
            "a secondary address needs a primary one before it: `ip address ADDRESS MASK`".to_owned(),
        ));
    } else if interface.ip.is_some_and(|primary| primary.address == address) {
        return Err(Fault::at("V4", format!("{address} is the primary address already")));
    } else {
        interface.ip_secondary.retain(|other| other.address != address);
        interface.ip_secondary.push(prefix);
        bounded(interface)?;
    }
    Ok(())
}

fn ipv6_address(b: &mut Builder, m: &Matched, no: bool) -> Result<(), Fault> {
    let Ok(prefix) = prefix6(m) else {
        b.interface()?.ipv6.clear();
        return Ok(());
    };
    let interface = b.interface()?;
    interface.ipv6.retain(|other| other.address != prefix.address);
    if !no {
        interface.ipv6.push(prefix);
        bounded(interface)?;
    }
    Ok(())
}

/// An interface has room for 64 addresses.
fn bounded(interface: &Interface) -> Result<(), Fault> {
    if interface.addresses().count() > 64 {
        return Err(Fault::line("an interface has at most 64 addresses: take one out".to_owned()));
    }
    Ok(())
}

/// `ip address 2001:DB8::1`: the seed's way to write an IPv6 address.
fn slip_ipv6(b: &mut Builder, m: &Matched, length: u8) -> Result<(), Fault> {
    let prefix = match m.address("V6") {
        Some(address) => Prefix { address, length },
        None => prefix6(m)?,
    };
    let interface = b.interface()?;
    interface.ipv6.retain(|other| other.address != prefix.address);
    interface.ipv6.push(prefix);
    bounded(interface)?;
    let column = m.column("V6").max(m.column("PREFIX6"));
    b.slip(column, &format!("this is taken as the IPv6 address {prefix}"), &format!("ipv6 address {prefix}"));
    Ok(())
}
