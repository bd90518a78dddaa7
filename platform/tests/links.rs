//! Exception devices in a network namespace. Needs root; as an ordinary user the test says that it was skipped.

use std::fs::File;
use std::os::fd::AsFd;

use platform::host::{devices, link};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = link::ip(&["netns", "del", &self.0]);
    }
}

#[test]
fn a_tap_is_made_once_and_nothing_else_is_taken_for_one() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let space = Namespace(format!("usher-links-{}", std::process::id()));
    link::ip(&["netns", "add", &space.0]).unwrap();
    let file = File::open(format!("/run/netns/{}", space.0)).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();

    link::ensure_tap("exc0").unwrap();
    let index = devices::ifindex("exc0").expect("the TAP exists");
    link::ensure_tap("exc0").unwrap();
    assert_eq!(devices::ifindex("exc0"), Some(index), "the TAP that is there is kept");

    link::set_mtu("exc0", 1400).unwrap();
    link::set_mac("exc0", [2, 0, 0, 0, 0, 0xab]).unwrap();
    link::up("exc0").unwrap();
    let device = link::details("exc0").unwrap().unwrap();
    assert_eq!((&device["mtu"], &device["address"]), (&1400.into(), &"02:00:00:00:00:ab".into()));
    assert!(device["flags"].as_array().unwrap().contains(&"UP".into()));
    let err = link::set_mtu("exc0", 1).unwrap_err().to_string();
    assert!(err.contains("`ip link set dev exc0 mtu 1` failed"), "{err}");

    // The way back for a port that the kernel keeps, and the kernel's side of an owned one again.
    let mode = || link::details("exc0").unwrap().unwrap()["inet6_addr_gen_mode"].clone();
    let before = mode();
    for _ in 0..2 {
        link::way_back("exc0").unwrap();
    }
    assert_eq!((mode(), before.clone()), ("none".into(), "eui64".into()));
    let addresses = link::ip(&["-4", "-o", "address", "show", "dev", "exc0"]).unwrap();
    assert!(addresses.contains("192.0.0.8/32 scope host"), "{addresses}");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/conf/exc0/rp_filter").unwrap().trim(), "2");
    link::own_side("exc0").unwrap();
    assert_eq!(mode(), before);

    // A TAP with one queue would not let the data plane attach; a veth is none at all.
    link::ip(&["tuntap", "add", "dev", "exc1", "mode", "tap"]).unwrap();
    link::ip(&["link", "add", "exc2", "type", "veth", "peer", "name", "exc3"]).unwrap();
    for name in ["exc1", "exc2"] {
        let err = link::ensure_tap(name).unwrap_err().to_string();
        assert!(err.contains(&format!("ip link del dev {name}")), "{err}");
    }
    link::delete("exc1").unwrap();
    link::ensure_tap("exc1").unwrap();
    link::delete("absent").unwrap();
}
