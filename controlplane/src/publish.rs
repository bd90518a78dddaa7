//! From roles and members to the snapshot's body: pure functions, the same inputs give the same bytes.
//!
//! The 1024 slots of a virtual address are shared in proportion to the members' weights by largest remainder, and
//! only those slots move that the weights ask to: a request whose slot did not move gets the gateway it had.

use crate::clb::Member;
use crate::types::{GroupKey, Nanos};
use platform::snapshot::{
    ANY_PORT, Body, GATEWAY_SELF, GATEWAY_USABLE, Gateway, MAX_GATEWAYS, MAX_VIPS, NO_GATEWAY, SLOTS,
    VIP_OWN, VIP_REDIRECT_INIT, Vip, VipState, addr16,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// Which gateway has which index, and which slot: kept from publish to publish, and over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Gateways by index; an index that a gateway has left is free
    pub gateways: Vec<Option<IpAddr>>,
    /// Index into `gateways`, or [`NO_GATEWAY`]; always [`SLOTS`] of them
    pub slots: Vec<u8>,
}

impl Default for Assignment {
    fn default() -> Assignment {
        Assignment { gateways: Vec::new(), slots: vec![NO_GATEWAY; SLOTS] }
    }
}

impl Assignment {
    /// Returns how many slots the gateway at `address` holds.
    #[must_use]
    pub fn share(&self, address: IpAddr) -> usize {
        let index = self.gateways.iter().position(|gateway| *gateway == Some(address));
        index.map_or(0, |index| self.slots.iter().filter(|slot| usize::from(**slot) == index).count())
    }
}

/// Returns how many slots each weight gets: in proportion, by largest remainder, the first of equals before the next.
/// All [`SLOTS`] are given out unless every weight is 0.
#[must_use]
pub fn quotas(weights: &[u32]) -> Vec<usize> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    if total == 0 {
        return vec![0; weights.len()];
    }
    let slots = SLOTS as u64;
    let exact = |weight: u32| u64::from(weight) * slots;
    let mut quotas: Vec<usize> = weights.iter().map(|weight| (exact(*weight) / total) as usize).collect();
    let mut order: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] > 0).collect();
    order.sort_by_key(|i| std::cmp::Reverse(exact(weights[*i]) % total));
    let left = SLOTS - quotas.iter().sum::<usize>();
    for index in order.into_iter().take(left) {
        quotas[index] += 1;
    }
    quotas
}

/// Slots of a virtual address that may move away from usable gateways within a second: 5 %.
pub const MOVES_A_SECOND: usize = SLOTS / 20;

/// Keeps the moves of one virtual address's slots within [`MOVES_A_SECOND`] in any second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoveBudget {
    /// When, how many; the last second's, oldest first
    spent: VecDeque<(Nanos, usize)>,
}

impl MoveBudget {
    /// Slots that may move at `now_ns`.
    pub fn left(&mut self, now_ns: Nanos) -> usize {
        while self.spent.front().is_some_and(|(at, _)| now_ns.since(*at) >= Nanos::from_secs(1)) {
            self.spent.pop_front();
        }
        MOVES_A_SECOND.saturating_sub(self.spent.iter().map(|(_, moves)| moves).sum())
    }

    /// So many slots moved at `now_ns`.
    pub fn spend(&mut self, moves: usize, now_ns: Nanos) {
        if moves > 0 {
            self.spent.push_back((now_ns, moves));
        }
    }
}

