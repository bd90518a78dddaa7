//! Keys change while two nodes elect: nobody loses the other, and old keys end when they are to. Needs root and iproute2.
#![forbid(unsafe_code)]

mod common;

use common::lan::{Lan, config};
use common::{run, until};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn changes(lan: &Lan) -> Vec<usize> {
    lan.members.iter().map(|member| member.node.log().matches("STATECHANGE").count()).collect()
}

/// Both up, the first one active; their changes of state until here.
fn elected(configs: [String; 2]) -> (Lan, Vec<usize>) {
    let mut lan = Lan::new(configs);
    lan.start(0);
    lan.wait("active", |lan| lan.members[0].answers());
    lan.start(1);
    lan.wait("standby", |lan| lan.members[1].is("Standby"));
    let before = changes(&lan);
    (lan, before)
}

fn refuses(lan: &Lan, index: usize) -> bool {
    lan.members[index].node.show("show standby all").contains("auth-digest")
}

#[test]
fn a_key_string_is_changed_on_the_standby_first_and_the_old_one_ends_with_its_timeout() {
    let key =
        |node: u8, key: &str| config(node, &format!(" standby 1 authentication md5 key-string {key}\n"));
    let (lan, before) = elected([key(1, "alpha"), key(2, "alpha")]);
    lan.members[1].configure(&key(2, "beta timeout 60"));
    until("the active one hears another key", || refuses(&lan, 0));
    std::thread::sleep(Duration::from_millis(600));
    assert!(!refuses(&lan, 1), "the standby still believes the old key");
    lan.members[0].configure(&key(1, "beta timeout 60"));
    until("the new key on both", || {
        lan.members[0].node.show("show standby").contains("Standby router is 10.0.0.2")
    });
    assert!(!refuses(&lan, 1));
    assert_eq!(changes(&lan), before, "four hold times with two keys, and no change of state");

    // The third key is changed on one side only.
    let start = Instant::now();
    lan.members[1].configure(&key(2, "gamma timeout 1"));
    lan.wait("the second key has ended", |lan| refuses(lan, 1));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(950), "{took:?}");
}

#[test]
fn without_a_timeout_a_new_key_counts_at_once_and_show_standby_says_what_is_heard() {
    let key =
        |node: u8, key: &str| config(node, &format!(" standby 1 authentication md5 key-string {key}\n"));
    let (lan, _) = elected([key(1, "alpha"), key(2, "alpha")]);
    let show = |index: usize| lan.members[index].node.show("show standby");
    assert!(show(0).contains("  Authentication MD5, key-string\n"), "{}", show(0));
    lan.members[1].configure(&key(2, "wrong"));
    // Three hold times later the two do not hear each other.
    lan.wait("two active ones", |lan| lan.members[0].answers() && lan.members[1].answers());
    assert!(lan.members[1].node.log().contains("routers with the one before are not heard any more"));
    for (index, other) in [(0, "10.0.0.2"), (1, "10.0.0.1")] {
        lan.wait("plain show standby names the other", |lan| {
            let text = lan.members[index].node.show("show standby");
            text.contains(&format!("the last from {other}, which says that it is active,"))
                && text.contains("wrong MD5 digest")
        });
        assert!(lan.members[index].node.show("show standby brief").contains("wrong MD5 digest"));
    }
    // A timeout counts down.
    lan.members[0].configure(&key(1, "beta timeout 30"));
    lan.wait("the count", |lan| {
        let text = lan.members[0].node.show("show standby");
        text.contains("  Authentication MD5, key-string, timeout 30 secs\n    Old key accepted for another 2")
    });
    assert!(lan.members[0].node.log().contains("the key before is accepted for another 30 s"));
    let json = String::from_utf8(lan.members[0].node.usher("--json show standby").stdout).unwrap();
    assert!(
        json.contains("\"authentication_timeout_s\": 30") && json.contains("\"old_key_ms\": 2"),
        "{json}"
    );
}

#[test]
fn a_key_chain_rolls_over_by_the_clock_without_a_change_of_state() {
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = |after: u64| {
        let mut date = Command::new("date");
        date.env("LC_ALL", "C").args(["-u", "-d", &format!("@{}", start + after), "+%H:%M:%S %b %-d %Y"]);
        run(&mut date).trim().to_owned()
    };
    let chain = format!(
        "key chain vpn\n key 1\n  key-string alpha\n  send-lifetime {} {}\n  accept-lifetime {} {}\n exit\n \
         key 2\n  key-string beta\n  send-lifetime {} infinite\n  accept-lifetime {} infinite\n",
        at(0),
        at(5),
        at(0),
        at(7),
        at(5),
        at(3)
    );
    let node = |node: u8| chain.clone() + &config(node, " standby 1 authentication md5 key-chain vpn\n");
    let (lan, before) = elected([node(1), node(2)]);
    assert!(lan.members[0].node.show("show standby").contains("Authentication MD5, key-chain"));
    assert!(!lan.members[0].node.log().contains("key 2"), "{}", lan.members[0].node.log());
    lan.wait("the second key on both", |lan| {
        lan.members.iter().all(|member| member.node.log().contains("Grp 1: key 2 of its chain is sent now"))
    });
    // Until the first one is not accepted any more, and a while longer.
    while SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() < start + 8 {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!refuses(&lan, 0) && !refuses(&lan, 1));
    assert_eq!(changes(&lan), before, "{}", lan.members[0].node.log());
    assert!(lan.members[0].answers() && lan.members[1].is("Standby"));

    // A chain that is taken away stops the group, which says why; its resign is still believed.
    lan.members[0].configure(&config(1, " standby 1 authentication md5 key-chain vpn\n"));
    lan.wait("the other node", |lan| lan.members[1].answers());
    assert!(lan.members[0].node.show("show standby").contains("key chain vpn has no key"));
    lan.members[0].configure(&node(1));
    lan.wait("back", |lan| lan.members[0].is("Standby"));
    assert!(!refuses(&lan, 1), "not one message with another authentication");
    lan.nobody_answered_together();
}
