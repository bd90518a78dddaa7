//! The NICs of the machine and the families that profiles name, as /sys tells them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::HostError;
use crate::profile::{Device, PortProfile, Profile};

/// A family of NICs: those of one driver.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The kernel's driver, by which profiles name it (`driver:i40e/0`).
    pub driver: &'static str,
    /// What its NICs are called.
    pub models: &'static str,
    vendor: u16,
    devices: &'static [u16],
    /// DPDK works beside the kernel's driver: no vfio, and the kernel keeps its interface.
    pub shares: bool,
    /// Mbit/s that a port of it usually has, for one whose link is not known.
    pub usual_mbps: u32,
}

/// The families that profiles ship for.
pub const FAMILIES: &[Family] = &[
    Family {
        driver: "ixgbe",
        models: "Intel 82599, X540, X550",
        vendor: 0x8086,
        devices: &[
            0x10f7, 0x10f8, 0x10f9, 0x10fb, 0x10fc, 0x1507, 0x1514, 0x1517, 0x151c, 0x1528, 0x154a, 0x154d,
            0x1557, 0x1558, 0x1560, 0x1563, 0x15ab, 0x15ac, 0x15ad, 0x15ae, 0x15b0, 0x15c2, 0x15c4, 0x15c8,
            0x15ce, 0x15d1,
        ],
        shares: false,
        usual_mbps: 10_000,
    },
    Family {
        driver: "i40e",
        models: "Intel X710, XL710, XXV710, X722",
        vendor: 0x8086,
        devices: &[
            0x104e, 0x104f, 0x1572, 0x1580, 0x1581, 0x1583, 0x1584, 0x1585, 0x1586, 0x1587, 0x1588, 0x1589,
            0x158a, 0x158b, 0x15ff, 0x37ce, 0x37cf, 0x37d0, 0x37d1, 0x37d2, 0x37d3,
        ],
        shares: false,
        usual_mbps: 10_000,
    },
    Family {
        driver: "ice",
        models: "Intel E810",
        vendor: 0x8086,
        devices: &[0x1591, 0x1592, 0x1593, 0x1599, 0x159a, 0x159b],
        shares: false,
        usual_mbps: 25_000,
    },
    Family {
        driver: "mlx5_core",
        models: "NVIDIA ConnectX-4 to -7, BlueField",
        vendor: 0x15b3,
        devices: &[
            0x1013, 0x1014, 0x1015, 0x1016, 0x1017, 0x1018, 0x1019, 0x101a, 0x101b, 0x101c, 0x101d, 0x101e,
            0x101f, 0x1021, 0xa2d2, 0xa2d6, 0xa2dc,
        ],
        shares: true,
        usual_mbps: 100_000,
    },
    Family {
        driver: "virtio-pci",
        models: "virtio of a virtual machine",
        vendor: 0x1af4,
        devices: &[0x1000, 0x1041],
        shares: false,
        usual_mbps: 1_000,
    },
    Family {
        driver: "vmxnet3",
        models: "VMware vmxnet3",
        vendor: 0x15ad,
        devices: &[0x07b0],
        shares: false,
        usual_mbps: 1_000,
    },
];

/// A NIC's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// `0000:03:00.0`
    pub address: String,
    /// PCI vendor and device.
    pub id: (u16, u16),
    /// The NUMA node, where the system knows it.
    pub node: Option<usize>,
    /// The driver bound now.
    pub driver: Option<String>,
    /// It has an IOMMU group.
    pub iommu: bool,
    /// The kernel's interface, while the kernel has it.
    pub netdev: Option<String>,
    /// Mbit/s of the link; None when it is down or DPDK has it.
    pub speed_mbps: Option<u32>,
}

impl Nic {
    /// Its family; None for a NIC that no profile ships for.
    pub fn family(&self) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.vendor == self.id.0 && family.devices.contains(&self.id.1))
    }
}

/// Where the PCI devices are.
pub(super) fn pci(root: &Path) -> PathBuf {
    root.join("sys/bus/pci/devices")
}

/// The Ethernet functions on the PCI bus, in the order of their addresses.
pub fn all(root: &Path) -> Vec<Nic> {
    let text = |path: PathBuf| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let hex = |path: PathBuf| u32::from_str_radix(text(path)?.trim_start_matches("0x"), 16).ok();
    let mut nics: Vec<Nic> = fs::read_dir(pci(root))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let dir = entry.path();
            // Base class 02, network; subclass 00, Ethernet.
            if hex(dir.join("class"))? >> 8 != 0x0200 {
                return None;
            }
            let netdev = netdev_of(&dir);
            let speed = netdev.as_ref().and_then(|name| text(netdevs(root).join(name).join("speed")));
            Some(Nic {
                address: entry.file_name().to_str()?.to_owned(),
                id: (hex(dir.join("vendor"))? as u16, hex(dir.join("device"))? as u16),
                node: text(dir.join("numa_node")).and_then(|node| node.parse::<i64>().ok()?.try_into().ok()),
                driver: driver_of(&dir),
                iommu: dir.join("iommu_group").exists(),
                netdev,
                speed_mbps: speed.and_then(|speed| speed.parse::<i64>().ok()?.try_into().ok()),
            })
        })
        .collect();
    nics.sort_by(|a, b| a.address.cmp(&b.address));
    nics
}

