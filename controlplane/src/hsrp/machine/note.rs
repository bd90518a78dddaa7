//! Notes for the operator.

use crate::types::Nanos;
use std::net::IpAddr;

/// Note for the operator beside the changes of state. The kinds a peer can cause come at most every 30 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Another router sends from this node's address
    DuplicateAddress(IpAddr),
    /// The active router at `source` announces another virtual address
    BadVirtualAddress {
        /// Who
        source: IpAddr,
        /// Address that it announces
        theirs: IpAddr,
    },
    /// A hello whose hold time is not longer than its hello time
    BadTimers(IpAddr),
    /// A hello that would be valid for longer than is believed
    LongHold {
        /// The sender
        source: IpAddr,
        /// Hold time in the hello, ns
        claimed: Nanos,
        /// Hold time that counts, ns
        counted: Nanos,
    },
    /// Another router is active too
    AnotherActive(IpAddr),
    /// A router has resigned and goes on as active
    FalseResign(IpAddr),
    /// The lease ran out while this node was stalled: it gives the role up
    LeaseLapsed {
        /// For how long the lease had ended, ns
        late: Nanos,
    },
    /// Not called for so long (ns) that hellos may be waiting
    Stalled {
        /// Since the call before, ns
        silence: Nanos,
    },
    /// Failover is only possible on the active router
    FailoverNotActive,
    /// Failover needs a standby router
    FailoverNoStandby,
}

impl Note {
    /// Number of kinds that a peer can cause.
    pub(super) const COMPLAINTS: usize = 6;

    /// The kind of a note that a peer can cause, below [`Note::COMPLAINTS`].
    #[must_use]
    pub fn complaint(&self) -> Option<usize> {
        match self {
            Note::DuplicateAddress(_) => Some(0),
            Note::BadVirtualAddress { .. } => Some(1),
            Note::BadTimers(_) => Some(2),
            Note::LongHold { .. } => Some(3),
            Note::AnotherActive(_) => Some(4),
            Note::FalseResign(_) => Some(5),
            Note::LeaseLapsed { .. }
            | Note::Stalled { .. }
            | Note::FailoverNotActive
            | Note::FailoverNoStandby => None,
        }
    }

    /// The mnemonic of its log line.
    #[must_use]
    pub fn mnemonic(&self) -> &'static str {
        match self {
            Note::DuplicateAddress(_) => "HSRP-4-DUPADDR",
            Note::BadVirtualAddress { .. } => "HSRP-4-BADVIP",
            Note::BadTimers(_) => "HSRP-4-BADTIMERS",
            Note::LongHold { .. } => "HSRP-4-LONGHOLD",
            Note::AnotherActive(_) => "HSRP-4-TWOACTIVE",
            Note::FalseResign(_) => "HSRP-4-REPLAY",
            Note::LeaseLapsed { .. } => "HSRP-4-LEASE",
            Note::Stalled { .. } => "HSRP-4-STALLED",
            Note::FailoverNotActive | Note::FailoverNoStandby => "HSRP-4-FAILOVER",
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Note::DuplicateAddress(ip) => {
                write!(f, "duplicate address {ip}: another router uses it; change one of the two")
            }
            Note::BadVirtualAddress { source, theirs } => write!(
                f,
                "active router {source} has virtual address {theirs}: configure the same address on both"
            ),
            Note::BadTimers(ip) => write!(
                f,
                "hello from {ip} has a hold time no longer than its hello time; fix `standby timers` on that router"
            ),
            Note::LongHold { source, claimed, counted } => write!(
                f,
                "hello from {source} has a hold time of {} ms, counted as {} ms; enter the same `standby timers` on both, \
                 or look for a host that forges hellos",
                claimed.as_millis(),
                counted.as_millis()
            ),
            Note::AnotherActive(ip) => write!(
                f,
                "router {ip} is active too; check that it hears this one: link, VLAN, filters, authentication"
            ),
            Note::FalseResign(ip) => write!(
                f,
                "router {ip} has resigned and goes on as active; look for a host that plays its messages back"
            ),
            Note::LeaseLapsed { late } => write!(
                f,
                "no hello could be sent in time, the lease ended {} ms ago; resigned; check CPU and I/O load",
                late.as_millis()
            ),
            Note::Stalled { silence } => write!(
                f,
                "event loop stalled for {} ms; waiting for peers before acting; check CPU and I/O load",
                silence.as_millis()
            ),
            Note::FailoverNotActive => {
                f.write_str("failover refused: this router is not active; give the command on the active one")
            }
            Note::FailoverNoStandby => {
                f.write_str("failover refused: no standby router is known; start one, or shut the group down")
            }
        }
    }
}
