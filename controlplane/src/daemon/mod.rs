//! usherd itself: one loop that owns the roles and the snapshot, and answers questions.
//!
//! The loop waits for nothing but time and events: what a data plane, the kernel or a disk has to do is looked at again
//! ([`hsrp`]) or done by a task that reports back ([`kernel`]).

mod clb;
mod configure;
pub mod dataplanes;
mod hsrp;
mod kernel;
pub mod management;
mod views;

use crate::api::{self, ADMINISTRATORS, Code, READERS, Reply};
use crate::config::health::{self, GroupKey, GroupPlan, Plan};
use crate::config::secrets::mask_line;
use crate::config::{self, Binding, Config, Family, IfName, LoadError, Loaded, Prefix, Severity};
use crate::exec::{self, Command};
use crate::hsrp::link::Sender;
use crate::hsrp::machine::Event as HsrpEvent;
use crate::net::{Net, NetError, Wanted};
use crate::publish::{self, VipInput};
use crate::state::{Saver, State};
use clb::Clusters;
use dataplanes::{Dataplanes, Event};
use hsrp::{Election, Phase, Roles};
use kernel::{DevicePlan, Devices, Done, Work};
use management::{Asked, Asking};
use platform::clock::monotonic_ns;
use platform::host::{HostError, devices, instance, link};
use platform::profile::{Attach, Profile, ProfileError};
use platform::snapshot::handover::{HandoverError, Listener, Pending, Progress};
use platform::snapshot::{VipState, Writer};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How often the data planes are looked after, and the feeds read. That a data plane has ended or a link has changed is told,
/// and waits for nothing.
const TICK: Duration = Duration::from_millis(10);
/// The kernel's devices are looked up once within this time, however often they change.
const REFRESH: Duration = Duration::from_millis(20);
/// How often the kernel's devices, the sockets and the IKE daemon are looked at even if nothing is told of them.
const SLOW_TICK: Duration = Duration::from_millis(250);
/// The end waits no longer than this for data planes and the kernel.
const STOP_WAIT: Duration = Duration::from_millis(1500);
/// A connected data plane that says nothing is let go after this.
const HELLO_WAIT: Duration = Duration::from_secs(2);
/// Steps that the kernel refused are tried again this often, and named as often.
const RETRY: Duration = Duration::from_secs(5);
/// A data plane that is missing is named this often.
const REMIND: Duration = Duration::from_secs(60);

/// Where things are.
#[derive(Clone, Debug)]
pub struct Options {
    /// The IOS-style configuration
    pub config: PathBuf,
    /// The platform profile
    pub profile: PathBuf,
    /// Sockets and state
    pub run_dir: PathBuf,
    /// Take the exception devices and macvlans away at the end
    pub cleanup: bool,
    /// The IKE daemon's control socket
    pub vici: PathBuf,
}

