//! The kernel's devices as plain data: what a dump and the events of rtnetlink add up to.

use crate::types::{IfIndex, Prefix, is_link_local};
use nix::sys::socket::LinkAddr;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The kind of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A macvlan with its mode
    Macvlan(Option<MacVlanMode>),
    /// A TUN or TAP device
    Tun,
    /// Any other kind by the kernel's name for it, such as `veth`; empty for hardware
    Other(String),
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Macvlan(_) => f.write_str("macvlan"),
            Kind::Tun => f.write_str("tun"),
            Kind::Other(name) if name.is_empty() => f.write_str("hardware"),
            Kind::Other(name) => f.write_str(name),
        }
    }
}

/// A device of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index
    pub index: IfIndex,
    /// Name
    pub name: String,
    /// MAC address, where it has one
    pub mac: Option<[u8; 6]>,
    /// It is administratively up
    pub up: bool,
    /// It is up and its frames are carried (IFF_RUNNING)
    pub running: bool,
    /// MTU, bytes
    pub mtu: u32,
    /// Index of the device below it, in this namespace
    pub parent: Option<IfIndex>,
    /// Kind
    pub kind: Kind,
    /// Addresses with their prefix lengths, in the kernel's order of arrival
    pub addresses: Vec<Prefix>,
    /// Those of them that another host on the link has: the kernel does not use them
    pub duplicates: BTreeSet<Prefix>,
    /// Its packet address for frames that are sent on it, known for the devices that the reconciler looks after
    pub packet: Option<LinkAddr>,
}

impl Link {
    /// The lowest link-local IPv6 address: the choice does not depend on the kernel's order.
    #[must_use]
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        let link_locals = self.addresses.iter().filter_map(|prefix| match prefix.address {
            IpAddr::V6(address) if is_link_local(&prefix.address) => Some(address),
            _ => None,
        });
        link_locals.min()
    }

    /// Returns whether the device carries this address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|prefix| prefix.address == address)
    }
}

/// All devices of the kernel. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkTable {
    links: BTreeMap<IfIndex, Arc<Link>>,
    names: BTreeMap<String, IfIndex>,
}

