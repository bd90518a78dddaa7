//! The language as operators meet it: the seed's examples, errors, and the way there and back.

use super::health::assess;
use super::*;
use crate::hsrp::machine::TrackEffect;
use crate::types::keychain::{ChainKey, Lifetime};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The configuration examples of the seed document, each as printed there.
const SEED_IPV4: &str = "\
Device(config)# hostname RouterA
Device(config)# interface GigabitEthernet 0/0/0
Device(config-if)# ip address 10.0.0.1 255.255.255.0
Device(config-if)# standby 1 priority 110
Device(config-if)# standby group1
Device(config-if)# end
Device> enable
Device# configure terminal
Device(config)# crypto ikev2 cluster
Device(config-ikev2-cluster)# holdtime 10000
Device(config-ikev2-cluster)# master crypto-load 10
Device(config-ikev2-cluster)# port 2000
Device(config-ikev2-cluster)# slave priority 90
Device(config-ikev2-cluster)# standby-group group1
Device(config-ikev2-cluster)# shutdown
Device(config-ikev2-cluster)# end
Device> enable
Device# configure terminal
Device(config)# crypto ikev2 redirect client
Device(config)# crypto ikev2 redirect gateway init
Device(config)# end
Device> enable
Device# configure terminal
Device(config)# crypto ikev2 reconnect key 1 active key
Device(config)# crypto ikev2 reconnect key 2 test
Device(config)# end
";

const SEED_IPV6: &str = "\
Device(config)# hostname RouterA
Device(config)# interface GigabitEthernet 0/0/0
Device(config-if)# ip address 2001:DB8::1
Device(config-if)# standby 1 priority 110
Device(config-if)# standby group 1
Device(config-if)# standby version 1
Device(config-if)# end
Device> enable
Device# configure terminal
Device(config)# crypto ikev2 cluster
Device(config-ikev2-cluster)# holdtime 10000
Device(config-ikev2-cluster)# primary crypto-load 10
Device(config-ikev2-cluster)# port 2000
Device(config-ikev2-cluster)# secondary priority 90
Device(config-ikev2-cluster)# standby-group group1
Device(config-ikev2-cluster)# shutdown
Device(config-ikev2-cluster)# end
Device> enable
Device# configure terminal
Device(config)# crypto ikev2 redirect client
Device(config)# crypto ikev2 redirect gateway init
Device(config)# end
";

/// The single steps of the seed's two procedures, in order.
const SEED_STEPS: &str = "\
    Device> enable
    Device# configure terminal
    Device(config)# interface GigabitEthernet 0/0/0
    Device(config-if)# ip address 10.0.0.1 255.255.255.0
    Device(config-if)# standby 1 priority 110
    Device(config-if)# standby group1
    Device(config-if)# standby delay minimum 120
    Device(config-if)# standby delay mimimum 120
    Device(config-if)# standby version 2
    Device(config-if)# exit
    Device(config)# crypto ikev2 cluster
    Device(config-ikev2-cluster)# holdtime 10000
    Device(config-ikev2-cluster)# master weight crypto-load 10
    Device(config-ikev2-cluster)# primary weight crypto-load 10
    Device(config-ikev2-cluster)# port 2000
    Device(config-ikev2-cluster)# slave max-session 90
    Device(config-ikev2-cluster)# standby-group group1
    Device(config-ikev2-cluster)# shutdown
    Device(config-ikev2-cluster)# exit
    Device(config)# crypto ikev2 reconnect key 1 active test123
    Device(config-ikev2-cluster)# end
    Device(config)# crypto ikev2 redirect gateway init
    Device(config)# crypto ikev2 redirect client max-redirects 15
    Device(config)# crypto ipsec security-association idle-time 600
    Device(config)# crypto ikev2 dpd 500 50 on-demand
    Device(config-if)# exit
    Device# show crypto ikev2 cluster
";

fn loaded(text: &str) -> Loaded {
    parse(text).unwrap_or_else(|remarks| {
        panic!("{}", remarks.iter().map(|remark| remark.render("test")).collect::<String>())
    })
}

fn warnings(loaded: &Loaded) -> Vec<(usize, &str)> {
    let warnings = loaded.remarks.iter().filter(|r| r.severity == Severity::Warning);
    warnings.map(|remark| (remark.line, remark.message.as_str())).collect()
}

/// The first error as the operator sees it.
fn error(text: &str) -> String {
    let remarks = parse(text).expect_err("an error");
    remarks.iter().find(|r| r.severity == Severity::Error).expect("an error").render("usher.conf")
}

#[test]
fn the_seeds_ipv4_examples_load_with_a_warning_for_each_slip() {
    let loaded = loaded(SEED_IPV4);
    assert_eq!(
        warnings(&loaded),
        [
            (5, "this is taken as the name \"group1\" of group 1; the exact form is `standby 1 name group1`"),
            (
                11,
                "\"weight\" is missing before \"crypto-load\"; the exact form is `master weight crypto-load 10`"
            ),
        ]
    );
    insta::assert_snapshot!("seed_ipv4", render(&loaded.config, Keys::Masked));
    let plan = assess(&loaded.config, None);
    assert_eq!(plan.groups[0].down, ["group 1 has no virtual address: add `standby 1 ip ADDRESS`"]);
    let cluster = plan.cluster.unwrap();
    assert!(cluster.down[0].contains("shut down"), "{:?}", cluster.down);
    assert!(cluster.down.iter().any(|why| why.contains("max-session is mandatory")), "{:?}", cluster.down);
}

