//! `crypto ikev2` outside the cluster.

use super::{error, loaded, warnings};
use crate::config::*;

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
fn the_later_active_reconnect_key_takes_over_with_a_warning() {
    let loaded = loaded("crypto ikev2 reconnect key 1 active one\ncrypto ikev2 reconnect key 2 two active\n");
    let keys = &loaded.config.reconnect_keys;
    assert!(!keys[&1].active && keys[&2].active);
    assert_eq!(keys[&2].key.0, "two");
    assert!(warnings(&loaded)[0].1.contains("key 2 is the active one now"));
}
