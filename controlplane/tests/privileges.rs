//! Who may ask and who may change, by user and group at the real socket. Needs root, iproute2 and util-linux.
#![forbid(unsafe_code)]

mod common;

use common::{FakeDataplane, Node, PROFILE, Usherd, until};
use platform::snapshot::VipState;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Output, Stdio};

const CONFIG: &str = "
interface Te0/0/0
 ip address 10.0.0.1 255.255.255.0
 standby version 2
 standby delay minimum 0 reload 0
 standby 1 timers msec 50 msec 150
 standby 1 ip 10.0.0.100
";

/// The groups as usherd sees them; `daemon`, user 1, is an administrator by the list, `nobody` by nothing.
const GROUPS: &str =
    "root:x:0:\ndaemon:x:1:\nusher:x:64001:nobody,daemon\nusher-admin:x:64002:daemon\nnogroup:x:65534:\n";
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/sh\n\
    usher-load:x:64003:64004::/:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/bin/sh\n";

/// usherd with groups of its own: this machine's stay as they are.
fn start(node: &Node) -> Usherd {
    for (name, text) in [("group", GROUPS), ("passwd", USERS)] {
        std::fs::write(node.path(name), text).unwrap();
    }
    let inner = node.command(&[]);
    let mut command = Command::new("unshare");
    command.args([
        "-m",
        "bash",
        "-c",
        "mount --bind $0 /etc/group && mount --bind $1 /etc/passwd && exec \"${@:2}\"",
    ]);
    command.args([node.path("group"), node.path("passwd")]).arg(inner.get_program()).args(inner.get_args());
    let log = std::fs::File::create(node.path("log")).unwrap();
    let usherd = Usherd { child: command.stderr(log).stdin(Stdio::null()).spawn().unwrap() };
    let socket = node.path("run/usherd.sock");
    until("usherd answers", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    usherd
}

/// `usher WORDS` as somebody else.
fn usher_as(node: &Node, user: u32, group: u32, more: &str, words: &str) -> Output {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}"), more.to_owned()]);
    command
        .arg(node.path("usher"))
        .arg("--run-dir")
        .arg(node.path("run"))
        .args(words.split(' '))
        .output()
        .unwrap()
}

#[test]
fn only_administrators_hand_a_group_over_or_switch_debugging() {
    let node = Node::new(PROFILE, CONFIG);
    // Where an ordinary user may come to, and a program that he may run.
    std::fs::set_permissions(node.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_usher"), node.path("usher")).unwrap();
    let dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    let _usherd = start(&node);
    until("active", || dataplane.states() == [VipState::Active]);
    let socket = std::fs::metadata(node.path("run/usherd.sock")).unwrap();
    assert_eq!((socket.gid(), socket.mode() & 0o777), (64001, 0o660));

    // Not of the group: not even a question.
    let stranger = usher_as(&node, 65534, 65534, "--clear-groups", "show standby brief");
    assert!(!stranger.status.success(), "{stranger:?}");
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("ermission"), "{stranger:?}");

    // A reader asks and changes nothing.
    let reader = |words| usher_as(&node, 65534, 65534, "--groups=64001", words);
    let shown = reader("show standby brief");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("Active"), "{shown:?}");
    for words in ["standby 1 failover", "debug standby packets", "no debug standby"] {
        let refused = reader(words);
        assert!(!refused.status.success(), "{words}: {refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("usermod -aG usher-admin"), "{words}: {said}");
    }

    // Administrators are asked for reasons of their own: the command itself answers.
    let by_list = usher_as(&node, 1, 1, "--groups=64001", "standby 1 failover");
    let by_group = usher_as(&node, 65534, 64002, "--groups=64001", "standby 1 failover");
    for admin in [by_list, by_group] {
        assert!(String::from_utf8_lossy(&admin.stderr).contains("no standby router is known"), "{admin:?}");
    }
    let debug = usher_as(&node, 1, 1, "--groups=64001", "debug standby packets");
    assert!(String::from_utf8_lossy(&debug.stdout).contains("packets on"), "{debug:?}");
    until("messages are told", || node.log().contains("HSRP: TenGigabitEthernet0/0/0 Grp 1 Hello"));
    // And off again, while it runs.
    usher_as(&node, 1, 1, "--groups=64001", "no debug standby packets");
    let told = node.log().matches(" Hello Active").count();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(node.log().matches(" Hello Active").count(), told);
}

/// An administrator writes a program where he may and has usherd run it.
#[test]
fn a_program_of_an_administrator_s_is_refused_and_one_of_root_s_runs_as_usher_load() {
    let node = Node::new(PROFILE, CONFIG);
    std::fs::set_permissions(node.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = |path: &std::path::Path, text: &str| {
        std::fs::write(path, format!("#!/bin/sh\n{text}\necho half_open=0 ike=7 child=8\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let cluster = |program: &std::path::Path| {
        format!(
            "{CONFIG} standby 1 name vpn\n!\ncrypto ikev2 cluster\n standby-group vpn\n secondary max-session 100\n \
             secondary hello 100\n secondary update 100\n load-source script {}\n no shutdown\n",
            program.display()
        )
    };
    let of_admin = node.path("load");
    script(&of_admin, &format!("id -u >{}", node.path("ran").display()));
    node.configure(&cluster(&of_admin));

    let checked = Command::new(env!("CARGO_BIN_EXE_usher"))
        .args(["check".as_ref(), node.path("usher.conf").as_os_str()])
        .output()
        .unwrap();
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains("warning: `load-source`: the program will not run here"), "{checked}");

    let _dataplane = FakeDataplane::start(&node.path("run/dataplane.sock"));
    let usherd = start(&node);
    until("the reason is logged", || {
        // /tmp is the first part of the path that others may write.
        node.log().contains("%CLB-4-UNHEALTHY") && node.log().contains("can be written by others than root")
    });
    let shown = node.show("show crypto ikev2 cluster");
    assert!(shown.contains("not run: ") && shown.contains("by others than root"), "{shown}");

    let programs = tempfile::tempdir_in("/run").unwrap();
    std::fs::set_permissions(programs.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let out = node.path("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o777)).unwrap();
    let of_root = programs.path().join("load");
    script(&of_root, &format!("{{ id -u; id -g; id -G; }} >{0}/new; mv {0}/new {0}/ids", out.display()));
    node.configure(&cluster(&of_root));
    usherd.signal(rustix::process::Signal::HUP);
    until("the source answers", || node.show("show crypto ikev2 cluster").contains(" 7"));
    let ids = std::fs::read_to_string(out.join("ids")).unwrap();
    assert_eq!(ids.split_whitespace().collect::<Vec<_>>(), ["64003", "64004", "64004"]);
    assert!(!node.path("ran").exists());
}
