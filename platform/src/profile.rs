//! The platform profile: what the machine is and how the data plane uses it, in TOML.
//!
//! Every key has a default save `interface` and `device` (or `bond`) of a port. An unknown key, a value out of range or a
//! contradiction ends in one message with file, line and column.

mod bond;
mod eal_args;
mod error;
mod port;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

pub use bond::{Bond, BondMode, MAX_MEMBERS};
pub use eal_args::EalArg;
pub use error::ProfileError;
pub(crate) use port::is_kernel_name;
pub use port::{Attach, Device, ExceptionKind, PortProfile, Promiscuous, VLAN_DESCRIPTORS};

/// Ports that a profile may have: the data plane's limit.
pub const MAX_PORTS: usize = 16;
/// Ports that DPDK has room for (RTE_MAX_ETHPORTS); exception devices and members of bonds are ports too.
pub const MAX_DEVICES: usize = 32;
/// The longest sleep of a worker with a port in LACP: the driver wants to be called every 100 ms.
const LACP_IDLE_MAX_US: u64 = 50_000;
/// A profile is some kilobytes; what is larger is another kind of file.
const MAX_BYTES: u64 = 256 * 1024;

/// A validated profile.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name, for `show`; the file's when absent.
    #[serde(default)]
    pub name: String,
    /// How DPDK's environment starts.
    #[serde(default)]
    pub eal: EalProfile,
    /// The threads that forward.
    #[serde(default)]
    pub worker: WorkerProfile,
    /// The buffers.
    #[serde(default)]
    pub mempool: MempoolProfile,
    /// The ports, in the order of their numbers.
    #[serde(default)]
    pub port: Vec<PortProfile>,
    /// What may pass to the kernel.
    #[serde(default)]
    pub police: PoliceProfile,
    /// Requests in two fragments.
    #[serde(default)]
    pub reassembly: ReassemblyProfile,
    /// Answers a source prefix may have.
    #[serde(default)]
    pub answer_limit: AnswerLimitProfile,
}

/// A VLAN of a port with an exception device of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subinterface {
    /// Its number among the ports: those of all subinterfaces follow those of the ports.
    pub index: usize,
    /// The number of its port.
    pub port: usize,
    /// The VLAN, 1 to 4094.
    pub vlan: u16,
    /// The kernel's name of the exception device.
    pub exception: String,
}

/// `[eal]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct EalProfile {
    /// Packet memory in hugepages. Without them no NIC works, only software devices.
    pub huge: bool,
    /// Packet memory, MiB, 16 to 1048576; reserved at the start.
    #[serde(deserialize_with = "within::<_, _, 16, 1_048_576>")]
    pub memory_mib: u32,
    /// Name of this instance among DPDK processes; one of its own when empty.
    #[serde(deserialize_with = "file_prefix")]
    pub file_prefix: String,
    /// Probe all PCI devices bound to a DPDK driver, beside those that ports name.
    pub pci: bool,
}

/// `[worker]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerProfile {
    /// Where workers run.
    pub cores: Cores,
    /// Frames received at once, 1 to 64. NIC drivers want a multiple of 8.
    #[serde(deserialize_with = "within::<_, _, 1, 64>")]
    pub burst: usize,
    /// What a worker does when nothing arrives.
    pub idle: Idle,
    /// The longest sleep of `idle = "adaptive"`, microseconds, 1 to 100000.
    #[serde(deserialize_with = "within::<_, _, 1, 100_000>")]
    pub idle_max_us: u64,
    /// Time each stage of the packet path (`show dataplane stages`); costs each frame some 100 cycles.
    pub stages: bool,
}

/// Where workers run.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Cores {
    /// One core a receive queue, on the NUMA node of its port, as long as cores last.
    #[default]
    Auto,
    /// One worker on each of these cores.
    List(Vec<usize>),
}

/// What a worker does when nothing arrives.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Poll on: least latency, a whole core.
    #[default]
    Spin,
    /// Sleep longer and longer, up to `idle_max_us`.
    Adaptive,
}

/// `[mempool]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct MempoolProfile {
    /// Buffers for each port (its exception device included), 512 to 4194304; 2^n - 1 wastes no memory.
    #[serde(deserialize_with = "within::<_, _, 512, 4_194_304>")]
    pub mbufs: u32,
    /// Bytes of a buffer, 128 of headroom included, 2048 to 16384.
    #[serde(deserialize_with = "within::<_, _, 2048, 16_384>")]
    pub data_room: u16,
    /// Buffers that each worker keeps at hand, 0 to 512.
    #[serde(deserialize_with = "within::<_, _, 0, 512>")]
    pub cache: u32,
}

