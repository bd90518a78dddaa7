//! The operator's orders: `shutdown` of the cluster, and drains.

use super::super::Daemon;
use crate::clb::node::{Event, Role};
use crate::config::Cluster;
use crate::load::drain;
use crate::types::GroupKey;
use platform::clock::monotonic_ns;
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Daemon {
    /// Where a drain of this node moves the sessions, and how fast.
    pub(super) fn drain_orders(&self) -> drain::Orders {
        let now = monotonic_ns();
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

    /// `[no] cluster drain [ADDRESS]`.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(in crate::daemon) fn cluster_drain(
        &mut self,
        address: Option<IpAddr>,
        on: bool,
    ) -> Result<String, String> {
        let now = monotonic_ns();
        if self.clusters.groups.is_empty() {
            return Err("no cluster runs here: see `show crypto ikev2 cluster`".to_owned());
        }
        let (mut done, mut elsewhere) = (BTreeSet::new(), Vec::new());
        for key in self.clusters.groups.keys().cloned().collect::<Vec<_>>() {
            let Some(group) = self.clusters.groups.get(&key) else { continue };
            let own = group.node.settings().own;
            let target = address.unwrap_or(own);
            let known = group.node.standings(now).iter().any(|standing| standing.address == target);
            if target.is_ipv4() != own.is_ipv4() || !(known || !on || target == own) {
                continue;
            }
            // With several groups this node may be the primary of some of them.
            if target != own && group.node.role() != Role::Primary {
                elsewhere.push(key);
                continue;
            }
            self.cluster_event(&key, Event::Drain(target, on), now);
            self.choose(&key, now);
            done.insert(target);
        }
        let names: Vec<String> = done.iter().map(IpAddr::to_string).collect();
        if names.is_empty() {
            return Err(match address {
                Some(target) if !elsewhere.is_empty() => {
                    format!(
                        "only the primary takes another member out of service: say it there, or on {target}"
                    )
                }
                _ => "that address is no member of the cluster: see `show crypto ikev2 cluster`".to_owned(),
            });
        }
        let names = names.join(", ");
        let drains = |key: &GroupKey| {
            let draining = self.clusters.groups.get(key).map(|group| &group.node.order().draining);
            address.is_some_and(|target| draining.is_some_and(|draining| draining.contains(&target)))
        };
        elsewhere.retain(|key| on || drains(key));
        let rest = match elsewhere.iter().map(GroupKey::to_string).collect::<Vec<_>>().join(", ") {
            keys if keys.is_empty() => String::new(),
            keys => {
                format!("Not in {keys}, whose primary is another node: say it there too, or on {names}\n")
            }
        };
        Ok(if on {
            format!(
                "{names} takes no new clients; its sessions move away at the configured pace: see `show crypto ikev2 cluster`\n{rest}"
            )
        } else {
            format!("{names} is back in service\n{rest}")
        })
    }

    /// `shutdown` or `no shutdown` was entered under `crypto ikev2 cluster`: on the primary it holds for all.
    pub(in crate::daemon) fn cluster_shutdown(&mut self, shutdown: bool) {
        let now = monotonic_ns();
        for key in self.clusters.groups.keys().cloned().collect::<Vec<_>>() {
            self.cluster_event(&key, Event::Shutdown(shutdown), now);
            self.choose(&key, now);
        }
        self.dirty = true;
    }
}
