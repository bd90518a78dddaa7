//! The machine: what it has, what it lacks, and the one command that mends it.

pub mod check;
pub mod cores;
pub mod devices;
pub mod hugepages;
pub mod instance;
pub mod link;
pub mod nics;
pub mod show;
pub mod suggest;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::profile::{Attach, Device, ExceptionKind, Profile};
use cores::{CorePlan, Topology};

/// What the machine lacks, or what it refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// Not enough free hugepages.
    #[error(
        "{needed_mib} MiB of hugepages are needed{on}, {free_mib} MiB are free: echo {pages} > {file} (or hugepages={pages} on the kernel's \
         command line, or `huge = false` in [eal] of a profile without a NIC)"
    )]
    Hugepages {
        /// By the profile.
        needed_mib: u64,
        /// Of all sizes.
        free_mib: u64,
        /// ` on NUMA node N`, or empty for the whole system.
        on: String,
        /// Pages that there should be.
        pages: u64,
        /// Where to write it.
        file: PathBuf,
    },
    /// A device is not there or not ready.
    #[error("{user}: {device} {problem}: {remedy}")]
    Device {
        /// Who wants it: a port's interface name.
        user: String,
        /// Its name.
        device: String,
        /// What is wrong.
        problem: String,
        /// The command.
        remedy: String,
    },
    /// A capability is missing.
    #[error(
        "{user} needs {capability}, which this process lacks: run it as root (sudo), or give the service \
         AmbientCapabilities={capability}"
    )]
    Privilege {
        /// The port and its device.
        user: String,
        /// All that is needed.
        capability: &'static str,
    },
    /// A core of the profile.
    #[error("[worker] cores: core {core} {problem}: choose among {usable}")]
    Core {
        /// The core.
        core: usize,
        /// What is wrong.
        problem: &'static str,
        /// The list of cores that are.
        usable: String,
    },
    /// More workers than queues.
    #[error(
        "[worker] cores lists {cores} cores for {queues} receive queue(s): list fewer cores or raise `queues` of a port"
    )]
    IdleCores {
        /// Cores listed.
        cores: usize,
        /// Queues of all ports.
        queues: usize,
    },
    /// Another instance.
    #[error(
        "another {name} runs in this network namespace: stop it first (systemctl stop {name}, or: pgrep -a {name})"
    )]
    Running {
        /// The program.
        name: String,
    },
    /// `ip` or `ethtool` failed.
    #[error("`{command}` failed: {said}: {remedy}")]
    Ip {
        /// It and its arguments.
        command: String,
        /// What it said.
        said: String,
        /// What to do.
        remedy: String,
    },
    /// A file of the system cannot be read.
    #[error("cannot read {}: {reason}: mount /proc and /sys in this namespace", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// All of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<HostError>),
}

/// Resolves the devices of a profile and checks everything that EAL would trip over, before it starts; the result is where
/// the workers run. `root` is `/` but in tests.
///
/// # Errors
/// All that is missing, each with its remedy.
pub fn preflight(profile: &mut Profile, root: &Path) -> Result<CorePlan, HostError> {
    let (plan, mut missing) = survey(profile, root);
    match (plan, missing.len()) {
        (Ok(plan), 0) => Ok(plan),
        (Err(err), 0) => Err(err),
        (Ok(_), 1) => Err(missing.remove(0)),
        (plan, _) => {
            missing.extend(plan.err());
            Err(HostError::Several(missing))
        }
    }
}

/// What [`preflight`] finds, all of it.
fn survey(profile: &mut Profile, root: &Path) -> (Result<CorePlan, HostError>, Vec<HostError>) {
    let mut missing = nics::resolve(profile, root);
    let nodes: Vec<Option<usize>> = profile.port.iter().map(|port| devices::numa_node(port, root)).collect();
    let plan = Topology::read(root).and_then(|topology| cores::plan(profile, &topology, &nodes));
    if profile.eal.huge {
        let node_ports = plan.as_ref().map_or_else(|_| Vec::new(), |plan| plan.node_ports.clone());
        missing.extend(hugepages::check(root, &profile.memory_by_node(&node_ports)));
    }
    missing.extend(profile.port.iter().flat_map(|port| devices::check(port, root)));
    missing.extend(capabilities(root).and_then(|have| privileges(profile, have)).err());
    if profile.port.iter().any(|port| port.exception().is_some())
        && !profile.port.iter().all(|port| port.exception_kind == ExceptionKind::VirtioUser)
        && !root.join("dev/net/tun").exists()
    {
        missing.push(HostError::Device {
            user: "the exception devices".into(),
            device: "/dev/net/tun".into(),
            problem: "is missing".into(),
            remedy: "modprobe tun".into(),
        });
    }
    (plan, missing)
}

const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_NET_RAW: u64 = 1 << 13;
const CAP_IPC_LOCK: u64 = 1 << 14;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_PERFMON: u64 = 1 << 38;
const CAP_BPF: u64 = 1 << 39;

