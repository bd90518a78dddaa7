//! `[[port]]`: what a port is bound to and how it is used.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::bond::Bond;
use super::within;

/// `[[port]]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct PortProfile {
    /// The name of the configuration: `TenGigabitEthernet0/0/0`.
    #[serde(deserialize_with = "interface")]
    pub interface: String,
    /// What it is bound to: `device`, or several of them in a `bond`.
    #[serde(alias = "bond")]
    pub device: Device,
    /// Who has the port: the data plane alone, or the kernel with it.
    #[serde(default)]
    pub attach: Attach,
    /// Receive queues, 1 to 64; workers share them.
    #[serde(default = "one", deserialize_with = "within::<_, _, 1, 64>")]
    pub queues: u16,
    /// Descriptors of a receive queue, 64 to 32768.
    #[serde(default = "descriptors", deserialize_with = "within::<_, _, 64, 32_768>")]
    pub rx_descriptors: u16,
    /// Descriptors of a transmit queue, 64 to 32768.
    #[serde(default = "descriptors", deserialize_with = "within::<_, _, 64, 32_768>")]
    pub tx_descriptors: u16,
    /// Bytes of the largest IP packet, 1280 (IPv6's least) to 9600.
    #[serde(default = "mtu", deserialize_with = "within::<_, _, 1280, 9600>")]
    pub mtu: u16,
    /// The kernel's name of the exception device; empty: none. When absent, `exc` and the port's number.
    #[serde(default, deserialize_with = "kernel_name", skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// How the exception device is made.
    #[serde(default)]
    pub exception_kind: ExceptionKind,
    /// Spread frames over the queues: whole datagrams by addresses and ports, fragments by addresses.
    #[serde(default = "yes")]
    pub rss: bool,
    /// Have the NIC check IPv4 and UDP checksums where it can; else the worker does.
    #[serde(default = "yes")]
    pub rx_checksum: bool,
    /// NUMA node of the device, 0 to 63; -1: what the system says.
    #[serde(default = "minus_one", deserialize_with = "within::<_, _, -1, 63>")]
    pub numa: i32,
    /// Receive all frames.
    #[serde(default)]
    pub promiscuous: Promiscuous,
    /// The kernel's interface over the device, once [`crate::host::nics::resolve`] has looked; no key.
    #[serde(skip)]
    pub over: Option<String>,
    /// VLANs with a subinterface: each has an exception device of its own, named `EXCEPTION.VLAN`.
    #[serde(default, deserialize_with = "vlans", skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
    #[serde(default, deserialize_with = "refuse_vlan", skip_serializing)]
    vlan: (),
    #[serde(default, deserialize_with = "refuse_vrf", skip_serializing)]
    vrf: (),
}

impl PortProfile {
    /// A port with the default of every other key; without an exception device.
    pub fn new(interface: String, device: Device) -> PortProfile {
        PortProfile {
            interface,
            device,
            attach: Attach::Owned,
            queues: one(),
            rx_descriptors: descriptors(),
            tx_descriptors: descriptors(),
            mtu: mtu(),
            exception: None,
            exception_kind: ExceptionKind::Auto,
            rss: yes(),
            rx_checksum: yes(),
            numa: minus_one(),
            promiscuous: Promiscuous::Auto,
            over: None,
            vlans: Vec::new(),
            vlan: (),
            vrf: (),
        }
    }

    /// The exception device's name, if the port has one.
    pub fn exception(&self) -> Option<&str> {
        self.exception.as_deref().filter(|name| !name.is_empty())
    }

    /// The bond, if the port is one.
    pub fn bond(&self) -> Option<&Bond> {
        match &self.device {
            Device::Bond(bond) => Some(bond),
            _ => None,
        }
    }

    /// The devices that carry the port: a bond's members, or the one there is.
    pub fn devices(&self) -> &[Device] {
        self.bond().map_or(std::slice::from_ref(&self.device), |bond| &bond.members)
    }

    /// DPDK's ports that it takes: its devices, a bond's own, the exception devices.
    pub(super) fn dpdk_ports(&self) -> usize {
        let own = usize::from(self.bond().is_some()) + usize::from(self.exception().is_some());
        self.devices().len() + own + self.vlans.len()
    }

    /// The kernel's name of the exception device of a VLAN.
    pub fn vlan_exception(&self, vlan: u16) -> Option<String> {
        self.exception().map(|exception| format!("{exception}.{vlan}"))
    }

