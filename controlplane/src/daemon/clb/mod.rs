//! The runner of cluster load balancing: one node of [`crate::clb::node`] for each group of the cluster, with its
//! connections; and what all of them share, the load source, the probes and the drain.

mod choice;
mod feed;
mod orders;

use super::{Daemon, hsrp};
use crate::clb::feed::{Client, FeedEvent, Server};
use crate::clb::load::Rules;
use crate::clb::node::{Action, Event, Log, Node, Role, Settings};
use crate::clb::{self, Member};
use crate::config::health::GroupPlan;
use crate::config::{self, Cluster, LoadSource, Selection, StaticGateway};
use crate::hsrp::message::State;
use crate::load::drain::{self, Drain, Progress};
use crate::load::probe::{Probe, ProbeSpec, ProbeState};
use crate::load::{Counts, Reading, Source, SourceSpec};
use crate::types::{GroupKey, Nanos};
use feed::{FeedParameters, Outbox, QUEUE_LENGTH};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// The choice is made anew this often, ns: what a surge does until it is seen goes to the few that were the least loaded.
pub(in crate::daemon) const CHOICE_INTERVAL: Nanos = Nanos::from_millis(25);
/// A source has this long for its first answer before the node calls itself unhealthy, ns.
const FIRST_ANSWER: Nanos = Nanos::from_millis(1500);
/// A primary that has started waits at least this long for its members before slots move slowly, ns.
const START_UP: Nanos = Nanos::from_secs(3);
/// The thread that talks to others rests so long before it waits for more: of 63 members that report ten times a second
/// several are heard at once then, and answered at once, instead of each in a wakeup of its own.
const BATCH_INTERVAL: Duration = Duration::from_millis(5);
/// Lines of one kind about one group in 10 s.
pub(in crate::daemon) const LOG_LIMIT: u32 = 10;

/// Cluster node of one group, with its connections.
pub(in crate::daemon) struct GroupCluster {
    pub node: Node,
    pub events_tx: mpsc::Sender<FeedEvent>,
    pub events_rx: mpsc::Receiver<FeedEvent>,
    pub server: Option<Server>,
    pub wants_server: bool,
    pub listen_at: Nanos,
    pub client: Option<Client>,
    pub feed: FeedParameters,
    pub outbox: Outbox,
    /// Since when it is primary, ns
    primary_since: Nanos,
    /// The members for the data plane, as chosen last; of a secondary those that its own address sheds to
    pub members: Vec<Member>,
    /// Held a connection with the cluster key; `None`: none yet
    pub authenticated: Option<bool>,
    /// Clients sent to each gateway, as the data planes have counted
    sent: BTreeMap<IpAddr, u64>,
    /// Readiness of the member table as reported to HSRP: `preempt delay sync` waits for it. `None`: nothing yet
    synced: Option<bool>,
    /// Members that use the cluster key that is not the active one
    pub on_other_key: BTreeSet<IpAddr>,
    /// Connections that ended, of servers that have closed and of the client
    closed: BTreeMap<&'static str, u64>,
    /// Why there is no connection to the primary, and since when, ns
    last_failure: Option<(crate::clb::feed::Closed, Nanos)>,
    /// Events, since the start
    pub counts: BTreeMap<&'static str, u64>,
    /// Counts at the last `clear counters`
    cleared: BTreeMap<String, u64>,
}

impl GroupCluster {
    /// Events and ended connections by their names, since the start.
    fn total_counts(&self) -> BTreeMap<String, u64> {
        let mut all: BTreeMap<String, u64> =
            self.counts.iter().map(|(name, total)| ((*name).to_owned(), *total)).collect();
        for (name, total) in self.closed() {
            *all.entry(format!("feed_closed_{}", name.replace('-', "_"))).or_default() += total;
        }
        all
    }

    /// The same since the last `clear counters`.
    pub fn counts_for_show(&self) -> BTreeMap<String, u64> {
        let mut all = self.total_counts();
        for (name, total) in &mut all {
            *total = total.saturating_sub(self.cleared.get(name).copied().unwrap_or(0));
        }
        all.retain(|_, total| *total > 0);
        all
    }

    /// `clear counters`: what is shown counts from now on.
    pub fn clear_counts(&mut self) {
        self.cleared = self.total_counts();
    }