/// Whether a process with the effective capabilities `have` may open the devices of the profile.
fn privileges(profile: &Profile, mut have: u64) -> Result<(), HostError> {
    // The kernel counts the wide one as the two narrow ones.
    if have & CAP_SYS_ADMIN != 0 {
        have |= CAP_BPF | CAP_PERFMON;
    }
    let devices =
        profile.port.iter().flat_map(|port| port.devices().iter().map(move |device| (port, device)));
    for (port, device) in devices {
        let (need, capability) = match (device, device.driver()) {
            // Our program's maps are found again by their numbers, which the kernel gives out to this one only.
            (_, "net_af_xdp") if port.attach == Attach::Bifurcated => (
                CAP_NET_ADMIN | CAP_NET_RAW | CAP_IPC_LOCK | CAP_SYS_ADMIN,
                "CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_SYS_ADMIN",
            ),
            // The memory that packets lie in is locked; the program that steers them is loaded and verified.
            (_, "net_af_xdp") => (
                CAP_NET_ADMIN | CAP_NET_RAW | CAP_IPC_LOCK | CAP_BPF | CAP_PERFMON,
                "CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_BPF CAP_PERFMON",
            ),
            (_, "net_af_packet") => (CAP_NET_ADMIN | CAP_NET_RAW, "CAP_NET_ADMIN CAP_NET_RAW"),
            (Device::Pci(_), _) => (CAP_NET_ADMIN | CAP_IPC_LOCK, "CAP_NET_ADMIN CAP_IPC_LOCK"),
            (_, "net_tap") => (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
            _ if port.exception().is_some() => (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
            _ => continue,
        };
        if have & need != need {
            return Err(HostError::Privilege {
                user: format!("port {} ({device})", port.interface),
                capability,
            });
        }
    }
    Ok(())
}

/// The effective capabilities of this process, one bit each.
fn capabilities(root: &Path) -> Result<u64, HostError> {
    let text = read(root.join("proc/self/status"))?;
    let hex = text.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default().trim();
    u64::from_str_radix(hex, 16).map_err(|err| HostError::System {
        path: "/proc/self/status".into(),
        reason: format!("CapEff {hex:?}: {err}"),
    })
}

fn read(path: impl AsRef<Path>) -> Result<String, HostError> {
    let path = path.as_ref();
    fs::read_to_string(path)
        .map_err(|err| HostError::System { path: path.to_owned(), reason: err.to_string() })
}

/// How long a command of the system may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(device: &str, exception: &str) -> Profile {
        let port =
            format!("[[port]]\ninterface = \"Gi0/0/0\"\ndevice = \"{device}\"\nexception = \"{exception}\"");
        Profile::parse(&format!("[eal]\nhuge = false\n{port}"), Path::new("test.toml")).unwrap()
    }

    #[test]
    fn each_kind_of_device_needs_its_capabilities() {
        let xdp = profile("vdev:net_af_xdp0,iface=v0", "exc0");
        let narrow = CAP_NET_ADMIN | CAP_NET_RAW | CAP_IPC_LOCK | CAP_BPF | CAP_PERFMON;
        let wide = CAP_NET_ADMIN | CAP_NET_RAW | CAP_IPC_LOCK | CAP_SYS_ADMIN;
        for have in [narrow, wide, u64::MAX] {
            privileges(&xdp, have).unwrap();
        }
        for lacking in [CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_BPF, CAP_PERFMON] {
            let err = privileges(&xdp, narrow & !lacking).unwrap_err().to_string();
            assert!(
                err.contains("Gi0/0/0 (vdev:net_af_xdp0")
                    && err.contains("sudo")
                    && err.contains("CAP_PERFMON"),
                "{err}"
            );
        }
        let mut shared = xdp.clone();
        shared.port[0].attach = Attach::Bifurcated;
        privileges(&shared, wide).unwrap();
        assert!(privileges(&shared, narrow).unwrap_err().to_string().contains("CAP_SYS_ADMIN"));
        // A capture or a ring without an exception device is for everybody.
        privileges(&profile("vdev:net_null0", ""), 0).unwrap();
        privileges(&profile("vdev:net_null0", "exc0"), 0).unwrap_err();
        privileges(&profile("vdev:net_tap0,iface=x", ""), 0).unwrap_err();
    }

    #[test]
    fn the_preflight_tells_all_that_is_missing() {
        let mut lacking = profile("vdev:net_af_xdp0,iface=usher-absent", "");
        lacking.worker.cores = crate::profile::Cores::List(vec![8191]);
        let err = preflight(&mut lacking, Path::new("/")).unwrap_err().to_string();
        assert!(
            err.contains("usher-absent does not exist") && err.contains("core 8191 is not online"),
            "{err}"
        );
        assert!(err.lines().count() >= 2);
        let plan = preflight(&mut profile("vdev:net_null0", ""), Path::new("/")).unwrap();
        assert_eq!(plan.workers[0].queues, [(0, 0)]);
    }
}
