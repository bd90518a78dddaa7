//! `usher platform show`: what the machine has that the data plane uses.

use std::path::Path;

use serde::Serialize;

use super::cores::{Topology, nodes, show_ranges};
use super::{HostError, check, hugepages, nics, read};

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Its NUMA nodes.
    pub nodes: Vec<Node>,
    /// Physical cores.
    pub physical_cores: usize,
    /// The kernel keeps other work off these.
    pub isolated: String,
    /// The kernel's tick leaves these alone.
    pub nohz_full: String,
    /// vfio can take NICs.
    pub iommu: bool,
    /// It is a virtual machine.
    pub virtual_machine: bool,
    /// `/dev/vhost-net` is there.
    pub vhost_net: bool,
    /// Ethernet functions on the PCI bus.
    pub nics: Vec<NicRow>,
}

/// A NUMA node.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Its number.
    pub node: usize,
    /// Its cores, as the kernel lists them.
    pub cores: String,
    /// Distances to all nodes in their order; 10 is the node itself.
    pub distances: Vec<u32>,
    /// KiB of a page, pages free, pages there are.
    pub hugepages: Vec<(u64, u64, u64)>,
}

/// A NIC's port.
#[derive(Clone, Debug, Serialize)]
pub struct NicRow {
    /// PCI address.
    pub address: String,
    /// `vendor:device`, hexadecimal.
    pub id: String,
    /// How a profile names it; None: no profile ships for it.
    pub device: Option<String>,
    /// What it is.
    pub models: &'static str,
    /// NUMA node.
    pub node: Option<usize>,
    /// Driver bound now.
    pub driver: Option<String>,
    /// The kernel's interface.
    pub netdev: Option<String>,
    /// Mbit/s, where the kernel has it and it has link.
    pub speed_mbps: Option<u32>,
    /// The kernel uses it: it has addresses or routes, or is part of another interface.
    pub in_use: bool,
}

impl Machine {
    /// What lies under `root`.
    ///
    /// # Errors
    /// /sys or /proc is not there.
    pub fn read(root: &Path) -> Result<Machine, HostError> {
        let topology = Topology::read(root)?;
        let of = |wanted: &dyn Fn(&super::cores::Core) -> bool| {
            show_ranges(
                &topology.cores.iter().filter(|(_, core)| wanted(core)).map(|(number, _)| *number).collect(),
            )
        };
        let mut nodes: Vec<Node> = nodes(root)
            .keys()
            .map(|node| Node {
                node: *node,
                cores: of(&|core| core.node == *node),
                distances: topology.distances.get(node).cloned().unwrap_or_default(),
                hugepages: pages(hugepages::sizes_on(root, *node)),
            })
            .collect();
        if nodes.is_empty() {
            let hugepages = pages(hugepages::sizes(root));
            nodes.push(Node { node: 0, cores: of(&|_| true), distances: vec![10], hugepages });
        }
        let all = nics::all(root);
        let row = |nic: &nics::Nic| {
            let family = nic.family();
            let same = |other: &&nics::Nic| other.family() == family && other.address < nic.address;
            let index = all.iter().filter(same).count();
            NicRow {
                address: nic.address.clone(),
                id: format!("{:04x}:{:04x}", nic.id.0, nic.id.1),
                device: family.map(|family| format!("driver:{}/{index}", family.driver)),
                models: family.map_or("", |family| family.models),
                node: nic.node,
                driver: nic.driver.clone(),
                netdev: nic.netdev.clone(),
                speed_mbps: nic.speed_mbps,
                in_use: nic.netdev.as_deref().is_some_and(|name| in_use(root, name)),
            }
        };
        Ok(Machine {
            nodes,
            physical_cores: topology.physical_cores(),
            isolated: of(&|core| core.isolated),
            nohz_full: of(&|core| core.nohz),
            iommu: check::has_iommu(root),
            virtual_machine: is_virtual(root),
            vhost_net: root.join("dev/vhost-net").exists(),
            nics: all.iter().map(row).collect(),
        })
    }

    /// As text.
    pub fn render(&self) -> String {
        let yes = |there| if there { "yes" } else { "no" };
        let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
        let mut text = String::new();
        let mut line = |name: &str, value: String| text += &format!("{name:<16}: {value}\n");
        line("Physical cores", self.physical_cores.to_string());
        line("Isolated", or_none(&self.isolated));
        line("Tick off", or_none(&self.nohz_full));
        line("IOMMU", yes(self.iommu).into());
        line("Virtual machine", yes(self.virtual_machine).into());
        line("/dev/vhost-net", yes(self.vhost_net).into());
        for node in &self.nodes {
            let pages: Vec<String> = (node.hugepages.iter())
                .map(|(kib, free, total)| format!("{free} of {total} pages of {} MiB free", kib / 1024))
                .collect();
            let distances: Vec<String> = node.distances.iter().map(u32::to_string).collect();
            line(
                &format!("NUMA node {}", node.node),
                format!(
                    "cores {}; distances {}; {}",
                    node.cores,
                    distances.join(" "),
                    or_none(&pages.join(", "))
                ),
            );
        }
        for nic in &self.nics {
            let unknown = || "--".to_owned();
            line(
                &nic.address,
                format!(
                    "{} [{}] {}, node {}, bound to {}, interface {}, {}{}",
                    if nic.models.is_empty() { "no profile ships for it" } else { nic.models },
                    nic.id,
                    nic.device.clone().unwrap_or_else(|| format!("pci:{}", nic.address)),
                    nic.node.map_or_else(unknown, |node| node.to_string()),
                    nic.driver.clone().unwrap_or_else(|| "nothing".into()),
                    nic.netdev.clone().unwrap_or_else(unknown),
                    nic.speed_mbps.map_or_else(|| "no link known".into(), |speed| format!("{speed} Mbit/s")),
                    if nic.in_use { ", in use by the kernel" } else { "" },
                ),
            );
        }
        if self.nics.is_empty() {
            text += "no Ethernet function on the PCI bus\n";
        }
        text
    }
}

fn pages(sizes: Vec<hugepages::Hugepages>) -> Vec<(u64, u64, u64)> {
    sizes.into_iter().map(|size| (size.size_kib, size.free, size.total)).collect()
}

/// The processor says that a hypervisor is under it.
pub(super) fn is_virtual(root: &Path) -> bool {
    let cpu = read(root.join("proc/cpuinfo")).unwrap_or_default();
    cpu.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"))
}

/// Whether taking the interface away could cut somebody off: routes, addresses, or another interface over it.
fn in_use(root: &Path, name: &str) -> bool {
    let routes = read(root.join("proc/net/route")).unwrap_or_default();
    let addresses = read(root.join("proc/net/if_inet6")).unwrap_or_default();
    let dir = nics::netdevs(root).join(name);
    // Link-local addresses (scope 20) come by themselves.
    let global = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields.as_slice(), [_, _, _, scope, _, of] if *of == name && *scope != "20")
    };
    routes.lines().any(|line| line.split_whitespace().next() == Some(name))
        || addresses.lines().any(global)
        || dir.join("master").exists()
}
