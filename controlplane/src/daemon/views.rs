//! What the daemon knows, as the values that `show` writes.

use super::management::Reply;
use super::{Daemon, redirects_by_gateway};
use crate::config::{Keys, render};
use crate::hsrp::State;
use crate::show::Question;
use crate::show::cluster::{self, ClusterView, GatewayView};
use crate::show::dataplane::{self, DataplaneView, SnapshotView, VipView};
use crate::show::standby::{self, StandbyView, dotted_mac};
use platform::clock::monotonic_ns;
use platform::snapshot::VipState;

impl Daemon {
    pub(super) fn show(&self, question: Question, json: bool) -> Reply {
        let now_ns = monotonic_ns();
        match question {
            Question::Cluster => reply(json, &self.cluster(now_ns), |view| cluster::summary(view.as_ref())),
            Question::ClusterDetails => {
                reply(json, &self.cluster(now_ns), |view| cluster::details(view.as_ref()))
            }
            Question::ClusterStats => {
                reply(json, &self.cluster(now_ns), |view| cluster::stats(view.as_ref()))
            }
            Question::Dataplane => reply(json, &self.dataplane(now_ns), dataplane::summary),
            Question::Counters => {
                reply(json, &self.dataplane(now_ns), |view| dataplane::counters(view, false))
            }
            Question::AllCounters => {
                reply(json, &self.dataplane(now_ns), |view| dataplane::counters(view, true))
            }
            Question::Workers => {
                reply(json, &self.dataplane(now_ns), |view| dataplane::workers(view, now_ns))
            }
            Question::Ports => reply(json, &self.dataplane(now_ns), dataplane::ports),
            Question::RunningConfig => reply(json, &render(&self.config, Keys::Masked), Clone::clone),
            Question::Standby => reply(json, &self.standby(now_ns), |view| standby::full(view)),
            Question::StandbyBrief => reply(json, &self.standby(now_ns), |view| standby::brief(view)),
        }
    }

    fn cluster(&self, now_ns: u64) -> Option<ClusterView> {
        let cluster = self.config.cluster.as_ref()?;
        let plan = self.plan.cluster.as_ref()?;
        let views = self.dataplanes.views(self.writer.instance(), self.published.generation, now_ns);
        let redirects = redirects_by_gateway(&views, &self.published.vips, &self.state.assignments);
        let up = plan.down.is_empty();
        let active =
            plan.groups.iter().filter_map(|key| self.hsrp.role(key)).any(|r| r.state == State::Active);
        let share = |gateway| {
            let mut vips = self.published.vips.iter().filter(|vip| vip.in_cluster);
            vips.find_map(|vip| {
                let share = self.state.assignments.get(&vip.address)?.share(gateway);
                (vip.address.is_ipv4() == gateway.is_ipv4()).then_some(share)
            })
        };
        Some(ClusterView {
            role: if up && active { "CLB Primary" } else { "None" },
            status: if up { "Up" } else { "Down" },
            reasons: plan.down.clone(),
            secondaries: 0,
            cluster_ip: self.plan.cluster_addresses().collect(),
            hold_time_ms: cluster.holdtime(),
            overload_limit: cluster.overload_limit(),
            redirect_init: self.config.redirect_init,
            gateways: self
                .members
                .iter()
                .map(|member| GatewayView {
                    address: member.address,
                    role: "Static",
                    priority: member.priority,
                    usable: member.usable,
                    is_self: member.is_self,
                    slots: share(member.address).unwrap_or(0),
                    redirects: redirects.get(&member.address).copied().unwrap_or(0),
                })
                .collect(),
            notes: self.plan.warnings.clone(),
        })
    }

    fn dataplane(&self, now_ns: u64) -> DataplaneView {
        let vips = self.published.vips.iter().map(|vip| VipView {
            address: vip.address,
            state: match vip.state {
                VipState::Inactive => "Inactive",
                VipState::Prepared => "Prepared",
                VipState::Active => "Active",
            },
            redirect_init: vip.redirect_init,
            port: vip.port,
            epoch: vip.epoch,
            gateways: self
                .members
                .iter()
                .filter(|m| vip.in_cluster && m.usable && m.address.is_ipv4() == vip.address.is_ipv4())
                .count(),
        });
        DataplaneView {
            snapshot: SnapshotView {
                instance: format!("{:016x}", self.writer.instance()),
                generation: self.published.generation,
                published_ago_ms: now_ns.saturating_sub(self.published.at_ns) / 1_000_000,
                vips: vips.collect(),
            },
            attached: self.dataplanes.views(self.writer.instance(), self.published.generation, now_ns),
        }
    }

    fn standby(&self, now_ns: u64) -> Vec<StandbyView> {
        let view = |role: &crate::hsrp::Role| {
            let plan = &role.plan;
            StandbyView {
                interface: plan.key.interface.to_string(),
                interface_short: plan.key.interface.short(),
                group: plan.key.group,
                version: plan.version,
                state: role.state.to_string(),
                state_changes: role.changes,
                last_change_s: now_ns.saturating_sub(role.changed_ns) / 1_000_000_000,
                virtual_ip: plan.addresses.clone(),
                virtual_mac: dotted_mac(role.mac()),
                priority: plan.priority,
                preempt: plan.preempt,
                name: plan.name.clone(),
                reasons: plan.down.clone(),
            }
        };
        self.hsrp.roles().map(view).collect()
    }
}

fn reply<T: serde::Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Reply {
    if !json {
        return Reply { text: Some(text(value)), ..Reply::default() };
    }
    match serde_json::to_value(value) {
        Ok(value) => Reply { json: Some(value), ..Reply::default() },
        Err(error) => Reply::error(format!("the answer cannot be written as JSON: {error}")),
    }
}
