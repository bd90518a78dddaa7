//! Who may ask and who may change, by user and group at the real socket. Needs root, iproute2 and util-linux.
#![forbid(unsafe_code)]

mod common;

use common::{FakeDataplane, GROUP, Node, PROFILE, Usherd, until};
use platform::snapshot::VipState;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};

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

/// A node whose directory and programs ordinary users may use.
fn node_for_all(config: &str) -> Node {
    let node = Node::new(PROFILE, config);
    std::fs::set_permissions(node.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_usher"), node.path("usher")).unwrap();
    node
}

/// Starts this program again as somebody else, who holds connections; see [`helper_holds_connections`].
fn hold_connections(node: &Node, user: u32, count: usize) -> Child {
    let own = node.path("helper");
    if !own.exists() {
        std::fs::copy(std::env::current_exe().unwrap(), &own).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}"), "--groups=64001".to_owned()]);
    command.arg(own).args(["--exact", "helper_holds_connections", "--nocapture"]);
    command.env("HOLD_SOCKET", node.path("run/usherd.sock")).env("HOLD_COUNT", count.to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("connected")), "the connections are there");
    child
}

/// Not a test of its own: connects, and holds the connections until its input ends.
#[test]
fn helper_holds_connections() {
    let Ok(socket) = std::env::var("HOLD_SOCKET") else { return };
    let count: usize = std::env::var("HOLD_COUNT").unwrap().parse().unwrap();
    let all: Vec<_> = (0..count).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    println!("\nconnected {}", all.len());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    // Nobody reads what a test would print at its end.
    std::process::exit(0);
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn readers_cannot_lock_administrators_out() {
    let hash = "$5$saltsalt$daAhTF6GHYZ.SNpCbCUBgMUeouPxKWlT5eTP3TzH249";
    let node = node_for_all(&format!("{GROUP}enable secret {hash}\n"));
    let _usherd = start(&node);
    let mut idle = hold_connections(&node, 65534, 100);
    for _ in 0..10 {
        // Root and an administrator get through, one more connection of that reader does not.
        node.show("show version");
        let administrator = usher_as(&node, 1, 1, "--groups=64001", "show version");
        assert!(administrator.status.success(), "{administrator:?}");
        let reader = usher_as(&node, 65534, 65534, "--groups=64001", "show version");
        assert!(error(&reader).contains("connections of this user are open"), "{reader:?}");
    }
    drop(idle.stdin.take());
    let _ = idle.wait();

    // Wrong passwords of a reader, over and over, and the right one of an administrator.
    std::fs::write(node.path("wrong"), "wrong\n").unwrap();
    std::fs::write(node.path("right"), "swordfish\n").unwrap();
    let (wrong, right) = (node.path("wrong"), node.path("right"));
    let enable = |user, file: &std::path::Path| {
        usher_as(&node, user, user, "--groups=64001", &format!("--password-file {} enable", file.display()))
    };
    std::thread::scope(|scope| {
        let guessers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| (0..3).map(|_| enable(65534, &wrong)).collect::<Vec<_>>()))
            .collect();
        for _ in 0..5 {
            let enabled = enable(1, &right);
            assert!(enabled.status.success(), "{enabled:?}");
        }
        for guess in guessers.into_iter().flat_map(|guesser| guesser.join().unwrap()) {
            assert!(!guess.status.success(), "{guess:?}");
        }
    });
    assert!(node.log().contains("%SYS-4-ENABLE: user nobody (uid 65534) gave a wrong password to enable"));
    assert!(node.log().contains("%SYS-5-ENABLE: user daemon (uid 1) gave the enable secret"));
    assert!(!node.log().contains("swordfish"));
}

#[test]
fn the_enable_secret_guards_every_way_of_changing_something() {
    let hash = "$5$saltsalt$daAhTF6GHYZ.SNpCbCUBgMUeouPxKWlT5eTP3TzH249";
    let node = node_for_all(&format!("{GROUP}enable secret {hash}\n"));
    let _usherd = start(&node);
    std::fs::write(node.path("right"), "swordfish\n").unwrap();
    std::fs::write(node.path("new.conf"), format!("{GROUP}hostname R7\nenable secret {hash}\n")).unwrap();
    let admin = |words: &str| usher_as(&node, 1, 1, "--groups=64001", words);
    let file = node.path("new.conf").display().to_string();
    let changes = [
        "write memory".to_owned(),
        "clear counters".to_owned(),
        "standby 1 failover".to_owned(),
        "debug standby packets".to_owned(),
        "cluster drain".to_owned(),
        format!("configure replace {file} force"),
    ];
    for words in &changes {
        let refused = admin(words);
        assert!(!refused.status.success(), "{words}: {refused:?}");
        assert!(error(&refused).contains("the enable secret is needed"), "{words}: {refused:?}");
    }
    // A batch, where `enable` alone gives nothing, and the socket itself.
    let batch = |more: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=1", "--regid=1", "--groups=64001"]).arg(node.path("usher"));
        command.arg("--run-dir").arg(node.path("run")).args(more.split_whitespace());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let text = "enable\nconfigure terminal\nhostname R8\nend\nwrite memory\n";
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let refused = batch("");
    assert!(error(&refused).contains("the enable secret is needed"), "{refused:?}");
    assert!(node.show("show running-config").contains("hostname R1"), "nothing was changed");
    // Looking needs no password.
    assert!(admin("show running-config").status.success());
    let check = admin(&format!("check {file}"));
    assert!(String::from_utf8_lossy(&check.stdout).contains("+hostname R7"), "{check:?}");

    // With the password the same commands do what they say, and the log names the user.
    let right = format!("--password-file {}", node.path("right").display());
    for words in &changes {
        let done = admin(&format!("{right} {words}"));
        assert!(!error(&done).contains("secret"), "{words}: {done:?}");
    }
    assert!(node.show("show running-config").contains("hostname R7"));
    let done = batch(&right);
    assert!(done.status.success(), "{done:?}");
    assert!(node.show("show startup-config").contains("hostname R8"));
    let log = node.log();
    for line in [
        "%SYS-5-CONFIG_R: user daemon (uid 1) replaced the running configuration",
        "user daemon (uid 1) logged command:hostname R8",
        "%SYS-5-CONFIG_NV: user daemon (uid 1) wrote",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    let wrong = admin(&format!("--password-file {} write memory", node.path("new.conf").display()));
    assert!(error(&wrong).contains("the password is wrong"), "{wrong:?}");

    // Root is exempt: it can replace the file. A reader stays one, whatever they know.
    assert!(node.usher("write memory").status.success());
    let reader = usher_as(&node, 65534, 65534, "--groups=64001", &format!("{right} write memory"));
    assert!(error(&reader).contains("usermod -aG usher-admin"), "{reader:?}");
}

#[test]
fn only_administrators_hand_a_group_over_or_switch_debugging() {
    let node = Node::new(PROFILE, GROUP);
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
    let node = Node::new(PROFILE, GROUP);
    std::fs::set_permissions(node.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = |path: &std::path::Path, text: &str| {
        std::fs::write(path, format!("#!/bin/sh\n{text}\necho half_open=0 ike=7 child=8\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let cluster = |program: &std::path::Path| {
        format!(
            "{GROUP} standby 1 name vpn\n!\ncrypto ikev2 cluster\n standby-group vpn\n secondary max-session 100\n \
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