    /// The kernel's interface under the port, where the kernel keeps one.
    pub fn netdev(&self) -> Option<&str> {
        match &self.device {
            Device::Pci(_) => self.over.as_deref(),
            device => device.netdev(),
        }
    }

    /// The kernel's device that carries the interface's addresses and the macvlans of its groups: the exception device
    /// of an owned port, the interface itself of a bifurcated one.
    pub fn kernel_device(&self) -> Option<&str> {
        match self.attach {
            Attach::Owned => self.exception(),
            Attach::Bifurcated => self.netdev(),
        }
    }

    /// What in the keys of this port does not go together.
    pub(super) fn check(&self, huge: bool, mbufs: u32) -> Result<(), String> {
        let port = &self.interface;
        if self.devices().iter().any(Device::is_nic) && !huge {
            return Err(format!(
                "port {port} is a NIC, whose memory must be hugepages: set `huge = true` in [eal]"
            ));
        }
        if self.queues > 1 && !self.rss {
            return Err(format!(
                "port {port} has {} queues and `rss = false`: the first would get everything: set `queues = 1` or remove `rss`",
                self.queues
            ));
        }
        if let Some(by_hand) = self.devices().iter().find(|device| BONDING.contains(&device.driver())) {
            return Err(format!(
                "port {port}: {by_hand} is DPDK's bonding driver: write bond = {{ mode = \"lacp\", members = [...] }} instead"
            ));
        }
        let af_xdp = |device: &&Device| self.bond().is_some() && device.driver() == "net_af_xdp";
        if let Some(member) = self.devices().iter().find(af_xdp) {
            return Err(format!(
                "port {port}: member {member} takes no MAC address of a bond's: name the NIC (`pci:0000:01:00.0`), or bond in the \
                 kernel (`ip link add bond0 type bond mode 802.3ad`) and set device = \"netdev:bond0\""
            ));
        }
        // What the rings of the port and of its exception device (1024 descriptors each way) can hold at once; each member of a
        // bond has rings like these.
        let ring = |rx: u16, tx: u16| u32::from(self.queues) * (u32::from(rx) + u32::from(tx));
        let held = ring(self.rx_descriptors, self.tx_descriptors) * self.devices().len() as u32
            + if self.exception().is_some() { ring(1024, 1024) } else { 0 }
            + self.vlans.len() as u32 * ring(VLAN_DESCRIPTORS, VLAN_DESCRIPTORS);
        if held > mbufs {
            return Err(format!(
                "port {port}: its {} queue(s) and its exception devices' may hold {held} buffers, [mempool] has mbufs = {mbufs}: \
                 raise mbufs or lower queues or descriptors",
                self.queues
            ));
        }
        self.check_vlans()?;
        if self.attach == Attach::Owned {
            return Ok(());
        }
        let shared = matches!(self.device, Device::Netdev(_)) || self.device.driver() == "net_af_xdp";
        let problem = if self.bond().is_some() {
            "a bond of the data plane owns its members: bond them in the kernel (`ip link add bond0 type bond mode 802.3ad`) and \
             set device = \"netdev:bond0\""
                .into()
        } else if !shared {
            format!(
                "{} names no interface of the kernel's to share: set device = \"netdev:NAME\"",
                self.device
            )
        } else if self.exception().is_none() {
            "what is not answered goes back through the exception device: name one in `exception`".into()
        } else if self.exception_kind == ExceptionKind::VirtioUser {
            "what is not answered goes back through a TAP: set exception_kind = \"tap\"".into()
        } else if self.promiscuous == Promiscuous::On {
            "the kernel's own filters decide what comes in: remove `promiscuous`".into()
        } else {
            return Ok(());
        };
        Err(format!("port {port}, attach = \"bifurcated\": {problem}"))
    }

