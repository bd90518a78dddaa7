//! The environment abstraction layer: started once a process, alive as long as anything that needs it.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use dpdk_sys as sys;

use crate::error::{EalError, PortError, ThreadError, last_reason, reason};
use crate::log;
use crate::port::PortId;

static STARTED: AtomicBool = AtomicBool::new(false);

/// The proof that EAL runs. Cheap to clone; EAL is cleaned up when the last holder is gone (ports, pools and thread
/// registrations hold one each), unless an mbuf is still out then.
#[derive(Clone)]
pub struct Eal(Arc<Inner>);

struct Inner {
    pools: Mutex<Vec<PoolPtr>>,
    /// Ports taken by a [`crate::Port`].
    taken: Mutex<[bool; sys::SHIM_MAX_ETHPORTS as usize]>,
    /// Control calls of DPDK are not safe against each other: one at a time.
    control: Mutex<()>,
}

#[derive(Clone, Copy)]
struct PoolPtr(NonNull<sys::rte_mempool>);
// SAFETY: the mempool is shared memory whose functions are thread-safe; the pointer has no tie to a thread.
unsafe impl Send for PoolPtr {}

impl Eal {
    /// Starts EAL with `args` (without a program name). The calling thread is neither pinned nor made an lcore: EAL
    /// initialises on a thread of its own that ends afterwards. EAL's control threads run where the caller may run,
    /// outside the cores of `--lcores`, or on those when nothing is left: confine the calling thread to them before.
    ///
    /// # Errors
    /// A second call in a process, a NUL byte in an argument, or EAL's refusal with what it logged.
    pub fn init<S: AsRef<str>>(args: &[S]) -> Result<Eal, EalError> {
        let mut owned = vec![c"usher".to_owned()];
        for arg in args {
            let arg = arg.as_ref();
            owned.push(CString::new(arg).map_err(|_| EalError::NulInArgument { arg: arg.to_owned() })?);
        }
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }
        log::route();
        let start = thread::Builder::new().name("eal-init".to_owned()).spawn(move || {
            // EAL keeps pointers into its arguments: they are never freed.
            let argv: &'static mut [*mut std::ffi::c_char] =
                Box::leak(owned.into_iter().map(CString::into_raw).collect());
            let (rc, said) = log::collect(|| {
                // SAFETY: argv holds argc NUL-terminated writable strings that live as long as the program, and
                // STARTED makes this the only call.
                unsafe { sys::rte_eal_init(argv.len() as i32, argv.as_mut_ptr()) }
            });
            let outcome = if rc < 0 { Err((last_reason(), log::joined(&said))) } else { Ok(()) };
            if rc >= 0 {
                // A device that did not come up is no reason for EAL not to.
                said.iter().for_each(|line| tracing::warn!(target: "dpdk", "{line}"));
            }
            remove_runtime_dir();
            outcome
        });
        let outcome = start.map_err(EalError::Thread)?.join();
        let args = || args.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        match outcome {
            Ok(Ok(())) => Ok(Eal(Arc::new(Inner {
                pools: Mutex::new(Vec::new()),
                taken: Mutex::new([false; sys::SHIM_MAX_ETHPORTS as usize]),
                control: Mutex::new(()),
            }))),
            Ok(Err((reason, said))) => Err(EalError::Init { reason, said, args: args() }),
            Err(_) => Err(EalError::Init {
                reason: "the start panicked".to_owned(),
                said: "see the message above".to_owned(),
                args: args(),
            }),
        }
    }

    /// Makes the calling thread an lcore, which gives it a cache in front of each mempool. Every worker does this
    /// first; dropping the registration (on the same thread) flushes the caches and gives the lcore id back.
    ///
    /// # Errors
    /// The thread is registered, or no lcore id is free (128 in Debian's DPDK).
    pub fn register_thread(&self) -> Result<ThreadRegistration, ThreadError> {
        // SAFETY: reads a thread-local integer.
        let lcore = unsafe { sys::shim_lcore_id() };
        if lcore != sys::SHIM_LCORE_ID_ANY {
            return Err(ThreadError::AlreadyRegistered { lcore });
        }
        // SAFETY: EAL runs (self proves it) and this thread is not an lcore.
        let (rc, said) = log::collect(|| unsafe { sys::rte_thread_register() });
        if rc != 0 {
            return Err(ThreadError::Refused { reason: last_reason(), said: log::joined(&said) });
        }
        Ok(ThreadRegistration { eal: self.clone(), this_thread: PhantomData })
    }

    /// The ports that exist now, probed at the start or plugged later.
    pub fn ports(&self) -> Vec<PortId> {
        let mut ports = Vec::new();
        let mut next = 0;
        while next < sys::SHIM_MAX_ETHPORTS {
            // SAFETY: EAL runs; any start value is allowed.
            let found = unsafe { sys::rte_eth_find_next_owned_by(next, sys::SHIM_ETH_DEV_NO_OWNER) };
            let Some(id) = u16::try_from(found).ok().filter(|id| *id < sys::SHIM_MAX_ETHPORTS) else { break };
            ports.push(PortId(id));
            next = id + 1;
        }
        ports
    }

    /// The port of the device `name` ("net_tap0", "0000:03:00.0").
    pub fn port_by_name(&self, name: &str) -> Option<PortId> {
        let name = CString::new(name).ok()?;
        let mut id = 0;
        // SAFETY: EAL runs, `name` is NUL-terminated, `id` is writable.
        let rc = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) };
        (rc == 0).then_some(PortId(id))
    }

    /// Adds a device while running, for example `net_tap0,iface=exc0,mac=02:00:00:00:00:01`, and returns its port.
    ///
    /// # Errors
    /// The driver refused the device; the message carries what it logged.
    pub fn plug(&self, devargs: &str) -> Result<PortId, PortError> {
        let missing = || PortError::Missing { port: devargs.to_owned() };
        let text = CString::new(devargs).map_err(|_| missing())?;
        let _one_at_a_time = self.control();
        // SAFETY: EAL runs and `text` is NUL-terminated.
        let (rc, said) = log::collect(|| unsafe { sys::rte_dev_probe(text.as_ptr()) });
        if rc != 0 {
            return Err(PortError::Refused {
                port: devargs.to_owned(),
                operation: "adding the device",
                reason: reason(rc),
                said: format!(": {}", log::joined(&said)),
                remedy: "check the device's name and arguments, and that this process may open it",
            });
        }
        self.port_by_name(devargs.split(',').next().unwrap_or_default()).ok_or_else(missing)
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, ()> {
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a port as taken; false when it is.
    pub(crate) fn take_port(&self, id: PortId) -> bool {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get_mut(usize::from(id.0)).is_some_and(|slot| !std::mem::replace(slot, true))
    }

    pub(crate) fn release_port(&self, id: PortId) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = taken.get_mut(usize::from(id.0)) {
            *slot = false;
        }
    }

    pub(crate) fn keep_pool(&self, pool: NonNull<sys::rte_mempool>) {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner).push(PoolPtr(pool));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let pools = self.pools.get_mut().unwrap_or_else(PoisonError::into_inner);
        // No handle is left: every port is closed, no thread is an lcore (so no cache is in use), nobody can allocate.
        // An mbuf that lives on is missing in its pool, and can only come back: the count errs to the safe side.
        // SAFETY: pools are freed nowhere but below.
        if pools.iter().any(|pool| unsafe { sys::rte_mempool_in_use_count(pool.0.as_ptr()) } != 0) {
            // Some drivers (net_af_xdp) never give back what they had lent to the kernel.
            tracing::debug!(target: "dpdk", "mbufs outlive EAL: its memory is left to the end of the process");
            return;
        }
        for pool in pools.drain(..) {
            // SAFETY: all mbufs are in the pool and no handle to it is left.
            unsafe { sys::rte_mempool_free(pool.0.as_ptr()) };
        }
        // SAFETY: EAL was started and nothing that uses it is left.
        if unsafe { sys::rte_eal_cleanup() } != 0 {
            tracing::warn!(target: "dpdk", "EAL did not clean up: {}", last_reason());
        }
    }
}

