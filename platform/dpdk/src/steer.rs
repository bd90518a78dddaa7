//! Sharing a port with the kernel: what comes to our queues, and what is fenced. By our XDP program, or by flow rules of the NIC.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
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
/// The name of the filter of what the kernel sends.
const EGRESS: &CStr = c"usher_egress";

/// Our program, as the kernel holds it.
pub struct Program {
    fd: OwnedFd,
    attachment: Attachment,
}

/// How the program is on its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// The program's number in the kernel (`ip -d link` shows it); 0: not attached.
    pub program: u32,
    /// Where the kernel runs it.
    pub mode: Mode,
}

/// Where the kernel runs an XDP program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Not known.
    #[default]
    Unknown,
    /// In the driver, before a packet has a socket buffer.
    Native,
    /// In the stack, after the driver: any driver, at a fraction of the rate.
    Generic,
    /// On the NIC.
    Offloaded,
}

/// AF_XDP sockets of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Whose frames the kernel copies.
    pub copying: u32,
    /// Whose buffers the NIC uses itself.
    pub zero_copy: u32,
}

/// The AF_XDP sockets of this process now: a port's are those that its configuration adds.
pub fn sockets() -> Sockets {
    let mut sockets = Sockets::default();
    // SAFETY: both are writable. Where /proc is missing both are 0.
    unsafe { sys::shim_xdp_sockets(&mut sockets.copying, &mut sockets.zero_copy) };
    sockets
}

/// Their descriptors. DPDK's driver owns them and does not tell: that of a queue is the one that its configuration adds.
pub fn descriptors() -> BTreeSet<RawFd> {
    let mut fds = [0; 1024];
    // SAFETY: the array has room for as many descriptors as are asked for.
    let count = unsafe { sys::shim_xdp_descriptors(fds.as_mut_ptr(), fds.len() as i32) };
    fds.into_iter().take(usize::try_from(count).unwrap_or(0)).collect()
}

/// Queues of an interface as its driver groups them (`ethtool -l`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Receive and transmit queues in pairs, at most; 0: there are no such pairs, and DPDK's driver serves one queue a device.
    pub combined: u32,
    /// Queues that only receive, now.
    pub rx: u32,
}

/// The channels of an interface of the kernel's; none where the driver does not tell.
pub fn channels(interface: &str) -> Channels {
    let mut channels = Channels::default();
    if let Ok(name) = CString::new(interface) {
        // SAFETY: the name is NUL-terminated, both numbers are writable; on failure they are 0.
        unsafe { sys::shim_channels(name.as_ptr(), &mut channels.combined, &mut channels.rx) };
    }
    channels
}

/// Takes our program off a device, so that DPDK's driver can attach it for the next socket. That there is none is no error.
///
/// # Errors
/// The program there is somebody else's, or this process may not take it off (CAP_NET_ADMIN).
pub fn detach(ifindex: u32) -> Result<(), SteerError> {
    // SAFETY: the name is NUL-terminated and outlives the call.
    let rc = unsafe { sys::shim_xdp_detach(ifindex, NAME.as_ptr()) };
    if rc == 0 { Ok(()) } else { Err(SteerError::Program { reason: reason(rc) }) }
}

/// Our program with the sockets of several devices of DPDK's driver, in the place of the one that the last of them attached. It
/// is taken off with this value.
pub struct Placed {
    program: Program,
    ifindex: u32,
}