#[test]
fn the_seeds_ipv6_examples_load_with_a_warning_for_each_slip() {
    let loaded = loaded(SEED_IPV6);
    assert_eq!(
        warnings(&loaded),
        [
            (
                3,
                "this is taken as the IPv6 address 2001:db8::1/64; the exact form is `ipv6 address 2001:db8::1/64`"
            ),
            (5, "this is taken as the name \"group1\" of group 1; the exact form is `standby 1 name group1`"),
            (
                6,
                "version 1 has no IPv6: the line is kept, the IPv6 groups of the interface stay down; \
                 the exact form is `standby version 2`"
            ),
            (
                12,
                "\"weight\" is missing before \"crypto-load\"; the exact form is `primary weight crypto-load 10`"
            ),
        ]
    );
    insta::assert_snapshot!("seed_ipv6", render(&loaded.config, Keys::Masked));
    assert_eq!(
        assess(&loaded.config, None).groups[0].down,
        [
            "group 1 is IPv6 and version 1 has none: enter `standby version 2`",
            "group 1 has no virtual address: add `standby 1 ipv6 ADDRESS/LENGTH`"
        ]
    );
}

#[test]
fn the_seeds_single_steps_load_as_one_paste() {
    let loaded = loaded(SEED_STEPS);
    assert_eq!(loaded.config.redirect_client, Some(15));
    assert_eq!(loaded.config.dpd, Some(Dpd { interval: 500, retry: 50, periodic: false }));
    assert_eq!(loaded.config.idle_time, Some(600));
    assert_eq!(loaded.config.cluster.as_ref().unwrap().max_session, Some(90));
    let lines: Vec<usize> = warnings(&loaded).into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [6, 8, 27], "standby group1, mimimum, show");
}

#[test]
fn every_command_without_effect_says_so() {
    let loaded = loaded(SEED_IPV4);
    let notices: Vec<usize> =
        loaded.remarks.iter().filter(|r| r.severity == Severity::Notice).map(|r| r.line).collect();
    assert_eq!(notices, [19, 24, 25]);
}

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
    let loaded = loaded(include_str!("../../../platform/deploy/usher.conf"));
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
fn a_subinterface_has_one_vlan_and_its_port_has_it_once() {
    let text = "interface te0/0/0.5\n encapsulation dot1q 100\n description customers\n ip address 10.0.0.1 255.255.255.0\n";
    let config = loaded(text).config;
    let running = render(&config, Keys::Shown);
    let part =
        "interface TenGigabitEthernet0/0/0.5\n description customers\n encapsulation dot1Q 100\n ip address ";
    assert!(running.contains(part), "{running}");
    let without = loaded(&format!("{text} no encapsulation dot1Q 100\n standby 1 ip 10.0.0.9\n")).config;
    let plan = assess(&without, None);
    assert_eq!(
        plan.groups[0].down,
        ["TenGigabitEthernet0/0/0.5 has no VLAN: add `encapsulation dot1Q VLAN` under it"]
    );
    assert!(plan.warnings[0].contains("nothing under it is in force"), "{:?}", plan.warnings);
    for (lines, message) in [
        ("interface te0/0/0.6\n encapsulation dot1Q 100\n", "TenGigabitEthernet0/0/0.5 has VLAN 100 already"),
        ("interface te0/0/0.6\n encapsulation dot1Q 0\n", "the VLAN is 1 to 4094"),
        ("interface te0/0/0.6\n encapsulation dot1Q 4095\n", "the VLAN is 1 to 4094"),
        ("interface te0/0/0.6\n encapsulation dot1Q 7 native\n", "configure VLAN 7 on the interface itself"),
        ("interface te0/0/0.6\n encapsulation dot1Q 7 second-dot1q 8\n", "two tags is not supported"),
        (
            "interface te0/0/0\n encapsulation dot1Q 7\n",
            "under a subinterface, as `interface TenGigabitEthernet0/0/0.7`",
        ),
        ("interface Loopback0.1\n", "Loopback has no subinterfaces"),
        ("encapsulation dot1Q 7\n", "this line belongs under `interface"),
    ] {
        let said = error(&format!("{text}!\nexit\n{lines}"));
        assert!(said.contains(message), "{lines}{said}");
    }
    let two = "interface te0/0/1.6\n encapsulation dot1Q 100\ninterface te0/0/0.5\n encapsulation dot1Q 7\n encapsulation dot1Q 100\n";
    assert_eq!(
        loaded(&format!("{text}{two}")).config.interfaces.len(),
        2,
        "another port has its own VLAN 100"
    );
}

#[test]
fn a_shutdown_of_the_interface_keeps_its_subinterfaces_down() {
    let text = "interface te0/0/0\n shutdown\ninterface te0/0/0.5\n encapsulation dot1Q 100\n ip address 10.0.0.1 255.255.255.0\n \
                standby 1 ip 10.0.0.9\n";
    let down = |text: &str| assess(&loaded(text).config, None).groups.remove(0).down;
    assert_eq!(
        down(text),
        ["TenGigabitEthernet0/0/0 is shut down, and its subinterfaces with it: enter `no shutdown` under it"]
    );
    assert_eq!(down(&format!("{text} exit\ninterface te0/0/0\n no shutdown\n")), [""; 0]);
}

