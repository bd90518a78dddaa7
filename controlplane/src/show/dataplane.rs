//! `show dataplane [counters|workers|ports]`.

use crate::types::Nanos;
use platform::snapshot::{FeedbackView, MemberState, Members, PortIdentity, Shared, SharedBy, StageView};
use serde::Serialize;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

/// The data planes and what was published to them.
#[derive(Clone, Debug, Serialize)]
pub struct DataplaneView {
    /// The snapshot
    pub snapshot: SnapshotView,
    /// Those attached, the newest first; usually one
    pub attached: Vec<AttachedView>,
}

/// The snapshot published last.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotView {
    /// Instance of this usherd, hexadecimal
    pub instance: String,
    /// Generation, from 1
    pub generation: u64,
    /// Milliseconds since it was published
    pub published_ago_ms: u64,
    /// Its virtual addresses
    pub vips: Vec<VipView>,
}

/// A virtual address of the snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct VipView {
    /// The address
    pub address: IpAddr,
    /// `Inactive`, `Prepared` or `Active`
    pub state: &'static str,
    /// IKE_SA_INIT requests are redirected
    pub redirect_init: bool,
    /// The port it lives on; `None`: any
    pub port: Option<u16>,
    /// Gains of the role
    pub epoch: u64,
    /// Gateways that may be chosen
    pub gateways: usize,
}

/// A data plane.
#[derive(Clone, Debug, Serialize)]
pub struct AttachedView {
    /// Milliseconds since it attached
    pub attached_ms: u64,
    /// Milliseconds since the oldest heartbeat of its threads; `None`: one has not spoken yet
    pub heartbeat_age_ms: Option<u64>,
    /// The heartbeat is old: a thread hangs
    pub stale: bool,
    /// Every worker works by the snapshot published last
    pub applied: bool,
    /// MAC filters in place; `None`: not told yet
    pub filters: Option<bool>,
    /// All that its memory says
    #[serde(flatten)]
    pub feedback: FeedbackView,
}

const NONE: &str = "No data plane is attached: start it with `systemctl start usher-dataplane`.\n";

