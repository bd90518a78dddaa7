//! Routes over exception devices that operators have put there, such as `ip route add default via 10.0.0.254 dev exc0`.
//!
//! The kernel has them, and they are the operator's to add and to delete. But the kernel drops them when the device goes
//! down, is deleted or loses its address, also by the interface's own `shutdown`; so they are remembered, and put back
//! when device and address are there again. A route goes for good by `ip route del` while the interface is up. The
//! kernel's own routes come back by themselves, and those of routing daemons and DHCP clients are theirs to restore.

use super::links::Link;
use super::store;
use crate::types::{IfIndex, is_link_local};
use rtnetlink::packet_core::{Emitable as _, Parseable as _};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHopFlags, RouteProtocol, RouteType,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Routes of one device that are remembered; an operator writes a few.
const MOST: usize = 256;
/// A route that was refused so often is given up.
const MOST_REFUSALS: u32 = 8;

/// The remembered routes by the name of their device. Those that the kernel may have dropped are in a file of the run
/// directory, too: the next usherd puts them back if this one dies before.
#[derive(Debug, Default)]
pub(super) struct Routes {
    path: PathBuf,
    devices: BTreeMap<String, Vec<Remembered>>,
    /// Content of the file
    saved: BTreeMap<String, Vec<Vec<u8>>>,
}

#[derive(Debug)]
struct Remembered {
    /// Without the device's index
    message: RouteMessage,
    /// The kernel may have dropped it
    pending: bool,
    refusals: u32,
}

/// The index of the one device of a route that an operator wrote; `None` for any other route.
pub(super) fn device_of(message: &RouteMessage) -> Option<IfIndex> {
    let by_hand = matches!(message.header.protocol, RouteProtocol::Boot | RouteProtocol::Static);
    if !by_hand || message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut indices = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => indices.push(*index),
            RouteAttribute::MultiPath(hops) => indices.extend(hops.iter().map(|hop| hop.interface_index)),
            // Next-hop objects and lifetimes have owners of their own.
            RouteAttribute::NhId(_) | RouteAttribute::Expires(_) => return None,
            RouteAttribute::CacheInfo(info) if info.expires != 0 => return None,
            _ => {}
        }
    }
    indices.dedup();
    match indices[..] {
        [index] => Some(IfIndex::new(index)),
        // One over several devices cannot be put back for one of them.
        _ => None,
    }
}

impl Routes {
    /// Reads the file.
    pub fn load(run_dir: &Path) -> Routes {
        let path = run_dir.join("lost-routes");
        let saved: BTreeMap<String, Vec<Vec<u8>>> = store::load(&path);
        let mut devices = BTreeMap::new();
        for (device, routes) in &saved {
            let read = routes.iter().filter_map(|bytes| RouteMessage::parse(bytes).ok());
            let known = read.map(|message| Remembered {
                message: over(&message, IfIndex::NONE),
                pending: true,
                refusals: 0,
            });
            devices.insert(device.clone(), known.take(MOST).collect());
        }
        Routes { path, devices, saved }
    }

    /// Writes the file where it has changed.
    ///
    /// # Errors
    /// When that fails; it is tried again when something changes.
    pub fn save(&mut self) -> std::io::Result<()> {
        let bytes = |known: &Remembered| {
            let mut bytes = vec![0; known.message.buffer_len()];
            known.message.emit(&mut bytes);
            bytes
        };
        let pending = |(device, routes): (&String, &Vec<Remembered>)| {
            let routes: Vec<_> = routes.iter().filter(|known| known.pending).map(bytes).collect();
            (!routes.is_empty()).then(|| (device.clone(), routes))
        };
        let now: BTreeMap<_, _> = self.devices.iter().filter_map(pending).collect();
        if now != self.saved {
            self.saved = now;
            store::save(&self.path, &self.saved)?;
        }
        Ok(())
    }