#[test]
fn errors_show_the_line_the_caret_and_what_was_expected() {
    insta::assert_snapshot!(
        error("hostname a\ninterface Te0/0/0\n ip address 10.0.0.300 255.255.255.0\n"),
        @r#"
    usher.conf:3:13: error: "10.0.0.300" is not an IPv4 address: write it as 10.0.0.1
         3 |  ip address 10.0.0.300 255.255.255.0
           |             ^
           expected here: A.B.C.D (address)
    "#
    );
    insta::assert_snapshot!(
        error("crypto ikev2 cluster\n holdtime 99\n"),
        @r"
    usher.conf:2:11: error: 99 is out of range: the hold time in milliseconds is 100 to 120000
         2 |  holdtime 99
           |           ^
           expected here: <100-120000> (hold time in milliseconds)
    "
    );
    insta::assert_snapshot!(
        error("Device(config)# crypto ikev2 redirekt gateway init\n"),
        @r#"
    usher.conf:1:30: error: "redirekt" is not understood here
         1 | Device(config)# crypto ikev2 redirekt gateway init
           |                              ^
           expected here: cluster, dpd, keyring, limit, profile, reconnect, redirect
    "#
    );
    insta::assert_snapshot!(
        error("crypto ikev2 cluster\n s 5\n"),
        @r#"
    usher.conf:2:2: error: "s" is ambiguous
         2 |  s 5
           |  ^
           expected here: secondary, selection, shutdown, slave, standby-group, static-gateway, subordinate
    "#
    );
    insta::assert_snapshot!(
        error("standby 1 ip 10.0.0.1\n"),
        @r#"
    usher.conf:1:1: error: this line belongs under `interface TenGigabitEthernet0/0/0`: put that line before it
         1 | standby 1 ip 10.0.0.1
           | ^
    "#
    );
    insta::assert_snapshot!(
        error("crypto ikev2 cluster\n secondary max-session\n"),
        @r#"
    usher.conf:2:24: error: the line is incomplete
         2 |  secondary max-session
           |                       ^
           expected here: <1-100000> (IKE and IPsec SAs)
    "#
    );
}

#[test]
fn what_would_bite_the_operator_is_refused() {
    let interface = "interface Te0/0/0\n ip address 10.0.0.1 255.255.255.0\n";
    for (line, message) in [
        ("standby preemt", "did you mean \"preempt\""),
        ("standby 1", "the line is incomplete"),
        ("standby prio", "the line is incomplete"),
        ("standby 1 prioritty 100", "\"prioritty\" is not understood here"),
        ("standby 1 priority 256", "256 is out of range"),
        ("standby 4096 ip 10.0.0.9", "4096 is out of range"),
        (
            "standby 256 ip 10.0.0.9",
            "group 256 is beyond 255, the last of version 1: enter `standby version 2` first",
        ),
        ("standby 300 priority 7", "group 300 is beyond 255"),
        ("standby 300 ipv6 fe80::1", "group 300 is beyond 255"),
        ("ipv6 nd ra lifetime 199", "199 s is shorter than the 200 s between two advertisements"),
        ("ipv6 nd ra lifetime 9001", "9001 is out of range"),
        ("standby 1 ip 224.0.0.9", "not a host's address"),
        ("standby 1 timers 10 5", "must be longer than the hello time"),
        ("standby 1 timers msec 10 5", "10 ms is out of range: it is 15 to 999"),
        ("standby 1 timers 255 256", "write msec before milliseconds"),
        ("standby 1 authentication text 123456789", "9 characters: 8 are allowed"),
        ("standby 1 authentication md5 key-string ********", "as `show` masks it"),
        ("standby use-bia", "\"standby use-bia\" is not supported"),
        ("ip address 10.0.0.0 255.255.255.0", "the subnet's own or its broadcast address"),
        ("ip address 10.0.0.1 255.0.255.0", "its ones must come first"),
        ("ipv6 address 2001:db8::1/129", "not a prefix length"),
        ("interface Te0/0/0.0", "the number of a subinterface is 1 to 4294967295"),
    ] {
        let shown = error(&format!("{interface} {line}\n"));
        assert!(shown.contains(message), "{line}: {shown}");
        assert!(shown.starts_with("usher.conf:3:"), "{shown}");
    }
    for line in ["standby version 1", "no standby version"] {
        let shown = error(&format!("{interface} standby version 2\n standby 300 ip 10.0.0.9\n {line}\n"));
        assert!(shown.contains("remove group 300 first, `no standby 300`"), "{shown}");
    }
    let long = format!("hostname {}\n", "x".repeat(2000));
    assert!(error(&long).contains("longer than 1000 characters"));
    assert!(parse(&"!\n".repeat(1 << 20)).unwrap_err()[0].message.contains("is it the right file"));
    assert_eq!(parse(&"foo\n".repeat(1000)).unwrap_err().len(), 20, "errors are bounded");
}

#[test]
fn abbreviations_and_no_forms_work_as_on_ios() {
    let config = loaded(
        "host R1\ncry ik cl\n hold 5000\n no hold\n prim ov 80\n no shut\nint te 0/0/0\n ip addr 10.0.0.1 255.255.255.0\n stan 1 pri 90\n no standby 1 prio\n standby 2 ip 10.0.0.2\n no standby 2\n standby 3 preempt\n no standby 3 preempt\n desc  two  words\n",
    )
    .config;
    assert_eq!(config.hostname.as_deref(), Some("R1"));
    let cluster = config.cluster.as_ref().unwrap();
    assert_eq!((cluster.holdtime, cluster.overload_limit, cluster.shutdown), (None, Some(80), false));
    let interface = config.interfaces.values().next().unwrap();
    assert_eq!(interface.description.as_deref(), Some("two  words"));
    assert_eq!(interface.groups[&1], Group::default());
    assert_eq!(interface.groups.keys().copied().collect::<Vec<_>>(), [1, 3]);
    let empty =
        loaded("interface Te0/0/0\nno interface Te0/0/0\ncrypto ikev2 cluster\nno crypto ikev2 cluster\n");
    assert_eq!(empty.config, Config::default());
    let untouched = loaded("interface Te0/0/0\n no standby 5 priority\n");
    assert!(untouched.config.interfaces.values().all(|i| i.groups.is_empty()));
}

#[test]
fn an_interface_may_be_written_in_two_words_wherever_one_is_named() {
    let two =
        loaded("interface GigabitEthernet 0/0/0\ntrack 1 interface GigabitEthernet 0/0/0 line-protocol\n");
    let one = loaded("interface Gi0/0/0\ntrack 1 interface Gi0/0/0 line-protocol\n");
    assert_eq!(two.config, one.config);
    assert!(
        error("track 1 interface GigabitEthernet 0/0/0/0/0 link\n").contains("is not an interface number")
    );
    assert!(error("track 1 interface Gigabit Ethernet link\n").contains("is not an interface number"));
}