impl Placed {
    /// Loads the program, gives it the sockets of an interface's receive queues, and exchanges it for what is attached, in the
    /// same mode: frames meet the one or the other.
    ///
    /// # Errors
    /// The kernel does not take the program or a socket, or nothing is attached.
    pub fn put(ifindex: u32, sockets: &[(u16, RawFd)]) -> Result<Placed, SteerError> {
        let program = Program::load()?;
        let map = program.map(c"xsks_map")?;
        for (queue, socket) in sockets {
            change(&map, &u32::from(*queue).to_ne_bytes(), Some(*socket as u32))
                .map_err(|_| SteerError::Queue { queue: *queue })?;
        }
        // SAFETY: takes numbers; the program's descriptor is open.
        let rc = unsafe { sys::shim_xdp_replace(ifindex, program.fd.as_raw_fd()) };
        if rc != 0 {
            return Err(SteerError::Program { reason: reason(rc) });
        }
        let attachment = Program::attached(ifindex)?.attachment;
        Ok(Placed { program: Program { attachment, ..program }, ifindex })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // A device that has gone took the program along.
        let _ = detach(self.ifindex);
    }
}

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
        let (mut program, mut mode) = (0, 0);
        // SAFETY: both are writable.
        let fd = unsafe { sys::shim_xdp_attached(ifindex, &mut program, &mut mode) };
        // XDP_ATTACHED_DRV, _SKB and _HW of linux/if_link.h.
        let mode = match mode {
            1 => Mode::Native,
            2 => Mode::Generic,
            3 => Mode::Offloaded,
            _ => Mode::Unknown,
        };
        Program::from(fd, Attachment { program, mode })
    }

    /// Loads the program without a device: the kernel's verifier has its say, and [`Program::way`] can be asked.
    ///
    /// # Errors
    /// The kernel does not take it, or this process may not load it (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON).
    pub fn load() -> Result<Program, SteerError> {
        let object = object();
        // SAFETY: the object's bytes outlive the call; without a program whose maps it shares no name is read.
        let fd = unsafe { sys::shim_bpf_load(object.as_ptr().cast(), object.len(), -1, ptr::null()) };
        Program::from(fd, Attachment::default())
    }

    fn from(fd: i32, attachment: Attachment) -> Result<Program, SteerError> {
        let fd = owned(fd).map_err(|reason| SteerError::Program { reason })?;
        Ok(Program { fd, attachment })
    }

    fn map(&self, name: &CStr) -> Result<OwnedFd, SteerError> {
        // SAFETY: both strings are NUL-terminated and outlive the call.
        let fd = unsafe { sys::shim_xdp_map(self.fd.as_raw_fd(), NAME.as_ptr(), name.as_ptr()) };
        owned(fd).map_err(|reason| SteerError::Map { map: name.to_string_lossy().into_owned(), reason })
    }

    /// Where the program sends this frame of at least 14 bytes under the rules in force, asked of the kernel itself.
    ///
    /// # Errors
    /// A frame that is too short, or this process may not ask (CAP_BPF, CAP_NET_ADMIN).
    pub fn way(&self, frame: &[u8]) -> Result<Way, SteerError> {
        const XDP_DROP: i32 = 1;
        let map = self.map(c"usher_counts")?;
        let to_sockets = || counts(&map).map(|counts| counts.steered + counts.unserved);
        let before = to_sockets()?;
        match run(&self.fd, frame)? {
            XDP_DROP => Ok(Way::Fenced),
            _ if to_sockets()? > before => Ok(Way::Socket),
            _ => Ok(Way::Kernel),
        }
    }
}

/// The verdict of a program on a frame.
fn run(program: &OwnedFd, frame: &[u8]) -> Result<i32, SteerError> {
    let mut verdict = 0;
    // SAFETY: the frame's bytes outlive the call, which copies them; `verdict` is writable.
    let rc = unsafe {
        sys::shim_bpf_run(program.as_raw_fd(), frame.as_ptr().cast(), frame.len() as u32, &mut verdict)
    };
    if rc == 0 { Ok(verdict) } else { Err(SteerError::Program { reason: reason(rc) }) }
}

/// The filter of what the kernel sends on a port that it keeps: nothing leaves in the name of what is fenced or given up.
pub struct Egress {
    fd: OwnedFd,
    on: Option<u32>,
}

