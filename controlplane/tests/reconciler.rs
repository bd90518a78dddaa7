//! The reconciler of the kernel's devices, each test in a network namespace of its own. Needs root and iproute2.
#![forbid(unsafe_code)]

use controlplane::net::NetError;
use controlplane::net::links::LinkTable;
use controlplane::net::reconciler::{GroupDevice, Owner, PortDevice, Reconciler, Report};
use controlplane::types::Prefix;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A busy machine may take this long for anything.
const PATIENCE: Duration = Duration::from_secs(10);
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x0c, 7, 0xac, 1];
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

/// A network namespace with a reconciler in it.
struct Space {
    name: String,
    reconciler: Option<Reconciler>,
    reports: Arc<Mutex<Vec<Report>>>,
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
        let reports = Arc::default();
        let run_dir = tempfile::tempdir().unwrap();
        Space { name, reconciler: None, reports, run_dir, tickets: 0 }
    }

    fn start(&mut self) {
        let reports = self.reports.clone();
        let report = move |report| reports.lock().unwrap().push(report);
        self.reconciler = Some(Reconciler::start(self.run_dir.path(), report).unwrap());
    }

    fn reconciler(&self) -> &Reconciler {
        self.reconciler.as_ref().unwrap()
    }

    fn group(&mut self, device: &str, wanted: Option<GroupDevice>) -> Result<(), String> {
        self.tickets += 1;
        let ticket = self.tickets;
        self.reconciler().set_group(device.to_owned(), wanted, ticket);
        let mut answer = None;
        self.wait("the answer", |reports| {
            answer = reports.iter().find_map(|report| match report {
                Report::Done { ticket: done, result } if *done == ticket => {
                    Some(result.as_ref().copied().map_err(NetError::to_string))
                }
                _ => None,
            });
            answer.is_some()
        });
        answer.unwrap()
    }

    fn wait(&self, what: &str, mut done: impl FnMut(&[Report]) -> bool) -> Duration {
        let start = Instant::now();
        loop {
            if done(&self.reports.lock().unwrap()) {
                return start.elapsed();
            }
            assert!(start.elapsed() < PATIENCE, "never: {what}: {:#?}", self.said());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// All reports but those of links.
    fn said(&self) -> Vec<String> {
        let reports = self.reports.lock().unwrap();
        let told = reports.iter().filter(|report| !matches!(report, Report::Links(_)));
        told.map(|report| format!("{report:?}")).collect()
    }

    fn links(&self) -> Arc<LinkTable> {
        let reports = self.reports.lock().unwrap();
        let last = reports.iter().rev().find_map(|report| match report {
            Report::Links(links) => Some(links.clone()),
            _ => None,
        });
        last.unwrap_or_default()
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
    Some(GroupDevice {
        parent: "exc0".to_owned(),
        mac: VIRTUAL_MAC,
        addresses: addresses.iter().map(|address| prefix(address)).collect(),
    })
}

/// A space with `exc0` up and group 1 in possession of its address.
fn owning() -> Space {
    platform::host::link::ip(&["-V"]).unwrap();
    let mut space = Space::new();
    platform::host::link::ensure_tap("exc0").unwrap();
    space.start();
    space.reconciler().set_ports(vec![port("exc0", &["10.0.0.1/24"])]);
    assert_eq!(space.group("hsrp0-1", group(&["10.0.0.100/32"])), Ok(()));
    let owns = |space: &Space| space.links().addresses("hsrp0-1") == [prefix("10.0.0.100/32")];
    space.wait("the address", |_| true);
    let start = Instant::now();
    while !owns(&space) || space.links().addresses("exc0").is_empty() {
        assert!(start.elapsed() < PATIENCE, "{:?}", space.links());
        std::thread::sleep(Duration::from_millis(1));
    }
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
    assert!(device.up && device.packet.is_some_and(|packet| packet.ifindex() == device.index as usize));

    assert_eq!(space.group("hsrp0-1", group(&[])), Ok(()));
    assert!(run("ip addr show dev hsrp0-1").lines().all(|line| !line.contains("10.0.0.100")));
    assert_eq!(space.group("hsrp0-1", None), Ok(()));
    assert!(!run("ip link").contains("hsrp0-1"));
}
