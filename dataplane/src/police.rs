//! What passes to the kernel's side, in classes with a meter each: a flood in one class starves no other.

use crossbeam::utils::CachePadded;
use platform::lines::Lines;
use platform::profile::PoliceProfile;
use platform::wire::ethernet::{Frame, ethertype};

use crate::Reason;

/// The classes of what passes, most precious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// HSRP hellos.
    Hsrp,
    /// The cluster's load feed.
    Clb,
    /// ARP and neighbour discovery.
    ArpNd,
    /// IKE requests to virtual addresses.
    Ike,
    /// Later messages and ESP of sessions on a virtual address.
    Session,
    /// Anything else to a virtual address.
    VipOther,
    /// Everything else: the node's own traffic.
    Rest,
}

/// How many classes there are.
pub const CLASSES: usize = 7;

impl Class {
    /// The reason that counts what a class's meter refuses.
    pub const fn policed(self) -> Reason {
        match self {
            Class::Hsrp => Reason::PolicedHsrp,
            Class::Clb => Reason::PolicedClb,
            Class::ArpNd => Reason::PolicedArpNd,
            Class::Ike => Reason::PolicedIke,
            Class::Session => Reason::PolicedSession,
            Class::VipOther => Reason::PolicedVipOther,
            Class::Rest => Reason::PolicedRest,
        }
    }
}

/// A token bucket in nanoseconds of credit: one packet costs the time between two packets at the rate.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// Nanoseconds a packet costs; 0: not metered.
    cost: u64,
    /// The most credit that can be saved, in nanoseconds.
    depth: u64,
    /// When the bucket was (or will be) empty.
    empty_at: u64,
}

impl Meter {
    /// A meter of `rate` packets a second with room for `burst`; rate 0 lets everything through.
    pub fn new(rate: u64, burst: u64) -> Self {
        let cost = 1_000_000_000u64.checked_div(rate).map_or(0, |cost| cost.max(1));
        Meter { cost, depth: cost.saturating_mul(burst.max(1)), empty_at: 0 }
    }

    /// Whether one more packet fits at `now_ns`, a clock that does not run backwards.
    #[inline]
    pub fn admit(&mut self, now_ns: u64) -> bool {
        let start = self.empty_at.max(now_ns.saturating_sub(self.depth));
        let after = start.saturating_add(self.cost);
        let admitted = after <= now_ns || self.cost == 0;
        if admitted {
            self.empty_at = after;
        }
        admitted
    }
}

/// Lanes of class hsrp: sources share one only by the chance of a hash.
const LANES: usize = 64;
/// A lane's part of the class's rate: a source that floods leaves the rest to the others.
const LANE_SHARE: u64 = 4;

/// A meter for each class, of one worker. Class hsrp has one for each source beside it: whoever forges hellos on the
/// LAN must not drown those of the real peers.
#[derive(Debug, Clone)]
pub struct Police {
    meters: [Meter; CLASSES],
    hsrp: Box<CachePadded<[Meter; LANES]>>,
}

impl Police {
    /// The profile's rates are for a node; each of `workers` gets an equal share.
    pub fn new(rates: &PoliceProfile, workers: usize) -> Self {
        let workers = workers.max(1) as u64;
        let meter = |rate: &platform::profile::Meter| {
            let share = if rate.rate == 0 { 0 } else { (rate.rate / workers).max(1) };
            Meter::new(share, (rate.burst() / workers).max(1))
        };
        let hsrp = platform::profile::Meter {
            rate: rates.hsrp.rate.div_ceil(LANE_SHARE),
            burst: Some(rates.hsrp.burst().div_ceil(LANE_SHARE)),
        };
        Police {
            hsrp: Box::new(CachePadded::new([meter(&hsrp); LANES])),
            meters: [
                meter(&rates.hsrp),
                meter(&rates.clb),
                meter(&rates.arp_nd),
                meter(&rates.ike),
                meter(&rates.session),
                meter(&rates.vip_other),
                meter(&rates.rest),
            ],
        }
    }

    /// Whether one more packet of a class may pass.
    #[inline]
    pub fn admit(&mut self, class: Class, frame: &[u8], now_ns: u64) -> bool {
        // The lane first: what it refuses takes nothing from the class.
        (class != Class::Hsrp || self.hsrp[lane(frame)].admit(now_ns))
            && self.meters[class as usize].admit(now_ns)
    }

    /// Adds the heap memory that is written.
    pub fn writes(&self, lines: &mut Lines) {
        lines.add("lanes of hsrp", &*self.hsrp);
    }
}

/// The lane of a frame's source address.
#[cold]
fn lane(frame: &[u8]) -> usize {
    let Ok(eth) = Frame::new_checked(frame) else { return 0 };
    let source = match eth.ethertype() {
        ethertype::IPV4 => eth.payload().get(12..16),
        _ => eth.payload().get(8..24),
    };
    // FNV-1a: spreads neighbours apart. Who forges can aim anyway, at the peer's very address.
    let hash = source.unwrap_or_default().iter();
    let hash = hash.fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) as usize % LANES
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_meter_lets_its_burst_through_and_then_its_rate() {
        let mut meter = Meter::new(100, 10);
        let now = 5 * SECOND;
        assert_eq!((0..1000).filter(|_| meter.admit(now)).count(), 10);
        let second = (0..1000u64).filter(|ms| meter.admit(now + ms * 1_000_000)).count();
        assert!((99..=100).contains(&second), "{second} in the next second");
        assert_eq!(
            (0..1000).filter(|_| meter.admit(now + 60 * SECOND)).count(),
            10,
            "never more than a burst saved"
        );
    }

    #[test]
    fn rate_zero_is_not_metered() {
        let mut meter = Meter::new(0, 0);
        assert!((0..100_000).all(|_| meter.admit(1)));
    }

    #[test]
    fn a_flood_in_one_class_leaves_the_others_their_share() {
        let mut police = Police::new(&PoliceProfile::default(), 1);
        let now = SECOND;
        let floods = (0..100_000).filter(|_| police.admit(Class::VipOther, &[], now)).count();
        assert!(floods < 100_000);
        assert!(
            police.admit(Class::Hsrp, &[], now)
                && police.admit(Class::ArpNd, &[], now)
                && police.admit(Class::Clb, &[], now)
        );
    }

    #[test]
    fn a_flood_of_hellos_from_one_source_leaves_room_for_those_of_the_peers() {
        let mut police = Police::new(&PoliceProfile::default(), 1);
        let hello = |last: u8| {
            let mut frame = vec![0; 62];
            frame[12..14].copy_from_slice(&[8, 0]);
            frame[14] = 0x45;
            frame[26..30].copy_from_slice(&[192, 0, 2, last]);
            frame
        };
        let (forged, real) = (hello(66), hello(12));
        assert_ne!(lane(&forged), lane(&real));
        // 10 s of 10,000 forged hellos a second, and 20 of a peer.
        let (mut forged_passed, mut real_passed) = (0, 0);
        for tick in 0..100_000u64 {
            let now = SECOND + tick * 100_000;
            forged_passed += u64::from(police.admit(Class::Hsrp, &forged, now));
            if tick % 500 == 0 {
                real_passed += u64::from(police.admit(Class::Hsrp, &real, now));
            }
        }
        assert_eq!(real_passed, 200, "every hello of the peer");
        let share = PoliceProfile::default().hsrp.rate / LANE_SHARE;
        assert!(forged_passed <= share * 11, "{forged_passed} forged ones");
    }
}
