//! Two nodes on one bridge, each with usherd and a data plane that the test plays: who owns the virtual address, and who
//! takes it next. The exception devices are veths, so that hellos really cross the bridge. Needs root and iproute2.
#![forbid(unsafe_code)]

mod common;

use common::lan::{Lan, Member, config};
use common::{run, until};
use platform::snapshot::VipState;
use rustix::process::Signal;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// A takeover must be done within this: ten times what the timers below imply.
const LIMIT: Duration = Duration::from_millis(2500);

#[test]
fn the_role_goes_from_node_to_node_and_never_to_two() {
    let preferred = config(1, " standby 1 priority 110\n standby 1 preempt\n");
    let mut lan = Lan::new([preferred, config(2, "")]);

    // The second is alone at first, and takes the role.
    lan.start(1);
    lan.wait("the lone node answers", |lan| lan.members[1].answers());
    assert_eq!(lan.members[1].node.addresses("hsrp0-1"), ["10.0.0.100/32"]);

    // The preferred one comes and preempts.
    lan.start(0);
    lan.wait("the preferred node answers", |lan| lan.members[0].answers());
    lan.wait("standby", |lan| lan.members[0].is("Active") && lan.members[1].is("Standby"));
    lan.wait("the bridge learns the virtual MAC", |lan| lan.learned().as_deref() == Some("p1"));
    assert!(lan.members[1].node.addresses("hsrp0-1").is_empty());
    // A node shows what it has heard, a moment after its peer has said it.
    lan.wait("both show both", |lan| {
        let shown = lan.members[1].node.show("show standby");
        let brief = lan.members[0].node.show("show standby brief");
        shown.contains("Active router is 10.0.0.1, priority 110 (expires in 0.")
            && shown.contains("Standby router is local")
            && brief.contains("local           10.0.0.2        10.0.0.100")
    });

    // kill -9 of usherd: the lease ends, the other one takes over.
    lan.members[0].kill();
    let took = lan.wait("a takeover", |lan| lan.members[1].answers());
    assert!(took < LIMIT, "{took:?}");
    let last = lan.members[0].dataplane.as_ref().unwrap().last().unwrap();
    assert!(last.fences, "the data plane of the dead one fences");
    lan.wait("the bridge learns the virtual MAC", |lan| lan.learned().as_deref() == Some("p2"));
    println!("kill -9: {took:?}");

    // It comes back too late for its lease, and preempts again.
    lan.start(0);
    lan.wait("the preferred node again", |lan| lan.members[0].answers() && lan.members[1].is("Standby"));

    // SIGTERM: handed over without waiting for a timer.
    let start = Instant::now();
    lan.members[0].signal(Signal::TERM);
    lan.wait("the hand-over", |lan| lan.members[1].answers());
    let took = start.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    println!("SIGTERM: {took:?}");
    assert!(lan.members[0].usherd.as_mut().unwrap().ends().success());
    assert!(lan.members[0].node.addresses("hsrp0-1").is_empty());

    // The data plane dies: nothing that this node could say would leave.
    lan.start(0);
    lan.wait("the preferred node once more", |lan| lan.members[0].answers() && lan.members[1].is("Standby"));
    lan.nobody_answered_together();
    lan.members[0].dataplane = None;
    let took = lan.wait("a takeover", |lan| lan.members[1].answers());
    println!("data plane: {took:?}");
    assert!(took < LIMIT, "{took:?}");
    lan.wait("Init", |lan| lan.members[0].is("Init") && lan.members[0].node.addresses("hsrp0-1").is_empty());
    lan.members[0].start_dataplane();
    lan.wait("back", |lan| lan.members[0].answers() && lan.members[1].is("Standby"));
    lan.nobody_answered_together();
}

