//! The runner of cluster load balancing: one node of [`crate::clb::node`] for each group of the cluster, with its
//! connections; and what all of them share, the load source, the probes and the drain.

use super::Daemon;
use super::feeds::{HEARD, Opened, Post};
use crate::clb::feed::{Client, FeedEvent, Server};
use crate::clb::load::Rules;
use crate::clb::node::{Action, Event, Log, Node, Role, Settings};
use crate::clb::{self, Member, Origin};
use crate::config::health::GroupPlan;
use crate::config::{self, Cluster, LoadSource, Selection, StaticGateway};
use crate::hsrp::OWN_LEASE;
use crate::hsrp::message::State;
use crate::load::drain::{self, Drain, Progress};
use crate::load::probe::{Probe, ProbeSpec, ProbeState};
use crate::load::{Counts, Reading, Source, SourceSpec};
use crate::publish::{Assignment, MoveBudget, VipInput, assign};
use crate::types::GroupKey;
use platform::clock::monotonic_ns;
use platform::snapshot::VipState;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// The choice is made anew this often, ns: what a surge does until it is seen goes to the few that were the least loaded.
pub(super) const TURN: u64 = 25_000_000;
/// A source has this long for its first answer before the node calls itself unhealthy, ns.
const FIRST_ANSWER: u64 = 1_500_000_000;
/// Requests to an own address are shed for so long after this node's last sign of life, ns.
const SHED_LEASE: u64 = 10_000_000_000;
/// A primary that has started waits at least this long for its members before slots move slowly, ns.
const SETTLE: u64 = 3_000_000_000;
/// The thread that talks to others rests so long before it waits for more: of 63 members that report ten times a second
/// several are heard at once then, and answered at once, instead of each in a wakeup of its own.
const REST: Duration = Duration::from_millis(5);
/// Lines of one kind about one group in 10 s.
pub(super) const FEW_LINES: u32 = 10;

/// One node with its connections.
pub(super) struct One {
    pub node: Node,
    pub told: mpsc::Sender<FeedEvent>,
    pub heard: mpsc::Receiver<FeedEvent>,
    pub server: Option<Server>,
    pub wants_server: bool,
    pub listen_at: u64,
    pub client: Option<Client>,
    pub opened: Opened,
    pub post: Post,
    /// Since when it is primary, ns
    primary_since: u64,
    /// The members for the data plane, as chosen last; of a secondary those that its own address sheds to
    pub members: Vec<Member>,
    /// Held a connection with the cluster key; `None`: none yet
    pub authenticated: Option<bool>,
    /// Clients sent to each gateway, as the data planes have counted
    sent: BTreeMap<IpAddr, u64>,
    /// HSRP has been told that the member table is here: `preempt delay sync` waits for it
    synced: bool,
    /// Events counted for `show`
    pub counts: BTreeMap<&'static str, u64>,
}

impl One {
    /// Whether slots move slowly. Not while the members of a primary that has started may still be on their way: nothing that
    /// they share is worth keeping yet. And not as a surge begins: at a twentieth a second it would be over before the
    /// slots have followed.
    fn is_paced(&self, now: u64) -> bool {
        let settled = self.primary_since + self.node.settings().holdtime.max(SETTLE);
        now >= settled && !self.node.surge().begins(now)
    }
}

/// A thread for what talks to others: the feed, load sources, probes and drains. However long one of them computes, the loop
/// that owns the roles keeps its time.
pub(super) struct Background(Option<tokio::runtime::Runtime>);

impl Background {
    fn start() -> std::io::Result<Background> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name("usherd-peers")
            .on_thread_park(|| std::thread::sleep(REST))
            .enable_all()
            .build()
            .map(|runtime| Background(Some(runtime)))
    }

    /// What is spawned until the guard is dropped runs there.
    pub(super) fn enter(&self) -> Option<tokio::runtime::EnterGuard<'_>> {
        self.0.as_ref().map(tokio::runtime::Runtime::enter)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// All of the cluster.
pub struct Clusters {
    pub(super) background: Background,
    pub(super) all: BTreeMap<GroupKey, One>,
    source: Option<(SourceSpec, Duration, Vec<usize>, Source)>,
    source_since: u64,
    reading: Option<Result<crate::load::Sample, String>>,
    probes: BTreeMap<IpAddr, (ProbeSpec, Probe)>,
    drain: Option<Drain>,
    pub(super) budgets: BTreeMap<IpAddr, MoveBudget>,
    pub(super) turn_at: u64,
    incarnation: u64,
    /// `debug crypto ikev2 cluster`
    pub(super) debug: bool,
}

