//! `bond` of a `[[port]]`: devices that DPDK's bonding driver makes one port of.

use std::fmt;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::port::{Device, is_pci_address};

/// Members that a bond may have: what a link aggregation group of most switches takes.
pub const MAX_MEMBERS: usize = 8;

/// `bond = { mode = "lacp", members = ["pci:0000:01:00.0", "pci:0000:01:00.1"] }`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Bond {
    /// How the members are used.
    pub mode: BondMode,
    /// 1 to 8 devices, each as `device` names it or, shorter, a PCI address or a vdev alone. With `active-backup` the first
    /// that has link carries all.
    #[serde(deserialize_with = "members")]
    pub members: Vec<Device>,
}

/// How a bond uses its members.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// IEEE 802.1AX: the switch agrees to each member; flows are spread by addresses and ports.
    Lacp,
    /// One member carries all, another takes over when its link goes down. The switch needs to know nothing.
    ActiveBackup,
    /// All members with link carry; flows are spread by addresses and ports. For a static group of the switch's.
    BalanceXor,
}

impl BondMode {
    /// As the profile names it.
    pub fn name(self) -> &'static str {
        match self {
            BondMode::Lacp => "lacp",
            BondMode::ActiveBackup => "active-backup",
            BondMode::BalanceXor => "balance-xor",
        }
    }
}

impl Bond {
    /// The bond's device among DPDK's, for port number `index`.
    pub fn device_name(index: usize) -> String {
        format!("net_bonding{index}")
    }
}

impl fmt::Display for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<String> = self.members.iter().map(Device::to_string).collect();
        write!(f, "bond {} of {}", self.mode.name(), members.join(" and "))
    }
}

struct Member(Device);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Member, D::Error> {
        let text = String::deserialize(from)?;
        let whole = match text.split([':', ',']).next() {
            Some("pci" | "driver" | "netdev" | "vdev") => text.clone(),
            _ if is_pci_address(&text) => format!("pci:{text}"),
            _ => format!("vdev:{text}"),
        };
        let wrong = |problem: String| de::Error::custom(format!("member {text:?} {problem}"));
        match whole.parse() {
            Ok(Device::Netdev(name)) => Err(wrong(format!(
                "stays the kernel's, DPDK cannot bond it: name the NIC (`pci:0000:01:00.0`), or bond in the kernel \
                 (`ip link add bond0 type bond mode 802.3ad && ip link set {name} master bond0`) and set device = \"netdev:bond0\""
            ))),
            Ok(device) => Ok(Member(device)),
            Err(_) => Err(wrong(
                "is none of `pci:0000:01:00.0`, `driver:i40e/0`, `vdev:net_af_packet0,iface=eth1`".into(),
            )),
        }
    }
}

fn members<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Device>, D::Error> {
    let members: Vec<Member> = Vec::deserialize(from)?;
    if members.is_empty() || members.len() > MAX_MEMBERS {
        return Err(de::Error::custom(format!(
            "a bond has 1 to {MAX_MEMBERS} members, not {}: name that many devices like \"pci:0000:01:00.0\"",
            members.len()
        )));
    }
    Ok(members.into_iter().map(|member| member.0).collect())
}
