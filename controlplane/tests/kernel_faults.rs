//! Faults of the kernel's devices under two running nodes: what others change is put right or costs the role, never makes two
//! active nodes, and never an active one that no host reaches. Needs root, iproute2 and ping.
#![forbid(unsafe_code)]

mod common;

use common::lan::{Lan, config};
use std::process::Command;
use std::time::{Duration, Instant};

/// A takeover or a repair, on a machine that does something else, too.
const LIMIT: Duration = Duration::from_secs(3);
const DEFAULT: &str = "default via 10.0.0.254";

/// Two nodes, the first one active, and a host on the bridge.
fn settled(more: &str) -> Lan {
    let preferred = format!(" standby 1 priority 110\n standby 1 preempt\n{more}");
    let mut lan = Lan::new([config(1, &preferred), config(2, more)]);
    lan.ip("addr add 10.0.0.50/24 dev lan");
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[0].is("Active") && lan.members[1].is("Standby"));
    lan.wait("the host reaches it", is_reached);
    lan
}

/// Whether the host on the bridge reaches the virtual address.
fn is_reached(lan: &Lan) -> bool {
    let mut ping = Command::new("ip");
    ping.args(["netns", "exec", &lan.name, "ping", "-n", "-c1", "-W1", "10.0.0.100"]);
    ping.output().unwrap().status.success()
}

fn one_is_active(lan: &Lan) -> bool {
    lan.members.iter().filter(|member| member.is("Active")).count() == 1
}

fn connect(lan: &Lan, number: u8) {
    let node = &lan.members[usize::from(number) - 1].node.name;
    lan.ip(&format!("link add p{number} type veth peer name exc0 netns {node}"));
    lan.ip(&format!("link set p{number} master lan up"));
}