impl Clusters {
    /// # Errors
    /// When no thread can be started.
    pub(super) fn new() -> std::io::Result<Clusters> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Clusters {
            background: Background::start()?,
            all: BTreeMap::new(),
            source: None,
            source_since: 0,
            reading: None,
            probes: BTreeMap::new(),
            drain: None,
            budgets: BTreeMap::new(),
            turn_at: 0,
            incarnation: since.as_millis() as u64,
            debug: false,
        })
    }

    /// The members that requests to this group's virtual address may be sent to.
    pub(super) fn members(&self, key: &GroupKey) -> Vec<Member> {
        let one = self.all.get(key).filter(|one| one.node.role() == Role::Primary);
        one.map(|one| one.members.clone()).unwrap_or_default()
    }

    /// Whether clients of this group's virtual address are redirected.
    pub(super) fn is_up(&self, key: &GroupKey) -> bool {
        self.all.get(key).is_some_and(|one| one.node.is_up())
    }

    /// How far the drain is, where there is one.
    pub(super) fn progress(&self) -> Option<Progress> {
        self.drain.as_ref().map(Drain::progress)
    }

    /// Why a static gateway is down, where its probe says so.
    pub(super) fn probe(&self, address: IpAddr) -> Option<ProbeState> {
        self.probes.get(&address).map(|(_, probe)| probe.latest())
    }

    /// Why this node is unhealthy.
    pub(super) fn ailment(&self) -> Option<&str> {
        self.reading.as_ref()?.as_ref().err().map(String::as_str)
    }
}

/// What the configuration says, for one group.
fn settings(
    config: &config::Config,
    cluster: &Cluster,
    plan: &GroupPlan,
    own: IpAddr,
    taken: &BTreeSet<IpAddr>,
) -> Settings {
    let ns = |ms: u32| u64::from(ms) * 1_000_000;
    let statics = cluster.static_gateways.iter();
    Settings {
        own,
        holdtime: ns(cluster.holdtime()),
        hello: ns(cluster.hello()),
        update: ns(cluster.update()),
        rules: Rules {
            crypto_weight: cluster.weight_crypto(),
            system_weight: cluster.weight_system(),
            overload_limit: cluster.overload_limit(),
        },
        max_session: cluster.max_session.unwrap_or(0),
        max_in_negotiation: config.max_in_negotiation.unwrap_or(DEFAULT_IN_NEGOTIATION),
        priority: cluster.priority(),
        load_normalization: cluster.load_normalization(),
        selection: match cluster.selection() {
            Selection::Spread => clb::choice::Selection::Spread,
            Selection::Strict => clb::choice::Selection::Strict,
        },
        fqdn: cluster.fqdn.clone().unwrap_or_default(),
        max_nodes: cluster.max_nodes(),
        statics: statics
            // A client sent to a virtual address would come back here.
            .filter(|(address, _)| address.is_ipv4() == own.is_ipv4() && !taken.contains(*address))
            .map(|(address, gateway)| (*address, gateway.priority))
            .collect(),
        shutdown: cluster.shutdown,
        group_down: !plan.down.is_empty(),
    }
}

/// `crypto ikev2 limit max-in-negotation-sa` where it is not configured.
const DEFAULT_IN_NEGOTIATION: u16 = 40;

fn source_spec(source: LoadSource, vici: &std::path::Path) -> SourceSpec {
    let percent = |value: Option<u8>| value.map(|value| clb::member::Percent::of(value.into(), 100));
    match source {
        LoadSource::Vici(socket) => {
            SourceSpec::Vici { socket: socket.map_or_else(|| vici.to_owned(), PathBuf::from) }
        }
        LoadSource::Whack(program) => {
            SourceSpec::Whack { program: program.unwrap_or_else(|| LoadSource::WHACK.to_owned()).into() }
        }
        LoadSource::Script(path) => SourceSpec::Script { path: path.into() },
        LoadSource::Fixed { half_open, ike, child, cpu, mem } => {
            SourceSpec::Fixed(Counts { half_open, ike, child, cpu: percent(cpu), mem: percent(mem) })
        }
    }
}

