//! Who is active: the roles of this node's HSRP groups.
//!
//! In this version a node is always **the lone active**: no hello is sent or heard, and each group that can run is
//! active from the moment it is configured, its lease renewed as that of a node which knows no other router (DESIGN
//! "Role and lease"). Two nodes with the same group would both be active; run one until elections are built.
//!
//! The machine has no IO and no clock: configuration and time go in, actions come out, and the caller carries
//! them out in order.

use crate::config::Family;
use crate::config::health::{GroupKey, GroupPlan};
use platform::snapshot::MAX_GROUPS;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long requests are still answered after the last sign of life of the control plane, no peer known.
pub const LONE_LEASE: Duration = Duration::from_secs(10);
/// When announcements leave after gaining the role.
const ANNOUNCEMENTS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(4)];

/// The states of HSRP that a lone node can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum State {
    /// Kept down: not able to run, or not yet asked to
    Init,
    /// Owns the virtual addresses
    Active,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Init => "Init",
            State::Active => "Active",
        })
    }
}

/// The virtual MAC of a group: 0000.0c07.acGG (version 1), 0000.0c9f.fGGG (version 2), 0005.73a0.0GGG (IPv6).
#[must_use]
pub fn virtual_mac(version: u8, group: u16, family: Family) -> [u8; 6] {
    let [high, low] = (group & 0x0fff).to_be_bytes();
    match (family, version) {
        (Family::V6, _) => [0x00, 0x05, 0x73, 0xa0, high, low],
        (Family::V4, 2) => [0x00, 0x00, 0x0c, 0x9f, 0xf0 | high, low],
        (Family::V4, _) => [0x00, 0x00, 0x0c, 0x07, 0xac, low],
    }
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give the role up: publish inactive, then take the addresses off
    Lose(GroupKey),
    /// Take the role: publish prepared, wait for the data plane, addresses on, publish active
    Gain(GroupKey),
    /// Something about a group that stays in its state has changed: publish and configure anew
    Update(GroupKey),
    /// Let the lease word of this index run until then, ns of CLOCK_MONOTONIC; no peer is known
    Renew(usize, u64),
    /// Send gratuitous ARPs and neighbour advertisements
    Announce(GroupKey),
}

/// One group.
#[derive(Clone, Debug)]
pub struct Role {
    /// What it is configured to be
    pub plan: GroupPlan,
    /// What it is
    pub state: State,
    /// Index of its lease word
    pub lease: usize,
    /// Grows at each gain, over restarts too
    pub epoch: u64,
    /// State changes since the start
    pub changes: u64,
    /// When the last one was, ns of CLOCK_MONOTONIC
    pub changed_ns: u64,
    announce: Vec<u64>,
}

impl Role {
    /// The virtual MAC.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        virtual_mac(self.plan.version, self.plan.key.group, self.plan.key.family)
    }
}

/// The groups of this node.
#[derive(Debug, Default)]
pub struct Hsrp {
    roles: BTreeMap<GroupKey, Role>,
    epochs: BTreeMap<String, u64>,
}

impl Hsrp {
    /// Starts without groups. `epochs` are those of the run before, by [`GroupKey`]'s text.
    #[must_use]
    pub fn new(epochs: BTreeMap<String, u64>) -> Hsrp {
        Hsrp { roles: BTreeMap::new(), epochs }
    }

