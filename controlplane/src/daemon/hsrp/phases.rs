//! A role's way in and out: published, applied by every worker, address on or off, announced.
//!
//! A step that the kernel refuses is a failure: while gaining, the role is given up with the reason in `show standby`;
//! while losing, no resign leaves before the address is off.

use super::super::dataplanes::Taken;
use super::role::{Phase, Role};
use super::runner::{FEW_LINES, Runner};
use crate::config::{RouterAdvertisements, Suppress};
use crate::hsrp::ra::Advertiser;
use crate::net::NetError;
use crate::net::report::{Repair, Report};
use crate::net::wanted::GroupDevice;
use crate::types::{Family, GroupKey, Nanos, Prefix};
use std::net::IpAddr;

/// The longest wait for a data plane before an address is put on.
const GAIN_WAIT: Nanos = Nanos::from_millis(20);
/// The longest wait for a data plane before an address is taken off.
const LOSS_WAIT: Nanos = Nanos::from_millis(50);
/// While a phase lasts it is looked at this often, ns.
pub(super) const PHASE_POLL: Nanos = Nanos::new(500_000);

impl Runner {
    pub(super) fn gain(&mut self, key: &GroupKey, now: Nanos) {
        let Some(role) = self.roles.get_mut(key) else { return };
        role.epoch = self.lasting.next_epoch(key);
        if role.phase == Phase::Absent {
            role.phase = Phase::Preparing { since: now, generation: 0 };
        }
        self.dirty = true;
    }

    pub(super) fn lose(&mut self, key: &GroupKey, now: Nanos) {
        self.last_advertisement(key);
        self.lasting.end_lease(key);
        let Some(role) = self.roles.get_mut(key) else { return };
        role.announce = false;
        role.resumed = false;
        if !matches!(role.phase, Phase::Absent | Phase::Clearing(_)) {
            role.phase = Phase::Withdrawing { since: now, generation: 0 };
        }
        self.dirty = true;
    }

    /// The addresses have changed while they are here.
    pub(super) fn readdress(&mut self, key: &GroupKey) {
        self.dirty = true;
        if self.roles.get(key).is_some_and(|role| role.phase == Phase::Owned) {
            self.set_device(key);
        }
    }

    pub(super) fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Has a group's macvlan brought into the state that its phase asks for; returns the ticket of the report.
    pub(super) fn set_device(&mut self, key: &GroupKey) -> u64 {
        let ticket = self.ticket();
        let Some(role) = self.roles.get_mut(key) else { return ticket };
        role.ticket = ticket;
        if let Some((parent, device)) = self.settings.devices(&role.plan) {
            let wanted = GroupDevice { parent, mac: role.mac(), addresses: carried(role) };
            self.reconciler.set_group(device, Some(wanted), ticket);
        }
        ticket
    }

    /// Gives every machine its time, and moves every phase on that can move.
    pub(super) fn advance(&mut self, now: Nanos) {
        let keys = self.keys();
        self.end_pauses(&keys, now);
        for key in &keys {
            let due = self.roles.get(key).and_then(|role| role.machine.as_ref()?.next_deadline());
            if due.is_some_and(|at| at <= now) {
                self.handle(key, crate::hsrp::machine::Event::Tick, now);
            }
        }
        // A phase may end in one that has something to publish; no more than three follow each other at once.
        for _ in 0..3 {
            // Nothing before the first configuration: the slots of the run before would be lost.
            if !self.starting && std::mem::take(&mut self.dirty) {
                let published = self.publish(now);
                for role in self.roles.values_mut().filter(|role| role.wedged.is_none()) {
                    if let Phase::Preparing { generation, .. } | Phase::Withdrawing { generation, .. } =
                        &mut role.phase
                        && *generation == 0
                    {
                        *generation = published;
                    }
                }
            }
            for key in &keys {
                self.step(key, now);
            }
            if !self.dirty {
                break;
            }
        }
        self.announcements(&keys, now);
    }

    fn step(&mut self, key: &GroupKey, now: Nanos) {
        let Some(role) = self.roles.get(key) else { return };
        let instance = self.publisher.instance();
        match role.phase {
            Phase::Absent if role.wanted() => {
                self.enter(key, Phase::Preparing { since: now, generation: 0 });
                self.dirty = true;
            }
            Phase::Preparing { since, generation } if generation > 0 => {
                let late = now.since(since) >= GAIN_WAIT;
                if self.publisher.is_pending(role) && !late {
                    return;
                }
                match self.planes.taken(instance, generation) {
                    Taken::Whole => {}
                    Taken::WithoutFilter => tracing::error!(
                        "%DATAPLANE-3-FILTER: a port does not take the virtual MAC: set promiscuous = \"on\" in the profile"
                    ),
                    Taken::NotYet | Taken::Nobody if !late => return,
                    // One that goes on within its lease does not wait for its data plane to come back.
                    Taken::Nobody => {}
                    Taken::NotYet => tracing::warn!(
                        "%DATAPLANE-4-SLOW: generation {generation} is not in force after 20 ms; going on"
                    ),
                }
                self.enter(key, Phase::Addressing(0));
                let ticket = self.set_device(key);
                self.enter(key, Phase::Addressing(ticket));
            }
            Phase::Withdrawing { since, generation } if generation > 0 => {
                let late = now.since(since) >= LOSS_WAIT;
                if !late && !self.planes.applied(instance, generation) {
                    return;
                }
                if !role.wanted() {
                    self.publisher.set_lease(role.lease, Nanos::ZERO, false);
                }
                self.enter(key, Phase::Clearing(0));
                let ticket = self.set_device(key);
                self.enter(key, Phase::Clearing(ticket));
            }
            _ => {}
        }
    }

