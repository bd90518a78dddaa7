//! Errors as the operator reads them.

use super::error;
use crate::config::*;

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
fn a_file_that_cannot_be_read_names_itself_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let missing = load(&dir.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none: cannot be read") && missing.contains("--config"), "{missing}");
    assert!(load(dir.path()).unwrap_err().to_string().contains("not a regular file"));
    let path = dir.path().join("latin1");
    std::fs::write(&path, b"!\nhostname b\xe9\n").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("line 2 is not UTF-8"));
}