    /// Remembers a route over `device`, in place of others to its destination where it replaced them.
    pub fn put(&mut self, device: &str, message: &RouteMessage, replaces: bool) {
        if replaces {
            self.replaced(message);
        }
        let message = over(message, IfIndex::NONE);
        let routes = self.devices.entry(device.to_owned()).or_default();
        if let Some(known) = routes.iter_mut().find(|known| known.message == message) {
            (known.pending, known.refusals) = (false, 0);
        } else if routes.len() < MOST {
            routes.push(Remembered { message, pending: false, refusals: 0 });
            if routes.len() == MOST {
                tracing::warn!(
                    "%NET-4-ROUTES: {device}: {MOST} routes are remembered; those that follow are lost when the device goes down: \
                     let a routing daemon keep so many"
                );
            }
        }
    }

    /// Forgets what has the destination of a route that replaced it.
    pub fn replaced(&mut self, message: &RouteMessage) {
        for routes in self.devices.values_mut() {
            routes.retain(|known| destination(&known.message) != destination(message));
        }
    }

    /// Forgets a route that was deleted, unless that was the kernel's doing: of an IPv4 route that it drops itself the kernel
    /// says nothing, of an IPv6 one it does (skip_notify_on_dev_down in the kernel's ip-sysctl.rst).
    pub fn remove(&mut self, device: &str, message: &RouteMessage) {
        let message = over(message, IfIndex::NONE);
        let by_kernel =
            |known: &Remembered| known.pending && known.message.header.address_family == AddressFamily::Inet6;
        if let Some(routes) = self.devices.get_mut(device) {
            routes.retain(|known| known.message != message || by_kernel(known));
        }
    }

    /// Takes all routes of a device as they are listed now. What the kernel dropped is still remembered.
    pub fn refresh(&mut self, device: &str, listed: &[RouteMessage]) {
        if let Some(routes) = self.devices.get_mut(device) {
            routes.retain(|known| known.pending);
        }
        for message in listed {
            self.put(device, message, false);
        }
    }

    /// The device was down or gone, or has lost an address: the kernel may have dropped its routes, of which it says
    /// nothing for IPv4.
    pub fn disturb(&mut self, device: &str) {
        for known in self.devices.get_mut(device).into_iter().flatten() {
            (known.pending, known.refusals) = (true, 0);
        }
    }

    /// The next route to be put back over a device that carries its addresses.
    pub fn next(&self, device: &str, link: &Link) -> Option<RouteMessage> {
        let ready = |known: &&Remembered| known.pending && is_reachable(&known.message, link);
        let ready = self.devices.get(device)?.iter().filter(ready);
        // Those without a gateway first: gateways may lie behind them. Then those that were refused less often.
        let next = ready.min_by_key(|known| (known.refusals, gateway(&known.message).is_some()))?;
        Some(over(&next.message, link.index))
    }

    /// A route is back in its place.
    pub fn restored(&mut self, device: &str, message: &RouteMessage) {
        if let Some(known) = self.find(device, message) {
            known.pending = false;
        }
    }

    /// The kernel refused a route; whether it is given up.
    pub fn refused(&mut self, device: &str, message: &RouteMessage) -> bool {
        let Some(known) = self.find(device, message) else { return true };
        known.refusals += 1;
        let given_up = known.refusals >= MOST_REFUSALS;
        if given_up {
            known.pending = false;
            self.remove(device, message);
        }
        given_up
    }

    fn find(&mut self, device: &str, message: &RouteMessage) -> Option<&mut Remembered> {
        let message = over(message, IfIndex::NONE);
        self.devices.get_mut(device)?.iter_mut().find(|known| known.message == message)
    }
}

/// The text of a route as `ip route` writes it.
pub(super) fn text(message: &RouteMessage) -> String {
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    let mut text = match destination {
        Some(address) => format!("{address}/{}", message.header.destination_prefix_length),
        None => "default".to_owned(),
    };
    if let Some(gateway) = gateway(message) {
        text.push_str(&format!(" via {gateway}"));
    }
    text
}

/// The route over the device of index `index`, without what the kernel alone says of a route.
fn over(message: &RouteMessage, index: IfIndex) -> RouteMessage {
    let mut message = message.clone();
    message.header.flags &= RouteFlags::Onlink;
    message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::CacheInfo(_)));
    for attribute in &mut message.attributes {
        match attribute {
            RouteAttribute::Oif(of) => *of = index.get(),
            RouteAttribute::MultiPath(hops) => {
                for hop in hops {
                    hop.interface_index = index.get();
                    hop.flags &= RouteNextHopFlags::Onlink;
                }
            }
            _ => {}
        }
    }
    message
}