/// `[police]`: what passes to the kernel, each class by itself.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct PoliceProfile {
    /// HSRP with the right group, port and TTL.
    pub hsrp: Meter,
    /// Cluster load balancing from members.
    pub clb: Meter,
    /// ARP and neighbour discovery.
    pub arp_nd: Meter,
    /// IKE requests to virtual addresses that the data plane does not answer.
    pub ike: Meter,
    /// Later messages and ESP of sessions on a virtual address.
    pub session: Meter,
    /// Anything else to a virtual address.
    pub vip_other: Meter,
    /// Everything else.
    pub rest: Meter,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// Packets a second, up to 100 million; 0: not metered.
    #[serde(deserialize_with = "within::<_, _, 0, 100_000_000>")]
    pub rate: u64,
    /// Packets at once, 1 to a million; a tenth of the rate, at least 32, when absent.
    #[serde(default, deserialize_with = "burst")]
    pub burst: Option<u64>,
}

impl Meter {
    const fn new(rate: u64, burst: u64) -> Meter {
        Meter { rate, burst: Some(burst) }
    }

    /// Packets at once.
    pub fn burst(&self) -> u64 {
        self.burst.unwrap_or((self.rate / 10).max(32))
    }
}

/// `[reassembly]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ReassemblyProfile {
    /// Datagrams in the making for each worker, 1 to 4096.
    #[serde(deserialize_with = "within::<_, _, 1, 4096>")]
    pub entries: usize,
    /// How long a first fragment waits, milliseconds, 10 to 5000.
    #[serde(deserialize_with = "within::<_, _, 10, 5000>")]
    pub timeout_ms: u64,
}

/// `[answer_limit]`: off unless `rate` is set.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerLimitProfile {
    /// Answers a second for a source prefix, up to 10 million; 0: no limit.
    #[serde(deserialize_with = "within::<_, _, 0, 10_000_000>")]
    pub rate: u64,
    /// Answers at once, 1 to a million.
    #[serde(deserialize_with = "within::<_, _, 1, 1_000_000>")]
    pub burst: u64,
    /// Bits of an IPv4 source prefix, 8 to 32.
    #[serde(deserialize_with = "within::<_, _, 8, 32>")]
    pub v4_prefix: u8,
    /// Bits of an IPv6 source prefix, 16 to 128.
    #[serde(deserialize_with = "within::<_, _, 16, 128>")]
    pub v6_prefix: u8,
}

impl Default for EalProfile {
    fn default() -> Self {
        EalProfile { huge: true, memory_mib: 256, file_prefix: String::new(), pci: false }
    }
}

impl Default for WorkerProfile {
    fn default() -> Self {
        WorkerProfile { cores: Cores::Auto, burst: 32, idle: Idle::Spin, idle_max_us: 500, stages: false }
    }
}

impl Default for MempoolProfile {
    fn default() -> Self {
        MempoolProfile { mbufs: 8191, data_room: 2176, cache: 250 }
    }
}

impl Default for PoliceProfile {
    fn default() -> Self {
        PoliceProfile {
            hsrp: Meter::new(2_000, 200),
            clb: Meter::new(20_000, 2_000),
            arp_nd: Meter::new(5_000, 500),
            ike: Meter::new(5_000, 500),
            session: Meter::new(100_000, 4_096),
            vip_other: Meter::new(2_000, 200),
            rest: Meter::new(0, 1),
        }
    }
}

impl Default for ReassemblyProfile {
    fn default() -> Self {
        ReassemblyProfile { entries: 64, timeout_ms: 500 }
    }
}

impl Default for AnswerLimitProfile {
    fn default() -> Self {
        AnswerLimitProfile { rate: 0, burst: 32, v4_prefix: 24, v6_prefix: 56 }
    }
}

impl Profile {
    /// Reads and checks a profile.
    ///
    /// # Errors
    /// The file cannot be read, or it is wrong: the message has file, line, column and what to write instead.
    pub fn load(path: impl AsRef<Path>) -> Result<Profile, ProfileError> {
        let path = path.as_ref();
        let unreadable =
            |source: std::io::Error| ProfileError::Read { path: path.to_owned(), reason: source.to_string() };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(ProfileError::Read {
                path: path.to_owned(),
                reason: format!("not a regular file of at most {MAX_BYTES} bytes"),
            });
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Profile::parse(&text, path)
    }

