//! Ports: from the profile to configured queues, one exception device each, their MAC filters and their state.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use dpdk::steer::{self, Counts, Egress, Mode, Placed, Program, Rules, Sockets, Steering};
use dpdk::{Bond, Eal, MacFilter, Mempool, Port, PortConfig, PortId, PortStats, RxQueue, TxQueue};
use platform::host;
use platform::host::cores::{CorePlan, WorkerCore};
use platform::host::devices::{exception_vdev, numa_node, vlan_vdev};
use platform::profile::{
    self, Attach, Device, PortProfile, Profile, Promiscuous, Subinterface, VLAN_DESCRIPTORS,
};
use platform::snapshot::{
    Feedback, MemberState, MemberStatus, Members, PortIdentity, PortStatus, Shared, SharedBy,
};
use tracing::{debug, info, warn};

use crate::queues::{self, Devices};
use crate::reassemble::Reassembler;
use crate::vlan::{VlanQueues, Vlans};
use crate::worker::Queues;
use crate::{PortView, Reason};

type PortWithQueues = (Port, Vec<RxQueue>, Vec<TxQueue>);
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A port and its exception device, from the control thread's side.
pub struct OpenPort {
    /// On the interface as long as it stands here: it goes before the sockets do.
    _placed: Option<Placed>,
    /// The port.
    pub port: Port,
    /// Its further queues, where DPDK's driver serves one a device.
    more: Vec<Port>,
    name: String,
    exception_name: String,
    exception: Option<Port>,
    subinterfaces: Vec<(Subinterface, Port)>,
    filters: BTreeSet<[u8; 6]>,
    filters_of: (u64, u64),
    filters_ok: bool,
    queues: u16,
    steering: Option<Steering>,
    sockets: Sockets,
    /// On the device as long as it stands here.
    egress: Option<Egress>,
    counts: Counts,
    /// The mode of a bond.
    bond: Option<profile::BondMode>,
    members: Members,
}

/// A port for a device of the command line, without an exception device.
///
/// # Errors
/// The specification is none.
pub fn vdev(spec: &str, index: usize) -> Result<PortProfile, Failure> {
    let device = format!("vdev:{}", spec.trim_start_matches("vdev:")).parse()?;
    Ok(PortProfile::new(format!("vdev{index}"), device))
}

/// The XDP program for the ports that the kernel keeps, as a file that lives as long as this. DPDK loads it when the port is
/// opened.
pub struct ProgramFile {
    _file: Option<OwnedFd>,
}

/// Names our XDP program to the driver of each bifurcated port of a resolved profile, which then gets a device a queue where it
/// must.
///
/// # Errors
/// The system gives no memory for a file; an interface has fewer queues than its port.
pub fn steer(profile: &mut Profile) -> Result<ProgramFile, Failure> {
    let mut program = None;
    for port in &mut profile.port {
        queues::one_a_device(port)?;
        if port.attach == Attach::Owned {
            continue;
        }
        // A NIC is told by flow rules.
        let Device::Vdev(spec) = &mut port.device else { continue };
        if program.is_none() {
            let file = rustix::fs::memfd_create("usher_steer", rustix::fs::MemfdFlags::CLOEXEC)?;
            std::fs::File::from(file.try_clone()?).write_all(steer::object())?;
            program = Some(file);
        }
        let number = program.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        spec.push_str(&format!(",xdp_prog=/proc/self/fd/{number}"));
    }
    Ok(ProgramFile { _file: program })
}

/// Starts EAL with the profile's arguments and the devices of its ports.
///
/// # Errors
/// What EAL said.
pub fn start_eal(profile: &Profile, plan: &CorePlan) -> Result<Eal, Failure> {
    let devices =
        profile.port.iter().flat_map(|port| port.devices().iter().map(move |device| (port, device)));
    for (port, device) in devices {
        if let (true, Some(interface)) = (device.name().starts_with("net_af_xdp"), device.arg("iface")) {
            // A program that a killed predecessor left attached would refuse the next start.
            host::link::xdp_off(interface)?;
            if !port.vlans.is_empty()
                && let Err(error) = host::link::keep_tags(interface)
            {
                warn!(
                    port = port.interface,
                    %error,
                    "frames of its VLANs may come in without their tags, as if they were the port's own"
                );
            }
        }
    }
    let prefix = format!("usher-{}", std::process::id());
    let args = profile.eal_args(&prefix, &[], plan);
    for arg in &args {
        debug!(arg = arg.arg, why = arg.why, "EAL argument");
    }
    Ok(Eal::init(&args)?)
}