/// The assignment that follows `previous`: known gateways keep their index, new ones take the lowest free one, and the
/// fewest slots move. Members beyond [`MAX_GATEWAYS`] get no index and no slot.
///
/// At most `budget` slots, which this lessens, move away from gateways that are usable; from gateways that are not, or
/// that have gone, all move at once.
#[must_use]
pub fn assign(previous: &Assignment, members: &[Member], budget: &mut usize) -> Assignment {
    // Of two with one address the first counts.
    let by_address: BTreeMap<IpAddr, &Member> =
        members.iter().rev().map(|member| (member.address, member)).collect();
    let member = |address: IpAddr| by_address.get(&address).copied();
    let mut gateways: Vec<Option<IpAddr>> = previous
        .gateways
        .iter()
        .take(MAX_GATEWAYS)
        .map(|gateway| gateway.filter(|address| member(*address).is_some()))
        .collect();
    let mut known: BTreeSet<IpAddr> = gateways.iter().copied().flatten().collect();
    for member in members {
        if !known.insert(member.address) {
            continue;
        }
        match gateways.iter().position(Option::is_none) {
            Some(free) => gateways[free] = Some(member.address),
            None if gateways.len() < MAX_GATEWAYS => gateways.push(Some(member.address)),
            None => {}
        }
    }
    while gateways.last() == Some(&None) {
        gateways.pop();
    }

    let usable = |gateway: &Option<IpAddr>| gateway.and_then(member).filter(|member| member.usable);
    let weights: Vec<u32> =
        gateways.iter().map(|gateway| usable(gateway).map_or(0, |member| member.weight)).collect();
    let quotas = quotas(&weights);
    if quotas.iter().all(|quota| *quota == 0) {
        return Assignment { gateways, slots: vec![NO_GATEWAY; SLOTS] };
    }
    // A gateway keeps its slots, unless it is not usable or its index changed hands.
    let stays: Vec<bool> = gateways
        .iter()
        .enumerate()
        .map(|(index, now)| usable(now).is_some() && previous.gateways.get(index) == Some(now))
        .collect();
    let mut held = vec![0usize; gateways.len()];
    let mut slots = vec![NO_GATEWAY; SLOTS];
    for (slot, old) in slots.iter_mut().zip(&previous.slots) {
        if stays.get(usize::from(*old)) == Some(&true) {
            *slot = *old;
            held[usize::from(*old)] += 1;
        }
    }
    // Who has the most beyond its quota, in proportion to it, gives first; of equals the first.
    let mut give = vec![0usize; gateways.len()];
    for _ in 0..*budget {
        let beyond = |index: &usize| {
            (held[*index] - quotas[*index]) as u64 * (1 << 32) / (quotas[*index] as u64).max(1)
        };
        let over = (0..held.len()).filter(|index| held[*index] > quotas[*index]);
        let Some(index) =
            over.max_by_key(|index| (quotas[*index] == 0, beyond(index), std::cmp::Reverse(*index)))
        else {
            break;
        };
        held[index] -= 1;
        give[index] += 1;
        *budget -= 1;
    }
    for slot in slots.iter_mut().rev().filter(|slot| **slot != NO_GATEWAY) {
        if let Some(left @ 1..) = give.get_mut(usize::from(*slot)) {
            *left -= 1;
            *slot = NO_GATEWAY;
        }
    }
    let mut next = 0;
    for slot in slots.iter_mut().filter(|slot| **slot == NO_GATEWAY) {
        // Free slots go round the gateways that have room, so that neighbours in the table do not share a fate.
        let mut around = (0..held.len()).map(|i| (next + i) % held.len());
        let Some(index) = around.find(|index| held[*index] < quotas[*index]) else { break };
        held[index] += 1;
        *slot = index as u8;
        next = index + 1;
    }
    Assignment { gateways, slots }
}

/// One virtual address to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VipInput {
    /// The address
    pub address: IpAddr,
    /// This node's own address in the family
    pub own: Option<IpAddr>,
    /// The virtual MAC
    pub mac: [u8; 6],
    /// Role of this node
    pub state: VipState,
    /// IKE_SA_INIT requests are redirected
    pub redirect_init: bool,
    /// Index of the lease word
    pub lease: u16,
    /// The data plane's port; `None` for any
    pub port: Option<u16>,
    /// The role's epoch
    pub epoch: u64,
    /// The group that it is of
    pub key: GroupKey,
    /// It is an own address whose requests are shed, not a virtual one
    pub is_own: bool,
    /// Its members are not known yet: slots are kept as they were, and it is published without gateways
    pub pending: bool,
    /// Whom its requests may be sent to; none of an address that is not the cluster's
    pub members: Vec<Member>,
}