#[test]
fn what_this_project_adds_to_the_cluster_reads_and_shows() {
    let text = "crypto ikev2 cluster\n key swordfish\n max-nodes 64\n selection strict\n drain pace 60\n \
                load-source fixed half-open 1 ike 20 child 40 cpu 10 mem 20\n \
                static-gateway 10.1.0.2 probe interval 500 up 1\n static-gateway 10.1.0.3 priority 9 probe\n";
    let config = loaded(text).config;
    insta::assert_snapshot!(render(&config, Keys::Masked), @r"
    !
    crypto ikev2 cluster
     max-nodes 64
     drain pace 60
     key ********
     selection strict
     load-source fixed half-open 1 ike 20 child 40 cpu 10 mem 20
     static-gateway 10.1.0.2 probe interval 500 up 1
     static-gateway 10.1.0.3 priority 9 probe
     shutdown
    !
    end
    ");
    let undone = loaded(&format!(
        "{text} no key\n no max-nodes\n no selection\n no drain pace\n no load-source\n no static-gateway 10.1.0.2\n \
         no static-gateway 10.1.0.3 probe\n"
    ));
    let left = StaticGateway { priority: 9, probe: None };
    let expected = Cluster {
        static_gateways: BTreeMap::from([("10.1.0.3".parse().unwrap(), left)]),
        ..Cluster::default()
    };
    assert_eq!(undone.config.cluster, Some(expected));
    assert!(error("crypto ikev2 cluster\n load-source script x.sh\n").contains("write it from / on"));
    assert!(error("enable secret swordfish\n").contains("openssl passwd -6"));
}

#[test]
fn a_profile_reads_and_names_lines_that_exclude_each_other() {
    let config = loaded(
        "crypto ikev2 keyring K\n peer hq\n  address 10.0.0.1\n  pre-shared-key one\n peer branch\n  address 2001:db8::/32\n  \
         pre-shared-key local a\n  pre-shared-key remote b\n\
         crypto ikev2 profile P\n match identity remote  any\n authentication local rsa-sig\n authentication remote eap\n \
         keyring local K\n dpd 60 5 on-demand\n reconnect timeout 900\n redirect gateway auth\n",
    )
    .config;
    insta::assert_snapshot!(render(&config, Keys::Masked), @r"
    !
    crypto ikev2 keyring K
     peer branch
      address 2001:db8::/32
      pre-shared-key local ********
      pre-shared-key remote ********
     peer hq
      address 10.0.0.1
      pre-shared-key ********
    !
    crypto ikev2 profile P
     match identity remote any
     authentication local rsa-sig
     authentication remote eap
     keyring local K
     dpd 60 5 on-demand
     reconnect timeout 900
     redirect gateway auth
    !
    end
    ");
    let both = error("crypto ikev2 profile P\n authentication remote anyconnect-eap\n reconnect\n");
    assert!(both.contains("usher.conf:3"), "{both}");
    assert!(
        both.contains("`reconnect` and `authentication remote anyconnect-eap` exclude each other"),
        "{both}"
    );
    assert!(
        error("crypto ikev2 profile P\n reconnect\n authentication local pre-share\n")
            .contains("usher.conf:3")
    );
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
fn every_command_is_explained_and_can_be_undone() {
    for (place, syntax, no, help) in submode::manual() {
        assert!(!help.is_empty() && !help.ends_with('.'), "{place} {syntax}");
        // `no track OBJECT` is one for all kinds of it.
        assert!(!no.is_empty() || syntax.starts_with("track OBJECT {"), "{place} {syntax}");
    }
    let places =
        ["", "interface Te0/0/0", "crypto ikev2 cluster", "crypto ikev2 profile p", "crypto ikev2 keyring k"];
    for place in places {
        let place: Vec<String> = [place].into_iter().filter(|p| !p.is_empty()).map(str::to_owned).collect();
        let mut open = vec![String::new()];
        while let Some(line) = open.pop() {
            for offer in submode::offers(&place, &line) {
                assert!(offer.word == "<cr>" || !offer.help.is_empty(), "{place:?} {line}{}", offer.word);
                if offer.keyword && line.split(' ').count() < 6 {
                    open.push(format!("{line}{} ", offer.word));
                }
            }
        }
    }
}

#[test]
fn the_later_active_reconnect_key_takes_over_with_a_warning() {
    let loaded = loaded("crypto ikev2 reconnect key 1 active one\ncrypto ikev2 reconnect key 2 two active\n");
    let keys = &loaded.config.reconnect_keys;
    assert!(!keys[&1].active && keys[&2].active);
    assert_eq!(keys[&2].key.0, "two");
    assert!(warnings(&loaded)[0].1.contains("key 2 is the active one now"));
}

#[test]
fn key_chains_are_written_as_on_ios_and_a_group_without_a_key_stays_down() {
    let text = "key chain vpn\n key 1\n  key-string alpha\n  accept-lifetime 00:00:00 Jan 1 2026 00:30:00 Feb 1 2026\n  \
                send-lifetime 00:00:00 Jan 1 2026 duration 86400\n exit\n key 2\n  key-string beta\n exit\n exit\n\
                interface Te0/0/0\n ip address 10.0.0.1 255.255.255.0\n standby 1 ip 10.0.0.100\n \
                standby 1 authentication md5 key-chain vpn\n standby 2 ip 10.0.0.102\n \
                standby 2 authentication md5 key-chain other\n";
    let config = loaded(text).config;
    let chain = &config.key_chains["vpn"];
    assert_eq!(chain[&1].send.until, Some(chain[&1].send.from + 86_400));
    assert!(chain[&2].accept.is_always() && chain[&2].string.is_some());
    let plan = assess(&config, None);
    assert!(plan.groups[0].down.is_empty() && plan.groups[0].chain.as_ref() == Some(chain));
    assert_eq!(
        plan.groups[1].down,
        ["key chain other has no key: add `key chain other`, `key 1` and `key-string KEY` under it"]
    );
    assert!(render(&config, Keys::Masked).contains(" key 2\n  key-string ********\n!"));
    let gone = loaded(&format!("{text}key chain vpn\n no key 1\n key 2\n  no key-string\n")).config;
    assert!(gone.key_chains["vpn"].len() == 1 && !assess(&gone, None).groups[0].down.is_empty());
    assert!(error("key chain vpn\n key-string alpha\n").contains("belongs under `key NUMBER`"));
    assert!(
        error("key chain vpn\n key 1\n  send-lifetime 00:00:00 Feb 30 2026 infinite\n")
            .contains("not a time")
    );
    let nine: String = (1..=9).map(|key| format!(" key {key}\n")).collect();
    assert!(error(&format!("key chain vpn\n{nine}")).contains("8 keys is the most"));
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

#[test]
fn a_file_that_cannot_be_read_names_itself_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let missing = load(&dir.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none: cannot be read") && missing.contains("--config"), "{missing}");
    assert!(load(dir.path()).unwrap_err().to_string().contains("not a regular file"));
    let path = dir.path().join("latin1");
    std::fs::write(&path, b"!\nhostname b\xe9\n").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("line 2 is not UTF-8"));
}

fn secret() -> impl Strategy<Value = Secret> {
    "[a-zA-Z0-9!#%]{2,8}"
        .prop_filter("a keyword", |key| !["active", "local", "remote"].contains(&key.as_str()))
        .prop_map(Secret)
}

fn interval() -> impl Strategy<Value = (Interval, Interval)> {
    prop_oneof![
        (1u16..=80).prop_map(|s| (Interval::Seconds(s), Interval::Seconds(s * 3))),
        (15u16..=999).prop_map(|ms| (Interval::Millis(ms), Interval::Millis((ms * 3).max(50)))),
    ]
}

prop_compose! {
    fn group()(
        ip in proptest::option::of(proptest::option::of(2u8..250)), secondary in proptest::option::of(2u8..250),
        v6 in proptest::collection::btree_set(1u16..99, 0..3), autoconfig in any::<bool>(), priority in any::<u8>(),
        preempt in proptest::option::of((proptest::option::of(0u16..=3600), proptest::option::of(0u16..=3600), proptest::option::of(0u16..=3600))),
        timers in proptest::option::of(interval()), auth in proptest::option::of((0u8..3, secret(), proptest::option::of(0u16..=32767))),
        lease_limit in proptest::option::of(1u8..),
        name in proptest::option::of("[a-z][a-z0-9-]{0,12}"), tracks in proptest::collection::btree_map(1u16..=1000, 0u8..=255, 0..3),
    ) -> Group {
        let v4 = |host: u8| std::net::Ipv4Addr::new(10, 9, 0, host);
        let ip = ip.map(|host| host.map(v4));
        let secondary = secondary.map(v4).filter(|a| matches!(ip, Some(Some(first)) if first != *a));
        Group {
            ip,
            ip_secondary: secondary.into_iter().collect(),
            ipv6: v6.into_iter().map(|h| Prefix { address: IpAddr::from([0x2001, 0xdb8, 9, 0, 0, 0, 0, h]), length: 64 }).collect(),
            ipv6_autoconfig: autoconfig,
            priority,
            preempt: preempt.map(|(minimum, reload, sync)| Preempt { minimum, reload, sync }),
            timers: timers.map(|(hello, hold)| Timers { hello, hold }),
            authentication: auth.map(|(kind, key, timeout)| match kind {
                0 => Authentication::Text(key),
                1 => Authentication::Md5(key, timeout),
                _ => Authentication::KeyChain(key.0),
            }),
            lease_limit,
            name,
            tracks: tracks.into_iter().map(|(object, by)| (object, if by == 0 { TrackEffect::Shutdown } else { TrackEffect::Decrement(by) })).collect(),
        }
    }
}

prop_compose! {
    fn interface()(
        description in proptest::option::of("[a-z]{1,5}( [a-z]{1,5}){0,2}"), shutdown in any::<bool>(),
        ip in proptest::option::of((1u8..=254, 8u8..=30)), secondary in proptest::option::of(1u8..=6),
        v6 in proptest::collection::btree_set(1u16..99, 0..3), version in proptest::option::of(1u8..=2),
        delay in (proptest::option::of(0u16..=10000), proptest::option::of(0u16..=10000)),
        ra in (prop_oneof![Just(0u16), 200u16..=9000], proptest::option::of(any::<bool>())),
        groups in proptest::collection::btree_map(prop_oneof![0u16..=255, 0u16..=4095], group(), 0..3),
    ) -> Interface {
        let ip = ip.map(|(third, length)| Prefix { address: IpAddr::from([10, 1, third, 1]), length });
        Interface {
            description,
            encapsulation: None,
            shutdown,
            ip,
            ip_secondary: secondary.filter(|_| ip.is_some()).map(|h| Prefix { address: IpAddr::from([10, 2, 0, h]), length: 29 }).into_iter().collect(),
            ipv6: v6.into_iter().map(|h| Prefix { address: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, h]), length: 48 }).collect(),
            ra: RouterAdvertisements {
                lifetime: ra.0,
                suppress: ra.1.map(|all| if all { Suppress::All } else { Suppress::Unsolicited }),
            },
            // Version 1 ends at 255.
            standby_version: if groups.keys().any(|group| *group > 255) { Some(2) } else { version },
            standby_delay: StandbyDelay { minimum: delay.0, reload: delay.1 },
            groups,
        }
    }
}

fn load_source() -> impl Strategy<Value = LoadSource> {
    let path = || "/[a-z/.]{1,12}";
    let percent = proptest::option::of((0u8..=100, 0u8..=100));
    prop_oneof![
        proptest::option::of(path()).prop_map(LoadSource::Vici),
        proptest::option::of(path()).prop_map(LoadSource::Whack),
        path().prop_map(LoadSource::Script),
        (0u32..=100_000, 0u32..=100_000, 0u32..=100_000, percent).prop_map(
            |(half_open, ike, child, system)| {
                LoadSource::Fixed {
                    half_open,
                    ike,
                    child,
                    cpu: system.map(|(cpu, _)| cpu),
                    mem: system.map(|(_, mem)| mem),
                }
            }
        ),
    ]
}

prop_compose! {
    fn peer()(
        address in proptest::option::of((any::<bool>(), 1u8..=254, 1u8..=32)), local in proptest::option::of(secret()),
        remote in proptest::option::of(secret()),
    ) -> KeyringPeer {
        let address = address.map(|(v6, host, length)| match v6 {
            true => Prefix { address: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)]), length },
            false => Prefix { address: IpAddr::from([10, 7, 0, host]), length },
        });
        KeyringPeer { address, local, remote }
    }
}

