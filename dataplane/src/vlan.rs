//! Subinterfaces: which interface of a port a frame belongs to, and the kernel's side of each VLAN.
//!
//! A VLAN of the profile (`vlans`) is an interface of its own, with a number behind those of the ports. The port's frames
//! carry one customer tag (802.1Q) there; the VLAN's exception device sees them without it.

use dpdk::{Burst, Mbuf, RxQueue, TxQueue};
use platform::profile::MAX_DEVICES;
use platform::wire::ethernet::{self, Frame, NO_VLAN};

/// Number of no interface: of a frame that has the tag of a subinterface and another one in it.
pub const NOBODY: u16 = 0xfffe;

/// The VLANs of a port that have a subinterface.
#[derive(Debug, Clone, Copy)]
pub struct Vlans {
    /// Number of the first one's interface; those of the others follow.
    first: u16,
    count: u16,
    vlans: [u16; MAX_DEVICES],
}

impl Vlans {
    /// A port without subinterfaces.
    pub const NONE: Vlans = Vlans { first: NOBODY, count: 0, vlans: [NO_VLAN; MAX_DEVICES] };

    /// The VLANs whose interfaces are numbered from `first`; at most [`MAX_DEVICES`], as the profile has.
    pub fn new(first: u16, vlans: &[u16]) -> Vlans {
        let mut of = Vlans { first, ..Vlans::NONE };
        for (slot, vlan) in of.vlans.iter_mut().zip(vlans) {
            *slot = *vlan;
            of.count += 1;
        }
        of
    }

    /// There is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the interface of this number is one of these.
    #[inline]
    pub fn contains(&self, interface: u16) -> bool {
        (self.first..self.first + self.count).contains(&interface)
    }

    /// The number of the interface that a frame on port number `port` belongs to: the subinterface of its one tag, else
    /// the port itself.
    #[inline]
    pub fn interface(&self, eth: &Frame<'_>, port: u16) -> u16 {
        if self.is_empty() {
            return port;
        }
        let [outer, inner] = eth.vlans();
        match self.tagged(outer, port) {
            interface if interface == port || !eth.customer_tagged() => port,
            interface if inner == NO_VLAN => interface,
            // Whoever sends into a subinterface's VLAN gets at no other interface by a tag within the tag.
            _ => NOBODY,
        }
    }

    /// The same of a frame that has the tag of a VLAN, a customer's, and no other.
    #[inline]
    pub fn tagged(&self, vlan: u16, port: u16) -> u16 {
        let found = self.vlans.iter().take(self.count.into()).position(|of| *of == vlan);
        found.map_or(port, |at| self.first + at as u16)
    }
}

/// The kernel's side of a VLAN, on cache lines of its own.
#[repr(align(128))]
pub struct VlanQueues {
    /// The VLAN.
    pub vlan: u16,
    /// Frames from its exception device.
    pub rx: RxQueue,
    /// Frames to it.
    pub tx: TxQueue,
    to_kernel: Burst,
}

impl VlanQueues {
    /// The queues of a VLAN's exception device.
    pub fn new(vlan: u16, (rx, tx): (RxQueue, TxQueue)) -> VlanQueues {
        VlanQueues { vlan, rx, tx, to_kernel: Burst::new() }
    }

    /// The frames that [`sort`] found for it.
    #[inline]
    pub(crate) fn found(&mut self) -> (&TxQueue, &mut Burst) {
        (&self.tx, &mut self.to_kernel)
    }
}

/// Takes the frames that belong to one of the VLANs out of a burst, their tags off; the others stay, in their order.
pub(crate) fn sort(burst: &mut Burst, vlans: &mut [VlanQueues]) {
    let mut all = std::mem::take(burst);
    for mut mbuf in all.drain() {
        let vlan = ethernet::only_vlan(mbuf.data());
        let place = vlan.and_then(|vlan| vlans.iter_mut().find(|of| of.vlan == vlan));
        // There is room: all come from one burst.
        let _ = match place {
            Some(of) if untag(&mut mbuf) => of.to_kernel.push(mbuf),
            _ => burst.push(mbuf),
        };
    }
}

fn untag(mbuf: &mut Mbuf) -> bool {
    ethernet::cover_tag(mbuf.data_mut());
    mbuf.trim_front(ethernet::TAG_LEN).is_ok()
}

/// Gives a frame the tag of a VLAN; false where there is no room for it.
#[inline]
pub(crate) fn tag(mbuf: &mut Mbuf, vlan: u16) -> bool {
    let fits = mbuf.grow_front(ethernet::TAG_LEN).is_ok();
    if fits {
        ethernet::write_tag(mbuf.data_mut(), vlan);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tags: &[(u16, u16)]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for (kind, tag) in tags {
            frame.extend([kind.to_be_bytes(), tag.to_be_bytes()].concat());
        }
        frame.extend([8, 0, 0x45]);
        frame
    }

    #[test]
    fn a_frame_belongs_to_the_subinterface_of_its_one_tag() {
        let vlans = Vlans::new(5, &[100, 7]);
        let of = |tags: &[(u16, u16)]| vlans.interface(&Frame::new_checked(&frame(tags)).unwrap(), 2);
        for (tags, interface) in [
            (&[][..], 2),
            (&[(0x8100, 100)], 5),
            (&[(0x8100, 0xe000 | 7)], 6),
            // A priority tag, a VLAN without a subinterface, a service tag: the port's own, as ever.
            (&[(0x8100, 0xa000)], 2),
            (&[(0x8100, 8)], 2),
            (&[(0x88a8, 100)], 2),
            (&[(0x8100, 8), (0x8100, 100)], 2),
            (&[(0x8100, 100), (0x8100, 7)], NOBODY),
            (&[(0x8100, 100), (0x8100, 8), (0x8100, 8)], NOBODY),
        ] {
            assert_eq!(of(tags), interface, "{tags:x?}");
        }
        assert!(vlans.contains(5) && vlans.contains(6) && !vlans.contains(7) && !vlans.contains(2));
        let tagged = frame(&[(0x8100, 100)]);
        assert_eq!(Vlans::NONE.interface(&Frame::new_checked(&tagged).unwrap(), 2), 2);
        assert!(!Vlans::NONE.contains(NOBODY));
    }
}
