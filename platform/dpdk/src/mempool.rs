//! Pools of packet buffers.

use std::ffi::CString;
use std::ptr::NonNull;

use dpdk_sys as sys;

use crate::burst::Burst;
use crate::eal::Eal;
use crate::error::{MempoolError, last_reason};
use crate::mbuf::Mbuf;

/// Bytes in front of a frame in each mbuf (RTE_PKTMBUF_HEADROOM).
pub const HEADROOM: u16 = sys::SHIM_PKTMBUF_HEADROOM;

/// A pool of mbufs; a clone is another handle to the same pool. The memory lives as long as EAL, so its name cannot be
/// used again.
#[derive(Clone)]
pub struct Mempool {
    pool: NonNull<sys::rte_mempool>,
    data_room: u16,
    eal: Eal,
}

// SAFETY: the pool is a multi-producer multi-consumer ring with one cache a registered thread.
unsafe impl Send for Mempool {}
// SAFETY: as above; every method is thread-safe in DPDK.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes a pool of `mbufs` buffers of `data_room` bytes (headroom of 128 included) on NUMA node `socket` (-1: any),
    /// with `cache` buffers kept by each registered thread (0 to 512, at most two thirds of the pool).
    ///
    /// # Errors
    /// A parameter out of range, a name used before, or not enough memory.
    pub fn new(
        eal: &Eal,
        name: &str,
        mbufs: u32,
        cache: u32,
        data_room: u16,
        socket: i32,
    ) -> Result<Mempool, MempoolError> {
        let range = |what, value, remedy| MempoolError::Range { name: name.to_owned(), what, value, remedy };
        if mbufs == 0 {
            return Err(range("mbufs", 0, "at least one is needed"));
        }
        if cache > sys::RTE_MEMPOOL_CACHE_MAX_SIZE || u64::from(cache) * 3 > u64::from(mbufs) * 2 {
            return Err(range(
                "cache",
                cache.into(),
                "choose at most 512 and at most two thirds of the mbufs",
            ));
        }
        if data_room < HEADROOM + 128 {
            return Err(range(
                "data_room",
                data_room.into(),
                "choose at least 256; 2176 holds a frame of 2048 bytes",
            ));
        }
        let c_name = CString::new(name)
            .map_err(|_| range("name with NUL of length", name.len() as u64, "remove it"))?;
        let _one_at_a_time = eal.control();
        // SAFETY: EAL runs, the name is NUL-terminated (DPDK copies it), the numbers are in range.
        let pool =
            unsafe { sys::rte_pktmbuf_pool_create(c_name.as_ptr(), mbufs, cache, 0, data_room, socket) };
        let pool = NonNull::new(pool).ok_or_else(|| MempoolError::Create {
            name: name.to_owned(),
            mbufs,
            data_room,
            socket,
            reason: last_reason(),
        })?;
        eal.keep_pool(pool);
        Ok(Mempool { pool, data_room, eal: eal.clone() })
    }

    /// An empty mbuf, or None when the pool is exhausted.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as EAL, which self.eal keeps up.
        let mbuf = unsafe { sys::shim_pktmbuf_alloc(self.pool.as_ptr()) };
        // SAFETY: the pool hands over a reset mbuf that nobody else holds.
        NonNull::new(mbuf).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Appends `count` empty mbufs, as far as there is room in `into`: all of them or, when the pool has too few, none.
    /// Returns how many.
    #[inline]
    pub fn alloc_bulk(&self, into: &mut Burst, count: usize) -> usize {
        let count = count.min(into.room());
        if count == 0 {
            return 0;
        }
        // SAFETY: the pool lives as long as EAL, which self.eal keeps up; `count` slots are free behind the length.
        let status = unsafe { sys::shim_pktmbuf_alloc_bulk(self.pool.as_ptr(), into.spare(), count as u32) };
        if status != 0 {
            return 0;
        }
        // SAFETY: the pool wrote `count` reset mbufs that nobody else holds.
        unsafe { into.grow(count) };
        count
    }

    /// Mbufs that are neither owned by the program nor by a device.
    pub fn available(&self) -> u32 {
        // SAFETY: as in alloc.
        unsafe { sys::rte_mempool_avail_count(self.pool.as_ptr()) }
    }

    /// Mbufs that are out: held by the program or by a device.
    pub fn in_use(&self) -> u32 {
        // SAFETY: as in alloc.
        unsafe { sys::rte_mempool_in_use_count(self.pool.as_ptr()) }
    }

    /// Bytes of each mbuf, headroom included.
    pub fn data_room(&self) -> u16 {
        self.data_room
    }

    pub(crate) fn eal(&self) -> &Eal {
        &self.eal
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.pool.as_ptr()
    }
}
