//! What EAL and the drivers log becomes `tracing` events with target `dpdk`.

use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use dpdk_sys as sys;

thread_local! {
    /// While an operation runs on this thread: the errors logged by it, so that its error can say why.
    static ERRORS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// An operation rarely has more to say, and a driver that repeats itself must not fill the memory.
const ERRORS_MAX: usize = 16;

/// Routes DPDK's log stream; the first thing to do, since EAL logs while it starts.
pub(crate) fn route() {
    // SAFETY: `write` has the signature of cookie_write_function_t and lives as long as the program.
    if unsafe { sys::shim_log_to(Some(write)) } != 0 {
        tracing::warn!(target: "dpdk", "no stream for DPDK's log: its lines go to the standard error stream");
    }
}

/// Runs `operation` and returns its result with the errors that DPDK logged on this thread meanwhile.
pub(crate) fn collect<T>(operation: impl FnOnce() -> T) -> (T, Vec<String>) {
    let outer = ERRORS.replace(Some(Vec::new()));
    let result = operation();
    let errors = ERRORS.replace(outer).unwrap_or_default();
    (result, errors)
}

/// The errors in one line.
pub(crate) fn joined(errors: &[String]) -> String {
    if errors.is_empty() { "nothing was logged".to_owned() } else { errors.join(" / ") }
}

/// DPDK calls this with one whole message (it flushes after each), on the thread that logs.
unsafe extern "C" fn write(_cookie: *mut c_void, text: *const c_char, len: usize) -> isize {
    // Nothing may unwind into C.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the C library hands over `len` readable bytes for the time of the call.
        let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
        // SAFETY: reads a thread-local integer that DPDK set before it wrote to the stream.
        let level = unsafe { sys::rte_log_cur_msg_loglevel() };
        for line in String::from_utf8_lossy(bytes).lines().map(str::trim).filter(|line| !line.is_empty()) {
            event(level, line);
        }
    }));
    len as isize
}

fn event(level: i32, line: &str) {
    match u32::try_from(level).unwrap_or(sys::RTE_LOG_DEBUG) {
        0..=sys::RTE_LOG_ERR => {
            let collected = ERRORS.try_with(|errors| match errors.try_borrow_mut().as_deref_mut() {
                Ok(Some(list)) => {
                    if list.len() < ERRORS_MAX {
                        list.push(line.to_owned());
                    }
                    true
                }
                _ => false,
            });
            // What becomes part of an error is told by whoever handles that error.
            if collected == Ok(true) {
                tracing::debug!(target: "dpdk", "{line}");
            } else {
                tracing::error!(target: "dpdk", "{line}");
            }
        }
        sys::RTE_LOG_WARNING => tracing::warn!(target: "dpdk", "{line}"),
        sys::RTE_LOG_NOTICE => tracing::info!(target: "dpdk", "{line}"),
        sys::RTE_LOG_INFO => tracing::debug!(target: "dpdk", "{line}"),
        _ => tracing::trace!(target: "dpdk", "{line}"),
    }
}
