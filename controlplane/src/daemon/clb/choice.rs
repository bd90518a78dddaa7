//! The choice of gateways of each group, as it goes into the snapshot, and the redirects that came of it.

use super::super::Daemon;
use super::super::dataplanes::Destination;
use super::GroupCluster;
use crate::clb::node::{Event, Role};
use crate::clb::{Member, Origin};
use crate::hsrp::OWN_LEASE;
use crate::publish::VipInput;
use crate::types::{GroupKey, Nanos};
use platform::snapshot::VipState;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Daemon {
    /// Reports the clients that were sent to each gateway of a group, where that has changed.
    pub(super) fn count_sent(&mut self, key: &GroupKey, clients: &BTreeMap<Destination, u64>, now: Nanos) {
        let of_group = |vip: &&VipInput| vip.key == *key && !vip.is_own;
        let vips: BTreeSet<IpAddr> =
            self.view.published.vips.iter().filter(of_group).map(|vip| vip.address).collect();
        let mut totals: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for ((_, gateway), count) in clients.iter().filter(|((vip, _), _)| vips.contains(vip)) {
            *totals.entry(*gateway).or_default() += count;
        }
        // Also those that were sent nobody: the first count only says where counting begins.
        let Some(group) = self.clusters.groups.get_mut(key) else { return };
        for gateway in group.members.iter().map(|member| member.address) {
            totals.entry(gateway).or_default();
        }
        let news: Vec<(IpAddr, u64)> = totals
            .into_iter()
            .filter(|(gateway, total)| group.sent.insert(*gateway, *total) != Some(*total))
            .collect();
        for (gateway, total) in news {
            self.cluster_event(key, Event::Sent(gateway, total), now);
        }
    }

    /// Makes the choice. The publisher publishes it where it moves a slot or a gateway.
    pub(in crate::daemon) fn choose(&mut self, key: &GroupKey, now: Nanos) {
        let Some(group) = self.clusters.groups.get_mut(key) else { return };
        let standings = group.node.standings(now);
        let chosen = group.node.choice(&standings);
        let members: Vec<Member> = chosen
            .iter()
            .filter_map(|chosen| {
                let standing = standings.iter().find(|standing| standing.address == chosen.address)?;
                Some(Member {
                    address: chosen.address,
                    weight: chosen.weight,
                    priority: standing.priority,
                    usable: standing.usable,
                    is_self: standing.is_self,
                    origin: if standing.is_static { Origin::Static } else { Origin::Reported },
                })
            })
            .collect();
        group.members = members;
        self.dirty = true;
    }

    /// Own addresses whose requests are shed to other members.
    pub(in crate::daemon) fn own_vips(&self) -> Vec<VipInput> {
        let sheds = |group: &&GroupCluster| {
            matches!(group.node.role(), Role::Secondary(_)) && !group.members.is_empty()
        };
        let mut vips: Vec<VipInput> = Vec::new();
        for (key, group) in self.clusters.groups.iter().filter(|(_, group)| sheds(group)) {
            let Some(role) = self.view.roles.get(key) else { continue };
            let own = group.node.settings().own;
            let mac = self.exception(&key.interface).and_then(|exception| self.links.borrow().mac(exception));
            let Some(mac) = mac.filter(|_| vips.iter().all(|vip| vip.address != own)) else { continue };
            vips.push(VipInput {
                address: own,
                own: Some(own),
                mac,
                state: VipState::Active,
                redirect_init: group.node.is_up() && self.config.redirect_init,
                lease: OWN_LEASE as u16,
                port: role.plan.port.map(|port| port.get() as u16),
                epoch: 0,
                key: key.clone(),
                is_own: true,
                pending: false,
                members: group.members.clone(),
            });
        }
        vips
    }
}
