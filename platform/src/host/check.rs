//! `usher platform check`: each thing that a profile misses on a machine, with the one command that mends it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::cores::{CorePlan, Topology, show_ranges};
use super::{HostError, devices, nics, survey};
use crate::profile::{Attach, Device, ExceptionKind, Idle, PortProfile, Profile, Subinterface};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The data plane does not start, or does not answer.
    Missing,
    /// It works, and slower than it could.
    Slow,
}

/// One thing that is not as the profile wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// The port, the core, the file.
    pub what: String,
    /// What is wrong.
    pub problem: String,
    /// The command or the key that mends it.
    pub remedy: String,
}

/// What is found, the worst first, and where the workers would run.
pub fn check(profile: &Profile, root: &Path) -> (Vec<Finding>, Option<CorePlan>) {
    let mut profile = profile.clone();
    let (plan, errors) = survey(&mut profile, root);
    let mut found: Vec<Finding> = errors.into_iter().map(|error| error.finding(Level::Missing)).collect();
    // What the service gets from systemd, an operator who only asks has not.
    if !is_root(root) {
        let capability = |finding: &&mut Finding| finding.problem.contains("CAP_");
        found.iter_mut().filter(capability).for_each(|finding| finding.level = Level::Slow);
    }
    let mut add = |level, what: &str, problem: String, remedy: String| {
        found.push(Finding { level, what: what.to_owned(), problem, remedy });
    };
    vfio(&profile, root, &mut add);
    for port in &profile.port {
        interfaces(port, root, &mut add);
        members(port, root, &mut add);
    }
    let nic = |port: &PortProfile| {
        port.devices().iter().any(|device| matches!(device, Device::Pci(_)))
            && port.attach == Attach::Owned
            && port.exception().is_some()
            && port.exception_kind == ExceptionKind::Auto
    };
    if profile.port.iter().any(nic) && !root.join(devices::VHOST_NET.trim_start_matches('/')).exists() {
        let problem = "is missing: exception devices are TAPs, with a system call for each burst".to_owned();
        add(Level::Slow, devices::VHOST_NET, problem, "modprobe vhost-net".to_owned());
    }
    let topology = Topology::read(root).unwrap_or_default();
    match &plan {
        Ok(plan) => {
            cores(&profile, plan, &topology, root, &mut add);
            for warning in &plan.warnings {
                add(Level::Slow, "cores", warning.problem.clone(), warning.remedy.clone());
            }
        }
        Err(error) => found.push(error.finding(Level::Missing)),
    }
    found.sort_by_key(|finding| finding.level);
    let mut plan = plan.ok();
    if let Some(plan) = &mut plan {
        plan.reasons.extend(profile.port.iter().filter_map(|port| bond_line(port, root)));
    }
    (found, plan)
}

type Add<'a> = &'a mut dyn FnMut(Level, &str, String, String);

/// vfio and the IOMMU, where a NIC is to be taken from the kernel; verbs, where it is shared.
fn vfio(profile: &Profile, root: &Path, add: Add<'_>) {
    let all = nics::all(root);
    let named = |device: &Device| all.iter().find(|nic| Device::Pci(nic.address.clone()) == *device);
    let wanted: Vec<_> = profile.port.iter().flat_map(PortProfile::devices).filter_map(named).collect();
    let (shared, taken): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|nic| nic.family().is_some_and(|family| family.shares));
    if !taken.is_empty() {
        if !root.join("sys/bus/pci/drivers/vfio-pci").exists() {
            add(Level::Missing, "vfio-pci", "is not loaded".into(), "modprobe vfio-pci".into());
        }
        if !has_iommu(root) && taken.iter().any(|nic| !nic.iommu) {
            let problem = "is off or absent: vfio takes no NIC without it".into();
            add(Level::Missing, "IOMMU", problem, devices::no_iommu(root));
        }
    }
    let verbs = fs::read_dir(root.join("sys/class/infiniband")).is_ok_and(|mut dir| dir.next().is_some());
    if !shared.is_empty() && !verbs {
        let problem = "is not loaded: DPDK reaches these NICs through verbs".into();
        add(
            Level::Missing,
            "mlx5_ib",
            problem,
            "modprobe mlx5_ib && apt-get install ibverbs-providers".into(),
        );
    }
}