    /// Returns whether slots move slowly. Not while the members of a primary that has started may still be on their way: nothing that
    /// they share is worth keeping yet. And not as a surge begins: at a twentieth a second it would be over before the
    /// slots have followed.
    fn is_paced(&self, now: Nanos) -> bool {
        let settled = self.primary_since + self.node.settings().holdtime.max(START_UP);
        now >= settled && !self.node.surge().begins(now)
    }
}

/// A thread for what talks to others: the feed, load sources, probes and drains. However long one of them computes, the loop
/// that owns the roles keeps its time.
pub(in crate::daemon) struct Background {
    runtime: Option<tokio::runtime::Runtime>,
    /// Connections that are saying goodbye
    farewells: Vec<tokio::task::JoinHandle<()>>,
}

impl Background {
    fn start() -> std::io::Result<Background> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name("usherd-peers")
            .on_thread_park(|| std::thread::sleep(BATCH_INTERVAL))
            .enable_all()
            .build()
            .map(|runtime| Background { runtime: Some(runtime), farewells: Vec::new() })
    }

    /// Enters the runtime: tasks that are spawned until the guard is dropped run there.
    pub(in crate::daemon) fn enter(&self) -> Option<tokio::runtime::EnterGuard<'_>> {
        self.runtime.as_ref().map(tokio::runtime::Runtime::enter)
    }

    /// Has a connection say goodbye.
    fn say_goodbye(&mut self, farewell: impl Future<Output = ()> + Send + 'static) {
        self.farewells.retain(|farewell| !farewell.is_finished());
        self.farewells.extend(self.runtime.as_ref().map(|runtime| runtime.spawn(farewell)));
    }

    /// Waits for the goodbyes, each of which takes [`crate::clb::feed::limits::FAREWELL`] at most.
    pub(in crate::daemon) async fn finish(&mut self) {
        for farewell in self.farewells.drain(..) {
            let _ = farewell.await;
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// All of the cluster.
pub struct Clusters {
    pub(in crate::daemon) background: Background,
    pub(in crate::daemon) groups: BTreeMap<GroupKey, GroupCluster>,
    source: Option<(SourceSpec, Duration, Vec<usize>, Source)>,
    source_since: Nanos,
    reading: Option<Result<crate::load::Sample, String>>,
    probes: BTreeMap<IpAddr, (ProbeSpec, Probe)>,
    drain: Option<Drain>,
    /// The problem of the drain that was logged last
    drain_problem: Option<String>,
    /// The orders that the state file has
    pub(in crate::daemon) saved_orders: Option<BTreeMap<String, crate::clb::orders::Orders>>,
    pub(in crate::daemon) turn_at: Nanos,
    incarnation: u64,
    /// `debug crypto ikev2 cluster`
    pub(in crate::daemon) debug: bool,
}

impl Clusters {
    /// # Errors
    /// When no thread can be started.
    pub(in crate::daemon) fn new() -> std::io::Result<Clusters> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Clusters {
            background: Background::start()?,
            groups: BTreeMap::new(),
            source: None,
            source_since: Nanos::ZERO,
            reading: None,
            probes: BTreeMap::new(),
            drain: None,
            drain_problem: None,
            saved_orders: None,
            turn_at: Nanos::ZERO,
            incarnation: since.as_millis() as u64,
            debug: false,
        })
    }

    /// The members that requests to this group's virtual address may be sent to.
    pub(in crate::daemon) fn members(&self, key: &GroupKey) -> Vec<Member> {
        let group = self.groups.get(key).filter(|group| group.node.role() == Role::Primary);
        group.map(|group| group.members.clone()).unwrap_or_default()
    }

    /// Returns whether this node acts as primary of a group, or the group has no node that could.
    pub(in crate::daemon) fn is_primary(&self, key: &GroupKey) -> bool {
        self.groups.get(key).is_none_or(|group| group.node.hsrp() == Role::Primary)
    }

    /// Returns whether slots of this group move slowly.
    pub(in crate::daemon) fn is_paced(&self, key: &GroupKey, now: Nanos) -> bool {
        self.groups.get(key).is_some_and(|group| group.is_paced(now))
    }

    /// Returns whether clients of this group's virtual address are redirected.
    pub(in crate::daemon) fn is_up(&self, key: &GroupKey) -> bool {
        self.groups.get(key).is_some_and(|group| group.node.is_up())
    }

    /// Returns how far the drain is, where there is one.
    pub(in crate::daemon) fn progress(&self) -> Option<Progress> {
        self.drain.as_ref().map(Drain::progress)
    }

    /// Why a static gateway is down, where its probe says so.
    pub(in crate::daemon) fn probe(&self, address: IpAddr) -> Option<ProbeState> {
        self.probes.get(&address).map(|(_, probe)| probe.latest())
    }

    /// Why this node is unhealthy.
    pub(in crate::daemon) fn health_problem(&self) -> Option<&str> {
        self.reading.as_ref()?.as_ref().err().map(String::as_str)
    }
}

