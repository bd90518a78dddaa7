//! `show crypto ikev2 cluster [details|stats]`, in the columns of the published samples.

use crate::types::Percent;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use std::net::IpAddr;

/// What this node is for the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterRole {
    /// The active HSRP router: it keeps the list and sends the clients on
    Primary,
    /// Reports its load to the primary
    Secondary,
    /// Neither: the cluster is down here, or HSRP has not settled
    None,
}

impl ClusterRole {
    /// As `show` writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ClusterRole::Primary => "CLB Primary",
            ClusterRole::Secondary => "CLB Secondary",
            ClusterRole::None => "None",
        }
    }
}

/// The cluster as this node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterView {
    /// What this node is
    pub role: ClusterRole,
    /// `Up` or `Down`
    pub status: &'static str,
    /// Why it is down, each with the line that is missing
    pub reasons: Vec<String>,
    /// Living nodes other than the primary, each counted once whatever its addresses
    pub secondaries: usize,
    /// Who answers at the virtual address: this node, or on a secondary whoever acknowledged last
    pub primary: Option<IpAddr>,
    /// Milliseconds since the primary acknowledged; 0 on the primary. What is older than `hold_time_ms` is not relied on.
    /// `None`: this node has no table
    pub table_age_ms: Option<u64>,
    /// The virtual addresses
    pub cluster_ip: Vec<IpAddr>,
    /// The groups of the cluster, those that this node is primary of first
    pub groups: Vec<GroupRoleView>,
    /// Milliseconds
    pub hold_time_ms: u32,
    /// Percent
    pub overload_limit: u8,
    /// Milliseconds between hellos, as a secondary
    pub hello_interval_ms: u32,
    /// Milliseconds between updates, as a secondary
    pub update_interval_ms: u32,
    /// Requests are redirected in IKE_SA_INIT
    pub redirect_init: bool,
    /// The load feed between the nodes is authenticated and encrypted; `None`: this node has no feed
    pub authenticated: Option<bool>,
    /// The last peer of the load feed that was refused, or that refused this node
    pub last_refusal: Option<RefusalView>,
    /// The gateways: all that the primary knows, of a secondary those of its last acknowledgement
    pub gateways: Vec<GatewayView>,
    /// For how many milliseconds more clients have come than the least loaded gateways have room for, so that every usable
    /// one takes them; `None`: no such surge
    pub surge_ms: Option<u64>,
    /// Members whose sessions are being moved away
    pub drains: Vec<DrainView>,
    /// What was counted since usherd started
    pub counters: Vec<CounterView>,
    /// Requests that were not redirected, by reason
    pub not_redirected: Vec<CounterView>,
    /// What runs, yet perhaps not as meant
    pub notes: Vec<String>,
}

/// A connection of the load feed that failed.
#[derive(Clone, Debug, Serialize)]
pub struct RefusalView {
    /// The peer
    pub peer: IpAddr,
    /// A name of the reason that stays the same between versions
    pub kind: &'static str,
    /// Why
    pub reason: String,
    /// Milliseconds since
    pub age_ms: u64,
}

/// What this node is in one HSRP group of the cluster.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRoleView {
    /// `standby G name`
    pub name: String,
    /// Its virtual addresses
    pub addresses: Vec<IpAddr>,
    /// What this node is there
    pub role: ClusterRole,
}

/// A number that only grows.
#[derive(Clone, Debug, Serialize)]
pub struct CounterView {
    /// What is counted
    pub name: String,
    /// How many
    pub total: u64,
}

/// What a gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayRole {
    /// The primary itself
    Primary,
    /// A member that reports its load
    Second,
    /// `static-gateway`: it reports no load
    Static,
}

impl GatewayRole {
    fn name(self) -> &'static str {
        match self {
            GatewayRole::Primary => "Primary",
            GatewayRole::Second => "Second",
            GatewayRole::Static => "Static",
        }
    }
}

/// What stands before a gateway in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Mark {
    /// The least loaded of all
    #[serde(rename = "*")]
    Least,
    /// Its load has reached the limit
    #[serde(rename = "-")]
    Overloaded,
    /// Not chosen for another reason: dead, draining, unhealthy, out of reach
    #[serde(rename = "!")]
    NotChosen,
}