#[test]
fn the_operator_hands_a_group_over_and_a_change_of_priority_does_not() {
    let mut lan = Lan::new([
        config(1, " standby 1 authentication md5 key-string abc\n"),
        config(2, " standby 1 authentication md5 key-string abc\n"),
    ]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[1].is("Standby"));
    let start = Instant::now();
    assert!(lan.members[0].node.show("standby 1 failover").contains("handing over"));
    lan.wait("the hand-over", |lan| lan.members[1].answers());
    println!("failover: {:?}", start.elapsed());
    lan.wait("standby", |lan| lan.members[0].is("Standby"));
    let refused = lan.members[0].node.usher("standby Te0/0/0 1 failover");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not active"), "{refused:?}");

    // Live change: no role is lost for it.
    let before = lan.members[1].node.log().matches("STATECHANGE").count();
    lan.members[1]
        .node
        .configure(&config(2, " standby 1 authentication md5 key-string abc\n standby 1 priority 90\n"));
    lan.members[1].signal(Signal::HUP);
    until("the new priority", || {
        lan.members[0].node.show("show standby").contains("Active router is 10.0.0.2, priority 90")
    });
    assert_eq!(lan.members[1].node.log().matches("STATECHANGE").count(), before);

    let faster = " standby 1 authentication md5 key-string abc\n standby 1 timers msec 40 msec 160\n";
    lan.members[1].configure(&config(2, faster));
    until("the new timers", || {
        lan.members[1].node.show("show standby").contains("Hello time 40 msec, hold time 160 msec")
    });
    assert_eq!(lan.members[1].node.log().matches("STATECHANGE").count(), before);

    // A router with another key is not heard, and this is counted.
    let debug = lan.members[0].node.show("debug standby errors");
    assert!(debug.contains("errors on"), "{debug}");
    lan.members[1].node.configure(&config(2, " standby 1 authentication md5 key-string other\n"));
    lan.members[1].signal(Signal::HUP);
    until("refused", || lan.members[0].node.show("show standby all").contains("auth-digest"));
    lan.wait("both are active", |lan| lan.members[0].answers() && lan.members[1].answers());
    assert!(lan.members[0].node.log().contains("wrong MD5 digest"));
    // The old key again: they settle to one.
    lan.members[1].node.configure(&config(2, " standby 1 authentication md5 key-string abc\n"));
    lan.members[1].signal(Signal::HUP);
    lan.wait("one of them", |lan| lan.members[0].answers() != lan.members[1].answers());
}

#[test]
fn a_router_of_the_other_version_is_named_although_nobody_hears_it() {
    let old = config(2, "").replace("standby version 2", "standby version 1");
    let mut lan = Lan::new([config(1, ""), old]);
    lan.start(0);
    lan.start(1);
    lan.wait("both are active", |lan| lan.members[0].answers() && lan.members[1].answers());
    for (index, wanted) in [
        (0, "%HSRP-4-VERSION: TenGigabitEthernet0/0/0: 10.0.0.2 speaks version 1, this node version 2"),
        (1, "%HSRP-4-VERSION: TenGigabitEthernet0/0/0: 10.0.0.1 speaks version 2, this node version 1"),
    ] {
        lan.wait("the warning", |lan| lan.members[index].node.log().contains(wanted));
        assert!(lan.members[index].node.show("show standby all").contains("other-version"));
    }
    // Once they speak the same, there is one.
    lan.members[1].configure(&config(2, ""));
    lan.wait("one of them", |lan| lan.members[0].answers() != lan.members[1].answers());
}

/// Forged hellos of 200 groups, among them the one in use, from a host that does not know the key; 10,000 a second.
const FLOOD: &str = "
import socket, sys, time
frames = open(sys.argv[1], 'rb').read()
frames = [frames[i:i + 94] for i in range(0, len(frames), 94)]
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(('lan', 0))
start, sent = time.monotonic(), 0
while time.monotonic() - start < 3:
    for _ in range(100):
        out.send(frames[sent % len(frames)])
        sent += 1
    time.sleep(max(0, start + sent / 10000 - time.monotonic()))
";

/// Processor time that a process has used.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // After the name and the state: ppid is the first number, utime and stime the 11th and 12th; 100 ticks a second.
    Duration::from_millis((fields[10] + fields[11]) * 10)
}

#[test]
fn a_flood_of_forged_hellos_costs_little_and_changes_nothing() {
    use controlplane::hsrp::auth::Auth;
    use controlplane::hsrp::link;
    use controlplane::hsrp::message::{Message, Opcode, State};
    use controlplane::hsrp::packet::{self, Transport};
    let key = " standby 1 authentication md5 key-string abc\n";
    let mut lan = Lan::new([config(1, key), config(2, key)]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[1].is("Standby"));
    let source = "10.0.0.66".parse().unwrap();
    let frames: Vec<u8> = (1..=200)
        .flat_map(|group| {
            let message = Message {
                opcode: if group % 2 == 0 { Opcode::Coup } else { Opcode::Hello },
                state: State::Active,
                version: 2,
                group,
                priority: 255,
                hello: Duration::from_secs(3),
                hold: Duration::from_secs(10),
                virtual_ip: Some("10.0.0.66".parse().unwrap()),
                identifier: [2; 6],
            };
            let payload = packet::emit(&message, &Auth::default(), source).unwrap();
            link::frame(Transport::V2, [2, 0, 0, 0, 0, 0x66], source, &payload).unwrap()
        })
        .collect();
    assert_eq!(frames.len(), 200 * 94);
    let path = lan.members[0].node.path("frames");
    std::fs::write(&path, frames).unwrap();
    let usherd = |member: &Member| member.usherd.as_ref().unwrap().child.id();
    let changes =
        |lan: &Lan| lan.members.iter().map(|m| m.node.log().matches("STATECHANGE").count()).sum::<usize>();
    let (before, changed) = (processor_time(usherd(&lan.members[0])), changes(&lan));
    let start = Instant::now();
    run(Command::new("ip").args(["netns", "exec", &lan.name, "python3", "-c", FLOOD]).arg(&path));
    let (took, used) = (start.elapsed(), processor_time(usherd(&lan.members[0])) - before);
    println!("flood: {used:?} of processor time in {took:?}");
    assert!(used < took / 2, "{used:?} in {took:?}");
    assert_eq!(changes(&lan), changed, "{}", lan.members[0].node.log());
    assert!(lan.members[0].answers() && lan.members[1].is("Standby"));
    let json: serde_json::Value =
        serde_json::from_str(&lan.members[0].node.show("--json show standby all")).unwrap();
    let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
    assert!(count(&json[0]["refused"]["auth-text-for-md5"]) > 20, "{json}");
    assert!(count(&json[0]["interface_refused"]["unknown-group"]) > 5000, "{json}");
    let lines = lan.members[0].node.log().matches("BADAUTH").count();
    assert!((1..=30).contains(&lines), "{lines} lines");
}