#[test]
fn what_others_change_on_the_active_or_standby_node_is_put_right() {
    let lan = settled("");
    let faults = [
        ("addr flush dev exc0", "%NET-4-REPAIRED: exc0: "),
        ("addr del 10.0.0.NODE/24 dev exc0", "%NET-4-REPAIRED: exc0: 10.0.0.NODE/24 was missing"),
        ("addr flush dev hsrp0-1", "%NET-4-REPAIRED: hsrp0-1: 10.0.0.100/32 was missing"),
        ("link del hsrp0-1", "%NET-4-REPAIRED: hsrp0-1: the device was missing"),
        ("link set exc0 down", "%NET-4-REPAIRED: exc0: the device was down"),
    ];
    for (number, (command, line)) in [2, 1].into_iter().flat_map(|number| faults.map(|fault| (number, fault)))
    {
        if number == 2 && command.starts_with("addr flush dev hsrp") {
            // The standby node's device has no address.
            continue;
        }
        let node = &lan.members[number - 1].node;
        let (command, line) =
            (command.replace("NODE", &number.to_string()), line.replace("NODE", &number.to_string()));
        let before = node.log().matches(&line).count();
        let start = Instant::now();
        node.ip(&command);
        lan.wait(&line, |_| node.log().matches(&line).count() > before);
        let logged = start.elapsed();
        lan.wait("the host reaches it", is_reached);
        let reached = start.elapsed();
        lan.wait("one active, one standby", |lan| {
            lan.members[0].is("Active") && lan.members[1].is("Standby")
        });
        println!("node {number}: {command}: logged after {logged:?}, reached after {reached:?}");
        assert!(reached < LIMIT, "{command}: {reached:?}");
        lan.nobody_answered_together();
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_device_that_goes_costs_the_role_until_it_is_back() {
    let mut lan = settled("");
    lan.members[0].node.ip("link del exc0");
    let took = lan.wait("a takeover", |lan| lan.members[1].answers());
    assert!(took < LIMIT, "{took:?}");
    lan.wait("Init", |lan| lan.members[0].is("Init"));
    lan.wait("the host reaches it", is_reached);
    lan.nobody_answered_together();
    // With the data plane, as exception devices of this kind do.
    lan.members[0].dataplane = None;
    connect(&lan, 1);
    lan.members[0].start_dataplane();
    lan.wait("the preferred node again", |lan| lan.members[0].answers() && lan.members[1].is("Standby"));
    lan.wait("the host reaches it", is_reached);
    lan.nobody_answered_together();
}

#[test]
fn a_group_begins_when_its_device_appears_after_no_shutdown() {
    let text = |shut: &str| {
        format!(
            "hostname node1\ninterface Te0/0/0\n ip address 10.0.0.1 255.255.255.0\n ipv6 address 2001:db8::1/64\n \
             standby version 2\n standby delay minimum 0 reload 0\n standby 1 ip 10.0.0.100\n \
             standby 1 timers msec 50 msec 150\n standby 2 ipv6 2001:db8::100/64\n \
             standby 2 timers msec 50 msec 150\n{shut}"
        )
    };
    let mut lan = Lan::new([text(""), config(2, "")]);
    lan.start(0);
    let active = |lan: &Lan| lan.members[0].node.show("show standby").matches("State is Active").count();
    lan.wait("both groups", |lan| active(lan) == 2);
    lan.members[0].configure(&text(" shutdown\n"));
    lan.wait("none", |lan| active(lan) == 0);
    lan.members[0].dataplane = None;
    lan.members[0].node.ip("link del exc0");
    lan.members[0].configure(&text(""));
    lan.wait("the configuration", |lan| lan.members[0].node.log().matches("%CONFIG-5-LOADED").count() == 2);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(active(&lan), 0);
    connect(&lan, 1);
    lan.members[0].start_dataplane();
    lan.wait("both groups again", |lan| active(lan) == 2);
}

#[test]
fn a_route_outlives_shutdown_and_no_shutdown() {
    let mut lan = settled("");
    let node = |lan: &Lan| lan.members[0].node.ip("route");
    lan.members[0].node.ip(&format!("route add {DEFAULT} dev exc0"));
    let preferred = " standby 1 priority 110\n standby 1 preempt\n";
    lan.members[0].configure(&config(1, &format!("{preferred} shutdown\n")));
    lan.wait("no route", |lan| !node(lan).contains("default"));
    lan.wait("the other node", |lan| lan.members[1].answers());
    lan.members[0].configure(&config(1, preferred));
    lan.wait("the route", |lan| node(lan).contains(DEFAULT));
    lan.wait("active again", |lan| lan.members[0].answers());
    assert!(lan.members[0].node.log().contains(&format!("{DEFAULT} was missing")));
    // And the death of usherd in between.
    lan.members[0].configure(&config(1, &format!("{preferred} shutdown\n")));
    lan.wait("no route", |lan| !node(lan).contains("default"));
    lan.members[0].kill();
    lan.members[0].node.configure(&config(1, preferred));
    lan.start(0);
    lan.wait("the route", |lan| node(lan).contains(DEFAULT));
}

/// The kernel refuses what the preferred node needs, for as long as the test lasts.
fn refused(prepare: impl Fn(&Lan), configs: [String; 2], reason: &str) {
    let mut lan = Lan::new(configs);
    lan.start(1);
    lan.wait("the healthy node", |lan| lan.members[1].answers());
    prepare(&lan);
    lan.start(0);
    lan.wait("the reason", |lan| {
        let shown = lan.members[0].node.show("show standby");
        shown.contains("Init") && shown.contains(reason)
    });
    let changes = lan.members[1].node.log().matches("STATECHANGE").count();
    let end = Instant::now() + Duration::from_secs(4);
    let (mut looks, mut answered) = (0, 0);
    while Instant::now() < end {
        looks += 1;
        answered += usize::from(lan.members[1].answers());
        std::thread::sleep(Duration::from_millis(10));
    }
    let changed = lan.members[1].node.log().matches("STATECHANGE").count() - changes;
    println!("the healthy node answered in {answered} of {looks} looks, with {changed} changes of state");
    let log = || format!("{}\n----\n{}", lan.members[0].node.log(), lan.members[1].node.log());
    assert!(lan.members[0].node.log().contains("%HSRP-3-DEVICE"), "{}", log());
    // One try, which the kernel refuses; then a pause of 10 s and more. Without the pause the healthy node answers a tenth
    // of the time, with dozens of changes; a busy machine costs a few of its own.
    assert!(answered * 100 >= looks * 60, "{}", log());
    assert!(changed <= 12, "{}", log());
    lan.nobody_answered_together();
}

#[test]
fn a_node_without_a_macvlan_leaves_the_role_to_the_other() {
    let preferred = config(1, " standby 1 priority 110\n standby 1 preempt\n");
    let taken = |lan: &Lan| {
        let node = &lan.members[0].node;
        node.ip("link set exc0 up");
        node.ip("link add link exc0 name thief address 00:00:0c:9f:f0:01 type macvlan mode vepa");
        node.ip("link set thief up");
    };
    refused(taken, [preferred, config(2, "")], "hsrp0-1: set up: Address already in use");
}

/// A node of an IPv6 group.
fn config_ipv6(node: u8, priority: u8) -> String {
    format!(
        "hostname node{node}\ninterface Te0/0/0\n ipv6 address 2001:db8::{node}/64\n standby version 2\n \
         standby delay minimum 0 reload 0\n standby 1 ipv6 2001:db8::100/64\n \
         standby 1 timers msec 50 msec 150\n standby 1 priority {priority}\n standby 1 preempt\n"
    )
}

/// Every new device of the first node is without IPv6, but the exception device has it.
fn refuse_ipv6(lan: &Lan) {
    let name = &lan.members[0].node.name;
    let set = |which: &str, value: u8| {
        let setting = format!("net.ipv6.conf.{which}.disable_ipv6={value}");
        common::run(Command::new("ip").args(["netns", "exec", name, "sysctl", "-qw", &setting]));
    };
    set("default", 1);
    set("exc0", 0);
}

#[test]
fn a_node_whose_address_is_refused_leaves_the_role_to_the_other() {
    refused(refuse_ipv6, [config_ipv6(1, 110), config_ipv6(2, 100)], "hsrp0-1v6: add an address");
}

#[test]
fn a_node_that_resumes_without_its_address_gives_the_role_up_at_once() {
    let mut lan = Lan::new([config_ipv6(1, 110), config_ipv6(2, 100)]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.members[0].kill();
    // It would be waited for 1.5 s; the kernel's refusal is not.
    lan.members[0].dataplane = None;
    refuse_ipv6(&lan);
    lan.members[0].node.ip("link del hsrp0-1v6");
    lan.start(0);
    let logged = |word: &'static str| move |lan: &Lan| lan.members[0].node.log().contains(word);
    lan.wait("the lease", logged("%HSRP-5-RESUME"));
    lan.wait("the refusal", logged("hsrp0-1v6: add an address"));
    let took = lan.wait("Init", logged("state Active -> Init"));
    assert!(took < Duration::from_millis(700), "{took:?}\n{}", lan.members[0].node.log());
    assert!(lan.members[0].node.show("show standby").contains("hsrp0-1v6: add an address"));
}

#[test]
fn a_foreign_claim_is_logged_with_its_mac_and_defended() {
    let lan = settled("");
    let announce = "
import socket, sys
mac = bytes.fromhex('020000000066')
frame = b'\\xff' * 6 + mac + bytes.fromhex('08060001080006040002') + mac + bytes([10, 0, 0, 100]) + mac + bytes([10, 0, 0, 100])
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
port.bind(('lan', 0))
port.send(frame)
";
    common::run(Command::new("ip").args(["netns", "exec", &lan.name, "python3", "-c", announce]));
    lan.wait("a line", |lan| lan.members[0].node.log().contains("%IP-4-DUPADDR"));
    let log = lan.members[0].node.log();
    let line = log.lines().find(|line| line.contains("%IP-4-DUPADDR")).unwrap();
    assert!(line.contains("10.0.0.100") && line.contains("0200.0000.0066"), "{line}");
    lan.wait("the host to know better", |lan| {
        let neighbours = lan.ip("neigh show dev lan");
        neighbours.lines().all(|line| !line.contains("10.0.0.100 ") || line.contains("00:00:0c:9f:f0:01"))
    });
    assert!(one_is_active(&lan) && !lan.members[1].node.log().contains("%IP-4-DUPADDR"));
}
