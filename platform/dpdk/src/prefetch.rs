//! Cache lines asked for before they are needed. Elsewhere than on x86-64 they are fetched when they are.

/// Starts loading the line in which a value begins.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect that a program can see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Starts loading a line to write to: no other core keeps a copy of it. Where another core has written it last (a ring in
/// shared memory), the first write to a line that was fetched for reading goes to that core again, and reads of the line
/// wait meanwhile.
#[inline(always)]
pub(crate) fn prefetch_write(at: *const u8) {
    // By name: the intrinsic becomes a prefetch for reading where the compiler does not know that the processor has this one.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect that a program can see, whatever the address; a processor without it does nothing.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