/// Opens all ports of the profile and deals their queues out to the workers of the plan.
///
/// # Errors
/// What the driver said, with the port's name.
pub fn open(
    eal: &Eal,
    profile: &Profile,
    plan: &CorePlan,
) -> Result<(Vec<OpenPort>, Vec<Vec<Queues>>), Failure> {
    let mut open = Vec::new();
    let mut by_place = BTreeMap::new();
    for (index, port) in profile.port.iter().enumerate() {
        let (opened, queues) = open_one(eal, profile, index, port)?;
        by_place
            .extend(queues.into_iter().enumerate().map(|(queue, queues)| ((index, queue as u16), queues)));
        open.push(opened);
    }
    let mut deal =
        |place: &WorkerCore| place.queues.iter().filter_map(|place| by_place.remove(place)).collect();
    let per_worker = plan.workers.iter().map(&mut deal).collect();
    Ok((open, per_worker))
}

fn open_one(
    eal: &Eal,
    profile: &Profile,
    index: usize,
    settings: &PortProfile,
) -> Result<(OpenPort, Vec<Queues>), Failure> {
    let pool_name = format!("port{index}");
    let socket = numa_node(settings, Path::new("/")).and_then(|node| i32::try_from(node).ok()).unwrap_or(-1);
    let pool = &profile.mempool;
    let pool = Mempool::new(eal, &pool_name, pool.mbufs, pool.cache, pool.data_room, socket)?;
    let bifurcated = settings.attach == Attach::Bifurcated;
    let config = PortConfig {
        rx_queues: settings.queues,
        tx_queues: settings.queues,
        rx_desc: settings.rx_descriptors,
        tx_desc: settings.tx_descriptors,
        mtu: settings.mtu,
        rss: settings.rss && settings.queues > 1,
        rx_checksum: settings.rx_checksum,
        tx_checksum: false,
        promiscuous: settings.promiscuous == Promiscuous::On,
        isolated: bifurcated && matches!(settings.device, Device::Pci(_)),
    };
    let (before, rss) = (steer::sockets(), config.rss);
    let Devices { mut port, more, rx, tx, sockets: of_queues } = match settings.bond() {
        None => queues::configure(eal, find(eal, settings, &settings.device)?, settings, config, &pool)?,
        Some(bond) => make_bond(eal, settings, bond, index)?
            .configure(&config, &pool)
            .map(|(port, rx, tx)| Devices::one(port, rx, tx))
            .map_err(|error| format!("port {}: {error}", settings.interface))?,
    };
    let after = steer::sockets();
    let sockets = Sockets {
        copying: after.copying.saturating_sub(before.copying),
        zero_copy: after.zero_copy.saturating_sub(before.zero_copy),
    };
    let can = port.capabilities();
    if rss && !can.rss {
        // A TAP or a vhost peer spreads frames itself.
        warn!(
            port = settings.interface,
            driver = port.driver(),
            "the driver has no RSS for IP: what spreads frames over the queues is the device's own business"
        );
    }
    // HSRP and neighbour discovery are multicast; the kernel's side sorts them.
    let multicast = if bifurcated { Ok(MacFilter::Exact) } else { port.set_allmulticast(true) };
    match multicast {
        Ok(MacFilter::Exact) => {}
        Ok(filter) => debug!(port = port.name(), ?filter, "all multicast by other means"),
        Err(error) => warn!(%error, "multicast may not reach the kernel's side"),
    }
    let (mut egress, mut placed) = (None, None);
    let steering = match (settings.attach, &settings.device, port.kernel_ifindex()) {
        (Attach::Owned, ..) => None,
        (_, Device::Pci(_), _) => Some(Steering::flows(&port, settings.queues)),
        (.., Some(index)) => {
            let attached;
            let program = if queues::is_one_a_device(settings) {
                placed.insert(Placed::put(index, &of_queues)?).program()
            } else {
                attached = Program::attached(index)?;
                &attached
            };
            match fence_egress(program, index) {
                Ok(filter) => egress = Some(filter),
                Err(error) => warn!(
                    port = settings.interface,
                    %error,
                    "what the kernel sends in the name of a fenced address is not stopped"
                ),
            }
            Some(Steering::open(program)?)
        }
        (.., None) => {
            let port = &settings.interface;
            return Err(format!(
                "port {port}: the driver names no interface of the kernel's: set attach = \"owned\""
            )
            .into());
        }
    };
    let spec = exception_vdev(settings, index, port.mac(), settings.queues);
    let exception = settings.exception().zip(spec);
    let (exception, sides): (_, Vec<_>) = match exception {
        None => (None, rx.iter().map(|_| None).collect()),
        Some((name, spec)) => {
            let (exception, rx, tx) = open_kernel_side(eal, settings, name, &spec, DESCRIPTORS, &pool)?;
            (Some(exception), rx.into_iter().zip(tx).map(Some).collect())
        }
    };
    let mut subinterfaces = Vec::new();
    let mut of_vlans: Vec<Vec<VlanQueues>> = rx.iter().map(|_| Vec::new()).collect();
    for of in profile.subinterfaces().filter(|of| of.port == index) {
        let spec = vlan_vdev(settings, &of, port.mac(), settings.queues);
        let (tap, rx, tx) = open_kernel_side(eal, settings, &of.exception, &spec, VLAN_DESCRIPTORS, &pool)?;
        for (queues, of_queue) in of_vlans.iter_mut().zip(rx.into_iter().zip(tx)) {
            queues.push(VlanQueues::new(of.vlan, of_queue));
        }
        subinterfaces.push((of, tap));
    }
    let first = subinterfaces.first().map(|(of, _)| of.index as u16);
    let view = PortView {
        vlans: first.map_or(Vlans::NONE, |first| Vlans::new(first, &settings.vlans)),
        ..PortView::new(index as u16, port.mac())
    };
    let timeout_ns = profile.reassembly.timeout_ms * 1_000_000;
    let mut queues = Vec::new();
    for (((rx, tx), exception), vlans) in rx.into_iter().zip(tx).zip(sides).zip(of_vlans) {
        let mut key = [0; 16];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
        let (high, low) = key.split_at(8);
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let fragments = Reassembler::new(profile.reassembly.entries, timeout_ns, [word(high), word(low)]);
        let way_back = bifurcated.then(|| port.mac());
        queues.push(Queues { port: view, rx, tx, exception, vlans, way_back, fragments });
    }
    info!(
        port = settings.interface,
        device = %settings.device,
        driver = port.driver(),
        mtu = port.mtu(),
        queues = queues.len(),
        rss = can.rss,
        rx_checksum = can.rx_udp_cksum,
        descriptors = format!("{}/{}", can.rx_desc, can.tx_desc),
        scatter = can.scatter,
        exception = settings.exception().unwrap_or("none"),
        vlans = ?settings.vlans,
        attach = ?settings.attach,
        "port up"
    );
    let opened = OpenPort {
        _placed: placed,
        port,
        more,
        name: settings.interface.clone(),
        exception_name: settings.kernel_device().unwrap_or_default().to_owned(),
        exception,
        subinterfaces,
        filters: BTreeSet::new(),
        filters_of: (0, 0),
        filters_ok: true,
        queues: settings.queues,
        steering,
        sockets,
        egress,
        counts: Counts::default(),
        bond: settings.bond().map(|bond| bond.mode),
        members: Members::default(),
    };
    Ok((opened, queues))
}

