//! One packet buffer, owned.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys as sys;

use crate::error::LenError;
use crate::prefetch::prefetch_write;

/// A frame in one or more segments. Whoever has the value owns the whole chain; dropping it frees it.
///
/// The layout is that of the C pointer, so an array of `Mbuf` is the array that DPDK's burst calls take.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: mempools take mbufs back on any thread, and an mbuf has one owner.
unsafe impl Send for Mbuf {}

const _: () = assert!(size_of::<Mbuf>() == size_of::<*mut sys::rte_mbuf>());
const _: () = assert!(sys::SHIM_MBUF_TX_OFFLOAD.is_multiple_of(align_of::<u64>()));

/// What the device is asked to compute while it sends a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxChecksums {
    /// Bytes in front of the IP header (14 to 127).
    pub l2_len: u8,
    /// Bytes of the IP header with options or extension headers (20 to 511).
    pub l3_len: u16,
    /// The IP version is 6.
    pub ipv6: bool,
    /// Compute the IPv4 header checksum; the field must be 0.
    pub ip: bool,
    /// Compute the UDP checksum; the field must hold the sum of the pseudo header, not complemented.
    pub udp: bool,
}

impl Mbuf {
    /// # Safety
    /// `raw` is a valid chain with reference count 1 that nobody else holds.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<sys::rte_mbuf>) -> Mbuf {
        Mbuf(raw)
    }

    #[inline]
    fn raw(&self) -> &sys::rte_mbuf {
        // SAFETY: the value owns a valid mbuf, and nobody else touches it meanwhile.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn raw_mut(&mut self) -> &mut sys::rte_mbuf {
        // SAFETY: as in raw; &mut self makes the access exclusive.
        unsafe { self.0.as_mut() }
    }

    /// The bytes of the first segment: the whole frame when [`Mbuf::is_contiguous`].
    #[inline]
    pub fn data(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: DPDK keeps data_off + data_len within the buffer, set_len checks it, and the bytes are initialised:
        // the memory came zeroed from the system.
        unsafe {
            slice::from_raw_parts(
                raw.buf_addr.cast::<u8>().add(usize::from(raw.data_off)),
                raw.data_len.into(),
            )
        }
    }

    /// The bytes of the first segment, to be rewritten in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let raw = self.raw_mut();
        // SAFETY: as in data; the buffer belongs to this mbuf alone (never attached, reference count 1).
        unsafe {
            let start = raw.buf_addr.cast::<u8>().add(usize::from(raw.data_off));
            slice::from_raw_parts_mut(start, raw.data_len.into())
        }
    }

    /// Bytes of the whole frame, all segments.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw().pkt_len as usize
    }

    /// The frame has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame is in one segment, so that [`Mbuf::data`] is all of it.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.raw().nb_segs == 1
    }

    /// Bytes that [`Mbuf::set_len`] allows: from the start of the data to the end of the first segment's buffer.
    #[inline]
    pub fn capacity(&self) -> usize {
        let raw = self.raw();
        usize::from(raw.buf_len.saturating_sub(raw.data_off))
    }

    /// Makes a frame in one segment `len` bytes long. Bytes gained hold what was in the buffer before. Checksum requests
    /// are forgotten, since their lengths may not fit any more.
    ///
    /// # Errors
    /// More than [`Mbuf::capacity`], or a frame in several segments.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> Result<(), LenError> {
        let room = self.capacity();
        let raw = self.raw_mut();
        match u16::try_from(len) {
            Ok(short) if len <= room && raw.nb_segs == 1 => {
                raw.data_len = short;
                raw.pkt_len = u32::from(short);
                raw.ol_flags &= !sys::SHIM_MBUF_F_TX_OFFLOAD_MASK;
                Ok(())
            }
            _ => Err(LenError { wanted: len, room, segments: raw.nb_segs }),
        }
    }

    /// Takes `count` bytes off the front. Checksum requests are forgotten.
    ///
    /// # Errors
    /// The first segment has fewer.
    #[inline]
    pub fn trim_front(&mut self, count: usize) -> Result<(), LenError> {
        let raw = self.raw_mut();
        let (room, segments) = (usize::from(raw.data_len), raw.nb_segs);
        if count > room {
            return Err(LenError { wanted: count, room, segments });
        }
        raw.data_off += count as u16;
        raw.data_len -= count as u16;
        raw.pkt_len -= count as u32;
        raw.ol_flags &= !sys::SHIM_MBUF_F_TX_OFFLOAD_MASK;
        Ok(())
    }

    /// Makes the frame `count` bytes longer at the front; they hold what was in the buffer before. Checksum requests are
    /// forgotten.
    ///
    /// # Errors
    /// There is less room in front of the data, or the segment would be longer than its length can say.
    #[inline]
    pub fn grow_front(&mut self, count: usize) -> Result<(), LenError> {
        let raw = self.raw_mut();
        let (room, segments) = (usize::from(raw.data_off.min(u16::MAX - raw.data_len)), raw.nb_segs);
        if count > room {
            return Err(LenError { wanted: count, room, segments });
        }
        raw.data_off -= count as u16;
        raw.data_len += count as u16;
        raw.pkt_len += count as u32;
        raw.ol_flags &= !sys::SHIM_MBUF_F_TX_OFFLOAD_MASK;
        Ok(())
    }

    /// The bytes of each segment in order.
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.0), owner: PhantomData }
    }

    /// Moves all segments into the first.
    ///
    /// # Errors
    /// The frame does not fit there; it stays as it was.
    pub fn linearize(&mut self) -> Result<(), LenError> {
        let (wanted, room, segments) = (self.len(), self.capacity(), self.raw().nb_segs);
        // SAFETY: the chain is valid and owned; DPDK checks the room and frees the emptied segments.
        match unsafe { sys::shim_pktmbuf_linearize(self.0.as_ptr()) } {
            0 => Ok(()),
            _ => Err(LenError { wanted, room, segments }),
        }
    }

    /// Asks the device to compute checksums while sending; only for ports whose capabilities say so. False, and nothing
    /// asked, when the lengths do not fit the frame.
    #[inline]
    pub fn request_checksums(&mut self, wanted: TxChecksums) -> bool {
        let headers = usize::from(wanted.l2_len) + usize::from(wanted.l3_len);
        let in_range = (14..128).contains(&wanted.l2_len) && (20..512).contains(&wanted.l3_len);
        if !in_range || headers + 8 > usize::from(self.raw().data_len) {
            return false;
        }
        let mut flags = if wanted.ipv6 { sys::SHIM_MBUF_F_TX_IPV6 } else { sys::SHIM_MBUF_F_TX_IPV4 };
        if wanted.ip && !wanted.ipv6 {
            flags |= sys::SHIM_MBUF_F_TX_IP_CKSUM;
        }
        if wanted.udp {
            flags |= sys::SHIM_MBUF_F_TX_UDP_CKSUM;
        }
        let raw = self.raw_mut();
        raw.ol_flags = (raw.ol_flags & !sys::SHIM_MBUF_F_TX_OFFLOAD_MASK) | flags;
        // SAFETY: the word lies within the mbuf at an offset that C computed, aligned (asserted above). Its low bits are
        // l2_len (7 bits) and l3_len (9 bits); no other length is wanted.
        unsafe {
            let word = self.0.as_ptr().cast::<u8>().add(sys::SHIM_MBUF_TX_OFFLOAD).cast::<u64>();
            word.write(u64::from(wanted.l2_len) | (u64::from(wanted.l3_len) << 7));
        }
        true
    }

    /// The device found the IPv4 header checksum right.
    #[inline]
    pub fn ip_cksum_good(&self) -> bool {
        self.raw().ol_flags & sys::SHIM_MBUF_F_RX_IP_CKSUM_MASK == sys::SHIM_MBUF_F_RX_IP_CKSUM_GOOD
    }

    /// The device found the IPv4 header checksum wrong.
    #[inline]
    pub fn ip_cksum_bad(&self) -> bool {
        self.raw().ol_flags & sys::SHIM_MBUF_F_RX_IP_CKSUM_MASK == sys::SHIM_MBUF_F_RX_IP_CKSUM_BAD
    }

    /// The device found the UDP (or TCP) checksum right.
    #[inline]
    pub fn l4_cksum_good(&self) -> bool {
        self.raw().ol_flags & sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK == sys::SHIM_MBUF_F_RX_L4_CKSUM_GOOD
    }

    /// The device found the UDP (or TCP) checksum wrong.
    #[inline]
    pub fn l4_cksum_bad(&self) -> bool {
        self.raw().ol_flags & sys::SHIM_MBUF_F_RX_L4_CKSUM_MASK == sys::SHIM_MBUF_F_RX_L4_CKSUM_BAD
    }

    /// Starts loading the first 256 bytes of the frame into the cache, as far as it is long, to be written.
    #[inline]
    pub fn prefetch(&self) {
        let raw = self.raw();
        let start = raw.buf_addr.cast::<u8>().wrapping_add(raw.data_off.into());
        let end = usize::from(raw.data_len).min(256);
        for at in (0..end).step_by(64) {
            prefetch_write(start.wrapping_add(at));
        }
    }

    #[inline]
    pub(crate) fn segment_count(&self) -> u16 {
        self.raw().nb_segs
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the value owns the chain and this is its end.
        unsafe { sys::shim_pktmbuf_free(self.0.as_ptr()) };
    }
}

/// The segments of an [`Mbuf`].
pub struct Segments<'a> {
    next: Option<NonNull<sys::rte_mbuf>>,
    owner: PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // SAFETY: the chain is owned by the borrowed Mbuf.
        let raw = unsafe { self.next?.as_ref() };
        self.next = NonNull::new(raw.next);
        // SAFETY: as in Mbuf::data.
        let bytes = unsafe {
            let start = raw.buf_addr.cast::<u8>().add(usize::from(raw.data_off));
            slice::from_raw_parts(start, raw.data_len.into())
        };
        Some(bytes)
    }
}