impl Daemon {
    /// Puts the cluster's configuration into force.
    pub(super) fn configure_clusters(&mut self, now: u64) {
        let cluster = self.config.cluster.clone();
        let plan = self.plan.cluster.clone();
        let (Some(cluster), Some(plan)) = (cluster, plan) else {
            self.clusters.all.clear();
            self.clusters.source = None;
            self.clusters.probes.clear();
            self.clusters.drain = None;
            return;
        };
        // What keeps the cluster down beside `shutdown` leaves nothing to run.
        let runs = plan.down.len() == usize::from(cluster.shutdown);
        let taken: BTreeSet<IpAddr> =
            self.plan.groups.iter().flat_map(|group| group.addresses.clone()).collect();
        let mut wanted = BTreeMap::new();
        let groups = plan.groups.iter().filter_map(|key| self.plan.group(key));
        for group in groups.filter(|group| runs && !group.is_link_local()) {
            if let Some(own) = group.own {
                wanted.insert(group.key.clone(), settings(&self.config, &cluster, group, own, &taken));
            }
        }
        self.clusters.all.retain(|key, _| wanted.contains_key(key));
        for (key, settings) in wanted {
            if self.clusters.all.contains_key(&key) {
                self.cluster_event(&key, Event::Configure(settings), now);
                // The key, the port or the address may be others now.
                self.open_again(&key, now);
                continue;
            }
            let order = self.state.orders.get(&key.to_string()).cloned().unwrap_or_default();
            let (told, heard) = mpsc::channel(HEARD);
            let one = One {
                node: Node::new(settings, order, self.clusters.incarnation),
                told,
                heard,
                server: None,
                wants_server: false,
                listen_at: 0,
                client: None,
                opened: self.opened_with(&key),
                post: Post::default(),
                primary_since: now,
                members: Vec::new(),
                authenticated: None,
                sent: BTreeMap::new(),
                synced: true,
                counts: BTreeMap::new(),
            };
            self.clusters.all.insert(key.clone(), one);
            if let Some(reading) = self.clusters.reading.clone() {
                self.cluster_event(&key, Event::Local(reading), now);
            }
        }
        self.start_source(now);
        self.start_probes(&cluster.static_gateways);
        self.clusters.turn_at = now;
    }

    /// Starts the load source, anew where the configuration or the cores that poll have changed.
    pub(super) fn start_source(&mut self, now: u64) {
        let Some(cluster) = self.config.cluster.clone() else { return };
        if cluster.max_session.is_none() || self.clusters.all.is_empty() {
            self.clusters.source = None;
            self.clusters.reading = None;
            return;
        }
        let spec = source_spec(cluster.load_source(), &self.options.vici);
        let interval = Duration::from_millis(cluster.update().clamp(100, 1000).into());
        let polling = self.dataplanes.cores();
        let same = self
            .clusters
            .source
            .as_ref()
            .is_some_and(|(s, i, p, _)| (s, i, p) == (&spec, &interval, &polling));
        if !same {
            let enter = self.clusters.background.enter();
            let source = Source::start(spec.clone(), interval, &polling);
            drop(enter);
            self.clusters.source = Some((spec, interval, polling, source));
            self.clusters.source_since = now;
        }
    }

    fn start_probes(&mut self, gateways: &BTreeMap<IpAddr, StaticGateway>) {
        let probed = gateways.iter().filter_map(|(address, gateway)| Some((*address, gateway.probe?)));
        let wanted: BTreeMap<IpAddr, ProbeSpec> = probed
            .map(|(target, probe)| {
                let interval = Duration::from_millis(probe.interval.into());
                let timeout = interval.min(Duration::from_secs(1));
                let (up, down) = (probe.up, probe.down);
                (
                    target,
                    ProbeSpec {
                        target,
                        port: platform::wire::ike::PORT,
                        from: None,
                        interval,
                        timeout,
                        up,
                        down,
                    },
                )
            })
            .collect();
        let _enter = self.clusters.background.enter();
        self.clusters.probes.retain(|address, (spec, _)| wanted.get(address) == Some(spec));
        for (address, spec) in wanted {
            self.clusters.probes.entry(address).or_insert_with(|| (spec, Probe::start(spec)));
        }
    }

