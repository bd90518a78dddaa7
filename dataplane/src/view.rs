//! A worker's view of the snapshot: its private copy, what follows from it, and what each address may do right now.

use crossbeam::utils::CachePadded;
use platform::lines::Lines;
use platform::snapshot::{
    ANY_PORT, Body, Copy, MAX_VIPS, Reader, Refresh, VIP_OWN, VIP_REDIRECT_INIT, Vip, VipState,
};
use platform::wire::ethernet::Mac;

use crate::Reason;

/// What requests to one virtual address get at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The lease runs: answer.
    Answer,
    /// Not ours to answer: the kernel's side gets it, for this reason.
    Pass(Reason),
    /// The lease ended while a peer is known: nothing may leave or enter in this address's name.
    Fence,
}

/// What a frame's destination is looked up by, and what it gets: one half of a cache line an address, so that a node with
/// many of them finds the right one in a few lines.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub struct Target {
    addr: [u8; 16],
    port: u16,
    family: u8,
    /// The virtual MAC.
    pub mac: Mac,
    /// What requests to the address get.
    pub gate: Gate,
}

const _: () = assert!(size_of::<Target>() == 32);

impl Target {
    /// The place of none: no frame is of family 0.
    const NONE: Target = Target { addr: [0; 16], port: 0, family: 0, mac: [0; 6], gate: Gate::Fence };

    fn new(vip: &Vip, gate: Gate) -> Self {
        Target { addr: vip.addr, port: vip.port, family: vip.family, mac: vip.mac, gate }
    }
}

/// The private copy and its gates. Everything that is asked per packet is plain memory of this thread.
pub struct View {
    copy: Copy,
    /// The first so many belong to the virtual addresses of the copy.
    count: usize,
    targets: Box<CachePadded<[Target; MAX_VIPS]>>,
    fenced: bool,
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// A view without any virtual address.
    pub fn new() -> Self {
        let targets = Box::new(CachePadded::new([Target::NONE; MAX_VIPS]));
        View { copy: Copy::empty(), count: 0, targets, fenced: false }
    }

    /// A view of a body that never changes and whose addresses are answered for ever: static mode and replay.
    pub fn fixed(body: Box<Body>) -> Self {
        let mut view = View::new();
        **view.copy.body = *body;
        view.retarget(|vip| gate(vip, true, false));
        view
    }

    /// Once a burst: copies the snapshot if it moved, and reads leases and their end.
    #[inline]
    pub fn refresh(&mut self, reader: &Reader, now_ns: u64) -> Refresh {
        let refresh = reader.refresh(&mut self.copy);
        if let Refresh::Copied = refresh {
            self.retarget(|_| Gate::Fence);
        }
        // The leases of another instance say nothing about this copy: they speak of other groups.
        let ours = self.copy.instance == reader.instance();
        self.fenced = false;
        for (vip, target) in self.copy.body.vips().iter().zip(&mut self.targets[..]) {
            let lease = reader.lease(usize::from(vip.group));
            target.gate = gate(vip, ours && lease.runs(now_ns), ours && lease.peer_known);
            self.fenced |= target.gate == Gate::Fence;
        }
        refresh
    }

    #[cold]
    fn retarget(&mut self, gate: impl Fn(&Vip) -> Gate) {
        self.count = self.copy.body.vips().len();
        for (vip, target) in self.copy.body.vips().iter().zip(&mut self.targets[..]) {
            *target = Target::new(vip, gate(vip));
        }
    }

    #[inline(always)]
    fn targets(&self) -> &[Target] {
        &self.targets[..self.count]
    }

    /// Adds the heap memory that [`View::refresh`] writes.
    pub fn writes(&self, lines: &mut Lines) {
        self.copy.writes(lines);
        lines.add("targets", &*self.targets);
    }

    /// The snapshot's instance and generation that this view shows.
    pub fn applied(&self) -> (u64, u64) {
        (self.copy.instance, self.copy.generation)
    }

    /// The body.
    #[inline]
    pub fn body(&self) -> &Body {
        &self.copy.body
    }

    /// The virtual address with this index.
    #[inline]
    pub fn vip(&self, index: usize) -> Option<&Vip> {
        self.copy.body.vips().get(index)
    }

    /// What requests to this address get.
    #[inline]
    pub fn gate(&self, index: usize) -> Gate {
        self.targets().get(index).map_or(Gate::Pass(Reason::GroupInactive), |target| target.gate)
    }