#[test]
fn ipv6_groups_elect_and_learners_follow() {
    let both = |node: u8, more: &str| {
        format!(
            "interface Te0/0/0\n ip address 10.0.0.{node} 255.255.255.0\n ipv6 address 2001:db8::{node}/64\n \
             standby version 2\n standby delay minimum 0 reload 0\n standby 2 ipv6 2001:db8::100/64\n \
             standby 2 timers msec 50 msec 150\n standby 1 timers msec 50 msec 150\n{more}"
        )
    };
    let mut lan = Lan::new([both(1, " standby 1 ip 10.0.0.100\n"), both(2, " standby 1 ip\n")]);
    lan.start(0);
    let carries = |lan: &Lan, index: usize| {
        let node = &lan.members[index].node;
        node.addresses("hsrp0-1") == ["10.0.0.100/32"]
            && node.addresses("hsrp0-2v6").contains(&"2001:db8::100/128".to_owned())
    };
    lan.wait("both addresses", |lan| carries(lan, 0));
    lan.start(1);
    let states = |lan: &Lan| {
        let json: serde_json::Value =
            serde_json::from_slice(&lan.members[1].node.usher("--json show standby").stdout)
                .unwrap_or_default();
        [json[0]["state"].clone(), json[1]["state"].clone()]
    };
    lan.wait("both standby", |lan| states(lan) == ["Standby", "Standby"]);
    let shown = lan.members[1].node.show("show standby Te0/0/0 1");
    assert!(shown.contains("Virtual IP address is 10.0.0.100 (learnt)"), "{shown}");
    assert!(!shown.contains("Group 2"), "{shown}");
    assert!(lan.members[1].node.show("show standby 2").contains("Active router is fe80::"));
    // A changed and a secondary address: the learner follows the first, also in what it tells its data plane.
    let moved = " standby 1 ip 10.0.0.110\n standby 1 ip 10.0.0.111 secondary\n";
    lan.members[0].configure(&both(1, moved));
    lan.wait("the changed addresses", |lan| {
        lan.members[0].node.addresses("hsrp0-1") == ["10.0.0.110/32", "10.0.0.111/32"]
    });
    let told = |lan: &Lan, index: usize| -> Vec<(IpAddr, VipState)> {
        let seen = lan.members[index].dataplane.as_ref().unwrap().last().unwrap();
        seen.body.vips().iter().map(|vip| (vip.ip().unwrap(), vip.state())).collect()
    };
    let v4 = |host: u8| IpAddr::from([10, 0, 0, host]);
    lan.wait("the learner's snapshot", |lan| told(lan, 1).contains(&(v4(110), VipState::Inactive)));
    assert!(!told(&lan, 1).iter().any(|(address, _)| *address == v4(100)), "{:?}", told(&lan, 1));
    assert!(told(&lan, 0).contains(&(v4(111), VipState::Active)), "{:?}", told(&lan, 0));
    let shown = lan.members[0].node.show("show standby Te0/0/0 1");
    assert!(shown.contains("    Secondary virtual IP address 10.0.0.111"), "{shown}");
    let carries = |lan: &Lan, index: usize| {
        let node = &lan.members[index].node;
        node.addresses("hsrp0-1") == ["10.0.0.110/32"]
            && node.addresses("hsrp0-2v6").contains(&"2001:db8::100/128".to_owned())
    };
    lan.members[0].signal(Signal::TERM);
    lan.wait("both addresses on the next node", |lan| carries(lan, 1));
    assert!(lan.members[0].usherd.as_mut().unwrap().ends().success());
    let left = ["hsrp0-1", "hsrp0-2v6"].map(|device| lan.members[0].node.addresses(device).len());
    assert_eq!(left, [0, 0]);
}
