//! No key leaves usherd or usher but into the configuration file: the log, every view, errors, differences and the
//! history of a shell, with lines that are right, abbreviated and broken. Needs root, /dev/net/tun and iproute2.
#![forbid(unsafe_code)]

mod common;

use common::{Node, PROFILE, until};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

const SECRET: &str = "Sword-Fish7";

/// Each command that takes a secret; `%` is the secret.
const CONFIG: &str = "
hostname R1
enable secret $5$saltsalt$daAhTF6GHYZ.SNpCbCUBgMUeouPxKWlT5eTP3TzH249
crypto ikev2 reconnect key 1 active %1
crypto ikev2 reconnect key 2 %2
crypto ikev2 keyring K
 peer P
  address 192.0.2.7
  pre-shared-key local %3
  pre-shared-key remote %4
key chain C
 key 1
  key-string %5
crypto ikev2 cluster
 key %6
interface Te0/0/0
 ip address 10.0.0.1 255.255.255.0
 standby version 2
 standby 1 ip 10.0.0.9
 standby 1 authentication md5 key-string %7
 standby 2 ip 10.0.0.8
 standby 2 authentication md5 key-chain C
";

/// Lines with a secret that are not understood, each alone in a file.
const BROKEN: [&str; 8] = [
    "interface Te0/0/0\n standby 1 auth md5 key-s % timeout 99999",
    "crypto ikev2 cluster\n ky %",
    "crypto ikev2 cluster\n key\n %",
    "key chain C\n key 1\n  key-string 7 % x",
    "interface Te0/0/0\n key %",
    "crypto ikev2 reconnect key 7 %",
    "enable sekret %",
    "crypto ikev2 keyring K\n peer P\n  pre-shared-key loc % %",
];

fn with_secret(text: &str) -> String {
    text.replace('%', SECRET)
}

fn assert_hidden(what: &str, text: &str) {
    assert!(!text.contains(SECRET) && !text.contains("daAhTF6GHYZ"), "{what}:\n{text}");
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn no_key_is_in_the_log_a_view_an_error_or_a_difference() {
    let node = Node::new(PROFILE, &with_secret(CONFIG));
    let file = node.path("usher.conf");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let usherd = node.start(&[]);
    assert!(node.log().contains("crypto ikev2 reconnect key 1 active ********: kept, without effect yet"));
    assert!(node.log().contains("%CONFIG-4-EXPOSED") && node.log().contains("mode 0644: all users may read"));

    // Every view, as text and as JSON.
    for view in ["show running-config", "show startup-config", "show tech-support", "show standby all"] {
        for words in [view.to_owned(), format!("{view} --json")] {
            assert_hidden(&words, &node.show(&words));
        }
    }
    let startup = node.show("show startup-config");
    assert_eq!(startup.matches("********").count(), 8, "{startup}");
    assert!(startup.contains("\n key 1\n"), "the number of a key is no secret:\n{startup}");

    // What is typed goes to the log, and comes back in a difference.
    let typed = format!(
        "configure terminal\ncrypto ikev2 cluster\n key {SECRET}8\nkey chain C\n key 2\n  key-string {SECRET}9\n\
         crypto ikev2 reconnect key 2 active {SECRET}\nend\n"
    );
    let done = node.batch(&typed);
    assert!(done.status.success(), "{done:?}");
    assert_hidden("a batch", &both(&done));
    until("the lines are logged", || {
        node.log().contains("logged command:crypto ikev2 reconnect key 2 active")
    });
    assert!(
        node.log().contains("logged command:key 2\n") && node.log().contains("logged command:key ********")
    );
    let check = both(&node.usher(&format!("check {}", file.display())));
    assert!(check.contains("- key ********\n+ key ********\n"), "{check}");
    assert!(check.contains("warning: mode 0644: all users may read the keys in it"), "{check}");
    assert_hidden("check", &check);
    assert_hidden("check --json", &both(&node.usher(&format!("--json check {}", file.display()))));
    let replaced = node.usher(&format!("configure replace {} force", file.display()));
    assert!(replaced.status.success(), "{replaced:?}");
    assert_hidden("replace", &both(&replaced));

    // Lines that are not understood: of the file, of a batch, and of a single command.
    for broken in BROKEN.map(with_secret) {
        node.configure(&format!("nonsense\n{broken}\n"));
        let refusals = node.log().matches("%CONFIG-3-REFUSED").count();
        usherd.signal(Signal::HUP);
        until("the refusal", || node.log().matches("%CONFIG-3-REFUSED").count() > refusals);
        assert_hidden("startup-config", &node.show("show startup-config"));
        assert_hidden("startup-config --json", &node.show("show startup-config --json"));
        assert_hidden("check", &both(&node.usher(&format!("check {}", file.display()))));
        let wrong = node.usher(&format!("configure replace {} force", file.display()));
        assert_eq!(wrong.status.code(), Some(1));
        assert_hidden("replace", &both(&wrong));
        let wrong = node.batch(&format!("configure terminal\n{broken}\nend\n"));
        assert!(!wrong.status.success(), "{broken}: {wrong:?}");
        assert_hidden("a batch", &both(&wrong));
        // A word alone on the command line says nothing of itself.
        for line in broken.lines().filter(|line| line.trim() != SECRET) {
            assert_hidden("a command", &both(&node.usher(line.trim())));
        }
    }
    assert_hidden("the log", &node.log());

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    node.configure(&with_secret(CONFIG));
    assert!(!both(&node.usher(&format!("check {}", file.display()))).contains("may read the keys"));
}
