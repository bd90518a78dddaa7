//! usherd itself: its threads, and the one that owns the running configuration and the cluster.
//!
//! | thread | owns | never waits for |
//! |---|---|---|
//! | main ([`hsrp`]) | roles, HSRP's sockets and timers, leases, the snapshot | a disk, RTNL, a peer, a client, a log |
//! | `usherd-control` (here) | the running configuration, the cluster's nodes, data planes' hand-over | RTNL, a client |
//! | `usherd-mgmt` ([`management`]) | the socket: requests, changes of the configuration, passwords, the startup file | |
//! | `usherd-peers` | the feed's connections, load sources, probes, drains | |
//! | `usherd-net` ([`crate::net::reconciler`]) | the kernel's devices, addresses, routes and settings | |
//!
//! They talk by messages: commands in, events and read-only views out.

mod clb;
pub mod dataplanes;
mod handover;
mod hsrp;
pub mod management;
mod options;
mod ports;
pub mod start;
mod views;

use crate::api::{self, READERS, Reply};
use crate::config::change::Order;
use crate::config::health::{GroupPlan, Plan};
use crate::config::{self, Binding, Config, IfName, Loaded};
use crate::exec::{Command, Invocation};
use crate::limits::Limits;
use crate::load::vici;
use crate::net::links::LinkTable;
use crate::net::reconciler::Reconciler;
use crate::net::wanted::{Owner, PortDevice};
use crate::state::{Part, Saver, State};
use crate::types::{GroupKey, Nanos, nanos};
use clb::{Clusters, GroupCluster};
use dataplanes::readiness;
use handover::Handover;
use hsrp::{Choices, GroupChoice, Handle, Settings, View};
use management::{Call, Management, Moved, Prepared, Running};
pub use options::{Options, StartError};
use platform::snapshot::handover::{Listener, Pending};
use ports::{MadeTaps, Port};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

/// Interval at which data planes are looked after and the feeds read. That a data plane has ended is told, and waits for nothing.
const TICK: Duration = Duration::from_millis(10);
/// Interval at which the IKE daemon is asked and the service manager is told that usherd lives.
const SLOW_TICK: Duration = Duration::from_millis(250);
/// A runner whose view is older than this hangs: the service manager is not told that usherd lives, ns.
const VIEW_STALE: Nanos = Nanos::from_secs(2);
/// An IKE daemon that does not answer its control socket for this long hangs. Not less: a daemon to which every client
/// comes back at once answers late, and must not lose the role just then.
const IKE_TIMEOUT: Duration = Duration::from_secs(1);

/// The owner of the running configuration and the cluster.
struct Daemon {
    options: Options,
    binding: Arc<Binding>,
    ports: Vec<Port>,
    config: Arc<Config>,
    plan: Arc<Plan>,
    /// Counts the configurations that were put into force
    revision: u64,
    /// The running configuration for the management thread
    running: watch::Sender<Running>,
    clusters: Clusters,
    started: Instant,
    hsrp: Handle,
    /// HSRP as it was at the beginning of this turn
    view: Arc<View>,
    links: watch::Receiver<Arc<LinkTable>>,
    reconciler: Arc<Reconciler>,
    handover: Handover,
    /// Something has changed that the snapshot has to have
    dirty: bool,
    state: State,
    saver: Saver,
    limits: Limits,
}

fn runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)
}