/// The body of a snapshot, at most [`MAX_VIPS`] addresses. `clb_port` is the load feed's, 0 for none. `assignments` holds those of the publish before and
/// gets the new ones; addresses that are not published any more leave it. `budgets` holds back moves of slots;
/// those of addresses that are not in it are made at once.
pub fn body(
    hash_key: [u64; 2],
    clb_port: u16,
    now_ns: Nanos,
    vips: &[VipInput],
    assignments: &mut BTreeMap<IpAddr, Assignment>,
    budgets: &mut BTreeMap<IpAddr, MoveBudget>,
) -> Box<Body> {
    let mut body = Body::boxed();
    body.hash_key = hash_key;
    body.clb_port = clb_port;
    body.published_ns = now_ns.get();
    let published = &vips[..vips.len().min(MAX_VIPS)];
    body.vip_count = published.len() as u32;
    let before = std::mem::take(assignments);
    for (vip, input) in body.vips.iter_mut().zip(published) {
        if input.pending {
            *vip = vip_of(input, &[], &Assignment::default());
            if let Some(kept) = before.get(&input.address) {
                assignments.insert(input.address, kept.clone());
            }
            continue;
        }
        let of_family = |member: &&Member| member.address.is_ipv4() == input.address.is_ipv4();
        let family: Vec<Member> = input.members.iter().filter(of_family).cloned().collect();
        let allowed = budgets.get_mut(&input.address).map_or(SLOTS, |budget| budget.left(now_ns));
        let mut left = allowed;
        let assignment =
            assign(before.get(&input.address).unwrap_or(&Assignment::default()), &family, &mut left);
        if let Some(budget) = budgets.get_mut(&input.address) {
            budget.spend(allowed - left, now_ns);
        }
        *vip = vip_of(input, &family, &assignment);
        assignments.insert(input.address, assignment);
    }
    body
}

