//! The XDP program that shares a port with the kernel: what it steers to the AF_XDP sockets, and what it fences.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use dpdk_sys as sys;

use crate::error::{SteerError, reason};

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

/// The rules of a program, and the way to change them.
pub struct Steering {
    addresses: OwnedFd,
    macs: OwnedFd,
    set: Rules,
}

impl Steering {
    /// The maps of a program, empty as it was loaded.
    ///
    /// # Errors
    /// It is another program, or the kernel does not let this process at the maps (CAP_SYS_ADMIN).
    pub fn open(program: &Program) -> Result<Steering, SteerError> {
        Ok(Steering {
            addresses: program.map(c"usher_vips")?,
            macs: program.map(c"usher_macs")?,
            set: Rules::default(),
        })
    }

    /// Makes these the rules; what is new comes before what is old goes. Does nothing when they are the rules already.
    /// True when something changed.
    ///
    /// # Errors
    /// The kernel refused one: the rules before it are set, and the next call tries again.
    pub fn set(&mut self, rules: &Rules) -> Result<bool, SteerError> {
        if self.set == *rules {
            return Ok(false);
        }
        for (address, rule) in &rules.addresses {
            if self.set.addresses.get(address) != Some(rule) {
                change(&self.addresses, &address_key(address), Some(*rule))?;
                self.set.addresses.insert(*address, *rule);
            }
        }
        for mac in rules.macs.difference(&self.set.macs.clone()) {
            change(&self.macs, &mac_key(mac), Some(Rule::Fence))?;
            self.set.macs.insert(*mac);
        }
        for address in self.set.addresses.clone().keys() {
            if !rules.addresses.contains_key(address) {
                change(&self.addresses, &address_key(address), None)?;
                self.set.addresses.remove(address);
            }
        }
        for mac in self.set.macs.clone().difference(&rules.macs) {
            change(&self.macs, &mac_key(mac), None)?;
            self.set.macs.remove(mac);
        }
        Ok(true)
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