prop_compose! {
    fn profile()(
        description in proptest::option::of("[a-z]{1,5}( [a-z]{1,5}){0,2}"), matches in proptest::collection::btree_set("[a-z]{1,6}( [a-z]{1,6}){0,2}", 0..3),
        methods in (0usize..6, 0usize..6), keyring in proptest::option::of("[a-z]{1,9}"), trustpoint in proptest::option::of("[a-z]{1,9}"),
        dpd in proptest::option::of((10u16..=3600, 2u8..=60, any::<bool>())), reconnect in proptest::option::of(600u32..=86_400), redirect_auth in any::<bool>(),
    ) -> Profile {
        let method = |index: usize, most: usize| {
            let all = [Method::RsaSig, Method::EcdsaSig, Method::Eap, Method::PreShare, Method::AnyconnectEap];
            all[..if reconnect.is_some() { 3 } else { most }].get(index).copied()
        };
        Profile {
            description,
            matches: matches.into_iter().collect(),
            local: method(methods.0, 4),
            remote: method(methods.1, 5),
            keyring, trustpoint,
            dpd: dpd.map(|(interval, retry, periodic)| Dpd { interval, retry, periodic }),
            reconnect, redirect_auth,
        }
    }
}

prop_compose! {
    fn cluster()(
        times in (proptest::option::of(100u32..=120_000), proptest::option::of(100u32..=30_000), proptest::option::of(100u32..=60_000)),
        percent in (proptest::option::of(50u8..=99), proptest::option::of(0u8..=100), proptest::option::of(0u8..=100), proptest::option::of(1u8..=100), proptest::option::of(1u8..=100)),
        port in proptest::option::of(1u16..), max_session in proptest::option::of(1u32..=100_000),
        names in proptest::collection::btree_set("[a-z][a-z0-9]{0,8}", 0..3), fqdn in proptest::option::of("[a-z]{1,8}\\.example"),
        gateways in proptest::collection::btree_map((any::<bool>(), 1u8..), (1u8..=100, proptest::option::of((100u32..=60_000, 1u8..=10, 1u8..=10))), 0..6), shutdown in any::<bool>(),
        members in proptest::collection::btree_set(any::<u8>(), 0..3),
        keys in proptest::collection::vec(proptest::option::of(secret()), 2), active in 0u8..3, max_nodes in proptest::option::of(2u8..=64), drain_pace in proptest::option::of(1u32..=60_000),
        selection in proptest::option::of(prop_oneof![Just(Selection::Spread), Just(Selection::Strict)]), load_source in proptest::option::of(load_source()),
    ) -> Cluster {
        let indexed = |(index, key): (u8, Option<Secret>)| Some((index, IndexedKey { key: key?, active: active == index }));
        Cluster {
            holdtime: times.0, hello: times.1, update: times.2,
            overload_limit: percent.0, weight_crypto: percent.1, weight_system: percent.2,
            priority: percent.3, load_normalization: percent.4,
            port, max_session,
            standby_groups: names.into_iter().collect(),
            fqdn,
            keys: (1u8..).zip(keys).filter_map(indexed).collect(), max_nodes, selection, load_source, drain_pace,
            members: members.into_iter().map(|host| IpAddr::from([10, 1, 2, host])).collect(),
            static_gateways: gateways.into_iter().map(|((v6, host), (priority, probe))| {
                let address = if v6 { IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(host)]) } else { IpAddr::from([10, 1, 1, host]) };
                (address, StaticGateway { priority, probe: probe.map(|(interval, up, down)| Probe { interval, up, down }) })
            }).collect(),
            shutdown,
        }
    }
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    prop_oneof![
        Just(Lifetime::default()),
        (725_846_400u64..4_000_000_000, proptest::option::of(1u64..100_000_000))
            .prop_map(|(from, span)| Lifetime { from, until: span.map(|span| from + span) }),
    ]
}