    /// Follows HSRP: called whenever a group may have changed its state.
    pub(super) fn follow_roles(&mut self, now: u64) {
        let changed: Vec<(GroupKey, Role)> = self
            .clusters
            .all
            .iter()
            .filter_map(|(key, one)| {
                let group = self.roles.get(key)?;
                let role = match group.state() {
                    State::Active => Role::Primary,
                    State::Standby | State::Speak | State::Listen => {
                        let active = group.machine.as_ref().and_then(crate::hsrp::machine::Group::active);
                        Role::Secondary(active.map(|peer| peer.source))
                    }
                    State::Disabled | State::Init | State::Learn => Role::None,
                };
                (role != one.node.hsrp()).then(|| (key.clone(), role))
            })
            .collect();
        for (key, role) in changed {
            if let Some(one) = self.clusters.all.get_mut(&key) {
                one.primary_since = now;
            }
            self.cluster_event(&key, Event::Role(role), now);
            self.choose(&key, now);
        }
    }

    /// Every [`TURN`]: loads, probes and clients sent since, and the choice that follows.
    pub(super) fn run_clusters(&mut self, now: u64) {
        self.clusters.turn_at = now + TURN;
        if self.clusters.all.is_empty() {
            return;
        }
        self.writer.set_lease(OWN_LEASE, now + SHED_LEASE, false);
        let keys: Vec<GroupKey> = self.clusters.all.keys().cloned().collect();
        let reading = self.read_source(now);
        let probes: Vec<(IpAddr, bool)> = self
            .clusters
            .probes
            .iter()
            .map(|(address, (_, probe))| (*address, !matches!(probe.latest(), ProbeState::Down { .. })))
            .collect();
        let to_move = self.clusters.progress().map_or(0, |progress| progress.waiting + progress.asked);
        let redirects = self.dataplanes.redirects();
        for key in &keys {
            self.count_sent(key, &redirects, now);
            if let Some(reading) = &reading {
                self.cluster_event(key, Event::Local(reading.clone()), now);
            }
            for (address, up) in &probes {
                self.cluster_event(key, Event::Probe(*address, *up), now);
            }
            self.cluster_event(key, Event::ToMove(to_move), now);
            self.cluster_event(key, Event::Tick, now);
            // The virtual address may have been learned anew.
            self.open_again(key, now);
            self.listen_again(key, now);
            self.choose(key, now);
            self.sync(key, now);
        }
        if let Some(drain) = &self.clusters.drain {
            drain.order(self.drain_orders());
        }
    }

    /// Tells HSRP whether the member table is here, so that a node that preempts does not start with an empty one.
    fn sync(&mut self, key: &GroupKey, now: u64) {
        let feeds = self.config.cluster.as_ref().is_some_and(|cluster| cluster.max_session.is_some());
        let Some(one) = self.clusters.all.get_mut(key) else { return };
        let ready = !feeds || !matches!(one.node.role(), Role::Secondary(_)) || one.node.last_ack().is_some();
        if std::mem::replace(&mut one.synced, ready) != ready {
            self.synced(key, ready, now);
        }
    }

    /// The newest reading where it says something new.
    fn read_source(&mut self, now: u64) -> Option<Result<crate::load::Sample, String>> {
        let (.., source) = self.clusters.source.as_ref()?;
        let reading = match source.latest() {
            Reading::Ok { sample, .. } => Ok(sample),
            Reading::Unhealthy { .. } if now < self.clusters.source_since + FIRST_ANSWER => return None,
            Reading::Unhealthy { reason, .. } => Err(reason),
        };
        let same = match (&self.clusters.reading, &reading) {
            // That a reason counts the time is no news.
            (Some(Err(_)), Err(_)) => true,
            (before, now) => before.as_ref() == Some(now),
        };
        self.clusters.reading = Some(reading.clone());
        (!same).then_some(reading)
    }

