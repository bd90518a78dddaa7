//! `show crypto ikev2 cluster [details|stats]`, in the columns of the published samples.

mod view;

use crate::types::Percent;
use std::fmt::Write as _;
use std::net::IpAddr;

pub use view::{
    ClusterRole, ClusterView, CounterView, DrainView, GatewayRole, GatewayView, GroupRoleView, LoadView,
    Mark, RefusalView,
};

/// `show crypto ikev2 cluster`; `None`: no cluster is configured.
#[must_use]
pub fn summary(view: Option<&ClusterView>) -> String {
    let Some(view) = view else { return none() };
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<15}: {value}");
    };
    line("Role", view.role.name());
    line("Status", view.status);
    let secondary = view.role == ClusterRole::Secondary;
    if !secondary {
        line("CLB Secondary", &view.secondaries.to_string());
    }
    let addresses = joined(&view.cluster_ip);
    line("Cluster IP", if addresses.is_empty() { "none" } else { &addresses });
    line("Hold time", &format!("{} msec", view.hold_time_ms));
    if secondary {
        line("Hello-interval", &format!("{} msec", view.hello_interval_ms));
        line("Update-interval", &format!("{} msec", view.update_interval_ms));
    } else {
        line("Overload limit", &format!("{}%", view.overload_limit));
    }
    if secondary {
        out.push_str("\nLoad statistics:\n");
        acknowledged(view, &mut out);
    } else {
        let kept = view.gateways.iter().any(|gateway| gateway.mark == Some(Mark::NotChosen));
        let more = if kept { ", '!' Not chosen" } else { "" };
        line("Codes", &format!("'*' Least loaded, '-' Overloaded{more}"));
        out.push_str("\nLoad statistics:\n");
        gateways(view, &mut out);
    }
    let notes = notes(view);
    if !notes.is_empty() {
        let _ = write!(out, "\nNotes:\n{notes}");
    }
    out
}