impl Egress {
    /// Loads it over the maps of a program: what is fenced there is fenced here.
    ///
    /// # Errors
    /// The kernel does not take it, or this process may not load it (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON).
    pub fn load(program: &Program) -> Result<Egress, SteerError> {
        let object = sys::EGRESS_OBJECT;
        // SAFETY: the object's bytes and the NUL-terminated name outlive the call.
        let fd = unsafe {
            sys::shim_bpf_load(object.as_ptr().cast(), object.len(), program.fd.as_raw_fd(), NAME.as_ptr())
        };
        Ok(Egress { fd: owned(fd).map_err(|reason| SteerError::Egress { reason })?, on: None })
    }

    /// Puts it on the device of this index, in the place of one that a killed predecessor left; it is taken off with
    /// this value.
    ///
    /// # Errors
    /// The kernel has no clsact or no classifier by BPF (CONFIG_NET_CLS_BPF), or somebody else's filter has its place.
    pub fn attach(&mut self, ifindex: u32) -> Result<(), SteerError> {
        // SAFETY: the name is NUL-terminated and outlives the call.
        let rc = unsafe { sys::shim_egress_attach(ifindex, self.fd.as_raw_fd(), EGRESS.as_ptr()) };
        if rc != 0 {
            return Err(SteerError::Egress { reason: reason(rc) });
        }
        self.on = Some(ifindex);
        Ok(())
    }

    /// Whether a frame of at least 14 bytes may leave under the rules in force, asked of the kernel itself.
    ///
    /// # Errors
    /// A frame that is too short, or this process may not ask (CAP_BPF, CAP_NET_ADMIN).
    pub fn lets_out(&self, frame: &[u8]) -> Result<bool, SteerError> {
        const TC_ACT_SHOT: i32 = 2;
        Ok(run(&self.fd, frame)? != TC_ACT_SHOT)
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        if let Some(ifindex) = self.on {
            // SAFETY: takes a number. A device that has gone took the filter along.
            unsafe { sys::shim_egress_detach(ifindex) };
        }
    }
}

/// What the programs of a device counted, each frame once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Came in and were fenced.
    pub fenced: u64,
    /// Went to a socket.
    pub steered: u64,
    /// Were left to the kernel.
    pub passed: u64,
    /// Were for a socket, but came on a queue that has none: left to the kernel.
    pub unserved: u64,
    /// The kernel sent in the name of what is fenced or given up: dropped.
    pub fenced_out: u64,
}

fn counts(map: &OwnedFd) -> Result<Counts, SteerError> {
    let sum = |index| {
        let mut sum = 0;
        // SAFETY: `sum` is writable; the shim allocates what the kernel writes for all cores.
        match unsafe { sys::shim_map_sum(map.as_raw_fd(), index, &mut sum) } {
            0 => Ok(sum),
            rc => Err(SteerError::Program { reason: reason(rc) }),
        }
    };
    // `enum count` of the programs.
    let [fenced, steered, passed, unserved, fenced_out] = [0, 1, 2, 3, 4].map(sum);
    Ok(Counts {
        fenced: fenced?,
        steered: steered?,
        passed: passed?,
        unserved: unserved?,
        fenced_out: fenced_out?,
    })
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
    /// At most 128 virtual MACs.
    pub macs: BTreeMap<[u8; 6], MacRule>,
}

/// What becomes of frames of a virtual MAC. The programs know the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MacRule {
    /// The kernel sends nothing in its name: a group that this node has given up.
    GivenUp = 2,
    /// Nothing comes in to it, nothing leaves in its name.
    Fence = 3,
}

impl Rules {
    /// MACs that are fenced inwards; MACs and addresses that are fenced outwards.
    fn fences(&self) -> [u32; 2] {
        let inwards = self.macs.values().filter(|rule| **rule == MacRule::Fence).count();
        let addresses = self.addresses.values().filter(|rule| **rule == Rule::Fence).count();
        [inwards as u32, (self.macs.len() + addresses) as u32]
    }
}

/// The rules in force, and the way to change them.
pub struct Steering {
    by: By,
    set: Rules,
    /// What the programs were told of the number of fences.
    fences: [u32; 2],
}

