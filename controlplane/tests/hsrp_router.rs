//! The virtual router of an IPv6 group as hosts see it: who asks for a router is answered by the active node, from its virtual
//! MAC, soon and not too often. Needs root, iproute2 and Python.
#![forbid(unsafe_code)]

mod common;

use common::lan::Lan;
use common::run;
use std::process::Command;

/// A host on the bridge: it asks as the lines of the plan say (`TIME WHAT`, seconds after the start), and prints each
/// router advertisement as `TIME SOURCE-MAC LIFETIME`.
const HOST: &str = r"
import select, socket, struct, sys, time
ME = bytes([2, 0, 0, 0, 0, 0x66])
SOURCE = bytes.fromhex('fe800000000000000000000000000066')
ROUTERS = bytes.fromhex('ff020000000000000000000000000002')
VIRTUAL = bytes.fromhex('fe80000000000000000573fffea00002')

def solicitation(to_mac=b'\x33\x33\0\0\0\2', to=ROUTERS, limit=255, code=0):
    body = bytes([133, code, 0, 0, 0, 0, 0, 0, 1, 1]) + ME
    pseudo = SOURCE + to + struct.pack('>IHBB', len(body), 0, 0, 58)
    total = sum(struct.unpack('>%dH' % ((len(pseudo) + len(body)) // 2), pseudo + body))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    body = body[:2] + struct.pack('>H', ~total & 0xffff) + body[4:]
    header = struct.pack('>IHBB', 6 << 28, len(body), 58, limit) + SOURCE + to
    return to_mac + ME + b'\x86\xdd' + header + body

frames = {
    'all': solicitation(),
    'one': solicitation(b'\0\5\x73\xa0\0\2', VIRTUAL),
    'far': solicitation(limit=64),
    'code': solicitation(code=1),
}
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
port.bind(('lan', 0))
plan = [line.split() for line in sys.argv[1].split(',')]
start = time.monotonic()
while True:
    now = time.monotonic() - start
    while plan and float(plan[0][0]) <= now:
        what = plan.pop(0)[1]
        if what == 'end':
            sys.exit()
        port.send(frames[what])
    wait = max(0, float(plan[0][0]) - now)
    if select.select([port], [], [], wait)[0]:
        frame = port.recv(2000)
        if frame[12:14] == b'\x86\xdd' and frame[20] == 58 and frame[54] == 134:
            lifetime = struct.unpack('>H', frame[60:62])[0]
            print('%.3f' % (time.monotonic() - start), frame[6:12].hex(':'), lifetime, flush=True)
";

/// Asks by `plan`; the times of the answers. Every one comes from the virtual MAC.
fn ask(lan: &Lan, plan: &str) -> Vec<f64> {
    let said = run(Command::new("ip").args(["netns", "exec", &lan.name, "python3", "-c", HOST, plan]));
    let answer = |line: &str| -> f64 {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1..], ["00:05:73:a0:00:02", "1800"], "{said}");
        words[0].parse().unwrap()
    };
    said.lines().map(answer).collect()
}

#[test]
fn hosts_that_ask_for_a_router_are_answered_by_the_active_node_alone() {
    let node = |node: u8| {
        format!(
            "interface Te0/0/0\n ip address 10.0.0.{node} 255.255.255.0\n ipv6 address 2001:db8::{node}/64\n \
             standby version 2\n standby delay minimum 0 reload 0\n standby 2 ipv6 2001:db8::100/64\n \
             standby 2 timers msec 50 msec 150\n"
        )
    };
    let mut lan = Lan::new([node(1), node(2)]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[1].is("Standby"));
    std::thread::sleep(std::time::Duration::from_secs(3));

    // No node takes its peers' virtual router for its own way out.
    for member in &lan.members {
        assert_eq!(member.node.ip("-6 route show default"), "");
    }

    // One that asks all routers is answered within half a second, and not before the pause since the last answer.
    let times = ask(&lan, "0.1 far,0.2 code,0.9 end");
    assert!(times.is_empty(), "{times:?}: none of these is a solicitation");
    let flood: String = (0..200).map(|n| format!("{:.3} all,", 0.1 + f64::from(n) / 100.0)).collect();
    let times = ask(&lan, &format!("{flood}4.2 end"));
    assert_eq!(times.len(), 2, "{times:?}");
    assert!((0.1..0.75).contains(&times[0]), "{times:?}");
    assert!((2.99..3.75).contains(&(times[1] - times[0])), "{times:?}");

    // One that asks the virtual address itself.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let times = ask(&lan, "0.1 one,0.9 end");
    assert_eq!(times.len(), 1, "{times:?}");

    // After the hand-over the next one answers, and says so itself at once.
    assert!(lan.members[0].node.show("standby 2 failover").contains("handing over"));
    lan.wait("the hand-over", |lan| lan.members[1].answers() && lan.members[0].is("Standby"));
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let times = ask(&lan, "0.1 all,0.9 end");
    assert_eq!(times.len(), 1, "{times:?}");
    // The sockets of a group that is no router any more are closed.
    let open = |index: usize| lan.members[index].usherd.as_ref().unwrap().child.id();
    let raw =
        |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/net/raw6")).unwrap().lines().count() - 1;
    assert_eq!((raw(open(0)), raw(open(1))), (0, 1));
}