/// Returns the configuration of one group.
fn settings(
    config: &config::Config,
    cluster: &Cluster,
    plan: &GroupPlan,
    own: IpAddr,
    node: IpAddr,
    taken: &BTreeSet<IpAddr>,
) -> Settings {
    let time = |ms: u32| Nanos::from_millis(u64::from(ms));
    let statics = cluster.static_gateways.iter();
    Settings {
        own,
        node,
        holdtime: time(cluster.holdtime()),
        hello: time(cluster.hello()),
        update: time(cluster.update()),
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
        members: cluster.members.clone(),
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
        LoadSource::Whack(program) => SourceSpec::Whack { program: program.map(PathBuf::from) },
        LoadSource::Script(path) => SourceSpec::Script { path: path.into() },
        LoadSource::Fixed { half_open, ike, child, cpu, mem } => {
            SourceSpec::Fixed(Counts { half_open, ike, child, cpu: percent(cpu), mem: percent(mem) })
        }
    }
}

impl Daemon {
    /// Puts the cluster's configuration into force.
    pub(in crate::daemon) fn configure_clusters(&mut self, now: Nanos) {
        let cluster = self.config.cluster.clone();
        let plan = self.plan.cluster.clone();
        // The orders of a group that is taken out of the cluster do not come back with it.
        let named =
            |key: &String| plan.iter().any(|plan| plan.groups.iter().any(|group| group.to_string() == *key));
        self.state.orders.retain(|key, _| named(key));
        let (Some(cluster), Some(plan)) = (cluster, plan) else {
            for key in self.clusters.groups.keys().cloned().collect::<Vec<_>>() {
                self.leave_cluster(&key, now);
            }
            self.clusters.source = None;
            self.clusters.probes.clear();
            self.clusters.drain = None;
            return;
        };
        // What keeps the cluster down beside `shutdown` leaves nothing to run.
        let runs = plan.down.len() == usize::from(cluster.shutdown);
        let taken: BTreeSet<IpAddr> =
            self.plan.groups.iter().flat_map(|group| group.addresses.clone()).collect();
        let plans = plan.groups.iter().filter_map(|key| self.plan.group(key));
        let running: Vec<(&GroupPlan, IpAddr)> = plans
            .filter(|plan| runs && !plan.is_link_local())
            .filter_map(|plan| Some((plan, plan.own?)))
            .collect();
        let node = running.iter().map(|(_, own)| *own).min();
        let wanted: BTreeMap<GroupKey, Settings> = running
            .iter()
            .map(|(plan, own)| {
                let settings = settings(&self.config, &cluster, plan, *own, node.unwrap_or(*own), &taken);
                (plan.key.clone(), settings)
            })
            .collect();
        let gone = self.clusters.groups.keys().filter(|key| !wanted.contains_key(*key)).cloned();
        for key in gone.collect::<Vec<_>>() {
            self.leave_cluster(&key, now);
        }
        for (key, settings) in wanted {
            if self.clusters.groups.contains_key(&key) {
                self.cluster_event(&key, Event::Configure(settings), now);
                // The key, the port or the address may be others now.
                self.refresh_feed(&key, now);
                continue;
            }
            let orders = self.state.orders.get(&key.to_string()).cloned().unwrap_or_default();
            let (events_tx, events_rx) = mpsc::channel(QUEUE_LENGTH);
            let group = GroupCluster {
                node: Node::new(settings, orders, self.clusters.incarnation),
                events_tx,
                events_rx,
                server: None,
                wants_server: false,
                listen_at: Nanos::ZERO,
                client: None,
                feed: self.feed_parameters(&key),
                outbox: Outbox::default(),
                primary_since: now,
                members: Vec::new(),
                authenticated: None,
                sent: BTreeMap::new(),
                synced: None,
                on_other_key: BTreeSet::new(),
                closed: BTreeMap::new(),
                last_failure: None,
                counts: BTreeMap::new(),
                cleared: BTreeMap::new(),
            };
            self.clusters.groups.insert(key.clone(), group);
            self.sync(&key, now);
            if let Some(reading) = self.clusters.reading.clone() {
                self.cluster_event(&key, Event::Local(reading), now);
            }
        }
        // A drain concerns all addresses of a node: groups that are new learn it from the others.
        for (key, orders) in self.all_orders() {
            self.share_drains(&key, &orders, now);
        }
        self.start_source(now);
        self.start_probes(&cluster.static_gateways);
        self.clusters.turn_at = now;
    }

