//! usherd itself: one loop that owns the roles, the snapshot and the kernel's devices, and answers questions.
//!
//! Everything the loop waits for is bounded: the data plane's acknowledgement (20 ms on a gain, 200 ms on a loss), the
//! kernel (2 s a request), clients of the socket not at all.

pub mod dataplanes;
pub mod management;
mod views;

use crate::clb::{self, Member};
use crate::config::health::{self, GroupKey, GroupPlan, Plan};
use crate::config::{self, Config, Family, IfName, LoadError, Loaded, Prefix, Severity, virtual_link_local};
use crate::hsrp::{Action, Hsrp, Role};
use crate::net::{Net, NetError, Wanted, announce};
use crate::publish::{self, VipInput};
use crate::state::State;
use dataplanes::{Dataplanes, Event, Taken};
use management::{Asked, Reply, Request};
use platform::clock::monotonic_ns;
use platform::host::{HostError, devices, instance, link};
use platform::profile::{Profile, ProfileError};
use platform::snapshot::handover::{HandoverError, Listener, Pending, Progress};
use platform::snapshot::{VipState, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How often leases are renewed and the data planes looked after.
const TICK: Duration = Duration::from_millis(100);
/// The longest wait for a data plane before an address is put on.
const GAIN_WAIT: Duration = Duration::from_millis(20);
/// The longest wait for a data plane before an address is taken off.
const LOSS_WAIT: Duration = Duration::from_millis(200);
/// A connected data plane that says nothing is let go after this.
const HELLO_WAIT: Duration = Duration::from_secs(2);
/// Steps that the kernel refused are tried again this often, and named as often.
const RETRY: Duration = Duration::from_secs(5);
/// A data plane that is missing is named this often.
const REMIND: Duration = Duration::from_secs(60);
/// Members of this group may read.
const GROUP: &str = "usher";

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
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

/// A port of the profile.
struct Port {
    interface: IfName,
    exception: Option<String>,
    mtu: u32,
    /// The exception device is a TAP of ours; else it comes and goes with the data plane
    tap: bool,
}

/// What was published last.
#[derive(Default)]
struct Published {
    generation: u64,
    at_ns: u64,
    vips: Vec<VipInput>,
}

struct Daemon {
    options: Options,
    ports: Vec<Port>,
    config: Config,
    plan: Plan,
    members: Vec<Member>,
    hsrp: Hsrp,
    writer: Writer,
    published: Published,
    preparing: BTreeSet<GroupKey>,
    state: State,
    saved: Option<State>,
    net: Net,
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
    let ports = ports(&profile);
    let loaded = load(&options, &ports)?;

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
        ports,
        config: Config::default(),
        plan: Plan::default(),
        members: Vec::new(),
        hsrp: Hsrp::new(state.epochs.clone()),
        writer: Writer::create()?,
        published: Published::default(),
        preparing: BTreeSet::new(),
        state,
        saved: None,
        net: Net::open()?,
        dataplanes: Dataplanes::default(),
        retry_at: None,
        reminded: Some(Instant::now()),
        refused: None,
        options,
    };
    daemon.log_remarks(&loaded);
    // Without the privilege to configure a device nothing below can work: say so and end.
    daemon.take(loaded.config).await?;

    let management_path = socket(&daemon.options.run_dir);
    let management = management::bind(&management_path, GROUP).map_err(run_dir("usherd.sock"))?;
    made.names.clear();
    let result = daemon.serve(listener, management).await;
    let _ = std::fs::remove_file(&management_path);
    result
}

