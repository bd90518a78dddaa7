//! State of the daemon, as the values that `show` writes.

use super::clb::GroupCluster;
use super::hsrp::{Histogram, Refused, Role};
use super::{Daemon, redirects_by_gateway};
use crate::api::Reply;
use crate::clb::Member;
use crate::clb::node::{self, Standing};
use crate::config::health::ClusterPlan;
use crate::config::{Authentication, Keys, is_link_local, render};
use crate::exec::{self, Command, Invocation, Show};
use crate::hsrp::machine::{COMPLAINT_INTERVAL, DEFAULT_TIMERS, Group, Peer, TrackEffect};
use crate::load::probe::ProbeState;
use crate::show::cluster::{
    self, ClusterRole, ClusterView, CounterView, DrainView, GatewayRole, GatewayView, GroupRoleView,
    LoadView, Mark, RefusalView,
};
use crate::show::dataplane::{self, DataplaneView, SnapshotView, VipView};
use crate::show::delays::{self, DelayClass, DelayView};
use crate::show::redirect::RedirectView;
use crate::show::standby::{self, PeerView, StandbyView, TrackView, dotted_mac};
use crate::show::version::VersionView;
use crate::types::{GroupKey, Nanos, PortIndex, nanos};
use platform::choose::{Asking, choose};
use platform::snapshot::{VipState, addr16};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

impl Daemon {
    pub(super) fn show(&self, show: Show, invocation: &Invocation, json: bool) -> Reply {
        let now_ns = nanos::now();
        match show {
            Show::Cluster => reply(json, &self.cluster(now_ns), |view| cluster::summary(view.as_ref())),
            Show::ClusterDetails => {
                reply(json, &self.cluster(now_ns), |view| cluster::details(view.as_ref()))
            }
            Show::ClusterStats => reply(json, &self.cluster(now_ns), |view| cluster::stats(view.as_ref())),
            Show::Dataplane => reply(json, &self.dataplane(now_ns), dataplane::summary),
            Show::Counters => reply(json, &self.dataplane(now_ns), |view| dataplane::counters(view, false)),
            Show::AllCounters => reply(json, &self.dataplane(now_ns), |view| dataplane::counters(view, true)),
            Show::Workers => reply(json, &self.dataplane(now_ns), |view| dataplane::workers(view, now_ns)),
            Show::Stages => reply(json, &self.dataplane(now_ns), dataplane::stages),
            Show::Ports => reply(json, &self.dataplane(now_ns), dataplane::ports),
            Show::RunningConfig => reply(json, &render(&self.config, Keys::Masked), Clone::clone),
            Show::Standby => {
                reply(json, &self.standby(invocation, now_ns), |view| standby::full(view, false))
            }
            Show::StandbyInternal => reply(json, &self.stalls(now_ns), |views| delays::text(views)),
            Show::StandbyAll => {
                reply(json, &self.standby(invocation, now_ns), |view| standby::full(view, true))
            }
            Show::StandbyBrief => reply(json, &self.standby(invocation, now_ns), |view| standby::brief(view)),
            Show::Version => reply(json, &self.version(), VersionView::text),
            Show::TechSupport => self.tech_support(json),
            Show::Redirect => match self.redirects_for(invocation) {
                Ok(view) => reply(json, &view, |view| crate::show::redirect::text(view)),
                Err(error) => Reply::error(error),
            },
            Show::StartupConfig => Reply::error("the startup configuration is read elsewhere"),
        }
    }

