//! `usher` as a person types it, through a pseudo-terminal, and as scripts use it; against an usherd in a network
//! namespace. Needs root, /dev/net/tun and iproute2.
#![forbid(unsafe_code)]

mod common;

use common::{Node, until};
use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{Eof, Expect as _, Session};
use std::process::Command;
use std::time::Duration;

const PROFILE: &str = "
name = \"test\"
[[port]]
interface = \"TenGigabitEthernet0/0/0\"
device = \"vdev:net_null0\"
exception = \"exc0\"
exception_kind = \"tap\"
[[port]]
interface = \"GigabitEthernet0/0/0\"
device = \"vdev:net_null1\"
exception = \"exc1\"
exception_kind = \"tap\"
";

const CONFIG: &str = "hostname R1\ncrypto ikev2 cluster\n static-gateway 10.1.0.1\n";

fn shell(node: &Node) -> OsSession {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
    command.arg("--run-dir").arg(node.path("run"));
    command.env("HOME", node.dir.path()).env("TERM", "xterm");
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(Duration::from_secs(20)));
    session
}

/// Waits for text and gives everything before it.
fn expect(session: &mut OsSession, text: &str) -> String {
    match session.expect(text) {
        Ok(found) => String::from_utf8_lossy(found.before()).into_owned(),
        Err(error) => panic!("never: {text}: {error}"),
    }
}

fn type_line(session: &mut OsSession, line: &str) {
    session.send_line(line).unwrap();
}

#[test]
fn a_person_configures_and_writes() {
    let node = Node::new(PROFILE, CONFIG);
    let _usherd = node.start(&[]);
    let mut session = shell(&node);
    expect(&mut session, "R1>");

    // Help without Enter, completion, abbreviation.
    session.send("show ?").unwrap();
    let help = expect(&mut session, "R1>");
    assert!(help.contains("standby") && help.contains("HSRP") && !help.contains("running-config"), "{help}");
    session.send("\u{15}sh ver\t").unwrap();
    expect(&mut session, "version ");
    type_line(&mut session, "| include uptime");
    expect(&mut session, "R1 uptime is 00:00:");
    expect(&mut session, "R1>");
    type_line(&mut session, "configure terminal");
    expect(&mut session, "% Invalid input detected at '^' marker.");
    expect(&mut session, "R1>");
    type_line(&mut session, "en");
    expect(&mut session, "R1#");

    // The caret stands under the word behind the prompt, and the words expected are named.
    type_line(&mut session, "show dataplane coutners");
    let error = expect(&mut session, "expected here: counters, ports, stages, workers");
    let caret = error.lines().find(|line| line.trim() == "^").unwrap_or_else(|| panic!("{error}"));
    assert_eq!(caret.find('^'), Some("R1#show dataplane ".len()), "{error}");
    expect(&mut session, "R1#");
    type_line(&mut session, "sh");
    expect(&mut session, "% Incomplete command.");
    expect(&mut session, "R1#");
    type_line(&mut session, "c");
    expect(&mut session, "% Ambiguous command:  \"c\"");
    expect(&mut session, "R1#");

    type_line(&mut session, "conf t");
    expect(&mut session, "End with CNTL/Z.");
    expect(&mut session, "R1(config)#");
    type_line(&mut session, "crypto ikev2 cluster");
    expect(&mut session, "R1(config-ikev2-cluster)#");
    session.send("secondary ?").unwrap();
    let help = expect(&mut session, "R1(config-ikev2-cluster)#");
    assert!(help.contains("max-session") && help.contains("leave 10-20 % of it"), "{help}");
    session.send("max-session 90\r").unwrap();
    expect(&mut session, "unauthenticated: add `key STRING`");
    expect(&mut session, "R1(config-ikev2-cluster)#");
    type_line(&mut session, "key swordfish");
    expect(&mut session, "R1(config-ikev2-cluster)#");
    type_line(&mut session, "holdtime 7");
    expect(&mut session, "7 is out of range: the hold time in milliseconds is 100 to 120000");
    expect(&mut session, "R1(config-ikev2-cluster)#");
    type_line(&mut session, "do show run | section cluster");
    let shown = expect(&mut session, "R1(config-ikev2-cluster)#");
    assert!(shown.contains("secondary max-session 90") && shown.contains("key ********"), "{shown}");
    type_line(&mut session, "hostname R2");
    expect(&mut session, "R2(config)#");
    session.send("\u{1a}").unwrap();
    expect(&mut session, "R2#");
    assert!(!std::fs::read_to_string(node.path("usher.conf")).unwrap().contains("swordfish"));
    type_line(&mut session, "wr");
    expect(&mut session, "[OK]");
    expect(&mut session, "R2#");
    let written = std::fs::read_to_string(node.path("usher.conf")).unwrap();
    assert!(written.contains("hostname R2") && written.contains(" key swordfish\n"), "{written}");
    type_line(&mut session, "show startup-config | include key");
    let shown = expect(&mut session, "R2#");
    assert!(shown.contains(" key ********") && !shown.contains("swordfish"), "{shown}");
    type_line(&mut session, "show history");
    let shown = expect(&mut session, "R2#");
    assert!(shown.contains("  wr") && !shown.contains("swordfish"), "{shown}");
    type_line(&mut session, "terminal length 3");
    expect(&mut session, "R2#");
    type_line(&mut session, "show running-config");
    expect(&mut session, "--More--");
    session.send("q").unwrap();
    expect(&mut session, "R2#");
    type_line(&mut session, "disable");
    expect(&mut session, "R2>");
    type_line(&mut session, "exit");
    session.expect(Eof).unwrap();
    assert!(matches!(session.get_process().wait(), Ok(WaitStatus::Exited(_, 0))));
    let history = std::fs::read_to_string(node.path(".usher_history")).unwrap();
    assert!(history.contains("show history") && !history.contains("swordfish"), "{history}");
}