    /// The group is no longer part of the cluster: its peers hear a goodbye, and HSRP does not wait for its table.
    fn leave_cluster(&mut self, key: &GroupKey, now: Nanos) {
        self.cluster_event(key, Event::Stop, now);
        self.clusters.groups.remove(key);
        self.hsrp.send(hsrp::Command::Synced(key.clone(), true));
    }

    /// Starts the load source, anew where the configuration or the cores that poll have changed.
    pub(in crate::daemon) fn start_source(&mut self, now: Nanos) {
        let Some(cluster) = self.config.cluster.clone() else { return };
        if cluster.max_session.is_none() || self.clusters.groups.is_empty() {
            self.clusters.source = None;
            self.clusters.reading = None;
            return;
        }
        let spec = source_spec(cluster.load_source(), &self.options.vici);
        let interval = Duration::from_millis(cluster.update().clamp(100, 1000).into());
        let polling = self.handover.planes.cores();
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
    pub(in crate::daemon) fn follow_roles(&mut self, now: Nanos) {
        let changed: Vec<(GroupKey, Role)> = self
            .clusters
            .groups
            .iter()
            .filter_map(|(key, group)| {
                let group_role = self.view.roles.get(key)?;
                let role = match group_role.state() {
                    State::Active => Role::Primary,
                    State::Standby | State::Speak | State::Listen => {
                        let active =
                            group_role.machine.as_ref().and_then(crate::hsrp::machine::Group::active);
                        Role::Secondary(active.map(|peer| peer.source))
                    }
                    State::Disabled | State::Init | State::Learn => Role::None,
                };
                (role != group.node.hsrp()).then(|| (key.clone(), role))
            })
            .collect();
        for (key, role) in changed {
            if let Some(group) = self.clusters.groups.get_mut(&key) {
                group.primary_since = now;
            }
            self.cluster_event(&key, Event::Role(role), now);
            self.choose(&key, now);
        }
    }

    /// Every [`CHOICE_INTERVAL`]: loads, probes and clients sent since, and the choice that follows.
    pub(in crate::daemon) fn run_clusters(&mut self, now: Nanos) {
        self.clusters.turn_at = now + CHOICE_INTERVAL;
        if self.clusters.groups.is_empty() {
            return;
        }
        let keys: Vec<GroupKey> = self.clusters.groups.keys().cloned().collect();
        let reading = self.read_source(now);
        let probes: Vec<(IpAddr, bool)> = self
            .clusters
            .probes
            .iter()
            .map(|(address, (_, probe))| (*address, !matches!(probe.latest(), ProbeState::Down { .. })))
            .collect();
        self.log_drain_problem(now);
        let to_move = self.clusters.progress().map_or(0, |progress| progress.waiting + progress.asked);
        let clients = self.handover.planes.new_clients().clone();
        for key in &keys {
            self.count_sent(key, &clients, now);
            if let Some(reading) = &reading {
                self.cluster_event(key, Event::Local(reading.clone()), now);
            }
            for (address, up) in &probes {
                self.cluster_event(key, Event::Probe(*address, *up), now);
            }
            self.cluster_event(key, Event::ToMove(to_move), now);
            self.cluster_event(key, Event::Tick, now);
            // The virtual address may have been learned anew.
            self.refresh_feed(key, now);
            self.ensure_listening(key, now);
            self.choose(key, now);
            self.sync(key, now);
        }
        if let Some(drain) = &self.clusters.drain {
            drain.order(self.drain_orders());
        }
    }

    /// Reports to HSRP whether the member table is here, so that a node that preempts does not start with an empty one.
    fn sync(&mut self, key: &GroupKey, now: Nanos) {
        let feeds = self.config.cluster.as_ref().is_some_and(|cluster| cluster.max_session.is_some());
        let Some(group) = self.clusters.groups.get_mut(key) else { return };
        let ready = !feeds || !group.node.runs() || group.node.is_synced(now);
        if group.synced.replace(ready) != Some(ready) {
            self.hsrp.send(hsrp::Command::Synced(key.clone(), ready));
        }
    }

    /// Logs why a drain does not go on, when that has changed.
    fn log_drain_problem(&mut self, now: Nanos) {
        let problem = self.clusters.progress().and_then(|progress| progress.problem);
        if self.clusters.drain_problem == problem {
            return;
        }
        if let Some(problem) = &problem
            && self.limits.allow("CLB-4-DRAIN", "drain", LOG_LIMIT, now)
        {
            tracing::warn!("%CLB-4-DRAIN: {problem}");
        }
        self.clusters.drain_problem = problem;
    }

    /// The newest reading where it says something new.
    fn read_source(&mut self, now: Nanos) -> Option<Result<crate::load::Sample, String>> {
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

    /// Tells a node something and does what it asks for.
    pub(in crate::daemon) fn cluster_event(&mut self, key: &GroupKey, event: Event, now: Nanos) {
        let Some(group) = self.clusters.groups.get_mut(key) else { return };
        for action in group.node.handle(event, now) {
            self.cluster_action(key, action, now);
        }
    }

    fn cluster_action(&mut self, key: &GroupKey, action: Action, now: Nanos) {
        let Some(group) = self.clusters.groups.get_mut(key) else { return };
        match action {
            Action::Send(member, message) => group.queue(member, message),
            Action::SendPrimary(message) => {
                if let Some(client) = &group.client {
                    client.send(message);
                }
            }
            Action::Listen => {
                group.wants_server = true;
                group.listen_at = Nanos::ZERO;
                self.ensure_listening(key, now);
            }
            Action::StopListening(reason) => {
                group.wants_server = false;
                if let Some(server) = group.take_server() {
                    let reason = reason.to_string();
                    self.clusters.background.say_goodbye(async move { server.stop(&reason).await });
                }
            }
            Action::Connect => self.connect(key),
            Action::Disconnect(reason) => {
                if let Some(client) = group.client.take() {
                    let reason = reason.to_string();
                    self.clusters.background.say_goodbye(async move { client.close(&reason).await });
                }
            }
            Action::Reconnect => {
                let to = self.feed_endpoint(key);
                match (self.clusters.groups.get(key).and_then(|group| group.client.as_ref()), to) {
                    (Some(client), Some((to, _))) => client.reconnect_now(to),
                    _ => self.connect(key),
                }
            }
            Action::NodeSilent(node) => self.in_other_groups(key, &Event::NodeSilent(node), now),
            Action::Keep(orders) => {
                self.state.orders.insert(key.to_string(), orders.clone());
                self.dirty = true;
                self.share_drains(key, &orders, now);
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
                if !self.clusters.groups.values().any(|group| group.node.is_draining()) {
                    self.clusters.drain = None;
                }
            }
            Action::Log(log) => self.cluster_log(key, &log, now),
        }
    }

    fn cluster_log(&mut self, key: &GroupKey, log: &Log, now: Nanos) {
        let (kind, text) = log.line();
        let name = match log {
            Log::Role(_) => "role_changes",
            Log::MemberDead(_) => "members_dead",
            Log::NobodyLeft => "all_unusable",
            Log::Surge(true) => "surges",
            _ => "",
        };
        if let Some(group) = self.clusters.groups.get_mut(key).filter(|_| !name.is_empty()) {
            *group.counts.entry(name).or_default() += 1;
        }
        if self.limits.allow(kind, &key.to_string(), LOG_LIMIT, now) {
            match kind.as_bytes()[4] {
                b'0'..=b'3' => tracing::error!("%{kind}: {key}: {text}"),
                b'4' => tracing::warn!("%{kind}: {key}: {text}"),
                _ => tracing::info!("%{kind}: {key}: {text}"),
            }
        }
    }
}