/// Why usherd did not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each variant is the error of the step that its name says
pub enum StartError {
    #[error(transparent)]
    Config(#[from] LoadError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("{}: {step}: {source}: make it writable for usherd or give another --run-dir", path.display())]
    RunDir { path: PathBuf, step: &'static str, source: std::io::Error },
    #[error("snapshot: {0}")]
    Snapshot(#[from] platform::snapshot::SnapshotError),
    #[error("a thread cannot be started: {0}: raise the limit of processes")]
    Thread(std::io::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

/// A port of the profile, or a VLAN of one: the exception device is then the VLAN's, the rest its port's.
struct Port {
    /// The interface of the configuration; `None` while no subinterface has the VLAN
    interface: Option<IfName>,
    exception: Option<String>,
    mtu: u32,
    /// The exception device is a TAP of ours; else it comes and goes with the data plane
    tap: bool,
    /// It is the kernel's own interface: what others put on it stays
    shared: bool,
    /// The kernel's interface under the data plane's port, where it has one: not every driver tells its link
    below: Option<String>,
}

/// What was published last.
#[derive(Default)]
struct Published {
    generation: u64,
    at_ns: u64,
    vips: Vec<VipInput>,
    body: Option<Box<platform::snapshot::Body>>,
}

struct Daemon {
    options: Options,
    binding: Binding,
    ports: Vec<Port>,
    config: Config,
    plan: Plan,
    clusters: Clusters,
    started: Instant,
    roles: Roles,
    election: Election,
    sender: Sender,
    writer: Writer,
    published: Published,
    /// Something has changed that the snapshot has to say
    dirty: bool,
    state: State,
    saved: Option<State>,
    saver: Saver,
    devices: Devices,
    /// The last task about all devices, and whether another has to follow it
    all_task: Option<u64>,
    all_again: bool,
    /// The kernel's devices have changed, and are looked up then, ns
    outdated: bool,
    refresh_at: u64,
    dataplanes: Dataplanes,
    /// Something at the kernel was refused: try again then
    retry_at: Option<Instant>,
    reminded: Option<Instant>,
    /// The last refusal of a data plane that was logged
    refused: Option<(String, Instant)>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting. After that it does not end by itself.
pub async fn run(options: Options) -> Result<(), StartError> {
    let profile = Profile::load(&options.profile)?;
    let binding = Binding::new(&profile);
    let ports = ports(&profile);
    let loaded = config::load_for(&options.config, &binding)?;

    let directory = options.run_dir.clone();
    let run_dir = |step| {
        let path = directory.clone();
        move |source| StartError::RunDir { path, step, source }
    };
    std::fs::create_dir_all(&options.run_dir).map_err(run_dir("create"))?;
    let listener = Listener::bind(&options.run_dir.join("dataplane.sock"), 0o600)?;
    let _instance = instance::take("usherd")?;
    let mut made = MadeTaps::default();
    for exception in ports.iter().filter(|port| port.tap).filter_map(|port| port.exception.as_deref()) {
        let missing = link::details(exception)?.is_none();
        link::ensure_tap(exception)?;
        if missing {
            made.names.push(exception.to_owned());
        }
    }

    let state_path = options.run_dir.join("state");
    let state = match State::load(&state_path) {
        Ok(Some(state)) => state,
        Ok(None) => State::fresh().map_err(run_dir("random key"))?,
        Err(reason) => {
            tracing::warn!("%SYS-4-STATE: {}: {reason}: starting with a new one", state_path.display());
            State::fresh().map_err(run_dir("random key"))?
        }
    };
    let mut daemon = Daemon {
        binding,
        ports,
        config: Config::default(),
        plan: Plan::default(),
        clusters: Clusters::new().map_err(StartError::Thread)?,
        started: Instant::now(),
        roles: Roles::new(),
        election: Election::new(monotonic_ns()),
        sender: Sender::open().map_err(NetError::Socket)?,
        writer: Writer::create()?,
        published: Published::default(),
        dirty: true,
        state,
        saved: None,
        saver: Saver::start(state_path),
        devices: Devices::start(Net::open()?),
        all_task: None,
        all_again: false,
        outdated: false,
        refresh_at: 0,
        dataplanes: Dataplanes::default(),
        retry_at: None,
        reminded: Some(Instant::now()),
        refused: None,
        options,
    };
    daemon.log_remarks(&loaded);
    daemon.sender.refresh();
    daemon.take(loaded.config);
    daemon.advance(monotonic_ns());
    // Without the privilege to configure a device nothing below can work: say so and end.
    if let Some(Done { task, result }) = daemon.devices.done().await {
        result?;
        daemon.all_task = daemon.all_task.filter(|all| *all != task);
        daemon.task_done(task, monotonic_ns());
    }
    daemon.settle();
    daemon.election.starting = false;

    let management_path = api::socket(&daemon.options.run_dir);
    let management = management::bind(&management_path, READERS).map_err(run_dir("usherd.sock"))?;
    made.names.clear();
    let result = daemon.serve(listener, management).await;
    daemon.finish().await;
    let _ = std::fs::remove_file(&management_path);
    result
}

/// Exception devices that were not there before: a start that fails takes them away again.
#[derive(Default)]
struct MadeTaps {
    names: Vec<String>,
}

impl Drop for MadeTaps {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = link::delete(name);
        }
    }
}

/// The ports by the numbers that the data plane gives them; which interfaces they are says [`Daemon::take`].
fn ports(profile: &Profile) -> Vec<Port> {
    let port = |index: usize, exception: Option<String>| {
        let port = &profile.port[index];
        if let Err(error) = IfName::parse(&port.interface) {
            tracing::warn!("%SYS-4-PROFILE: {error}: the port is bound to nothing");
        }
        let owned = port.attach == Attach::Owned;
        let tap = owned
            && devices::exception_vdev(port, index, [0; 6], 1)
                .is_some_and(|vdev| vdev.starts_with("net_tap"));
        Port {
            interface: None,
            exception,
            mtu: u32::from(port.mtu),
            tap,
            shared: !owned,
            below: port.netdev().map(str::to_owned),
        }
    };
    let ports = profile.port.iter().enumerate();
    let ports = ports.map(|(index, of)| port(index, of.kernel_device().map(str::to_owned)));
    ports.chain(profile.subinterfaces().map(|of| port(of.port, Some(of.exception)))).collect()
}

impl Daemon {
    async fn serve(
        &mut self,
        listener: Listener,
        management: tokio::net::UnixListener,
    ) -> Result<(), StartError> {
        let on = |kind| signal(kind).map_err(StartError::Signals);
        let (mut term, mut interrupt, mut hangup) =
            (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
        let connections = readiness(&listener).map_err(StartError::Signals)?;
        let (hello, mut hellos) = mpsc::channel::<Pending>(8);
        let (asked, mut questions) = mpsc::channel::<Asked>(64);
        tokio::spawn(management::serve(management, ADMINISTRATORS, asked));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut slow = tokio::time::interval(SLOW_TICK);
        slow.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (ike, mut ike_told) = mpsc::channel::<bool>(1);
        let mut stop_at = None;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!("%SYS-5-START: usherd is ready, run directory {}", self.options.run_dir.display());
        loop {
            let now = monotonic_ns();
            if now >= self.election.read_at {
                self.hear(now);
            }
            if now >= self.clusters.turn_at {
                self.run_clusters(now);
            }
            self.advance(now);
            if stop_at.is_some_and(|at| now >= at || self.has_given_up()) {
                break;
            }
            let now = monotonic_ns();
            let due = self.next_deadline(now).min(self.clusters.turn_at);
            let pause = Duration::from_nanos(due.saturating_sub(now));
            let reading = Duration::from_nanos(self.election.read_at.saturating_sub(now));
            // Not in order: under a flood of messages everything else has its turn too.
            tokio::select! {
                _ = tokio::time::sleep(pause) => {}
                () = readable(&self.election, reading) => {}
                _ = term.recv(), if stop_at.is_none() => stop_at = Some(self.give_up()),
                _ = interrupt.recv(), if stop_at.is_none() => stop_at = Some(self.give_up()),
                _ = tick.tick() => self.tick(),
                () = told(&self.sender, &self.dataplanes), if !self.outdated => self.tick(),
                _ = slow.tick() => self.slow_tick(&ike),
                _ = hangup.recv(), if stop_at.is_none() => self.reload(),
                Some(up) = ike_told.recv() => self.election.ike = up,
                Some(done) = self.devices.done() => self.device_done(done),
                Some(pending) = hellos.recv() => self.attach(pending),
                _ = connections.readable() => {
                    let _ = connections.try_io(Interest::READABLE, || {
                        if Self::accept(&listener, &hello) { Ok(()) } else { Err(std::io::ErrorKind::WouldBlock.into()) }
                    });
                }
                Some((request, answer)) = questions.recv() => {
                    self.respond(&request, answer);
                }
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        Ok(())
    }

    /// Takes a data plane's connection; false when none waits.
    fn accept(listener: &Listener, hello: &mpsc::Sender<Pending>) -> bool {
        match listener.try_accept() {
            Ok(Some(pending)) => {
                // At most as many wait as the channel holds: those beyond are turned away.
                if let Ok(room) = hello.clone().try_reserve_owned() {
                    tokio::spawn(async move {
                        let Ok(ready) = readiness(&pending) else { return };
                        if tokio::time::timeout(HELLO_WAIT, ready.readable()).await.is_ok_and(|r| r.is_ok()) {
                            room.send(pending);
                        }
                    });
                }
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!("%SYS-4-HANDOVER: {error}");
                false
            }
        }
    }

    fn attach(&mut self, pending: Pending) {
        let peer = match pending.try_finish(&self.writer) {
            Ok(Progress::Done(peer)) => peer,
            Ok(Progress::NotYet(_)) => return,
            Err(error) => {
                // One that tries again and again says the same again and again.
                let text = error.to_string();
                if self.refused.as_ref().is_none_or(|(last, at)| *last != text || at.elapsed() >= REMIND) {
                    tracing::warn!("%DATAPLANE-4-REFUSED: {text}");
                    self.refused = Some((text, Instant::now()));
                }
                return;
            }
        };
        let (pid, workers, ports) = (peer.pid, peer.feedback.workers(), peer.feedback.ports());
        let ours: Vec<Option<&str>> = self.ports.iter().map(|port| port.exception.as_deref()).collect();
        if !self.dataplanes.add(peer, &ours, monotonic_ns()) {
            tracing::warn!(
                "%DATAPLANE-4-REFUSED: process {pid}: four are attached already: stop those not needed"
            );
            return;
        }
        self.reminded = None;
        tracing::info!("%DATAPLANE-5-ATTACHED: process {pid}, {workers} workers, {ports} ports");
        self.all_devices();
        self.start_source(monotonic_ns());
    }

    fn tick(&mut self) {
        let now_ns = monotonic_ns();
        self.writer.heartbeat(now_ns);
        let events = self.dataplanes.look(self.writer.instance(), self.published.generation, now_ns);
        for event in events {
            match event {
                Event::Ready(pid) => {
                    tracing::info!("%DATAPLANE-5-READY: process {pid} works by the snapshot");
                    // What was announced before it was there reached nobody.
                    for key in self.roles.keys().cloned().collect::<Vec<_>>() {
                        self.tell(&key, HsrpEvent::AnnounceAgain, now_ns);
                    }
                }
                Event::Gone(pid) => {
                    tracing::warn!("%DATAPLANE-4-DETACHED: process {pid} has gone");
                    self.reminded = Some(Instant::now());
                }
                Event::Stale(pid, age) => tracing::error!(
                    "%DATAPLANE-3-HUNG: process {pid}: last heartbeat {age} ms ago: restart it if this lasts"
                ),
                Event::Alive(pid) => {
                    tracing::info!("%DATAPLANE-5-ALIVE: process {pid}: the heartbeat goes on")
                }
            }
        }
        self.outdated |= self.sender.is_outdated();
        if self.outdated && now_ns >= self.refresh_at {
            self.outdated = false;
            self.refresh_at = now_ns + REFRESH.as_nanos() as u64;
            self.sender.refresh();
        }
        self.look_at_objects(now_ns);
        self.poll_feeds(now_ns);
    }

    fn slow_tick(&mut self, ike: &mpsc::Sender<bool>) {
        if self.dataplanes.is_empty() && self.reminded.is_none_or(|at| at.elapsed() >= REMIND) {
            self.reminded = Some(Instant::now());
            tracing::warn!(
                "%DATAPLANE-4-MISSING: no data plane is attached, nothing is redirected: systemctl start usher-dataplane"
            );
        }
        if self.retry_at.is_some_and(|at| Instant::now() >= at) {
            self.retry_at = None;
            self.all_devices();
        }
        self.settle();
        self.roll_keys();
        self.ask_ike_daemon(ike);
        self.save();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }

    /// Takes note of the kernel's devices as they are now.
    fn settle(&mut self) {
        self.sender.refresh();
        self.listen();
        let now_ns = monotonic_ns();
        for key in self.roles.keys().cloned().collect::<Vec<_>>() {
            self.start_machine(&key, now_ns);
        }
    }

    /// Has the state written where it has changed.
    fn save(&mut self) {
        if self.saved.as_ref() != Some(&self.state) {
            self.saver.save(self.state.clone());
            self.saved = Some(self.state.clone());
        }
    }

    fn device_done(&mut self, done: Done) {
        let Done { task, result } = done;
        self.note(result);
        if self.all_task == Some(task) {
            self.all_task = None;
            self.settle();
            if std::mem::take(&mut self.all_again) {
                self.all_devices();
            }
        }
        self.task_done(task, monotonic_ns());
    }

    /// Remembers a refusal of the kernel for another try.
    fn note(&mut self, done: Result<(), NetError>) {
        if let Err(error) = done {
            tracing::error!("%NET-3-DEVICE: {error}; trying again in {} s", RETRY.as_secs());
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    fn log_remarks(&self, loaded: &Loaded) {
        let file = self.options.config.display().to_string();
        for remark in &loaded.remarks {
            let text = format!("{file}:{}: {}: {}", remark.line, remark.text.trim(), remark.message);
            match remark.severity {
                Severity::Notice => tracing::info!("%CONFIG-6-NOEFFECT: {text}"),
                _ => tracing::warn!("%CONFIG-4-SLIP: {text}"),
            }
        }
        if let Some(exposed) = config::exposure(&self.options.config, &loaded.config, ADMINISTRATORS) {
            tracing::warn!("%CONFIG-4-EXPOSED: {file}: {exposed}");
        }
    }

    fn reload(&mut self) {
        match config::load_for(&self.options.config, &self.binding) {
            Ok(loaded) => {
                self.log_remarks(&loaded);
                self.take(loaded.config);
                tracing::info!("%CONFIG-5-LOADED: {}", self.options.config.display());
            }
            Err(error) => tracing::error!("%CONFIG-3-REFUSED: the running configuration stays: {error}"),
        }
    }

    /// Puts a configuration into force.
    fn take(&mut self, config: Config) {
        self.plan = self.assess(&config);
        for (number, port) in self.ports.iter_mut().enumerate() {
            port.interface = self.binding.name(&config, number);
        }
        self.config = config;
        for warning in &self.plan.warnings {
            tracing::warn!("%CONFIG-4-CHECK: {warning}");
        }
        for group in self.plan.groups.iter().filter(|group| !group.down.is_empty()) {
            tracing::warn!("%HSRP-4-DOWN: {}: {}", group.key, group.down.join("; "));
        }
        match &self.plan.cluster {
            Some(cluster) if cluster.down.is_empty() => tracing::info!("%CLB-5-UP: the cluster is up"),
            Some(cluster) => tracing::warn!("%CLB-4-DOWN: the cluster is down: {}", cluster.down.join("; ")),
            None => {}
        }
        let now_ns = monotonic_ns();
        self.look_at_objects(now_ns);
        self.configure_roles(now_ns);
        self.configure_clusters(now_ns);
        self.dirty = true;
        self.all_devices();
    }

    fn assess(&self, config: &Config) -> Plan {
        let mut plan = health::assess(config, Some(&|name| self.binding.port(config, name)));
        plan.warnings.extend(self.binding.warnings(config));
        plan
    }

    fn exception(&self, name: &IfName) -> Option<&str> {
        self.ports.iter().find(|port| port.interface.as_ref() == Some(name))?.exception.as_deref()
    }

    /// The exception device of a group's interface.
    fn exception_of(&self, plan: &GroupPlan) -> Option<&str> {
        self.ports.get(plan.port?)?.exception.as_deref()
    }

    /// The exception device of a group's interface, and the name of the group's macvlan over it.
    fn device(&self, plan: &GroupPlan) -> Option<(String, String)> {
        let exception = self.exception_of(plan)?.to_owned();
        let index = plan.port?;
        let family = if plan.key.family == Family::V6 { "v6" } else { "" };
        Some((exception, format!("hsrp{index}-{}{family}", plan.key.group)))
    }

    /// Has all devices brought into the state that configuration and roles ask for. One such task at a time.
    fn all_devices(&mut self) {
        if self.all_task.is_some() {
            self.all_again = true;
            return;
        }
        let mut plan = DevicePlan::default();
        for port in &self.ports {
            let Some(exception) = &port.exception else { continue };
            let known = self.dataplanes.port(exception);
            let name = port.interface.as_ref().filter(|name| self.config.shut_by(name).is_none());
            let interface = name.and_then(|name| self.config.interfaces.get(name));
            let wanted = Wanted {
                device: exception.clone(),
                mac: known.as_ref().map(|identity| identity.mac).filter(|mac| *mac != [0; 6]),
                mtu: Some(known.map_or(port.mtu, |identity| u32::from(identity.mtu)).max(1280)),
                addresses: interface.map(|interface| interface.addresses().collect()).unwrap_or_default(),
                shared: port.shared,
            };
            plan.ports.push((wanted, port.tap));
        }
        for role in self.roles.values() {
            if let Some((exception, device)) = self.device(&role.plan) {
                plan.virtuals.push((exception, self.macvlan(role, device)));
            }
        }
        self.all_task = Some(self.devices.give(Work::All(plan)));
    }

    /// Publishes roles, members and slots as they are now.
    fn publish(&mut self) {
        let cluster = self.plan.cluster.as_ref();
        let up = cluster.is_some_and(|cluster| cluster.down.is_empty());
        let in_cluster = |key: &GroupKey| cluster.is_some_and(|cluster| cluster.groups.contains(key));
        let mut vips = Vec::new();
        let known = |role: &&hsrp::Role| role.plan.down.is_empty() || role.phase != Phase::Absent;
        for role in self.roles.values().filter(known) {
            let state = match role.phase {
                Phase::Preparing { .. } | Phase::Addressing(_) => VipState::Prepared,
                Phase::Owned => VipState::Active,
                // Its lease has ended: this is the fence.
                Phase::Withdrawing { .. } if role.wedged.is_some() => VipState::Active,
                Phase::Absent | Phase::Withdrawing { .. } | Phase::Clearing(_) => VipState::Inactive,
            };
            let key = role.plan.key.clone();
            let member = in_cluster(&key) && self.clusters.is_up(&key);
            let members = if in_cluster(&key) { self.clusters.members(&key) } else { Vec::new() };
            vips.extend(role.addresses().into_iter().map(|address| VipInput {
                address,
                own: role.plan.own,
                mac: role.mac(),
                state,
                redirect_init: member && up && self.config.redirect_init,
                lease: role.lease as u16,
                port: role.plan.port.map(|port| port as u16),
                epoch: role.epoch,
                key: key.clone(),
                is_own: false,
                members: members.clone(),
            }));
        }
        vips.extend(self.own_vips());
        self.publish_vips(vips);
    }

    fn publish_vips(&mut self, vips: Vec<VipInput>) {
        let now_ns = monotonic_ns();
        self.keep_budgets(&vips, now_ns);
        let body = publish::body(
            self.state.hash_key,
            self.config.cluster.as_ref().map_or(0, config::Cluster::port),
            now_ns,
            &vips,
            &mut self.state.assignments,
            &mut self.clusters.budgets,
        );
        let generation = self.writer.publish(&body);
        self.dataplanes.keep_clients(&vips);
        self.published = Published { generation, at_ns: now_ns, vips, body: Some(body) };
        self.save();
    }

    /// The end begins: every group gives its role up. When it has to be over, ns.
    fn give_up(&mut self) -> u64 {
        let now = monotonic_ns();
        self.stop_clusters(now);
        for key in self.roles.keys().cloned().collect::<Vec<_>>() {
            self.tell(&key, HsrpEvent::Disable, now);
        }
        self.roles.values_mut().for_each(|role| role.wedged = None);
        self.dirty = true;
        now.saturating_add(STOP_WAIT.as_nanos() as u64)
    }

    fn has_given_up(&self) -> bool {
        !self.dirty && self.roles.values().all(|role| role.phase == Phase::Absent && role.held.is_empty())
    }

    /// After the loop: exception devices stay for the data plane that goes on, unless they are to be cleaned up.
    async fn finish(mut self) {
        self.clusters.background.finish().await;
        self.state.leases.clear();
        self.save();
        self.saver.finish();
        if self.options.cleanup {
            let parents: Vec<String> = self.ports.iter().filter_map(|port| port.exception.clone()).collect();
            let taps = self.ports.iter().filter(|port| port.tap).filter_map(|port| port.exception.clone());
            let task = self.devices.give(Work::Cleanup(parents, taps.collect()));
            while let Some(done) = self.devices.done().await {
                if let (Err(error), true) = (&done.result, done.task == task) {
                    tracing::error!("%NET-3-DEVICE: {error}");
                }
                if done.task == task {
                    break;
                }
            }
        }
        tracing::info!("%SYS-5-STOP: usherd has stopped");
    }

    fn answer(&mut self, request: &Asking) -> Reply {
        let line = &request.request.command;
        let invocation = match exec::parse(line, true) {
            Ok(invocation) => invocation,
            Err(mismatch) => return Reply::refusal(Code::Invalid, mask_line(line).explain(&mismatch)),
        };
        if invocation.command.changes() && !request.may_change {
            return configure::only_admins();
        }
        let word = |on| if on { "on" } else { "off" };
        let text = match invocation.command {
            Command::Failover => {
                match self.fail_over(invocation.interface.as_ref(), invocation.group.unwrap_or(0)) {
                    Ok(text) => text,
                    Err(error) => return Reply::error(error),
                }
            }
            Command::Debug(which, on) => {
                let debug = &mut self.election.debug;
                debug.switch(which, on);
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
                self.dataplanes.clear();
                tracing::info!("%SYS-5-CLEAR: the counters were cleared");
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
            Command::Show(show) => return self.show(show, &invocation, request.request.json),
            Command::Local(_) | Command::Write => {
                return Reply::error("usherd does not answer this: it is a command of the shell");
            }
        };
        match request.request.json {
            true => Reply { json: Some(serde_json::json!({ "done": text })), ..Reply::default() },
            false => Reply::text(false, &text),
        }
    }
}

/// Waits until a message can be read, and at least `pause`.
async fn readable(election: &Election, pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    std::future::poll_fn(|context| {
        let mut listening = election.listening.iter();
        let ready = listening.any(|(_, socket)| socket.poll_readable(context).is_ready())
            || election.hosts.values().any(|socket| socket.poll_readable(context).is_ready());
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Waits until the kernel's devices have changed, or something has happened to the connection of a data plane.
async fn told(sender: &Sender, dataplanes: &Dataplanes) {
    std::future::poll_fn(|context| {
        // Both, so that both wake this task.
        let changed = sender.poll_outdated(context).is_ready();
        let ended = dataplanes.poll_ended(context).is_ready();
        if changed || ended { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Something to wait with until a descriptor, which must be non-blocking, is readable. tokio's own type for that is
/// unsafe to make; a socket type over a duplicate of the descriptor waits just as well, and is used for nothing else.
fn readiness(fd: &impl AsFd) -> std::io::Result<UnixDatagram> {
    UnixDatagram::from_std(fd.as_fd().try_clone_to_owned()?.into())
}

/// A virtual address as the macvlan carries it: alone, so that it adds no route of its own.
fn on_macvlan(address: IpAddr) -> Prefix {
    let length = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(address) if address.is_unicast_link_local() => 64,
        IpAddr::V6(_) => 128,
    };
    Prefix { address, length }
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