impl LinkTable {
    /// The device of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Link> {
        self.by_index(*self.names.get(name)?)
    }

    /// The device of this index.
    #[must_use]
    pub fn by_index(&self, index: IfIndex) -> Option<&Link> {
        self.links.get(&index).map(Arc::as_ref)
    }

    /// The index of a device.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<IfIndex> {
        self.names.get(name).copied()
    }

    /// The MAC address of a device.
    #[must_use]
    pub fn mac(&self, name: &str) -> Option<[u8; 6]> {
        self.get(name)?.mac
    }

    /// Returns whether a device is up and its frames are carried.
    #[must_use]
    pub fn is_running(&self, name: &str) -> bool {
        self.get(name).is_some_and(|link| link.running)
    }

    /// The lowest link-local address of a device.
    #[must_use]
    pub fn link_local(&self, name: &str) -> Option<Ipv6Addr> {
        self.get(name)?.link_local()
    }

    /// The addresses of a device; none when there is no such device.
    #[must_use]
    pub fn addresses(&self, name: &str) -> &[Prefix] {
        self.get(name).map_or(&[], |link| &link.addresses)
    }

    /// The packet address of a device.
    #[must_use]
    pub fn packet(&self, name: &str) -> Option<LinkAddr> {
        self.get(name)?.packet
    }

    /// All devices by index.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.values().map(Arc::as_ref)
    }

    /// Takes a device that is new or has changed; whether that changed the table. What the message leaves out stays.
    pub(super) fn put_link(&mut self, message: &LinkMessage) -> bool {
        // A bridge sends messages about its ports in a family of its own.
        if message.header.interface_family != AddressFamily::Unspec {
            return false;
        }
        let index = IfIndex::new(message.header.index);
        let flags = message.header.flags;
        let known = self.links.get(&index);
        let mut link = known.map_or_else(|| Link::unknown(index), |link| Link::clone(link));
        link.up = flags.contains(LinkFlags::Up);
        link.running = flags.contains(LinkFlags::Up | LinkFlags::Running);
        let mut elsewhere = false;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Link(parent) => link.parent = Some(IfIndex::new(*parent)),
                // The other end of a veth in another namespace, for one.
                LinkAttribute::LinkNetNsId(_) => elsewhere = true,
                LinkAttribute::LinkInfo(infos) => link.kind = kind_in(infos),
                _ => {}
            }
        }
        if elsewhere {
            link.parent = None;
        }
        if known.is_some_and(|known| **known == link) {
            return false;
        }
        if let Some(old) = known.filter(|old| old.name != link.name) {
            let old = old.name.clone();
            self.forget_name(&old, index);
        }
        self.names.insert(link.name.clone(), index);
        self.links.insert(index, Arc::new(link));
        true
    }

    /// Takes a device away; whether it was there.
    pub(super) fn remove_link(&mut self, message: &LinkMessage) -> bool {
        // A port that leaves its bridge is deleted in the bridge's family only.
        if message.header.interface_family != AddressFamily::Unspec {
            return false;
        }
        let Some(link) = self.links.remove(&IfIndex::new(message.header.index)) else { return false };
        self.forget_name(&link.name, link.index);
        true
    }

    /// Another device may have the name already.
    fn forget_name(&mut self, name: &str, index: IfIndex) {
        if self.names.get(name) == Some(&index) {
            self.names.remove(name);
        }
    }

    /// Takes an address that is new; whether that changed the table.
    pub(super) fn put_address(&mut self, message: &AddressMessage) -> bool {
        let Some(prefix) = prefix_in(message) else { return false };
        let is_duplicate = message.header.flags.contains(AddressHeaderFlags::Dadfailed);
        let index = IfIndex::new(message.header.index);
        let added = self.put_prefix(index, prefix);
        match self.links.get_mut(&index) {
            Some(link) if link.duplicates.contains(&prefix) != is_duplicate => {
                let duplicates = &mut Arc::make_mut(link).duplicates;
                if is_duplicate { duplicates.insert(prefix) } else { duplicates.remove(&prefix) }
            }
            _ => added,
        }
    }

    /// Takes an address of a device; whether that changed the table.
    pub(super) fn put_prefix(&mut self, index: IfIndex, prefix: Prefix) -> bool {
        match self.links.get_mut(&index) {
            Some(link) if !link.addresses.contains(&prefix) => {
                Arc::make_mut(link).addresses.push(prefix);
                true
            }
            _ => false,
        }
    }

    /// Takes an address away; whether it was there.
    pub(super) fn remove_address(&mut self, message: &AddressMessage) -> bool {
        let Some(prefix) = prefix_in(message) else { return false };
        self.remove_prefix(IfIndex::new(message.header.index), prefix)
    }

    /// Takes an address off a device; whether it was there.
    pub(super) fn remove_prefix(&mut self, index: IfIndex, prefix: Prefix) -> bool {
        match self.links.get_mut(&index) {
            Some(link) if link.addresses.contains(&prefix) => {
                let link = Arc::make_mut(link);
                link.addresses.retain(|one| *one != prefix);
                link.duplicates.remove(&prefix);
                true
            }
            _ => false,
        }
    }

    /// Takes the packet address of a device; whether that changed the table.
    pub(super) fn put_packet(&mut self, name: &str, packet: LinkAddr) -> bool {
        let Some(index) = self.index(name).filter(|index| index.get() as usize == packet.ifindex()) else {
            return false;
        };
        match self.links.get_mut(&index) {
            Some(link) if link.packet != Some(packet) => {
                Arc::make_mut(link).packet = Some(packet);
                true
            }
            _ => false,
        }
    }
}

impl Link {
    fn unknown(index: IfIndex) -> Link {
        Link {
            index,
            name: String::new(),
            mac: None,
            up: false,
            running: false,
            mtu: 0,
            parent: None,
            kind: Kind::Other(String::new()),
            addresses: Vec::new(),
            duplicates: BTreeSet::new(),
            packet: None,
        }
    }
}

fn kind_in(infos: &[LinkInfo]) -> Kind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        Some(InfoKind::MacVlan) => Kind::Macvlan(infos.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::MacVlan(data)) => data.iter().find_map(|one| match one {
                InfoMacVlan::Mode(mode) => Some(*mode),
                _ => None,
            }),
            _ => None,
        })),
        Some(InfoKind::Tun) => Kind::Tun,
        Some(other) => Kind::Other(other.to_string()),
        None => Kind::Other(String::new()),
    }
}