    /// Checks the text of a profile; `path` stands in messages.
    ///
    /// # Errors
    /// As [`Profile::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Profile, ProfileError> {
        let mut profile: Profile =
            toml::from_str(text).map_err(|err| ProfileError::from_toml(&err, text, path))?;
        if profile.name.is_empty() {
            profile.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        for (index, port) in profile.port.iter_mut().enumerate() {
            port.exception.get_or_insert_with(|| format!("exc{index}"));
        }
        profile
            .check()
            .map_err(|message| ProfileError::Contradiction { path: PathBuf::from(path), message })?;
        Ok(profile)
    }

    /// What no single key can be blamed for.
    fn check(&self) -> Result<(), String> {
        if self.port.len() > MAX_PORTS {
            return Err(format!("{} ports are more than {MAX_PORTS}: remove some [[port]]", self.port.len()));
        }
        unique("interface", self.port.iter().map(|port| port.interface.clone()))?;
        self.devices_once()?;
        let ports: usize = self.port.iter().map(PortProfile::dpdk_ports).sum();
        if ports > MAX_DEVICES {
            return Err(format!(
                "ports, members of bonds, bonds and exception devices (also those of VLANs) are {ports}, DPDK has room for {MAX_DEVICES}: \
                 remove some"
            ));
        }
        unique("exception", self.port.iter().filter_map(PortProfile::exception).map(str::to_owned))?;
        for of in self.subinterfaces() {
            if self.port.iter().any(|port| port.exception() == Some(&of.exception)) {
                return Err(format!(
                    "exception {:?} is what the exception device of VLAN {} of port {} is named: choose another name",
                    of.exception, of.vlan, self.port[of.port].interface
                ));
            }
        }
        if u64::from(self.mempool.cache) * 3 > u64::from(self.mempool.mbufs) * 2 {
            return Err(format!(
                "[mempool] cache {} is more than two thirds of {} mbufs: lower cache or raise mbufs",
                self.mempool.cache, self.mempool.mbufs
            ));
        }
        for port in &self.port {
            port.check(self.eal.huge, self.mempool.mbufs)?;
        }
        let lacp = |port: &&PortProfile| port.bond().is_some_and(|bond| bond.mode == BondMode::Lacp);
        if let Some(port) = self.port.iter().find(lacp)
            && self.worker.idle == Idle::Adaptive
            && self.worker.idle_max_us > LACP_IDLE_MAX_US
        {
            return Err(format!(
                "port {}: LACP wants its worker every 100 ms, [worker] has idle_max_us = {}: write at most {LACP_IDLE_MAX_US}, or \
                 idle = \"spin\"",
                port.interface, self.worker.idle_max_us
            ));
        }
        let needed = self.buffer_mib();
        if needed > u64::from(self.eal.memory_mib) {
            return Err(format!(
                "{} mbufs for each of {} port(s) need {needed} MiB, [eal] has memory_mib = {}: raise memory_mib or lower mbufs",
                self.mempool.mbufs,
                self.port.len().max(1),
                self.eal.memory_mib
            ));
        }
        Ok(())
    }

