//! Configuration of a group.

use std::net::IpAddr;
use std::time::Duration;

/// Used while nothing is configured or learned (RFC 2281 section 5.1).
pub const DEFAULT_TIMERS: Timers = Timers { hello: Duration::from_secs(3), hold: Duration::from_secs(10) };

/// Hello and hold time, always together: an active router must not mix learned and configured ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between two hellos
    pub hello: Duration,
    /// A hello is valid for this long; more than `hello`
    pub hold: Duration,
}

/// `preempt delay ...`, each 0-3600 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PreemptDelay {
    /// A lower active router must have been heard for this long
    pub minimum: Duration,
    /// Not before this has passed since the first start after a reload
    pub reload: Duration,
    /// Waits at most this long for [`Event::Synced`]
    pub sync: Duration,
}

/// Effect on the group of a tracked object that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackEffect {
    /// Lowers the priority (not below 0), 1-255
    Decrement(u8),
    /// Puts the group into Init
    Shutdown,
}

/// Everything that is configured of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// 1 or 2
    pub version: u8,
    /// 0-255 in version 1, 0-4095 in version 2
    pub group: u16,
    /// The interface's address that hellos leave from: IPv4 primary, or IPv6 link-local
    pub own: IpAddr,
    /// Version 2: the interface's MAC; version 1: zero
    pub identifier: [u8; 6],
    /// None: learned from the active router
    pub virtual_ip: Option<IpAddr>,
    /// Without tracking
    pub priority: u8,
    /// None: an active router of lower priority is left alone
    pub preempt: Option<PreemptDelay>,
    /// None: learned from the active router
    pub timers: Option<Timers>,
    /// `standby delay minimum`: in Init after every time that the interface or the data plane comes up
    pub delay_minimum: Duration,
    /// `standby delay reload`: in Init after the start
    pub delay_reload: Duration,
    /// Object number and effect
    pub tracks: Vec<(u16, TrackEffect)>,
    /// The lease while no other router is known
    pub lone_lease: Duration,
}

impl Config {
    /// The defaults of IOS for a group on an interface with this address; the virtual address is to be learned.
    #[must_use]
    pub fn new(version: u8, group: u16, own: IpAddr) -> Config {
        Config {
            version,
            group,
            own,
            identifier: [0; 6],
            virtual_ip: None,
            priority: 100,
            preempt: None,
            timers: None,
            delay_minimum: Duration::ZERO,
            delay_reload: Duration::ZERO,
            tracks: Vec::new(),
            lone_lease: Duration::from_secs(10),
        }
    }
}
