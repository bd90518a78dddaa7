//! Abbreviations, `no` forms and the manual.

use super::{error, loaded};
use crate::config::*;

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