#[test]
fn enable_asks_for_the_secret_when_there_is_one() {
    let hash =
        "$6$saltsalt$cPbDmdp7sUA1v8Yjfppi8VeFqwELnkKCqsv5H2wx/S4LZwLhIhlK7tCX/4JqgCT3onV3./FXCDD2Y6iXkj4Lp/";
    let node = Node::new(PROFILE, &format!("{CONFIG}enable secret {hash}\n"));
    let usherd = node.start(&[]);
    let mut session = shell(&node);
    expect(&mut session, "R1>");
    type_line(&mut session, "enable");
    expect(&mut session, "Password: ");
    session.send("wrong\r").unwrap();
    expect(&mut session, "% the password is wrong");
    expect(&mut session, "R1>");
    type_line(&mut session, "enable");
    expect(&mut session, "Password: ");
    session.send("swordfish\r").unwrap();
    let shown = expect(&mut session, "R1#");
    assert!(!shown.contains("swordfish"), "{shown}");
    // A restart of usherd is only a gap.
    drop(usherd);
    type_line(&mut session, "show version");
    expect(&mut session, "usherd is not running: `systemctl start usherd`");
    expect(&mut session, "R1#");
    let _usherd = node.start(&[]);
    type_line(&mut session, "show run | include secret");
    expect(&mut session, "enable secret ********");
    expect(&mut session, "R1#");
    session.send("\u{4}").unwrap();
    session.expect(Eof).unwrap();
}

#[test]
fn a_batch_is_one_change_and_stops_at_its_first_error() {
    let node = Node::new(PROFILE, CONFIG);
    let _usherd = node.start(&[]);
    let before = node.show("show running-config");
    let wrong = node.batch(
        "configure terminal\nhostname X\ninterface Te0/0/0\n ip address 10.0.0.300 255.255.255.0\nend\nwrite\n",
    );
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let message = String::from_utf8_lossy(&wrong.stderr);
    assert!(message.contains("stdin:4:13: error: \"10.0.0.300\""), "{message}");
    assert!(message.contains("nothing was changed"), "{message}");
    assert_eq!(node.show("show running-config"), before);
    assert_eq!(std::fs::read_to_string(node.path("usher.conf")).unwrap(), CONFIG, "the batch has stopped");
    assert_eq!(node.batch("show nonsense\n").status.code(), Some(2));
    let unbound = node.batch("conf t\ninterface Te0/0/7\n");
    assert!(
        String::from_utf8_lossy(&unbound.stderr).contains("no port of the platform profile"),
        "{unbound:?}"
    );

    // The seed's example, prompts and all.
    let seed = "Device> enable\nDevice# configure terminal\nDevice(config)# crypto ikev2 cluster\n\
                Device(config-ikev2-cluster)# holdtime 10000\nDevice(config-ikev2-cluster)# master crypto-load 10\n\
                Device(config-ikev2-cluster)# exit\nDevice(config)# hostname RouterA\nDevice(config)# end\n\
                Device# show running-config | include hostname\nDevice# write memory\n";
    let pasted = node.batch(seed);
    assert!(pasted.status.success(), "{pasted:?}");
    assert_eq!(
        String::from_utf8_lossy(&pasted.stdout),
        "hostname RouterA\nBuilding configuration...\n[OK]\n"
    );
    assert!(String::from_utf8_lossy(&pasted.stderr).contains("master weight crypto-load 10"), "{pasted:?}");
    until("the log", || {
        node.log().contains("user root (uid 0) logged command:Device(config)# hostname RouterA")
    });
    let long = node.batch(&format!("conf t\n{}", "hostname x\n".repeat(2001)));
    assert!(long.status.success(), "{long:?}");
}

