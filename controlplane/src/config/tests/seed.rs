//! The examples of the published manual.

use super::super::health::assess;
use super::{loaded, warnings};
use crate::config::*;

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
