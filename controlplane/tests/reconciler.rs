//! The reconciler of the kernel's devices, each test in a network namespace of its own. Needs root and iproute2.
#![forbid(unsafe_code)]

use controlplane::hsrp::link::Sender;
use controlplane::net::NetError;
use controlplane::net::announce;
use controlplane::net::links::LinkTable;
use controlplane::net::reconciler::Reconciler;
use controlplane::net::report::{Repair, Report};
use controlplane::net::wanted::{GroupDevice, Owner, PortDevice};
use controlplane::types::Prefix;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A busy machine may take this long for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// The design's figure is 100 ms. A machine that compiles beside the test takes longer for the programs alone.
const REPAIR: Duration = Duration::from_secs(2);
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x0c, 7, 0xac, 1];
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 0x66];
const OWN: &str = "10.0.0.1/24";
const VIRTUAL: &str = "10.0.0.100/32";

/// A network namespace with a reconciler in it.
struct Space {
    name: String,
    reconciler: Option<Reconciler>,
    reports: Arc<Mutex<Vec<(Instant, Report)>>>,
    /// The reconciler's thread
    thread: Arc<AtomicI32>,
    /// It stands still in its next report
    still: Arc<AtomicBool>,
    run_dir: tempfile::TempDir,
    tickets: u64,
}