enum By {
    Program { addresses: OwnedFd, macs: OwnedFd, fences: OwnedFd, counts: OwnedFd, attachment: Attachment },
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
            counts: program.map(c"usher_counts")?,
            attachment: program.attachment,
        };
        Ok(Steering { by, set: Rules::default(), fences: [0; 2] })
    }

    /// Flow rules of a port that is isolated ([`crate::PortConfig::isolated`]), over its first `queues` queues. They tell ports
    /// and addresses, not messages: later messages on 500 and 4500 come too. A fence is for IP; ARP and MACs it leaves.
    pub fn flows(port: &Port, queues: u16) -> Steering {
        let by = By::Flows { port: port.id(), queues, flows: BTreeMap::new() };
        Steering { by, set: Rules::default(), fences: [0; 2] }
    }

    /// How the program is on its device; None: flow rules steer.
    pub fn attachment(&self) -> Option<Attachment> {
        match &self.by {
            By::Program { attachment, .. } => Some(*attachment),
            By::Flows { .. } => None,
        }
    }

    /// What the programs counted since they were loaded; zeros for flow rules.
    ///
    /// # Errors
    /// The kernel does not let this process at the map.
    pub fn counts(&self) -> Result<Counts, SteerError> {
        match &self.by {
            By::Program { counts: map, .. } => counts(map),
            By::Flows { .. } => Ok(Counts::default()),
        }
    }

    /// Makes these the rules; what is new comes before what is old goes. Does nothing when they are the rules already.
    /// True when something changed.
    ///
    /// # Errors
    /// The kernel refused one: the rules before it are set, and the next call tries again.
    pub fn set(&mut self, rules: &Rules) -> Result<bool, SteerError> {
        let fences = rules.fences();
        if self.set == *rules && self.fences == fences {
            return Ok(false);
        }
        for (address, rule) in &rules.addresses {
            if self.set.addresses.get(address) != Some(rule) {
                self.by.address(address, Some(*rule))?;
                self.set.addresses.insert(*address, *rule);
            }
        }
        for (mac, rule) in &rules.macs {
            if self.set.macs.get(mac) != Some(rule) {
                self.by.mac(mac, Some(*rule))?;
                self.set.macs.insert(*mac, *rule);
            }
        }
        for address in self.set.addresses.clone().keys() {
            if !rules.addresses.contains_key(address) {
                self.by.address(address, None)?;
                self.set.addresses.remove(address);
            }
        }
        for mac in self.set.macs.clone().keys() {
            if !rules.macs.contains_key(mac) {
                self.by.mac(mac, None)?;
                self.set.macs.remove(mac);
            }
        }
        self.by.fences(fences)?;
        self.fences = fences;
        Ok(true)
    }
}

impl By {
    fn address(&mut self, address: &Address, rule: Option<Rule>) -> Result<(), SteerError> {
        match self {
            By::Program { addresses, .. } => {
                change(addresses, &address_key(address), rule.map(|rule| rule as u32))
            }
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

    fn mac(&self, mac: &[u8; 6], rule: Option<MacRule>) -> Result<(), SteerError> {
        match self {
            By::Program { macs, .. } => change(macs, &mac_key(mac), rule.map(|rule| rule as u32)),
            By::Flows { .. } => Ok(()),
        }
    }

    /// Tells the programs how much there is to look for.
    fn fences(&self, counts: [u32; 2]) -> Result<(), SteerError> {
        let By::Program { fences, .. } = self else { return Ok(()) };
        for (index, count) in (0u32..).zip(counts) {
            change(fences, &index.to_ne_bytes(), Some(count))?;
        }
        Ok(())
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

fn change(map: &OwnedFd, key: &[u8], value: Option<u32>) -> Result<(), SteerError> {
    let key: *const c_void = key.as_ptr().cast();
    // SAFETY: the key has the length that the program declares for this map (20, 8 and 4 bytes).
    let rc = unsafe {
        match value {
            Some(value) => sys::shim_map_set(map.as_raw_fd(), key, value),
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