/// Family, destination with its length, table, priority and type of service: what a route replaces by.
fn destination(message: &RouteMessage) -> (AddressFamily, u8, Option<IpAddr>, u32, Option<u32>, u8) {
    let (mut to, mut table, mut priority) = (None, u32::from(message.header.table), None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => priority = Some(*number),
            _ => {}
        }
    }
    let header = &message.header;
    (header.address_family, header.destination_prefix_length, to, table, priority, header.tos)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn gateway(message: &RouteMessage) -> Option<IpAddr> {
    let of = |attributes: &[RouteAttribute]| {
        attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => ip(address),
            _ => None,
        })
    };
    of(&message.attributes).or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => hops.iter().find_map(|hop| of(&hop.attributes)),
            _ => None,
        })
    })
}

/// Returns whether the device is up and has an address from which the kernel would take the route.
fn is_reachable(message: &RouteMessage, link: &Link) -> bool {
    let v4 = message.header.address_family == AddressFamily::Inet;
    let mut own = link.addresses.iter().filter(|prefix| prefix.address.is_ipv4() == v4);
    let onlink = message.header.flags.contains(RouteFlags::Onlink);
    let source = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(address) => ip(address),
        _ => None,
    });
    let reaches = match gateway(message) {
        Some(gateway) if !onlink && !is_link_local(&gateway) => own.any(|prefix| prefix.covers(gateway)),
        Some(_) | None => own.next().is_some(),
    };
    link.up && reaches && source.is_none_or(|source| link.has(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::links::Kind;
    use crate::types::Prefix;

    fn link(index: u32, addresses: &[(&str, u8)]) -> Link {
        let addresses = addresses
            .iter()
            .map(|(address, length)| Prefix { address: address.parse().unwrap(), length: *length });
        Link {
            index: IfIndex::new(index),
            name: "exc0".to_owned(),
            mac: None,
            up: true,
            running: true,
            mtu: 1500,
            parent: None,
            kind: Kind::Tun,
            addresses: addresses.collect(),
            duplicates: std::collections::BTreeSet::new(),
            packet: None,
        }
    }

    fn route(index: u32, to: Option<(&str, u8)>, via: Option<&str>) -> RouteMessage {
        let address = |text: &str| RouteAddress::Inet(text.parse().unwrap());
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.protocol = RouteProtocol::Boot;
        message.header.kind = RouteType::Unicast;
        if let Some((to, length)) = to {
            message.header.destination_prefix_length = length;
            message.attributes.push(RouteAttribute::Destination(address(to)));
        }
        message.attributes.extend(via.map(|via| RouteAttribute::Gateway(address(via))));
        message.attributes.push(RouteAttribute::Oif(index));
        message
    }

    #[test]
    fn a_route_comes_back_over_the_new_index_and_with_the_address_that_reaches_its_gateway() {
        let mut routes = Routes::default();
        routes.put("exc0", &route(7, None, Some("10.0.0.254")), false);
        assert!(routes.next("exc0", &link(7, &[("10.0.0.1", 24)])).is_none(), "nothing was lost");
        routes.disturb("exc0");
        assert!(routes.next("exc0", &link(8, &[])).is_none());
        assert!(routes.next("exc0", &link(8, &[("10.1.0.1", 24)])).is_none());
        let next = routes.next("exc0", &link(8, &[("10.0.0.1", 24)])).unwrap();
        assert_eq!(device_of(&next), Some(IfIndex::new(8)));
        assert_eq!(text(&next), "default via 10.0.0.254");
        routes.restored("exc0", &next);
        assert!(routes.next("exc0", &link(8, &[("10.0.0.1", 24)])).is_none());
    }

    #[test]
    fn a_route_that_the_operator_deletes_is_forgotten_and_one_that_the_kernel_drops_is_not() {
        let mut routes = Routes::default();
        let (one, two) = (route(7, None, Some("10.0.0.254")), route(7, Some(("10.9.0.0", 16)), None));
        let mut v6 = route(7, None, None);
        v6.header.address_family = AddressFamily::Inet6;
        for message in [&one, &two, &v6] {
            routes.put("exc0", message, false);
        }
        routes.remove("exc0", &one);
        routes.disturb("exc0");
        // Deleted just before the device was disturbed, and read after that.
        routes.remove("exc0", &two);
        routes.remove("exc0", &v6);
        let next = routes.next("exc0", &link(7, &[("10.0.0.1", 24), ("2001:db8::1", 64)])).unwrap();
        assert_eq!(next.header.address_family, AddressFamily::Inet6);
        routes.restored("exc0", &next);
        assert!(routes.next("exc0", &link(7, &[("10.0.0.1", 24), ("2001:db8::1", 64)])).is_none());
        routes.remove("exc0", &v6);
        routes.disturb("exc0");
        assert!(routes.next("exc0", &link(7, &[("2001:db8::1", 64)])).is_none());
    }

    #[test]
    fn a_route_that_replaces_another_takes_its_place() {
        let mut routes = Routes::default();
        routes.put("exc0", &route(7, None, Some("10.0.0.254")), false);
        routes.put("exc0", &route(7, None, Some("10.0.0.253")), true);
        routes.disturb("exc0");
        let own = link(7, &[("10.0.0.1", 24)]);
        let next = routes.next("exc0", &own).unwrap();
        assert_eq!(text(&next), "default via 10.0.0.253");
        routes.restored("exc0", &next);
        assert!(routes.next("exc0", &own).is_none());
        // Also while the kernel may have dropped the one before: what is written last stands.
        routes.disturb("exc0");
        routes.put("exc0", &route(7, None, Some("10.0.0.252")), true);
        assert!(routes.next("exc0", &own).is_none());
        // Over another device.
        routes.replaced(&route(9, None, Some("10.7.0.1")));
        routes.disturb("exc0");
        assert!(routes.next("exc0", &own).is_none());
    }

    #[test]
    fn a_route_that_is_lost_outlives_usherd_and_one_that_is_in_place_is_the_kernels() {
        let dir = tempfile::tempdir().unwrap();
        let own = link(7, &[("10.0.0.1", 24)]);
        let mut routes = Routes::load(dir.path());
        routes.put("exc0", &route(7, None, Some("10.0.0.254")), false);
        routes.disturb("exc0");
        routes.put("exc0", &route(7, Some(("10.9.0.0", 16)), None), false);
        routes.save().unwrap();
        let mut next = Routes::load(dir.path());
        let message = next.next("exc0", &own).unwrap();
        assert_eq!(text(&message), "default via 10.0.0.254");
        next.restored("exc0", &message);
        assert!(next.next("exc0", &own).is_none());
        next.save().unwrap();
        assert!(Routes::load(dir.path()).next("exc0", &own).is_none());
    }

    #[test]
    fn routes_of_others_and_over_several_devices_are_not_remembered() {
        let mut learned = route(7, None, Some("10.0.0.254"));
        learned.header.protocol = RouteProtocol::Bird;
        assert_eq!(device_of(&learned), None);
        let mut both = route(7, None, None);
        both.attributes.push(RouteAttribute::Oif(8));
        assert_eq!(device_of(&both), None);
    }

    #[test]
    fn routes_are_bounded_and_one_that_is_always_refused_is_given_up() {
        let mut routes = Routes::default();
        for n in 0..1000u32 {
            let to = std::net::Ipv4Addr::from(0x0b00_0000 + n).to_string();
            routes.put("exc0", &route(7, Some((&to, 32)), None), false);
        }
        assert_eq!(routes.devices["exc0"].len(), MOST);
        routes.disturb("exc0");
        let own = link(7, &[("10.0.0.1", 24)]);
        let mut tries = 0;
        while let Some(next) = routes.next("exc0", &own) {
            routes.refused("exc0", &next);
            tries += 1;
        }
        assert_eq!(tries, MOST * MOST_REFUSALS as usize);
    }
}
