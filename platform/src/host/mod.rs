//! The machine: what it has, what it lacks, and the one command that mends it.

pub mod cores;
pub mod devices;
pub mod hugepages;
pub mod instance;
pub mod link;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::profile::{Device, ExceptionKind, Profile};
use cores::{CorePlan, Topology};

/// What the machine lacks, or what it refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// Not enough free hugepages.
    #[error(
        "{needed_mib} MiB of hugepages are needed, {free_mib} MiB are free: echo {pages} > {file} (or hugepages={pages} on the kernel's \
         command line, or `huge = false` in [eal] of a profile without a NIC)"
    )]
    Hugepages {
        /// By the profile.
        needed_mib: u64,
        /// Of all sizes.
        free_mib: u64,
        /// Pages that the system should have.
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
    /// `ip` failed.
    #[error("`ip {arguments}` failed: {said}: {remedy}")]
    Ip {
        /// Its arguments.
        arguments: String,
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

/// Everything that EAL would trip over, checked before it starts; the result is where the workers run.
///
/// # Errors
/// All that is missing, each with its remedy.
pub fn preflight(profile: &Profile) -> Result<CorePlan, HostError> {
    let mut missing = Vec::new();
    if profile.eal.huge
        && let Err(err) = hugepages::check(u64::from(profile.eal.memory_mib))
    {
        missing.push(err);
    }
    for port in &profile.port {
        if let Err(err) = devices::check(port) {
            missing.push(err);
        }
    }
    let capabilities = capabilities()?;
    let nic = profile.port.iter().find(|port| matches!(port.device, Device::Pci(_)));
    let kernel = profile.port.iter().find(|port| devices::needs_net_admin(&port.device));
    let exception = profile.port.iter().find(|port| port.exception().is_some());
    if let Some(port) = kernel.or(nic).or(exception) {
        let user = format!("port {} ({})", port.interface, port.device);
        let xdp = port.device.name().starts_with("net_af_xdp");
        let (needed, list) = if xdp || nic.is_some() {
            (
                &[CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_SYS_ADMIN][..],
                "CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_SYS_ADMIN",
            )
        } else {
            (&[CAP_NET_ADMIN, CAP_NET_RAW][..], "CAP_NET_ADMIN CAP_NET_RAW")
        };
        if needed.iter().any(|bit| capabilities & (1 << bit) == 0) {
            missing.push(HostError::Privilege { user, capability: list });
        }
    }
    if profile.port.iter().any(|port| port.exception().is_some())
        && !profile.port.iter().all(|port| port.exception_kind == ExceptionKind::VirtioUser)
        && !Path::new("/dev/net/tun").exists()
    {
        missing.push(HostError::Device {
            user: "the exception devices".into(),
            device: "/dev/net/tun".into(),
            problem: "is missing".into(),
            remedy: "modprobe tun".into(),
        });
    }
    let nodes: Vec<Option<usize>> = profile.port.iter().map(devices::numa_node).collect();
    let plan = Topology::read().and_then(|topology| cores::plan(profile, &topology, &nodes));
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

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;

/// The effective capabilities of this process, one bit each.
fn capabilities() -> Result<u64, HostError> {
    let text = read("/proc/self/status")?;
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