    /// All groups in order.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values()
    }

    /// The group of `key`.
    #[must_use]
    pub fn role(&self, key: &GroupKey) -> Option<&Role> {
        self.roles.get(key)
    }

    /// The epochs to remember over a restart.
    #[must_use]
    pub fn epochs(&self) -> &BTreeMap<String, u64> {
        &self.epochs
    }

    /// Takes a new configuration: losses first, then gains and changes.
    pub fn configure(&mut self, plans: &[GroupPlan], now_ns: u64) -> Vec<Action> {
        let mut losses = Vec::new();
        let mut gains = Vec::new();
        let kept = |key: &GroupKey| plans.iter().any(|plan| plan.key == *key);
        losses.extend(
            self.roles
                .values()
                .filter(|r| !kept(&r.plan.key) && r.state == State::Active)
                .map(|r| r.plan.key.clone()),
        );
        for plan in plans {
            let free = (0..MAX_GROUPS).find(|i| self.roles.values().all(|role| role.lease != *i));
            let Some(role) = self.roles.get_mut(&plan.key) else {
                // `assess` keeps groups beyond the lease words down: they need none.
                let lease = free.unwrap_or(MAX_GROUPS);
                let mut role = Role {
                    plan: plan.clone(),
                    state: State::Init,
                    lease,
                    epoch: 0,
                    changes: 0,
                    changed_ns: now_ns,
                    announce: Vec::new(),
                };
                if plan.down.is_empty() && lease < MAX_GROUPS {
                    gain(&mut role, &mut self.epochs, now_ns);
                    gains.push(Action::Gain(plan.key.clone()));
                }
                self.roles.insert(plan.key.clone(), role);
                continue;
            };
            let changed = role.plan != *plan;
            // Another version is another virtual MAC: the group starts over.
            let restarted = role.plan.version != plan.version;
            role.plan = plan.clone();
            match (role.state, plan.down.is_empty() && role.lease < MAX_GROUPS) {
                (State::Active, false) => {
                    role.state = State::Init;
                    role.changes += 1;
                    role.changed_ns = now_ns;
                    role.announce.clear();
                    losses.push(plan.key.clone());
                }
                (State::Init, true) | (State::Active, true) if role.state == State::Init || restarted => {
                    gain(role, &mut self.epochs, now_ns);
                    gains.push(Action::Gain(plan.key.clone()));
                }
                (State::Active, true) if changed => {
                    role.announce = announcements(now_ns);
                    gains.push(Action::Update(plan.key.clone()));
                }
                _ => {}
            }
        }
        self.roles.retain(|key, _| kept(key));
        losses.into_iter().map(Action::Lose).chain(gains).collect()
    }

    /// Announces every active group once more, from `now_ns` on.
    pub fn announce_again(&mut self, now_ns: u64) {
        for role in self.roles.values_mut().filter(|role| role.state == State::Active) {
            role.announce = announcements(now_ns);
        }
    }

    /// What is due at `now_ns`: renewals of every active group's lease, and announcements.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        let until = now_ns.saturating_add(LONE_LEASE.as_nanos() as u64);
        for (key, role) in self.roles.iter_mut().filter(|(_, role)| role.state == State::Active) {
            actions.push(Action::Renew(role.lease, until));
            let due = role.announce.iter().filter(|at| **at <= now_ns).count();
            role.announce.drain(..due);
            if due > 0 {
                actions.push(Action::Announce(key.clone()));
            }
        }
        actions
    }
}

fn announcements(now_ns: u64) -> Vec<u64> {
    ANNOUNCEMENTS.iter().map(|after| now_ns.saturating_add(after.as_nanos() as u64)).collect()
}

