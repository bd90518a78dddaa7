//! Sharing a port with the kernel: what comes to our queues, and what is fenced. By our XDP program, or by flow rules of the NIC.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use dpdk_sys as sys;

use crate::error::{SteerError, reason};
use crate::port::{Port, PortId, WHY, text};

/// The object file, for `xdp_prog=` of net_af_xdp.
pub fn object() -> &'static [u8] {
    sys::STEER_OBJECT
}

/// The program's name in the kernel, by which a later start knows it for its own.
const NAME: &CStr = c"usher_steer";

/// Our program, as the kernel holds it.
pub struct Program(OwnedFd);

/// Where the program sends a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the kernel's stack.
    Kernel,
    /// To the AF_XDP socket of its queue (to the kernel while there is none).
    Socket,
    /// Nowhere.
    Fenced,
}

impl Program {
    /// The program that is attached to the device of this index.
    ///
    /// # Errors
    /// There is none, or the kernel does not let this process at it (CAP_SYS_ADMIN).
    pub fn attached(ifindex: u32) -> Result<Program, SteerError> {
        // SAFETY: takes a number.
        Program::from(unsafe { sys::shim_xdp_attached(ifindex) })
    }

    /// Loads the program without a device: the kernel's verifier has its say, and [`Program::way`] can be asked.
    ///
    /// # Errors
    /// The kernel does not take it, or this process may not load it (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON).
    pub fn load() -> Result<Program, SteerError> {
        let object = object();
        // SAFETY: the object's bytes outlive the call.
        Program::from(unsafe { sys::shim_xdp_load(object.as_ptr().cast(), object.len()) })
    }

    fn from(fd: i32) -> Result<Program, SteerError> {
        Ok(Program(owned(fd).map_err(|reason| SteerError::Program { reason })?))
    }

    fn map(&self, name: &CStr) -> Result<OwnedFd, SteerError> {
        // SAFETY: both strings are NUL-terminated and outlive the call.
        let fd = unsafe { sys::shim_xdp_map(self.0.as_raw_fd(), NAME.as_ptr(), name.as_ptr()) };
        owned(fd).map_err(|reason| SteerError::Map { map: name.to_string_lossy().into_owned(), reason })
    }

    /// Where the program sends this frame of at least 14 bytes under the rules in force, asked of the kernel itself.
    ///
    /// # Errors
    /// A frame that is too short, or this process may not ask (CAP_BPF, CAP_NET_ADMIN).
    pub fn way(&self, frame: &[u8]) -> Result<Way, SteerError> {
        const XDP_DROP: i32 = 1;
        const STEERED: u32 = 1;
        let counts = self.map(c"usher_counts")?;
        let steered = || {
            let mut sum = 0;
            // SAFETY: `sum` is writable; the shim allocates what the kernel writes for all cores.
            match unsafe { sys::shim_map_sum(counts.as_raw_fd(), STEERED, &mut sum) } {
                0 => Ok(sum),
                rc => Err(SteerError::Program { reason: reason(rc) }),
            }
        };
        let before = steered()?;
        // SAFETY: the frame's bytes outlive the call; the kernel copies them.
        let rc = unsafe { sys::shim_xdp_run(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len() as u32) };
        match rc {
            XDP_DROP => Ok(Way::Fenced),
            rc if rc < 0 => Err(SteerError::Program { reason: reason(rc) }),
            _ if steered()? > before => Ok(Way::Socket),
            _ => Ok(Way::Kernel),
        }
    }
}

fn owned(fd: i32) -> Result<OwnedFd, String> {
    if fd < 0 {
        return Err(reason(fd));
    }
    // SAFETY: the shim gives a new descriptor that nobody else holds.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What becomes of frames to an address or a MAC. The program knows the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Rule {
    /// IKE_SA_INIT requests and fragments come to the sockets, all else stays with the kernel.
    Steer = 1,
    /// Nothing gets through, ARP and neighbour solicitations for it included.
    Fence = 2,
}

/// An address: IPv4 in the first 4 bytes, the rest 0; and its family, 4 or 6.
pub type Address = ([u8; 16], u8);

/// The rules of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// At most 64 virtual addresses.
    pub addresses: BTreeMap<Address, Rule>,
    /// At most 64 virtual MACs, each fenced whole.
    pub macs: BTreeSet<[u8; 6]>,
}

/// The rules in force, and the way to change them.
pub struct Steering {
    by: By,
    set: Rules,
    /// What the program was told of the number of MACs.
    fences: usize,
}

enum By {
    Program { addresses: OwnedFd, macs: OwnedFd, fences: OwnedFd },
    Flows { port: PortId, queues: u16, flows: BTreeMap<Address, Vec<NonNull<c_void>>> },
}

impl Steering {
    /// The maps of a program, empty as it was loaded.
    ///
    /// # Errors
    /// It is another program, or the kernel does not let this process at the maps (CAP_SYS_ADMIN).
    pub fn open(program: &Program) -> Result<Steering, SteerError> {
        let by = By::Program {
            addresses: program.map(c"usher_vips")?,
            macs: program.map(c"usher_macs")?,
            fences: program.map(c"usher_fences")?,
        };
        Ok(Steering { by, set: Rules::default(), fences: 0 })
    }