    fn enter(&mut self, key: &GroupKey, phase: Phase) {
        if let Some(role) = self.roles.get_mut(key) {
            role.phase = phase;
        }
    }

    /// Takes what the reconciler reports.
    pub(super) fn device_report(&mut self, report: Report, now: Nanos) {
        match report {
            // They come by a channel of their own, of which only the latest counts.
            Report::Links(_) => {}
            Report::Done { result: Err(NetError::Superseded), .. } => {}
            Report::Done { ticket, result } => {
                let role = self.roles.values_mut().find(|role| role.ticket == ticket);
                let Some(role) = role else { return };
                let key = role.plan.key.clone();
                let done = result.is_ok();
                if let Err(error) = &result {
                    role.pause_after(error, now);
                }
                role.refusal = result.err().map(|error| error.to_string());
                self.look_at_faults(&key, now);
                if done {
                    self.device_done(&key, ticket, now);
                }
            }
            Report::Failed { device, error } => {
                self.device_faults.insert(device.clone(), error.to_string());
                for key in self.groups_on(&device) {
                    let Some(role) = self.roles.get_mut(&key) else { continue };
                    if self.settings.devices(&role.plan).is_some_and(|(_, macvlan)| macvlan == device) {
                        role.pause_after(&error, now);
                    }
                    self.look_at_faults(&key, now);
                }
            }
            Report::Recovered { device } => {
                self.device_faults.remove(&device);
                for key in self.groups_on(&device) {
                    let Some(role) = self.roles.get_mut(&key) else { continue };
                    let of_group =
                        self.settings.devices(&role.plan).is_some_and(|(_, macvlan)| macvlan == device);
                    let ticket = role.ticket;
                    if of_group {
                        role.refusal = None;
                    }
                    self.look_at_faults(&key, now);
                    if of_group {
                        self.device_done(&key, ticket, now);
                    }
                }
            }
            Report::Repaired { device, what } => {
                if self.limits.allow("NET-4-REPAIRED", &device, FEW_LINES, now) {
                    tracing::warn!("%NET-4-REPAIRED: {device}: {what}: put right; find out what changed it");
                }
                // Only the TAPs of usherd are made anew among the ports' devices. A data plane opens them at its start: no
                // hello leaves until it is started again.
                let lost = what == Repair::Device && self.planes.attached(&device);
                if lost {
                    self.planes.lose(&device);
                    self.look_at_objects(now);
                }
                if lost && self.limits.allow("NET-3-TAP", &device, FEW_LINES, now) {
                    tracing::error!(
                        "%NET-3-TAP: {device}: made anew, but the data plane still has the deleted one: no frame \
                         passes between them: systemctl restart usher-dataplane"
                    );
                }
                for key in self.groups_on(&device) {
                    if let Some(role) = self.roles.get_mut(&key).filter(|role| role.phase == Phase::Owned) {
                        role.announce = true;
                    }
                }
            }
            Report::Claim { device, address, mac } => {
                let owner = self.roles.values_mut().find(|role| {
                    role.phase == Phase::Owned
                        && (role.addresses().contains(&address) || role.link_local() == Some(address))
                });
                let Some(role) = owner else { return };
                // Defended: neighbours are told again whose it is (RFC 5227 section 2.4).
                role.announce = true;
                let key = role.plan.key.clone();
                if self.may_log("IP-4-DUPADDR", &key, FEW_LINES, now) {
                    tracing::warn!(
                        "%IP-4-DUPADDR: Duplicate address {address} on {} ({device}), sourced by {}: announced again; \
                         find the host with that MAC",
                        key.interface,
                        crate::show::standby::dotted_mac(mac)
                    );
                }
            }
        }
    }

    /// The groups whose macvlan or exception device this is.
    fn groups_on(&self, device: &str) -> Vec<GroupKey> {
        let on = |role: &&Role| {
            let devices = self.settings.devices(&role.plan);
            devices.is_some_and(|(exception, macvlan)| exception == device || macvlan == device)
        };
        self.roles.values().filter(on).map(|role| role.plan.key.clone()).collect()
    }

