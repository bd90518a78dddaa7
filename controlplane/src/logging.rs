//! Log output that never holds up whoever logs.
//!
//! A thread of its own writes the lines. When the reader of the log stands still, lines wait in a bounded queue, then are
//! dropped and counted; the count is logged as soon as the log moves again, and shown by `show version`.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for a reader: two bursts of the busiest debugging.
const QUEUE: usize = 4096;
/// The end of the process waits this long for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Log lines dropped since the start of this process.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// A line of the log, or its end.
enum Line {
    Text(Vec<u8>),
    End,
}

/// Queue of lines; a `MakeWriter` for tracing_subscriber.
#[derive(Clone)]
pub struct Log {
    lines: SyncSender<Line>,
    dropped: &'static AtomicU64,
}

/// Writes out what is queued when it is dropped, as far as the reader takes it within [`FLUSH_TIMEOUT`].
pub struct Flush {
    lines: SyncSender<Line>,
    ended: Receiver<()>,
}

/// Starts the thread that writes the lines to `output`.
///
/// # Errors
/// When no thread can be started.
pub fn start(output: impl Write + Send + 'static) -> std::io::Result<(Log, Flush)> {
    start_with(output, QUEUE, &DROPPED)
}

fn start_with(
    output: impl Write + Send + 'static,
    queue: usize,
    dropped: &'static AtomicU64,
) -> std::io::Result<(Log, Flush)> {
    let (lines, queued) = sync_channel(queue);
    let (end, ended) = sync_channel(1);
    std::thread::Builder::new().name("usherd-log".to_owned()).spawn(move || {
        write_lines(&queued, output, dropped);
        let _ = end.send(());
    })?;
    Ok((Log { lines: lines.clone(), dropped }, Flush { lines, ended }))
}

/// Writes until the end of the log. Its own errors have no place to go.
fn write_lines(queued: &Receiver<Line>, mut output: impl Write, dropped: &AtomicU64) {
    let mut reported = 0;
    while let Ok(Line::Text(line)) = queued.recv() {
        let _ = output.write_all(&line);
        let now = dropped.load(Ordering::Relaxed);
        if now != reported {
            let missing = now - reported;
            let report = format!(
                "%SYS-4-LOGDROPPED: {missing} log lines were dropped: the log was not read in time\n"
            );
            let _ = output.write_all(report.as_bytes());
            reported = now;
        }
    }
    let _ = output.flush();
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Log;

    fn make_writer(&'a self) -> &'a Log {
        self
    }
}

/// Each write is one line: tracing_subscriber formats an event before it writes it.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.lines.try_send(Line::Text(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while let Err(TrySendError::Full(_)) = self.lines.try_send(Line::End) {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// An output that writes nothing until it is let go.
    struct Stuck {
        go: Option<Receiver<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if let Some(go) = self.go.take() {
                let _ = go.recv();
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn leaked() -> &'static AtomicU64 {
        Box::leak(Box::default())
    }

    #[test]
    fn a_log_that_is_not_read_holds_up_nobody_and_lines_are_counted() {
        let (go, waits) = sync_channel(1);
        let written = Arc::new(Mutex::new(Vec::new()));
        let dropped = leaked();
        let (log, flush) =
            start_with(Stuck { go: Some(waits), written: written.clone() }, 8, dropped).unwrap();
        let began = Instant::now();
        for line in 0..100 {
            (&log).write_all(format!("line {line}\n").as_bytes()).unwrap();
        }
        assert!(began.elapsed() < Duration::from_millis(500));
        let lost = dropped.load(Ordering::Relaxed);
        // One may be with the thread already.
        assert!((91..=92).contains(&lost), "{lost}");
        go.send(()).unwrap();
        drop(flush);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("line 0\n") && text.contains("line 7\n"), "{text}");
        assert!(text.contains(&format!("%SYS-4-LOGDROPPED: {lost} log lines were dropped")), "{text}");
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader() {
        let (_go, waits) = sync_channel(1);
        let (log, flush) =
            start_with(Stuck { go: Some(waits), written: Arc::default() }, 8, leaked()).unwrap();
        (&log).write_all(b"line\n").unwrap();
        let began = Instant::now();
        drop(flush);
        assert!(began.elapsed() < 4 * FLUSH_TIMEOUT);
    }
}