    /// Every device once, as a port's or as a bond's member, and none under the name of an exception device.
    fn devices_once(&self) -> Result<(), String> {
        let mut seen: Vec<(String, &PortProfile)> = Vec::new();
        for (port, device) in
            self.port.iter().flat_map(|port| port.devices().iter().map(move |of| (port, of)))
        {
            let name = match device {
                Device::Vdev(_) => device.name().to_ascii_lowercase(),
                other => other.to_string().to_ascii_lowercase(),
            };
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                let (first, second) = (&first.interface, &port.interface);
                return Err(if first == second {
                    format!("port {first}: device {name:?} stands in its bond twice: name each member once")
                } else {
                    format!("device {name:?} belongs to port {first} and to port {second}: name each once")
                });
            }
            seen.push((name, port));
        }
        for (index, port) in self.port.iter().enumerate().filter(|(_, port)| port.exception().is_some()) {
            let own = [format!("net_tap{index}"), format!("virtio_user{index}")];
            if let Some((name, of)) = seen.iter().find(|(name, _)| own.contains(name)) {
                return Err(format!(
                    "port {}: device {name:?} has the name of the exception device of port {}: number it from {MAX_PORTS} on",
                    of.interface, port.interface
                ));
            }
        }
        Ok(())
    }

    /// The subinterfaces of all ports, in the order of their numbers.
    pub fn subinterfaces(&self) -> impl Iterator<Item = Subinterface> {
        let of = |(port, of): (usize, &PortProfile)| -> Vec<(usize, u16, String)> {
            of.vlans.iter().filter_map(|vlan| Some((port, *vlan, of.vlan_exception(*vlan)?))).collect()
        };
        let first = self.port.len();
        self.port.iter().enumerate().flat_map(of).enumerate().map(move |(at, (port, vlan, exception))| {
            Subinterface { index: first + at, port, vlan, exception }
        })
    }

    /// MiB that the buffers of all ports take.
    pub fn buffer_mib(&self) -> u64 {
        // What an mbuf costs beside its data: its header, the object header, and rounding.
        let mbuf = u64::from(self.mempool.data_room) + 256;
        let pools = self.port.len().max(1) as u64 * u64::from(self.mempool.mbufs) * mbuf;
        // The bonding driver makes a pool for the LACPDUs of each member, and ends the process when it finds no room.
        let lacpdus = |port: &PortProfile| match port.bond() {
            Some(Bond { mode: BondMode::Lacp, members }) => {
                members.len() as u64 * (u64::from(port.queues) * u64::from(port.tx_descriptors) + 64) * 512
            }
            _ => 0,
        };
        (pools + self.port.iter().map(lacpdus).sum::<u64>()).div_ceil(1 << 20)
    }

    /// MiB of packet memory on each NUMA node, by the ports on each; one entry where there is one node.
    pub fn memory_by_node(&self, node_ports: &[usize]) -> Vec<u64> {
        let (memory, ports) = (u64::from(self.eal.memory_mib), node_ports.iter().sum::<usize>() as u64);
        if node_ports.len() < 2 || ports == 0 {
            return vec![memory];
        }
        node_ports.iter().map(|count| (memory * *count as u64).div_ceil(ports)).collect()
    }
}

fn unique(key: &str, values: impl Iterator<Item = String>) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for (index, value) in values.enumerate() {
        if let Some(first) = seen.insert(value.to_ascii_lowercase(), index) {
            return Err(format!(
                "{key} {value:?} stands in [[port]] {} and {}: name each once",
                first + 1,
                index + 1
            ));
        }
    }
    Ok(())
}

/// An integer from MIN to MAX; the parser adds line and column.
fn within<'de, D: Deserializer<'de>, T: TryFrom<i64>, const MIN: i64, const MAX: i64>(
    from: D,
) -> Result<T, D::Error> {
    let value = i64::deserialize(from)?;
    let fitting = if (MIN..=MAX).contains(&value) { T::try_from(value).ok() } else { None };
    fitting.ok_or_else(|| de::Error::custom(format!("{value} is out of range: choose {MIN} to {MAX}")))
}

fn burst<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    within::<D, u64, 1, 1_000_000>(from).map(Some)
}

fn file_prefix<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if text.len() > 32 || !plain {
        return Err(de::Error::custom(format!(
            "file_prefix {text:?}: choose at most 32 letters, digits, `_` or `-`"
        )));
    }
    Ok(text)
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Cores, D::Error> {
        struct CoresVisitor;

        impl<'de> Visitor<'de> for CoresVisitor {
            type Value = Cores;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a list of core numbers like [1, 2]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cores, E> {
                match text {
                    "auto" => Ok(Cores::Auto),
                    other => Err(E::custom(format!("cores {other:?}: write \"auto\" or a list like [1, 2]"))),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Cores, A::Error> {
                let mut list = Vec::new();
                while let Some(core) = seq.next_element::<i64>()? {
                    let core = usize::try_from(core).ok().filter(|core| *core < 1024 && !list.contains(core));
                    list.push(core.ok_or_else(|| {
                        de::Error::custom("a core is a number from 0 to 1023 and stands in the list once")
                    })?);
                }
                if list.is_empty() || list.len() > 64 {
                    return Err(de::Error::custom(
                        "the list of cores has 1 to 64 entries: name one or write \"auto\"",
                    ));
                }
                Ok(Cores::List(list))
            }
        }

        from.deserialize_any(CoresVisitor)
    }
}
