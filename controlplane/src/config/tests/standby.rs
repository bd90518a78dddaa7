//! HSRP groups and their key chains.

use super::super::health::assess;
use super::{error, loaded, rendered};
use crate::config::*;

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
fn an_explicit_link_local_address_is_the_one_of_the_group() {
    let text = "interface Te0/0/0\n ipv6 address 2001:db8::1/64\n standby version 2\n standby 1 ipv6 autoconfig\n \
                standby 1 ipv6 FE80::1\n standby 1 ipv6 2001:db8::100/64\n";
    let loaded = loaded(text);
    assert!(loaded.remarks.is_empty(), "{:?}", loaded.remarks);
    let plan = assess(&loaded.config, None);
    let addresses: Vec<String> = plan.groups[0].addresses.iter().map(|a| a.to_string()).collect();
    assert_eq!((addresses.join(" ").as_str(), plan.groups[0].down.len()), ("fe80::1 2001:db8::100", 0));
}
