//! `show standby [brief]`: what is known of each HSRP group.

use crate::config::Group;
use serde::Serialize;
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
    /// `Init` or `Active`
    pub state: String,
    /// State changes since the start
    pub state_changes: u64,
    /// Seconds since the last one
    pub last_change_s: u64,
    /// Virtual addresses, the primary one first
    pub virtual_ip: Vec<IpAddr>,
    /// Virtual MAC as `0000.0c07.ac01`
    pub virtual_mac: String,
    /// Priority
    pub priority: u8,
    /// `preempt` is configured
    pub preempt: bool,
    /// Group name
    pub name: String,
    /// Why it is down
    pub reasons: Vec<String>,
}

/// A MAC address as IOS writes it.
#[must_use]
pub fn dotted_mac(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}{b:02x}.{c:02x}{d:02x}.{e:02x}{f:02x}")
}

/// `show standby`
#[must_use]
pub fn full(groups: &[StandbyView]) -> String {
    let mut out = String::new();
    for group in groups {
        let active = group.state == "Active";
        let _ = writeln!(out, "{} - Group {} (version {})", group.interface, group.group, group.version);
        let _ = writeln!(out, "  State is {}", group.state);
        for reason in &group.reasons {
            let _ = writeln!(out, "    {reason}");
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
                let _ = writeln!(out, "  Virtual IP address is {first}");
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
        if group.preempt {
            out.push_str("  Preemption enabled\n");
        } else {
            out.push_str("  Preemption disabled\n");
        }
        let _ = writeln!(out, "  Active router is {}", if active { "local" } else { "unknown" });
        out.push_str("  Standby router is unknown\n");
        let origin = if group.priority == Group::PRIORITY { "default" } else { "configured" };
        let _ = writeln!(out, "  Priority {0} ({origin} {0})", group.priority);
        let default = group.name == format!("hsrp-{}-{}", group.interface_short, group.group);
        let _ = writeln!(
            out,
            "  Group name is \"{}\" ({})",
            group.name,
            if default { "default" } else { "cfgd" }
        );
    }
    if groups.is_empty() { none() } else { out }
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
        let active = if group.state == "Active" { "local" } else { "unknown" };
        let address = group.virtual_ip.first().map_or("unknown".to_owned(), IpAddr::to_string);
        let _ = writeln!(
            out,
            "{:<12}{:<4} {:>3} {} {:<8}{active:<16}{:<16}{address}",
            group.interface_short,
            group.group,
            group.priority,
            if group.preempt { "P" } else { " " },
            group.state,
            "unknown"
        );
    }
    for group in groups {
        for reason in &group.reasons {
            let _ = writeln!(out, "{} Grp {}: {reason}", group.interface_short, group.group);
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
            virtual_mac: dotted_mac([0, 0, 0x0c, 0x9f, 0xf0, 1]),
            priority: 110,
            preempt: true,
            name: "vpn".to_owned(),
            reasons: Vec::new(),
        };
        let down = StandbyView {
            group: 2,
            state: "Init".to_owned(),
            virtual_ip: Vec::new(),
            preempt: false,
            reasons: vec!["group 2 has no virtual address: add `standby 2 ip ADDRESS`".to_owned()],
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
        Te0/0/0     1    110 P Active  local           unknown         10.0.0.100
        Te0/0/0     2    110   Init    unknown         unknown         unknown
        Te0/0/0 Grp 2: group 2 has no virtual address: add `standby 2 ip ADDRESS`
        ");
    }

    #[test]
    fn full_has_the_known_lines() {
        insta::assert_snapshot!(full(&groups()[..1]), @r#"
        TenGigabitEthernet0/0/0 - Group 1 (version 2)
          State is Active
            1 state change, last state change 00:01:02
          Virtual IP address is 10.0.0.100
            Secondary virtual IP address 10.0.0.101
          Active virtual MAC address is 0000.0c9f.f001 (MAC In Use)
            Local virtual MAC address is 0000.0c9f.f001 (v2 default)
          Preemption enabled
          Active router is local
          Standby router is unknown
          Priority 110 (configured 110)
          Group name is "vpn" (cfgd)
        "#);
    }
}
