//! `show standby [brief|all]`: what is known of each HSRP group.

use crate::config::Group;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

/// One group of one family.
#[derive(Clone, Debug, Serialize)]
pub struct StandbyView {
    /// Full name
    pub interface: String,
    /// Short name
    pub interface_short: String,
    /// Group number
    pub group: u16,
    /// 1 or 2
    pub version: u8,
    /// `Init`, `Learn`, `Listen`, `Speak`, `Standby` or `Active`
    pub state: String,
    /// State changes since the start
    pub state_changes: u64,
    /// Seconds since the last one
    pub last_change_s: u64,
    /// Virtual addresses, the primary one first
    pub virtual_ip: Vec<IpAddr>,
    /// The first of them was learned from the active router
    pub learned: bool,
    /// Virtual MAC as `0000.0c07.ac01`
    pub virtual_mac: String,
    /// Hello time in force, ms
    pub hello_ms: u64,
    /// Hold time in force, ms
    pub hold_ms: u64,
    /// Until the next hello, ms
    pub next_hello_ms: Option<u64>,
    /// `MD5, key-string`, `MD5, key-chain`, `text`, or nothing where none is configured
    pub authentication: Option<&'static str>,
    /// `timeout` of the key, s
    pub authentication_timeout_s: Option<u16>,
    /// The key before is accepted for so much longer, ms
    pub old_key_ms: Option<u64>,
    /// Priority in force
    pub priority: u32,
    /// Priority as configured
    pub configured_priority: u8,
    /// `preempt` is configured
    pub preempt: bool,
    /// Its delays: `minimum`, `reload`, `sync`, s
    pub preempt_delay: [Option<u16>; 3],
    /// `failover` holds preempting back
    pub preempt_held_back: bool,
    /// The active router, where it is another one
    pub active: Option<PeerView>,
    /// The standby router, where it is another one
    pub standby: Option<PeerView>,
    /// Tracked objects
    pub tracks: Vec<TrackView>,
    /// Group name
    pub name: String,
    /// The lease runs for so long, ms
    pub lease_ms: Option<u64>,
    /// The data plane fences when it ends
    pub fenced: bool,
    /// Messages of this group that were not believed, by reason
    pub refused: BTreeMap<&'static str, u64>,
    /// Messages on its interface that no group took, by reason
    pub interface_refused: BTreeMap<&'static str, u64>,
    /// Why it is down
    pub reasons: Vec<String>,
    /// Recent findings that are not as they should be
    pub warnings: Vec<String>,
}

/// Another router.
#[derive(Clone, Debug, Serialize)]
pub struct PeerView {
    /// Its address
    pub address: IpAddr,
    /// Its priority
    pub priority: u32,
    /// Until it counts as gone, ms
    pub expires_ms: u64,
}

/// A tracked object.
#[derive(Clone, Debug, Serialize)]
pub struct TrackView {
    /// Its number
    pub object: u16,
    /// It is configured and up
    pub up: bool,
    /// Decrement of the priority while it is down; none: the group shuts down
    pub decrement: Option<u8>,
}

/// A MAC address as IOS writes it.
#[must_use]
pub fn dotted_mac(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}{b:02x}.{c:02x}{d:02x}.{e:02x}{f:02x}")
}

