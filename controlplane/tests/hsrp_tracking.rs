//! What a node depends on beside its peers: the interface, the port's link, the data plane and the IKE daemon, each taken
//! away and given back while a peer waits for the role. Needs root and iproute2.
#![forbid(unsafe_code)]

mod common;

use common::lan::{Lan, config};
use common::{FakeDataplane, Node, run};
use controlplane::net::links::LinkTable;
use controlplane::net::reconciler::Reconciler;
use controlplane::net::report::Report;
use platform::snapshot::VipState;
use std::io::{Read as _, Write as _};
use std::net::Ipv6Addr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PROFILE: &str = "
name = \"test\"
[[port]]
interface = \"TenGigabitEthernet0/0/0\"
device = \"vdev:net_null0\"
exception = \"exc0\"
exception_kind = \"virtio_user\"
[[port]]
interface = \"TenGigabitEthernet0/0/1\"
device = \"vdev:net_null1\"
exception = \"exc1\"
exception_kind = \"virtio_user\"
";

/// A VICI socket behind which somebody answers, or nobody does.
struct IkeDaemon {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
}

impl IkeDaemon {
    fn start(path: &Path) -> IkeDaemon {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, hangs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (stopped, hanging) = (stop.clone(), hangs.clone());
        std::thread::spawn(move || {
            let mut held = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((mut stream, _)) = listener.accept() {
                    if !hanging.load(Ordering::Relaxed) {
                        stream.set_nonblocking(false).unwrap();
                        let _ = stream.read(&mut [0; 64]);
                        let _ = stream.write_all(b"\0\0\0\x11\x01\x03\x06daemon\0\x06charon");
                    }
                    // Charon leaves the end to the client.
                    held.push(stream);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        IkeDaemon { path: path.to_owned(), stop, hangs }
    }
}

impl Drop for IkeDaemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What can fail, with the number of its object.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Object {
    LineProtocol = 1,
    Link,
    Dataplane,
    IkeDaemon,
    HangingIkeDaemon,
}

struct Headend {
    lan: Lan,
    ike: Option<IkeDaemon>,
}

impl Headend {
    fn fail(&mut self, object: Object) {
        let node = &mut self.lan.members[0];
        match object {
            Object::LineProtocol => drop(node.node.ip("link set far1 down")),
            Object::Link => node.dataplane.as_ref().unwrap().link(1, false),
            Object::Dataplane => node.dataplane = None,
            Object::IkeDaemon => self.ike = None,
            Object::HangingIkeDaemon => self.ike.as_ref().unwrap().hangs.store(true, Ordering::Relaxed),
        }
    }

    fn mend(&mut self, object: Object) {
        let node = &mut self.lan.members[0];
        match object {
            Object::LineProtocol => drop(node.node.ip("link set far1 up")),
            Object::Link => node.dataplane.as_ref().unwrap().link(1, true),
            Object::Dataplane => node.start_dataplane(),
            Object::IkeDaemon => self.ike = Some(IkeDaemon::start(&node.node.path("charon.vici"))),
            Object::HangingIkeDaemon => self.ike.as_ref().unwrap().hangs.store(false, Ordering::Relaxed),
        }
    }
}

/// Node 1 is preferred and watches all objects with this effect.
fn watching(effect: &str) -> String {
    let objects = "track 1 interface Te0/0/1 line-protocol\ntrack 2 interface Te0/0/1 link\ntrack 3 dataplane\n\
                   track 4 ike-daemon\ninterface Te0/0/1\n ip address 10.0.1.1 255.255.255.0\n";
    let tracks: String = (1..=4).map(|object| format!(" standby 1 track {object} {effect}\n")).collect();
    objects.to_owned() + &config(1, &format!(" standby 1 priority 110\n standby 1 preempt\n{tracks}"))
}

#[test]
fn whatever_a_node_watches_costs_it_the_role_and_gives_it_back() {
    use Object::{Dataplane, HangingIkeDaemon, IkeDaemon as Ike, LineProtocol, Link};
    let lan = Lan::with(PROFILE, [watching("decrement 20"), config(2, " standby 1 preempt\n")]);
    let mut at = Headend { lan, ike: None };
    at.lan.members[0].node.ip("link add exc1 type veth peer name far1");
    at.lan.members[0].node.ip("link set far1 up");
    let vici = at.lan.members[0].node.path("charon.vici");
    at.mend(Ike);
    at.lan.start_with(0, &["--vici", vici.to_str().unwrap()]);
    at.lan.start(1);
    at.lan.members[1].node.show("debug standby packets");
    let resigns = |lan: &Lan| lan.members[1].node.log().matches("Resign").count();
    for effect in ["decrement 20", "shutdown"] {
        at.lan.members[0].configure(&watching(effect));
        at.lan.wait("the preferred node", |lan| {
            lan.members[0].answers()
                && lan.members[1].is("Standby")
                && lan.members[0].node.show("show standby").contains(&format!("state Up {effect}"))
        });
        for object in [LineProtocol, Link, Ike, HangingIkeDaemon, Dataplane] {
            let (before, start) = (resigns(&at.lan), Instant::now());
            at.fail(object);
            at.lan.wait(&format!("{object:?} {effect}: the other node"), |lan| lan.members[1].answers());
            println!("{object:?} {effect}: {:?}", start.elapsed());
            let number = (object as u8).min(4);
            let wanted = format!("Track object {number} state Down {effect}");
            let state = if effect == "shutdown" || object == Dataplane { "Init" } else { "Standby" };
            at.lan.wait(&format!("{object:?} {effect}: {state}"), |lan| lan.members[0].is(state));
            let shown = at.lan.members[0].node.show("show standby");
            assert!(shown.contains(&wanted), "{object:?}: {shown}");
            if effect != "shutdown" {
                // With the data plane goes the link of its ports.
                let priority = if object == Dataplane { 70 } else { 90 };
                assert!(
                    shown.contains(&format!("Priority {priority} (configured 110)")),
                    "{object:?}: {shown}"
                );
            }
            // Where a path to the LAN is left, a resign goes; a dead data plane carries none.
            let expected = if object == Dataplane { before } else { before + 1 };
            assert_eq!(resigns(&at.lan), expected, "{object:?} {effect}: resigns that the peer heard");
            at.mend(object);
            at.lan.wait(&format!("{object:?} {effect}: the preferred node again"), |lan| {
                lan.members[0].answers() && lan.members[1].is("Standby")
            });
            at.lan.nobody_answered_together();
        }
    }
    // An object that nothing watches any more has no effect.
    at.fail(Link);
    at.lan.wait("the other node", |lan| lan.members[1].answers());
    at.lan.members[0].configure(&config(1, " standby 1 priority 110\n standby 1 preempt\n"));
    at.lan.wait("no object, no effect", |lan| lan.members[0].answers());
}

/// With these timers a peer waits for 4 s, and a data plane counts as hanging after 1 s.
fn slow(node: u8, more: &str) -> String {
    config(node, more).replace("timers msec 50 msec 150", "timers 1 4")
}

fn dataplane(lan: &Lan) -> &FakeDataplane {
    lan.members[0].dataplane.as_ref().unwrap()
}

fn stands_still(configs: [String; 2]) {
    let mut lan = Lan::new(configs);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[1].is("Standby"));
    lan.members[1].node.show("debug standby packets");
    dataplane(&lan).freeze(true);
    let seen = dataplane(&lan).seen.lock().unwrap().len();
    lan.wait("Init", |lan| lan.members[0].is("Init"));
    lan.wait("the next node", |lan| lan.members[1].answers());
    assert_eq!(dataplane(&lan).seen.lock().unwrap().len(), seen, "it has not moved");
    assert!(!lan.members[1].node.log().contains("Resign"), "{}", lan.members[1].node.log());
    dataplane(&lan).freeze(false);
    // It wakes into the fence, not into a role that has gone, and leaves it when its queues are empty.
    lan.wait("inactive", |lan| dataplane(lan).states() == [VipState::Inactive]);
    let woke = dataplane(&lan).seen.lock().unwrap()[seen..].to_vec();
    assert!(woke[0].fences && woke.iter().all(|seen| !seen.answers));
    let fenced = woke.iter().take_while(|seen| seen.fences).last().unwrap().at - woke[0].at;
    assert!(fenced >= 15_000_000, "fenced for {fenced} ns");
    lan.wait("standby again", |lan| lan.members[0].is("Standby"));
    assert!(lan.members[0].node.addresses("hsrp0-1").is_empty());
    assert!(lan.members[1].answers());
    lan.nobody_answered_together();
}

#[test]
fn a_data_plane_that_stands_still_wakes_into_the_fence() {
    stands_still([config(1, ""), config(2, "")]);
}

#[test]
fn it_does_so_under_long_timers_too() {
    stands_still([slow(1, ""), slow(2, "")]);
}

/// Whether a table of links shows a change.
type IsSeen = fn(&LinkTable) -> bool;

#[test]
fn the_kernel_tells_of_links_and_addresses() {
    const LOWEST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);
    let node = Node::new(PROFILE, "");
    let space = std::fs::File::open(format!("/run/netns/{}", node.name)).unwrap();
    let network = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), network).unwrap();
    let ip = |command: &str| run(Command::new("ip").args(command.split(' ')));
    let rows: [(&str, IsSeen); 7] = [
        ("link add exc0 type veth peer name far", |links| links.mac("exc0").is_some()),
        ("link set exc0 address 02:00:00:00:00:07", |links| links.mac("exc0") == Some([2, 0, 0, 0, 0, 7])),
        ("link set exc0 up", |links| !links.is_running("exc0")),
        ("link set far up", |links| links.is_running("exc0")),
        ("address add fe80::5/64 dev exc0 nodad", |links| links.link_local("exc0") == Some(LOWEST)),
        ("link set far down", |links| !links.is_running("exc0")),
        ("link del exc0", |links| links.mac("exc0").is_none()),
    ];
    let (links, tables) = std::sync::mpsc::channel();
    let directory = tempfile::tempdir().unwrap();
    let reconciler = Reconciler::start(directory.path(), move |report| {
        if let Report::Links(table) = report {
            let _ = links.send(table);
        }
    });
    let _reconciler = reconciler.unwrap();
    for (command, is_seen) in rows {
        ip(command);
        let end = Instant::now() + Duration::from_secs(10);
        while let Ok(table) = tables.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if is_seen(&table) {
                break;
            }
        }
        assert!(Instant::now() < end, "not told of `ip {command}`");
    }
}