/// The port of DPDK's that a device is.
fn find(eal: &Eal, settings: &PortProfile, device: &Device) -> Result<PortId, Failure> {
    let missing = || {
        let interface = &settings.interface;
        format!("port {interface}: DPDK found no {device}: the lines above say why; is its driver installed?")
    };
    Ok(eal.port_by_name(device.name()).ok_or_else(missing)?)
}

fn make_bond(eal: &Eal, settings: &PortProfile, bond: &profile::Bond, index: usize) -> Result<Bond, Failure> {
    let mode = match bond.mode {
        profile::BondMode::Lacp => dpdk::BondMode::Lacp,
        profile::BondMode::ActiveBackup => dpdk::BondMode::ActiveBackup,
        profile::BondMode::BalanceXor => dpdk::BondMode::Balance,
    };
    let members =
        bond.members.iter().map(|member| find(eal, settings, member)).collect::<Result<Vec<_>, _>>()?;
    let node = numa_node(settings, Path::new("/")).unwrap_or_default();
    Bond::create(eal, &profile::Bond::device_name(index), mode, &members, node)
        .map_err(|error| format!("port {}: {error}", settings.interface).into())
}

/// The members of a bond now; what one does is logged when it changes.
fn members_of(port: &Port, name: &str, last: &mut Members) -> Members {
    let members = port.members();
    for (member, place) in members.iter().zip(last.iter_mut()) {
        let state = match member.state {
            dpdk::MemberState::Down => MemberState::Down,
            dpdk::MemberState::Negotiating => MemberState::Negotiating,
            dpdk::MemberState::Standby => MemberState::Standby,
            dpdk::MemberState::Active => MemberState::Active,
        };
        let before = place.map(|before| before.state);
        *place = Some(MemberStatus {
            state,
            speed_mbps: member.link.speed_mbps,
            ipackets: member.ipackets,
            opackets: member.opackets,
        });
        let member = &member.name;
        match (before, state) {
            _ if before == Some(state) => {}
            (_, MemberState::Active) => info!("%EC-5-BUNDLE: {member} carries frames of port {name}"),
            (Some(MemberState::Active), _) => {
                warn!("%EC-5-UNBUNDLE: {member} carries no frames of port {name} any more: {state:?}");
            }
            _ => debug!(port = name, member, ?state, "member of a bond"),
        }
    }
    *last
}

