//! One error an operation; errno ends here. Each message names the object, the value and what to do next.

use std::ffi::CStr;

use thiserror::Error;

/// Why EAL did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EalError {
    /// EAL starts once in the life of a process.
    #[error("EAL was started before in this process: it starts once; start a new process")]
    AlreadyStarted,
    /// An argument cannot be handed to C.
    #[error("EAL argument {arg:?} holds a NUL byte: remove it from the profile or the command line")]
    NulInArgument {
        /// The argument.
        arg: String,
    },
    /// No thread for the start.
    #[error("no thread to start EAL on ({0}): raise the limit of tasks of this service or user (ulimit -u)")]
    Thread(std::io::Error),
    /// EAL said no.
    #[error("EAL did not start ({reason}): {said}; mend that and start again (arguments: {args})")]
    Init {
        /// The text of DPDK's error number.
        reason: String,
        /// What EAL logged as errors meanwhile.
        said: String,
        /// The arguments, separated by blanks.
        args: String,
    },
}

/// Why a thread could not be made known to EAL.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ThreadError {
    /// The thread has an lcore id already.
    #[error("this thread is registered with EAL already (lcore {lcore}): register each worker thread once")]
    AlreadyRegistered {
        /// Its lcore id.
        lcore: u32,
    },
    /// EAL said no.
    #[error(
        "EAL did not register this thread ({reason}): {said}; use fewer workers, and no other DPDK process with the same file prefix"
    )]
    Refused {
        /// The text of DPDK's error number.
        reason: String,
        /// What EAL logged as errors meanwhile.
        said: String,
    },
}

/// Why the rules of a shared port were not set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SteerError {
    /// The program.
    #[error(
        "the XDP program usher_steer cannot be reached ({reason}): see `ip -d link` for the program that is attached; the \
         process needs CAP_SYS_ADMIN (the service has it)"
    )]
    Program {
        /// The text of the error number.
        reason: String,
    },
    /// A socket of a receive queue.
    #[error(
        "the XDP program usher_steer does not take the socket of receive queue {queue}: lower `queues` to the receive queues that \
         `ethtool -l` shows, at most 64"
    )]
    Queue {
        /// The queue.
        queue: u16,
    },
    /// One of its maps.
    #[error(
        "map {map} of the XDP program usher_steer cannot be opened ({reason}): see `ip -d link` for the program that is \
         attached; the process needs CAP_SYS_ADMIN (the service has it)"
    )]
    Map {
        /// The map.
        map: String,
        /// The text of the error number.
        reason: String,
    },
    /// The filter of what the kernel sends.
    #[error(
        "the filter usher_egress cannot be set ({reason}): the kernel needs CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF, and \
         `tc filter show dev NAME egress` must have nothing of priority 21843"
    )]
    Egress {
        /// The text of the error number.
        reason: String,
    },
    /// A flow rule.
    #[error(
        "port {port} does not take the flow rule ({reason}: {said}): set attach = \"owned\", or use AF_XDP over its interface"
    )]
    Flow {
        /// The port's number.
        port: u16,
        /// The text of the error number.
        reason: String,
        /// What the driver said.
        said: String,
    },
    /// A rule.
    #[error(
        "the XDP program takes no further rule ({reason}): leave at most 64 virtual addresses on the port"
    )]
    Set {
        /// The text of the error number.
        reason: String,
    },
}

/// Why a mempool was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MempoolError {
    /// A parameter is out of its range.
    #[error("mempool {name}: {what} {value} is out of range: {remedy}")]
    Range {
        /// The pool.
        name: String,
        /// The parameter.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What to write instead.
        remedy: &'static str,
    },
    /// DPDK said no.
    #[error(
        "mempool {name} of {mbufs} mbufs of {data_room} bytes on socket {socket} was not made ({reason}): raise \
         eal.memory_mib or lower mempool.mbufs in the profile"
    )]
    Create {
        /// The pool.
        name: String,
        /// How many mbufs were asked for.
        mbufs: u32,
        /// The data room of each, bytes.
        data_room: u16,
        /// The NUMA node, -1 for any.
        socket: i32,
        /// The text of DPDK's error number.
        reason: String,
    },
}

/// Why an operation on a port failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PortError {
    /// There is no such port.
    #[error("there is no port {port}: name a device that EAL has probed (argument --vdev or a PCI address)")]
    Missing {
        /// Name or number.
        port: String,
    },
    /// The port belongs to somebody in this process.
    #[error("port {port} is in use already: configure each port once")]
    InUse {
        /// The port's name.
        port: String,
    },
    /// The device has fewer queues.
    #[error(
        "port {port} ({driver}) has at most {max} {kind} queues, {wanted} were asked for: lower `queues` of this port"
    )]
    Queues {
        /// The port's name.
        port: String,
        /// Its driver.
        driver: String,
        /// "rx" or "tx".
        kind: &'static str,
        /// Asked for.
        wanted: u16,
        /// What the device has.
        max: u16,
    },
    /// The MTU does not fit.
    #[error(
        "port {port}: mtu {mtu} is out of range: choose {min} to {max} (limits of driver {driver} and of mempool.data_room)"
    )]
    Mtu {
        /// The port's name.
        port: String,
        /// Its driver.
        driver: String,
        /// Asked for.
        mtu: u16,
        /// The least.
        min: u16,
        /// The most.
        max: u16,
    },
    /// The driver refused an operation.
    #[error("port {port}: {operation} failed ({reason}){said}: {remedy}")]
    Refused {
        /// The port's name, or the device's arguments.
        port: String,
        /// What was tried.
        operation: &'static str,
        /// The text of the error number.
        reason: String,
        /// What the driver logged, starting with ": ", or nothing.
        said: String,
        /// What to do next.
        remedy: &'static str,
    },
}

/// A length that an mbuf cannot have.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "an mbuf of {segments} segment(s) with room for {room} bytes cannot be {wanted} bytes long: shorten it, or linearize it first"
)]
pub struct LenError {
    /// Asked for, bytes.
    pub wanted: usize,
    /// What fits in the first segment, bytes.
    pub room: usize,
    /// Segments of the frame.
    pub segments: u16,
}

/// The text for a DPDK or system error number, of either sign.
pub(crate) fn reason(errno: i32) -> String {
    // SAFETY: rte_strerror takes any number and returns a NUL-terminated string that stays valid on this thread until
    // its next call; it is copied at once.
    unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno.abs())) }.to_string_lossy().into_owned()
}

/// The text for `rte_errno` of this thread.
pub(crate) fn last_reason() -> String {
    // SAFETY: reads a thread-local integer.
    reason(unsafe { dpdk_sys::shim_errno() })
}