    fn cluster(&self, now_ns: Nanos) -> Option<ClusterView> {
        let cluster = self.config.cluster.as_ref()?;
        let plan = self.plan.cluster.as_ref()?;
        let views = self.handover.planes.views(self.view.instance, self.view.published.generation, now_ns);
        let redirects = redirects_by_gateway(&views);
        let nodes = || self.clusters.groups.values().map(|group| &group.node);
        let up = plan.down.is_empty() && nodes().any(|node| node.is_up());
        let role_of = |node: &node::Node| match node.role() {
            node::Role::Primary if up => ClusterRole::Primary,
            // Without `max-session` this node reports nothing: it is no member.
            node::Role::Secondary(_) if up && cluster.max_session.is_some() => ClusterRole::Secondary,
            _ => ClusterRole::None,
        };
        // The groups may have roles on different nodes: what this one knows best, as a primary, comes first.
        let mut ranked: Vec<(ClusterRole, &GroupKey, &GroupCluster)> =
            self.clusters.groups.iter().map(|(key, group)| (role_of(&group.node), key, group)).collect();
        ranked.sort_by_key(|(role, ..)| *role);
        let role = ranked.first().map_or(ClusterRole::None, |(role, ..)| *role);
        let groups = ranked.iter().filter_map(|(role, key, _)| {
            let plan = self.plan.group(key)?;
            Some(GroupRoleView {
                name: plan.name.clone(),
                addresses: self.virtual_addresses(key),
                role: *role,
            })
        });
        let groups = groups.collect();
        let mut reasons = plan.down.clone();
        if nodes().any(|node| node.orders().is_shutdown()) {
            reasons.push(
                "the cluster was shut down on its primary: enter `no shutdown` under `crypto ikev2 cluster` there"
                    .to_owned(),
            );
        }
        let mut gateways: Vec<GatewayView> = Vec::new();
        for (role, _, group) in &ranked {
            let acked = group.node.last_ack().map(|at| now_ns.since(at));
            let is_fresh = acked.is_some_and(|age| age < group.node.settings().holdtime);
            let standings = group.node.standings(now_ns);
            let least =
                group.node.choice(&standings).into_iter().find(|chosen| chosen.least).map(|c| c.address);
            for standing in &standings {
                let mut view = self.gateway(standing, group, least);
                view.redirects = redirects.get(&standing.address).copied().unwrap_or(0);
                if *role == ClusterRole::Secondary {
                    if standing.is_self {
                        view.last_seen_ms = acked.map(|age| age.as_millis());
                    }
                    // The table is the primary's, and so are the slots.
                    view.usable = (is_fresh || standing.is_self).then_some(standing.usable);
                } else {
                    view.slots = Some(self.share(standing.address));
                }
                if gateways.iter().all(|other| other.address != view.address) {
                    gateways.push(view);
                }
            }
        }
        // What is configured and cannot run, or would lead clients back here.
        for (address, gateway) in &cluster.static_gateways {
            if gateways.iter().all(|other| other.address != *address) {
                gateways.push(idle(*address, gateway.priority, self.is_virtual(*address)));
            }
        }
        let mut drains: Vec<DrainView> = Vec::new();
        for drain in ranked.iter().flat_map(|(_, _, group)| self.drains(group, now_ns)) {
            match drains.iter_mut().find(|other| other.address == drain.address) {
                Some(known) => known.addresses.extend(drain.addresses),
                None => drains.push(drain),
            }
        }
        let authenticated =
            self.clusters.groups.values().filter_map(|group| group.authenticated).reduce(|a, b| a && b);
        let mut counters: BTreeMap<String, u64> = BTreeMap::new();
        for (name, total) in self.clusters.groups.values().flat_map(GroupCluster::counts_for_show) {
            *counters.entry(name).or_default() += total;
        }
        let refusals = self.clusters.groups.values().filter_map(|group| group.last_refusal(now_ns));
        let last_refusal = refusals.min_by_key(|(_, _, age)| *age);
        let first = ranked.first().map(|(role, _, group)| (*role, &group.node));
        let nodes_alive = |role: GatewayRole| -> BTreeSet<IpAddr> {
            let alive = gateways.iter().filter(|gateway| gateway.alive && gateway.role == role);
            alive.map(|gateway| gateway.node).collect()
        };
        let (seconds, primaries) = (nodes_alive(GatewayRole::Second), nodes_alive(GatewayRole::Primary));
        let of_group = |warning: &str| {
            self.plan.groups.iter().any(|group| warning.starts_with(&group.key.interface.to_string()))
        };
        Some(ClusterView {
            role,
            status: if up { "Up" } else { "Down" },
            reasons,
            secondaries: seconds.difference(&primaries).count(),
            primary: first.and_then(|(role, node)| match role {
                ClusterRole::Primary => Some(node.settings().own),
                ClusterRole::Secondary => node.primary(),
                ClusterRole::None => None,
            }),
            table_age_ms: first.and_then(|(role, node)| match role {
                ClusterRole::Primary => Some(0),
                ClusterRole::Secondary => node.last_ack().map(|at| now_ns.since(at).as_millis()),
                ClusterRole::None => None,
            }),
            cluster_ip: self.cluster_addresses(plan),
            groups,
            hold_time_ms: cluster.holdtime(),
            overload_limit: cluster.overload_limit(),
            hello_interval_ms: cluster.hello(),
            update_interval_ms: cluster.update(),
            redirect_init: self.config.redirect_init,
            authenticated: authenticated.or_else(|| cluster.max_session.map(|_| !cluster.keys.is_empty())),
            last_refusal: last_refusal.map(|(peer, closed, age)| RefusalView {
                peer,
                kind: closed.name(),
                reason: closed.to_string(),
                age_ms: age.as_millis(),
            }),
            gateways,
            surge_ms: nodes().filter_map(|node| node.surge().age(now_ns)).max().map(|age| age.as_millis()),
            drains,
            counters: counters.into_iter().map(|(name, total)| CounterView { name, total }).collect(),
            not_redirected: not_redirected(&views),
            // What is said of a group stands in its own place.
            notes: self
                .plan
                .warnings
                .iter()
                .filter(|warning| !of_group(warning))
                .cloned()
                .chain(self.feed_notes(now_ns))
                .collect(),
        })
    }

