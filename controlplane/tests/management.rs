//! Requests of the management socket, large ones and many, beside the loop that holds the roles. Needs root,
//! /dev/net/tun and iproute2.
#![forbid(unsafe_code)]

mod common;

use common::{FakeDataplane, GROUP, Node, PROFILE, Usherd, until};
use platform::snapshot::VipState;
use rustix::process::Signal;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::time::Duration;

/// The loop runs at least this often, whatever clients do. At timers of 50/150 ms a lease lasts 100 ms.
const LONGEST_STALL_MS: u64 = 60;
/// Other programs on the machine may stall it as well: the best of so many runs counts.
const RUNS: usize = 5;

fn start(config: &str) -> (Node, FakeDataplane, Usherd) {
    let node = Node::new(PROFILE, config);
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    let usherd = node.start(&[]);
    until("active", || dataplane.states() == [VipState::Active]);
    (node, dataplane, usherd)
}

/// The loop's longest stall while `act` runs, ms: that of the best run.
fn stall(dataplane: &FakeDataplane, mut act: impl FnMut()) -> u64 {
    let mut best = u64::MAX;
    for _ in 0..RUNS {
        dataplane.seen.lock().unwrap().clear();
        act();
        std::thread::sleep(Duration::from_millis(50));
        let seen = dataplane.seen.lock().unwrap();
        best = best.min(seen.iter().map(|seen| seen.heartbeat_age_ms).max().unwrap_or(u64::MAX));
        if best <= LONGEST_STALL_MS {
            break;
        }
    }
    best
}

fn exchange(node: &Node, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(node.path("run/usherd.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = stream.write_all(request);
    let mut reply = String::new();
    let _ = BufReader::new(stream).read_line(&mut reply);
    reply
}

#[test]
fn a_flood_of_empty_lines_is_refused_and_delays_no_role() {
    let (node, dataplane, _usherd) = start(GROUP);
    let empty = "\"\",".repeat(1_040_000);
    let request = format!("{{\"configure\":{{\"lines\":[{empty}\"\"]}}}}\n");
    assert!(request.len() < 3 << 20);
    let worst = stall(&dataplane, || {
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    let reply = exchange(&node, request.as_bytes());
                    let refused = reply.contains("more than 50000 lines") || reply.contains("busy");
                    assert!(refused, "{reply}");
                });
            }
        });
    });
    assert!(worst <= LONGEST_STALL_MS, "the loop stood still for {worst} ms");
    assert!(!node.log().contains("%HSRP-4-STALLED") && dataplane.states() == [VipState::Active]);
}

#[test]
fn large_configurations_are_parsed_beside_the_loop() {
    let (node, dataplane, usherd) = start(GROUP);
    // 960 kB of short lines.
    let short = format!("{GROUP}{}", " description abcdefghij\n".repeat(40_000));
    assert!(short.len() < 1 << 20);
    node.configure(&short);
    let worst = stall(&dataplane, || {
        let loaded = node.log().matches("%CONFIG-5-LOADED").count();
        usherd.signal(Signal::HUP);
        until("the file is loaded", || node.log().matches("%CONFIG-5-LOADED").count() > loaded);
    });
    assert!(worst <= LONGEST_STALL_MS, "SIGHUP: the loop stood still for {worst} ms");
    assert!(node.show("show running-config").contains(" description abcdefghij\n"));

    let lines = (0..2_000).map(|number| format!("track {} dataplane\n", number % 1000 + 1));
    let new = format!("{GROUP}{}", lines.collect::<String>());
    std::fs::write(node.path("new.conf"), new).unwrap();
    let file = node.path("new.conf").display().to_string();
    let worst = stall(&dataplane, || {
        assert!(node.usher(&format!("check {file}")).status.success());
    });
    assert!(worst <= LONGEST_STALL_MS, "check: the loop stood still for {worst} ms");
    let worst = stall(&dataplane, || {
        assert!(node.usher(&format!("configure replace {file} force")).status.success());
    });
    assert!(worst <= LONGEST_STALL_MS, "replace: the loop stood still for {worst} ms");
    assert!(node.show("show running-config").contains("track 1000 dataplane"));
}

/// Resident memory, kB.
fn memory(usherd: &Usherd) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", usherd.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn halves_of_large_requests_hold_little_memory() {
    let (node, _dataplane, usherd) = start(GROUP);
    let before = memory(&usherd);
    let half = format!("{{\"command\":\"{}", "x".repeat(3 << 20));
    let clients: Vec<UnixStream> = (0..60)
        .map(|_| {
            let mut stream = UnixStream::connect(node.path("run/usherd.sock")).unwrap();
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write(half.as_bytes());
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let after = memory(&usherd);
    assert!(after < before + (32 << 10), "{before} kB before, {after} kB after");
    assert!(node.show("show version").contains("R1 uptime"), "others are served");
    drop(clients);
}

#[test]
fn sixty_four_clients_at_once_are_answered_and_delay_no_role() {
    let (node, dataplane, _usherd) = start(GROUP);
    let worst = stall(&dataplane, || {
        let barrier = Barrier::new(60);
        std::thread::scope(|scope| {
            for _ in 0..60 {
                scope.spawn(|| {
                    barrier.wait();
                    let reply = exchange(&node, b"{\"command\":\"show tech-support\"}\n");
                    assert!(reply.contains("hostname R1"), "{reply}");
                });
            }
        });
    });
    assert!(worst <= LONGEST_STALL_MS, "the loop stood still for {worst} ms");
}

#[test]
fn writers_of_the_startup_configuration_take_turns_and_the_last_one_wins() {
    let (node, _dataplane, _usherd) = start(GROUP);
    let socket = node.path("run/usherd.sock");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let socket = &socket;
            scope.spawn(move || {
                let mut stream = UnixStream::connect(socket).unwrap();
                let mut replies = BufReader::new(stream.try_clone().unwrap()).lines();
                for round in 0..10 {
                    let lines = format!("{{\"configure\":{{\"lines\":[\"hostname W{writer}-{round}\"]}}}}\n");
                    for request in [lines.as_str(), "{\"command\":\"write memory\"}\n"] {
                        stream.write_all(request.as_bytes()).unwrap();
                        let reply = replies.next().unwrap().unwrap();
                        assert!(!reply.contains("error"), "{reply}");
                    }
                }
            });
        }
    });
    let host = |text: &str| text.lines().find(|line| line.starts_with("hostname")).map(str::to_owned);
    let written = std::fs::read_to_string(node.path("usher.conf")).unwrap();
    assert_eq!(host(&written), host(&node.show("show running-config")));
    assert!(host(&written).is_some_and(|line| line.ends_with("-9")), "{written}");
}