impl Space {
    /// Moves the calling test, and so what it starts, into a new namespace.
    fn new() -> Space {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("net-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(&format!("ip netns add {name}"));
        let file = File::open(format!("/run/netns/{name}")).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        run("ip link set lo up");
        let run_dir = tempfile::tempdir().unwrap();
        Space {
            name,
            reconciler: None,
            reports: Arc::default(),
            thread: Arc::default(),
            still: Arc::default(),
            run_dir,
            tickets: 0,
        }
    }

    fn start(&mut self) {
        let (reports, thread, still) = (self.reports.clone(), self.thread.clone(), self.still.clone());
        let report = move |report| {
            thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
            reports.lock().unwrap().push((Instant::now(), report));
            while still.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        self.reconciler = Some(Reconciler::start(self.run_dir.path(), report).unwrap());
    }

    fn reconciler(&self) -> &Reconciler {
        self.reconciler.as_ref().unwrap()
    }

    /// A request about a group, and its answer.
    fn group(&mut self, device: &str, wanted: Option<GroupDevice>) -> Result<(), String> {
        self.tickets += 1;
        let ticket = self.tickets;
        self.reconciler().set_group(device.to_owned(), wanted, ticket);
        self.answer(ticket)
    }

    fn answer(&self, ticket: u64) -> Result<(), String> {
        self.report(&format!("the answer to {ticket}"), |report| match report {
            Report::Done { ticket: done, result } if *done == ticket => {
                Some(result.as_ref().copied().map_err(NetError::to_string))
            }
            _ => None,
        })
    }

    /// The first report that is looked for.
    fn report<T>(&self, what: &str, find: impl Fn(&Report) -> Option<T>) -> T {
        let mut found = None;
        self.wait(what, || {
            let reports = self.reports.lock().unwrap();
            found = reports.iter().find_map(|(_, report)| find(report));
            found.is_some()
        });
        found.unwrap()
    }

    fn failure(&self, of: &str) -> String {
        self.report(&format!("failure of {of}"), |report| match report {
            Report::Failed { device, error } if device == of => Some(error.to_string()),
            _ => None,
        })
    }

    fn recovery(&self, of: &str) {
        self.report(&format!("recovery of {of}"), |report| match report {
            Report::Recovered { device } if device == of => Some(()),
            _ => None,
        });
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < PATIENCE, "never: {what}: {:#?}\n{}", self.said(), run("ip -d addr"));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// All reports but those of links.
    fn said(&self) -> Vec<String> {
        let reports = self.reports.lock().unwrap();
        let told = reports.iter().filter(|(_, report)| !matches!(report, Report::Links(_)));
        told.map(|(_, report)| format!("{report:?}")).collect()
    }

    fn forget(&self) {
        self.reports.lock().unwrap().retain(|(_, report)| matches!(report, Report::Links(_)));
    }

    fn links(&self) -> Arc<LinkTable> {
        let reports = self.reports.lock().unwrap();
        let last = reports.iter().rev().find_map(|(_, report)| match report {
            Report::Links(links) => Some(links.clone()),
            _ => None,
        });
        last.unwrap_or_default()
    }

    fn repairs(&self) -> Vec<(Instant, String, Repair)> {
        let reports = self.reports.lock().unwrap();
        let repairs = reports.iter().filter_map(|(at, report)| match report {
            Report::Repaired { device, what } => Some((*at, device.clone(), what.clone())),
            _ => None,
        });
        repairs.collect()
    }

    /// Does some damage, and waits until `faults` are reported as put right and the kernel has what it had.
    fn damage(&self, command: &str, faults: &[(&str, Repair)]) {
        self.forget();
        let before = state();
        let start = Instant::now();
        run(command);
        let done = Instant::now();
        let fault = |(device, repair): &(&str, Repair)| {
            let repairs = self.repairs();
            repairs.iter().find(|(_, of, what)| of == device && what == repair).map(|(at, _, _)| *at)
        };
        self.wait(&format!("{command}: {faults:?}"), || faults.iter().all(|one| fault(one).is_some()));
        self.wait(&format!("{command}: as before: {before:#?}"), || state() == before);
        let last = faults.iter().filter_map(fault).max().unwrap();
        let took = last.saturating_duration_since(done);
        println!("{command}: put right {took:?} after the command, which took {:?}", done - start);
        assert!(took < REPAIR, "{command}: {took:?}");
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if let Some(reconciler) = self.reconciler.take() {
            let _ = reconciler.stop(false);
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn run(words: &str) -> String {
    let mut words = words.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the kernel has: devices without their numbers, addresses, routes.
fn state() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for link in run("ip -o link").lines() {
        let words: Vec<&str> = link.split_whitespace().collect();
        let after = |key| words.iter().position(|word| *word == key).map(|at| words[at + 1]);
        let up = words[2].contains("UP");
        lines.insert(format!("{} up {up} {:?} {:?}", words[1], after("mtu"), after("link/ether")));
    }
    for address in run("ip -o addr").lines() {
        let words: Vec<&str> = address.split_whitespace().collect();
        lines.insert(format!("{} {}", words[1], words[3]));
    }
    lines.extend(run("ip route").lines().map(|line| line.trim().replace(" linkdown", "")));
    let v6 = run("ip -6 route");
    lines.extend(v6.lines().filter(|line| line.contains("default")).map(|line| line.trim().to_owned()));
    lines
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
}

fn port(name: &str, addresses: &[&str]) -> PortDevice {
    PortDevice {
        name: name.to_owned(),
        owner: Owner::Usherd,
        mac: Some(OWN_MAC),
        mtu: Some(1400),
        addresses: addresses.iter().map(|address| prefix(address)).collect(),
    }
}

fn group(addresses: &[&str]) -> Option<GroupDevice> {
    over("exc0", addresses)
}

/// That of another group: no two on one port have the same MAC address.
fn other(number: u8, addresses: &[&str]) -> Option<GroupDevice> {
    group(addresses).map(|group| GroupDevice { mac: [0, 0, 0x0c, 7, 0xac, number], ..group })
}

fn over(parent: &str, addresses: &[&str]) -> Option<GroupDevice> {
    Some(GroupDevice {
        parent: parent.to_owned(),
        mac: VIRTUAL_MAC,
        addresses: addresses.iter().map(|address| prefix(address)).collect(),
    })
}

/// A space with `exc0` up and group 1 in possession of its address.
fn owning() -> Space {
    let mut space = Space::new();
    space.start();
    space.reconciler().set_ports(vec![port("exc0", &[OWN, "2001:db8::1/64"])]);
    assert_eq!(space.group("hsrp0-1", group(&[VIRTUAL, "2001:db8::100/128"])), Ok(()));
    space.wait("the addresses", || {
        let links = space.links();
        links.addresses("hsrp0-1").len() == 2 && links.addresses("exc0").len() >= 2
    });
    // Somebody carries the frames of a TAP only while a program has it open: IPv6 waits for that.
    space
}

#[test]
fn a_group_gets_its_device_and_its_address_and_gives_them_back() {
    let mut space = owning();
    let links = space.links();
    let exc0 = links.get("exc0").unwrap();
    assert_eq!((exc0.mac, exc0.mtu, exc0.up), (Some(OWN_MAC), 1400, true));
    let device = links.get("hsrp0-1").unwrap();
    assert_eq!((device.mac, device.mtu, device.parent), (Some(VIRTUAL_MAC), 1400, Some(exc0.index)));
    assert!(device.up && device.packet.is_some_and(|packet| packet.ifindex() == device.index.get() as usize));

    assert_eq!(space.group("hsrp0-1", group(&[])), Ok(()));
    assert!(!run("ip addr show dev hsrp0-1").contains("inet "));
    assert_eq!(space.group("hsrp0-1", None), Ok(()));
    assert!(!run("ip link").contains("hsrp0-1"));
    assert_eq!(space.repairs(), [], "nothing was changed by others");
    assert_eq!(run("cat /proc/sys/net/ipv4/conf/exc0/arp_ignore").trim(), "1");
}

#[test]
fn what_others_change_is_put_right_at_once() {
    let space = owning();
    let own = || ("exc0", Repair::Address(prefix(OWN)));
    let group = "hsrp0-1";
    space.damage("ip addr flush dev exc0", &[own()]);
    space.damage("ip addr del 10.0.0.1/24 dev exc0", &[own()]);
    space.damage("ip addr add 10.0.0.7/24 dev exc0", &[("exc0", Repair::Stranger(prefix("10.0.0.7/24")))]);
    space.damage("ip addr flush dev hsrp0-1", &[(group, Repair::Address(prefix(VIRTUAL)))]);
    space
        .damage("ip link del hsrp0-1", &[(group, Repair::Device), (group, Repair::Address(prefix(VIRTUAL)))]);
    // Settings have no events: they are looked at every 10 s. Meanwhile the repairs above are forgotten.
    std::fs::write("/proc/sys/net/ipv4/conf/exc0/arp_ignore", "0").unwrap();
    let changed = space.report("the setting", |report| match report {
        Report::Repaired { device, what: Repair::Setting(name) } => Some((device.clone(), name.clone())),
        _ => None,
    });
    assert_eq!(changed, ("exc0".to_owned(), "ipv4.arp_ignore".to_owned()));
    assert_eq!(run("cat /proc/sys/net/ipv4/conf/exc0/arp_ignore").trim(), "1");
    std::thread::sleep(Duration::from_secs(5));
    space.damage("ip link set exc0 down", &[("exc0", Repair::Down)]);
    space.damage("ip link set hsrp0-1 down", &[(group, Repair::Down)]);
    space.damage("ip link set exc0 address 02:00:00:00:00:99", &[("exc0", Repair::Mac)]);
    space.damage("ip link set exc0 mtu 1300", &[("exc0", Repair::Mtu)]);
    space.damage("ip link set hsrp0-1 address 02:00:00:00:00:99", &[(group, Repair::Mac)]);
    assert!(!space.said().iter().any(|said| said.contains("Failed")), "{:#?}", space.said());
}

#[test]
fn a_tap_that_is_deleted_is_made_anew_with_all_that_was_on_it() {
    let space = owning();
    let own = ("exc0", Repair::Address(prefix(OWN)));
    let group = [("hsrp0-1", Repair::Device), ("hsrp0-1", Repair::Address(prefix(VIRTUAL)))];
    let [device, address] = group;
    space.damage("ip link del exc0", &[("exc0", Repair::Device), own, device, address]);
}

#[test]
fn a_link_local_address_that_is_flushed_comes_back() {
    let mut space = Space::new();
    run("ip link add exc0 type veth peer name peer");
    run("ip link set peer up");
    space.start();
    let ports = vec![PortDevice { owner: Owner::Dataplane, ..port("exc0", &[OWN]) }];
    space.reconciler().set_ports(ports);
    space.wait("a link-local address", || space.links().link_local("exc0").is_some());
    let link_local = space.links().link_local("exc0").unwrap();
    let repair = Repair::Address(prefix(&format!("{link_local}/64")));
    space.damage("ip addr flush dev exc0", &[("exc0", repair)]);
}

#[test]
fn a_device_that_was_there_before_is_known_whole_at_once() {
    let mut space = Space::new();
    run("ip link add exc0 type veth peer name peer");
    run("ip link set peer up");
    space.start();
    space.wait("the first table", || space.links().get("exc0").is_some());
    let start = Instant::now();
    space.reconciler().set_ports(vec![PortDevice { owner: Owner::Dataplane, ..port("exc0", &[OWN]) }]);
    // The kernel itself tells of it when its search for duplicates is over, more than a second later.
    space.wait("its link-local and packet addresses", || {
        let links = space.links();
        links.link_local("exc0").is_some() && links.packet("exc0").is_some()
    });
    println!("known after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
}

#[test]
fn a_device_of_the_data_plane_may_come_late_and_go_and_come_again() {
    let mut space = Space::new();
    space.start();
    space.reconciler().set_ports(vec![PortDevice { owner: Owner::Dataplane, ..port("exc0", &[OWN]) }]);
    let error = space.group("hsrp0-1", group(&[VIRTUAL])).unwrap_err();
    assert!(error.contains("exc0: no such device: it comes with the data plane"), "{error}");
    for _ in 0..2 {
        space.forget();
        run("ip link add exc0 type veth peer name peer");
        space.recovery("hsrp0-1");
        let links = space.links();
        assert_eq!(links.addresses("hsrp0-1"), [prefix(VIRTUAL)]);
        space.wait("its address", || run("ip -o addr show dev exc0").contains(OWN));
        space.forget();
        run("ip link del exc0");
        assert!(space.failure("hsrp0-1").contains("no such device"));
        let failed = |said: &String| said.contains("Failed { device: \"exc0\"");
        assert!(!space.said().iter().any(failed), "it may go: {:#?}", space.said());
    }
}

#[test]
fn a_foreign_device_is_named_never_used_and_delays_no_other() {
    let mut space = Space::new();
    run("ip link add hsrp0-1 type veth peer name end0");
    run("ip link add exc1 type veth peer name end1");
    space.start();
    let ports = vec![port("exc1", &["10.1.0.1/24"]), port("exc0", &[OWN])];
    space.reconciler().set_ports(ports);
    let error = space.group("hsrp0-1", group(&[VIRTUAL])).unwrap_err();
    assert!(error.contains("hsrp0-1: a device of this name is there that is not usherd's (veth)"), "{error}");
    assert!(error.contains("ip link delete hsrp0-1"), "{error}");
    assert_eq!(space.group("hsrp0-2", other(2, &["10.0.0.102/32"])), Ok(()));
    assert!(space.failure("exc1").contains("(veth)"));
    space.wait("exc0", || run("ip -o addr show dev exc0").contains(OWN));
    assert!(!run("ip -o addr").contains("10.1.0.1"), "the foreign device is left alone");
    // Also when the group goes.
    let foreign = run("ip -o link show dev hsrp0-1");
    assert!(!foreign.contains("UP"), "{foreign}");

    run("ip link del hsrp0-1");
    space.recovery("hsrp0-1");
    assert_eq!(space.links().addresses("hsrp0-1"), [prefix(VIRTUAL)]);
    run("ip link del exc1");
    space.recovery("exc1");
    assert!(run("ip -o addr show dev exc1").contains("10.1.0.1"));

    space.forget();
    assert_eq!(space.group("hsrp0-1", None), Ok(()));
    run("ip link add hsrp0-1 type veth peer name end0");
    assert_eq!(space.group("hsrp0-1", None), Ok(()), "it is not usherd's to delete");
    assert!(run("ip -o link").contains("hsrp0-1"));
}

#[test]
fn a_refused_address_is_a_failure_and_the_other_group_goes_on() {
    let mut space = owning();
    assert_eq!(space.group("hsrp0-2v6", other(2, &[])), Ok(()));
    std::fs::write("/proc/sys/net/ipv6/conf/hsrp0-2v6/disable_ipv6", "1").unwrap();
    let error = space.group("hsrp0-2v6", other(2, &["2001:db8::102/128"])).unwrap_err();
    assert!(error.contains("hsrp0-2v6: add an address: ") && error.contains("disable_ipv6"), "{error}");
    assert_eq!(space.group("hsrp0-3", other(3, &["10.0.0.103/32"])), Ok(()));
    // It goes on trying.
    std::fs::write("/proc/sys/net/ipv6/conf/hsrp0-2v6/disable_ipv6", "0").unwrap();
    space.recovery("hsrp0-2v6");
}

#[test]
fn an_own_address_that_another_host_has_is_a_failure_until_it_is_free() {
    let mut space = Space::new();
    run("ip link add exc0 type veth peer name peer");
    run("ip addr add 2001:db8::1/64 dev peer nodad");
    run("ip link set peer up");
    space.start();
    let own = [OWN, "2001:db8::1/64"];
    space.reconciler().set_ports(vec![PortDevice { owner: Owner::Dataplane, ..port("exc0", &own) }]);
    let error = space.failure("exc0");
    assert!(error.contains("exc0: 2001:db8::1 is in use by another host"), "{error}");
    // It goes on without a word when the operator has solved it.
    run("ip addr del 2001:db8::1/64 dev peer");
    run("ip addr del 2001:db8::1/64 dev exc0");
    space.recovery("exc0");
    space.wait("the address", || run("ip -6 addr show dev exc0").contains("2001:db8::1/64"));
    assert!(!run("ip -6 addr show dev exc0").contains("dadfailed"));
}

#[test]
fn a_later_request_replaces_an_earlier_one() {
    let space = owning();
    for ticket in 100..200 {
        let addresses: &[&str] = if ticket % 2 == 0 { &[] } else { &[VIRTUAL] };
        space.reconciler().set_group("hsrp0-1".to_owned(), group(addresses), ticket);
    }
    assert_eq!(space.answer(199), Ok(()));
    for ticket in 100..199 {
        let answer = space.answer(ticket);
        assert!(answer.is_ok() || answer == Err("a later request about the device came first".to_owned()));
    }
    assert!(run("ip -o addr show dev hsrp0-1").contains("10.0.0.100"));
}

#[test]
fn two_that_undo_each_others_work_do_not_go_on_without_end() {
    let space = owning();
    let start = Instant::now();
    let mut rounds = 0;
    while !space.said().iter().any(|said| said.contains("Contested")) {
        assert!(start.elapsed() < PATIENCE, "{:#?}", space.said());
        run("ip addr flush dev hsrp0-1");
        std::thread::sleep(Duration::from_millis(50));
        rounds += 1;
    }
    println!("{rounds} rounds in {:?}", start.elapsed());
    let failure = space.failure("hsrp0-1");
    assert!(failure.contains("changed by others 8 times in 10 s"), "{failure}");
    // The own device is still looked after.
    space.damage("ip addr del 10.0.0.1/24 dev exc0", &[("exc0", Repair::Address(prefix(OWN)))]);
    space.recovery("hsrp0-1");
}

#[test]
fn an_operators_routes_come_back_with_device_and_address() {
    let mut space = owning();
    run("ip route add default via 10.0.0.254 dev exc0");
    run("ip route add 10.9.0.0/16 via 10.0.0.253 dev exc0 metric 7");
    run("ip route add default via 10.0.0.252 dev exc0 table 77");
    run("ip -6 route add default via 2001:db8::fe dev exc0");
    let route = || ("exc0", Repair::Route("default via 10.0.0.254".to_owned()));
    let v6 = || ("exc0", Repair::Route("default via 2001:db8::fe".to_owned()));
    let table = || assert!(run("ip route show table 77").contains("default via 10.0.0.252"));
    space.damage("ip addr flush dev exc0", &[route()]);
    table();
    space.damage("ip link set exc0 down", &[route(), v6()]);
    table();
    space.damage("ip link del exc0", &[route(), v6()]);
    space.wait("table 77", || run("ip route show table 77").contains("default via 10.0.0.252"));

    // `shutdown` and `no shutdown` of the interface.
    space.forget();
    space.reconciler().set_ports(vec![port("exc0", &[])]);
    space.wait("no address", || !run("ip -o addr show dev exc0").contains("inet "));
    assert!(!run("ip route").contains("default"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!space.said().iter().any(|said| said.contains("Failed")), "{:#?}", space.said());
    space.reconciler().set_ports(vec![port("exc0", &[OWN, "2001:db8::1/64"])]);
    space.wait("the default route", || run("ip route").contains("default via 10.0.0.254 dev exc0"));
    space
        .wait("the other route", || run("ip route").contains("10.9.0.0/16 via 10.0.0.253 dev exc0 metric 7"));

    // The same with another usherd in between.
    space.reconciler().set_ports(vec![port("exc0", &[])]);
    space.wait("no route", || !run("ip route").contains("default"));
    space.reconciler().stop(false).unwrap();
    space.forget();
    space.start();
    space.reconciler().set_ports(vec![port("exc0", &[OWN, "2001:db8::1/64"])]);
    assert_eq!(space.group("hsrp0-1", group(&[VIRTUAL, "2001:db8::100/128"])), Ok(()));
    space.wait("the default route", || run("ip route").contains("default via 10.0.0.254 dev exc0"));

    // What the operator deletes or replaces stays so.
    run("ip route del 10.9.0.0/16");
    run("ip route replace default via 10.0.0.200 dev exc0");
    let changed = || ("exc0", Repair::Route("default via 10.0.0.200".to_owned()));
    space.damage("ip addr flush dev exc0", &[changed()]);
    space.damage("ip link set exc0 down", &[changed()]);
    assert!(!run("ip route").contains("10.9.0.0"));
}

#[test]
fn what_is_set_at_a_device_of_the_host_is_restored() {
    let read = |name: &str| run(&format!("cat /proc/sys/net/{name}")).trim().to_owned();
    let settings = ["ipv4/conf/eth7/arp_ignore", "ipv4/conf/eth7/arp_announce"];
    let left_alone = ["ipv4/conf/eth7/rp_filter", "ipv4/conf/eth7/accept_local", "ipv6/conf/eth7/accept_ra"];
    let mut space = Space::new();
    run("ip link add eth7 mtu 9000 type veth peer name peer mtu 9000");
    run("ip link set eth7 up");
    run("ip link set peer up");
    run("ip addr add 192.168.7.1/24 dev eth7");
    std::fs::write("/proc/sys/net/ipv4/conf/eth7/arp_announce", "1").unwrap();
    let before: Vec<String> = settings.iter().chain(&left_alone).map(|name| read(name)).collect();
    let link = || run("ip -o link show dev eth7");
    let link_before = link();
    let host = || vec![PortDevice { owner: Owner::Host, ..port("eth7", &[OWN]) }];
    let as_before = |settings: &[&str]| {
        let now: Vec<String> = settings.iter().chain(&left_alone).map(|name| read(name)).collect();
        now == before
    };

    // When the port leaves the configuration.
    space.start();
    space.reconciler().set_ports(host());
    assert_eq!(space.group("hsrp0-1", over("eth7", &[VIRTUAL])), Ok(()));
    space.wait("its address", || run("ip -o addr show dev eth7").contains(OWN));
    assert_eq!(settings.map(read), ["1", "2"]);
    assert_eq!(left_alone.map(read), before[2..]);
    assert_eq!(link(), link_before, "MAC and MTU are the host's");
    assert!(run("ip -o addr show dev eth7").contains("192.168.7.1/24"), "and so are its addresses");
    assert_eq!(space.group("hsrp0-1", None), Ok(()));
    space.reconciler().set_ports(Vec::new());
    space.wait("what was before", || as_before(&settings));
    space.wait("the address to go", || !run("ip -o addr show dev eth7").contains(OWN));
    assert!(run("ip -o addr show dev eth7").contains("192.168.7.1/24"));

    // At the end. The address stays for the next start, for routes of the host may depend on it.
    space.reconciler().set_ports(host());
    space.wait("the settings", || settings.map(read) == ["1", "2"]);
    space.wait("its address", || run("ip -o addr show dev eth7").contains(OWN));
    space.reconciler.take().unwrap().stop(false).unwrap();
    assert!(as_before(&settings));
    assert!(run("ip -o addr show dev eth7").contains(OWN));

    // After kill -9, by the next start, whose configuration has the port no more: the file and the settings are as the
    // one that was killed left them.
    space.start();
    space.reconciler().set_ports(host());
    space.wait("the settings", || settings.map(read) == ["1", "2"]);
    let file = space.run_dir.path().join("host-devices");
    let left = std::fs::read(&file).unwrap();
    space.reconciler.take().unwrap().stop(false).unwrap();
    std::fs::write(&file, left).unwrap();
    for (name, value) in settings.iter().zip(["1", "2"]) {
        std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
    }
    space.start();
    space.reconciler().set_ports(Vec::new());
    space.wait("what was before", || as_before(&settings));
    space.wait("the address to go", || !run("ip -o addr show dev eth7").contains(OWN));
}

#[test]
fn cleanup_and_an_earlier_configuration_leave_nothing_behind() {
    let mut space = owning();
    run("ip link add link exc0 name hsrp0-9 type macvlan mode vepa");
    run("ip link add link exc0 name mine type macvlan mode vepa");
    assert_eq!(space.group("hsrp0-2", other(2, &[])), Ok(()));
    space.wait("it to be known", || space.links().get("hsrp0-9").is_some());
    space.reconciler().keep_groups(BTreeSet::from(["hsrp0-1".to_owned()]));
    space.wait("the stray to go", || !run("ip link").contains("hsrp0-9"));
    let links = run("ip link");
    assert!(["hsrp0-1@", "hsrp0-2@", "mine@"].iter().all(|name| links.contains(name)), "{links}");

    space.reconciler.take().unwrap().stop(true).unwrap();
    let links = run("ip link");
    assert!(!links.contains("hsrp0") && !links.contains("exc0"), "{links}");
}

#[test]
fn a_foreign_claim_on_a_virtual_address_is_reported_with_its_mac() {
    let mut space = Space::new();
    run("ip link add exc0 type veth peer name peer");
    run("ip link set peer up");
    space.start();
    space.reconciler().set_ports(vec![PortDevice { owner: Owner::Dataplane, ..port("exc0", &[OWN]) }]);
    let both = ["10.0.0.100/32", "2001:db8::100/128"];
    assert_eq!(space.group("hsrp0-1", group(&both)), Ok(()));
    space.wait("the peer", || space.links().packet("peer").is_some());
    let peer = space.links();
    let claim = |mac, address: &str| {
        let to = peer.packet("peer").unwrap();
        let frame = announce::announcement(mac, address.parse().unwrap());
        Sender::open().unwrap().send_frame(&to, &frame).unwrap();
    };
    let heard = |space: &Space, address: &str| {
        let wanted: IpAddr = address.parse().unwrap();
        space.report(&format!("claim on {address}"), |report| match report {
            Report::Claim { device, address, mac } if *address == wanted => Some((device.clone(), *mac)),
            _ => None,
        })
    };
    // Others' claims on other addresses, and the group's own.
    claim(STRANGER, "10.0.0.101");
    claim(VIRTUAL_MAC, "10.0.0.100");
    for address in ["10.0.0.100", "2001:db8::100"] {
        space.wait(address, || {
            claim(STRANGER, address);
            std::thread::sleep(Duration::from_millis(10));
            space.said().iter().any(|said| said.contains("Claim") && said.contains(address))
        });
        assert_eq!(heard(&space, address), ("exc0".to_owned(), STRANGER));
    }
    assert!(!space.said().iter().any(|said| said.contains("10.0.0.101")));

    // A flood is reported once a second.
    space.forget();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        claim(STRANGER, "10.0.0.100");
    }
    let claims = space.said().len();
    assert!((1..=4).contains(&claims), "{claims}");

    // Without the role it is none of our business.
    assert_eq!(space.group("hsrp0-1", group(&[])), Ok(()));
    std::thread::sleep(Duration::from_millis(200));
    space.forget();
    for _ in 0..20 {
        claim(STRANGER, "10.0.0.100");
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(space.said(), [""; 0]);
}

#[test]
fn a_takeover_does_not_queue_behind_a_configuration() {
    const GROUPS: u8 = 64;
    let mut space = owning();
    assert_eq!(space.group("hsrp0-1", group(&[])), Ok(()));
    for number in 2..=GROUPS {
        let name = format!("hsrp0-{number}");
        space.reconciler().set_group(name, other(number, &[]), 100 + u64::from(number));
    }
    let mut ports = vec![port("exc0", &[OWN, "2001:db8::1/64", "10.0.0.2/24"])];
    ports.extend((1..9).map(|number| port(&format!("exc{number}"), &[])));
    space.reconciler().set_ports(ports);
    let start = Instant::now();
    space.reconciler().set_group("hsrp0-1".to_owned(), group(&[VIRTUAL]), 1);
    let position = || {
        let reports = space.reports.lock().unwrap();
        let asked = reports.iter().skip_while(|(at, _)| *at < start);
        let mut done = asked.filter_map(|(at, report)| match report {
            Report::Done { ticket, .. } => Some((*at, *ticket)),
            _ => None,
        });
        let before = done.by_ref().take_while(|(_, ticket)| *ticket != 1).count();
        let all = reports.iter().filter(|(_, report)| matches!(report, Report::Done { .. })).count();
        (before, all)
    };
    space.wait("all answers", || position().1 == usize::from(GROUPS) + 2);
    println!("{} of {} were answered before the takeover", position().0, GROUPS - 1);
    // What has its address or gets it waits for a single request; that some had been made before it was asked is well.
    assert!(position().0 <= 8, "{}", position().0);
}

/// Many devices that go at once hold the kernel's lock (RTNL) for as long as that takes.
#[test]
fn nobody_waits_while_the_kernel_is_busy_and_no_change_is_missed() {
    const MANY: usize = 500;
    let mut space = owning();
    let batch = space.run_dir.path().join("batch");
    let lines: String =
        (0..MANY).map(|n| format!("link add many{n} group 7 type veth peer name more{n}\n")).collect();
    std::fs::write(&batch, lines).unwrap();
    let many = |links: &LinkTable| links.iter().filter(|link| link.name.starts_with("many")).count();
    let commands = [format!("ip -batch {}", batch.display()), "ip link del group 7".to_owned()];
    for (command, left) in commands.iter().zip([MANY, 0]) {
        let mut busy = Command::new("sh").args(["-c", command]).spawn().unwrap();
        let (mut call, mut answer) = (Duration::ZERO, Duration::ZERO);
        let mut requests = 0;
        while busy.try_wait().unwrap().is_none() {
            let start = Instant::now();
            let wanted = if requests % 2 == 0 { group(&[]) } else { group(&[VIRTUAL]) };
            space.tickets += 1;
            space.reconciler().set_group("hsrp0-1".to_owned(), wanted, space.tickets);
            call = call.max(start.elapsed());
            space.answer(space.tickets).unwrap();
            answer = answer.max(start.elapsed());
            requests += 1;
        }
        println!(
            "{command}: {requests} requests; the longest call took {call:?}, the longest answer {answer:?}"
        );
        assert!(call < Duration::from_millis(500), "{call:?}: the caller waited");
        space.wait("all devices to be known", || many(&space.links()) == left);
    }
    assert_eq!(space.group("hsrp0-1", group(&[VIRTUAL])), Ok(()));
}

/// The kernel drops events for which nobody makes room, and says so once.
#[test]
fn events_that_the_kernel_dropped_are_made_up_for() {
    const MANY: usize = 400;
    let mut space = owning();
    run("ip route add default via 10.0.0.254 dev exc0");
    space.wait("the route to be known", || true);
    std::thread::sleep(Duration::from_millis(200));
    let before = state();
    space.still.store(true, Ordering::Relaxed);
    space.tickets += 1;
    space.reconciler().set_group("hsrp0-1".to_owned(), group(&[VIRTUAL]), space.tickets);
    space.wait("work to be reported", || !run("ip addr show dev hsrp0-1").contains("2001:db8::100"));

    let batch = space.run_dir.path().join("batch");
    let lines = |verb: &str| -> String {
        (0..MANY).map(|n| format!("link {verb} many{n} type veth peer name more{n}\n")).collect()
    };
    // /proc/net/netlink: socket, protocol, port, groups, receive memory, send memory, dump, locks, drops.
    let drops = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
        let lines = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        lines.filter(|of| of[1] == "0" && of[3] == "00000111").map(|of| of[8].parse::<u64>().unwrap()).sum()
    };
    let start = Instant::now();
    while drops() == 0 {
        assert!(start.elapsed() < 2 * PATIENCE, "no event was dropped");
        std::fs::write(&batch, lines("add") + &lines("del").replace(" type veth peer name more", " #"))
            .unwrap();
        let output = Command::new("ip").arg("-batch").arg(&batch).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    run("ip addr flush dev exc0");
    run("ip link del hsrp0-1");
    space.still.store(false, Ordering::Relaxed);
    println!("{} events dropped", drops());
    space.wait("as before, but for the IPv6 address that is wanted no more", || {
        let now = state();
        before.iter().filter(|line| !line.contains("2001:db8::100")).all(|line| now.contains(line))
    });
    space.wait("the table of links", || {
        let links = space.links();
        links.addresses("hsrp0-1") == [prefix(VIRTUAL)]
            && links.iter().all(|link| !link.name.starts_with("m"))
    });
}

#[test]
fn nothing_is_done_while_nothing_happens() {
    let space = owning();
    std::thread::sleep(Duration::from_millis(500));
    let seen = space.reports.lock().unwrap().len();
    // Of this reconciler's thread alone: other tests of this process have one, too.
    let thread = space.thread.load(Ordering::Relaxed);
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        let of: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        of[11].parse::<u64>().unwrap() + of[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(2));
    let reports: Vec<String> =
        space.reports.lock().unwrap().iter().skip(seen).map(|(_, report)| format!("{report:?}")).collect();
    assert_eq!(reports, [""; 0]);
    let took = ticks() - before;
    assert!(took <= 4, "{took} ticks of 10 ms in 2 s");
}
