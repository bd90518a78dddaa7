//! The cluster.

use super::super::health::assess;
use super::{error, loaded};
use crate::config::*;
use std::collections::BTreeMap;

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