fn gain(role: &mut Role, epochs: &mut BTreeMap<String, u64>, now_ns: u64) {
    let epoch = epochs.entry(role.plan.key.to_string()).or_default();
    *epoch = epoch.wrapping_add(1);
    role.epoch = *epoch;
    role.state = State::Active;
    role.changes += 1;
    role.changed_ns = now_ns;
    role.announce = announcements(now_ns);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{health, parse};

    const SECOND: u64 = 1_000_000_000;

    fn plans(text: &str) -> Vec<GroupPlan> {
        health::assess(&parse(text).unwrap().config, None).groups
    }

    const ONE: &str = "interface Te0/0/0\n ip address 10.0.0.1 255.255.255.0\n standby 1 ip 10.0.0.100\n";

    #[test]
    fn the_virtual_mac_follows_version_group_and_family() {
        assert_eq!(virtual_mac(1, 0x2a, Family::V4), [0, 0, 0x0c, 0x07, 0xac, 0x2a]);
        assert_eq!(virtual_mac(2, 0xabc, Family::V4), [0, 0, 0x0c, 0x9f, 0xfa, 0xbc]);
        assert_eq!(virtual_mac(2, 0xabc, Family::V6), [0, 5, 0x73, 0xa0, 0x0a, 0xbc]);
    }

    #[test]
    fn a_group_is_gained_at_once_and_its_lease_renewed_while_time_goes_on() {
        let mut hsrp = Hsrp::default();
        let plans = plans(ONE);
        let key = plans[0].key.clone();
        assert_eq!(hsrp.configure(&plans, 0), [Action::Gain(key.clone())]);
        assert_eq!(hsrp.tick(0), [Action::Renew(0, 10 * SECOND), Action::Announce(key.clone())]);
        assert_eq!(hsrp.tick(SECOND), [Action::Renew(0, 11 * SECOND)]);
        assert_eq!(hsrp.tick(2 * SECOND).len(), 2, "the second announcement");
        assert_eq!(hsrp.tick(9 * SECOND).len(), 2, "the third, late");
        assert_eq!(hsrp.tick(20 * SECOND), [Action::Renew(0, 30 * SECOND)]);
        assert_eq!(hsrp.configure(&plans, 0), [], "the same again changes nothing");
    }

    #[test]
    fn a_group_that_cannot_run_stays_in_init_and_loses_the_role_it_had() {
        let mut hsrp = Hsrp::default();
        let down = plans(&format!("{ONE} shutdown\n"));
        assert_eq!(hsrp.configure(&down, 0), []);
        assert_eq!(hsrp.tick(0), []);
        let up = plans(ONE);
        let key = up[0].key.clone();
        assert_eq!(hsrp.configure(&up, 1), [Action::Gain(key.clone())]);
        assert_eq!(hsrp.configure(&down, 2), [Action::Lose(key.clone())]);
        assert_eq!(hsrp.configure(&up, 3), [Action::Gain(key.clone())]);
        assert_eq!(hsrp.role(&key).unwrap().epoch, 2);
        assert_eq!(hsrp.configure(&[], 4), [Action::Lose(key.clone())]);
        assert_eq!(hsrp.epochs()[&key.to_string()], 2, "remembered for the next gain");
    }

    #[test]
    fn a_changed_version_starts_the_group_over_and_a_changed_address_does_not() {
        let mut hsrp = Hsrp::default();
        hsrp.configure(&plans(ONE), 0);
        let other = plans(&ONE.replace(".100", ".200"));
        let key = other[0].key.clone();
        assert_eq!(hsrp.configure(&other, 1), [Action::Update(key.clone())]);
        let version2 = plans(&format!("{ONE} standby version 2\n"));
        assert_eq!(hsrp.configure(&version2, 2), [Action::Gain(key.clone())]);
        assert_eq!(hsrp.role(&key).map(|role| (role.epoch, role.mac()[3])), Some((2, 0x9f)));
    }

    #[test]
    fn lease_words_are_not_shared() {
        let mut hsrp = Hsrp::default();
        let text = format!("{ONE} standby 2 ip 10.0.0.101\n standby 3 ip 10.0.0.102\n");
        hsrp.configure(&plans(&text), 0);
        let mut leases: Vec<usize> = hsrp.roles().map(|role| role.lease).collect();
        leases.sort_unstable();
        assert_eq!(leases, [0, 1, 2]);
        hsrp.configure(&plans(ONE), 0);
        hsrp.configure(&plans(&text), 0);
        let leases: std::collections::BTreeSet<usize> = hsrp.roles().map(|role| role.lease).collect();
        assert_eq!(leases.len(), 3);
    }
}