    /// Returns the current state of the load feed.
    fn feed_notes(&self, now_ns: Nanos) -> Vec<String> {
        let mut notes = Vec::new();
        for group in self.clusters.groups.values() {
            let other = group.node.other_primary(now_ns).zip(group.node.primary());
            if let (Some((_, primary)), node::Role::Secondary(Some(active))) = (other, group.node.role()) {
                notes.push(format!(
                    "the load feed is answered by {primary}, but HSRP's active router is {active}: check who {primary} is"
                ));
            }
            notes.extend(group.on_other_key.iter().map(|member| {
                format!("{member} uses the cluster key that is not active here: enter the new key there before the old one is removed")
            }));
        }
        notes
    }

    /// The virtual addresses of a group, configured or learned; not those that are link-local.
    fn virtual_addresses(&self, key: &GroupKey) -> Vec<IpAddr> {
        let addresses = self.view.roles.get(key).map(Role::addresses).unwrap_or_default();
        addresses.into_iter().filter(|address| !is_link_local(address)).collect()
    }

    /// The cluster's virtual addresses, in the order of its groups.
    fn cluster_addresses(&self, cluster: &ClusterPlan) -> Vec<IpAddr> {
        let up = |key: &&GroupKey| self.plan.group(key).is_some_and(|plan| plan.down.is_empty());
        cluster.groups.iter().filter(up).flat_map(|key| self.virtual_addresses(key)).collect()
    }

    fn is_virtual(&self, address: IpAddr) -> bool {
        self.view.roles.values().any(|role| role.addresses().contains(&address))
    }

    /// Slots of 1024 that a gateway holds of its family's first virtual address.
    fn share(&self, gateway: IpAddr) -> usize {
        let mut vips = self.view.published.vips.iter().filter(|vip| !vip.is_own && !vip.members.is_empty());
        let vip = vips.find(|vip| vip.address.is_ipv4() == gateway.is_ipv4());
        vip.and_then(|vip| Some(self.view.published.assignments.get(&vip.address)?.share(gateway)))
            .unwrap_or(0)
    }

