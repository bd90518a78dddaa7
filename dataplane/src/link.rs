//! The data plane's end of the line to usherd: fetches the snapshot, notices usherd's death, follows its MAC filters.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::clock::monotonic_ns;
use platform::snapshot::handover::{self, Connection};
use platform::snapshot::{ANY_PORT, Copy, Feedback, Reader, Refresh, VipState};
use tracing::{info, warn};

use crate::ports::OpenPort;
use crate::steer;

/// The longest wait for usherd's part of the handover.
const HANDOVER: Duration = Duration::from_millis(500);
/// Between two tries to reach usherd: it bounds how long redirects stay away after a restart of it.
const RETRY: Duration = Duration::from_millis(50);
/// A line about an usherd that cannot be reached is written at most this often.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// The line to usherd.
pub struct Link {
    socket: PathBuf,
    connection: Option<Connection>,
    reader: Option<Arc<Reader>>,
    /// Connected, but nothing is published there yet: the workers keep what they have.
    fresh: bool,
    copy: Copy,
    next_try: Instant,
    next_log: Instant,
}

impl Link {
    /// A line that is not connected yet.
    pub fn new(socket: PathBuf) -> Self {
        let now = Instant::now();
        Link {
            socket,
            connection: None,
            reader: None,
            fresh: false,
            copy: Copy::empty(),
            next_try: now,
            next_log: now,
        }
    }

    /// Reconnects where that is needed; gives a snapshot that is new. The old one stays in use until then: its leases
    /// say how long.
    pub fn poll(&mut self, feedback: &Feedback) -> Option<Arc<Reader>> {
        if self.connection.as_ref().is_some_and(Connection::is_alive) {
            return self.published();
        }
        let now = Instant::now();
        if self.connection.take().is_some() {
            warn!("%USHER-4-USHERD: usherd is gone: its snapshot is used until the leases end");
            self.next_try = now;
        }
        if now < self.next_try {
            return None;
        }
        match handover::connect(&self.socket, feedback, HANDOVER) {
            Ok((reader, connection)) => {
                info!(instance = format!("{:016x}", reader.instance()), "connected to usherd");
                self.connection = Some(connection);
                self.reader = Some(Arc::new(reader));
                self.fresh = true;
                self.next_log = now;
                self.published()
            }
            Err(error) => {
                self.next_try = Instant::now() + RETRY;
                if now >= self.next_log {
                    self.next_log = now + LOG_EVERY;
                    let meanwhile = match &self.reader {
                        Some(_) => {
                            "its last snapshot is used until the leases end, then requests pass to the kernel"
                        }
                        None => "requests pass to the kernel meanwhile",
                    };
                    warn!(%error, "usherd cannot be reached: {meanwhile}");
                }
                None
            }
        }
    }

    /// The snapshot of a new connection, once, as soon as something is published there.
    fn published(&mut self) -> Option<Arc<Reader>> {
        let reader = self.reader.as_ref().filter(|reader| self.fresh && reader.generation() > 0)?;
        self.fresh = false;
        Some(Arc::clone(reader))
    }

    /// Sets the rules of ports that the kernel keeps to what snapshot and leases want at `now_ns`.
    pub fn rules(&mut self, open: &mut [OpenPort], now_ns: u64) {
        let Some(reader) = &self.reader else { return };
        for (index, port) in open.iter_mut().enumerate().filter(|(_, port)| port.is_steered()) {
            port.set_rules(&steer::rules(&self.copy, reader, index, now_ns));
        }
    }

    /// Sets the ports' MAC filters to what the snapshot wants, if it moved. True if anything was done.
    pub fn filters(&mut self, open: &mut [OpenPort]) -> bool {
        let Some(reader) = &self.reader else { return false };
        if reader.refresh(&mut self.copy) != Refresh::Copied {
            return false;
        }
        // Before this generation is acknowledged.
        self.rules(open, monotonic_ns());
        for (index, port) in open.iter_mut().enumerate() {
            let here = |interface: u16| interface == ANY_PORT || port.has(index, interface);
            let wanted: BTreeSet<[u8; 6]> = (self.copy.body.vips().iter())
                .filter(|vip| vip.state() != VipState::Inactive && here(vip.port) && vip.mac != [0; 6])
                .map(|vip| vip.mac)
                .collect();
            port.set_filters(wanted, self.copy.instance, self.copy.generation);
        }
        true
    }
}
