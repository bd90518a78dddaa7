//! usherd and usher as programs, in a network namespace of their own, with a data plane that this test plays.
//! Needs root, /dev/net/tun and iproute2.
#![forbid(unsafe_code)]

mod common;

use common::{FakeDataplane, Node, PROFILE, slots, until};
use platform::snapshot::VipState;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const CONFIG: &str = "
hostname node1
crypto ikev2 redirect gateway init
crypto ikev2 cluster
 standby-group vpn
 static-gateway 10.1.0.1
 static-gateway 10.1.0.2 priority 50
 static-gateway 10.0.0.1 priority 50
 static-gateway 2001:db8:1::1
 no shutdown
interface Te0/0/0
 ip address 10.0.0.1 255.255.255.0
 ip address 10.0.9.1 255.255.255.0 secondary
 ipv6 address 2001:db8::1/64
 standby version 2
 standby delay minimum 0 reload 0
 standby 1 timers msec 50 msec 150
 standby 1 ip 10.0.0.100
 standby 1 ipv6 2001:db8::100/64
 standby 1 name vpn
";

use VipState::{Active, Inactive, Prepared};

#[test]
fn a_lone_node_carries_its_addresses_from_start_to_stop() {
    let node = Node::new(PROFILE, CONFIG);
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    let mut usherd = node.start(&[]);
    until("active", || dataplane.states() == [Active, Active]);

    // The kernel's side: addresses of the interface on the exception device, virtual ones under the virtual MACs.
    until("the data plane's MAC and MTU", || {
        let link = node.ip("link show dev exc0");
        link.contains("02:00:00:00:00:11") && link.contains("mtu 1400")
    });
    assert!(node.addresses("exc0").iter().any(|a| a == "10.0.9.1/24"), "{:?}", node.addresses("exc0"));
    assert!(node.addresses("exc0").iter().any(|a| a == "2001:db8::1/64"));
    assert_eq!(node.addresses("hsrp0-1"), ["10.0.0.100/32"]);
    assert_eq!(node.addresses("hsrp0-1v6"), ["2001:db8::100/128", "fe80::5:73ff:fea0:1/64"]);
    let link = node.ip("-d link show dev hsrp0-1");
    assert!(link.contains("00:00:0c:9f:f0:01") && link.contains("macvlan mode vepa"), "{link}");
    assert!(node.ip("link show dev hsrp0-1v6").contains("00:05:73:a0:00:01"));

    // The snapshot.
    let seen = dataplane.last().unwrap();
    let [v4, v6] = seen.body.vips() else { panic!("two virtual addresses") };
    assert_eq!(v4.ip(), Some("10.0.0.100".parse::<IpAddr>().unwrap()));
    assert_eq!(v4.own_ip(), Some("10.0.0.1".parse::<IpAddr>().unwrap()));
    assert_eq!((v4.flags, v4.mac, v4.port), (1, [0, 0, 0x0c, 0x9f, 0xf0, 1], 0));
    assert_eq!(v4.gateways().iter().filter(|gateway| gateway.is_self()).count(), 1, "its own address");
    let held = |index: u8| v4.slots.iter().filter(|slot| **slot == index).count();
    let shares: Vec<usize> = (0..3).map(held).collect();
    assert_eq!(shares.iter().sum::<usize>(), 1024);
    assert!(shares.contains(&512) && shares.contains(&256), "{shares:?}");
    assert!(v6.slots.iter().all(|slot| *slot == 0), "one gateway of this family");
    assert!((9_000..=10_000).contains(&seen.lease_ms), "{}", seen.lease_ms);

    // What the operator sees.
    until("ready", || node.show("show dataplane").contains("in force on all workers"));
    let shown = node.show("sh cry ik cl");
    assert!(shown.contains("Role           : CLB Primary\nStatus         : Up\n"), "{shown}");
    assert!(shown.contains("10.1.0.2           Static"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&node.show("show crypto ikev2 cluster --json")).unwrap();
    assert_eq!(json["cluster_ip"][0], "10.0.0.100");
    assert_eq!(
        json["gateways"].as_array().unwrap().iter().map(|g| g["redirects"].as_u64().unwrap()).sum::<u64>(),
        5
    );
    assert!(node.show("show dataplane counters").contains("redirected  answer      5"));
    assert!(node.show("show standby brief").contains("Active  local"), "{}", node.show("show standby brief"));
    assert!(node.show("show running-config").contains(" static-gateway 10.1.0.2 priority 50\n"));
    assert!(
        node.log().contains("%HSRP-5-STATECHANGE: TenGigabitEthernet0/0/0 Grp 1 state Standby -> Active")
    );

    // SIGTERM: inactive for the data plane, addresses off, devices stay.
    usherd.signal(rustix::process::Signal::TERM);
    assert!(usherd.ends().success());
    assert_eq!(dataplane.states(), [Inactive, Inactive], "told before usherd ended");
    assert!(node.addresses("hsrp0-1").is_empty() && node.addresses("hsrp0-1v6").is_empty());
    assert!(node.addresses("exc0").iter().any(|a| a == "10.0.0.1/24"), "the exception device stays as it is");
    assert!(!node.path("run/usherd.sock").exists() && !node.path("run/dataplane.sock").exists());
}

#[test]
fn an_usherd_that_is_killed_and_started_again_goes_on_where_it_was() {
    let node = Node::new(PROFILE, CONFIG);
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    let mut usherd = node.start(&[]);
    until("active", || dataplane.states() == [Active, Active]);
    let before = dataplane.last().unwrap();
    // A gateway that left and one that came leave traces in the slots that a fresh assignment would not have.
    node.configure(&CONFIG.replace(" static-gateway 10.1.0.1\n", " static-gateway 10.1.0.9\n"));
    usherd.signal(rustix::process::Signal::HUP);
    until("the new gateway", || {
        dataplane.last().is_some_and(|seen| {
            slots(&seen.body) == slots(&before.body) && node.show("show run").contains("10.1.0.9")
        })
    });
    let before = dataplane.last().unwrap();
    let index = node.ip("-o link show dev hsrp0-1").split(':').next().map(str::to_owned);

    usherd.signal(rustix::process::Signal::KILL);
    usherd.ends();
    assert_eq!(node.addresses("hsrp0-1"), ["10.0.0.100/32"], "nothing takes the address off");
    let start = Instant::now();
    let mut usherd = node.start(&[]);
    until("active again", || {
        dataplane
            .last()
            .is_some_and(|seen| seen.instance != before.instance && seen.states == [Active, Active])
    });
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let after = dataplane.last().unwrap();
    assert_eq!(
        after.body.hash_key, before.body.hash_key,
        "an identical retransmission hashes to the same slot"
    );
    assert_eq!(slots(&after.body), slots(&before.body), "which has the same gateway");
    assert_eq!(after.body.vips()[0].epoch, before.body.vips()[0].epoch + 1);
    let again = node.ip("-o link show dev hsrp0-1").split(':').next().map(str::to_owned);
    assert_eq!(again, index, "the macvlan was adopted, not made anew");
    assert_eq!(node.addresses("hsrp0-1"), ["10.0.0.100/32"]);
    usherd.signal(rustix::process::Signal::TERM);
    assert!(usherd.ends().success());
}

#[test]
fn roles_follow_the_configuration_and_a_bad_one_changes_nothing() {
    let node = Node::new(PROFILE, CONFIG);
    let usherd = node.start(&[]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(node.addresses("hsrp0-1").is_empty(), "no role without a data plane");
    assert!(node.show("show standby brief").contains("data plane not running"));
    let before = node.show("show running-config");

    node.configure(&CONFIG.replace("no shutdown", "no shutdwon"));
    usherd.signal(rustix::process::Signal::HUP);
    until("the refusal", || node.log().contains("%CONFIG-3-REFUSED: the running configuration stays"));
    assert!(
        node.log().contains("usher.conf:10:5: error: \"shutdwon\" is not understood here"),
        "{}",
        node.log()
    );
    assert_eq!(node.show("show running-config"), before);

    // A data plane attaches late, and gets the role as it stands.
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    until("active", || dataplane.states() == [Active, Active]);
    dataplane.seen.lock().unwrap().clear();
    node.configure(&CONFIG.replace("10.0.0.100", "10.0.0.200").replace(
        " standby 1 ipv6 2001:db8::100/64\n",
        " standby 2 timers msec 50 msec 150\n standby 2 ip 10.0.0.201\n",
    ));
    usherd.signal(rustix::process::Signal::HUP);
    until("the new addresses", || node.addresses("hsrp0-1") == ["10.0.0.200/32"]);
    until("the new group", || dataplane.states() == [Active, Active]);
    assert!(node.show("show standby brief").contains("10.0.0.201"));
    let prepared = dataplane.seen.lock().unwrap().iter().any(|seen| seen.states.contains(&Prepared));
    let all: Vec<_> = dataplane.seen.lock().unwrap().iter().map(|s| (s.at, s.states.clone())).collect();
    assert!(prepared, "a gained group is prepared first: {all:?} {}", node.log());
    let links = node.ip("-o link show");
    assert!(links.contains("hsrp0-2@") && !links.contains("hsrp0-1v6"), "{links}");

    // A group that is taken out gives its role up.
    node.configure(&CONFIG.replace(" standby 1 ip 10.0.0.100\n", ""));
    usherd.signal(rustix::process::Signal::HUP);
    until("the IPv4 group has gone", || !node.ip("-o link show").contains("hsrp0-1@"));
    assert!(node.log().contains("Grp 1 state Active -> Init"));

    // The data plane dies and comes back without anybody's help.
    drop(dataplane);
    until("the loss is seen", || node.show("show dataplane").starts_with("No data plane is attached"));
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    until("active", || dataplane.states() == [Active]);
}

#[test]
fn a_tap_that_is_made_anew_under_a_data_plane_costs_the_role_until_that_is_started_again() {
    let node = Node::new(PROFILE, CONFIG);
    let _usherd = node.start(&[]);
    // None is lost without one.
    node.ip("link del exc0");
    until("the repair", || node.log().contains("%NET-4-REPAIRED: exc0: the device was missing"));
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    until("active", || dataplane.states() == [Active, Active]);
    assert!(!node.log().contains("%NET-3-TAP"));
    node.ip("link del exc0");
    until("the loss", || node.log().contains("%NET-3-TAP: exc0: made anew, but the data plane"));
    // No hello leaves: the peers have taken over, and this node is to answer nobody.
    until("inactive", || dataplane.states() == [Inactive, Inactive]);
    let shown = node.show("show standby");
    assert!(shown.contains("State is Init"), "{shown}");
    assert!(shown.contains("exc0 was deleted and made anew, the data plane has the old one"), "{shown}");
    drop(dataplane);
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    until("active again", || dataplane.states() == [Active, Active]);
}

#[test]
fn cleanup_takes_every_device_away() {
    let node = Node::new(PROFILE, CONFIG);
    let mut usherd = node.start(&["--cleanup"]);
    assert!(node.ip("-o link show").contains("exc0"));
    usherd.signal(rustix::process::Signal::INT);
    assert!(usherd.ends().success());
    let links = node.ip("-o link show");
    assert!(!links.contains("exc0") && !links.contains("hsrp"), "{links}");
}

#[test]
fn whatever_is_wrong_at_the_start_ends_in_one_message_and_leaves_nothing() {
    let node = Node::new(PROFILE, CONFIG);
    node.configure("hostname a\ninterface Te0/0/0\n ip adress 10.0.0.1 255.255.255.0\n");
    let message = node.refused();
    assert!(message.contains("usher.conf:3:5: error: \"adress\" is not understood here"), "{message}");
    assert!(message.contains("     3 |  ip adress 10.0.0.1 255.255.255.0\n       |     ^\n"), "{message}");
    let check = node.usher(&format!("check {}", node.path("usher.conf").display()));
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&check.stdout).contains("does not load: 1 errors"));

    node.configure(&CONFIG.replace("Te0/0/0", "Te0/0/7"));
    let message = node.refused();
    assert!(
        message.contains("usher.conf:11:11: error: no port of the platform profile is bound to"),
        "{message}"
    );

    std::fs::remove_file(node.path("usher.conf")).unwrap();
    assert!(node.refused().contains("usher.conf: cannot be read"));
    node.configure(CONFIG);
    let check = node.usher(&format!("check {}", node.path("usher.conf").display()));
    assert!(check.status.success(), "{check:?}");

    std::fs::write(node.path("profile.toml"), PROFILE.replace("device", "devise")).unwrap();
    assert!(node.refused().contains("profile.toml:5:"));
    std::fs::write(node.path("profile.toml"), PROFILE).unwrap();
    let links = node.ip("-o link show");
    assert!(!links.contains("exc0"), "{links}");

    let asked = node.usher("show dataplane");
    assert_eq!(asked.status.code(), Some(1));
    let message = String::from_utf8(asked.stderr).unwrap();
    assert!(message.contains("run/usherd.sock") && message.contains("systemctl start usherd"), "{message}");
    assert_eq!(node.usher("show nonsense").status.code(), Some(2));

    let usherd = node.start(&[]);
    let message = node.refused();
    assert!(message.contains("another usherd is running"), "{message}");
    let answer = node.usher("show standby");
    assert!(answer.status.success(), "the first one is not disturbed");
    drop(usherd);
}