    fn gateway(&self, standing: &Standing<'_>, group: &GroupCluster, least: Option<IpAddr>) -> GatewayView {
        let (chosen, rules) = (&group.members, group.node.rules());
        let report = standing.report;
        let has_share = |member: &Member| member.address == standing.address && member.weight > 0;
        let reason = match standing {
            Standing { usable: true, .. } => None,
            Standing { is_static: true, alive: false, address, .. } => match self.clusters.probe(*address) {
                Some(ProbeState::Down { reason, .. }) => Some(format!("its probe: {reason}")),
                _ => Some("its probe gets no answer".to_owned()),
            },
            Standing { left: Some(reason), .. } => Some(format!("it said goodbye: {reason}")),
            Standing { alive: false, address, .. } => {
                let refused = group.last_refusal(nanos::now()).filter(|(peer, ..)| peer == address);
                let refused = refused.map(|(_, reason, _)| format!(" (last refusal: {reason})"));
                let holdtime = group.node.settings().holdtime.as_millis();
                Some(format!("nothing was heard for holdtime ({holdtime} ms){}", refused.unwrap_or_default()))
            }
            Standing { draining: true, .. } => Some("it is being taken out of service".to_owned()),
            Standing { overloaded: true, .. } => {
                Some(format!("its load has reached {}%", rules.overload_limit))
            }
            Standing { is_self: true, .. } => Some(
                self.clusters.health_problem().unwrap_or("its load source has not answered yet").to_owned(),
            ),
            _ => Some("its load source does not answer".to_owned()),
        };
        let mark = match standing {
            Standing { overloaded: true, .. } => Some(Mark::Overloaded),
            Standing { usable: false, .. } => Some(Mark::NotChosen),
            _ if least == Some(standing.address) => Some(Mark::Least),
            _ => None,
        };
        GatewayView {
            address: standing.address,
            node: standing.node,
            alive: standing.alive,
            role: match standing {
                Standing { is_static: true, .. } => GatewayRole::Static,
                Standing { is_primary: true, .. } => GatewayRole::Primary,
                _ => GatewayRole::Second,
            },
            mark,
            reason,
            last_seen_ms: standing.age.map(|age| age.as_millis()),
            priority: standing.priority,
            load: report.zip(standing.load).map(|(report, (composite, prioritized))| LoadView {
                ike: report.ike,
                child: report.child,
                max_session: report.max_session,
                in_neg: report.load.in_neg,
                crypto: report.load.crypto,
                cpu: report.load.cpu,
                mem: report.load.mem,
                composite,
                prioritized,
            }),
            fqdn: report.map(|report| report.fqdn.clone()).unwrap_or_default(),
            usable: Some(standing.usable && chosen.iter().any(has_share)),
            is_self: standing.is_self,
            slots: None,
            redirects: 0,
        }
    }