    /// What of the VLANs cannot be.
    fn check_vlans(&self) -> Result<(), String> {
        let (port, Some(vlan)) = (&self.interface, self.vlans.iter().max()) else { return Ok(()) };
        let problem = if self.attach == Attach::Bifurcated {
            "the kernel keeps the port, and its own VLAN devices with it: remove `vlans` and let the switch hand the VLAN of \
             the virtual address over untagged, or set attach = \"owned\""
                .to_owned()
        } else if self.devices().iter().any(|device| device.driver() == "net_af_packet") {
            "net_af_packet hands frames over without their tags: bind the port by net_af_xdp".to_owned()
        } else {
            match self.vlan_exception(*vlan) {
                None => "each VLAN's exception device is named after the port's: name one in `exception`"
                    .to_owned(),
                Some(name) if !is_kernel_name(&name) => {
                    format!(
                        "{name:?}, the exception device of a VLAN, has more than 15 characters: shorten `exception`"
                    )
                }
                Some(_) => return Ok(()),
            }
        };
        Err(format!("port {port}, vlans: {problem}"))
    }
}

/// Descriptors of a queue of a VLAN's exception device, each way.
pub const VLAN_DESCRIPTORS: u16 = 256;

/// Who has a port.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// DPDK has it; the kernel sees the rest through the exception device.
    #[default]
    Owned,
    /// The kernel keeps it; only what may be answered is steered to the data plane, and what it does not answer goes back
    /// through the exception device. AF_XDP with our own XDP program, or rte_flow on mlx5.
    Bifurcated,
}

/// What a port is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// `vdev:NAME,ARGS`: a software device of DPDK.
    Vdev(String),
    /// `pci:0000:03:00.0`: a NIC.
    Pci(String),
    /// `driver:i40e/0`: the NIC of this number among those of a driver, in the order of their addresses.
    Family {
        /// The kernel's name of the driver, whichever is bound now.
        driver: String,
        /// From 0.
        index: usize,
    },
    /// `netdev:eth1`: an interface that the kernel keeps: AF_XDP, or its NIC where the driver shares it (mlx5).
    Netdev(String),
    /// `bond = { mode = "lacp", members = [...] }`: none of the others, but several of them.
    Bond(Bond),
}

/// DPDK's names for its bonding driver.
const BONDING: [&str; 2] = ["net_bonding", "eth_bond"];

impl Device {
    /// The name under which DPDK lists the device: what stands before the first comma.
    pub fn name(&self) -> &str {
        match self {
            Device::Vdev(spec) => spec.split(',').next().unwrap_or_default(),
            Device::Pci(address) => address,
            Device::Family { driver, .. } => driver,
            Device::Netdev(name) => name,
            Device::Bond(_) => "bond",
        }
    }

    /// A NIC on the PCI bus.
    pub fn is_nic(&self) -> bool {
        matches!(self, Device::Pci(_) | Device::Family { .. })
    }

    /// The kernel's interface that the device is opened through.
    pub fn netdev(&self) -> Option<&str> {
        match self {
            Device::Netdev(name) => Some(name),
            Device::Vdev(_) if matches!(self.driver(), "net_af_xdp" | "net_af_packet") => self.arg("iface"),
            _ => None,
        }
    }

    /// The driver of a vdev: its name without the number.
    pub fn driver(&self) -> &str {
        self.name().trim_end_matches(|c: char| c.is_ascii_digit())
    }

