//! What stays down, and why.

use super::super::health::assess;
use super::loaded;
use crate::config::*;

const LAB: &str = "\
hostname node1
crypto ikev2 redirect gateway init
crypto ikev2 cluster
 standby-group vpn
 static-gateway 10.1.0.1
 static-gateway 10.1.0.2 priority 50
 static-gateway 2001:db8:1::1
 no shutdown
interface Te0/0/0
 ip address 10.0.0.1 255.255.255.0
 ip address 10.0.9.1 255.255.255.0 secondary
 ipv6 address 2001:db8::1/64
 standby version 2
 standby 1 ip 10.0.0.100
 standby 1 ipv6 2001:db8::100/64
 standby 1 name vpn
 no shutdown
";

#[test]
fn a_cluster_of_static_gateways_runs_without_max_session() {
    let loaded = loaded(LAB);
    assert_eq!(loaded.remarks, []);
    let plan = assess(&loaded.config, None);
    assert!(plan.groups.iter().all(|group| group.down.is_empty()), "{plan:?}");
    assert_eq!(plan.groups.len(), 2, "one role a family");
    assert_eq!(plan.cluster.as_ref().unwrap().down, [""; 0]);
    assert_eq!(plan.warnings, [""; 0]);
    let addresses: Vec<String> = plan.cluster_addresses().map(|a| a.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.100", "2001:db8::100"]);
}

#[test]
fn the_shipped_example_runs_as_it_is() {
    let loaded = loaded(include_str!("../../../../platform/deploy/usher.conf"));
    assert_eq!(loaded.remarks, []);
    let plan = assess(&loaded.config, None);
    assert!(plan.groups.iter().all(|group| group.down.is_empty()), "{plan:?}");
    assert_eq!((plan.warnings.len(), plan.cluster_addresses().count()), (0, 2));
}

#[test]
fn what_cannot_run_is_kept_down_and_named() {
    let down = |text: &str| {
        let plan = assess(&loaded(text).config, None);
        let groups = plan.groups.iter().flat_map(|g| g.down.clone());
        groups.chain(plan.cluster.iter().flat_map(|c| c.down.clone())).collect::<Vec<_>>().join("\n")
    };
    let interface = "interface Te0/0/0\n ip address 10.0.0.1 255.255.255.0\n";
    for (text, reason) in [
        (
            "interface Te0/0/0\n ipv6 address 2001:db8::1/64\n standby version 2\n standby 1 ipv6 fe80::1\n \
             standby 1 ipv6 fe80::2"
                .to_owned(),
            "take fe80::2 out",
        ),
        (format!("{interface} standby 1 priority 7"), "add `standby 1 ip ADDRESS`"),
        (format!("{interface} standby 1 ip 10.0.0.1"), "10.0.0.1 is an address of an interface"),
        (format!("{interface} standby 1 ip 10.0.0.9\n standby 2 ip 10.0.0.9"), "of another group already"),
        (format!("{interface} standby 1 ip 10.0.0.9\n shutdown"), "enter `no shutdown` under it"),
        ("interface Te0/0/0\n standby 1 ip 10.0.0.9".to_owned(), "add `ip address ADDRESS MASK` under it"),
        ("crypto ikev2 cluster\n no shutdown".to_owned(), "add `standby-group NAME`"),
        (
            "crypto ikev2 cluster\n standby-group x\n no shutdown".to_owned(),
            "no HSRP group is called \"x\": add `standby 1 name x`",
        ),
        ("crypto ikev2 cluster\n standby-group x\n no shutdown".to_owned(), "max-session is mandatory"),
    ] {
        assert!(down(&text).contains(reason), "{text}\n{}", down(&text));
    }
    // One group that cannot run takes no other with it.
    let two = format!(
        "{interface} standby 1 ip 10.0.0.9\n standby 1 name x\ncrypto ikev2 cluster\n standby-group x\n standby-group y\n secondary max-session 9\n no shutdown"
    );
    let half = assess(&loaded(&two).config, None);
    assert_eq!(half.cluster.unwrap().down, Vec::<String>::new());
    let named = "a group of the cluster is down: no HSRP group is called \"y\"";
    assert!(half.warnings.iter().any(|warning| warning.starts_with(named)), "{:?}", half.warnings);
    let learning = assess(&loaded(&format!("{interface} standby 1 ip")).config, None);
    assert!(learning.groups[0].down.is_empty() && learning.groups[0].learns);
    assert!(learning.warnings[0].contains("add `standby 1 ip ADDRESS`"), "{:?}", learning.warnings);
    let bitten = assess(
        &loaded(&format!(
            "{interface} standby 1 ip 10.0.0.9\n standby 1 timers msec 50 3\n standby 1 track 4"
        ))
        .config,
        None,
    );
    assert!(
        bitten.warnings[0].contains("version 1 cannot tell others times in milliseconds"),
        "{:?}",
        bitten.warnings
    );
    let last = bitten.warnings.last().unwrap();
    assert!(last.contains("tracked object 4 does not exist"), "{:?}", bitten.warnings);
    let loaded = loaded(LAB);
    let unbound = loaded.unbound(&Binding::default());
    insta::assert_snapshot!(unbound[0].render("usher.conf"), @r#"
    usher.conf:9:11: error: no port of the platform profile is bound to TenGigabitEthernet0/0/0: add a [[port]] with interface = "TenGigabitEthernet0/0/0", or name one that it has
         9 | interface Te0/0/0
           |           ^
    "#);
    let profile = "[[port]]\ninterface = \"Te0/0/0\"\ndevice = \"vdev:net_null0\"\nvlans = [100]\n";
    let profile = platform::profile::Profile::parse(profile, std::path::Path::new("p.toml")).unwrap();
    let binding = Binding::new(&profile);
    assert_eq!(loaded.unbound(&binding), []);
    let tagged = parse("interface Te 0/0/0.7\n encapsulation dot1Q 300\n").unwrap().unbound(&binding);
    insta::assert_snapshot!(tagged[0].render("usher.conf"), @r#"
    usher.conf:2:22: error: the platform profile lists no VLAN 300 for TenGigabitEthernet0/0/0: set vlans = [100, 300] in its [[port]], then restart usher-dataplane and usherd
         2 |  encapsulation dot1Q 300
           |                      ^
    "#);
}

#[test]
fn over_ipv6_a_cluster_has_one_global_address_in_the_wans_subnet() {
    let with = |groups: &str| {
        let text = format!("{}{groups}", LAB.replace(" standby 1 ipv6 2001:db8::100/64\n", ""));
        assess(&loaded(&text).config, None).cluster.unwrap().errors
    };
    assert_eq!(with(" standby 1 ipv6 2001:db8::100/64\n standby 1 ipv6 autoconfig\n"), [""; 0]);
    let two = with(" standby 1 ipv6 2001:db8::100/64\n standby 1 ipv6 2001:db8::101/64\n");
    assert!(two[0].contains("here are 2: take 2001:db8::101"), "{two:?}");
    let far = with(" standby 1 ipv6 2001:db8:7::100/64\n");
    assert!(far[0].contains("2001:db8:7::100 lies in no subnet of TenGigabitEthernet0/0/0"), "{far:?}");
    let none = with(" standby 1 ipv6 autoconfig\n");
    assert!(none[0].contains("needs one global virtual address"), "{none:?}");
}

#[test]
fn a_group_with_a_link_local_address_alone_shares_the_name_and_is_no_cluster() {
    let text = format!("{LAB} standby 2 ipv6 autoconfig\n standby 2 name vpn\n");
    let plan = assess(&loaded(&text).config, None);
    assert_eq!(plan.cluster.as_ref().unwrap().down, [""; 0]);
    let addresses: Vec<String> = plan.cluster_addresses().map(|a| a.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.100", "2001:db8::100"]);
    let alone: Vec<u16> =
        plan.groups.iter().filter(|group| group.is_link_local()).map(|group| group.key.group).collect();
    assert_eq!(alone, [2]);
}

#[test]
fn a_lease_that_outlasts_the_next_takeover_is_warned_of_until_it_is_decided() {
    let warned = |more: &str| {
        let text = format!(
            "interface Te0/0/0\n ip address 10.0.0.1 255.255.255.0\n standby version 2\n standby 1 ip 10.0.0.100\n{more}"
        );
        let warnings = assess(&loaded(&text).config, None).warnings;
        warnings.into_iter().find(|warning| warning.contains("lease-limit"))
    };
    assert_eq!(warned(""), None, "two hold times of 10 s are longer than the lease");
    let fast = warned(" standby 1 timers msec 50 msec 150\n").unwrap();
    assert!(fast.contains("up to 10 s") && fast.contains("after 1.3 s"), "{fast}");
    assert_eq!(warned(" standby 1 timers msec 50 msec 150\n standby 1 lease-limit 10\n"), None, "decided");
    assert_eq!(warned(" standby 1 timers 1 4\n standby delay minimum 5\n"), None);
}