#[test]
fn a_line_that_changes_nothing_of_the_cluster_logs_nothing_of_it() {
    let node = Node::new(PROFILE, &(CONFIG.to_owned() + " no shutdown\n"));
    let _usherd = node.start(&[]);
    let about = |node: &Node| {
        let log = node.log();
        ["%CLB-5-UP", "%CLB-4-DOWN", "%CONFIG-4-CHECK"].map(|what| log.matches(what).count())
    };
    let before = about(&node);
    assert!(before.iter().sum::<usize>() >= 1, "{}", node.log());
    for name in ["R2", "R3"] {
        assert!(node.batch(&format!("configure terminal\nhostname {name}\nend\n")).status.success());
    }
    until("the lines in the log", || node.log().contains("logged command:hostname R3"));
    assert_eq!(about(&node), before, "{}", node.log());
    assert!(node.batch("configure terminal\ncrypto ikev2 cluster\nshutdown\nend\n").status.success());
    until("the cluster is down", || about(&node)[1] == before[1] + 1);
}

#[test]
fn orders_reach_usherd_whatever_the_configuration_says() {
    let node = Node::new(PROFILE, "crypto ikev2 cluster\n no shutdown\n");
    let _usherd = node.start(&[]);
    assert!(node.batch("conf t\ncrypto ikev2 cluster\nno shutdown\n").status.success());
    until("the order", || node.log().contains("%CLB-5-ORDER: `no shutdown` was entered"));
}

#[test]
fn a_file_takes_the_place_of_the_running_configuration_after_its_difference_was_shown() {
    let node = Node::new(PROFILE, CONFIG);
    let _usherd = node.start(&[]);
    let new = node.path("new.conf");
    std::fs::write(&new, format!("{CONFIG} holdtime 900\n key swordfish\n")).unwrap();
    let check = node.usher(&format!("check {}", new.display()));
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && text.contains("+ holdtime 900\n+ key ********\n"), "{text}");
    let asked = node.usher(&format!("configure replace {}", new.display()));
    assert_eq!(asked.status.code(), Some(1));
    assert!(!node.show("show running-config").contains("holdtime"), "nobody could be asked back");
    let replaced = node.usher(&format!("configure replace {} force", new.display()));
    assert!(replaced.status.success(), "{replaced:?}");
    assert!(String::from_utf8_lossy(&replaced.stdout).contains("+ holdtime 900"));
    let running = node.show("show running-config");
    assert!(running.contains(" holdtime 900\n key ********\n"), "{running}");
    std::fs::write(&new, "hostname R1\ninterface Te0/0/0\n ip adress 1\n").unwrap();
    let wrong = node.usher(&format!("configure replace {} force", new.display()));
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("new.conf:3:5: error:"), "{wrong:?}");
    assert_eq!(node.show("show running-config"), running);
    let masked = node.usher("show running-config");
    std::fs::write(&new, masked.stdout).unwrap();
    let wrong = node.usher(&format!("check {}", new.display()));
    assert!(String::from_utf8_lossy(&wrong.stdout).contains("as `show` masks it"), "{wrong:?}");

    // The shell asks back.
    std::fs::write(&new, "hostname R9\n").unwrap();
    let mut session = shell(&node);
    expect(&mut session, "R1>");
    type_line(&mut session, "enable");
    expect(&mut session, "R1#");
    type_line(&mut session, &format!("configure replace {}", new.display()));
    expect(&mut session, "[no]: ");
    session.send("yes\r").unwrap();
    expect(&mut session, "R9#");
}

#[test]
fn top_draws_survives_a_restart_and_ends_on_q() {
    let node = Node::new(PROFILE, CONFIG);
    let usherd = node.start(&[]);
    let mut session = shell(&node);
    session.get_process_mut().set_window_size(80, 24).unwrap();
    expect(&mut session, "R1>");
    type_line(&mut session, "top");
    // The foot is drawn after the gateways: in the same frame, or long before where the first answer took its time.
    let before = expect(&mut session, "10.1.0.1");
    if !before.contains("quits") {
        expect(&mut session, "quits");
    }
    drop(usherd);
    // Blank cells are not drawn again: a word at a time.
    expect(&mut session, "systemctl");
    let _usherd = node.start(&[]);
    std::thread::sleep(Duration::from_millis(1500));
    session.send("q").unwrap();
    expect(&mut session, "R1>");
}

#[test]
fn what_scripts_ask_is_answered() {
    let node = Node::new(PROFILE, CONFIG);
    let _usherd = node.start(&[]);
    let version: serde_json::Value = serde_json::from_str(&node.show("show version --json")).unwrap();
    assert_eq!(version["hostname"], "R1");
    let support = node.show("show tech-support");
    for part in
        ["------------------ show version ------------------", "hostname R1", "No data plane is attached"]
    {
        assert!(support.contains(part), "{part}\n{support}");
    }
    assert!(node.show("clear counters").contains("from 0"));
    assert!(node.show("debug crypto ikev2 cluster").contains("on"));
    assert!(node.show("show redirect for 198.51.100.7 0x1122334455667788").contains("No virtual address"));
    let drained = node.usher("cluster drain 10.1.0.1");
    assert_eq!(drained.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&drained.stderr).contains("no cluster runs here"), "{drained:?}");
    assert_eq!(node.show("complete -- show cr"), "crypto\n");
    assert!(node.show("manual").starts_with(".TH USHER 8"));
    assert!(node.show("completion bash").contains("complete -o default -F _usher usher"));
}