    /// The value of an argument of a vdev (`iface`, `rx_pcap`, `path`).
    pub fn arg(&self, key: &str) -> Option<&str> {
        match self {
            Device::Vdev(spec) => {
                spec.split(',').skip(1).find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='))
            }
            _ => None,
        }
    }
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        let word = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        let device = match text.split_once(':') {
            Some(("vdev", spec)) => {
                let name = spec.split(',').next().unwrap_or_default();
                let named = word(name) && name.starts_with(|c: char| c.is_ascii_alphabetic());
                (named && spec.chars().all(|c| c.is_ascii_graphic())).then(|| Device::Vdev(spec.to_owned()))
            }
            Some(("pci", address)) => {
                is_pci_address(address).then(|| Device::Pci(address.to_ascii_lowercase()))
            }
            Some(("driver", of)) => of.split_once('/').and_then(|(driver, index)| {
                let index = index.parse().ok().filter(|index| *index < super::MAX_PORTS)?;
                word(driver).then(|| Device::Family { driver: driver.to_owned(), index })
            }),
            Some(("netdev", name)) => is_kernel_name(name).then(|| Device::Netdev(name.to_owned())),
            _ => None,
        };
        device.ok_or_else(|| {
            format!(
                "device {text:?} is none of `pci:DOMAIN:BUS:SLOT.FUNCTION` (`pci:0000:03:00.0`), `driver:NAME/NUMBER` \
                 (`driver:i40e/0`), `netdev:NAME` (`netdev:eth1`), `vdev:NAME,ARGUMENT=VALUE,...` \
                 (`vdev:net_af_xdp0,iface=v0`)"
            )
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Vdev(spec) => write!(f, "vdev:{spec}"),
            Device::Pci(address) => write!(f, "pci:{address}"),
            Device::Family { driver, index } => write!(f, "driver:{driver}/{index}"),
            Device::Netdev(name) => write!(f, "netdev:{name}"),
            Device::Bond(bond) => bond.fmt(f),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Device::Bond(bond) => bond.serialize(to),
            device => to.collect_str(device),
        }
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Device, D::Error> {
        struct DeviceVisitor;

        impl<'de> Visitor<'de> for DeviceVisitor {
            type Value = Device;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a device like \"pci:0000:03:00.0\" or a bond like { mode = \"lacp\", members = [\"pci:0000:01:00.0\", \
                     \"pci:0000:01:00.1\"] }",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Device, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Device, A::Error> {
                Bond::deserialize(de::value::MapAccessDeserializer::new(map)).map(Device::Bond)
            }
        }

        from.deserialize_any(DeviceVisitor)
    }
}

/// How an exception device is made.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ExceptionKind {
    /// virtio_user where there is /dev/vhost-net and the port is an owned NIC, else tap.
    #[default]
    Auto,
    /// net_tap attached to a persistent TAP.
    Tap,
    /// virtio_user over /dev/vhost-net: faster; the device goes with the process.
    VirtioUser,
}

/// When a port receives all frames.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Promiscuous {
    /// When the device cannot filter by the virtual MAC addresses.
    #[default]
    Auto,
    /// Always.
    On,
}

pub(super) fn is_pci_address(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let hex = |part: &str, len| part.len() == len && part.chars().all(|c| c.is_ascii_hexdigit());
    matches!(parts.as_slice(), [domain, bus, slot, function]
        if hex(domain, 4) && hex(bus, 2) && hex(slot, 2) && hex(function, 1))
        && text.as_bytes().get(10) == Some(&b'.')
}

fn one() -> u16 {
    1
}
fn descriptors() -> u16 {
    1024
}
fn mtu() -> u16 {
    1500
}
fn minus_one() -> i32 {
    -1
}
fn yes() -> bool {
    true
}

fn interface<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if let Some((port, vlan)) = text.split_once('.') {
        return Err(de::Error::custom(format!(
            "interface {text:?} is a subinterface: name its port, interface = {port:?}, and list its VLAN: vlans = [{vlan}]"
        )));
    }
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | ' '));
    if text.is_empty() || text.len() > 48 || !plain {
        return Err(de::Error::custom(format!(
            "interface {text:?} is no interface name: write one like TenGigabitEthernet0/0/0"
        )));
    }
    Ok(text)
}

fn vlans<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u16>, D::Error> {
    let mut list = Vec::new();
    for vlan in Vec::<i64>::deserialize(from)? {
        let vlan = u16::try_from(vlan).ok().filter(|vlan| (1..=4094).contains(vlan) && !list.contains(vlan));
        list.push(vlan.ok_or_else(|| {
            de::Error::custom("a VLAN is a number from 1 to 4094 and stands in the list once")
        })?);
    }
    Ok(list)
}

fn kernel_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    if !text.is_empty() && !is_kernel_name(&text) {
        return Err(de::Error::custom(format!(
            "{text:?} is no name the kernel takes: choose 1 to 15 letters, digits, `_`, `-` or `.`"
        )));
    }
    Ok(Some(text))
}

/// A network device name that the kernel takes and that needs no quoting anywhere.
pub(crate) fn is_kernel_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Keys that headends have and that are not proven here: they are refused, not ignored.
fn refuse<'de, D: Deserializer<'de>>(from: D, instead: &str) -> Result<(), D::Error> {
    de::IgnoredAny::deserialize(from)?;
    Err(de::Error::custom(instead))
}

fn refuse_vlan<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    refuse(from, "`vlan` is no key: list the VLANs that have a subinterface, `vlans = [100, 200]`")
}

fn refuse_vrf<'de, D: Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    refuse(
        from,
        "VRFs are not proven in this release: leave the exception device in the main table, or run this node's \
         processes in a network namespace of their own",
    )
}
