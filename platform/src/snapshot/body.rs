//! What the control plane tells the workers: virtual addresses, their gateways and slots, as plain data.
//!
//! The structs are laid out as they lie in shared memory: no implicit padding, every size a multiple of 8 bytes, native
//! byte order (both sides run on one machine). A change of any of them is a new [`LAYOUT_VERSION`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Virtual addresses one snapshot can hold (IPv4 and IPv6 counted apart).
pub const MAX_VIPS: usize = 32;
/// Gateways one virtual address can name.
pub const MAX_GATEWAYS: usize = 64;
/// Slots of a virtual address: the keyed hash of a request picks one.
pub const SLOTS: usize = 1024;
/// Lease words of a snapshot, one a redundancy group.
pub const MAX_GROUPS: usize = 32;
/// Slot value: no gateway, the request passes to the local daemon.
pub const NO_GATEWAY: u8 = 0xff;
/// [`Vip::port`]: the address is served on every port.
pub const ANY_PORT: u16 = 0xffff;
/// Version of the layout of both shared memories; processes of different versions refuse each other.
pub const LAYOUT_VERSION: u32 = 5;

/// Bit of [`Vip::flags`]: IKE_SA_INIT is redirected here (`crypto ikev2 redirect gateway init`, and the cluster is up).
pub const VIP_REDIRECT_INIT: u8 = 1 << 0;
/// Bit of [`Vip::flags`]: an own address of a member that sheds load, not a virtual one.
pub const VIP_OWN: u8 = 1 << 1;
/// Bit of [`Gateway::flags`]: alive, neither draining nor overloaded.
pub const GATEWAY_USABLE: u64 = 1 << 0;
/// Bit of [`Gateway::flags`]: this node itself.
pub const GATEWAY_SELF: u64 = 1 << 1;

/// Everything a worker needs to decide: published whole, copied whole.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Body {
    /// Entries of `vips` in use, at most [`MAX_VIPS`].
    pub vip_count: u32,
    /// TCP port of the cluster's load feed, 1-65535; 0: there is none.
    pub clb_port: u16,
    /// Zero.
    pub _pad: u16,
    /// When this was published, CLOCK_MONOTONIC in ns; for show only.
    pub published_ns: u64,
    /// Key of the hash that picks a slot.
    pub hash_key: [u64; 2],
    /// The virtual addresses; beyond `vip_count` the content has no meaning.
    pub vips: [Vip; MAX_VIPS],
}

/// One virtual address.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vip {
    /// The address; IPv4 in the first 4 bytes, the rest zero.
    pub addr: [u8; 16],
    /// This node's own interface address in the same family; all zero: none.
    pub own: [u8; 16],
    /// The virtual MAC.
    pub mac: [u8; 6],
    /// 4 or 6.
    pub family: u8,
    /// A [`VipState`] as its number.
    pub state: u8,
    /// [`VIP_REDIRECT_INIT`], [`VIP_OWN`].
    pub flags: u8,
    /// Zero.
    pub _pad0: u8,
    /// Index of the lease word, below [`MAX_GROUPS`]; a group keeps its index for the life of the writer.
    pub group: u16,
    /// Index of the data plane's port this address lives on, subinterfaces counted behind the ports, or [`ANY_PORT`].
    pub port: u16,
    /// Entries of `gateways` in use, at most [`MAX_GATEWAYS`].
    pub gateway_count: u16,
    /// Grows at each gain of the active role.
    pub epoch: u64,
    /// The gateways; an index keeps its meaning from publish to publish where possible, for counters are kept by it.
    pub gateways: [Gateway; MAX_GATEWAYS],
    /// Index into `gateways` by slot, or [`NO_GATEWAY`].
    pub slots: [u8; SLOTS],
}

/// One gateway of a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Gateway {
    /// The address in the family of the virtual one; IPv4 in the first 4 bytes, the rest zero.
    pub addr: [u8; 16],
    /// [`GATEWAY_USABLE`], [`GATEWAY_SELF`].
    pub flags: u64,
}

/// What this node is for a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum VipState {
    /// Not ours: frames to it are nobody's business here.
    Inactive = 0,
    /// About to become ours: the MAC filter is wanted, nothing is answered yet.
    Prepared = 1,
    /// Ours while the group's lease runs.
    Active = 2,
}

impl Body {
    /// An empty snapshot on the heap: no virtual address, all bytes zero.
    pub fn boxed() -> Box<Body> {
        Self::new_box_zeroed().expect("an allocation of 84 KiB")
    }

    /// The virtual addresses in use.
    #[inline]
    pub fn vips(&self) -> &[Vip] {
        &self.vips[..(self.vip_count as usize).min(MAX_VIPS)]
    }