fn vip_of(input: &VipInput, members: &[Member], assignment: &Assignment) -> Vip {
    let mut vip = Vip::empty();
    vip.addr = addr16(input.address);
    vip.own = input.own.map_or([0; 16], addr16);
    vip.mac = input.mac;
    vip.family = if input.address.is_ipv4() { 4 } else { 6 };
    vip.state = input.state as u8;
    vip.flags =
        if input.redirect_init { VIP_REDIRECT_INIT } else { 0 } | if input.is_own { VIP_OWN } else { 0 };
    vip.group = input.lease;
    vip.port = input.port.unwrap_or(ANY_PORT);
    vip.epoch = input.epoch;
    vip.gateway_count = assignment.gateways.len() as u16;
    for (gateway, address) in vip.gateways.iter_mut().zip(&assignment.gateways) {
        let Some(member) = members.iter().find(|member| Some(member.address) == *address) else { continue };
        let usable = if member.usable { GATEWAY_USABLE } else { 0 };
        let own = if member.is_self { GATEWAY_SELF } else { 0 };
        *gateway = Gateway { addr: addr16(member.address), flags: usable | own };
    }
    vip.slots.copy_from_slice(&assignment.slots);
    vip
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clb::Origin;
    use proptest::prelude::*;

    fn member(host: u8, weight: u32, usable: bool) -> Member {
        Member {
            address: IpAddr::from([192, 0, 2, host]),
            weight,
            priority: 100,
            usable,
            is_self: host == 1,
            origin: Origin::Static,
        }
    }

    fn held(assignment: &Assignment) -> BTreeMap<IpAddr, usize> {
        assignment.gateways.iter().flatten().map(|gateway| (*gateway, assignment.share(*gateway))).collect()
    }

    #[test]
    fn slots_follow_the_weights_by_largest_remainder() {
        assert_eq!(quotas(&[100, 100]), [512, 512]);
        assert_eq!(quotas(&[1, 1, 1]), [342, 341, 341]);
        assert_eq!(quotas(&[100, 50, 10]), [640, 320, 64]);
        assert_eq!(quotas(&[0, 0]), [0, 0]);
        assert_eq!(quotas(&[]), [0usize; 0]);
    }

    #[test]
    fn a_gateway_that_leaves_gives_only_its_own_slots_away() {
        let before = assign(
            &Assignment::default(),
            &[member(1, 1, true), member(2, 1, true), member(3, 2, true)],
            &mut SLOTS.clone(),
        );
        let after = assign(&before, &[member(1, 1, true), member(3, 2, true)], &mut SLOTS.clone());
        for (old, new) in before.slots.iter().zip(&after.slots) {
            assert!(*old == 1 || old == new, "slot of {old} moved to {new}");
        }
        let back =
            assign(&after, &[member(1, 1, true), member(9, 1, true), member(3, 2, true)], &mut SLOTS.clone());
        assert_eq!(back.gateways[1], Some(IpAddr::from([192, 0, 2, 9])), "the free index is taken again");
    }

    #[test]
    fn the_body_says_what_the_inputs_say() {
        let input = VipInput {
            address: "192.0.2.100".parse().unwrap(),
            own: Some("192.0.2.1".parse().unwrap()),
            mac: [0, 0, 0x0c, 7, 0xac, 1],
            state: VipState::Active,
            redirect_init: true,
            lease: 3,
            port: Some(2),
            epoch: 7,
            key: GroupKey {
                interface: crate::config::IfName::parse("Te0/0/0").unwrap(),
                group: 1,
                family: crate::config::Family::V4,
            },
            is_own: false,
            pending: false,
            members: vec![member(1, 100, true), member(2, 100, false)],
        };
        let v6 = VipInput { address: "2001:db8::1".parse().unwrap(), own: None, port: None, ..input.clone() };
        let mut assignments = BTreeMap::new();
        let body = body([1, 2], 2012, Nanos::new(5), &[input, v6], &mut assignments, &mut BTreeMap::new());
        let [vip, v6] = body.vips() else { panic!("two addresses") };
        assert_eq!((body.hash_key, body.clb_port, body.published_ns), ([1, 2], 2012, 5));
        assert_eq!(vip.ip(), Some("192.0.2.100".parse().unwrap()));
        assert_eq!(vip.own_ip(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!((vip.state(), vip.flags, vip.group, vip.port, vip.epoch), (VipState::Active, 1, 3, 2, 7));
        assert_eq!(vip.gateways().iter().map(|g| g.flags).collect::<Vec<_>>(), [3, 0], "self; unusable");
        assert!(vip.slots.iter().all(|slot| *slot == 0), "only the usable one is chosen");
        assert_eq!((v6.family, v6.gateway_count, v6.port), (6, 0, ANY_PORT));
        assert!(v6.slots.iter().all(|slot| *slot == NO_GATEWAY), "no gateway of its family: pass");
    }

    fn members() -> impl Strategy<Value = Vec<Member>> {
        proptest::collection::btree_map(1u8..20, (1u32..=100, any::<bool>()), 0..12).prop_map(|all| {
            all.into_iter().map(|(host, (weight, usable))| member(host, weight, usable)).collect()
        })
    }

    proptest! {
        #[test]
        fn moves_stay_within_the_budget_and_lead_to_the_weights(
            before in members(), after in members(), budget in 0usize..=60,
        ) {
            let start = assign(&Assignment::default(), &before, &mut SLOTS.clone());
            let end = assign(&start, &after, &mut SLOTS.clone());
            let usable = |gateway: Option<IpAddr>| after.iter().any(|m| Some(m.address) == gateway && m.usable);
            let mut now = start;
            for _ in 0..SLOTS / budget.max(1) + 2 {
                let mut left = budget;
                let next = assign(&now, &after, &mut left);
                let gateway = |a: &Assignment, slot: u8| a.gateways.get(usize::from(slot)).copied().flatten();
                let paid = std::iter::zip(&now.slots, &next.slots)
                    .map(|(old, new)| (gateway(&now, *old), gateway(&next, *new)))
                    .filter(|(old, new)| old != new && usable(*old))
                    .count();
                let any = after.iter().any(|m| m.usable);
                prop_assert!(!any || paid == budget - left, "{} moved, {} paid", paid, budget - left);
                prop_assert!(held(&next).iter().all(|(address, share)| *share == 0 || usable(Some(*address))));
                now = next;
            }
            if budget > 0 {
                prop_assert_eq!(held(&now), held(&end));
            }
        }

        #[test]
        fn no_second_sees_more_moves_than_a_twentieth(asked in proptest::collection::vec((0u64..400, 0usize..80), 0..80)) {
            let mut budget = MoveBudget::default();
            let mut moves: Vec<(Nanos, usize)> = Vec::new();
            let mut now = Nanos::ZERO;
            for (pause_ms, wanted) in asked {
                now += Nanos::from_millis(pause_ms);
                let made = wanted.min(budget.left(now));
                budget.spend(made, now);
                moves.push((now, made));
                let second = moves.iter().filter(|(at, _)| now.since(*at) < Nanos::from_secs(1));
                prop_assert!(second.map(|(_, made)| made).sum::<usize>() <= MOVES_A_SECOND);
            }
            prop_assert_eq!(budget.left(now + Nanos::from_secs(1)), MOVES_A_SECOND);
        }
    }

    proptest! {
        #[test]
        fn slots_add_up_and_the_fewest_move(history in proptest::collection::vec(members(), 1..6)) {
            let mut now = Assignment::default();
            for members in history {
                let next = assign(&now, &members, &mut SLOTS.clone());
                let usable: Vec<&Member> = members.iter().filter(|m| m.usable).collect();
                let shares = held(&next);
                let given: usize = shares.values().sum();
                prop_assert_eq!(given, if usable.is_empty() { 0 } else { SLOTS });
                // Each share is the exact proportion, rounded up or down.
                let total: f64 = usable.iter().map(|m| f64::from(m.weight)).sum();
                for member in &members {
                    let share = shares[&member.address] as f64;
                    let exact = if member.usable { f64::from(member.weight) * SLOTS as f64 / total } else { 0.0 };
                    prop_assert!((share - exact).abs() < 1.0, "{} has {} of {}", member.address, share, exact);
                }
                // Only what must move moves: each gateway keeps the lesser of what it had and what it gets.
                let kept = now.slots.iter().zip(&next.slots).filter(|(old, new)| {
                    let old = now.gateways.get(usize::from(**old)).copied().flatten();
                    old.is_some() && old == next.gateways.get(usize::from(**new)).copied().flatten()
                }).count();
                let had = held(&now);
                let least: usize = shares.iter().map(|(g, share)| (*share).min(*had.get(g).unwrap_or(&0))).sum();
                prop_assert_eq!(kept, least);
                // Who stays keeps the index.
                for (index, gateway) in now.gateways.iter().enumerate() {
                    if let Some(gateway) = gateway && members.iter().any(|m| m.address == *gateway) {
                        prop_assert_eq!(next.gateways[index], Some(*gateway));
                    }
                }
                prop_assert_eq!(&assign(&now, &members, &mut SLOTS.clone()), &next, "the same inputs give the same slots");
                prop_assert_eq!(&assign(&next, &members, &mut SLOTS.clone()).slots, &next.slots, "nothing moves without need");
                now = next;
            }
        }
    }
}
