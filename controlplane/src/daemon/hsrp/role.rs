//! One group of this node: its part in the election, and where its virtual addresses are on their way.

use crate::config::health::GroupPlan;
use crate::config::{Group as GroupSettings, Interval};
use crate::hsrp::auth::Auth;
use crate::hsrp::machine::{self, Group, Note, PreemptDelay, Timers};
use crate::hsrp::message::{Message, State};
use crate::hsrp::packet::Transport;
use crate::hsrp::ra::Advertiser;
use crate::hsrp::{DELAY_MINIMUM, DELAY_RELOAD, virtual_mac};
use crate::net::NetError;
use crate::types::{Family, GroupKey, IfName, Nanos, is_link_local, virtual_link_local};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The first and the longest pause after the kernel refused what the role needs.
const REFUSED: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(300)];

/// Progress of the virtual addresses between absent and owned. The loop looks again and again;
/// it never waits in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not here
    Absent,
    /// Published as prepared; every worker and MAC filter is to take it
    Preparing {
        /// Since when, ns
        since: Nanos,
        /// In which generation; 0: not published yet
        generation: u64,
    },
    /// The kernel is putting the addresses on; the number of its task
    Addressing(u64),
    /// Here
    Owned,
    /// Published as inactive; every worker is to take it
    Withdrawing {
        /// Since when, ns
        since: Nanos,
        /// In which generation; 0: not published yet
        generation: u64,
    },
    /// The kernel is taking the addresses off; the number of its task
    Clearing(u64),
}

/// One group of this node.
#[derive(Clone, Debug)]
pub struct Role {
    /// Configuration
    pub plan: GroupPlan,
    /// Its part in the election; none until the interface has an address in the family
    pub machine: Option<Group>,
    /// Authentication of its messages
    pub auth: Auth,
    /// The key of its chain that is sent is beyond its time
    pub key_late: bool,
    /// Index of its lease word; [`OWN_LEASE`] when there is none
    pub lease: usize,
    /// Grows at each gain, over restarts too
    pub epoch: u64,
    /// Progress of the addresses
    pub phase: Phase,
    /// Messages that leave when the addresses have been given up, each with its source
    pub held: Vec<(Message, IpAddr)>,
    /// Announcements are due as soon as the addresses are here
    pub announce: bool,
    /// The router advertisements of an IPv6 group while its addresses are here
    pub router: Option<Advertiser>,
    /// It goes on where an usherd before it stood: the addresses are still on
    pub resumed: bool,
    /// It was configured when usherd started: reload delays apply to it
    pub reload: bool,
    /// It goes on within its lease, and its data plane may still be on its way back
    pub grace: bool,
    /// The clients of the role are ready for it (`preempt delay sync`)
    pub synced: bool,
    /// A data plane carries its frames
    pub carried: bool,
    /// The machine was last told that a data plane carries its frames and its devices are right
    pub dataplane: bool,
    /// Lack that keeps its frames from being carried; none while they are
    pub missing: Option<Missing>,
    /// Ticket of the last request about its macvlan
    pub ticket: u64,
    /// Why its devices cannot carry the role: what the kernel refused
    pub fault: Option<String>,
    /// Refusal of the last request about its macvlan
    pub refusal: Option<String>,
    /// The fault came with the role, and would come again with it: it stays until then, ns
    pub fault_until: Nanos,
    /// Number of refusals since the addresses were in place
    pub fault_count: u32,
    /// The machine has been told that the group may run
    pub enabled: bool,
    /// The data plane stood still with frames of this group in its queues. It is fenced until then (ns;
    /// [`Nanos::MAX`]: it has not moved yet), so that they do not leave when it wakes
    pub wedged: Option<Nanos>,
    /// Messages that were not taken, by reason
    pub refused: BTreeMap<&'static str, u64>,
    /// The last of them
    pub last_refused: Option<Refused>,
    /// The last complaint of the machine of each kind, by its mnemonic, and when it was made, ns
    pub complaints: BTreeMap<&'static str, (Note, Nanos)>,
}

