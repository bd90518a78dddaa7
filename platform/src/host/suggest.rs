//! `usher platform suggest`: a profile for the machine at hand.

use std::collections::BTreeSet;
use std::path::Path;

use super::HostError;
use super::cores::Topology;
use super::nics::{self, Nic};
use super::show::Machine;
use crate::profile::MAX_PORTS;

/// The profile as TOML, with a comment for each choice.
///
/// # Errors
/// There is no NIC, or /sys cannot be read.
pub fn suggest(root: &Path) -> Result<String, HostError> {
    let machine = Machine::read(root)?;
    let topology = Topology::read(root)?;
    let all = nics::all(root);
    let used: BTreeSet<&str> =
        machine.nics.iter().filter(|row| row.in_use).map(|row| row.address.as_str()).collect();
    let known = |nic: &&Nic| nic.family().is_some();
    let mut comments = Vec::new();
    let mut chosen: Vec<&Nic> =
        all.iter().filter(known).filter(|nic| !used.contains(nic.address.as_str())).take(MAX_PORTS).collect();
    for nic in all.iter().filter(|nic| used.contains(nic.address.as_str())) {
        let name = nic.netdev.as_deref().unwrap_or_default();
        comments.push(format!(
            "{name} ({}) has this machine's routes or addresses: it is left out.",
            nic.address
        ));
    }
    // What is not known to DPDK here has an interface that can be shared, and so has the only one.
    let mut share_all = false;
    if chosen.is_empty() {
        chosen = all.iter().filter(|nic| nic.netdev.is_some()).take(MAX_PORTS).collect();
        share_all = true;
        comments.clear();
        comments.push(
            "No NIC is free: the kernel keeps its interface, requests are steered out of it (AF_XDP).".into(),
        );
    }
    if chosen.is_empty() {
        return Err(HostError::Device {
            user: "a profile".into(),
            device: "a NIC".into(),
            problem: "is not on this machine's PCI bus".into(),
            remedy: "for a laboratory start from profiles/lab.toml".into(),
        });
    }
    let spare = topology.cores.len().saturating_sub(1).max(1);
    let mut ports = String::new();
    let (mut held, mut hugepages) = (0, false);
    for (number, nic) in chosen.iter().enumerate() {
        let family = nic.family();
        let speed = nic.speed_mbps.or(family.map(|family| family.usual_mbps)).unwrap_or(1000);
        let share = share_all || family.is_some_and(|family| family.shares);
        let no_iommu = !share && !machine.iommu && !machine.virtual_machine && nic.netdev.is_some();
        let wanted = (speed.div_ceil(10_000) as usize).clamp(1, 4);
        let queues = if share_all || no_iommu { 1 } else { wanted.min((spare / chosen.len()).max(1)) };
        let descriptors = if speed >= 10_000 { 2048 } else { 1024 };
        held = held.max(queues * 2 * (descriptors + 1024));
        ports += &format!("\n[[port]]\ninterface = \"{}0/0/{number}\"\n", kind(speed));
        match &nic.netdev {
            Some(name) if share || no_iommu => {
                if no_iommu {
                    comments.push(format!(
                        "{name}: no IOMMU, so that the kernel keeps it and requests are steered out (AF_XDP)."
                    ));
                }
                hugepages |= family.is_some_and(|family| family.shares);
                ports += &format!("device = \"netdev:{name}\"\nattach = \"bifurcated\"\n");
            }
            _ => {
                hugepages = true;
                ports += &format!("device = \"pci:{}\"\n", nic.address);
            }
        }
        if let Some(name) = nic.netdev.as_ref().filter(|_| queues == 1 && (share_all || no_iommu)) {
            comments.push(format!(
                "{name} must have no more queues than this reads: ethtool -L {name} combined {queues}"
            ));
        }
        ports += &format!(
            "queues = {queues}\nrx_descriptors = {descriptors}\ntx_descriptors = {descriptors}\nexception = \"exc{number}\"\n"
        );
    }
    let mbufs = (held as u64 + 2048).next_power_of_two() - 1;
    // As Profile::buffer_mib counts, an eighth above it for rings and the rest.
    let buffers = (chosen.len() as u64 * mbufs * (2176 + 256)).div_ceil(1 << 20);
    let memory = (buffers + buffers / 8 + 32).next_multiple_of(64);
    let idle = if machine.virtual_machine || topology.cores.len() <= chosen.len() {
        comments.push("Workers sleep when idle: their cores are shared with others. `idle = \"spin\"` has less latency.".into());
        "adaptive"
    } else {
        "spin"
    };
    let comments: String = comments.iter().map(|comment| format!("# {comment}\n")).collect();
    Ok(format!(
        "# Suggested for this machine by `usher platform suggest`; `usher platform check` says what it still lacks.\n{comments}\
         name = \"suggested\"\n\n[eal]\nhuge = {hugepages}\nmemory_mib = {memory}\n\n[worker]\ncores = \"auto\"\nidle = \"{idle}\"\n\n\
         [mempool]\nmbufs = {mbufs}\ncache = 256\n{ports}"
    ))
}

/// IOS's name for a port of this speed.
fn kind(mbps: u32) -> &'static str {
    match mbps {
        0..10_000 => "GigabitEthernet",
        10_000..25_000 => "TenGigabitEthernet",
        25_000..40_000 => "TwentyFiveGigE",
        40_000..50_000 => "FortyGigabitEthernet",
        _ => "HundredGigE",
    }
}