prop_compose! {
    fn chain_key()(string in proptest::option::of(secret()), accept in lifetime(), send in lifetime()) -> ChainKey {
        ChainKey { string, accept, send }
    }
}

prop_compose! {
    fn config()(
        hostname in proptest::option::of("[A-Za-z][A-Za-z0-9-]{0,10}"),
        interfaces in proptest::collection::btree_map((0u8..2, 0u8..4, proptest::option::of(1u32..)), (interface(), any::<bool>()), 0..4),
        cluster in proptest::option::of(cluster()), redirects in (any::<bool>(), any::<bool>(), proptest::option::of(1u8..)),
        keys in proptest::collection::vec(proptest::option::of(secret()), 2), active in 0u8..3,
        dpd in proptest::option::of((10u16..=3600, 2u8..=60, any::<bool>())), limit in proptest::option::of(1u16..=9999),
        chains in proptest::collection::btree_map("[a-z][a-z0-9-]{0,9}", proptest::collection::btree_map(0u32..99, chain_key(), 0..4), 0..3),
        idle_time in proptest::option::of(60u32..=86400), tracks in proptest::collection::btree_map(1u16..=1000, 0u8..4, 0..3),
        keyrings in proptest::collection::btree_map("[a-z]{1,8}", proptest::collection::btree_map("[a-z]{1,8}", peer(), 0..3), 0..2),
        profiles in proptest::collection::btree_map("[a-z]{1,8}", profile(), 0..2),
        enable_secret in proptest::option::of("\\$[56]\\$[a-zA-Z0-9]{1,8}\\$[a-zA-Z0-9./]{43}"),
    ) -> Config {
        let name = |(kind, unit): (u8, u8)| IfName::parse(&format!("{}0/0/{unit}", ["Te", "Gi"][usize::from(kind)])).unwrap();
        let mut reconnect_keys = BTreeMap::new();
        for (index, key) in (1u8..).zip(keys) {
            if let Some(key) = key {
                reconnect_keys.insert(index, IndexedKey { key, active: active == index });
            }
        }
        Config {
            hostname,
            tracks: tracks.into_iter().map(|(object, kind)| (object, match kind {
                0 => Tracked::LineProtocol(name((0, 1))),
                1 => Tracked::Link(name((1, 2))),
                2 => Tracked::Dataplane,
                _ => Tracked::IkeDaemon,
            })).collect(),
            key_chains: chains,
            // Each VLAN once.
            interfaces: interfaces.into_iter().zip(1u16..).map(|(((kind, unit, sub), (interface, tagged)), vlan)| {
                let port = name((kind, unit));
                let encapsulation = sub.filter(|_| tagged).map(|_| vlan * 1000);
                (sub.map_or(port.clone(), |sub| port.subinterface(sub)), Interface { encapsulation, ..interface })
            }).collect(),
            cluster,
            redirect_init: redirects.0, redirect_auth: redirects.1, redirect_client: redirects.2,
            reconnect_keys,
            dpd: dpd.map(|(interval, retry, periodic)| Dpd { interval, retry, periodic }),
            max_in_negotiation: limit,
            idle_time,
            enable_secret: enable_secret.map(Secret),
            keyrings,
            profiles,
        }
    }
}