/// Lack that keeps a group's frames from being carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No data plane has its port
    Dataplane,
    /// The port has no link
    Link(IfName),
    /// The data plane has an exception device that was deleted
    Tap(String),
    /// The data plane does not move on, or has only just come
    Progress,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Missing::Dataplane => f.write_str("data plane not running: systemctl start usher-dataplane"),
            Missing::Link(name) => write!(f, "link of {name} is down: check cable and switch port"),
            Missing::Tap(device) => write!(
                f,
                "{device} was deleted and made anew, the data plane has the old one: systemctl restart usher-dataplane"
            ),
            Missing::Progress => f.write_str("data plane stalled or just started: see `show dataplane`"),
        }
    }
}

/// A message that was not taken.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its sender
    pub source: IpAddr,
    /// It said that its sender is active
    pub active: bool,
    /// Why it was not taken
    pub reason: String,
    /// When it came, ns
    pub at: Nanos,
}

impl Role {
    /// Notes a refusal about its macvlan. Of an address nothing is refused without the role, and the same again with it:
    /// each try would take the role from a healthy peer, so that the next one comes after a pause, which grows.
    pub fn pause_after(&mut self, error: &NetError, now: Nanos) {
        let comes_with_role =
            matches!(error, NetError::Refused { .. } | NetError::Late { .. } | NetError::Contested { .. });
        let has_role = match self.phase {
            Phase::Addressing(_) | Phase::Owned => true,
            Phase::Preparing { .. } => self.resumed,
            _ => false,
        };
        if comes_with_role && has_role {
            let pause = REFUSED[0].saturating_mul(1 << self.fault_count.min(16)).min(REFUSED[1]);
            self.fault_until = now + pause;
            self.fault_count += 1;
        }
    }

    /// A group that has not started.
    #[must_use]
    pub fn new(plan: GroupPlan, auth: Auth, lease: usize, epoch: u64) -> Role {
        Role {
            auth,
            key_late: false,
            plan,
            machine: None,
            lease,
            epoch,
            phase: Phase::Absent,
            held: Vec::new(),
            announce: false,
            router: None,
            resumed: false,
            reload: false,
            grace: false,
            synced: true,
            carried: true,
            dataplane: true,
            missing: Some(Missing::Dataplane),
            ticket: 0,
            fault: None,
            refusal: None,
            fault_until: Nanos::ZERO,
            fault_count: 0,
            enabled: false,
            wedged: None,
            refused: BTreeMap::new(),
            last_refused: None,
            complaints: BTreeMap::new(),
        }
    }

    /// The virtual MAC.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        virtual_mac(self.plan.version, self.plan.key.group, self.plan.key.family)
    }

    /// Returns the transport of its messages; IPv6 has no version 1, and such a group is kept down.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        Transport::of(self.plan.version, self.plan.key.family)
    }

    /// State of its machine.
    #[must_use]
    pub fn state(&self) -> State {
        self.machine.as_ref().map_or(State::Init, Group::state)
    }

    /// Returns whether the machine wants the addresses here.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.machine.as_ref().is_some_and(Group::owns)
    }

    /// Returns whether the addresses are to be on the macvlan.
    #[must_use]
    pub fn carries(&self) -> bool {
        match self.phase {
            Phase::Addressing(_) | Phase::Owned | Phase::Withdrawing { .. } => true,
            Phase::Preparing { .. } => self.resumed,
            Phase::Absent | Phase::Clearing(_) => false,
        }
    }

    /// The virtual addresses, configured or learned, the primary one first.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        if !self.plan.learns {
            return self.plan.addresses.clone();
        }
        self.machine
            .as_ref()
            .and_then(Group::virtual_ip)
            .into_iter()
            .chain(self.plan.addresses.clone())
            .collect()
    }

    /// The virtual link-local address of an IPv6 group, which its routers elect on and advertise: the configured one, else
    /// the one that follows from its number.
    #[must_use]
    pub fn link_local(&self) -> Option<IpAddr> {
        elected_address(&self.plan).filter(|_| self.plan.key.family == Family::V6)
    }

    /// Counts a message that was not taken.
    pub fn refuse(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }
}

/// The virtual address that the routers of a group agree on; none where it is to be learned. Over IPv6 it is the
/// link-local one.
fn elected_address(plan: &GroupPlan) -> Option<IpAddr> {
    match plan.key.family {
        Family::V4 if plan.learns => None,
        Family::V4 => plan.addresses.first().copied(),
        Family::V6 => {
            let configured = plan.addresses.iter().copied().find(is_link_local);
            configured.or_else(|| Some(virtual_link_local(plan.key.group).into()))
        }
    }
}