/// Whether the machine has an IOMMU in use, or does without one by will.
pub(super) fn has_iommu(root: &Path) -> bool {
    let unsafe_mode = root.join("sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
    fs::read_dir(root.join("sys/class/iommu")).is_ok_and(|mut dir| dir.next().is_some())
        || fs::read_to_string(unsafe_mode).is_ok_and(|text| matches!(text.trim(), "1" | "Y"))
}

/// The kernel's interfaces of a port, one for each member of a bond.
fn interfaces(port: &PortProfile, root: &Path, add: Add<'_>) {
    match port.bond() {
        None => port.netdev().into_iter().for_each(|name| interface(port, name, root, add)),
        Some(bond) => {
            bond.members.iter().filter_map(Device::netdev).for_each(|name| interface(port, name, root, add));
        }
    }
}

/// Members of a bond that do not belong together.
fn members(port: &PortProfile, root: &Path, add: Add<'_>) {
    let Some(bond) = port.bond() else { return };
    let nodes: BTreeSet<usize> =
        bond.members.iter().filter_map(|member| devices::node_of(member, root)).collect();
    if nodes.len() > 1 {
        let problem = format!(
            "the members of its bond are on NUMA nodes {}: the workers of one node serve them all",
            show_ranges(&nodes)
        );
        add(
            Level::Slow,
            &format!("port {}", port.interface),
            problem,
            "bond NICs of one node (`usher platform show` tells it)".into(),
        );
    }
    let all = nics::all(root);
    let named = |member: &Device| all.iter().find(|nic| Device::Pci(nic.address.clone()) == *member);
    let families: BTreeSet<&str> =
        bond.members.iter().filter_map(|member| Some(named(member)?.family()?.driver)).collect();
    if families.len() > 1 {
        let drivers = families.into_iter().collect::<Vec<_>>().join(" and ");
        let problem = format!("its bond is of NICs of {drivers}: it does what all of them can");
        add(
            Level::Slow,
            &format!("port {}", port.interface),
            problem,
            "bond NICs of one driver and one speed".into(),
        );
    }
}

/// What a port's bond is made of, each member with its link as far as the kernel knows it.
fn bond_line(port: &PortProfile, root: &Path) -> Option<String> {
    let bond = port.bond()?;
    let all = nics::all(root);
    let link = |member: &Device| {
        let nic = all.iter().find(|nic| Device::Pci(nic.address.clone()) == *member);
        let name = member.netdev().map(str::to_owned).or_else(|| nic?.netdev.clone());
        let carrier =
            name.and_then(|name| fs::read_to_string(nics::netdevs(root).join(name).join("carrier")).ok());
        match carrier.as_deref().map(str::trim) {
            Some("1") => "link up",
            Some(_) => "link down",
            None => "link not known to the kernel",
        }
    };
    let members: Vec<String> =
        bond.members.iter().map(|member| format!("{} ({})", member.name(), link(member))).collect();
    Some(format!("port {}: bond {} of {}", port.interface, bond.mode.name(), members.join(", ")))
}

/// A kernel's interface of a port: its link, and queues that nobody would read.
fn interface(port: &PortProfile, name: &str, root: &Path, add: Add<'_>) {
    let dir = nics::netdevs(root).join(name);
    if !dir.exists() {
        return;
    }
    let what = format!("port {} ({name})", port.interface);
    // An interface that is down has no carrier to read.
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
    let down = read("carrier").trim().is_empty();
    if down {
        add(Level::Missing, &what, "is down".into(), format!("ip link set dev {name} up"));
    } else if read("carrier").trim() == "0" {
        let remedy = format!("ethtool {name} (then cable, optics and the switch's port)");
        add(Level::Missing, &what, "has no link".into(), remedy);
    }
    let entries = fs::read_dir(dir.join("queues")).into_iter().flatten().flatten();
    let queues = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count();
    if port.devices().iter().any(|device| matches!(device, Device::Vdev(_)))
        && queues > usize::from(port.queues)
    {
        let wanted = port.queues;
        let problem = format!(
            "has {queues} receive queues, {wanted} of them are read: the others' requests stay unanswered"
        );
        let remedy = format!("ethtool -L {name} combined {wanted}");
        add(Level::Missing, &what, problem, remedy);
    }
    let af_xdp = port.device.driver() == "net_af_xdp";
    if af_xdp && queues > 0 && queues < usize::from(port.queues) {
        let problem = format!("has {queues} receive queue(s), {} are to be read", port.queues);
        let remedy = format!("ethtool -L {name} combined {}, or set queues = {queues}", port.queues);
        add(Level::Missing, &what, problem, remedy);
    }
    if af_xdp
        && port.queues > 1
        && root == Path::new("/")
        && ["udp4", "udp6"].iter().any(|kind| hashes_ports(name, kind))
    {
        let problem = "spreads UDP over its queues by ports too: fragments have none, and two of one datagram may miss each other"
            .to_owned();
        let remedy =
            format!("ethtool -N {name} rx-flow-hash udp4 sd && ethtool -N {name} rx-flow-hash udp6 sd");
        add(Level::Slow, &what, problem, remedy);
    }
}

/// Whether a NIC takes ports into the hash that chooses a queue for datagrams of this kind; false where it does not tell.
fn hashes_ports(interface: &str, kind: &str) -> bool {
    let said = Command::new("ethtool").args(["-n", interface, "rx-flow-hash", kind]).output();
    said.is_ok_and(|said| said.status.success() && names_ports(&String::from_utf8_lossy(&said.stdout)))
}

/// The fields of `ethtool -n ... rx-flow-hash`, a line each.
fn names_ports(said: &str) -> bool {
    said.lines().any(|line| line.starts_with("L4 bytes"))
}

/// What else runs on the workers' cores, and how fast they are.
fn cores(profile: &Profile, plan: &CorePlan, topology: &Topology, root: &Path, add: Add<'_>) {
    let workers: BTreeSet<usize> = plan.workers.iter().map(|worker| worker.core).collect();
    let of = |wanted: &dyn Fn(usize) -> bool| -> BTreeSet<usize> {
        workers.iter().copied().filter(|core| wanted(*core)).collect()
    };
    let boot = |arguments: String| {
        format!("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{arguments} /' /etc/default/grub && update-grub && reboot")
    };
    let core = |number: usize| topology.cores.get(&number).copied().unwrap_or_default();
    let all = show_ranges(&workers);
    // A worker that sleeps has no core of its own to defend.
    if profile.worker.idle == Idle::Spin && workers.len() < topology.cores.len() {
        let shared = of(&|number| !core(number).isolated);
        if !shared.is_empty() {
            let problem =
                "not isolated: the scheduler puts other work on workers' cores (isolcpus)".to_owned();
            let remedy = boot(format!("isolcpus=managed_irq,domain,{all}"));
            add(Level::Slow, &format!("cores {}", show_ranges(&shared)), problem, remedy);
        }
        let ticking = of(&|number| !core(number).nohz);
        if !ticking.is_empty() {
            let problem =
                "interrupted by the kernel's tick, some microseconds each time (nohz_full)".to_owned();
            let remedy = boot(format!("nohz_full={all} rcu_nocbs={all}"));
            add(Level::Slow, &format!("cores {}", show_ranges(&ticking)), problem, remedy);
        }
    }
    let governor = |number: usize| {
        let file = format!("sys/devices/system/cpu/cpu{number}/cpufreq/scaling_governor");
        fs::read_to_string(root.join(file)).ok().map(|text| text.trim().to_owned())
    };
    let slow = of(&|number| governor(number).is_some_and(|governor| governor != "performance"));
    if let Some(first) = slow.first() {
        let problem = format!("the frequency governor is {}", governor(*first).unwrap_or_default());
        let files = format!(
            "for c in {}; do echo performance > /sys/devices/system/cpu/cpu$c/cpufreq/scaling_governor; done",
            slow.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
        );
        add(Level::Slow, &format!("cores {}", show_ranges(&slow)), problem, files);
    }
}

fn is_root(root: &Path) -> bool {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    uid == Some("0")
}

impl HostError {
    /// The same as a row of `check`. One of [`HostError::Several`] never comes here.
    fn finding(&self, level: Level) -> Finding {
        let (what, problem, remedy) = match self {
            HostError::Hugepages { needed_mib, free_mib, on, pages, file } => (
                format!("hugepages{on}"),
                format!("{needed_mib} MiB are needed, {free_mib} MiB are free"),
                format!("echo {pages} > {}", file.display()),
            ),
            HostError::Device { user, device, problem, remedy } => {
                (user.clone(), format!("{device} {problem}"), remedy.clone())
            }
            HostError::Privilege { user, capability } => (
                user.clone(),
                format!("needs {capability}, which this process lacks"),
                "systemctl start usher-dataplane (the service has them), or sudo".into(),
            ),
            HostError::Core { core, problem, usable } => {
                ("[worker] cores".into(), format!("core {core} {problem}"), format!("choose among {usable}"))
            }
            HostError::IdleCores { cores, queues } => (
                "[worker] cores".into(),
                format!("{cores} cores for {queues} receive queue(s)"),
                "list fewer cores or raise `queues` of a port".into(),
            ),
            other => ("the machine".into(), other.to_string(), "mount -t sysfs sysfs /sys".into()),
        };
        Finding { level, what, problem, remedy }
    }
}

/// Where the frames of each VLAN of a profile go.
pub fn subinterfaces(profile: &Profile) -> Vec<String> {
    let line = |of: Subinterface| {
        let port = &profile.port[of.port].interface;
        format!(
            "VLAN {} of {port}: {} without the tag, port {} of the data plane",
            of.vlan, of.exception, of.index
        )
    };
    profile.subinterfaces().map(line).collect()
}

/// The findings and [`subinterfaces`] as text, and the sum of the findings in the last line.
pub fn render(found: &[Finding], plan: Option<&CorePlan>, subinterfaces: &[String]) -> String {
    let mut text = String::new();
    for finding in found {
        let level = match finding.level {
            Level::Missing => "missing",
            Level::Slow => "slow",
        };
        text += &format!("{level:<8} {}: {}\n         {}\n", finding.what, finding.problem, finding.remedy);
    }
    for reason in plan.iter().flat_map(|plan| &plan.reasons).chain(subinterfaces) {
        text += &format!("plan     {reason}\n");
    }
    let count = |level| found.iter().filter(|finding| finding.level == level).count();
    text + &format!("{} missing, {} slower than it could be\n", count(Level::Missing), count(Level::Slow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_as_many_receive_queues_as_are_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("sys/class/net/eth1");
        fs::create_dir_all(dir.join("queues/tx-0")).unwrap();
        fs::write(dir.join("carrier"), "1\n").unwrap();
        for queue in 0..2 {
            fs::create_dir(dir.join(format!("queues/rx-{queue}"))).unwrap();
        }
        let found = |queues: u16| {
            let mut port = PortProfile::new("Gi0/0/0".into(), "vdev:net_af_xdp0,iface=eth1".parse().unwrap());
            port.queues = queues;
            let mut found = Vec::new();
            interface(&port, port.netdev().unwrap(), root.path(), &mut |level, _, problem, remedy| {
                found.push((level, problem, remedy))
            });
            found
        };
        assert_eq!(found(2), []);
        let [(Level::Missing, problem, remedy)] = &found(1)[..] else { panic!("one finding") };
        assert!(problem.contains("has 2 receive queues, 1 of them") && remedy.contains("combined 1"));
        let [(Level::Missing, problem, remedy)] = &found(4)[..] else { panic!("one finding") };
        assert!(
            problem.contains("has 2 receive queue(s), 4 are")
                && remedy.contains("combined 4, or set queues = 2")
        );
    }

    #[test]
    fn the_fields_of_a_hash_are_read() {
        let fields = |more: &str| {
            format!(
                "UDP over IPV4 flows use these fields for computing Hash flow key:\nIP SA\nIP DA\n{more}\n"
            )
        };
        assert!(names_ports(&fields(
            "L4 bytes 0 & 1 [TCP/UDP src port]\nL4 bytes 2 & 3 [TCP/UDP dst port]\n"
        )));
        assert!(!names_ports(&fields("")));
        assert!(!hashes_ports("lo", "udp4") && !hashes_ports("usher-absent", "udp4"));
    }
}