    fn count_sent(&mut self, key: &GroupKey, redirects: &[platform::snapshot::RedirectView], now: u64) {
        let mut totals: BTreeMap<IpAddr, u64> = BTreeMap::new();
        let of_group = |vip: &VipInput| vip.key == *key && !vip.is_own;
        for redirect in redirects {
            let gateway = self.published.vips.get(redirect.vip).filter(|vip| of_group(vip)).and_then(|vip| {
                self.state.assignments.get(&vip.address)?.gateways.get(redirect.gateway).copied().flatten()
            });
            if let Some(gateway) = gateway {
                *totals.entry(gateway).or_default() += redirect.new_clients;
            }
        }
        // Also those that were sent nobody: the first count only says where counting begins.
        let Some(one) = self.clusters.all.get_mut(key) else { return };
        for gateway in one.members.iter().map(|member| member.address) {
            totals.entry(gateway).or_default();
        }
        let news: Vec<(IpAddr, u64)> = totals
            .into_iter()
            .filter(|(gateway, total)| one.sent.insert(*gateway, *total) != Some(*total))
            .collect();
        for (gateway, total) in news {
            self.cluster_event(key, Event::Sent(gateway, total), now);
        }
    }

    /// Tells a node something and does what it asks for.
    pub(super) fn cluster_event(&mut self, key: &GroupKey, event: Event, now: u64) {
        let Some(one) = self.clusters.all.get_mut(key) else { return };
        for action in one.node.handle(event, now) {
            self.cluster_action(key, action, now);
        }
    }

    fn cluster_action(&mut self, key: &GroupKey, action: Action, now: u64) {
        let Some(one) = self.clusters.all.get_mut(key) else { return };
        match action {
            Action::Send(member, message) => one.post(member, message),
            Action::SendPrimary(message) => {
                if let Some(client) = &one.client {
                    client.send(message);
                }
            }
            Action::Listen(on) => {
                one.wants_server = on;
                one.listen_at = 0;
                if let (false, Some(server)) = (on, one.server.take()) {
                    let _enter = self.clusters.background.enter();
                    tokio::spawn(server.stop("another router is active"));
                }
                self.listen_again(key, now);
            }
            Action::Connect(false) => one.client = None,
            Action::Connect(true) => self.connect(key),
            Action::Reconnect => {
                let to = self.target(key);
                match (self.clusters.all.get(key).and_then(|one| one.client.as_ref()), to) {
                    (Some(client), Some((to, _))) => client.reconnect_now(to),
                    _ => self.connect(key),
                }
            }
            Action::Keep(order) => {
                self.state.orders.insert(key.to_string(), order);
                self.dirty = true;
            }
            Action::Move(true) => {
                let daemon = self.clusters.source.as_ref().and_then(|(spec, ..)| drain::Daemon::of(spec));
                let orders = self.drain_orders();
                match daemon {
                    Some(_) if self.clusters.drain.is_some() => {}
                    Some(daemon) => {
                        let enter = self.clusters.background.enter();
                        let drain = Drain::start(daemon, drain::PATIENCE, orders);
                        drop(enter);
                        self.clusters.drain = Some(drain);
                    }
                    None => tracing::warn!(
                        "%CLB-4-DRAIN: the sessions stay: `load-source` names no IKE daemon that could move them"
                    ),
                }
            }
            Action::Move(false) => {
                let still = |one: &One| one.node.order().draining.contains(&one.node.settings().own);
                if !self.clusters.all.values().any(still) {
                    self.clusters.drain = None;
                }
            }
            Action::Log(log) => self.cluster_log(key, &log, now),
        }
    }

    fn cluster_log(&mut self, key: &GroupKey, log: &Log, now: u64) {
        let (kind, text) = log.line();
        let name = match log {
            Log::Role(_) => "role_changes",
            Log::MemberDead(_) => "members_dead",
            Log::NobodyLeft => "all_unusable",
            Log::Surge(true) => "surges",
            _ => "",
        };
        if let Some(one) = self.clusters.all.get_mut(key).filter(|_| !name.is_empty()) {
            *one.counts.entry(name).or_default() += 1;
        }
        if self.election.limits.allow(kind, &key.to_string(), FEW_LINES, now) {
            match kind.as_bytes()[4] {
                b'0'..=b'3' => tracing::error!("%{kind}: {key}: {text}"),
                b'4' => tracing::warn!("%{kind}: {key}: {text}"),
                _ => tracing::info!("%{kind}: {key}: {text}"),
            }
        }
    }