fn fence_egress(program: &Program, ifindex: u32) -> Result<Egress, dpdk::SteerError> {
    let mut egress = Egress::load(program)?;
    egress.attach(ifindex)?;
    Ok(egress)
}

/// Descriptors of a queue of an exception device, each way.
const DESCRIPTORS: u16 = 1024;

/// An exception device of the port or of a VLAN has the port's MAC and MTU, so that the kernel behind it is the same
/// station.
fn open_kernel_side(
    eal: &Eal,
    settings: &PortProfile,
    name: &str,
    spec: &str,
    descriptors: u16,
    pool: &Mempool,
) -> Result<PortWithQueues, Failure> {
    // A TAP that exists before the data plane and after it keeps its addresses and macvlans over a restart. virtio_user
    // makes its device itself.
    let tap = spec.starts_with("net_tap");
    let made = tap && host::link::details(name)?.is_none();
    if tap {
        host::link::ensure_tap(name)?;
        match settings.attach {
            Attach::Owned => host::link::own_side(name)?,
            Attach::Bifurcated => host::link::way_back(name)?,
        }
    }
    let open = || -> Result<PortWithQueues, Failure> {
        let id = eal.plug(spec)?;
        let config = PortConfig {
            rx_queues: settings.queues,
            tx_queues: settings.queues,
            rx_desc: descriptors,
            tx_desc: descriptors,
            mtu: settings.mtu,
            ..PortConfig::default()
        };
        let opened = Port::configure(eal, id, &config, pool)?;
        host::link::set_mtu(name, settings.mtu)?;
        host::link::up(name)?;
        Ok(opened)
    };
    open().inspect_err(|_| {
        if made {
            // A start that fails leaves nothing behind; the failure itself is what is told.
            let _ = host::link::delete(name);
        }
    })
}

impl OpenPort {
    fn identity(&self) -> PortIdentity {
        PortIdentity {
            name: self.name.clone(),
            mac: self.port.mac(),
            mtu: self.port.mtu(),
            driver: self.port.driver().to_owned(),
            exception: self.exception_name.clone(),
            bond: self.bond.map_or("", profile::BondMode::name).to_owned(),
            members: self.port.members().into_iter().map(|member| member.name).collect(),
            vlan: 0,
        }
    }

    /// Who its subinterfaces are, with their numbers.
    fn subinterfaces(&self) -> impl Iterator<Item = (usize, PortIdentity)> {
        self.subinterfaces.iter().map(|(of, tap)| {
            let identity = PortIdentity {
                driver: tap.driver().to_owned(),
                exception: of.exception.clone(),
                vlan: of.vlan,
                ..self.identity()
            };
            (of.index, identity)
        })
    }

    /// Whether the interface of this number, the port of number `own` or a subinterface of it, is here.
    pub fn has(&self, own: usize, interface: u16) -> bool {
        let interface = usize::from(interface);
        interface == own || self.subinterfaces.iter().any(|(of, _)| of.index == interface)
    }

    /// The kernel keeps the port, and a program steers.
    pub fn is_steered(&self) -> bool {
        self.steering.is_some()
    }

    /// Makes these the rules of the program. What fails is told once, and tried again with the next call.
    pub fn set_rules(&mut self, rules: &Rules) {
        let Some(steering) = &mut self.steering else { return };
        match steering.set(rules) {
            Ok(_) => self.filters_ok = true,
            Err(error) => {
                if self.filters_ok {
                    warn!(port = self.name, %error, "requests to a virtual address are not steered");
                }
                self.filters_ok = false;
            }
        }
    }