#[test]
fn a_foreign_device_of_our_name_keeps_its_group_in_init_and_no_other() {
    let config = CONFIG.replace(
        " standby 1 name",
        " standby 2 ip 10.0.0.200\n standby 2 timers msec 50 msec 150\n standby 1 name",
    );
    let node = Node::new(PROFILE, &config);
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    let usherd = node.start(&[]);
    until("active", || node.show("show standby").matches("State is Active").count() == 3);
    drop(usherd);
    node.ip("link del hsrp0-1");
    node.ip("link add hsrp0-1 type veth peer name other");
    let _usherd = node.start(&[]);
    let end = Instant::now() + Duration::from_secs(8);
    while !node.show("show standby 2").contains("State is Active") {
        assert!(Instant::now() < end, "{}{}", node.show("show standby all"), node.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Restarted within its lease, the group goes on as active until the kernel's refusal is here.
    until("the group gives up", || node.show("show standby 1").contains("State is Init"));
    let shown = node.show("show standby 1");
    assert!(shown.contains("hsrp0-1") && shown.contains("ip link"), "the reason and the remedy: {shown}");
    assert!(node.log().contains("%HSRP-3-DEVICE"), "{}", node.log());
    assert!(node.ip("-o link show").contains("hsrp0-1@other"), "it is not touched");
    // The name is free again: nobody has to tell usherd.
    node.ip("link del hsrp0-1");
    until("the group recovers", || node.show("show standby 1").contains("State is Active"));
    drop(dataplane);
}

/// A pipe that is full and that nobody reads.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use std::io::Write as _;
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[test]
fn a_log_that_nobody_reads_delays_nothing() {
    let node = Node::new(PROFILE, CONFIG);
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    let (reader, writer) = full_pipe();
    let child = node.command(&[]).stdin(std::process::Stdio::null()).stderr(writer).spawn().unwrap();
    let mut usherd = common::Usherd { child };
    until("active", || dataplane.states() == [Active, Active]);
    node.show("debug standby packets");
    // The loop logs each hello from now on, and renews the lease, 10 s without a peer, with it.
    let until_then = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until_then {
        let last = dataplane.last().unwrap();
        assert!(last.answers && last.lease_ms > 9000, "the loop stands still: {} ms of lease", last.lease_ms);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(node.show("show standby brief").contains("Active"));
    let began = Instant::now();
    usherd.signal(rustix::process::Signal::TERM);
    assert!(usherd.ends().success());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    drop(reader);
}

/// Redirects by gateway as `show` has them.
fn redirects(node: &Node) -> std::collections::BTreeMap<String, u64> {
    let text = node.show("--json show crypto ikev2 cluster");
    let view: serde_json::Value = serde_json::from_str(&text).unwrap();
    let gateways = view["gateways"].as_array().unwrap();
    let of = |gateway: &serde_json::Value| {
        (gateway["address"].as_str().unwrap().to_owned(), gateway["redirects"].as_u64().unwrap())
    };
    gateways.iter().map(of).collect()
}

#[test]
fn a_gateway_that_takes_another_s_index_inherits_no_redirects() {
    let node = Node::new(PROFILE, CONFIG);
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    let usherd = node.start(&[]);
    until("active", || dataplane.states() == [Active, Active]);
    let index = |address: [u8; 4]| {
        let body = dataplane.last().unwrap().body;
        body.vips()[0].gateways().iter().position(|gateway| gateway.ip(4) == Some(address.into()))
    };
    let (first, second) = (index([10, 1, 0, 1]).unwrap(), index([10, 1, 0, 2]).unwrap());
    dataplane.redirect(0, first, 131);
    dataplane.redirect(0, second, 7);
    let before = redirects(&node);
    node.configure(&CONFIG.replace("static-gateway 10.1.0.1", "static-gateway 10.1.0.29"));
    usherd.signal(rustix::process::Signal::HUP);
    until("the new gateway", || index([10, 1, 0, 29]).is_some());
    assert_eq!(index([10, 1, 0, 29]), Some(first), "the index of the one that has left");
    let after = redirects(&node);
    assert_eq!((after["10.1.0.29"], after["10.1.0.2"]), (0, before["10.1.0.2"]));
    dataplane.redirect(0, first, 3);
    assert_eq!(redirects(&node)["10.1.0.29"], 3);
}

const TWO_GROUPS: &str = "
crypto ikev2 redirect gateway init
crypto ikev2 cluster
 standby-group vpn1
 standby-group vpn2
 secondary max-session 1000
 load-source fixed half-open 0 ike 10 child 10
 static-gateway 10.1.0.1
 no shutdown
interface Te0/0/0
 ip address 10.0.0.1 255.255.255.0
 standby version 2
 standby delay minimum 0 reload 0
 standby 1 timers msec 50 msec 150
 standby 1 ip 10.0.0.101
 standby 1 name vpn1
 standby 2 timers msec 50 msec 150
 standby 2 ip 10.0.0.102
 standby 2 name vpn2
";

#[test]
fn a_group_that_is_removed_leaves_no_surge_to_the_next() {
    let node = Node::new(PROFILE, TWO_GROUPS);
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    dataplane.clients.lock().unwrap().clear();
    let usherd = node.start(&[]);
    until("active", || dataplane.states() == [Active, Active]);
    // Slowly enough for no surge.
    let gateways = dataplane.last().unwrap().body.vips()[0].gateways().len();
    for _ in 0..40 {
        (0..gateways).for_each(|gateway| dataplane.redirect(0, gateway, 5));
        std::thread::sleep(Duration::from_millis(120));
    }
    assert!(!node.log().contains("SURGE"), "{}", node.log());
    let counted: u64 = redirects(&node).values().sum();
    let without =
        TWO_GROUPS.lines().filter(|line| !line.starts_with(" standby 1 ") && !line.contains("vpn1"));
    node.configure(&(without.collect::<Vec<_>>().join("\n") + "\n"));
    usherd.signal(rustix::process::Signal::HUP);
    until("one address", || dataplane.states() == [Active]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(!node.log().contains("SURGE"), "{}", node.log());
    assert_eq!(redirects(&node).values().sum::<u64>(), counted);

    // A data plane that starts anew beside the old one, and goes on alone.
    let next = FakeDataplane::start(&node.path("run/dataplane.sock"));
    next.clients.lock().unwrap().clear();
    until("it is attached", || node.log().matches("%DATAPLANE-5-READY").count() == 2);
    next.redirect(0, 0, 2);
    drop(dataplane);
    until("the old one has gone", || node.log().contains("%DATAPLANE-4-DETACHED"));
    next.redirect(0, 0, 2);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!node.log().contains("SURGE"), "{}", node.log());
}
