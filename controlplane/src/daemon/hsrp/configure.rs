//! The groups as the configuration wants them, each with its part in the election.

use super::role::{Phase, Role, machine_config};
use super::runner::{Runner, wall_clock};
use crate::config::Authentication;
use crate::config::health::GroupPlan;
use crate::hsrp::OWN_LEASE;
use crate::hsrp::auth::Auth;
use crate::hsrp::link::link_local_of;
use crate::hsrp::machine::{Event, Group};
use crate::types::{Family, GroupKey, Nanos};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

impl Runner {
    /// Brings roles and sockets into line with the plan. Groups that are not wanted any more first give up what
    /// they have.
    pub(super) fn configure_roles(&mut self, now: Nanos) {
        for key in self.keys() {
            let wanted = self.settings.plan.group(&key).cloned();
            let Some(role) = self.roles.get_mut(&key) else { continue };
            // Another version or port is another virtual MAC or device: the group ends and starts over.
            let same = wanted.filter(|plan| plan.version == role.plan.version && plan.port == role.plan.port);
            match same {
                Some(plan) => self.change_role(&key, plan, now),
                None => {
                    self.handle(&key, Event::Disable, now);
                    self.drop_if_over(&key);
                }
            }
        }
        let alone = |role: &&Role| !role.synced && !self.settings.feeds.contains(&role.plan.key);
        let alone: Vec<GroupKey> =
            self.roles.values().filter(alone).map(|role| role.plan.key.clone()).collect();
        for key in alone {
            self.synced(&key, true, now);
        }
        self.create_roles(now);
        self.listen();
        let names: BTreeSet<String> = self.roles.keys().map(GroupKey::to_string).collect();
        let ports = &self.settings.ports;
        self.limits.keep(|place| {
            place == "HSRP"
                || names.contains(place)
                || ports.iter().any(|port| port.exception.as_deref() == Some(place))
        });
        self.dirty = true;
    }

    /// Forgets a group that is not wanted as it is, when it has given everything up.
    pub(super) fn drop_if_over(&mut self, key: &GroupKey) -> bool {
        let Some(role) = self.roles.get(key) else { return false };
        let plan = self.settings.plan.group(key);
        let wanted =
            plan.is_some_and(|plan| plan.version == role.plan.version && plan.port == role.plan.port);
        let over = !wanted && role.phase == Phase::Absent && role.held.is_empty() && !role.wanted();
        if over {
            if let Some((_, device)) = self.settings.devices(&role.plan) {
                let ticket = self.ticket();
                self.reconciler.set_group(device, None, ticket);
            }
            self.roles.remove(key);
            self.dirty = true;
        }
        over
    }

    pub(super) fn create_roles(&mut self, now: Nanos) {
        let plan = self.settings.plan.clone();
        for plan in &plan.groups {
            if self.roles.contains_key(&plan.key) {
                continue;
            }
            let free = (0..OWN_LEASE).find(|lease| self.roles.values().all(|role| role.lease != *lease));
            let epoch = self.lasting.epoch(&plan.key);
            // `assess` keeps groups beyond the lease words down: they need none.
            let auth = auth_of(plan).unwrap_or_default();
            let mut role = Role::new(plan.clone(), auth, free.unwrap_or(OWN_LEASE), epoch);
            role.reload = self.starting;
            role.synced = !self.settings.feeds.contains(&plan.key);
            self.roles.insert(plan.key.clone(), role);
            self.start_machine(&plan.key, now);
            // Made before it is needed: bringing it up would cost most of a takeover.
            self.set_device(&plan.key);
        }
    }