    /// Sets the virtual MACs that the port lets in, for a generation of the snapshot.
    pub fn set_filters(&mut self, wanted: BTreeSet<[u8; 6]>, instance: u64, generation: u64) {
        self.filters_of = (instance, generation);
        if self.is_steered() {
            // The kernel filters for its macvlans itself, and the rules are set.
            return;
        }
        self.filters_ok = true;
        for mac in self.filters.difference(&wanted) {
            if let Err(error) = self.port.remove_mac(*mac) {
                debug!(%error, "a MAC filter that is no longer needed stays");
            }
        }
        for mac in wanted.difference(&self.filters.clone()) {
            if let Err(error) = self.port.add_mac(*mac) {
                warn!(%error, "frames to a virtual MAC may not come in");
                self.filters_ok = false;
            }
        }
        self.filters = wanted;
    }

    /// How it is now.
    pub fn status(&mut self) -> PortStatus {
        let link = self.port.link();
        let stats = self.more.iter().fold(self.port.stats(), |sum, port| sum + port.stats());
        let lost = self.exception.as_ref().map_or(0, |exception| exception.stats().rx_nombuf);
        PortStatus {
            link_up: link.up,
            speed_mbps: link.speed_mbps,
            promisc_forced: self.port.promisc_forced(),
            filter_instance: self.filters_of.0,
            filter_generation: self.filters_of.1,
            filter_ok: self.filters_ok,
            ipackets: stats.ipackets,
            opackets: stats.opackets,
            ibytes: stats.ibytes,
            obytes: stats.obytes,
            imissed: stats.imissed,
            ierrors: stats.ierrors,
            oerrors: stats.oerrors,
            rx_nombuf: stats.rx_nombuf + lost,
            queues: self.queues,
            shared: self.shared(),
            members: members_of(&self.port, &self.name, &mut self.members),
        }
    }

    /// How the kernel shares the port, with the programs' counts.
    fn shared(&mut self) -> Option<Shared> {
        let steering = self.steering.as_ref()?;
        match steering.counts() {
            Ok(counts) => self.counts = counts,
            // They stay what they were, which shows; rules are refused for the same reason, and that is told.
            Err(error) => debug!(port = self.name, %error, "the programs' counters cannot be read"),
        }
        let attachment = steering.attachment();
        let by = match attachment.map(|attachment| attachment.mode) {
            None => SharedBy::FlowRules,
            Some(Mode::Unknown) => SharedBy::Xdp,
            Some(Mode::Native) => SharedBy::XdpNative,
            Some(Mode::Generic) => SharedBy::XdpGeneric,
            Some(Mode::Offloaded) => SharedBy::XdpOffloaded,
        };
        let Counts { fenced, steered, passed, unserved, fenced_out } = self.counts;
        Some(Shared {
            by,
            program: attachment.unwrap_or_default().program,
            copying: self.sockets.copying as u16,
            zero_copy: self.sockets.zero_copy as u16,
            egress_fence: self.egress.is_some(),
            steered,
            passed,
            unserved,
            fenced,
            fenced_out,
        })
    }
}

/// Who the ports are, for usherd, and behind them their subinterfaces.
pub fn identities(open: &[OpenPort]) -> Vec<PortIdentity> {
    let ports = open.iter().map(OpenPort::identity);
    ports.chain(open.iter().flat_map(OpenPort::subinterfaces).map(|(_, identity)| identity)).collect()
}

/// Tells how all ports are, and what was counted before the workers: frames that the kernel's programs ended have reasons
/// like any other.
pub fn tell(feedback: &Feedback, open: &mut [OpenPort]) {
    let mut sum = Shared::default();
    for (index, port) in open.iter_mut().enumerate() {
        let status = port.status();
        feedback.set_port(index, &status);
        for (of, tap) in &port.subinterfaces {
            feedback.set_port(of.index, &of_vlan(&status, &tap.stats()));
        }
        let shared = status.shared.unwrap_or_default();
        sum.fenced += shared.fenced;
        sum.fenced_out += shared.fenced_out;
        sum.unserved += shared.unserved;
    }
    feedback.set_outside(Reason::Fenced.index(), sum.fenced);
    feedback.set_outside(Reason::FencedOut.index(), sum.fenced_out);
    feedback.set_outside(Reason::NoSocket.index(), sum.unserved);
}

/// A subinterface has the link and the filters of its port; what it counts is what its exception device sent and received.
fn of_vlan(port: &PortStatus, tap: &PortStats) -> PortStatus {
    PortStatus {
        ipackets: tap.opackets,
        opackets: tap.ipackets,
        ibytes: tap.obytes,
        obytes: tap.ibytes,
        imissed: 0,
        ierrors: 0,
        oerrors: tap.oerrors,
        rx_nombuf: tap.rx_nombuf,
        ..*port
    }
}
