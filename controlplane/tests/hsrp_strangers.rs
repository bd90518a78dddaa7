//! Forged hellos and changes on the link that HSRP alone would believe: sources that no router has, hold times of a day, an
//! address that is another host's, an own address that changes under an active node. Needs root, iproute2 and Python.
#![forbid(unsafe_code)]

mod common;

use common::lan::{Lan, config};
use common::run;
use std::process::Command;
use std::time::{Duration, Instant};

/// A stranger on the bridge sends one hello of version 2 as an active router of priority 255: SOURCE, HOLD ms, VIRTUAL.
const HELLO: &str = r"
import socket, struct, sys
source, hold, virtual = sys.argv[1], int(sys.argv[2]), sys.argv[3]
state = struct.pack('>BBBBBBH6sIII16s', 1, 40, 2, 0, 6, 4, 1, bytes([2, 0, 0, 0, 0, 0x66]), 255, 50, hold,
                    socket.inet_aton(virtual) + bytes(12))
payload = state + bytes([3, 8]) + b'cisco\0\0\0'
udp = struct.pack('>HHHH', 1985, 1985, 8 + len(payload), 0) + payload
head = struct.pack('>BBHHHBBH4s4s', 0x45, 0xc0, 20 + len(udp), 0, 0, 1, 17, 0, socket.inet_aton(source),
                   socket.inet_aton('224.0.0.102'))
total = sum(struct.unpack('>10H', head))
total = (total & 0xffff) + (total >> 16)
total = (total & 0xffff) + (total >> 16)
head = head[:10] + struct.pack('>H', ~total & 0xffff) + head[12:]
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
port.bind(('lan', 0))
port.send(bytes.fromhex('01005e000066') + bytes([2, 0, 0, 0, 0, 0x66]) + b'\x08\0' + head + udp)
";

fn forge(lan: &Lan, source: &str, hold: u32, virtual_ip: &str) {
    let (name, hold) = (lan.name.as_str(), hold.to_string());
    run(Command::new("ip").args(["netns", "exec", name, "python3", "-c", HELLO, source, &hold, virtual_ip]));
}

fn elected() -> Lan {
    let mut lan = Lan::new([config(1, ""), config(2, "")]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[1].is("Standby"));
    lan
}

#[test]
fn no_router_speaks_from_the_virtual_the_network_or_the_broadcast_address() {
    let lan = elected();
    for (source, reason) in [("10.0.0.100", "source-virtual"), ("10.0.0.0", "source-network")] {
        forge(&lan, source, 3_600_000, "10.0.0.100");
        lan.wait(reason, |lan| lan.members[0].node.show("show standby all").contains(reason));
        let log = lan.members[0].node.log();
        assert!(!log.contains("Active -> "), "{source}: {log}");
    }
    // The kernel itself takes no packet from there, at least not always.
    forge(&lan, "10.0.0.255", 3_600_000, "10.0.0.100");
    forge(&lan, "10.0.0.1", 3_600_000, "10.0.0.100");
    std::thread::sleep(Duration::from_millis(300));
    let log = lan.members[0].node.log();
    assert!(!log.contains("Active -> "), "{log}");
    assert!(lan.members[0].answers());
}

#[test]
fn one_forged_hello_costs_a_few_hold_times() {
    let lan = elected();
    let start = Instant::now();
    forge(&lan, "10.0.0.66", u32::MAX, "10.0.0.100");
    lan.wait("the forged hello is believed, as HSRP has it", |lan| {
        lan.members[0].node.log().contains("Active -> ")
    });
    lan.wait("a server again", |lan| lan.members.iter().any(common::lan::Member::answers));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let log = lan.members[0].node.log();
    assert!(
        log.contains("%HSRP-4-LONGHOLD") && log.contains("hold time of 4294967295 ms, counted as 450 ms"),
        "{log}"
    );
    lan.wait("one active, one standby", |lan| {
        let states: Vec<String> = lan.members.iter().map(common::lan::Member::state).collect();
        states.contains(&"Active".to_owned()) && states.contains(&"Standby".to_owned())
    });
}

#[test]
fn an_address_is_learned_only_if_it_is_free_and_is_shown_everywhere() {
    let learner = config(2, "")
        .replace("standby 1 ip 10.0.0.100", "standby 1 ip")
        .replace("hostname node2\n", "hostname node2\ncrypto ikev2 redirect gateway init\n")
        + " standby 1 name vpn\ncrypto ikev2 cluster\n standby-group vpn\n secondary max-session 100\n no shutdown\n";
    let mut lan = Lan::new([config(1, ""), learner]);
    // The router of the LAN is a host on the bridge.
    lan.ip("address add 10.0.0.254/24 dev lan");
    lan.start(1);
    lan.wait("Learn", |lan| lan.members[1].is("Learn"));
    let refused = |lan: &Lan, text: &str| lan.members[1].node.log().contains(text);
    forge(&lan, "10.0.0.66", 1000, "10.0.0.254");
    lan.wait("the router's address is refused", |lan| {
        refused(lan, "10.0.0.254 of the active router is in use by the host")
    });
    for (address, reason) in [
        ("10.0.0.2", "is an address of this node"),
        ("10.0.1.7", "lies in no subnet of the interface"),
        ("10.0.0.255", "is the broadcast address of a subnet"),
    ] {
        std::thread::sleep(Duration::from_millis(1100));
        forge(&lan, "10.0.0.66", 1000, address);
        lan.wait(reason, |lan| refused(lan, &format!("{address} of the active router {reason}")));
    }
    assert!(lan.members[1].is("Learn"));
    // A free one is taken, though the active router answers for it.
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.wait("learned", |lan| lan.members[1].is("Standby"));
    let shown = |words: &str, line: &str| {
        let text = lan.members[1].node.show(words);
        assert!(text.contains(line), "{text}");
    };
    shown("show standby", "Virtual IP address is 10.0.0.100 (learnt)");
    shown("show standby brief", "10.0.0.100");
    shown("show crypto ikev2 cluster", "Cluster IP     : 10.0.0.100");
    // It serves when the other one has gone.
    lan.members[0].kill();
    lan.members[0].dataplane = None;
    lan.wait("the next one", |lan| lan.members[1].answers());
    assert_eq!(lan.members[1].node.addresses("hsrp0-1"), ["10.0.0.100/32"]);
}

#[test]
fn an_own_address_that_changes_hands_the_role_over_at_once() {
    let slow = |node: u8, own: u8| {
        config(node, "")
            .replace("timers msec 50 msec 150", "timers 1 10")
            .replace(&format!("10.0.0.{node} "), &format!("10.0.0.{own} "))
    };
    let mut lan = Lan::new([config(1, ""), config(2, "")]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[1].is("Standby"));
    lan.members[0].configure(&slow(1, 1));
    lan.members[1].configure(&slow(2, 2));
    lan.wait("slow timers", |lan| {
        lan.members.iter().all(|member| member.node.show("show standby").contains("hold time 10 sec"))
            && lan.members[0].answers()
            && lan.members[1].is("Standby")
    });
    let start = Instant::now();
    lan.members[0].configure(&slow(1, 7));
    lan.wait("the other node", |lan| lan.members[1].answers());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}: a hold time is 10 s");
    lan.nobody_answered_together();
}