/// A gateway of the cluster.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayView {
    /// Where clients are sent
    pub address: IpAddr,
    /// The node that it is an address of: the lowest of its addresses
    pub node: IpAddr,
    /// What it is
    pub role: GatewayRole,
    /// Heard within the hold time, or its probe answers
    pub alive: bool,
    /// What stands before it
    pub mark: Option<Mark>,
    /// Why no client is sent there, in a few words
    pub reason: Option<String>,
    /// Milliseconds since it was heard; of a secondary's own row, since its last acknowledgement. `None`: it is the
    /// primary itself, or reports nothing
    pub last_seen_ms: Option<u64>,
    /// 1-100
    pub priority: u8,
    /// What it last reported; `None`: nothing yet, or a static gateway
    pub load: Option<LoadView>,
    /// `fqdn`; empty for none
    pub fqdn: String,
    /// Clients may be sent there now; `None`: this node has no table that is fresh enough to know
    pub usable: Option<bool>,
    /// It is this node
    pub is_self: bool,
    /// Slots of 1024 that it holds of its family's first virtual address; `None`: only the primary knows
    pub slots: Option<usize>,
    /// Redirects to it since the data plane started
    pub redirects: u64,
}

/// A load report as it is shown.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LoadView {
    /// IKE SAs
    pub ike: u32,
    /// IPsec SAs
    pub child: u32,
    /// `max-session`, IKE and IPsec SAs; 0: not known
    pub max_session: u32,
    /// Half-open IKE SAs of their limit
    #[serde(serialize_with = "number")]
    pub in_neg: Percent,
    /// IKE and IPsec SAs of `max-session`
    #[serde(serialize_with = "number")]
    pub crypto: Percent,
    /// Busy processors
    #[serde(serialize_with = "number")]
    pub cpu: Percent,
    /// Used memory
    #[serde(serialize_with = "number")]
    pub mem: Percent,
    /// By the primary's weights
    #[serde(serialize_with = "number")]
    pub composite: Percent,
    /// Composite by the member's priority
    #[serde(serialize_with = "number")]
    pub prioritized: Percent,
}

/// A percentage as a JSON number: 26.6
fn number<S: Serializer>(percent: &Percent, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(f64::from(percent.as_hundredths()) / 100.0)
}

/// How far a member is with moving its sessions away.
#[derive(Clone, Debug, Serialize)]
pub struct DrainView {
    /// The node: the lowest of its addresses
    pub address: IpAddr,
    /// Its addresses in the cluster
    pub addresses: Vec<IpAddr>,
    /// Sessions that have gone elsewhere; `None`: only the member itself knows
    pub moved: Option<u64>,
    /// Sessions that still wait for their turn
    pub waiting: u64,
    /// Sessions whose client cannot be redirected: they stay; `None`: only the member itself knows
    pub staying: Option<u64>,
    /// Some of those that stay: client address and identity
    pub examples: Vec<String>,
    /// Why it does not go on, or not for all sessions; only the member itself knows
    pub problem: Option<String>,
}

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

/// What the published form has no place for, behind the table.
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
mod tests {
    use super::*;

    fn percent(tenths: u64) -> Percent {
        Percent::hundredths(tenths * 10)
    }

    fn load(ike: u32, prioritized: u64) -> LoadView {
        let zero = percent(0);
        LoadView {
            ike,
            child: 0,
            max_session: 0,
            in_neg: zero,
            crypto: zero,
            cpu: zero,
            mem: zero,
            composite: percent(prioritized),
            prioritized: percent(prioritized),
        }
    }

    fn gateway(
        address: &str,
        role: GatewayRole,
        last_seen_ms: Option<u64>,
        load: Option<LoadView>,
    ) -> GatewayView {
        GatewayView {
            address: address.parse().unwrap(),
            node: address.parse().unwrap(),
            role,
            alive: true,
            mark: None,
            reason: None,
            last_seen_ms,
            priority: 100,
            load,
            fqdn: String::new(),
            usable: Some(true),
            is_self: false,
            slots: Some(0),
            redirects: 0,
        }
    }

