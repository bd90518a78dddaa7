//! Up to 64 owned mbufs in one array, the unit of receiving and sending.

use std::mem::MaybeUninit;
use std::{ptr, slice};

use dpdk_sys as sys;

use crate::mbuf::Mbuf;

/// Mbufs that a [`Burst`] holds at most.
pub const BURST: usize = 64;

/// An array of owned mbufs, dense from the front; the very memory that DPDK's burst calls read and write.
pub struct Burst {
    len: usize,
    slots: [MaybeUninit<Mbuf>; BURST],
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Burst {
    /// An empty burst.
    pub const fn new() -> Burst {
        Burst { len: 0, slots: [const { MaybeUninit::uninit() }; BURST] }
    }

    /// Mbufs held.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// None is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Mbufs that still fit.
    #[inline]
    pub fn room(&self) -> usize {
        BURST - self.len
    }

    /// Appends an mbuf.
    ///
    /// # Errors
    /// The burst is full: the mbuf comes back.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        match self.slots.get_mut(self.len) {
            Some(slot) => {
                slot.write(mbuf);
                self.len += 1;
                Ok(())
            }
            None => Err(mbuf),
        }
    }

    /// Takes the last mbuf.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: slots below the old length are initialised; the new length disowns this one.
        Some(unsafe { self.slots[self.len].assume_init_read() })
    }

    /// Takes the mbuf at `index`; the last one moves into its place.
    #[inline]
    pub fn swap_remove(&mut self, index: usize) -> Option<Mbuf> {
        if index >= self.len {
            return None;
        }
        let last = self.len - 1;
        self.as_mut_slice().swap(index, last);
        self.pop()
    }

    /// The mbufs, in order.
    #[inline]
    pub fn as_slice(&self) -> &[Mbuf] {
        // SAFETY: slots below len are initialised.
        unsafe { slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }

    /// The mbufs, in order, to be rewritten or rearranged.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Mbuf] {
        // SAFETY: slots below len are initialised.
        unsafe { slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }

    /// Takes all mbufs, in order, by value; those not taken are freed when the iterator goes.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        let end = self.len;
        self.len = 0;
        Drain { burst: self, next: 0, end }
    }

    /// Frees all mbufs at once.
    #[inline]
    pub fn clear(&mut self) {
        let count = self.len;
        self.len = 0;
        // SAFETY: slots below the old length are initialised and disowned by the new one.
        unsafe { free(&mut self.slots[..count]) };
    }

    /// Where the C side writes the next `room()` pointers.
    #[inline]
    pub(crate) fn spare(&mut self) -> *mut *mut sys::rte_mbuf {
        self.slots[self.len..].as_mut_ptr().cast()
    }

    /// # Safety
    /// The `count` slots after the current length hold owned mbufs, and `count` is at most `room()`.
    #[inline]
    pub(crate) unsafe fn grow(&mut self, count: usize) {
        self.len += count;
    }

    /// The mbufs as the array of pointers that C takes.
    #[inline]
    pub(crate) fn as_raw(&mut self) -> *mut *mut sys::rte_mbuf {
        self.slots.as_mut_ptr().cast()
    }

    /// # Safety
    /// The first `count` mbufs belong to somebody else now; `count` is at most `len()`.
    #[inline]
    pub(crate) unsafe fn forget_front(&mut self, count: usize) {
        self.len -= count;
        if self.len != 0 && count != 0 {
            let base = self.slots.as_mut_ptr();
            // SAFETY: both ranges lie within the slots; ptr::copy allows them to overlap.
            unsafe { ptr::copy(base.add(count), base, self.len) };
        }
    }

    /// Keeps the mbufs for which `keep` is true, in order, and frees the others.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Mbuf) -> bool) {
        let count = self.len;
        let mut kept = 0;
        for index in 0..count {
            if keep(&mut self.as_mut_slice()[index]) {
                self.as_mut_slice().swap(kept, index);
                kept += 1;
            }
        }
        self.len = kept;
        // SAFETY: slots between the new and the old length are initialised and disowned by the new one.
        unsafe { free(&mut self.slots[kept..count]) };
    }
}

/// # Safety
/// All slots are initialised and owned by nobody else.
#[inline]
unsafe fn free(slots: &mut [MaybeUninit<Mbuf>]) {
    if !slots.is_empty() {
        // SAFETY: an Mbuf has the layout of the pointer that C takes; at most BURST of them.
        unsafe { sys::rte_pktmbuf_free_bulk(slots.as_mut_ptr().cast(), slots.len() as u32) };
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Mbufs taken out of a [`Burst`] one by one.
pub struct Drain<'a> {
    burst: &'a mut Burst,
    next: usize,
    end: usize,
}

impl Drain<'_> {
    /// The mbuf that comes after `ahead` others, if there is one: to prefetch it.
    #[inline]
    pub fn ahead(&self, ahead: usize) -> Option<&Mbuf> {
        let index = self.next + ahead;
        // SAFETY: slots from next to end are initialised and owned by this iterator.
        (index < self.end).then(|| unsafe { self.burst.slots[index].assume_init_ref() })
    }
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: slots from next to end are initialised; moving next on disowns this one.
        let mbuf = unsafe { self.burst.slots[self.next].assume_init_read() };
        self.next += 1;
        Some(mbuf)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: slots from next to end are initialised and owned by this iterator; the burst's length is 0.
        unsafe { free(&mut self.burst.slots[self.next..self.end]) };
    }
}