    /// Makes the choice, and has it published where it moves a slot or a gateway.
    pub(super) fn choose(&mut self, key: &GroupKey, now: u64) {
        let Some(one) = self.clusters.all.get_mut(key) else { return };
        let standings = one.node.standings(now);
        let chosen = one.node.choice(&standings);
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
        let flags = |members: &[Member]| -> Vec<(IpAddr, bool)> {
            members.iter().map(|member| (member.address, member.usable)).collect()
        };
        let moved = flags(&one.members) != flags(&members);
        let primary = one.node.role() == Role::Primary;
        let paced = one.is_paced(now);
        one.members = members;
        if moved {
            self.dirty = true;
            return;
        }
        let members = self.clusters.all.get(key).map(|one| one.members.clone()).unwrap_or_default();
        for vip in self.published.vips.iter().filter(|vip| vip.key == *key && (primary || vip.is_own)) {
            let current =
                self.state.assignments.get(&vip.address).cloned().unwrap_or_else(Assignment::default);
            let mut left = match self.clusters.budgets.get_mut(&vip.address) {
                Some(budget) if paced => budget.left(now),
                _ => platform::snapshot::SLOTS,
            };
            self.dirty |= assign(&current, &members, &mut left).slots != current.slots;
        }
    }

    /// Own addresses whose requests are shed to other members.
    pub(super) fn own_vips(&self) -> Vec<VipInput> {
        let sheds = |one: &&One| matches!(one.node.role(), Role::Secondary(_)) && !one.members.is_empty();
        let mut vips: Vec<VipInput> = Vec::new();
        for (key, one) in self.clusters.all.iter().filter(|(_, one)| sheds(one)) {
            let Some(role) = self.roles.get(key) else { continue };
            let own = one.node.settings().own;
            let mac = self.exception(&key.interface).and_then(|exception| self.sender.mac(exception));
            let Some(mac) = mac.filter(|_| vips.iter().all(|vip| vip.address != own)) else { continue };
            vips.push(VipInput {
                address: own,
                own: Some(own),
                mac,
                state: VipState::Active,
                redirect_init: one.node.is_up() && self.config.redirect_init,
                lease: OWN_LEASE as u16,
                port: role.plan.port.map(|port| port as u16),
                epoch: 0,
                key: key.clone(),
                is_own: true,
                members: one.members.clone(),
            });
        }
        vips
    }

    /// Where a drain of this node moves the sessions, and how fast.
    fn drain_orders(&self) -> drain::Orders {
        let now = monotonic_ns();
        let pace = self.config.cluster.as_ref().map_or(0, Cluster::drain_pace);
        let targets = self.clusters.all.values().flat_map(|one| {
            let own = one.node.settings().own;
            one.node
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
    pub(super) fn cluster_drain(&mut self, address: Option<IpAddr>, on: bool) -> Result<String, String> {
        let now = monotonic_ns();
        if self.clusters.all.is_empty() {
            return Err("no cluster runs here: see `show crypto ikev2 cluster`".to_owned());
        }
        let (mut done, mut elsewhere) = (BTreeSet::new(), Vec::new());
        for key in self.clusters.all.keys().cloned().collect::<Vec<_>>() {
            let Some(one) = self.clusters.all.get(&key) else { continue };
            let own = one.node.settings().own;
            let target = address.unwrap_or(own);
            let known = one.node.standings(now).iter().any(|standing| standing.address == target);
            if target.is_ipv4() != own.is_ipv4() || !(known || !on || target == own) {
                continue;
            }
            // With several groups this node may be the primary of some of them.
            if target != own && one.node.role() != Role::Primary {
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
            let draining = self.clusters.all.get(key).map(|one| &one.node.order().draining);
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
    pub(super) fn cluster_shutdown(&mut self, shutdown: bool) {
        let now = monotonic_ns();
        for key in self.clusters.all.keys().cloned().collect::<Vec<_>>() {
            self.cluster_event(&key, Event::Shutdown(shutdown), now);
            self.choose(&key, now);
        }
        self.dirty = true;
    }

    /// Budgets for the addresses that are published: moves are held back where members report their load.
    pub(super) fn keep_budgets(&mut self, vips: &[VipInput], now: u64) {
        let settled = |vip: &&VipInput| self.clusters.all.get(&vip.key).is_some_and(|one| one.is_paced(now));
        let paced: BTreeSet<IpAddr> = vips
            .iter()
            .filter(|vip| vip.members.iter().any(|member| member.origin == Origin::Reported))
            .filter(settled)
            .map(|vip| vip.address)
            .collect();
        self.clusters.budgets.retain(|address, _| paced.contains(address));
        for address in paced {
            self.clusters.budgets.entry(address).or_default();
        }
    }
}