/// Configuration of the machine of a group whose hellos leave from `own`, on an interface with this MAC.
#[must_use]
pub fn machine_config(plan: &GroupPlan, own: IpAddr, mac: [u8; 6]) -> machine::Config {
    let settings = &plan.settings;
    let seconds = |seconds: Option<u16>| Duration::from_secs(u64::from(seconds.unwrap_or(0)));
    let time = |interval: Interval| Duration::from_millis(u64::from(interval.millis()));
    let lone_lease = Duration::from_secs(settings.lease_limit.unwrap_or(GroupSettings::LEASE_LIMIT).into());
    let timers = settings.timers.map(|timers| Timers { hello: time(timers.hello), hold: time(timers.hold) });
    machine::Config {
        version: plan.version,
        group: plan.key.group,
        own,
        identifier: if plan.version == 2 { mac } else { [0; 6] },
        virtual_ip: elected_address(plan),
        priority: plan.priority,
        preempt: settings.preempt.map(|preempt| PreemptDelay {
            minimum: seconds(preempt.minimum),
            reload: seconds(preempt.reload),
            sync: seconds(preempt.sync),
        }),
        timers,
        delay_minimum: seconds(plan.delay.minimum.or(Some(DELAY_MINIMUM))),
        delay_reload: seconds(plan.delay.reload.or(Some(DELAY_RELOAD))),
        tracks: settings.tracks.iter().map(|(object, effect)| (*object, *effect)).collect(),
        // The lease is renewed with each hello: rare ones need a longer one.
        lone_lease: lone_lease.max(timers.map_or(Duration::ZERO, |timers| timers.hello * 3)),
    }
}

/// The groups of this node.
pub type Roles = BTreeMap<GroupKey, Role>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{health, parse};

    #[test]
    fn the_machine_is_told_what_is_configured() {
        let text = "interface Te0/0/0\n ip address 10.0.0.1 255.255.255.0\n standby version 2\n \
                    standby 1 ip 10.0.0.100\n standby 1 priority 120\n standby 1 preempt delay minimum 3\n \
                    standby 1 timers msec 50 msec 150\n standby 1 track 5 shutdown\n standby delay minimum 0\n";
        let plan = health::assess(&parse(text).unwrap().config, None).groups.remove(0);
        let own = "10.0.0.1".parse().unwrap();
        let config = machine_config(&plan, own, [2; 6]);
        assert_eq!((config.version, config.group, config.priority), (2, 1, 120));
        assert_eq!(config.virtual_ip, Some("10.0.0.100".parse().unwrap()));
        assert_eq!(config.preempt.map(|delay| delay.minimum), Some(Duration::from_secs(3)));
        assert_eq!(config.timers.map(|timers| timers.hold), Some(Duration::from_millis(150)));
        assert_eq!((config.delay_minimum, config.delay_reload), (Duration::ZERO, Duration::from_secs(5)));
        assert_eq!(config.tracks, [(5, machine::TrackEffect::Shutdown)]);
    }

    #[test]
    fn ipv6_routers_agree_on_the_explicit_link_local_address_or_on_that_of_the_group() {
        let elected = |more: &str| {
            let text = format!(
                "interface Te0/0/0\n ipv6 address 2001:db8::1/64\n standby version 2\n \
                 standby 1 ipv6 2001:db8::100/64\n{more}"
            );
            let plan = health::assess(&parse(&text).unwrap().config, None).groups.remove(0);
            let config = machine_config(&plan, "fe80::9".parse().unwrap(), [2; 6]);
            let role = Role::new(plan, Auth::default(), 0, 0);
            assert_eq!(role.link_local(), config.virtual_ip);
            config.virtual_ip.unwrap().to_string()
        };
        assert_eq!(elected(""), "fe80::5:73ff:fea0:1");
        assert_eq!(elected(" standby 1 ipv6 autoconfig\n"), "fe80::5:73ff:fea0:1");
        assert_eq!(elected(" standby 1 ipv6 FE80::1\n"), "fe80::1");
    }
}