/// A time in seconds as IOS writes one with a fraction.
fn fraction(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// A configured time: in seconds where it is whole ones.
fn time(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{} sec", ms / 1000) } else { format!("{ms} msec") }
}

fn router(peer: Option<&PeerView>, local: bool) -> String {
    match peer {
        _ if local => "local".to_owned(),
        None => "unknown".to_owned(),
        Some(PeerView { address, priority, expires_ms }) => {
            format!("{address}, priority {priority} (expires in {} sec)", fraction(*expires_ms))
        }
    }
}

/// `show standby`, or with `all` what was refused too
#[must_use]
pub fn full(groups: &[StandbyView], all: bool) -> String {
    let mut out = String::new();
    for group in groups {
        let active = group.state == "Active";
        let _ = writeln!(out, "{} - Group {} (version {})", group.interface, group.group, group.version);
        let _ = writeln!(out, "  State is {}", group.state);
        for line in group.reasons.iter().chain(&group.warnings) {
            let _ = writeln!(out, "    {line}");
        }
        let _ = writeln!(
            out,
            "    {} state change{}, last state change {}",
            group.state_changes,
            if group.state_changes == 1 { "" } else { "s" },
            super::age(Duration::from_secs(group.last_change_s))
        );
        let addresses: Vec<String> = group.virtual_ip.iter().map(IpAddr::to_string).collect();
        match addresses.split_first() {
            Some((first, more)) => {
                let learned = if group.learned { " (learnt)" } else { "" };
                let _ = writeln!(out, "  Virtual IP address is {first}{learned}");
                for address in more {
                    let _ = writeln!(out, "    Secondary virtual IP address {address}");
                }
            }
            None => out.push_str("  Virtual IP address is unknown\n"),
        }
        let used = if active { "MAC In Use" } else { "MAC Not In Use" };
        let _ = writeln!(out, "  Active virtual MAC address is {} ({used})", group.virtual_mac);
        let _ = writeln!(
            out,
            "    Local virtual MAC address is {} (v{} default)",
            group.virtual_mac, group.version
        );
        let _ = writeln!(out, "  Hello time {}, hold time {}", time(group.hello_ms), time(group.hold_ms));
        if let Some(ms) = group.next_hello_ms {
            let _ = writeln!(out, "    Next hello sent in {} secs", fraction(ms));
        }
        if let Some(kind) = group.authentication {
            let timeout =
                group.authentication_timeout_s.map_or(String::new(), |s| format!(", timeout {s} secs"));
            let _ = writeln!(out, "  Authentication {kind}{timeout}");
        }
        if let Some(ms) = group.old_key_ms {
            let _ = writeln!(out, "    Old key accepted for another {} secs", fraction(ms));
        }
        out.push_str(&preemption(group));
        let _ = writeln!(out, "  Active router is {}", router(group.active.as_ref(), active));
        let standby = group.state == "Standby";
        let _ = writeln!(out, "  Standby router is {}", router(group.standby.as_ref(), standby));
        let configured = group.configured_priority;
        let origin = if configured == Group::PRIORITY { "default" } else { "configured" };
        let _ = writeln!(out, "  Priority {} ({origin} {configured})", group.priority);
        for track in &group.tracks {
            let state = if track.up { "Up" } else { "Down" };
            let effect = track.decrement.map_or("shutdown".to_owned(), |by| format!("decrement {by}"));
            let _ = writeln!(out, "    Track object {} state {state} {effect}", track.object);
        }
        let default = group.name == format!("hsrp-{}-{}", group.interface_short, group.group);
        let _ = writeln!(
            out,
            "  Group name is \"{}\" ({})",
            group.name,
            if default { "default" } else { "cfgd" }
        );
        if all {
            out.push_str(&details(group));
        }
    }
    if groups.is_empty() { none() } else { out }
}

fn preemption(group: &StandbyView) -> String {
    if !group.preempt {
        return "  Preemption disabled\n".to_owned();
    }
    let delays: Vec<String> = ["min", "reload", "sync"]
        .into_iter()
        .zip(group.preempt_delay)
        .filter_map(|(word, delay)| delay.map(|seconds| format!("{word} {seconds} secs")))
        .collect();
    let delays = if delays.is_empty() { String::new() } else { format!(", delay {}", delays.join(", ")) };
    let mut out = format!("  Preemption enabled{delays}\n");
    if group.preempt_held_back {
        out.push_str(
            "    Held back after failover until this router is active, or its priority or `preempt` changes\n",
        );
    }
    out
}

fn details(group: &StandbyView) -> String {
    let lease = group.lease_ms.map_or("none".to_owned(), |ms| {
        let end = if group.fenced { "then fenced" } else { "then requests pass to the kernel" };
        format!("{} sec, {end}", fraction(ms))
    });
    let mut out = format!("  Lease {lease}\n");
    for (what, refused) in [("this group", &group.refused), ("the interface", &group.interface_refused)] {
        let words: Vec<String> = refused.iter().map(|(word, count)| format!("{word} {count}")).collect();
        let words = if words.is_empty() { "none".to_owned() } else { words.join(", ") };
        let _ = writeln!(out, "  Messages refused for {what}: {words}");
    }
    out
}

/// `show standby brief`
#[must_use]
pub fn brief(groups: &[StandbyView]) -> String {
    if groups.is_empty() {
        return none();
    }
    let mut out =
        String::from("                     P indicates configured to preempt.\n                     |\n");
    out.push_str("Interface   Grp  Pri P State   Active          Standby         Virtual IP\n");
    for group in groups {
        let name = |peer: Option<&PeerView>, local: &str| match peer {
            _ if group.state == local => "local".to_owned(),
            None => "unknown".to_owned(),
            Some(peer) => peer.address.to_string(),
        };
        let active = name(group.active.as_ref(), "Active");
        let standby = name(group.standby.as_ref(), "Standby");
        let address = group.virtual_ip.first().map_or("unknown".to_owned(), IpAddr::to_string);
        let _ = writeln!(
            out,
            "{:<12}{:<4} {:>3} {} {:<8}{active:<15} {standby:<15} {address}",
            group.interface_short,
            group.group,
            group.priority,
            if group.preempt { "P" } else { " " },
            group.state
        );
    }
    for group in groups {
        for line in group.reasons.iter().chain(&group.warnings) {
            let _ = writeln!(out, "{} Grp {}: {line}", group.interface_short, group.group);
        }
    }
    out
}

fn none() -> String {
    "No HSRP group is configured: enter `standby 1 ip ADDRESS` under an interface.\n".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<StandbyView> {
        let active = StandbyView {
            interface: "TenGigabitEthernet0/0/0".to_owned(),
            interface_short: "Te0/0/0".to_owned(),
            group: 1,
            version: 2,
            state: "Active".to_owned(),
            state_changes: 1,
            last_change_s: 62,
            virtual_ip: vec!["10.0.0.100".parse().unwrap(), "10.0.0.101".parse().unwrap()],
            learned: false,
            virtual_mac: dotted_mac([0, 0, 0x0c, 0x9f, 0xf0, 1]),
            hello_ms: 5000,
            hold_ms: 1500,
            next_hello_ms: Some(2848),
            authentication: Some("MD5, key-string"),
            authentication_timeout_s: Some(30),
            old_key_ms: Some(12_300),
            priority: 100,
            configured_priority: 110,
            preempt: true,
            preempt_delay: [Some(5), None, Some(20)],
            preempt_held_back: true,
            active: None,
            standby: Some(PeerView {
                address: "10.0.0.2".parse().unwrap(),
                priority: 100,
                expires_ms: 10_624,
            }),
            tracks: vec![TrackView { object: 3, up: false, decrement: Some(10) }],
            lease_ms: Some(1250),
            fenced: true,
            refused: BTreeMap::from([("auth-digest", 4)]),
            interface_refused: BTreeMap::new(),
            name: "vpn".to_owned(),
            reasons: Vec::new(),
            warnings: vec!["router 10.0.0.3 is active too".to_owned()],
        };
        let down = StandbyView {
            group: 2,
            state: "Init".to_owned(),
            virtual_ip: Vec::new(),
            preempt: false,
            standby: None,
            reasons: vec!["group 2 has no virtual address: add `standby 2 ip ADDRESS`".to_owned()],
            warnings: Vec::new(),
            ..active.clone()
        };
        vec![active, down]
    }

    #[test]
    fn brief_has_the_known_columns() {
        insta::assert_snapshot!(brief(&groups()), @r"
                             P indicates configured to preempt.
                             |
        Interface   Grp  Pri P State   Active          Standby         Virtual IP
        Te0/0/0     1    100 P Active  local           10.0.0.2        10.0.0.100
        Te0/0/0     2    100   Init    unknown         unknown         unknown
        Te0/0/0 Grp 1: router 10.0.0.3 is active too
        Te0/0/0 Grp 2: group 2 has no virtual address: add `standby 2 ip ADDRESS`
        ");
    }

    #[test]
    fn full_has_the_known_lines() {
        insta::assert_snapshot!(full(&groups()[..1], true), @r#"
        TenGigabitEthernet0/0/0 - Group 1 (version 2)
          State is Active
            router 10.0.0.3 is active too
            1 state change, last state change 00:01:02
          Virtual IP address is 10.0.0.100
            Secondary virtual IP address 10.0.0.101
          Active virtual MAC address is 0000.0c9f.f001 (MAC In Use)
            Local virtual MAC address is 0000.0c9f.f001 (v2 default)
          Hello time 5 sec, hold time 1500 msec
            Next hello sent in 2.848 secs
          Authentication MD5, key-string, timeout 30 secs
            Old key accepted for another 12.300 secs
          Preemption enabled, delay min 5 secs, sync 20 secs
            Held back after failover until this router is active, or its priority or `preempt` changes
          Active router is local
          Standby router is 10.0.0.2, priority 100 (expires in 10.624 sec)
          Priority 100 (configured 110)
            Track object 3 state Down decrement 10
          Group name is "vpn" (cfgd)
          Lease 1.250 sec, then fenced
          Messages refused for this group: auth-digest 4
          Messages refused for the interface: none
        "#);
    }
}