    fn view(role: ClusterRole, cluster_ip: &str, gateways: Vec<GatewayView>) -> ClusterView {
        ClusterView {
            role,
            status: "Up",
            reasons: Vec::new(),
            secondaries: 2,
            primary: None,
            table_age_ms: None,
            cluster_ip: cluster_ip
                .split(' ')
                .filter(|ip| !ip.is_empty())
                .map(|ip| ip.parse().unwrap())
                .collect(),
            groups: Vec::new(),
            hold_time_ms: 15_000,
            overload_limit: 80,
            hello_interval_ms: 5000,
            update_interval_ms: 6000,
            redirect_init: true,
            authenticated: Some(true),
            last_refusal: None,
            gateways,
            surge_ms: None,
            drains: Vec::new(),
            counters: Vec::new(),
            not_redirected: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn primary() -> ClusterView {
        view(
            ClusterRole::Primary,
            "2001:db8::10",
            vec![
                gateway("2001:db8::1", GatewayRole::Primary, None, Some(load(3996, 266))),
                gateway("2001:db8::2", GatewayRole::Second, Some(1452), Some(load(3999, 266))),
                gateway("2001:db8::3", GatewayRole::Second, Some(271), Some(load(4006, 266))),
            ],
        )
    }

    /// The samples of the seed document, byte for byte; only its blank lines hold no space here.
    const PRIMARY: &str = "\
Role           : CLB Primary
Status         : Up
CLB Secondary  : 2
Cluster IP     : 2001:DB8::10
Hold time      : 15000 msec
Overload limit : 80%
Codes          : '*' Least loaded, '-' Overloaded

Load statistics:
  Gateway           Role   Last-seen  Prio   Load     IKE  FQDN
  -------------------------------------------------------------
2001:DB8::1        Primary     --      100   26.6%   3996
2001:DB8::2        Second  00:01.452   100   26.6%   3999
2001:DB8::3        Second  00:00.271   100   26.6%   4006
";

    const SECONDARY: &str = "\
Role           : CLB Secondary
Status         : Up
Cluster IP     : 1:1:1::100
Hold time      : 15000 msec
Hello-interval : 5000 msec
Update-interval: 6000 msec

Load statistics:
  Gateway            Last-Ack  Prio   Load     IKE  FQDN
  ------------------------------------------------------
  1:1:1::2          00:02.671   100   51.0%   2793
";

    const DETAILS: &str = "\
Gateway        Priority     In-neg     Crypto   CPU   Mem    Composite Prioritized
  ---------------------------------------------------------------------------------------
  1:1:1::6     100         2.5%      17.4%    43%   20%      43.0%       43.0%
  1:1:1::3     100         0.0%      17.5%    39%   23%      39.0%       39.0%
  1:1:1::2     100         0.0%      17.0%    40%   18%      40.0%       40.0%
  1:1:1::5     100         0.0%      18.9%    43%   17%      43.0%       43.0%
  1:1:1::1     100         0.0%      16.3%    40%   19%      40.0%       40.0%
  1:1:1::4     100         0.0%      16.3%    42%   16%      42.0%       42.0%
";

    fn details_view() -> ClusterView {
        let rows = [
            (6, 25, 174, 43, 20),
            (3, 0, 175, 39, 23),
            (2, 0, 170, 40, 18),
            (5, 0, 189, 43, 17),
            (1, 0, 163, 40, 19),
            (4, 0, 163, 42, 16),
        ];
        let gateways = rows.map(|(host, in_neg, crypto, cpu, mem)| {
            let load = LoadView {
                in_neg: percent(in_neg),
                crypto: percent(crypto),
                cpu: percent(cpu * 10),
                mem: percent(mem * 10),
                ..load(0, cpu * 10)
            };
            gateway(&format!("1:1:1::{host}"), GatewayRole::Second, None, Some(load))
        });
        view(ClusterRole::Primary, "1:1:1::100", gateways.to_vec())
    }

    #[test]
    fn the_published_samples_come_out_byte_for_byte() {
        assert_eq!(summary(Some(&primary())), PRIMARY);
        let mut own = gateway("1:1:1::2", GatewayRole::Second, Some(2671), Some(load(2793, 510)));
        own.is_self = true;
        let other = gateway("1:1:1::1", GatewayRole::Primary, Some(10), Some(load(1, 10)));
        assert_eq!(summary(Some(&view(ClusterRole::Secondary, "1:1:1::100", vec![other, own]))), SECONDARY);
        assert_eq!(details(Some(&details_view())), DETAILS);
        assert_eq!(stats(Some(&details_view())).split_once("\n\n").unwrap().0, DETAILS.trim_end());
    }

    #[test]
    fn groups_are_named_where_this_node_has_several_roles() {
        let group = |name: &str, address: &str, role| GroupRoleView {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            role,
        };
        let mut view = primary();
        view.groups = vec![
            group("vpn-a", "10.0.0.100", ClusterRole::Primary),
            group("vpn-b", "2001:db8::10", ClusterRole::Secondary),
        ];
        let text = summary(Some(&view));
        let lines = "Group          : vpn-a 10.0.0.100: CLB Primary\nGroup          : vpn-b 2001:DB8::10: CLB Secondary\n";
        assert!(text.contains(lines), "{text}");
        view.groups[1].role = ClusterRole::Primary;
        assert_eq!(summary(Some(&view)), PRIMARY);
    }

    #[test]
    fn marks_names_and_notes_keep_the_columns() {
        let mut view = primary();
        view.cluster_ip.push("10.0.0.100".parse().unwrap());
        view.last_refusal = Some(RefusalView {
            peer: "2001:db8::f".parse().unwrap(),
            kind: "wrong-key",
            reason: "wrong cluster key".to_owned(),
            age_ms: 62_000,
        });
        view.gateways[0].mark = Some(Mark::Least);
        view.gateways[0].fqdn = "gw1.example".to_owned();
        view.gateways[1].mark = Some(Mark::Overloaded);
        view.gateways[1].load = Some(load(100_000, 1000));
        view.gateways[2].mark = Some(Mark::NotChosen);
        view.gateways[2].reason = Some("draining".to_owned());
        view.gateways.push(gateway("10.1.0.1", GatewayRole::Static, None, None));
        view.surge_ms = Some(12_345);
        view.drains.push(DrainView {
            address: "10.1.0.3".parse().unwrap(),
            addresses: vec!["10.1.0.3".parse().unwrap(), "2001:db8::3".parse().unwrap()],
            moved: Some(120),
            waiting: 30,
            staying: Some(2),
            examples: vec!["198.51.100.7 alice".to_owned()],
            problem: Some("vici /run/charon.vici: charon hangs".to_owned()),
        });
        view.drains.push(DrainView {
            address: "2001:db8::2".parse().unwrap(),
            addresses: vec!["2001:db8::2".parse().unwrap()],
            moved: None,
            waiting: 7,
            staying: None,
            examples: Vec::new(),
            problem: None,
        });
        insta::assert_snapshot!(summary(Some(&view)), @r"
        Role           : CLB Primary
        Status         : Up
        CLB Secondary  : 2
        Cluster IP     : 2001:DB8::10, 10.0.0.100
        Hold time      : 15000 msec
        Overload limit : 80%
        Codes          : '*' Least loaded, '-' Overloaded, '!' Not chosen

        Load statistics:
          Gateway           Role   Last-seen  Prio   Load     IKE  FQDN
          -------------------------------------------------------------
        * 2001:DB8::1      Primary     --      100   26.6%   3996  gw1.example
        - 2001:DB8::2      Second  00:01.452   100  100.0% 100000
        ! 2001:DB8::3      Second  00:00.271   100   26.6%   4006
        10.1.0.1           Static      --      100      --     --

        Notes:
        Surge          : for 12 s: every usable gateway takes clients
        Draining       : 10.1.0.3, 2001:DB8::3: 120 sessions moved, 30 waiting, 2 stay (no redirect support)
        Drain problem  : vici /run/charon.vici: charon hangs
        Draining       : 2001:DB8::2: 7 sessions waiting (details on 2001:DB8::2)
        Last refusal   : 2001:DB8::F 00:01:02 ago: wrong cluster key
        Excluded       : 2001:DB8::3 gets no client: draining
        ");
        let stats = stats(Some(&view));
        assert!(stats.ends_with("(no redirect support):\n  198.51.100.7 alice\n  and 1 more\n"), "{stats}");
    }

    /// What a script that reads the published samples looks for: of a row, the gateway, role, age, priority, load, SAs and
    /// name; of a details row, the gateway, priority and six percentages.
    #[test]
    fn a_regular_expression_of_the_samples_reads_every_row_of_ours() {
        let row = r"^(?:[*!-] )?([0-9A-F:.]+) +(Primary|Second|Static) +(--|\d\d:\d\d\.\d{3}) +(\d+) +(--|[\d.]+%) +(--|\d+)(?: +(\S+))?$";
        let details_row = r"^  ([0-9A-F:.]+) +(\d+) +(--|[\d.]+%) +(--|[\d.]+%) +(--|\d+%) +(--|\d+%) +(--|[\d.]+%) +(--|[\d.]+%)$";
        let count = |pattern: &str, text: &str| {
            let pattern = regex_lite::Regex::new(pattern).unwrap();
            text.lines().filter(|line| pattern.is_match(line)).count()
        };
        assert_eq!((count(row, PRIMARY), count(details_row, DETAILS)), (3, 6), "the samples themselves");
        let mut view = primary();
        view.gateways[0].mark = Some(Mark::Least);
        view.gateways[0].fqdn = "gw1.example".to_owned();
        view.gateways[1].mark = Some(Mark::Overloaded);
        view.gateways[1].load = Some(load(100_000, 1000));
        view.gateways[2].last_seen_ms = Some(86_400_000);
        view.gateways.push(gateway("10.1.0.1", GatewayRole::Static, None, None));
        view.gateways.push(gateway(
            "2001:db8:ffff:ffff:ffff:ffff:ffff:fff1",
            GatewayRole::Second,
            Some(1),
            None,
        ));
        assert_eq!(count(row, &summary(Some(&view))), 5, "{}", summary(Some(&view)));
        assert_eq!(count(details_row, &details(Some(&view))), 5, "{}", details(Some(&view)));
    }

    #[test]
    fn long_addresses_widen_the_first_column_only() {
        let long = "2001:db8:ffff:ffff:ffff:ffff:ffff:fff1";
        let mut view = primary();
        view.gateways[1].address = long.parse().unwrap();
        let text = summary(Some(&view));
        let at = |word: &str| {
            let line = text.lines().find(|line| line.contains(word)).unwrap();
            line.find(word).unwrap() + word.len()
        };
        assert_eq!(at("IKE"), at("3999"), "{text}");
        assert_eq!(at("Last-seen"), at("00:01.452"), "{text}");
    }

    #[test]
    fn a_cluster_that_is_down_says_what_is_missing() {
        let view = ClusterView {
            status: "Down",
            reasons: vec!["no HSRP group is named: add `standby-group NAME`".to_owned()],
            secondaries: 0,
            authenticated: None,
            notes: vec!["no request is redirected: add `crypto ikev2 redirect gateway init`".to_owned()],
            ..view(ClusterRole::None, "", Vec::new())
        };
        insta::assert_snapshot!(summary(Some(&view)), @r"
        Role           : None
        Status         : Down
        CLB Secondary  : 0
        Cluster IP     : none
        Hold time      : 15000 msec
        Overload limit : 80%
        Codes          : '*' Least loaded, '-' Overloaded

        Load statistics:
          Gateway           Role   Last-seen  Prio   Load     IKE  FQDN
          -------------------------------------------------------------

        Notes:
        Reason         : no HSRP group is named: add `standby-group NAME`
        Note           : no request is redirected: add `crypto ikev2 redirect gateway init`
        ");
        assert_eq!(summary(None), "No cluster is configured: enter `crypto ikev2 cluster`.\n");
    }

    #[test]
    fn details_warn_of_a_member_without_room_for_rekeying() {
        let mut view = details_view();
        let full = LoadView { ike: 50, child: 46, max_session: 100, ..load(50, 960) };
        view.gateways[0].load = Some(full);
        assert!(details(Some(&view)).contains("1:1:1::6 holds 96 of 100 SAs: raise its max-session"));
    }

    #[test]
    fn stats_count_the_redirects_of_each_gateway_and_what_else_happened() {
        let mut view = primary();
        (view.gateways[0].slots, view.gateways[0].redirects) = (Some(683), 1234);
        (view.gateways[1].slots, view.gateways[1].redirects) = (Some(341), 7);
        view.not_redirected.push(CounterView { name: "no_gateway".to_owned(), total: 3 });
        view.counters.push(CounterView { name: "updates".to_owned(), total: 99 });
        let text = stats(Some(&view));
        insta::assert_snapshot!(text.split_once("\n\n").unwrap().1, @r"
        Gateway      Priority  Slots  Share  Redirects
        2001:DB8::1       100    683  66.7%       1234
        2001:DB8::2       100    341  33.3%          7
        2001:DB8::3       100      0   0.0%          0

        Not redirected  Count
        no_gateway          3

        Event    Count
        updates     99
        ");
    }

    #[test]
    fn json_has_numbers_where_the_table_has_percentages() {
        let value = serde_json::to_value(primary()).unwrap();
        assert_eq!(value["gateways"][0]["load"]["prioritized"], 26.6);
        assert_eq!((value["role"].as_str(), value["gateways"][0]["mark"].is_null()), (Some("primary"), true));
        assert_eq!(value["gateways"][0]["usable"], true);
        let mut secondary = gateway("2001:db8::3", GatewayRole::Second, None, None);
        (secondary.usable, secondary.slots) = (None, None);
        let value = serde_json::to_value(secondary).unwrap();
        assert!(value["usable"].is_null() && value["slots"].is_null(), "not known is not false");
    }
}
