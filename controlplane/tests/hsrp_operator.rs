//! What an operator sees of HSRP and does with it: `show standby` names what is wrong, delays hold when they are to. Needs root
//! and iproute2.
#![forbid(unsafe_code)]

mod common;

use common::lan::{Lan, config};
use std::time::{Duration, Instant};

fn shown(lan: &Lan, index: usize, text: &str) -> bool {
    let show = |words: &str| lan.members[index].node.show(words).contains(text);
    show("show standby") && show("show standby brief")
}

#[test]
fn another_version_on_the_link_is_named() {
    let mut lan = Lan::new([config(1, ""), config(2, "").replace("version 2", "version 1")]);
    lan.start(0);
    lan.start(1);
    lan.wait("the other version", |lan| {
        shown(lan, 0, "10.0.0.2 speaks version 1") && shown(lan, 1, "10.0.0.1 speaks version 2")
    });
}

#[test]
fn failover_says_how_long_it_holds_preemption_back() {
    let preempting =
        |priority: u8| config(1, &format!(" standby 1 priority {priority}\n standby 1 preempt\n"));
    let mut lan = Lan::new([preempting(110), config(2, "")]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[1].is("Standby"));
    let said = lan.members[0].node.show("standby 1 failover");
    assert!(said.contains(
        "preemption is held back until this router is active again, or its priority or `preempt` is changed"
    ));
    lan.wait("the hand-over", |lan| lan.members[1].answers() && lan.members[0].is("Standby"));
    assert!(lan.members[0].node.show("show standby").contains("Held back after failover"));
    lan.members[0].configure(&preempting(120));
    lan.wait("preempted", |lan| lan.members[0].answers());
    assert!(!lan.members[0].node.show("show standby").contains("Held back"));
}

#[test]
fn a_link_that_is_down_and_a_data_plane_that_is_not_there_are_told_apart() {
    let mut lan = Lan::new([config(1, ""), config(2, "")]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.members[0].dataplane.as_ref().unwrap().link(0, false);
    lan.wait("link down", |lan| shown(lan, 0, "link of TenGigabitEthernet0/0/0 is down"));
    assert!(lan.members[0].is("Init"));
    lan.members[0].dataplane.as_ref().unwrap().link(0, true);
    lan.wait("active again", |lan| lan.members[0].answers());
    lan.members[0].dataplane = None;
    lan.wait("no data plane", |lan| shown(lan, 0, "data plane not running"));
}

#[test]
fn standby_delay_minimum_holds_after_a_link_flap() {
    let mut lan =
        Lan::new([config(1, "").replace("minimum 0 reload 0", "minimum 3 reload 0"), config(2, "")]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.members[0].dataplane.as_ref().unwrap().link(0, false);
    lan.wait("Init", |lan| lan.members[0].is("Init"));
    let up = Instant::now();
    lan.members[0].dataplane.as_ref().unwrap().link(0, true);
    lan.wait("out of Init", |lan| !lan.members[0].is("Init"));
    let took = up.elapsed();
    assert!(took >= Duration::from_millis(2900), "{took:?}");
}

#[test]
fn preempt_delay_sync_waits_for_a_feed_that_has_not_come() {
    let waits = config(2, " standby 1 name vpn\n standby 1 priority 110\n standby 1 preempt delay sync 3\n")
        + "crypto ikev2 redirect gateway init\ncrypto ikev2 cluster\n standby-group vpn\n secondary max-session 100\n no shutdown\n";
    // No load feed answers on the active node.
    let mut lan = Lan::new([config(1, ""), waits]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    let start = Instant::now();
    lan.start(1);
    lan.wait("preempted", |lan| lan.members[1].answers());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(2900), "{took:?}");
    lan.nobody_answered_together();
}

/// Two routers that were given one address.
#[test]
fn a_router_with_this_router_s_address_is_named() {
    let mut lan = Lan::new([config(1, ""), config(2, "").replace("10.0.0.2 ", "10.0.0.1 ")]);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    let text = "duplicate address 10.0.0.1: another router uses it; change one of the two";
    lan.wait("the duplicate", |lan| {
        lan.members.iter().any(|member| member.node.show("show standby").contains(text))
    });
    lan.wait("a line of it", |lan| lan.members.iter().any(|member| member.node.log().contains(text)));
}

/// `standby 6 ipv6 FE80::100`: the explicit link-local address is elected on, by both routers.
#[test]
fn an_explicit_link_local_address_is_the_group_s_on_both_routers() {
    let explicit = |node: u8| {
        config(node, "")
            + &format!(
                " ipv6 address 2001:db8::{node}/64
 standby 6 ipv6 FE80::100
 standby 6 ipv6 2001:db8::100/64
 standby 6 priority {}
 standby 6 timers msec 50 msec 150
",
                120 - 10 * node
            )
    };
    let mut lan = Lan::new([explicit(1), explicit(2)]);
    let state = |lan: &Lan, index: usize| {
        let output = lan.members[index].node.usher("--json show standby");
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let group = all.as_array().and_then(|all| all.iter().find(|group| group["group"] == 6).cloned());
        group.map(|group| group["state"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    lan.start(0);
    lan.wait("active", |lan| state(lan, 0) == "Active");
    lan.start(1);
    lan.wait("standby", |lan| state(lan, 1) == "Standby");
    for index in [0, 1] {
        let shown = lan.members[index].node.show("show standby").to_lowercase();
        assert!(shown.contains("fe80::100"), "{shown}");
        assert!(!shown.contains("fe80::5:73ff:fea0:6"), "{shown}");
        let log = lan.members[index].node.log();
        assert!(!log.contains("has virtual address"), "{log}");
    }
    let on = |lan: &Lan, index: usize| lan.members[index].node.ip("-6 addr show").contains("fe80::100");
    assert!(on(&lan, 0) && !on(&lan, 1));
    lan.members[0].kill();
    lan.wait("the next", |lan| state(lan, 1) == "Active" && on(lan, 1));
}