fn load(options: &Options, ports: &[Port]) -> Result<Loaded, LoadError> {
    config::load_for(&options.config, |name| ports.iter().any(|port| port.interface == *name))
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

fn ports(profile: &Profile) -> Vec<Port> {
    let port = |(index, port): (usize, &platform::profile::PortProfile)| {
        let tap =
            devices::exception_vdev(port, index, [0; 6], 1).is_some_and(|vdev| vdev.starts_with("net_tap"));
        Some(Port {
            // The profile has checked that it is a name; one we do not know binds nothing.
            interface: IfName::parse(&port.interface)
                .inspect_err(|error| tracing::warn!("%SYS-4-PROFILE: {error}"))
                .ok()?,
            exception: port.exception().map(str::to_owned),
            mtu: u32::from(port.mtu),
            tap,
        })
    };
    profile.port.iter().enumerate().filter_map(port).collect()
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
        tokio::spawn(management::serve(management, asked));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!("%SYS-5-START: usherd is ready, run directory {}", self.options.run_dir.display());
        loop {
            tokio::select! {
                biased;
                _ = term.recv() => break,
                _ = interrupt.recv() => break,
                _ = tick.tick() => self.tick().await,
                _ = hangup.recv() => self.reload().await,
                Some(pending) = hellos.recv() => self.attach(pending).await,
                _ = connections.readable() => {
                    let _ = connections.try_io(Interest::READABLE, || {
                        if Self::accept(&listener, &hello) { Ok(()) } else { Err(std::io::ErrorKind::WouldBlock.into()) }
                    });
                }
                Some((request, answer)) = questions.recv() => {
                    // A client that has gone does not hear it.
                    let _ = answer.send(self.answer(&request));
                }
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.stop().await;
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

    async fn attach(&mut self, pending: Pending) {
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
        if !self.dataplanes.add(peer, monotonic_ns()) {
            tracing::warn!(
                "%DATAPLANE-4-REFUSED: process {pid}: four are attached already: stop those not needed"
            );
            return;
        }
        self.reminded = None;
        tracing::info!("%DATAPLANE-5-ATTACHED: process {pid}, {workers} workers, {ports} ports");
        let done = self.devices().await;
        self.note(done);
    }

    async fn tick(&mut self) {
        let now_ns = monotonic_ns();
        self.writer.heartbeat(now_ns);
        let due = self.hsrp.tick(now_ns);
        self.act(due).await;
        let events = self.dataplanes.look(self.writer.instance(), self.published.generation, now_ns);
        for event in events {
            match event {
                Event::Ready(pid) => {
                    tracing::info!("%DATAPLANE-5-READY: process {pid} works by the snapshot");
                    // What was announced before it was there reached nobody.
                    self.hsrp.announce_again(now_ns);
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
        if self.dataplanes.is_empty() && self.reminded.is_none_or(|at| at.elapsed() >= REMIND) {
            self.reminded = Some(Instant::now());
            tracing::warn!(
                "%DATAPLANE-4-MISSING: no data plane is attached, nothing is redirected: systemctl start usher-dataplane"
            );
        }
        if self.retry_at.is_some_and(|at| Instant::now() >= at) {
            let done = self.devices().await;
            self.note(done);
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }

    /// Remembers a refusal of the kernel for another try.
    fn note(&mut self, done: Result<(), NetError>) {
        self.retry_at = match done {
            Ok(()) => None,
            Err(error) => {
                tracing::error!("%NET-3-DEVICE: {error}; trying again in {} s", RETRY.as_secs());
                Some(Instant::now() + RETRY)
            }
        };
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
    }

    async fn reload(&mut self) {
        match load(&self.options, &self.ports) {
            Ok(loaded) => {
                self.log_remarks(&loaded);
                let done = self.take(loaded.config).await;
                self.note(done);
                tracing::info!("%CONFIG-5-LOADED: {}", self.options.config.display());
            }
            Err(error) => tracing::error!("%CONFIG-3-REFUSED: the running configuration stays: {error}"),
        }
    }

    /// Puts a configuration into force.
    async fn take(&mut self, config: Config) -> Result<(), NetError> {
        let ports = &self.ports;
        let port_of = |name: &IfName| ports.iter().position(|port| port.interface == *name);
        self.plan = health::assess(&config, Some(&port_of));
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
        let virtual_addresses = self.plan.groups.iter().flat_map(|group| group.addresses.clone()).collect();
        self.members = clb::members(&self.config, &virtual_addresses);
        let actions = self.hsrp.configure(&self.plan.groups, monotonic_ns());
        self.act(actions).await;
        // Also where no role has changed: the cluster's own lines may have.
        self.publish();
        self.devices().await
    }

    /// Carries out what the roles ask for.
    async fn act(&mut self, actions: Vec<Action>) {
        let (mut gained, mut lost) = (BTreeSet::new(), Vec::new());
        let mut announcements = Vec::new();
        for action in actions {
            match action {
                Action::Renew(lease, until_ns) => self.writer.set_lease(lease, until_ns, false),
                Action::Announce(key) => announcements.push(key),
                Action::Gain(key) => {
                    tracing::info!("%HSRP-5-STATECHANGE: {key} state Init -> Active");
                    gained.insert(key);
                }
                Action::Lose(key) => {
                    tracing::info!("%HSRP-5-STATECHANGE: {key} state Active -> Init");
                    lost.push(key);
                }
                // The devices and the snapshot follow in `take`.
                Action::Update(_) => {}
            }
        }
        if !lost.is_empty() {
            self.publish();
            self.wait(LOSS_WAIT, |dataplanes, instance, generation| dataplanes.applied(instance, generation))
                .await;
            let done = self.devices().await;
            self.note(done);
        }
        if !gained.is_empty() {
            self.gain(gained).await;
        }
        for key in announcements {
            self.announce(&key);
        }
    }

    /// Prepared, acknowledged, address on, active: in this order, so that no frame comes before the MAC filter.
    async fn gain(&mut self, gained: BTreeSet<GroupKey>) {
        self.preparing = gained;
        self.publish();
        let taken = |dataplanes: &Dataplanes, instance, generation| {
            dataplanes.taken(instance, generation) != Taken::NotYet
        };
        let in_time = self.wait(GAIN_WAIT, taken).await;
        if !in_time {
            tracing::warn!(
                "%DATAPLANE-4-SLOW: generation {} is not in force after 20 ms; going on",
                self.published.generation
            );
        } else if self.dataplanes.taken(self.writer.instance(), self.published.generation)
            == Taken::WithoutFilter
        {
            tracing::error!(
                "%DATAPLANE-3-FILTER: a port does not take the virtual MAC: set promiscuous = \"on\" in the profile"
            );
        }
        let done = self.devices().await;
        self.note(done);
        self.preparing.clear();
        self.publish();
        // The first lease follows the publication at once, not at the next tick.
        let now_ns = monotonic_ns();
        for action in self.hsrp.tick(now_ns) {
            match action {
                Action::Renew(lease, until_ns) => self.writer.set_lease(lease, until_ns, false),
                Action::Announce(key) => self.announce(&key),
                _ => {}
            }
        }
    }

    /// Waits until `done`, at most `limit`; false when it took longer.
    async fn wait(&self, limit: Duration, done: impl Fn(&Dataplanes, u64, u64) -> bool) -> bool {
        let start = Instant::now();
        loop {
            if done(&self.dataplanes, self.writer.instance(), self.published.generation) {
                return true;
            }
            if start.elapsed() >= limit {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn announce(&self, key: &GroupKey) {
        // Nobody would carry the frames.
        if self.dataplanes.is_empty() {
            return;
        }
        let Some((role, (_, device))) =
            self.hsrp.role(key).and_then(|role| Some((role, self.device(&role.plan)?)))
        else {
            return;
        };
        if let Err(error) = announce::announce(&device, role.mac(), &role.plan.addresses) {
            tracing::warn!("%HSRP-4-ANNOUNCE: {key}: {device}: {error}");
        }
    }

    /// The exception device of a group's interface, and the name of the group's macvlan over it.
    fn device(&self, plan: &GroupPlan) -> Option<(String, String)> {
        let index = plan.port?;
        let exception = self.ports.get(index)?.exception.clone()?;
        let family = if plan.key.family == Family::V6 { "v6" } else { "" };
        Some((exception, format!("hsrp{index}-{}{family}", plan.key.group)))
    }

    fn is_active(&self, role: &Role) -> bool {
        role.state == crate::hsrp::State::Active
    }

    /// Brings all devices into the state that configuration and roles ask for.
    async fn devices(&self) -> Result<(), NetError> {
        let mut wanted_macvlans = BTreeSet::new();
        let mut parents = Vec::new();
        for port in &self.ports {
            let Some(exception) = &port.exception else { continue };
            if !port.tap && !self.net.exists(exception).await? {
                // It comes with the data plane, and this with it.
                continue;
            }
            parents.push(exception.clone());
            let known = self.dataplanes.port(exception);
            let interface =
                self.config.interfaces.get(&port.interface).filter(|interface| !interface.shutdown);
            let wanted = Wanted {
                device: exception.clone(),
                mac: known.as_ref().map(|identity| identity.mac).filter(|mac| *mac != [0; 6]),
                mtu: Some(known.map_or(port.mtu, |identity| u32::from(identity.mtu)).max(1280)),
                addresses: interface.map(|interface| interface.addresses().collect()).unwrap_or_default(),
            };
            self.net.port(&wanted).await?;
        }
        for role in self.hsrp.roles() {
            let Some((exception, device)) = self.device(&role.plan) else { continue };
            if !parents.contains(&exception) {
                continue;
            }
            wanted_macvlans.insert(device.clone());
            let mut addresses = Vec::new();
            if self.is_active(role) {
                addresses.extend(role.plan.addresses.iter().map(|address| on_macvlan(*address)));
                if role.plan.key.family == Family::V6 {
                    let link_local = on_macvlan(virtual_link_local(role.plan.key.group).into());
                    if !addresses.contains(&link_local) {
                        addresses.push(link_local);
                    }
                }
            }
            let wanted = Wanted { device, mac: Some(role.mac()), mtu: None, addresses };
            self.net.virtual_device(&exception, &wanted).await?;
        }
        for stray in self.net.macvlans("hsrp", &parents).await?.difference(&wanted_macvlans) {
            self.net.delete(stray).await?;
        }
        Ok(())
    }

    /// Publishes roles, members and slots as they are now.
    fn publish(&mut self) {
        let cluster = self.plan.cluster.as_ref();
        let up = cluster.is_some_and(|cluster| cluster.down.is_empty());
        let in_cluster = |key: &GroupKey| cluster.is_some_and(|cluster| cluster.groups.contains(key));
        let mut vips = Vec::new();
        for role in self.hsrp.roles().filter(|role| role.plan.down.is_empty()) {
            let state = match self.is_active(role) {
                true if self.preparing.contains(&role.plan.key) => VipState::Prepared,
                true => VipState::Active,
                false => VipState::Inactive,
            };
            let member = in_cluster(&role.plan.key);
            vips.extend(role.plan.addresses.iter().map(|address| VipInput {
                address: *address,
                own: role.plan.own,
                mac: role.mac(),
                state,
                redirect_init: member && up && self.config.redirect_init,
                lease: role.lease as u16,
                port: role.plan.port.map(|port| port as u16),
                epoch: role.epoch,
                in_cluster: member,
            }));
        }
        self.publish_vips(vips);
    }

    fn publish_vips(&mut self, vips: Vec<VipInput>) {
        let now_ns = monotonic_ns();
        let body =
            publish::body(self.state.hash_key, now_ns, &vips, &self.members, &mut self.state.assignments);
        let generation = self.writer.publish(&body);
        self.published = Published { generation, at_ns: now_ns, vips };
        self.state.epochs.clone_from(self.hsrp.epochs());
        if self.saved.as_ref() != Some(&self.state) {
            let path = self.options.run_dir.join("state");
            match self.state.save(&path) {
                Ok(()) => self.saved = Some(self.state.clone()),
                Err(error) => tracing::error!("%SYS-3-STATE: {}: {error}: free space there", path.display()),
            }
        }
    }

    /// The end: inactive first, then the addresses off. Exception devices stay for the data plane that goes on.
    async fn stop(&mut self) {
        let actions = self.hsrp.configure(&[], monotonic_ns());
        for action in &actions {
            if let Action::Lose(key) = action {
                tracing::info!("%HSRP-5-STATECHANGE: {key} state Active -> Init");
            }
        }
        let mut vips = std::mem::take(&mut self.published.vips);
        vips.iter_mut().for_each(|vip| vip.state = VipState::Inactive);
        self.publish_vips(vips);
        self.wait(LOSS_WAIT, |dataplanes, instance, generation| dataplanes.applied(instance, generation))
            .await;
        let exceptions: Vec<String> = self.ports.iter().filter_map(|port| port.exception.clone()).collect();
        if let Err(error) = self.strip(&exceptions).await {
            tracing::error!("%NET-3-DEVICE: {error}");
        }
        tracing::info!("%SYS-5-STOP: usherd has stopped");
    }

    async fn strip(&self, exceptions: &[String]) -> Result<(), NetError> {
        for device in self.net.macvlans("hsrp", exceptions).await? {
            self.net.bare(&device).await?;
            if self.options.cleanup {
                self.net.delete(&device).await?;
            }
        }
        if self.options.cleanup {
            for port in self.ports.iter().filter(|port| port.tap) {
                if let Some(exception) = &port.exception {
                    self.net.delete(exception).await?;
                }
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Reply {
        match crate::show::question(&request.command) {
            Ok(question) => self.show(question, request.json),
            Err(error) => Reply::error(error),
        }
    }
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

/// Redirects by gateway, summed over the data planes and the virtual addresses of the gateway's family.
fn redirects_by_gateway(
    views: &[crate::show::dataplane::AttachedView],
    published: &[VipInput],
    assignments: &BTreeMap<IpAddr, publish::Assignment>,
) -> BTreeMap<IpAddr, u64> {
    let mut all: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for redirect in views.iter().flat_map(|view| &view.feedback.redirects) {
        let gateway = published
            .get(redirect.vip)
            .and_then(|vip| assignments.get(&vip.address))
            .and_then(|assignment| assignment.gateways.get(redirect.gateway).copied().flatten());
        if let Some(gateway) = gateway {
            let sum = all.entry(gateway).or_default();
            *sum = sum.wrapping_add(redirect.total);
        }
    }
    all
}

/// The socket of an usherd in this run directory.
#[must_use]
pub fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join("usherd.sock")
}
