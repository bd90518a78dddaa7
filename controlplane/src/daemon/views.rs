//! What the daemon knows, as the values that `show` writes.

use super::management::Reply;
use super::{Daemon, redirects_by_gateway};
use crate::config::{Authentication, Keys, render};
use crate::hsrp::Role;
use crate::hsrp::machine::{DEFAULT_TIMERS, Group, Peer, TrackEffect};
use crate::hsrp::message::State;
use crate::show::cluster::{self, ClusterView, GatewayView};
use crate::show::dataplane::{self, DataplaneView, SnapshotView, VipView};
use crate::show::standby::{self, PeerView, StandbyView, TrackView, dotted_mac};
use crate::show::{Query, Question};
use platform::clock::monotonic_ns;
use platform::snapshot::VipState;

impl Daemon {
    pub(super) fn show(&self, query: &Query, json: bool) -> Reply {
        let now_ns = monotonic_ns();
        match query.question {
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
            Question::Stages => reply(json, &self.dataplane(now_ns), dataplane::stages),
            Question::Ports => reply(json, &self.dataplane(now_ns), dataplane::ports),
            Question::RunningConfig => reply(json, &render(&self.config, Keys::Masked), Clone::clone),
            Question::Standby => reply(json, &self.standby(query, now_ns), |view| standby::full(view, false)),
            Question::StandbyAll => {
                reply(json, &self.standby(query, now_ns), |view| standby::full(view, true))
            }
            Question::StandbyBrief => reply(json, &self.standby(query, now_ns), |view| standby::brief(view)),
            Question::Failover | Question::Debug(..) => Reply::error("this is no question"),
        }
    }

    fn cluster(&self, now_ns: u64) -> Option<ClusterView> {
        let cluster = self.config.cluster.as_ref()?;
        let plan = self.plan.cluster.as_ref()?;
        let views = self.dataplanes.views(self.writer.instance(), self.published.generation, now_ns);
        let redirects = redirects_by_gateway(&views, &self.published.vips, &self.state.assignments);
        let up = plan.down.is_empty();
        let active =
            plan.groups.iter().filter_map(|key| self.roles.get(key)).any(|r| r.state() == State::Active);
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

    fn standby(&self, query: &Query, now_ns: u64) -> Vec<StandbyView> {
        let asked = |role: &&Role| {
            let key = &role.plan.key;
            query.group.is_none_or(|group| group == key.group)
                && query.interface.as_ref().is_none_or(|name| *name == key.interface)
        };
        self.roles.values().filter(asked).map(|role| self.standby_of(role, now_ns)).collect()
    }

    fn standby_of(&self, role: &Role, now_ns: u64) -> StandbyView {
        let plan = &role.plan;
        let settings = &plan.settings;
        let machine = role.machine.as_ref();
        let until = |at: u64| at.saturating_sub(now_ns) / 1_000_000;
        let peer = |peer: Peer| PeerView {
            address: peer.source,
            priority: peer.priority,
            expires_ms: until(peer.expires),
        };
        let timers = machine.map_or(DEFAULT_TIMERS, Group::timers);
        let (changes, changed) = machine.map_or((0, now_ns), Group::changes);
        let (lease, fenced) = machine.map_or((0, false), Group::lease);
        let mut reasons = plan.down.clone();
        if reasons.is_empty() && machine.is_none() {
            reasons.push("its interface has no device or no address yet".to_owned());
        }
        if reasons.is_empty() && !role.dataplane {
            reasons.push(
                "no data plane carries its frames: systemctl start usher-dataplane, or look at the link"
                    .to_owned(),
            );
        }
        let port = plan.port.unwrap_or(usize::MAX);
        let on_port = self.election.refused.range((port, "")..).take_while(|((at, _), _)| *at == port);
        StandbyView {
            interface: plan.key.interface.to_string(),
            interface_short: plan.key.interface.short(),
            group: plan.key.group,
            version: plan.version,
            state: role.state().name().to_owned(),
            state_changes: changes,
            last_change_s: now_ns.saturating_sub(changed) / 1_000_000_000,
            virtual_ip: role.addresses(),
            learned: plan.learns,
            virtual_mac: dotted_mac(role.mac()),
            hello_ms: timers.hello.as_millis() as u64,
            hold_ms: timers.hold.as_millis() as u64,
            next_hello_ms: machine.and_then(Group::next_hello).map(until),
            authentication: settings.authentication.as_ref().map(|authentication| match authentication {
                Authentication::Text(_) => "text",
                Authentication::Md5(_) => "MD5, key-string",
            }),
            priority: machine.map_or(u32::from(plan.priority), Group::priority),
            configured_priority: plan.priority,
            preempt: plan.preempt,
            preempt_delay: settings
                .preempt
                .map_or([None; 3], |delay| [delay.minimum, delay.reload, delay.sync]),
            active: machine.and_then(Group::active).map(peer),
            standby: machine.and_then(Group::standby).map(peer),
            tracks: settings
                .tracks
                .iter()
                .map(|(object, effect)| TrackView {
                    object: *object,
                    up: self.election.down.get(object).is_some_and(|down| !down),
                    decrement: match effect {
                        TrackEffect::Decrement(by) => Some(*by),
                        TrackEffect::Shutdown => None,
                    },
                })
                .collect(),
            name: plan.name.clone(),
            lease_ms: (lease > 0).then(|| until(lease)),
            fenced,
            refused: role.refused.clone(),
            interface_refused: on_port.map(|((_, word), count)| (*word, *count)).collect(),
            reasons,
        }
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