    /// A virtual address on a port: its index, and what is asked of it first.
    #[inline(always)]
    pub fn target(&self, family: u8, address: &[u8; 16], port: u16) -> Option<(usize, &Target)> {
        let found = |target: &Target| {
            target.family == family
                && target.addr == *address
                && (target.port == port || target.port == ANY_PORT)
        };
        self.targets().iter().enumerate().find(|(_, target)| found(target))
    }

    /// The index of a virtual address on a port.
    #[inline]
    pub fn find(&self, family: u8, address: &[u8; 16], port: u16) -> Option<usize> {
        self.target(family, address, port).map(|(index, _)| index)
    }

    /// Whether the address with this index is an own address of a node that sheds load, not a virtual one.
    #[inline]
    pub fn is_own(&self, index: usize) -> bool {
        self.vip(index).is_some_and(|vip| vip.flags & VIP_OWN != 0)
    }

    /// Whether an address is a virtual one of an interface that `wanted` names by its number.
    pub fn is_on(&self, family: u8, address: &[u8; 16], wanted: impl Fn(u16) -> bool) -> bool {
        let mut targets = self.targets().iter();
        targets.any(|target| target.family == family && target.addr == *address && wanted(target.port))
    }

    /// Whether a MAC is the virtual MAC of a group that is or may become ours on this interface.
    pub fn owns_mac(&self, mac: &Mac, interface: u16) -> bool {
        let mut vips = self.copy.body.vips().iter();
        vips.any(|vip| vip.mac == *mac && vip.state() != VipState::Inactive && is_here(vip, interface))
    }

    /// Whether any address is fenced: the rare case in which more must be looked at.
    #[inline]
    pub fn any_fenced(&self) -> bool {
        self.fenced
    }

    /// Whether a MAC is the virtual MAC of groups of this interface that this node has given up: nothing may leave in their
    /// name, or bridges would learn it here, and peers would believe hellos that waited in a queue.
    pub fn gave_up_mac(&self, mac: &Mac, interface: u16) -> bool {
        let vips = self.copy.body.vips().iter();
        let mut of = vips.filter(|vip| vip.mac == *mac && is_here(vip, interface)).peekable();
        of.peek().is_some() && of.all(|vip| vip.state() == VipState::Inactive)
    }

    /// The fenced addresses of an interface.
    pub fn fenced(&self, interface: u16) -> impl Iterator<Item = &Vip> {
        let pairs = self.copy.body.vips().iter().zip(self.targets());
        let fenced = pairs.filter(|(_, target)| target.gate == Gate::Fence).map(|(vip, _)| vip);
        fenced.filter(move |vip| is_here(vip, interface))
    }
}

/// Groups of different interfaces may have the same virtual MAC: it is of their number.
fn is_here(vip: &Vip, interface: u16) -> bool {
    vip.port == interface || vip.port == ANY_PORT
}

fn gate(vip: &Vip, lease_runs: bool, peer_known: bool) -> Gate {
    match (vip.state(), lease_runs, peer_known) {
        (VipState::Active, true, _) if vip.flags & VIP_REDIRECT_INIT != 0 => Gate::Answer,
        (VipState::Active, true, _) => Gate::Pass(Reason::RedirectOff),
        (VipState::Active, false, true) => Gate::Fence,
        (VipState::Active, false, false) => Gate::Pass(Reason::LeaseExpired),
        _ => Gate::Pass(Reason::GroupInactive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_follows_state_lease_and_peer() {
        let mut vip = Vip::empty();
        let mut at = |state: VipState, flags, lease, peer| {
            (vip.state, vip.flags) = (state as u8, flags);
            gate(&vip, lease, peer)
        };
        let on = VIP_REDIRECT_INIT;
        assert_eq!(at(VipState::Active, on, true, true), Gate::Answer);
        assert_eq!(at(VipState::Active, on, true, false), Gate::Answer);
        assert_eq!(at(VipState::Active, 0, true, false), Gate::Pass(Reason::RedirectOff));
        assert_eq!(at(VipState::Active, on, false, true), Gate::Fence);
        assert_eq!(at(VipState::Active, on, false, false), Gate::Pass(Reason::LeaseExpired));
        for state in [VipState::Inactive, VipState::Prepared] {
            assert_eq!(at(state, on, true, true), Gate::Pass(Reason::GroupInactive));
        }
    }
}
