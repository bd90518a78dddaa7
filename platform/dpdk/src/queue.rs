//! The queues of a port: what a worker polls and fills.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use dpdk_sys as sys;

use crate::bond::BondMode;
use crate::burst::Burst;
use crate::port::{Open, PortId};

/// DPDK's queues bear one thread at a time: Send, not Sync, not Clone.
type OneThread = PhantomData<Cell<()>>;

/// A receive queue. It keeps its port open.
pub struct RxQueue {
    port: Arc<Open>,
    queue: u16,
    one_thread: OneThread,
}

/// A transmit queue. It keeps its port open.
pub struct TxQueue {
    port: Arc<Open>,
    queue: u16,
    refused: Cell<u64>,
}

impl RxQueue {
    pub(crate) fn new(port: Arc<Open>, queue: u16) -> RxQueue {
        RxQueue { port, queue, one_thread: PhantomData }
    }

    /// The port it belongs to.
    pub fn port(&self) -> PortId {
        self.port.id
    }

    /// Its number on the port.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// Appends what has arrived, as far as there is room in `into`; returns how many.
    #[inline]
    pub fn burst(&self, into: &mut Burst) -> usize {
        self.burst_at_most(into, into.room())
    }

    /// Appends at most `max` frames. Vector drivers take multiples of 4 or 8: leave at least that much room.
    #[inline]
    pub fn burst_at_most(&self, into: &mut Burst, max: usize) -> usize {
        let room = into.room().min(max) as u16;
        // SAFETY: the port is started with this queue and stays so while self.port lives; the queue is used by one
        // thread; `room` slots are free behind the burst's length.
        let count = unsafe { sys::shim_rx_burst(self.port.id.0, self.queue, into.spare(), room) };
        let count = usize::from(count.min(room));
        // SAFETY: the driver wrote `count` mbufs that it gave up.
        unsafe { into.grow(count) };
        count
    }
}

impl TxQueue {
    pub(crate) fn new(port: Arc<Open>, queue: u16) -> TxQueue {
        TxQueue { port, queue, refused: Cell::new(0) }
    }

    /// The port it belongs to.
    pub fn port(&self) -> PortId {
        self.port.id
    }

    /// Its number on the port.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// Frames dropped because the port cannot carry them (longer than its MTU allows, or empty, or in segments that it
    /// cannot gather and that do not fit in one).
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Hands frames to the device from the front; returns how many it took. The rest stays in `from`, in order.
    #[inline]
    pub fn burst(&self, from: &mut Burst) -> usize {
        // Drivers copy pkt_len bytes from the first segment without looking: what does not fit must not reach them.
        let (longest, segments) = (self.port.max_frame, self.port.max_segments);
        let carried =
            |mbuf: &crate::Mbuf| (1..=longest).contains(&mbuf.len()) && mbuf.segment_count() <= segments;
        if !from.as_slice().iter().all(carried) {
            self.refuse(from);
        }
        if from.is_empty() {
            return 0;
        }
        let count = from.len() as u16;
        // SAFETY: the port is started with this queue and stays so while self.port lives; the queue is used by one
        // thread; the first `count` slots hold owned mbufs.
        let sent = unsafe { sys::shim_tx_burst(self.port.id.0, self.queue, from.as_raw(), count) };
        let sent = usize::from(sent.min(count));
        // SAFETY: the driver took the first `sent` mbufs.
        unsafe { from.forget_front(sent) };
        sent
    }

    /// Lets the driver of a bond send what it has to say to the switch (LACPDUs): it has no other occasion. At least every
    /// 100 ms; does nothing on other ports.
    #[inline]
    pub fn keep_alive(&self) {
        if self.port.bond.as_ref().is_some_and(|bond| bond.mode == BondMode::Lacp) {
            // SAFETY: the port is started with this queue and stays so while self.port lives; the queue is used by one
            // thread; of no mbuf none is read.
            unsafe { sys::shim_tx_burst(self.port.id.0, self.queue, std::ptr::dangling_mut(), 0) };
        }
    }

    #[cold]
    fn refuse(&self, from: &mut Burst) {
        let before = from.len();
        from.retain(|mbuf| {
            let fits = (1..=self.port.max_frame).contains(&mbuf.len());
            fits && (mbuf.segment_count() <= self.port.max_segments || mbuf.linearize().is_ok())
        });
        self.refused.set(self.refused.get() + (before - from.len()) as u64);
    }
}
