//! The HSRP thread is never late by a disk, a parser, a client, the kernel's RTNL or a log that nobody reads. The active node
//! of two, with timers 50/150 ms, meets all of them at once. Needs root and iproute2.
//!
//! A machine that is busy with something else makes any thread late. What is judged is what usherd itself can be blamed
//! for: turns of the loop in which the thread waited (voluntary context switches), and leases that ran out.
#![forbid(unsafe_code)]

mod common;

use common::lan::{Lan, config};
use common::run;
use rustix::process::Signal;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The design's budget for one stall of the thread.
const BUDGET_US: u64 = 5_000;
/// How long everything happens at once.
const SPAN: Duration = Duration::from_secs(4);
const CLIENTS: usize = 64;
/// Devices that go in one batch: RTNL is held while they do.
const DEVICES: usize = 300;

/// `show standby internal --json` of the active node: the longest delay of a kind, in microseconds.
fn longest(lan: &Lan, kind: &str) -> u64 {
    let output = lan.members[0].node.usher("--json show standby internal");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let view = json.as_array().unwrap().iter().find(|view| view["name"] == kind).unwrap();
    view["longest_us"].as_u64().unwrap()
}

/// A configuration of nearly 1 MiB: the node's own, and key chains that nothing uses.
fn large(own: &str) -> String {
    let mut text = own.to_owned();
    for chain in 0.. {
        let _ = write!(text, "key chain unused{chain}\n key 1\n  key-string Chain-Secret-{chain}\n");
        if text.len() > 1_000_000 {
            return text;
        }
    }
    unreachable!()
}

/// Asks one question after another until it is over, or holds a connection open and asks nothing.
fn client(socket: &std::path::Path, line: &[u8], over: &AtomicBool) {
    let Ok(mut stream) = UnixStream::connect(socket) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    while !over.load(Ordering::Relaxed) {
        if line.is_empty() || stream.write_all(line).is_err() {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let mut answer = String::new();
        if !matches!(BufReader::new(&stream).read_line(&mut answer), Ok(1..)) {
            return;
        }
    }
}

fn changing_devices(space: &str, over: &AtomicBool) {
    let mut batch = String::new();
    for device in 0..DEVICES {
        let _ = writeln!(batch, "link add name v{device} group 77 type veth peer name w{device}");
    }
    while !over.load(Ordering::Relaxed) {
        let mut ip = Command::new("ip").args(["-n", space, "-b", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        let _ = ip.stdin.take().unwrap().write_all(batch.as_bytes());
        let _ = ip.wait();
        run(Command::new("ip").args(["-n", space, "link", "del", "group", "77"]));
    }
}

#[test]
fn nothing_that_usherd_does_beside_it_makes_hsrp_late() {
    let own = config(1, " standby 1 priority 110\n standby 1 preempt\n");
    let mut lan = Lan::new([own.clone(), config(2, "")]);
    // Nobody reads this node's log.
    let (unread, log) = std::io::pipe().unwrap();
    let node = &lan.members[0].node;
    let child = node.command(&[]).stderr(log).stdin(Stdio::null()).spawn().unwrap();
    lan.members[0].usherd = Some(common::Usherd { child });
    lan.start(1);
    lan.wait("active and standby", |lan| lan.members[0].answers() && lan.members[1].is("Standby"));

    let debug = lan.members[0].node.usher("debug standby");
    assert!(debug.status.success(), "{debug:?}");
    let changes = |lan: &Lan| {
        let output = lan.members[1].node.usher("--json show standby");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        json[0]["state_changes"].as_u64().unwrap()
    };
    let before = changes(&lan);
    let over = AtomicBool::new(false);
    let socket = lan.members[0].node.path("run/usherd.sock");
    let replace = lan.members[0].node.path("replace.conf");
    let lines: String = own.clone() + &"!\n".repeat(1900);
    std::fs::write(&replace, lines).unwrap();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (socket, over) = (&socket, &over);
            let line: &[u8] = match number % 4 {
                0 => b"{\"command\":\"show tech-support\"}\n",
                1 => b"{\"command\":\"show standby\",\"json\":true}\n",
                // Half a request, and none at all.
                2 => b"",
                _ => b"{\"command\":\"show dataplane counters all\"}\n",
            };
            scope.spawn(move || client(socket, line, over));
        }
        let space = lan.members[1].node.name.clone();
        let over_ref = &over;
        scope.spawn(move || changing_devices(&space, over_ref));
        let node = &lan.members[0].node;
        scope.spawn(move || {
            while !over_ref.load(Ordering::Relaxed) {
                node.usher(&format!("configure replace {} force", replace.display()));
                node.usher(&format!("check {}", replace.display()));
            }
        });
        let text = large(&own);
        let end = Instant::now() + SPAN;
        while Instant::now() < end {
            lan.members[0].node.configure(&text);
            lan.members[0].signal(Signal::HUP);
            std::thread::sleep(Duration::from_millis(400));
        }
        over.store(true, Ordering::Relaxed);
    });
    let (blocked, turn, late) = (longest(&lan, "blocked"), longest(&lan, "turn"), longest(&lan, "timer"));
    println!("longest blocked turn {blocked} us, turn {turn} us, late timer {late} us");
    assert!(blocked < BUDGET_US, "a turn of the loop waited for {blocked} us");
    lan.nobody_answered_together();
    // Under a competitor for the processors the machine itself may cost a lease: that is no fault of a turn.
    let after = changes(&lan);
    assert!(after == before || late.max(turn) >= 50_000, "the standby took over: {before} -> {after}");
    assert!(lan.members[0].answers() || late.max(turn) >= 50_000);
    drop(unread);
}