    /// Notes whether the kernel refuses what a group needs. A group with a fault is in Init.
    fn look_at_faults(&mut self, key: &GroupKey, now: Nanos) {
        let Some(role) = self.roles.get_mut(key) else { return };
        let devices = self.settings.devices(&role.plan);
        let of = |device: &String| self.device_faults.get(device).cloned();
        let port = devices.as_ref().and_then(|(exception, _)| of(exception));
        let own = role.refusal.clone().or_else(|| devices.as_ref().and_then(|(_, macvlan)| of(macvlan)));
        let fault = port.or(own);
        if role.fault == fault || fault.is_none() && now < role.fault_until {
            return;
        }
        let before = std::mem::replace(&mut role.fault, fault);
        let text = role.fault.clone();
        match text {
            Some(text) if self.may_log("HSRP-3-DEVICE", key, FEW_LINES, now) => {
                tracing::error!(
                    "%HSRP-3-DEVICE: {key}: {text}; the group stays in Init until this is solved"
                );
            }
            None if before.is_some() && self.may_log("HSRP-5-DEVICE", key, FEW_LINES, now) => {
                tracing::info!("%HSRP-5-DEVICE: {key}: its devices are right again");
            }
            _ => {}
        }
        self.look_at_objects(now);
    }

    /// Lets groups try again whose last try was refused long enough ago.
    fn end_pauses(&mut self, keys: &[GroupKey], now: Nanos) {
        for key in keys {
            let over = |role: &&mut Role| role.fault_until > Nanos::ZERO && now >= role.fault_until;
            if let Some(role) = self.roles.get_mut(key).as_mut().filter(|role| over(role)) {
                role.fault_until = Nanos::ZERO;
                self.look_at_faults(key, now);
            }
        }
    }

    /// A group's device is as it was asked for.
    fn device_done(&mut self, key: &GroupKey, ticket: u64, now: Nanos) {
        let Some(role) = self.roles.get_mut(key) else { return };
        match role.phase {
            Phase::Addressing(of) if of == ticket => {
                self.dirty = true;
                role.phase = Phase::Owned;
                (role.fault_until, role.fault_count) = (Nanos::ZERO, 0);
                role.resumed = false;
                if key.family == Family::V6 {
                    self.start_router(key, now);
                }
            }
            Phase::Clearing(of) if of == ticket => {
                self.dirty = true;
                role.phase = Phase::Absent;
                for (message, source) in std::mem::take(&mut role.held) {
                    self.send(key, &message, source, now);
                }
                if self.drop_if_over(key) {
                    self.create_roles(now);
                    self.listen();
                }
            }
            _ => {}
        }
    }

    /// Puts changed `ipv6 nd ra` lines into force; `before` is what hosts have heard.
    pub(super) fn change_ra(&mut self, key: &GroupKey, before: RouterAdvertisements, now: Nanos) {
        let Some(role) = self.roles.get(key).filter(|role| role.plan.ra != before) else { return };
        if role.phase != Phase::Owned || key.family != Family::V6 {
            return;
        }
        let withdrawn = before.lifetime > 0 && role.plan.ra.suppress == Some(Suppress::All);
        if withdrawn && role.router.is_some() {
            self.advertise(key, 0);
        }
        self.start_router(key, now);
    }

    /// An IPv6 group that has its addresses advertises them as far as `ipv6 nd ra` allows.
    fn start_router(&mut self, key: &GroupKey, now: Nanos) {
        let Some(role) = self.roles.get_mut(key) else { return };
        role.router = match role.plan.ra.suppress {
            None => Some(Advertiser::new(now, true)),
            Some(Suppress::Unsolicited) => Some(Advertiser::new(now, false)),
            Some(Suppress::All) => None,
        };
        self.listen();
    }

    fn announcements(&mut self, keys: &[GroupKey], now: Nanos) {
        for key in keys {
            let Some(role) = self.roles.get_mut(key).filter(|role| role.phase == Phase::Owned) else {
                continue;
            };
            let announce = std::mem::take(&mut role.announce);
            let advertise = role.router.as_mut().is_some_and(|router| router.due(now));
            let lifetime = role.plan.ra.lifetime;
            if announce {
                self.announce(key);
            }
            if advertise {
                self.advertise(key, lifetime);
            }
        }
    }

    /// When something is to be done at the latest, ns.
    pub(super) fn next_deadline(&self, now: Nanos) -> Nanos {
        let mut next = now + Nanos::from_secs(1);
        for role in self.roles.values() {
            let machine = role.machine.as_ref().and_then(crate::hsrp::machine::Group::next_deadline);
            let router = role.router.as_ref().map(Advertiser::next);
            let moves = matches!(role.phase, Phase::Preparing { .. } | Phase::Withdrawing { .. });
            let poll = (moves && role.wedged.is_none()).then(|| now + PHASE_POLL);
            next = [machine, router, poll].into_iter().flatten().fold(next, Nanos::min);
        }
        next
    }
}

/// The addresses that a group's macvlan has in its phase.
fn carried(role: &Role) -> Vec<Prefix> {
    if !role.carries() {
        return Vec::new();
    }
    let addresses = role.addresses();
    let link_local = role.link_local().filter(|link_local| !addresses.contains(link_local));
    addresses.into_iter().chain(link_local).map(on_macvlan).collect()
}

/// A virtual address as the macvlan carries it: alone, so that it adds no route of its own.
fn on_macvlan(address: IpAddr) -> Prefix {
    let length = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(address) if address.is_unicast_link_local() => 64,
        IpAddr::V6(_) => 128,
    };
    Prefix { address, length }
}