    /// Gives a group its part in the election as soon as it can have one, and keeps what the machine knows of its
    /// interface true.
    pub(super) fn start_machine(&mut self, key: &GroupKey, now: Nanos) {
        let Some(role) = self.roles.get(key) else { return };
        if !role.plan.down.is_empty() || role.lease >= OWN_LEASE {
            return;
        }
        let Some((own, mac)) = self.own_address(&role.plan) else { return };
        let config = machine_config(&role.plan, own, mac);
        let enabled = role.enabled;
        if let Some(machine) = &role.machine {
            if machine.config() != &config {
                self.handle(key, Event::Configure(config), now);
            }
            if !enabled {
                self.enable(key, false, now);
            }
            return;
        }
        // Within the lease of the life before, the addresses are still here and no peer can have them.
        let lease = self.lasting.lease(key, now);
        let reload = role.reload;
        let resume = lease.filter(|_| reload);
        let exception = self.settings.exception_of(&role.plan);
        let up = role.fault.is_none()
            && exception.is_some_and(|exception| self.planes.carries(exception).is_some());
        if let Some(role) = self.roles.get_mut(key) {
            role.machine = Some(Group::new(config, now));
            role.resumed = resume.is_some();
            role.grace = resume.is_some();
            role.carried = up || resume.is_some();
            role.dataplane = role.carried;
        }
        let synced = self.roles.get(key).is_none_or(|role| role.synced);
        self.handle(key, Event::Synced(synced), now);
        for (object, down) in self.tracks.clone() {
            self.handle(key, Event::Track { object, down }, now);
        }
        if !up && resume.is_none() {
            self.handle(key, Event::DataplaneDown, now);
        }
        let Some(until) = resume else { return self.enable(key, reload, now) };
        tracing::info!(
            "%HSRP-5-RESUME: {key}: resuming as Active, lease valid for another {} ms",
            until.since(now).as_millis()
        );
        if let Some(role) = self.roles.get_mut(key) {
            role.enabled = true;
        }
        self.handle(key, Event::Resume { until }, now);
    }

    fn enable(&mut self, key: &GroupKey, reload: bool, now: Nanos) {
        if let Some(role) = self.roles.get_mut(key) {
            role.enabled = true;
        }
        self.handle(key, Event::Enable { reload }, now);
    }

    /// The address that a group's hellos leave from, and the interface's MAC.
    fn own_address(&self, plan: &GroupPlan) -> Option<(IpAddr, [u8; 6])> {
        let exception = self.settings.exception_of(plan)?;
        let own = match plan.key.family {
            Family::V4 => plan.primary,
            // The kernel's own; where nobody carries the device's frames yet it has none.
            Family::V6 => self
                .links
                .link_local(exception)
                .or_else(|| self.planes.port(exception).map(|port| link_local_of(port.mac)))
                .map(IpAddr::V6),
        };
        // Without it no hello leaves: a node that is not heard must not elect itself.
        self.links.packet(exception)?;
        Some((own?, self.links.mac(exception)?))
    }

    fn change_role(&mut self, key: &GroupKey, plan: GroupPlan, now: Nanos) {
        let Some(role) = self.roles.get_mut(key) else { return };
        let is_down = !plan.down.is_empty();
        if let Some(auth) = auth_of(&plan)
            && role.plan.settings.authentication != plan.settings.authentication
        {
            let timeout = match &plan.settings.authentication {
                Some(Authentication::Md5(_, Some(timeout))) => *timeout,
                _ => 0,
            };
            let until = now + Duration::from_secs(timeout.into());
            role.auth.replace(auth, now, until);
            match role.auth.old_until(now) {
                Some(_) => tracing::info!(
                    "%HSRP-5-AUTH: {key}: authentication changed; the key before is accepted for another {timeout} s"
                ),
                None => tracing::info!(
                    "%HSRP-5-AUTH: {key}: authentication changed; routers with the one before are not heard any more"
                ),
            }
        }
        let changed = role.plan != plan;
        let ra = std::mem::replace(&mut role.plan, plan).ra;
        if is_down {
            role.enabled = false;
        }
        self.change_ra(key, ra, now);
        // A chain may just have been given its keys.
        self.roll_keys();
        if is_down {
            self.handle(key, Event::Disable, now);
            return;
        }
        self.start_machine(key, now);
        if changed {
            // Secondary addresses are nothing to the machine.
            self.readdress(key);
        }
    }
}

/// Returns how a group is to authenticate now; none while its key chain has no key.
fn auth_of(plan: &GroupPlan) -> Option<Auth> {
    Auth::of(plan.settings.authentication.as_ref(), plan.chain.as_ref(), wall_clock())
}
