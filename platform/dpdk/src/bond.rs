//! Bonds: ports that DPDK's bonding driver makes out of several.
//!
//! The driver watches the members' links and runs LACP on a thread of EAL's; a worker polls the bond as any port. In LACP
//! it must do so every 100 ms, with [`TxQueue::keep_alive`](crate::TxQueue::keep_alive) when it has nothing to send.

use std::ffi::CString;

use dpdk_sys as sys;

use crate::eal::Eal;
use crate::error::{PortError, reason};
use crate::log;
use crate::mempool::Mempool;
use crate::port::{Link, Port, PortConfig, PortId, device_name};
use crate::queue::{RxQueue, TxQueue};

/// How a bond uses its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondMode {
    /// IEEE 802.1AX (802.3ad): the switch agrees to each member; flows are spread by addresses and ports.
    Lacp,
    /// One member carries all; another takes over when its link goes down.
    ActiveBackup,
    /// All members with link carry; flows are spread by addresses and ports.
    Balance,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It has no link.
    Down,
    /// It has link, and the switch has not agreed to it (collecting and distributing).
    Negotiating,
    /// It has link and waits for the active one to lose it.
    Standby,
    /// It carries frames.
    Active,
}

/// A member of a bond, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its device.
    pub name: String,
    /// What it does.
    pub state: MemberState,
    /// Its link.
    pub link: Link,
    /// Frames received.
    pub ipackets: u64,
    /// Frames sent.
    pub opackets: u64,
}

/// A bond that is not open yet, then what is under its port. Its members belong to it alone and close after it.
pub struct Bond {
    eal: Eal,
    id: PortId,
    pub(crate) mode: BondMode,
    pub(crate) members: Vec<PortId>,
    opened: bool,
}

impl Bond {
    /// Makes a bond of ports that nobody has configured. `name` begins with `net_bonding`; `node` is the NUMA node of its
    /// memory.
    ///
    /// # Errors
    /// A member is taken, or the driver refused it: it cannot do what those before it can.
    pub fn create(
        eal: &Eal,
        name: &str,
        mode: BondMode,
        members: &[PortId],
        node: usize,
    ) -> Result<Bond, PortError> {
        const REMEDY: &str = "bond NICs of one driver, speed and MTU";
        let refused = |operation, rc, said: Vec<String>| PortError::Refused {
            port: name.to_owned(),
            operation,
            reason: reason(rc),
            said: if said.is_empty() { String::new() } else { format!(": {}", log::joined(&said)) },
            remedy: REMEDY,
        };
        let text = CString::new(name).map_err(|_| PortError::Missing { port: name.to_owned() })?;
        let wanted = match mode {
            BondMode::Lacp => sys::shim_bond::SHIM_BOND_LACP,
            BondMode::ActiveBackup => sys::shim_bond::SHIM_BOND_ACTIVE_BACKUP,
            BondMode::Balance => sys::shim_bond::SHIM_BOND_BALANCE,
        };
        for (count, member) in members.iter().enumerate() {
            if !eal.take_port(*member) {
                members[..count].iter().for_each(|taken| eal.release_port(*taken));
                return Err(PortError::InUse { port: device_name(*member) });
            }
        }
        let (made, said) = {
            let _one_at_a_time = eal.control();
            // SAFETY: EAL runs and `text` is NUL-terminated.
            log::collect(|| unsafe {
                sys::shim_bond_create(text.as_ptr(), wanted, u8::try_from(node).unwrap_or_default())
            })
        };
        let Ok(id) = u16::try_from(made).map(PortId) else {
            members.iter().for_each(|taken| eal.release_port(*taken));
            return Err(refused("making the bond", made, said));
        };
        // From here on the members are closed with it.
        let bond = Bond { eal: eal.clone(), id, mode, members: members.to_vec(), opened: false };
        for member in members {
            let _one_at_a_time = eal.control();
            // SAFETY: both ports exist; the bond is stopped, the member belongs to this value.
            let (rc, said) = log::collect(|| unsafe { sys::shim_bond_add(id.0, member.0) });
            if rc != 0 {
                return Err(refused("adding a member", rc, said));
            }
        }
        Ok(bond)
    }

    /// Configures and starts the bond with all its members, as [`Port::configure`] does a port.
    ///
    /// # Errors
    /// As there.
    pub fn configure(
        self,
        config: &PortConfig,
        pool: &Mempool,
    ) -> Result<(Port, Vec<RxQueue>, Vec<TxQueue>), PortError> {
        let (eal, id) = (self.eal.clone(), self.id);
        Port::open(&eal, id, config, pool, Some(self))
    }

    /// From now on its port closes it.
    pub(crate) fn opened(mut self) -> Bond {
        self.opened = true;
        self
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        let member = |id: &PortId| {
            let (mut link, mut stats) = (sys::rte_eth_link::default(), sys::rte_eth_stats::default());
            // SAFETY: both ports are open; `link` and `stats` are writable, and stay zero on failure.
            let state = unsafe {
                sys::rte_eth_link_get_nowait(id.0, &mut link);
                sys::rte_eth_stats_get(id.0, &mut stats);
                sys::shim_bond_member(self.id.0, id.0)
            };
            Member {
                name: device_name(*id),
                state: match state {
                    sys::shim_member::SHIM_MEMBER_ACTIVE => MemberState::Active,
                    sys::shim_member::SHIM_MEMBER_STANDBY => MemberState::Standby,
                    sys::shim_member::SHIM_MEMBER_NEGOTIATING => MemberState::Negotiating,
                    _ => MemberState::Down,
                },
                link: Link::of(&link),
                ipackets: stats.ipackets,
                opackets: stats.opackets,
            }
        };
        self.members.iter().map(member).collect()
    }

    /// Lets frames for `mac` in on every member; false when one takes no further address.
    pub(crate) fn admit(&self, mac: [u8; 6]) -> bool {
        let mut address = sys::rte_ether_addr { addr_bytes: mac };
        self.members.iter().all(|member| {
            let mut own = sys::rte_ether_addr::default();
            // SAFETY: the member is open; both addresses are copied.
            let (rc, _) = log::collect(|| unsafe {
                sys::rte_eth_macaddr_get(member.0, &mut own);
                if own.addr_bytes == mac {
                    return 0;
                }
                sys::rte_eth_dev_mac_addr_add(member.0, &mut address, 0)
            });
            rc == 0
        })
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        {
            let _one_at_a_time = self.eal.control();
            // SAFETY: the members were taken by this value; the bond's port, which stops them, is closed, or nobody opened it.
            unsafe {
                if !self.opened {
                    sys::rte_eth_dev_close(self.id.0);
                }
                for member in &self.members {
                    sys::rte_eth_dev_close(member.0);
                }
            }
        }
        self.members.iter().for_each(|member| self.eal.release_port(*member));
    }
}
