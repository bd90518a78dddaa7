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

/// A router advertisement that the host has heard: when, and the lifetime in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Heard {
    at: f64,
    lifetime: u32,
}

/// Asks by `plan`; the answers. Every one comes from the virtual MAC.
fn ask(lan: &Lan, plan: &str) -> Vec<Heard> {
    let said = run(Command::new("ip").args(["netns", "exec", &lan.name, "python3", "-c", HOST, plan]));
    let answer = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1], "00:05:73:a0:00:02", "{said}");
        Heard { at: words[0].parse().unwrap(), lifetime: words[2].parse().unwrap() }
    };
    said.lines().map(answer).collect()
}

/// With these timers a node that is not scheduled for a second keeps its role: what is judged here is what hosts hear, not
/// how fast a busy machine is.
fn node(node: u8, ra: &str) -> String {
    format!(
        "interface Te0/0/0\n ip address 10.0.0.{node} 255.255.255.0\n ipv6 address 2001:db8::{node}/64\n{ra} \
         standby version 2\n standby delay minimum 0 reload 0\n standby 2 ipv6 2001:db8::100/64\n \
         standby 2 timers msec 500 msec 3000\n standby 2 priority {}\n",
        120 - 10 * node
    )
}

fn elected(ra: &str) -> Lan {
    let mut lan = Lan::new([node(1, ra), node(2, ra)]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[1].is("Standby"));
    lan
}

fn changes(lan: &Lan) -> usize {
    lan.members.iter().map(|member| member.node.log().matches("STATECHANGE").count()).sum()
}

/// The pause between two advertisements to all nodes (RFC 4861 section 10), less what the clocks of two processes differ.
const PAUSE: f64 = 2.99;

#[test]
fn by_default_no_host_takes_the_virtual_address_for_a_router() {
    let lan = elected("");
    let before = changes(&lan);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let heard = ask(&lan, "0.1 all,3.5 end");
    assert!(!heard.is_empty() && heard.iter().all(|heard| heard.lifetime == 0), "{heard:?}");
    for member in &lan.members {
        assert_eq!(member.node.ip("-6 route show default"), "");
    }
    // While it is asked for, hosts hear of it at once; when it is not any more, too.
    lan.members[0].configure(&node(1, " ipv6 nd ra lifetime 1800\n"));
    lan.wait("the lifetime", |lan| {
        ask(lan, "0.3 end").iter().any(|heard| heard.lifetime == 1800)
            || ask(lan, "0.1 all,3.6 end").iter().any(|heard| heard.lifetime == 1800)
    });
    lan.members[0].configure(&node(1, " ipv6 nd ra lifetime 1800\n ipv6 nd ra suppress all\n"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let heard = ask(&lan, "0.1 all,0.2 one,3.8 end");
    assert!(heard.is_empty(), "{heard:?}");
    // The others are answered, but hear nothing unasked.
    lan.members[0].configure(&node(1, " ipv6 nd ra suppress\n"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(ask(&lan, "1 end").is_empty());
    let heard = ask(&lan, "0.1 all,4 end");
    assert!(!heard.is_empty() && heard.iter().all(|heard| heard.lifetime == 0), "{heard:?}");
    assert_eq!(changes(&lan), before, "no line of these costs the role");
}

#[test]
fn hosts_that_ask_for_a_router_are_answered_by_the_active_node_alone() {
    let lan = elected(" ipv6 nd ra lifetime 1800\n");
    std::thread::sleep(std::time::Duration::from_secs(3));

    // No node takes its peers' virtual router for its own way out.
    for member in &lan.members {
        assert_eq!(member.node.ip("-6 route show default"), "");
    }

    // Those that ask all routers are answered together, not sooner than the pause since the last answer, and with the
    // lifetime that is configured: 0 would be a router that has lost the role.
    let heard = ask(&lan, "0.1 far,0.2 code,0.9 end");
    assert!(heard.is_empty(), "{heard:?}: none of these is a solicitation");
    let flood: String = (0..200).map(|n| format!("{:.3} all,", 0.1 + f64::from(n) / 100.0)).collect();
    let heard = ask(&lan, &format!("{flood}7 end"));
    assert!((1..=3).contains(&heard.len()), "{heard:?}");
    assert!(heard.windows(2).all(|two| two[1].at - two[0].at >= PAUSE), "{heard:?}");
    assert!(heard.iter().all(|heard| heard.at >= 0.1 && heard.lifetime == 1800), "{heard:?}");

    // One that asks the virtual address itself.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let heard = ask(&lan, "0.1 one,2 end");
    assert_eq!(heard.iter().map(|heard| heard.lifetime).collect::<Vec<_>>(), [1800]);

    // After the hand-over the next one answers, and says so itself at once.
    let said = lan.members[0].node.show("standby 2 failover");
    assert!(said.contains("handing over") && said.contains("preemption is held back"), "{said}");
    lan.wait("the hand-over", |lan| lan.members[1].answers() && lan.members[0].is("Standby"));
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let heard = ask(&lan, "0.1 all,2 end");
    assert_eq!(heard.iter().map(|heard| heard.lifetime).collect::<Vec<_>>(), [1800]);
    // The sockets of a group that is no router any more are closed.
    let open = |index: usize| lan.members[index].usherd.as_ref().unwrap().child.id();
    let raw =
        |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/net/raw6")).unwrap().lines().count() - 1;
    assert_eq!((raw(open(0)), raw(open(1))), (0, 1));
}