/// EAL makes a directory a file prefix even where it has no use for it (--no-shconf, --in-memory), and never removes it.
fn remove_runtime_dir() {
    // SAFETY: EAL returns a NUL-terminated string of its own, empty before it has chosen the directory.
    let dir = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
    let dir = Path::new(OsStr::from_bytes(dir.to_bytes()));
    if dir.is_absolute() {
        // Fails, as it should, when there is something in it.
        let _ = fs::remove_dir(dir);
    }
}

/// A thread's place among the lcores; given back on drop, on the thread that took it.
pub struct ThreadRegistration {
    eal: Eal,
    /// Not Send: the registration is a property of the thread.
    this_thread: PhantomData<*const ()>,
}

impl ThreadRegistration {
    /// The lcore id that EAL gave this thread. It is no core number.
    pub fn lcore(&self) -> u32 {
        // SAFETY: reads a thread-local integer.
        unsafe { sys::shim_lcore_id() }
    }
}

impl Drop for ThreadRegistration {
    fn drop(&mut self) {
        // Without this, what is cached for this lcore id would be lost to all other threads.
        for pool in self.eal.0.pools.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // SAFETY: pools live as long as EAL, which self.eal keeps up; this thread owns its cache.
            unsafe { sys::shim_mempool_flush_cache(pool.0.as_ptr()) };
        }
        // SAFETY: this thread was registered by register_thread and has not been since.
        unsafe { sys::rte_thread_unregister() };
    }
}

/// The time stamp counter. Take it once a burst, not once a packet.
#[inline]
pub fn rdtsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86_64 processor that DPDK supports has the instruction; it touches no memory.
    return unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: reads the architecture's counter.
    return unsafe { sys::shim_rdtsc() };
}

/// Ticks of [`rdtsc`] a second, as EAL measured them.
pub fn tsc_hz(_proof: &Eal) -> u64 {
    // SAFETY: EAL runs; reads a variable set at its start.
    unsafe { sys::rte_get_tsc_hz() }
}