/// The address of a message: IPv4's is the local one, IPv6 has only the other.
pub(super) fn prefix_in(message: &AddressMessage) -> Option<Prefix> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    Some(Prefix { address, length: message.header.prefix_len })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, flags: LinkFlags) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        message
    }

    fn address(index: u32, prefix: &str, length: u8) -> AddressMessage {
        let mut message = AddressMessage::default();
        (message.header.index, message.header.prefix_len) = (index, length);
        message.attributes = vec![AddressAttribute::Address(prefix.parse().unwrap())];
        message
    }

    #[test]
    fn a_message_changes_only_what_it_names() {
        let mut table = LinkTable::default();
        let mut first = link(7, "exc0", LinkFlags::Up);
        first.attributes.push(LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]));
        first.attributes.push(LinkAttribute::Mtu(1400));
        assert!(table.put_link(&first));
        assert!(!table.put_link(&first), "the same once more");
        assert!(table.put_address(&address(7, "10.0.0.1", 24)));
        assert!(table.put_link(&link(7, "exc0", LinkFlags::Up | LinkFlags::Running)));
        let found = table.get("exc0").unwrap();
        assert_eq!((found.mac, found.mtu, found.running), (Some([2, 0, 0, 0, 0, 1]), 1400, true));
        assert_eq!(found.addresses.len(), 1);
        assert!(!table.put_address(&address(8, "10.0.0.1", 24)), "no such device");
    }

    #[test]
    fn a_duplicate_address_is_one_until_the_kernel_says_otherwise() {
        let mut table = LinkTable::default();
        table.put_link(&link(7, "exc0", LinkFlags::Up));
        let right = address(7, "2001:db8::1", 64);
        let mut duplicate = right.clone();
        duplicate.header.flags = AddressHeaderFlags::Dadfailed;
        let duplicates = |table: &LinkTable| table.get("exc0").unwrap().duplicates.len();
        assert!(table.put_address(&right) && table.put_address(&duplicate));
        assert!(!table.put_address(&duplicate), "the same once more");
        assert_eq!(duplicates(&table), 1);
        assert!(table.put_address(&right), "the search was repeated");
        assert_eq!(duplicates(&table), 0);
        table.put_address(&duplicate);
        assert!(table.remove_address(&right));
        assert_eq!(duplicates(&table), 0);
    }

    #[test]
    fn a_port_that_leaves_a_bridge_is_still_there() {
        let mut table = LinkTable::default();
        table.put_link(&link(7, "exc0", LinkFlags::Up));
        let mut gone = link(7, "exc0", LinkFlags::empty());
        gone.header.interface_family = AddressFamily::Bridge;
        assert!(!table.remove_link(&gone) && !table.put_link(&gone));
        assert!(table.get("exc0").is_some_and(|link| link.up));
    }

    #[test]
    fn a_name_goes_to_another_device() {
        let mut table = LinkTable::default();
        table.put_link(&link(7, "exc0", LinkFlags::Up));
        assert!(table.put_link(&link(7, "old", LinkFlags::Up)));
        assert_eq!((table.index("exc0"), table.index("old")), (None, Some(IfIndex::new(7))));
        // The new one is told of before the old one goes.
        table.put_link(&link(8, "old", LinkFlags::Up));
        assert!(table.remove_link(&link(7, "old", LinkFlags::empty())));
        assert_eq!(table.index("old"), Some(IfIndex::new(8)));
    }

    #[test]
    fn the_lowest_link_local_address_is_taken() {
        let mut table = LinkTable::default();
        table.put_link(&link(7, "exc0", LinkFlags::Up));
        for one in ["fe80::9", "2001:db8::1", "fe80::2"] {
            table.put_address(&address(7, one, 64));
        }
        assert_eq!(table.link_local("exc0"), Some("fe80::2".parse().unwrap()));
        table.remove_address(&address(7, "fe80::2", 64));
        assert_eq!(table.link_local("exc0"), Some("fe80::9".parse().unwrap()));
        assert_eq!(table.addresses("absent"), []);
    }
}