/// `show dataplane`
#[must_use]
pub fn summary(view: &DataplaneView) -> String {
    let mut out = String::new();
    if view.attached.is_empty() {
        out.push_str(NONE);
    }
    for attached in &view.attached {
        let feedback = &attached.feedback;
        let mut line = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<15}: {value}");
        };
        let up = super::age(Duration::from_millis(attached.attached_ms));
        line("Data plane", format!("attached for {up}, process {}", feedback.pid));
        line(
            "Heartbeat",
            match (attached.stale, attached.heartbeat_age_ms) {
                (_, None) => "none yet".to_owned(),
                (true, Some(ms)) => format!("OLD: {ms} msec ago, a thread hangs: restart usher-dataplane"),
                (false, Some(ms)) => format!("{ms} msec ago"),
            },
        );
        let applied =
            if attached.applied { "in force on all workers" } else { "NOT yet in force on all workers" };
        line("Snapshot", format!("generation {}, {applied}", view.snapshot.generation));
        line(
            "MAC filters",
            match attached.filters {
                Some(true) => "in place".to_owned(),
                Some(false) => "NOT in place: see `show dataplane ports`".to_owned(),
                None => "not told yet".to_owned(),
            },
        );
        line("Workers", feedback.workers.len().to_string());
        line("Ports", feedback.ports.len().to_string());
        let sum = |action: &str| {
            let of = feedback.counters.iter().filter(|counter| counter.action == action);
            of.map(|counter| counter.total).fold(0, u64::wrapping_add)
        };
        line(
            "Frames",
            format!("{} answered, {} passed, {} dropped", sum("answer"), sum("pass"), sum("drop")),
        );
    }
    let rows: Vec<Vec<String>> = view
        .snapshot
        .vips
        .iter()
        .map(|vip| {
            vec![
                vip.address.to_string(),
                vip.state.to_owned(),
                if vip.redirect_init { "init" } else { "off" }.to_owned(),
                vip.port.map_or("any".to_owned(), |port| port.to_string()),
                vip.gateways.to_string(),
                vip.epoch.to_string(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let head = ["Virtual IP", "State", "Redirect", "Port", "Gateways", "Epoch"];
        let _ = write!(out, "\n{}", super::table(&head, &[false, false, false, true, true, true], &rows));
    }
    out
}

/// `show dataplane counters [all]`
#[must_use]
pub fn counters(view: &DataplaneView, all: bool) -> String {
    let mut out = String::new();
    for attached in &view.attached {
        let counters = &attached.feedback.counters;
        let shown = counters.iter().filter(|counter| all || counter.total > 0);
        let rows: Vec<Vec<String>> = shown
            .map(|c| vec![c.name.clone(), c.action.clone(), c.total.to_string(), c.help.clone()])
            .collect();
        out.push_str(&super::table(
            &["Counter", "Action", "Total", "Meaning"],
            &[false, false, true, false],
            &rows,
        ));
        let zero = counters.len() - rows.len();
        if zero > 0 {
            let _ = writeln!(out, "{zero} counters are 0: `show dataplane counters all` lists them");
        }
    }
    if view.attached.is_empty() { NONE.to_owned() } else { out }
}

/// `show dataplane workers`
#[must_use]
pub fn workers(view: &DataplaneView, now_ns: Nanos) -> String {
    let mut out = String::new();
    for attached in &view.attached {
        let rows: Vec<Vec<String>> = attached
            .feedback
            .workers
            .iter()
            .map(|worker| {
                let busy = match worker.total_cycles {
                    0 => "--".to_owned(),
                    total => format!("{:.1}%", worker.busy_cycles as f64 * 100.0 / total as f64),
                };
                let heartbeat = match worker.heartbeat_ns {
                    0 => "none yet".to_owned(),
                    at => format!("{} ms ago", now_ns.since(Nanos::new(at)).as_millis()),
                };
                vec![
                    worker.index.to_string(),
                    worker.core.to_string(),
                    busy,
                    heartbeat,
                    worker.applied_generation.to_string(),
                    worker.loops.to_string(),
                    worker.kept.to_string(),
                ]
            })
            .collect();
        let head = ["Worker", "Core", "Busy", "Heartbeat", "Generation", "Loops", "Kept"];
        out.push_str(&super::table(&head, &[true; 7], &rows));
    }
    if view.attached.is_empty() { NONE.to_owned() } else { out }
}

/// `show dataplane stages`
#[must_use]
pub fn stages(view: &DataplaneView) -> String {
    let mut out = String::new();
    for worker in view.attached.iter().flat_map(|attached| &attached.feedback.workers) {
        if worker.stages.is_empty() {
            let _ = writeln!(
                out,
                "Worker {}: stages are not timed: set `stages = true` under [worker] in the platform profile, \
                 then restart usher-dataplane",
                worker.index
            );
            continue;
        }
        let all: u64 = worker.stages.iter().map(|stage| stage.cycles).sum();
        let row = |stage: &StageView| {
            let each = stage.cycles as f64 / stage.frames.max(1) as f64;
            let share = stage.cycles as f64 * 100.0 / all.max(1) as f64;
            let frames = stage.frames.to_string();
            vec![stage.name.to_owned(), frames, format!("{each:.1}"), format!("{share:.1}%")]
        };
        let rows: Vec<_> = worker.stages.iter().map(row).collect();
        let _ = writeln!(out, "Worker {}", worker.index);
        let head = ["Stage", "Frames", "Cycles/frame", "Share"];
        out.push_str(&super::table(&head, &[false, true, true, true], &rows));
    }
    if view.attached.is_empty() { NONE.to_owned() } else { out }
}

/// `show dataplane ports`
#[must_use]
pub fn ports(view: &DataplaneView) -> String {
    let mut out = String::new();
    for port in view.attached.iter().flat_map(|attached| &attached.feedback.ports) {
        let id = &port.identity;
        // usherd has put the subinterface's name there, where the VLAN has one.
        let name = match (id.vlan, id.name.contains('.')) {
            (0, _) => id.name.clone(),
            (vlan, true) => format!("{}, VLAN {vlan}", id.name),
            (vlan, false) => format!("VLAN {vlan} of {}, without a subinterface", id.name),
        };
        let _ = writeln!(out, "Port {}: {name}", port.index);
        let mac = super::standby::dotted_mac(id.mac);
        let shared = port.status.and_then(|status| status.shared);
        let kernel = match (id.exception.as_str(), &shared) {
            ("", _) => "no exception device".to_owned(),
            (name, None) => format!("exception device {name}"),
            (name, Some(_)) => format!("kernel interface {name}"),
        };
        let _ = writeln!(out, "  Driver {}, MAC {mac}, MTU {}, {kernel}", id.driver, id.mtu);
        let Some(status) = port.status else {
            out.push_str("  State not told yet\n");
            continue;
        };
        let queues =
            if status.queues == 1 { "1 queue".to_owned() } else { format!("{} queues", status.queues) };
        match &shared {
            None if id.vlan == 0 => {
                let _ = writeln!(out, "  Attach owned, {queues}");
            }
            None => {}
            Some(shared) => sharing(&mut out, shared, &id.exception, &queues),
        }
        bond(&mut out, id, &status.members);
        let link = if status.link_up { "up" } else { "down" };
        let _ = writeln!(out, "  Link is {link}, {} Mbit/s", status.speed_mbps);
        let filters = match (status.filter_ok, status.promisc_forced, shared.is_some()) {
            (true, _, true) => "Steering rules in place",
            (false, _, true) => {
                "Steering rules NOT in place: requests may stay with the kernel; the log of usher-dataplane says why"
            }
            (true, false, _) => "MAC filters in place",
            (true, true, _) => {
                "MAC filters in place by promiscuous mode: the port takes no further MAC address"
            }
            (false, ..) => {
                "MAC filters NOT in place: frames to the virtual MAC do not arrive; set promiscuous in the profile"
            }
        };
        let _ = writeln!(out, "  {filters}");
        if id.vlan != 0 {
            let _ = writeln!(
                out,
                "  To the kernel   {} packets, {} bytes, {} errors; answers are counted by the port",
                status.ipackets, status.ibytes, status.oerrors
            );
            let _ = writeln!(
                out,
                "  From the kernel {} packets, {} bytes, {} without buffer",
                status.opackets, status.obytes, status.rx_nombuf
            );
            continue;
        }
        let _ = writeln!(
            out,
            "  In  {} packets, {} bytes, {} missed, {} errors, {} without buffer",
            status.ipackets, status.ibytes, status.imissed, status.ierrors, status.rx_nombuf
        );
        let _ = writeln!(
            out,
            "  Out {} packets, {} bytes, {} errors",
            status.opackets, status.obytes, status.oerrors
        );
    }
    if view.attached.is_empty() { NONE.to_owned() } else { out }
}

/// The members of a bond, a line each.
fn bond(out: &mut String, id: &PortIdentity, members: &Members) {
    if id.bond.is_empty() {
        return;
    }
    let carrying = members.iter().flatten().filter(|member| member.state == MemberState::Active).count();
    let _ = writeln!(out, "  Bond {}, {carrying} of {} members active", id.bond, id.members.len());
    for (name, member) in id.members.iter().zip(members.iter().flatten()) {
        let state = match member.state {
            MemberState::Down => {
                let _ = writeln!(out, "    {name}: link is down");
                continue;
            }
            MemberState::Negotiating => "no agreement by LACP: is its switch port in the same channel group?",
            MemberState::Standby => "standby",
            MemberState::Active => "active",
        };
        let _ = writeln!(
            out,
            "    {name}: link is up, {} Mbit/s, {state}; {} packets in, {} out",
            member.speed_mbps, member.ipackets, member.opackets
        );
    }
}

/// Sharing of a bifurcated port with the kernel, and the ways of its frames.
fn sharing(out: &mut String, shared: &Shared, interface: &str, queues: &str) {
    let mode = match shared.by {
        SharedBy::FlowRules => {
            let _ = writeln!(
                out,
                "  Attach bifurcated by flow rules of the NIC, {queues}; what they drop is in its own counters"
            );
            return;
        }
        SharedBy::Xdp => "",
        SharedBy::XdpNative => " in native mode",
        SharedBy::XdpGeneric => " in generic mode (slow: the driver has no XDP)",
        SharedBy::XdpOffloaded => " on the NIC",
    };
    let copies = match (shared.copying, shared.zero_copy) {
        (0, 0) => String::new(),
        (_, 0) => ", the kernel copies frames".to_owned(),
        (0, _) => ", zero-copy".to_owned(),
        (copying, zero_copy) => format!(", zero-copy on {zero_copy} of {}", copying + zero_copy),
    };
    let _ = writeln!(out, "  Attach bifurcated by XDP program {}{mode}, {queues}{copies}", shared.program);
    let _ = writeln!(
        out,
        "  Program: {} to the workers, {} to the kernel, {} fenced; from the kernel {} fenced",
        shared.steered, shared.passed, shared.fenced, shared.fenced_out
    );
    if shared.unserved > 0 {
        let _ = writeln!(
            out,
            "  {} for the workers came on queues that have none and went to the kernel: let `queues` of the profile be all \
             that `ethtool -l {interface}` shows",
            shared.unserved
        );
    }
    if !shared.egress_fence {
        out.push_str(
            "  What the kernel sends in the name of a fenced address is NOT stopped: the log of usher-dataplane says why\n",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::snapshot::{
        CounterName, Feedback, FeedbackReader, FeedbackSpec, MemberStatus, PortIdentity, PortStatus,
    };

    const NAMES: &[CounterName<'static>] = &[
        CounterName { name: "redirected", action: "answer", help: "IKE_SA_INIT answered with a REDIRECT" },
        CounterName { name: "not_ours", action: "pass", help: "no virtual address" },
        CounterName { name: "bad_checksum", action: "drop", help: "checksum wrong" },
    ];

    fn view() -> DataplaneView {
        let port = PortIdentity {
            name: "TenGigabitEthernet0/0/0".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            driver: "net_af_xdp".to_owned(),
            exception: "exc0".to_owned(),
            ..PortIdentity::default()
        };
        let spec = FeedbackSpec { workers: 1, ports: vec![port], counters: NAMES };
        let feedback = Feedback::create(&spec).unwrap();
        let worker = feedback.worker(0).unwrap();
        worker.add(0, 12);
        worker.add(2, 3);
        worker.set_core(1);
        worker.add_cycles(25, 100);
        worker.set_heartbeat(4_000_000);
        worker.set_applied(7, 9);
        let status = PortStatus {
            link_up: true,
            speed_mbps: 10_000,
            filter_ok: true,
            imissed: 4,
            queues: 1,
            ..PortStatus::default()
        };
        feedback.set_port(0, &status);
        let read = FeedbackReader::map(feedback.fd().try_clone_to_owned().unwrap()).unwrap().read();
        DataplaneView {
            snapshot: SnapshotView {
                instance: "7".to_owned(),
                generation: 9,
                published_ago_ms: 5,
                vips: vec![VipView {
                    address: "10.0.0.100".parse().unwrap(),
                    state: "Active",
                    redirect_init: true,
                    port: Some(0),
                    epoch: 1,
                    gateways: 2,
                }],
            },
            attached: vec![AttachedView {
                attached_ms: 62_000,
                heartbeat_age_ms: Some(2),
                stale: false,
                applied: true,
                filters: Some(true),
                feedback: FeedbackView { pid: 123, ..read },
            }],
        }
    }

    #[test]
    fn the_summary_tells_whether_all_is_in_force() {
        insta::assert_snapshot!(summary(&view()), @r"
        Data plane     : attached for 00:01:02, process 123
        Heartbeat      : 2 msec ago
        Snapshot       : generation 9, in force on all workers
        MAC filters    : in place
        Workers        : 1
        Ports          : 1
        Frames         : 12 answered, 0 passed, 3 dropped

        Virtual IP  State   Redirect  Port  Gateways  Epoch
        10.0.0.100  Active  init         0         2      1
        ");
        assert!(
            summary(&DataplaneView { attached: Vec::new(), ..view() })
                .starts_with("No data plane is attached")
        );
    }

    #[test]
    fn counters_that_are_zero_are_left_out_unless_asked_for() {
        insta::assert_snapshot!(counters(&view(), false), @r"
        Counter       Action  Total  Meaning
        redirected    answer     12  IKE_SA_INIT answered with a REDIRECT
        bad_checksum  drop        3  checksum wrong
        1 counters are 0: `show dataplane counters all` lists them
        ");
        assert!(counters(&view(), true).contains("not_ours"));
    }

    #[test]
    fn stages_are_shown_by_cycles_or_with_how_to_time_them() {
        let mut view = view();
        assert!(stages(&view).contains("stages = true"));
        let stage = |name, cycles, frames| StageView { name, cycles, frames };
        view.attached[0].feedback.workers[0].stages =
            vec![stage("rx", 3000, 100), stage("classify", 9000, 100), stage("walk", 0, 0)];
        insta::assert_snapshot!(stages(&view), @r"
        Worker 0
        Stage     Frames  Cycles/frame  Share
        rx           100          30.0  25.0%
        classify     100          90.0  75.0%
        walk           0           0.0   0.0%
        ");
    }

    #[test]
    fn workers_and_ports_show_what_they_said() {
        insta::assert_snapshot!(workers(&view(), Nanos::new(6_000_000)), @r"
        Worker  Core   Busy  Heartbeat  Generation  Loops  Kept
             0     1  25.0%   2 ms ago           9      0     0
        ");
        insta::assert_snapshot!(ports(&view()), @r"
        Port 0: TenGigabitEthernet0/0/0
          Driver net_af_xdp, MAC 0200.0000.0001, MTU 1500, exception device exc0
          Attach owned, 1 queue
          Link is up, 10000 Mbit/s
          MAC filters in place
          In  0 packets, 0 bytes, 4 missed, 0 errors, 0 without buffer
          Out 0 packets, 0 bytes, 0 errors
        ");
    }

    #[test]
    fn a_bond_shows_each_member_with_its_link_and_what_it_does() {
        let mut view = view();
        let port = &mut view.attached[0].feedback.ports[0];
        port.identity.bond = "lacp".to_owned();
        port.identity.driver = "net_bonding".to_owned();
        port.identity.members = ["0000:01:00.0", "0000:01:00.1", "0000:01:00.2"].map(str::to_owned).into();
        let member = |state| Some(MemberStatus { state, speed_mbps: 10_000, ipackets: 5, opackets: 6 });
        let members = &mut port.status.as_mut().unwrap().members;
        members[0] = member(MemberState::Active);
        members[1] = member(MemberState::Negotiating);
        members[2] = member(MemberState::Down);
        insta::assert_snapshot!(ports(&view), @r"
        Port 0: TenGigabitEthernet0/0/0
          Driver net_bonding, MAC 0200.0000.0001, MTU 1500, exception device exc0
          Attach owned, 1 queue
          Bond lacp, 1 of 3 members active
            0000:01:00.0: link is up, 10000 Mbit/s, active; 5 packets in, 6 out
            0000:01:00.1: link is up, 10000 Mbit/s, no agreement by LACP: is its switch port in the same channel group?; 5 packets in, 6 out
            0000:01:00.2: link is down
          Link is up, 10000 Mbit/s
          MAC filters in place
          In  0 packets, 0 bytes, 4 missed, 0 errors, 0 without buffer
          Out 0 packets, 0 bytes, 0 errors
        ");
        view.attached[0].feedback.ports[0].status.as_mut().unwrap().members[0] = member(MemberState::Standby);
        assert!(ports(&view).contains("0000:01:00.0: link is up, 10000 Mbit/s, standby;"));
    }

    #[test]
    fn a_subinterface_has_the_link_of_its_port_and_counts_of_its_own() {
        let mut view = view();
        let identity = &mut view.attached[0].feedback.ports[0].identity;
        (identity.vlan, identity.exception) = (200, "exc0.200".to_owned());
        assert!(
            ports(&view).starts_with("Port 0: VLAN 200 of TenGigabitEthernet0/0/0, without a subinterface\n")
        );
        view.attached[0].feedback.ports[0].identity.name = "TenGigabitEthernet0/0/0.7".to_owned();
        insta::assert_snapshot!(ports(&view), @r"
        Port 0: TenGigabitEthernet0/0/0.7, VLAN 200
          Driver net_af_xdp, MAC 0200.0000.0001, MTU 1500, exception device exc0.200
          Link is up, 10000 Mbit/s
          MAC filters in place
          To the kernel   0 packets, 0 bytes, 0 errors; answers are counted by the port
          From the kernel 0 packets, 0 bytes, 0 without buffer
        ");
    }

    #[test]
    fn a_bifurcated_port_tells_who_steers_and_where_frames_went() {
        let mut view = view();
        let shared = Shared {
            by: SharedBy::XdpNative,
            program: 371,
            copying: 2,
            zero_copy: 0,
            egress_fence: true,
            steered: 12,
            passed: 3400,
            unserved: 0,
            fenced: 5,
            fenced_out: 1,
        };
        let mut shown = |shared: Shared| {
            let port = &mut view.attached[0].feedback.ports[0];
            port.identity.exception = "eth1".to_owned();
            let status = port.status.as_mut().unwrap();
            (status.queues, status.shared) = (2, Some(shared));
            ports(&view)
        };
        insta::assert_snapshot!(shown(shared), @r"
        Port 0: TenGigabitEthernet0/0/0
          Driver net_af_xdp, MAC 0200.0000.0001, MTU 1500, kernel interface eth1
          Attach bifurcated by XDP program 371 in native mode, 2 queues, the kernel copies frames
          Program: 12 to the workers, 3400 to the kernel, 5 fenced; from the kernel 1 fenced
          Link is up, 10000 Mbit/s
          Steering rules in place
          In  0 packets, 0 bytes, 4 missed, 0 errors, 0 without buffer
          Out 0 packets, 0 bytes, 0 errors
        ");
        let worse = Shared {
            by: SharedBy::XdpGeneric,
            copying: 1,
            zero_copy: 1,
            egress_fence: false,
            unserved: 7,
            ..shared
        };
        let text = shown(worse);
        for words in [
            "generic mode (slow",
            "zero-copy on 1 of 2",
            "7 for the workers",
            "ethtool -l eth1",
            "NOT stopped",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(shown(Shared { by: SharedBy::FlowRules, ..shared }).contains("by flow rules of the NIC"));
    }
}