    fn drains(&self, group: &GroupCluster, now_ns: Nanos) -> Vec<DrainView> {
        let draining = |standing: &Standing<'_>| standing.draining;
        let view = |standing: Standing<'_>| {
            let progress = self.clusters.progress().filter(|_| standing.is_self);
            let to_move = standing.report.map_or(0, |report| report.to_move);
            DrainView {
                address: standing.node,
                addresses: vec![standing.address],
                moved: standing
                    .is_self
                    .then(|| progress.as_ref().map_or(0, |progress| progress.moved.into())),
                waiting: progress
                    .as_ref()
                    .map_or(to_move, |progress| progress.waiting + progress.asked)
                    .into(),
                staying: standing
                    .is_self
                    .then(|| progress.as_ref().map_or(0, |progress| progress.staying.into())),
                examples: progress
                    .iter()
                    .flat_map(|progress| &progress.stay)
                    .take(5)
                    .map(|stay| match stay.peer {
                        Some(peer) => format!("{peer} {}: {}", stay.identity, stay.reason),
                        None => format!("{}: {}", stay.identity, stay.reason),
                    })
                    .collect(),
                problem: progress.and_then(|progress| progress.problem),
            }
        };
        group.node.standings(now_ns).into_iter().filter(draining).map(view).collect()
    }

    fn version(&self) -> VersionView {
        VersionView {
            version: env!("CARGO_PKG_VERSION"),
            hostname: self.config.hostname.clone(),
            uptime_s: self.started.elapsed().as_secs(),
            pid: std::process::id(),
            config: self.options.config.display().to_string(),
            profile: self.options.profile.display().to_string(),
            snapshot_layout: platform::snapshot::LAYOUT_VERSION,
            log_lines_dropped: crate::logging::dropped(),
        }
    }

    /// Everything that a report of a fault needs, each part under its command as IOS has it.
    fn tech_support(&self, json: bool) -> Reply {
        const PARTS: [&str; 10] = [
            "show version",
            "show running-config",
            "show crypto ikev2 cluster",
            "show crypto ikev2 cluster stats",
            "show standby all",
            "show standby brief",
            "show dataplane",
            "show dataplane counters all",
            "show dataplane workers",
            "show dataplane ports",
        ];
        let part = |command: &str| match exec::parse(command, true) {
            Ok(invocation @ Invocation { command: Command::Show(show), .. }) => {
                self.show(show, &invocation, json)
            }
            _ => Reply::default(),
        };
        if json {
            let value = |command: &str| part(command).json.unwrap_or_default();
            let all = PARTS.map(|command| (command.to_owned(), value(command)));
            return Reply {
                json: Some(all.into_iter().collect::<serde_json::Map<_, _>>().into()),
                ..Reply::default()
            };
        }
        let text = |command: &str| part(command).text.unwrap_or_default();
        let all = PARTS.map(|command| {
            let line = "-".repeat(18);
            format!("\n{line} {command} {line}\n\n{}", text(command))
        });
        Reply { text: Some(all.concat()), ..Reply::default() }
    }

    /// A dry run of the data plane's own choice, by the snapshot that it works by.
    fn redirects_for(&self, invocation: &Invocation) -> Result<Vec<RedirectView>, String> {
        let (Some(client), Some(spi_i), Some(body)) =
            (invocation.address, invocation.spi, &self.view.published.body)
        else {
            return Err("no snapshot has been published yet: ask again in a second".to_owned());
        };
        if invocation.from.is_some_and(|from| from.is_ipv4() != client.is_ipv4()) {
            return Err("the client and the gateway before have addresses of two families: name one of each"
                .to_owned());
        }
        let source = addr16(client);
        let from = invocation.from.map(addr16);
        let family = if client.is_ipv4() { 4 } else { 6 };
        let asking = Asking { family, spi_i, source: &source, redirected_from: from.as_ref() };
        let of_family = body.vips().iter().filter(|vip| vip.family == family);
        Ok(of_family.map(|vip| RedirectView::of(vip, choose(&asking, body, vip))).collect())
    }

    fn dataplane(&self, now_ns: Nanos) -> DataplaneView {
        let vips = self.view.published.vips.iter().map(|vip| VipView {
            address: vip.address,
            state: match vip.state {
                VipState::Inactive => "Inactive",
                VipState::Prepared => "Prepared",
                VipState::Active => "Active",
            },
            redirect_init: vip.redirect_init,
            port: vip.port,
            epoch: vip.epoch,
            gateways: vip.members.iter().filter(|member| member.usable).count(),
        });
        let mut attached =
            self.handover.planes.views(self.view.instance, self.view.published.generation, now_ns);
        for port in attached.iter_mut().flat_map(|view| &mut view.feedback.ports) {
            let of_vlan =
                |ours: &&super::ports::Port| ours.exception.as_deref() == Some(&port.identity.exception);
            let ours = self.ports.iter().find(of_vlan).filter(|_| port.identity.vlan != 0);
            if let Some(name) = ours.and_then(|ours| ours.interface.as_ref()) {
                port.identity.name = name.to_string();
            }
        }
        DataplaneView {
            snapshot: SnapshotView {
                instance: format!("{:016x}", self.view.instance),
                generation: self.view.published.generation,
                published_ago_ms: now_ns.since(self.view.published.at_ns).as_millis(),
                vips: vips.collect(),
            },
            attached,
        }
    }

    fn standby(&self, invocation: &Invocation, now_ns: Nanos) -> Vec<StandbyView> {
        let asked = |role: &&Role| {
            let key = &role.plan.key;
            invocation.group.is_none_or(|group| group == key.group)
                && invocation.interface.as_ref().is_none_or(|name| *name == key.interface)
        };
        self.view.roles.values().filter(asked).map(|role| self.standby_of(role, now_ns)).collect()
    }

    fn stalls(&self, now_ns: Nanos) -> Vec<DelayView> {
        let stalls = &self.view.stalls;
        let view = |name: &'static str, histogram: &Histogram| {
            let (longest, at) = histogram.longest();
            DelayView {
                name,
                longest_us: longest.as_micros() as u64,
                longest_ago_s: (at > Nanos::ZERO).then(|| now_ns.since(at).as_secs()),
                classes: histogram
                    .classes()
                    .map(|(below, count)| DelayClass {
                        below_us: below.map(|below| below.as_micros() as u64),
                        count,
                    })
                    .collect(),
            }
        };
        vec![view("timer", &stalls.late), view("turn", &stalls.turn), view("blocked", &stalls.blocked)]
    }

    fn standby_of(&self, role: &Role, now_ns: Nanos) -> StandbyView {
        let plan = &role.plan;
        let settings = &plan.settings;
        let machine = role.machine.as_ref();
        let until = |at: Nanos| at.since(now_ns).as_millis();
        let peer = |peer: Peer| PeerView {
            address: peer.source,
            priority: peer.priority,
            expires_ms: until(peer.expires),
        };
        let timers = machine.map_or(DEFAULT_TIMERS, Group::timers);
        let (changes, changed) = machine.map_or((0, now_ns), Group::changes);
        let (lease, fenced) = machine.map_or((Nanos::ZERO, false), Group::lease);
        let mut reasons = plan.down.clone();
        if reasons.is_empty() && machine.is_none() {
            reasons.push("its interface has no device or no address yet".to_owned());
        }
        reasons.extend(role.fault.clone());
        if reasons.is_empty() && !role.dataplane {
            reasons.extend(role.missing.as_ref().map(ToString::to_string));
        }
        let port = plan.port.unwrap_or(PortIndex::new(usize::MAX));
        let on_port = self.view.refused.range((port, "")..).take_while(|((at, _), _)| *at == port);
        StandbyView {
            interface: plan.key.interface.to_string(),
            interface_short: plan.key.interface.short(),
            group: plan.key.group,
            version: plan.version,
            state: role.state().name().to_owned(),
            state_changes: changes,
            last_change_s: now_ns.since(changed).as_secs(),
            virtual_ip: role.addresses(),
            learned: plan.learns,
            virtual_mac: dotted_mac(role.mac()),
            hello_ms: timers.hello.as_millis() as u64,
            hold_ms: timers.hold.as_millis() as u64,
            next_hello_ms: machine.and_then(Group::next_hello).map(until),
            authentication: settings.authentication.as_ref().map(|authentication| match authentication {
                Authentication::Text(_) => "text",
                Authentication::Md5(..) => "MD5, key-string",
                Authentication::KeyChain(_) => "MD5, key-chain",
            }),
            authentication_timeout_s: match &settings.authentication {
                Some(Authentication::Md5(_, timeout)) => *timeout,
                _ => None,
            },
            old_key_ms: role.auth.old_until(now_ns).map(until),
            priority: machine.map_or(u32::from(plan.priority), Group::priority),
            configured_priority: plan.priority,
            preempt: plan.preempt,
            preempt_delay: settings
                .preempt
                .map_or([None; 3], |delay| [delay.minimum, delay.reload, delay.sync]),
            preempt_held_back: plan.preempt && machine.is_some_and(Group::holds_back),
            active: machine.and_then(Group::active).map(peer),
            standby: machine.and_then(Group::standby).map(peer),
            tracks: settings
                .tracks
                .iter()
                .map(|(object, effect)| TrackView {
                    object: *object,
                    up: self.view.tracks.get(object).is_some_and(|down| !down),
                    decrement: match effect {
                        TrackEffect::Decrement(by) => Some(*by),
                        TrackEffect::Shutdown => None,
                    },
                })
                .collect(),
            name: plan.name.clone(),
            lease_ms: (lease > Nanos::ZERO).then(|| until(lease)),
            fenced,
            refused: role.refused.clone(),
            interface_refused: on_port.map(|((_, word), count)| (*word, *count)).collect(),
            reasons,
            warnings: self.standby_warnings(role, now_ns),
        }
    }

    /// Returns recent findings about a group that are not as they should be.
    fn standby_warnings(&self, role: &Role, now_ns: Nanos) -> Vec<String> {
        // The machine repeats its complaints every 30 s.
        let lately = |at: Nanos| now_ns.since(at) < COMPLAINT_INTERVAL + COMPLAINT_INTERVAL / 4;
        let ago = |at: Nanos| now_ns.since(at).as_secs();
        let complaints = role.complaints.values().filter(|(_, at)| lately(*at));
        let mut warnings: Vec<String> = complaints.map(|(note, _)| note.to_string()).collect();
        if let Some(Refused { source, active, reason, at }) =
            role.last_refused.as_ref().filter(|last| lately(last.at))
        {
            let active = if *active { ", which says that it is active," } else { "" };
            let count: u64 = role.refused.values().sum();
            warnings.push(format!(
                "{count} messages refused, the last from {source}{active} {} sec ago: {reason}",
                ago(*at)
            ));
        }
        let other = role.plan.port.and_then(|port| self.view.other_version.get(&port));
        if let Some((source, version, at)) = other.filter(|(.., at)| lately(*at)) {
            warnings.push(format!(
                "{source} speaks version {version}, heard {} sec ago: enter the same `standby version` on both",
                ago(*at)
            ));
        }
        warnings
    }
}

/// Requests that passed to the local daemon, by reason, summed over the data planes.
fn not_redirected(views: &[dataplane::AttachedView]) -> Vec<CounterView> {
    let mut counters: Vec<CounterView> = Vec::new();
    let passed = views
        .iter()
        .flat_map(|view| &view.feedback.counters)
        .filter(|of| of.action == "pass" && of.total > 0);
    for counter in passed {
        match counters.iter_mut().find(|other| other.name == counter.name) {
            Some(other) => other.total = other.total.wrapping_add(counter.total),
            None => counters.push(CounterView { name: counter.name.clone(), total: counter.total }),
        }
    }
    counters
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

/// A configured gateway that takes no part.
fn idle(address: IpAddr, priority: u8, is_virtual: bool) -> GatewayView {
    let reason = if is_virtual { "it is a virtual address" } else { "the cluster is down" };
    GatewayView {
        address,
        node: address,
        role: GatewayRole::Static,
        alive: false,
        mark: Some(Mark::NotChosen),
        reason: Some(reason.to_owned()),
        last_seen_ms: None,
        priority,
        load: None,
        fqdn: String::new(),
        usable: Some(false),
        is_self: false,
        slots: Some(0),
        redirects: 0,
    }
}
