//! Comparison of the wanted with the present state of a device: the next step, and nothing else.

use super::links::{Kind, Link, LinkTable};
use super::report::Repair;
use super::wanted::{GroupDevice, Owner, PortDevice};
use super::{MODE, NetError};
use crate::types::{IfIndex, Prefix, is_link_local};

/// One request to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A persistent TAP is made
    CreateTap,
    /// A macvlan is made over the device of this index
    CreateMacvlan { parent: IfIndex, mac: [u8; 6] },
    /// The device is deleted
    Delete { index: IfIndex },
    /// MAC and MTU are set where they are given, and the device is set up where asked to
    Set { index: IfIndex, mac: Option<[u8; 6]>, mtu: Option<u32>, up: bool },
    /// The settings in /proc/sys are looked at and set
    Settings { index: IfIndex },
    /// An address is added; a quiet one without a search for duplicates and without a route
    Add { index: IfIndex, prefix: Prefix, quiet: bool },
    /// An address is taken off
    Remove { index: IfIndex, prefix: Prefix },
}

/// The outcome of a comparison.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is as wanted
    Right,
    /// This is to be done next, for these faults
    Step(Step, Vec<Repair>),
    /// It will come by itself
    Waits,
    /// It cannot be put right
    Wrong(NetError),
}

/// State of a port's device beside its link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    /// The index for which the settings were looked at
    pub settings: Option<IfIndex>,
    /// Addresses that usherd put on a device of the host
    pub ours: &'a [Prefix],
    /// The link-local address that the device is to have: the kernel makes it once, and not again when it was flushed
    pub link_local: Option<Prefix>,
}

/// Compares the exception device of a port.
pub(super) fn port(wanted: &PortDevice, links: &LinkTable, known: Known<'_>) -> Verdict {
    let device = &wanted.name;
    let Some(link) = links.get(device) else {
        return match wanted.owner {
            Owner::Usherd => Verdict::Step(Step::CreateTap, vec![Repair::Device]),
            Owner::Dataplane => Verdict::Waits,
            Owner::Host => Verdict::Wrong(NetError::Missing {
                device: device.clone(),
                remedy: "see with `ip link` whether it has another name, and enter that in the profile",
            }),
        };
    };
    if wanted.owner == Owner::Usherd && link.kind != Kind::Tun {
        return foreign(link);
    }
    if known.settings != Some(link.index) {
        return Verdict::Step(Step::Settings { index: link.index }, Vec::new());
    }
    let hosts = wanted.owner == Owner::Host;
    let (mac, mtu) = if hosts { (None, None) } else { (wanted.mac, wanted.mtu) };
    if let Some(verdict) = set(link, mac, mtu) {
        return verdict;
    }
    let keeps = |prefix: &Prefix| match hosts {
        true => !known.ours.contains(prefix),
        false => is_link_local(&prefix.address),
    };
    if let Some(verdict) = addresses(link, &wanted.addresses, false, keeps) {
        return verdict;
    }
    match known.link_local {
        Some(prefix) if !hosts && link.running && link.link_local().is_none() => {
            let step = Step::Add { index: link.index, prefix, quiet: false };
            Verdict::Step(step, vec![Repair::Address(prefix)])
        }
        // The host's own addresses are not looked after here.
        _ => match link.duplicates.iter().find(|prefix| !hosts || wanted.addresses.contains(prefix)) {
            Some(prefix) => Verdict::Wrong(NetError::Duplicate { device: device.clone(), prefix: *prefix }),
            None => Verdict::Right,
        },
    }
}

/// Compares the macvlan of a group. `settings`: the index for which its settings were looked at; `coming`: its parent is
/// about to be made.
pub(super) fn group(
    device: &str,
    wanted: Option<&GroupDevice>,
    links: &LinkTable,
    settings: Option<IfIndex>,
    coming: bool,
) -> Verdict {
    let found = links.get(device);
    let Some(wanted) = wanted else {
        return match found {
            Some(Link { index, kind: Kind::Macvlan(_), .. }) => {
                Verdict::Step(Step::Delete { index: *index }, Vec::new())
            }
            // One that is not usherd's is not deleted by it.
            _ => Verdict::Right,
        };
    };
    let Some(parent) = links.get(&wanted.parent) else {
        return match coming {
            true => Verdict::Waits,
            false => Verdict::Wrong(NetError::Missing {
                device: wanted.parent.clone(),
                remedy: "it comes with the data plane: systemctl start usher-dataplane",
            }),
        };
    };
    let Some(link) = found else {
        let step = Step::CreateMacvlan { parent: parent.index, mac: wanted.mac };
        return Verdict::Step(step, vec![Repair::Device]);
    };
    let Kind::Macvlan(mode) = link.kind else { return foreign(link) };
    if mode != Some(MODE) || link.parent != Some(parent.index) {
        return Verdict::Step(Step::Delete { index: link.index }, vec![Repair::Device]);
    }
    if settings != Some(link.index) {
        return Verdict::Step(Step::Settings { index: link.index }, Vec::new());
    }
    // Its MTU follows that of the device below, which is no fault.
    if link.mtu != parent.mtu {
        let step = Step::Set { index: link.index, mac: None, mtu: Some(parent.mtu), up: false };
        return Verdict::Step(step, Vec::new());
    }
    // It is up whether it carries addresses or not: bringing it up later would cost most of a takeover.
    set(link, Some(wanted.mac), None)
        .or_else(|| addresses(link, &wanted.addresses, true, |_| false))
        .unwrap_or(Verdict::Right)
}

fn foreign(link: &Link) -> Verdict {
    Verdict::Wrong(NetError::Foreign { device: link.name.clone(), kind: link.kind.to_string() })
}

/// MAC, MTU and the up flag, each only where it differs.
fn set(link: &Link, mac: Option<[u8; 6]>, mtu: Option<u32>) -> Option<Verdict> {
    let mac = mac.filter(|mac| link.mac != Some(*mac));
    let mtu = mtu.filter(|mtu| link.mtu != *mtu);
    let faults = [mac.map(|_| Repair::Mac), mtu.map(|_| Repair::Mtu), (!link.up).then_some(Repair::Down)];
    let faults: Vec<Repair> = faults.into_iter().flatten().collect();
    let step = Step::Set { index: link.index, mac, mtu, up: !link.up };
    (!faults.is_empty()).then_some(Verdict::Step(step, faults))
}

fn addresses(
    link: &Link,
    wanted: &[Prefix],
    quiet: bool,
    keeps: impl Fn(&Prefix) -> bool,
) -> Option<Verdict> {
    let index = link.index;
    let stranger = |prefix: &&Prefix| !wanted.contains(prefix) && !keeps(prefix);
    if let Some(missing) = wanted.iter().find(|prefix| !link.addresses.contains(prefix)) {
        // IPv6 has an address once, whatever its prefix length.
        let other = link.addresses.iter().find(|prefix| prefix.address == missing.address);
        return Some(match other.filter(|other| other.address.is_ipv6()) {
            Some(other) => {
                Verdict::Step(Step::Remove { index, prefix: *other }, vec![Repair::Stranger(*other)])
            }
            None => {
                Verdict::Step(Step::Add { index, prefix: *missing, quiet }, vec![Repair::Address(*missing)])
            }
        });
    }
    let stranger = *link.addresses.iter().find(stranger)?;
    Some(Verdict::Step(Step::Remove { index, prefix: stranger }, vec![Repair::Stranger(stranger)]))
}
