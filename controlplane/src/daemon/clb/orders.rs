//! The operator's orders: `shutdown` of the cluster, and drains.

use super::super::Daemon;
use crate::clb::node::{Event, Role};
use crate::clb::orders::Orders;
use crate::config::Cluster;
use crate::load::drain;
use crate::types::{GroupKey, Nanos, nanos};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Daemon {
    /// Where a drain of this node moves the sessions, and how fast.
    pub(super) fn drain_orders(&self) -> drain::Orders {
        let now = nanos::now();
        let pace = self.config.cluster.as_ref().map_or(0, Cluster::drain_pace);
        let targets = self.clusters.groups.values().flat_map(|group| {
            let own = group.node.settings().own;
            group
                .node
                .standings(now)
                .into_iter()
                .filter(move |standing| standing.usable && standing.address != own)
                .map(|standing| {
                    let load = standing.load.map_or(0, |(_, load)| load.as_hundredths());
                    (standing.address, u32::from(10_000u16.saturating_sub(load)).max(1))
                })
        });
        drain::Orders { pace, targets: targets.collect() }
    }

    /// `[no] cluster drain [ADDRESS]`: a node with all its addresses.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(in crate::daemon) fn cluster_drain(
        &mut self,
        address: Option<IpAddr>,
        on: bool,
    ) -> Result<String, String> {
        let now = nanos::now();
        let groups = || self.clusters.groups.values().map(|group| &group.node);
        let Some(own) = groups().map(|node| node.settings().node).next() else {
            return Err("no cluster runs here: see `show crypto ikev2 cluster`".to_owned());
        };
        let standings = || groups().flat_map(|node| node.standings(now));
        let of_address = |address| standings().find(|standing| standing.address == address).map(|of| of.node);
        let is_own = |address| groups().any(|node| node.settings().own == address);
        let node = match address {
            Some(address) if !is_own(address) => of_address(address).ok_or_else(|| {
                format!("{address} is no member of the cluster: see `show crypto ikev2 cluster`")
            })?,
            _ => own,
        };
        let mut addresses: BTreeSet<IpAddr> =
            standings().filter(|standing| standing.node == node).map(|standing| standing.address).collect();
        if node == own {
            addresses.extend(groups().map(|node| node.settings().own));
        }
        let names = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        // The primary of any group may order it: a node is one member in all groups.
        let by = |key: &&GroupKey| {
            let node_is_own = node == own;
            self.clusters
                .groups
                .get(*key)
                .is_some_and(|group| node_is_own || group.node.role() == Role::Primary)
        };
        let Some(key) = self.clusters.groups.keys().find(by).cloned() else {
            return Err(format!(
                "only the primary can drain another node: enter this on the primary or on {names}"
            ));
        };
        let Some(group) = self.clusters.groups.get_mut(&key) else { return Ok(String::new()) };
        let actions = group.node.drain(node, on, now).map_err(|error| error.to_string())?;
        for action in actions {
            self.cluster_action(&key, action, now);
        }
        for key in self.clusters.groups.keys().cloned().collect::<Vec<_>>() {
            self.choose(&key, now);
        }
        let unauthenticated = self.config.cluster.as_ref().is_some_and(|cluster| cluster.keys.is_empty());
        let rest = if unauthenticated && node != own {
            format!(
                "The load feed has no key, so {names} does not take the order: enter it there too, or add `key STRING`\n"
            )
        } else if unauthenticated {
            "The load feed has no key, so only this node's own reports carry the order\n".to_owned()
        } else {
            String::new()
        };
        Ok(if on {
            format!(
                "Draining {names}: no new clients; its sessions move away at the configured pace: see `show crypto ikev2 cluster`\n{rest}"
            )
        } else {
            format!("{names} is back in service\n{rest}")
        })
    }

    /// `clear crypto ikev2 cluster member {ADDRESS|dead}`: a node with all its addresses.
    ///
    /// # Errors
    /// When no such member is there.
    pub(in crate::daemon) fn clear_members(&mut self, address: Option<IpAddr>) -> Result<String, String> {
        let now = nanos::now();
        let standings = self.clusters.groups.values().flat_map(|group| group.node.standings(now));
        let reporting: Vec<(IpAddr, IpAddr)> = standings
            .filter(|standing| !standing.is_static && !standing.is_self)
            .map(|standing| (standing.address, standing.node))
            .collect();
        let node = address.map(|address| {
            let of = reporting.iter().find(|(of, _)| *of == address).map(|(_, node)| *node);
            of.ok_or_else(|| {
                format!("{address} is no other member of the cluster: see `show crypto ikev2 cluster`")
            })
        });
        let node = node.transpose()?;
        let addresses =
            |of: IpAddr| reporting.iter().filter(move |(_, node)| *node == of).map(|(address, _)| *address);
        let targets: Vec<Option<IpAddr>> = match node {
            Some(node) => addresses(node).map(Some).collect(),
            None => vec![None],
        };
        let mut gone = BTreeSet::new();
        for key in self.clusters.groups.keys().cloned().collect::<Vec<_>>() {
            let Some(group) = self.clusters.groups.get_mut(&key) else { continue };
            gone.extend(targets.iter().flat_map(|target| group.node.clear(*target, now)));
            self.choose(&key, now);
        }
        let names = gone.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        if names.is_empty() {
            return Ok("No member is dead\n".to_owned());
        }
        tracing::info!("%CLB-5-MEMBERCLEAR: cleared from the table: {names}");
        Ok(format!("Cleared {names}\n"))
    }

    /// The orders that each group knows.
    pub(super) fn all_orders(&self) -> Vec<(GroupKey, Orders)> {
        self.clusters.groups.iter().map(|(key, group)| (key.clone(), group.node.orders().clone())).collect()
    }

    /// Makes the drains that one group knows known to this node's other groups.
    pub(super) fn share_drains(&mut self, from: &GroupKey, orders: &Orders, now: Nanos) {
        self.in_other_groups(from, &Event::Drains(orders.clone()), now);
    }

    /// A node is one member in all groups: what one of them learned is an event for the others.
    pub(super) fn in_other_groups(&mut self, from: &GroupKey, event: &Event, now: Nanos) {
        for key in self.clusters.groups.keys().filter(|key| *key != from).cloned().collect::<Vec<_>>() {
            self.cluster_event(&key, event.clone(), now);
        }
    }

    /// usherd stops: the peers hear it, and send no client here from then on.
    pub(in crate::daemon) fn stop_clusters(&mut self, now: Nanos) {
        for key in self.clusters.groups.keys().cloned().collect::<Vec<_>>() {
            self.cluster_event(&key, Event::Stop, now);
        }
    }

    /// `shutdown` or `no shutdown` was entered under `crypto ikev2 cluster`: on the primary it holds for all.
    pub(in crate::daemon) fn cluster_shutdown(&mut self, shutdown: bool) {
        let now = nanos::now();
        for key in self.clusters.groups.keys().cloned().collect::<Vec<_>>() {
            self.cluster_event(&key, Event::Shutdown(shutdown), now);
            self.choose(&key, now);
        }
        self.dirty = true;
    }
}