/// Where the kernel's interfaces are.
pub(super) fn netdevs(root: &Path) -> PathBuf {
    root.join("sys/class/net")
}

/// The driver that a device is bound to.
pub(super) fn driver_of(device: &Path) -> Option<String> {
    let link = fs::read_link(device.join("driver")).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

/// virtio's interface stands one device below.
fn netdev_of(device: &Path) -> Option<String> {
    let first = |dir: PathBuf| -> Option<String> {
        fs::read_dir(dir).ok()?.flatten().next()?.file_name().into_string().ok()
    };
    let below = fs::read_dir(device).ok()?.flatten().map(|entry| entry.file_name());
    let virtio = below.filter_map(|name| name.into_string().ok()).find(|name| name.starts_with("virtio"));
    first(device.join("net")).or_else(|| first(device.join(virtio?).join("net")))
}

/// Puts into each port the device that its `driver:` or `netdev:` means on this machine: a PCI address, or AF_XDP over
/// the interface. A port that names none stays as it is. Members of bonds likewise.
///
/// # Errors
/// One for each device that is not there or that two have.
pub fn resolve(profile: &mut Profile, root: &Path) -> Vec<HostError> {
    let (nics, mut errors) = (all(root), Vec::new());
    for (number, port) in profile.port.iter_mut().enumerate() {
        let interface = port.interface.clone();
        let mut family = |device: &mut Device| {
            let Device::Family { driver, index } = &*device else { return None };
            match of_family(&nics, driver, *index) {
                Ok(nic) => {
                    *device = Device::Pci(nic.address.clone());
                    Some(nic)
                }
                Err((problem, remedy)) => {
                    errors.push(HostError::Device {
                        user: format!("port {interface}"),
                        device: device.to_string(),
                        problem,
                        remedy,
                    });
                    None
                }
            }
        };
        match &mut port.device {
            Device::Vdev(_) | Device::Pci(_) => {}
            Device::Bond(bond) => {
                for member in &mut bond.members {
                    family(member);
                }
            }
            device @ Device::Family { .. } => {
                if let Some(nic) = family(device) {
                    port.over = nic.netdev.clone();
                }
            }
            Device::Netdev(name) => {
                let name = name.clone();
                let nic = nics.iter().find(|nic| nic.netdev.as_ref() == Some(&name));
                port.device = match nic.filter(|nic| nic.family().is_some_and(|family| family.shares)) {
                    Some(nic) => Device::Pci(nic.address.clone()),
                    None => {
                        if port.numa < 0
                            && let Some(node) = nic.and_then(|nic| nic.node)
                        {
                            port.numa = node as i32;
                        }
                        Device::Vdev(format!("net_af_xdp{number},iface={name},queue_count={}", port.queues))
                    }
                };
                port.over = Some(name);
            }
        }
    }
    errors.extend(taken_twice(profile));
    if errors.is_empty()
        && profile.port.iter().flat_map(PortProfile::devices).any(|device| matches!(device, Device::Pci(_)))
        && !profile.eal.huge
    {
        errors.push(HostError::Device {
            user: "[eal]".into(),
            device: "huge = false".into(),
            problem: "goes with no NIC, whose memory must be hugepages".into(),
            remedy: "set `huge = true` in [eal]".into(),
        });
    }
    errors
}

/// The NIC of this number of a driver, or what is wrong with that and its remedy.
fn of_family<'a>(nics: &'a [Nic], driver: &str, index: usize) -> Result<&'a Nic, (String, String)> {
    let of = |nic: &&Nic| nic.family().is_some_and(|family| family.driver == driver);
    let found: Vec<&Nic> = nics.iter().filter(of).collect();
    if let Some(nic) = found.get(index) {
        return Ok(nic);
    }
    if FAMILIES.iter().any(|family| family.driver == driver) {
        return Err((
            format!("is not there: this machine has {} NIC port(s) of it", found.len()),
            "remove the [[port]] or name another of `usher platform show`".into(),
        ));
    }
    let drivers: Vec<_> = FAMILIES.iter().map(|family| family.driver).collect();
    Err(("is no driver known here".into(), format!("name one of {}", drivers.join(", "))))
}

/// NICs that two ports have, once by address and once by driver or interface.
fn taken_twice(profile: &Profile) -> Vec<HostError> {
    let mut seen: BTreeMap<&str, &PortProfile> = BTreeMap::new();
    let mut errors = Vec::new();
    for port in &profile.port {
        for device in port.devices() {
            let Device::Pci(address) = device else { continue };
            if let Some(first) = seen.insert(address, port) {
                errors.push(HostError::Device {
                    user: format!("port {}", port.interface),
                    device: address.clone(),
                    problem: format!("belongs to port {} already", first.interface),
                    remedy: "name each NIC once, in one [[port]]".into(),
                });
            }
        }
    }
    errors
}