proptest! {
    #[test]
    fn the_running_config_reads_back_to_the_same_configuration(config in config()) {
        let text = render(&config, Keys::Shown);
        let back = parse(&text);
        prop_assert!(back.is_ok(), "{}\n{:?}", text, back);
        let back = back.unwrap();
        let harmless = |r: &Diagnostic| r.severity == Severity::Notice || r.message.starts_with("version 1 has no IPv6");
        prop_assert!(back.remarks.iter().all(harmless), "{}\n{:?}", text, back.remarks);
        prop_assert_eq!(back.config, config, "{}", text);
    }

    #[test]
    fn every_line_of_the_running_config_can_be_undone_by_no(config in config()) {
        let text = render(&config, Keys::Shown);
        let mut outer: Vec<&str> = Vec::new();
        let mut undone: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| *line != "!" && *line != "end") {
            outer.truncate(line.len() - line.trim_start().len());
            // `shutdown` and `no shutdown` undo each other; the cluster goes with its last line.
            if !line.trim_start().starts_with("no ") {
                let line = line.trim_start();
                undone.push(format!("{}\nno {line}\n", outer.join("\n")));
                // As on IOS this takes the delays away, and preempting stays.
                if let Some((preempt, _)) = line.split_once(" delay").filter(|(line, _)| line.ends_with("preempt")) {
                    undone.push(format!("{}\nno {preempt}\n", outer.join("\n")));
                }
            }
            outer.push(line);
        }
        let all: String = undone.into_iter().rev().collect();
        let left = parse(&format!("{text}{all}"));
        prop_assert!(left.is_ok(), "{}\n{:?}", all, left);
        prop_assert_eq!(left.unwrap().config, Config::default(), "{}", all);
    }

    #[test]
    fn no_text_panics_and_every_error_points_into_the_text(text in "(\\PC{0,40}\n|interface Te0/0/0\n|standby [0-9a-z ]{0,20}\n|crypto ikev2 cluster\n|[a-z ]{0,30}\n){0,6}") {
        if let Err(remarks) = parse(&text) {
            let lines = text.lines().count();
            for remark in remarks {
                prop_assert!((1..=lines).contains(&remark.line));
                let _ = remark.render("f");
            }
        }
        let _ = parse(&text).map(|loaded| assess(&loaded.config, None));
    }
}

#[test]
fn two_cluster_keys_are_configured_and_one_is_active() {
    let cluster = |lines: &str| loaded(&format!("crypto ikev2 cluster\n{lines}")).config.cluster.unwrap();
    let accepted = |lines: &str| -> Vec<String> {
        cluster(lines).accepted_keys().into_iter().map(|key| key.0.clone()).collect()
    };
    assert_eq!(accepted(" key one\n"), ["one"], "the form without an index");
    assert_eq!(accepted(" key one\n key 2 two\n"), ["one", "two"], "accepted as well");
    assert_eq!(accepted(" key one\n key 2 active two\n"), ["two", "one"], "one at a time is active");
    assert_eq!(accepted(" key 1 one\n key 2 two active\n"), ["two", "one"]);
    assert_eq!(accepted(" key one\n key 2 active two\n no key 1\n"), ["two"]);
    assert_eq!(
        accepted(" key one\n key 2 active two\n key three\n"),
        ["three"],
        "the form without an index replaces both"
    );
    assert_eq!(accepted(" key 1 one\n key 2 two\n no key\n"), Vec::<String>::new());
    let text = render(&loaded("crypto ikev2 cluster\n key 1 one\n key 2 active two\n").config, Keys::Shown);
    assert!(text.contains(" key 1 one\n key 2 active two\n"), "{text}");
    let warnings = |lines: &str| {
        let config = loaded(&format!("crypto ikev2 cluster\n secondary max-session 9\n{lines}")).config;
        assess(&config, None).warnings.join("\n")
    };
    assert!(warnings(" key short\n").contains("fewer than 16 characters"));
    assert!(!warnings(" key a-long-random-string\n").contains("fewer than 16"));
}