/// Writes behind the table the lines that the published form has no place for.
fn notes(view: &ClusterView) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<15}: {value}");
    };
    for reason in &view.reasons {
        line("Reason", reason);
    }
    // One role for all of them stands in the first line.
    if view.groups.iter().any(|group| group.role != view.role) {
        for GroupRoleView { name, addresses, role } in &view.groups {
            line("Group", &format!("{name} {}: {}", joined(addresses), role.name()));
        }
    }
    if let (ClusterRole::Secondary, Some(primary)) = (view.role, &view.primary) {
        line("Primary", &shown(primary));
    }
    if let Some(surge) = view.surge_ms {
        line("Surge", &format!("for {} s: every usable gateway takes clients", surge / 1000));
    }
    for drain in &view.drains {
        let (addresses, waiting) = (joined(&drain.addresses), drain.waiting);
        let text = match (drain.moved, drain.staying) {
            (Some(moved), Some(staying)) => format!(
                "{addresses}: {moved} sessions moved, {waiting} waiting, {staying} stay (no redirect support)"
            ),
            _ => format!("{addresses}: {waiting} sessions waiting (details on {})", shown(&drain.address)),
        };
        line("Draining", &text);
        if let Some(problem) = &drain.problem {
            line("Drain problem", problem);
        }
    }
    if let Some(RefusalView { peer, reason, age_ms, .. }) = &view.last_refusal {
        let age = super::age(std::time::Duration::from_millis(*age_ms));
        line("Last refusal", &format!("{} {age} ago: {reason}", shown(peer)));
    }
    for gateway in &view.gateways {
        if let Some(reason) =
            gateway.reason.as_ref().filter(|_| view.role != ClusterRole::Secondary || gateway.is_self)
        {
            line("Excluded", &format!("{} gets no client: {reason}", shown(&gateway.address)));
        }
    }
    for note in &view.notes {
        line("Note", note);
    }
    out
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// The primary's table. As published, a gateway without a mark starts in the first column.
fn gateways(view: &ClusterView, out: &mut String) {
    let name = |gateway: &GatewayView| match gateway.mark {
        Some(Mark::Least) => format!("* {}", shown(&gateway.address)),
        Some(Mark::Overloaded) => format!("- {}", shown(&gateway.address)),
        Some(Mark::NotChosen) => format!("! {}", shown(&gateway.address)),
        None => shown(&gateway.address),
    };
    let width = view.gateways.iter().map(|gateway| name(gateway).len() + 1).max().unwrap_or(0).max(19);
    heading(out, &format!("  {:<1$}Role   Last-seen  Prio   Load     IKE  FQDN", "Gateway", width - 1));
    for gateway in &view.gateways {
        let seen = gateway.last_seen_ms.map_or("--   ".to_owned(), clock);
        let (load, ike) = shares(gateway);
        let line = format!(
            "{:<width$}{:<8}{seen:>9}{:>6}{load:>8}{ike:>7}  {}",
            name(gateway),
            gateway.role.name(),
            gateway.priority,
            gateway.fqdn
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// A secondary's table: itself, as the primary acknowledged it.
fn acknowledged(view: &ClusterView, out: &mut String) {
    let own =
        || view.gateways.iter().filter(|gateway| gateway.is_self && gateway.role != GatewayRole::Static);
    let width = own().map(|gateway| shown(&gateway.address).len() + 1).max().unwrap_or(0).max(18);
    heading(out, &format!("  {:<1$}Last-Ack  Prio   Load     IKE  FQDN", "Gateway", width + 1));
    for gateway in own() {
        let seen = gateway.last_seen_ms.map_or("--   ".to_owned(), clock);
        let (load, ike) = shares(gateway);
        let line = format!(
            "  {:<width$}{seen:>9}{:>6}{load:>8}{ike:>7}  {}",
            shown(&gateway.address),
            gateway.priority,
            gateway.fqdn
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn heading(out: &mut String, head: &str) {
    let _ = writeln!(out, "{head}\n  {}", "-".repeat(head.len() - 2));
}

/// The columns Load and IKE.
fn shares(gateway: &GatewayView) -> (String, String) {
    let of = |load: LoadView| (load.prioritized.to_string(), load.ike.to_string());
    gateway.load.map_or(("--".to_owned(), "--".to_owned()), of)
}

/// A percentage without decimals: `43%`.
fn whole(percent: Percent) -> String {
    format!("{}%", (percent.as_hundredths() + 50) / 100)
}

/// An address as IOS writes it.
fn shown(address: &IpAddr) -> String {
    address.to_string().to_ascii_uppercase()
}

/// Minutes, seconds and milliseconds: `00:01.452`.
fn clock(ms: u64) -> String {
    let ms = ms.min(5_999_999);
    format!("{:02}:{:02}.{:03}", ms / 60_000, ms / 1000 % 60, ms % 1000)
}

/// `show crypto ikev2 cluster details`: a gateway that reports no load shows none.
#[must_use]
pub fn details(view: Option<&ClusterView>) -> String {
    let Some(view) = view else { return none() };
    // The columns of the published sample, wider only where an address needs it.
    let width = view.gateways.iter().map(|g| shown(&g.address).len() + 1).max().unwrap_or(0).max(13);
    let head = format!(
        "{:<1$}Priority     In-neg     Crypto   CPU   Mem    Composite Prioritized",
        "Gateway",
        width + 2
    );
    let mut out = format!("{head}\n  {}\n", "-".repeat(head.len() + 5));
    for gateway in &view.gateways {
        let cells = match gateway.load {
            Some(load) => [
                load.in_neg.to_string(),
                load.crypto.to_string(),
                whole(load.cpu),
                whole(load.mem),
                load.composite.to_string(),
                load.prioritized.to_string(),
            ],
            None => [const { String::new() }; 6].map(|_| "--".to_owned()),
        };
        let [in_neg, crypto, cpu, mem, composite, prioritized] = cells;
        let _ = writeln!(
            out,
            "  {:<width$}{:<7}{in_neg:>9}{crypto:>11}{cpu:>7}{mem:>6}{composite:>11}{prioritized:>12}",
            shown(&gateway.address),
            gateway.priority,
        );
    }
    for gateway in &view.gateways {
        let Some(load) = gateway.load else { continue };
        let sessions = u64::from(load.ike) + u64::from(load.child);
        if load.max_session > 0 && sessions * 100 > u64::from(load.max_session) * 95 {
            let _ = writeln!(
                out,
                "  {} holds {sessions} of {} SAs: raise its max-session, or leave 10-20 % of it for rekeying",
                shown(&gateway.address),
                load.max_session
            );
        }
    }
    out
}

/// `show crypto ikev2 cluster stats`: the table of `details`, then how the redirects went.
#[must_use]
pub fn stats(view: Option<&ClusterView>) -> String {
    let Some(view) = view else { return none() };
    let rows: Vec<Vec<String>> = view
        .gateways
        .iter()
        .map(|gateway| {
            vec![
                shown(&gateway.address),
                gateway.priority.to_string(),
                gateway.slots.map_or("--".to_owned(), |slots| slots.to_string()),
                gateway.slots.map_or("--".to_owned(), |slots| {
                    format!("{:.1}%", slots as f64 * 100.0 / platform::snapshot::SLOTS as f64)
                }),
                gateway.redirects.to_string(),
            ]
        })
        .collect();
    let head = ["Gateway", "Priority", "Slots", "Share", "Redirects"];
    let mut out =
        format!("{}\n{}", details(Some(view)), super::table(&head, &[false, true, true, true, true], &rows));
    for (title, counters) in [("Not redirected", &view.not_redirected), ("Event", &view.counters)] {
        let rows: Vec<Vec<String>> =
            counters.iter().map(|counter| vec![counter.name.clone(), counter.total.to_string()]).collect();
        if !rows.is_empty() {
            let _ = write!(out, "\n{}", super::table(&[title, "Count"], &[false, true], &rows));
        }
    }
    for drain in view.drains.iter().filter(|drain| !drain.examples.is_empty()) {
        let _ = writeln!(out, "\nSessions that stay on {} (no redirect support):", shown(&drain.address));
        for example in &drain.examples {
            let _ = writeln!(out, "  {example}");
        }
        let more = drain.staying.unwrap_or(0).saturating_sub(drain.examples.len() as u64);
        if more > 0 {
            let _ = writeln!(out, "  and {more} more");
        }
    }
    out
}

fn none() -> String {
    "No cluster is configured: enter `crypto ikev2 cluster`.\n".to_owned()
}

#[cfg(test)]
mod tests;