    /// Flow rules of a port that is isolated ([`crate::PortConfig::isolated`]), over its first `queues` queues. They tell ports
    /// and addresses, not messages: later messages on 500 and 4500 come too. A fence is for IP; ARP and MACs it leaves.
    pub fn flows(port: &Port, queues: u16) -> Steering {
        let by = By::Flows { port: port.id(), queues, flows: BTreeMap::new() };
        Steering { by, set: Rules::default(), fences: 0 }
    }

    /// Makes these the rules; what is new comes before what is old goes. Does nothing when they are the rules already.
    /// True when something changed.
    ///
    /// # Errors
    /// The kernel refused one: the rules before it are set, and the next call tries again.
    pub fn set(&mut self, rules: &Rules) -> Result<bool, SteerError> {
        if self.set == *rules && self.fences == rules.macs.len() {
            return Ok(false);
        }
        for (address, rule) in &rules.addresses {
            if self.set.addresses.get(address) != Some(rule) {
                self.by.address(address, Some(*rule))?;
                self.set.addresses.insert(*address, *rule);
            }
        }
        for mac in rules.macs.difference(&self.set.macs.clone()) {
            self.by.mac(mac, Some(Rule::Fence))?;
            self.set.macs.insert(*mac);
        }
        for address in self.set.addresses.clone().keys() {
            if !rules.addresses.contains_key(address) {
                self.by.address(address, None)?;
                self.set.addresses.remove(address);
            }
        }
        for mac in self.set.macs.clone().difference(&rules.macs) {
            self.by.mac(mac, None)?;
            self.set.macs.remove(mac);
        }
        self.by.fences(rules.macs.len())?;
        self.fences = rules.macs.len();
        Ok(true)
    }
}

impl By {
    fn address(&mut self, address: &Address, rule: Option<Rule>) -> Result<(), SteerError> {
        match self {
            By::Program { addresses, .. } => change(addresses, &address_key(address), rule),
            By::Flows { port, queues, flows } => {
                // What is new comes first; the old rules of this address go after it.
                let mut new = Vec::new();
                // UDP port, queues; no port: fragments; no queue: dropped.
                let wanted: &[(u16, u16)] = match rule {
                    Some(Rule::Steer) => &[(500, *queues), (4500, *queues), (0, *queues)],
                    Some(Rule::Fence) => &[(0, 0)],
                    None => &[],
                };
                for (udp, queues) in wanted {
                    match flow(*port, address, *udp, *queues) {
                        Ok(flow) => new.push(flow),
                        Err(error) => {
                            remove(*port, new);
                            return Err(error);
                        }
                    }
                }
                remove(*port, flows.remove(address).unwrap_or_default());
                if !new.is_empty() {
                    flows.insert(*address, new);
                }
                Ok(())
            }
        }
    }

    fn mac(&self, mac: &[u8; 6], rule: Option<Rule>) -> Result<(), SteerError> {
        match self {
            By::Program { macs, .. } => change(macs, &mac_key(mac), rule),
            By::Flows { .. } => Ok(()),
        }
    }

    /// Tells the program how many MACs it has to look for.
    fn fences(&self, count: usize) -> Result<(), SteerError> {
        let By::Program { fences, .. } = self else { return Ok(()) };
        let index = 0u32;
        // SAFETY: the key has the 4 bytes that the program declares for this map.
        let rc = unsafe { sys::shim_map_set(fences.as_raw_fd(), ptr::from_ref(&index).cast(), count as u32) };
        if rc == 0 { Ok(()) } else { Err(SteerError::Set { reason: reason(rc) }) }
    }
}

fn flow(
    port: PortId,
    (bytes, family): &Address,
    udp: u16,
    queues: u16,
) -> Result<NonNull<c_void>, SteerError> {
    let (mut rc, mut why) = (0, [0; WHY]);
    // SAFETY: the address has 16 bytes, `rc` and WHY bytes of `why` are writable; DPDK checks the port's number.
    let flow = unsafe {
        sys::shim_flow_add(port.0, *family, bytes.as_ptr(), udp, queues, &mut rc, why.as_mut_ptr(), WHY)
    };
    NonNull::new(flow).ok_or_else(|| SteerError::Flow {
        port: port.0,
        reason: reason(rc),
        // SAFETY: the shim ended it with a NUL, or it is all zeros.
        said: unsafe { text(why.as_ptr()) },
    })
}

fn remove(port: PortId, flows: Vec<NonNull<c_void>>) {
    for flow in flows {
        // SAFETY: the rule is one of this port's and is named nowhere else. One that stays goes with the port.
        unsafe { sys::shim_flow_remove(port.0, flow.as_ptr()) };
    }
}

fn change(map: &OwnedFd, key: &[u8], rule: Option<Rule>) -> Result<(), SteerError> {
    let key: *const c_void = key.as_ptr().cast();
    // SAFETY: the key has the length that the program declares for this map (20 and 8 bytes).
    let rc = unsafe {
        match rule {
            Some(rule) => sys::shim_map_set(map.as_raw_fd(), key, rule as u32),
            None => sys::shim_map_remove(map.as_raw_fd(), key),
        }
    };
    if rc == 0 { Ok(()) } else { Err(SteerError::Set { reason: reason(rc) }) }
}

/// `struct address` of the program.
fn address_key((bytes, family): &Address) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(bytes);
    key[16..].copy_from_slice(&u32::from(*family).to_ne_bytes());
    key
}

/// A MAC in the first 6 of 8 bytes.
fn mac_key(mac: &[u8; 6]) -> [u8; 8] {
    let mut key = [0; 8];
    key[..6].copy_from_slice(mac);
    key
}
