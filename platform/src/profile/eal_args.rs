//! EAL's arguments, built from the profile, each with its reason.

use super::{Device, Profile};
use crate::host::cores::{self, CorePlan};

/// One argument for `Eal::init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalArg {
    /// The argument as EAL reads it.
    pub arg: String,
    /// Why it is there, for logs.
    pub why: &'static str,
}

impl AsRef<str> for EalArg {
    fn as_ref(&self) -> &str {
        &self.arg
    }
}

impl Profile {
    /// The arguments for EAL of a profile whose devices are resolved. `file_prefix` stands in for an empty one in the profile; `extra_vdevs` are devices beside
    /// the ports' (`net_null0`); `plan` says where EAL's own threads may run (an empty one: where this thread may)
    /// and on which NUMA nodes memory is needed.
    pub fn eal_args(&self, file_prefix: &str, extra_vdevs: &[String], plan: &CorePlan) -> Vec<EalArg> {
        let mut args = Vec::new();
        let mut push = |arg: String, why| args.push(EalArg { arg, why });
        if self.eal.huge {
            push(
                "--in-memory".into(),
                "hugepages without files: nothing is left behind, however the process ends",
            );
            push("--single-file-segments".into(), "a vhost peer maps at most 8 regions of memory");
        } else {
            push("--no-huge".into(), "the profile has no hugepages");
            push("--no-shconf".into(), "no files for secondary processes, which do not exist");
        }
        match self.memory_by_node(&plan.node_ports).as_slice() {
            shares if self.eal.huge && shares.len() > 1 => {
                let shares = shares.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
                push(format!("--socket-mem={shares}"), "buffers on the NUMA nodes of the ports");
            }
            _ => push(
                format!("-m{}", self.eal.memory_mib),
                "reserve the memory at the start, where its lack is seen",
            ),
        }
        let prefix = if self.eal.file_prefix.is_empty() { file_prefix } else { &self.eal.file_prefix };
        push(format!("--file-prefix={prefix}"), "several DPDK processes on one machine must not meet");
        push("--no-telemetry".into(), "usher shows the counters; no second socket, no second thread");

        let devices =
            || self.port.iter().flat_map(|port| port.devices().iter().map(move |device| (port, device)));
        let nics: Vec<&str> = devices()
            .filter_map(|(_, device)| match device {
                Device::Pci(address) => Some(address.as_str()),
                _ => None,
            })
            .collect();
        if nics.is_empty() && !self.eal.pci {
            push("--no-pci".into(), "no port is a NIC");
            push("--iova-mode=va".into(), "no device needs physical addresses, and buffers lie in one piece");
        } else if !self.eal.pci {
            for address in nics {
                push(format!("--allow={address}"), "only the NICs that ports name");
            }
        }
        for (port, device) in devices() {
            if let Device::Vdev(spec) = device {
                // AF_XDP takes one queue unless it is told.
                let queues = match device.arg("queue_count") {
                    None if device.driver() == "net_af_xdp" && port.queues > 1 => {
                        format!(",queue_count={}", port.queues)
                    }
                    _ => String::new(),
                };
                let why = if port.bond().is_some() { "a member of a bond" } else { "the device of a port" };
                push(format!("--vdev={spec}{queues}"), why);
            }
        }
        for spec in extra_vdevs {
            push(format!("--vdev={spec}"), "a device of the command line");
        }
        // Without a list EAL would start a thread on every core and leave no lcore ids for workers on a large machine.
        let main = if plan.main.is_empty() { cores::current() } else { plan.main.clone() };
        let list = main.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        push(format!("--lcores=0@({list})"), "EAL's own threads stay off the workers' cores");
        args
    }
}