#[test]
fn the_addresses_of_members_are_listed() {
    let members =
        |lines: &str| loaded(&format!("crypto ikev2 cluster\n{lines}")).config.cluster.unwrap().members.len();
    assert_eq!(members(" member 192.0.2.2\n member 2001:db8::2\n member 192.0.2.2\n"), 2);
    assert_eq!(members(" member 192.0.2.2\n member 192.0.2.3\n no member 192.0.2.2\n"), 1);
    assert_eq!(members(" member 192.0.2.2\n no member\n"), 0);
}

/// The lines of group 1 and the interface after `lines` under an interface, as `show running-config` has them.
fn rendered(lines: &[&str]) -> Vec<String> {
    let text = format!("interface Te0/0/0\n{}\n", lines.join("\n"));
    let config = loaded(&text).config;
    let wanted = |line: &&str| ["standby", "ipv6 nd"].iter().any(|word| line.trim().starts_with(word));
    let text = render(&config, Keys::Masked);
    text.lines().filter(wanted).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn delays_are_merged_line_by_line_and_taken_out_by_name() {
    for (lines, expected) in [
        (
            vec!["standby 1 preempt delay minimum 5", "standby 1 preempt"],
            vec!["standby 1 preempt delay minimum 5"],
        ),
        (
            vec![
                "standby 1 preempt",
                "standby 1 preempt delay minimum 5",
                "standby 1 preempt delay reload 60 sync 9",
            ],
            vec!["standby 1 preempt delay minimum 5 reload 60 sync 9"],
        ),
        (
            vec!["standby 1 preempt delay minimum 5 reload 60", "standby 1 preempt delay minimum 7"],
            vec!["standby 1 preempt delay minimum 7 reload 60"],
        ),
        (
            vec!["standby 1 preempt delay minimum 5 reload 60", "no standby 1 preempt delay minimum"],
            vec!["standby 1 preempt delay reload 60"],
        ),
        (
            vec!["standby 1 preempt delay minimum 5 reload 60", "no standby 1 preempt delay reload 60"],
            vec!["standby 1 preempt delay minimum 5"],
        ),
        (
            vec!["standby 1 preempt delay minimum 5 reload 60", "no standby 1 preempt delay"],
            vec!["standby 1 preempt"],
        ),
        (vec!["standby 1 ip 10.0.0.9", "no standby 1 preempt delay"], vec!["standby 1 ip 10.0.0.9"]),
        (
            vec!["standby 1 ip 10.0.0.9", "standby 1 preempt delay sync 5", "no standby 1 preempt"],
            vec!["standby 1 ip 10.0.0.9"],
        ),
        (vec!["standby delay minimum 5", "standby delay reload 9"], vec!["standby delay minimum 5 reload 9"]),
        (
            vec!["standby delay minimum 5 reload 9", "no standby delay minimum"],
            vec!["standby delay reload 9"],
        ),
        (
            vec!["standby delay minimum 5 reload 9", "no standby delay reload 9"],
            vec!["standby delay minimum 5"],
        ),
        (vec!["standby delay minimum 5 reload 9", "no standby delay"], vec![]),
    ] {
        let mut got = rendered(&lines);
        // The line that keeps a group without any other.
        got.retain(|line| line != "standby 1 priority 100");
        assert_eq!(got, expected, "{lines:?}");
    }
}

#[test]
fn router_advertisements_are_asked_for() {
    assert_eq!(rendered(&["standby version 2"]), ["standby version 2"]);
    assert_eq!(rendered(&["ipv6 nd ra lifetime 1800"]), ["ipv6 nd ra lifetime 1800"]);
    assert!(rendered(&["ipv6 nd ra lifetime 1800", "no ipv6 nd ra lifetime"]).is_empty());
    assert!(rendered(&["ipv6 nd ra lifetime 0"]).is_empty(), "the default");
    assert_eq!(rendered(&["ipv6 nd ra suppress all"]), ["ipv6 nd ra suppress all"]);
    assert_eq!(rendered(&["ipv6 nd ra suppress all", "ipv6 nd ra suppress"]), ["ipv6 nd ra suppress"]);
    assert!(rendered(&["ipv6 nd ra suppress", "no ipv6 nd ra suppress"]).is_empty());
}

#[test]
fn an_explicit_link_local_address_is_the_one_of_the_group() {
    let text = "interface Te0/0/0\n ipv6 address 2001:db8::1/64\n standby version 2\n standby 1 ipv6 autoconfig\n \
                standby 1 ipv6 FE80::1\n standby 1 ipv6 2001:db8::100/64\n";
    let loaded = loaded(text);
    assert!(loaded.remarks.is_empty(), "{:?}", loaded.remarks);
    let plan = assess(&loaded.config, None);
    let addresses: Vec<String> = plan.groups[0].addresses.iter().map(|a| a.to_string()).collect();
    assert_eq!((addresses.join(" ").as_str(), plan.groups[0].down.len()), ("fe80::1 2001:db8::100", 0));
}