impl Daemon {
    /// The thread: starts what the configuration asks for, serves, and stops the runner at its end, however that comes.
    fn control(mut self, loaded: Loaded, listener: Listener, made: MadeTaps) -> Result<(), StartError> {
        let stop = StopOnDrop(self.hsrp.clone());
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            management::log_remarks(&self.options.config, &loaded);
            self.take(Prepared::new(loaded.config, &self.binding, self.ports.len()));
            let path = api::socket(&self.options.run_dir);
            let run_dir = self.options.run_dir.clone();
            let bound = management::bind(&path, READERS);
            let management =
                bound.map_err(|source| StartError::RunDir { path: run_dir, step: "usherd.sock", source })?;
            // They stay from here on.
            made.keep();
            let result = self.serve(listener, management).await;
            let _ = std::fs::remove_file(&path);
            result
        });
        drop(stop);
        result
    }

    async fn serve(
        &mut self,
        listener: Listener,
        management: std::os::unix::net::UnixListener,
    ) -> Result<(), StartError> {
        let on = |kind| signal(kind).map_err(StartError::Signals);
        let (mut term, mut interrupt, mut hangup) =
            (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
        let connections = readiness(&listener).map_err(StartError::Signals)?;
        let (hello, mut hellos) = mpsc::channel::<Pending>(8);
        let (calls, mut requests) = mpsc::channel::<Call>(64);
        let settings = management::Settings {
            file: self.options.config.clone(),
            binding: self.binding.clone(),
            ports: self.ports.len(),
            running: self.running.subscribe(),
            calls,
        };
        let management = Management::start(management, settings).map_err(StartError::Thread)?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut slow = tokio::time::interval(SLOW_TICK);
        slow.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (ike, mut ike_told) = mpsc::channel::<bool>(1);
        let mut view = self.hsrp.view.clone();
        // The first one with the configuration in force.
        let _ = view.changed().await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!("%SYS-5-START: usherd is ready, run directory {}", self.options.run_dir.display());
        loop {
            let now = nanos::now();
            if now >= self.clusters.turn_at {
                self.run_clusters(now);
            }
            self.send_choices(now);
            let pause = Duration::from(self.clusters.turn_at.since(nanos::now()));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = view.changed() => {
                    let before = std::mem::replace(&mut self.view, view.borrow_and_update().clone());
                    if before.published.generation != self.view.published.generation {
                        self.handover.planes.keep_clients(&self.view.published.vips);
                    }
                    self.follow_roles(nanos::now());
                }
                _ = term.recv() => break,
                _ = interrupt.recv() => break,
                _ = tick.tick() => self.tick(),
                () = std::future::poll_fn(|context| self.handover.planes.poll_ended(context)) => self.tick(),
                _ = slow.tick() => self.slow_tick(&ike),
                _ = hangup.recv() => management.reload(),
                Some(up) = ike_told.recv() => self.hsrp.send(hsrp::Command::IkeDaemon(up)),
                Some(pending) = hellos.recv() => self.attach(pending),
                _ = connections.readable() => {
                    let _ = connections.try_io(Interest::READABLE, || {
                        if handover::accept(&listener, &hello) { Ok(()) } else { Err(std::io::ErrorKind::WouldBlock.into()) }
                    });
                }
                Some(call) = requests.recv() => self.respond(call),
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.stop_clusters(nanos::now());
        self.hsrp.send(hsrp::Command::Stop);
        // It ends by itself, within a bounded time; its last view comes before.
        while view.changed().await.is_ok() {}
        self.clusters.background.finish().await;
        Ok(())
    }

    fn attach(&mut self, pending: Pending) {
        let Some(peer) = self.handover.attach(pending, &self.ports) else { return };
        self.hsrp.send(hsrp::Command::Attach(peer));
        self.set_devices();
        self.start_source(nanos::now());
    }

    fn tick(&mut self) {
        let now = nanos::now();
        self.handover.look(self.view.instance, self.view.published.generation, now);
        self.poll_feeds(now);
    }

    fn slow_tick(&mut self, ike: &mpsc::Sender<bool>) {
        self.handover.remind();
        self.ask_ike_daemon(ike);
        self.save();
        // The runner is what must live.
        if nanos::now().since(self.hsrp.latest().at_ns) < VIEW_STALE {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }

    /// Has the IKE daemon asked how it is, where a tracked object needs to know. One asks at a time.
    fn ask_ike_daemon(&self, told: &mpsc::Sender<bool>) {
        if !self.config.tracks.values().any(|what| *what == config::Tracked::IkeDaemon) {
            return;
        }
        if let Ok(permit) = told.clone().try_reserve_owned() {
            let socket = self.options.vici.clone();
            tokio::spawn(async move {
                permit.send(vici::answers(&socket, IKE_TIMEOUT).await);
            });
        }
    }

    /// Has the cluster's orders written where they have changed.
    fn save(&mut self) {
        if self.clusters.saved_orders.as_ref() != Some(&self.state.orders)
            && self.saver.save(Part::Orders(self.state.orders.clone()))
        {
            self.clusters.saved_orders = Some(self.state.orders.clone());
        }
    }

    /// Puts a configuration into force.
    fn take(&mut self, prepared: Prepared) -> Running {
        let Prepared { config, plan, interfaces } = prepared;
        log_news(&self.plan, &plan);
        for (port, interface) in self.ports.iter_mut().zip(interfaces) {
            port.interface = interface;
        }
        (self.config, self.plan) = (config, plan);
        self.revision += 1;
        let before = self.running.send_replace(Running {
            revision: self.revision,
            config: self.config.clone(),
            plan: self.plan.clone(),
        });
        let feeds = self.config.cluster.as_ref().is_some_and(|cluster| cluster.max_session.is_some());
        let cluster = self.plan.cluster.as_ref().filter(|cluster| feeds && cluster.down.is_empty());
        let feeds = cluster.map(|cluster| cluster.groups.iter().cloned().collect()).unwrap_or_default();
        self.hsrp.send(hsrp::Command::Configure(Settings {
            feeds: Arc::new(feeds),
            config: self.config.clone(),
            plan: self.plan.clone(),
            ports: Arc::new(self.ports.clone()),
        }));
        self.configure_clusters(nanos::now());
        self.dirty = true;
        self.set_devices();
        before
    }

    fn exception(&self, name: &IfName) -> Option<&str> {
        self.ports.iter().find(|port| port.interface.as_ref() == Some(name))?.exception.as_deref()
    }

    /// States the exception devices and the groups' devices that the configuration asks for.
    fn set_devices(&self) {
        let mut ports = Vec::new();
        for port in &self.ports {
            let Some(exception) = &port.exception else { continue };
            let known = self.handover.planes.port(exception);
            let name = port.interface.as_ref().filter(|name| self.config.shut_by(name).is_none());
            let interface = name.and_then(|name| self.config.interfaces.get(name));
            ports.push(PortDevice {
                name: exception.clone(),
                owner: match port {
                    Port { shared: true, .. } => Owner::Host,
                    Port { tap: true, .. } => Owner::Usherd,
                    _ => Owner::Dataplane,
                },
                mac: known.as_ref().map(|identity| identity.mac).filter(|mac| *mac != [0; 6]),
                mtu: Some(known.map_or(port.mtu, |identity| u32::from(identity.mtu)).max(1280)),
                addresses: interface.map(|interface| interface.addresses().collect()).unwrap_or_default(),
            });
        }
        self.reconciler.set_ports(ports);
        let settings = Settings { ports: Arc::new(self.ports.clone()), ..Settings::default() };
        let plans = self.plan.groups.iter().chain(self.view.roles.values().map(|role| &role.plan));
        let groups: BTreeSet<String> =
            plans.filter_map(|plan| settings.devices(plan)).map(|(_, device)| device).collect();
        self.reconciler.keep_groups(groups);
    }

    /// Has the snapshot follow the cluster.
    fn send_choices(&mut self, now: Nanos) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let cluster = self.plan.cluster.as_ref();
        let up = cluster.is_some_and(|cluster| cluster.down.is_empty());
        let of_cluster = cluster.into_iter().flat_map(|cluster| &cluster.groups);
        let groups: BTreeMap<GroupKey, GroupChoice> = of_cluster
            .map(|key| {
                let choice = GroupChoice {
                    members: self.clusters.members(key),
                    redirect_init: self.clusters.is_up(key) && up && self.config.redirect_init,
                    paced: self.clusters.is_paced(key, now),
                    active: self.clusters.is_primary(key),
                };
                (key.clone(), choice)
            })
            .collect();
        let clb_port = self.config.cluster.as_ref().map_or(0, config::Cluster::port);
        self.hsrp.choices.send_replace(Choices { made: true, clb_port, groups, own: self.own_vips() });
    }

    /// Answers a request of the management thread. Its client may have gone.
    fn respond(&mut self, call: Call) {
        match call {
            Call::Command { invocation, json, reply } if invocation.command == Command::Failover => {
                self.fail_over(invocation.interface, invocation.group.unwrap_or(0), json, reply);
            }
            Call::Command { invocation, json, reply } => {
                let _ = reply.send(self.execute(&invocation, json));
            }
            Call::Install { base, prepared, orders, installed } => {
                let _ = installed.send(self.install(base, prepared, &orders));
            }
        }
    }

    /// Has the runner of HSRP hand a role over; it answers within a turn of its loop.
    fn fail_over(&self, interface: Option<IfName>, group: u16, json: bool, answer: oneshot::Sender<Reply>) {
        let (reply, outcome) = oneshot::channel();
        self.hsrp.send(hsrp::Command::Failover { interface, group, reply });
        tokio::spawn(async move {
            let reply = match outcome.await {
                Ok(Ok(text)) => done(json, &text),
                Ok(Err(error)) => Reply::error(error),
                Err(_) => Reply::error("usherd is stopping"),
            };
            let _ = answer.send(reply);
        });
    }

    /// Puts a configuration into force that was made from revision `base` of the running one, and carries out what was
    /// ordered with it, also where the configuration said so already.
    fn install(&mut self, base: u64, prepared: Option<Prepared>, orders: &[Order]) -> Result<Running, Moved> {
        if base != self.revision {
            return Err(Moved);
        }
        let before = prepared.map(|prepared| self.take(prepared)).unwrap_or_default();
        for Order::ClusterShutdown(shutdown) in orders {
            let word = if *shutdown { "shutdown" } else { "no shutdown" };
            tracing::info!("%CLB-5-ORDER: `{word}` was entered under crypto ikev2 cluster");
            self.cluster_shutdown(*shutdown);
        }
        Ok(before)
    }

    fn execute(&mut self, invocation: &Invocation, json: bool) -> Reply {
        let word = |on| if on { "on" } else { "off" };
        let text = match invocation.command {
            Command::Debug(which, on) => {
                let mut debug = self.view.debug;
                debug.switch(which, on);
                self.hsrp.send(hsrp::Command::Debug(debug));
                format!(
                    "HSRP debugging to the log: packets {}, events {}, errors {}\n",
                    word(debug.packets),
                    word(debug.events),
                    word(debug.errors)
                )
            }
            Command::DebugCluster(on) => {
                self.clusters.debug = on;
                format!("Cluster debugging to the log: {}\n", word(on))
            }
            Command::ClearCounters => {
                self.handover.planes.clear();
                self.clusters.groups.values_mut().for_each(GroupCluster::clear_counts);
                "Counters count from 0 again\n".to_owned()
            }
            Command::ClearMember => match self.clear_members(invocation.address) {
                Ok(text) => text,
                Err(error) => return Reply::error(error),
            },
            Command::Drain(on) => match self.cluster_drain(invocation.address, on) {
                Ok(text) => text,
                Err(error) => return Reply::error(error),
            },
            Command::Show(show) => return self.show(show, invocation, json),
            Command::Failover | Command::Local(_) | Command::Write => {
                return Reply::error("this command is carried out elsewhere");
            }
        };
        done(json, &text)
    }
}

/// Logs what a configuration changes in the state of groups and cluster, and what is new to be warned of: each line that is
/// entered makes a configuration of its own.
fn log_news(before: &Plan, plan: &Plan) {
    for warning in plan.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
        tracing::warn!("%CONFIG-4-CHECK: {warning}");
    }
    let known = |group: &GroupPlan| before.group(&group.key).is_some_and(|old| old.down == group.down);
    for group in plan.groups.iter().filter(|group| !group.down.is_empty() && !known(group)) {
        tracing::warn!("%HSRP-4-DOWN: {}: {}", group.key, group.down.join("; "));
    }
    let down = |plan: &Plan| plan.cluster.as_ref().map(|cluster| cluster.down.clone());
    match down(plan) {
        now if now == down(before) => {}
        Some(reasons) if reasons.is_empty() => tracing::info!("%CLB-5-UP: the cluster is up"),
        Some(reasons) => tracing::warn!("%CLB-4-DOWN: the cluster is down: {}", reasons.join("; ")),
        None => {}
    }
}

/// The reply to an order that was carried out.
fn done(json: bool, text: &str) -> Reply {
    match json {
        true => Reply { json: Some(serde_json::json!({ "done": text })), ..Reply::default() },
        false => Reply::text(false, text),
    }
}

/// Stops the runner when the thread that commands it ends.
struct StopOnDrop(Handle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.send(hsrp::Command::Stop);
    }
}

/// Redirects by gateway, summed over the data planes and the virtual addresses.
fn redirects_by_gateway(views: &[crate::show::dataplane::AttachedView]) -> BTreeMap<IpAddr, u64> {
    let mut all: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for redirect in views.iter().flat_map(|view| &view.feedback.redirects) {
        if let Some(gateway) = redirect.gateway_address {
            let sum = all.entry(gateway).or_default();
            *sum = sum.wrapping_add(redirect.total);
        }
    }
    all
}