    /// Makes every count and index hold by construction, whatever the memory said, so that no user of a copy can be led
    /// out of an array: counts are cut, a slot beyond the gateways passes, an address of an unknown group is inactive.
    pub(super) fn sanitise(&mut self) {
        self.vip_count = self.vip_count.min(MAX_VIPS as u32);
        for vip in &mut self.vips[..self.vip_count as usize] {
            vip.gateway_count = vip.gateway_count.min(MAX_GATEWAYS as u16);
            let gateways = vip.gateway_count as u8;
            for slot in &mut vip.slots {
                *slot = if *slot < gateways { *slot } else { NO_GATEWAY };
            }
            if usize::from(vip.group) >= MAX_GROUPS || !matches!(vip.family, 4 | 6) {
                vip.state = VipState::Inactive as u8;
                vip.group = 0;
            }
        }
    }
}

impl Vip {
    /// All bytes zero save the slots, which name no gateway, and the port, which is any.
    pub fn empty() -> Vip {
        let mut vip = Vip::new_zeroed();
        vip.slots = [NO_GATEWAY; SLOTS];
        vip.port = ANY_PORT;
        vip
    }

    /// The address, if the family is one we know.
    pub fn ip(&self) -> Option<IpAddr> {
        ip16(self.family, &self.addr)
    }

    /// This node's own address in the family of this one, if there is one.
    pub fn own_ip(&self) -> Option<IpAddr> {
        ip16(self.family, &self.own).filter(|ip| !ip.is_unspecified())
    }

    /// The state; a number this version does not know is [`VipState::Inactive`].
    #[inline]
    pub fn state(&self) -> VipState {
        match self.state {
            1 => VipState::Prepared,
            2 => VipState::Active,
            _ => VipState::Inactive,
        }
    }

    /// The gateways in use.
    #[inline]
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways[..usize::from(self.gateway_count).min(MAX_GATEWAYS)]
    }

    /// The gateway a slot names and its index; `None`: no gateway, pass. `slot` is taken modulo [`SLOTS`].
    #[inline]
    pub fn gateway_at(&self, slot: usize) -> Option<(usize, &Gateway)> {
        let index = usize::from(self.slots[slot % SLOTS]);
        self.gateways().get(index).map(|gateway| (index, gateway))
    }
}

impl Gateway {
    /// The address; `family` is that of the virtual address.
    pub fn ip(&self, family: u8) -> Option<IpAddr> {
        ip16(family, &self.addr)
    }

    /// Whether it may be named to a client now.
    #[inline]
    pub fn usable(&self) -> bool {
        self.flags & GATEWAY_USABLE != 0
    }

    /// Whether it is this node itself.
    #[inline]
    pub fn is_self(&self) -> bool {
        self.flags & GATEWAY_SELF != 0
    }
}

/// An address in the 16 bytes of the snapshot: IPv4 in the first 4 bytes, the rest zero.
pub fn addr16(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The inverse of [`addr16`]; `None` if `family` is neither 4 nor 6.
pub fn ip16(family: u8, bytes: &[u8; 16]) -> Option<IpAddr> {
    match family {
        4 => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        6 => Some(Ipv6Addr::from(*bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_whole_words_of_a_fixed_size() {
        assert_eq!(size_of::<Gateway>(), 24);
        assert_eq!(size_of::<Vip>(), 56 + 24 * MAX_GATEWAYS + SLOTS);
        assert_eq!(size_of::<Vip>() % 8, 0);
        assert_eq!(size_of::<Body>(), 32 + MAX_VIPS * size_of::<Vip>());
        assert_eq!(align_of::<Body>(), 8);
    }

    #[test]
    fn addresses_of_both_families_come_back() {
        for (family, ip) in [(4, "192.0.2.7"), (6, "2001:db8::7")] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(ip16(family, &addr16(ip)), Some(ip));
        }
        assert_eq!(ip16(0, &[0; 16]), None);
        let mut vip = Vip::empty();
        vip.family = 4;
        assert_eq!(vip.own_ip(), None);
    }

    #[test]
    fn a_body_of_hostile_bytes_is_made_harmless() {
        let mut body = Body::boxed();
        body.as_mut_bytes().fill(0xa5);
        body.sanitise();
        assert_eq!(body.vips().len(), MAX_VIPS);
        for vip in body.vips() {
            assert_eq!(vip.gateways().len(), MAX_GATEWAYS);
            assert!(vip.slots.iter().all(|slot| *slot == NO_GATEWAY));
            assert!(usize::from(vip.group) < MAX_GROUPS);
            assert_eq!(vip.state(), VipState::Inactive);
            assert!(vip.gateway_at(usize::MAX).is_none());
        }
    }
}
