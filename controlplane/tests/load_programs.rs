//! Programs of `load-source`: who they run as, what they may not do, and how they are bounded. Needs root.
#![forbid(unsafe_code)]

use controlplane::load::drain::{Daemon, Drain, Orders};
use controlplane::load::{Reading, Source, SourceSpec};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const INTERVAL: Duration = Duration::from_millis(20);
const GOOD: &str = "echo half_open=1 ike=20 child=40";

/// A directory that root alone can change, for programs, and one that anyone may write.
struct Lab {
    programs: TempDir,
    open: TempDir,
}

impl Lab {
    fn new() -> Lab {
        let lab = Lab { programs: tempfile::tempdir_in("/run").unwrap(), open: tempfile::tempdir().unwrap() };
        chmod(lab.programs.path(), 0o755);
        chmod(lab.open.path(), 0o777);
        lab
    }

    /// A shell script that works in the open directory.
    fn script(&self, text: &str) -> PathBuf {
        let path = self.programs.path().join("load");
        write_script(&path, &format!("cd {}\n{text}", self.open.path().display()));
        path
    }

    fn found(&self, name: &str) -> String {
        std::fs::read_to_string(self.open.path().join(name)).unwrap_or_default()
    }
}

fn write_script(path: &Path, text: &str) {
    // A file that is open for writing cannot be executed; one that another test's child has inherited is such a file.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, format!("#!/bin/sh\n{text}\n")).unwrap();
    chmod(&draft, 0o755);
    std::fs::rename(draft, path).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

async fn until(source: &mut Source, done: impl Fn(&Reading) -> bool) -> Reading {
    let wait = async {
        while !done(&source.latest()) {
            source.changed().await;
        }
        source.latest()
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the reading that is waited for")
}

fn healthy(reading: &Reading) -> bool {
    matches!(reading, Reading::Ok { .. })
}

fn answered(reading: &Reading) -> bool {
    !matches!(reading, Reading::Unhealthy { reason, .. }
        if reason.ends_with("no answer yet") || reason.contains("Text file busy"))
}

/// The first answer of a script, or why there is none.
async fn first(path: &Path) -> Result<u32, String> {
    let mut source = Source::start(SourceSpec::Script { path: path.to_owned() }, INTERVAL, &[]);
    match until(&mut source, answered).await {
        Reading::Ok { sample, .. } => Ok(sample.child),
        Reading::Unhealthy { reason, .. } => Err(reason),
    }
}

#[tokio::test]
async fn a_script_has_no_privileges_and_gets_none() {
    let lab = Lab::new();
    let secret = lab.programs.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    chmod(&secret, 0o600);
    let path = lab.script(&format!(
        "cat /proc/self/status >status; cat {0} >read 2>&1 && echo yes >stolen; echo x 2>/dev/null >{0} && echo yes >stolen\n\
         cat /proc/self/oom_score_adj >oom; ulimit -t >cpu; ulimit -c >core\n\
         kill -0 {1} 2>/dev/null && echo yes >stolen; {GOOD}",
        secret.display(),
        std::process::id(),
    ));
    assert_eq!(first(&path).await, Ok(40));
    let status = lab.found("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name} in {status}")).split_whitespace().collect::<Vec<_>>()
    };
    for name in ["Uid", "Gid"] {
        let ids = field(name);
        assert!(ids.len() == 4 && ids.iter().all(|id| *id == ids[0] && *id != "0"), "{name}: {ids:?}");
    }
    assert!(field("Groups").iter().all(|group| *group == field("Gid")[0]), "{status}");
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(name), ["0000000000000000"], "{name}");
    }
    assert_eq!(field("NoNewPrivs"), ["1"]);
    assert!(lab.found("read").contains("Permission denied") && lab.found("stolen").is_empty());
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    let limits = ["oom", "cpu", "core"].map(|name| lab.found(name).trim().to_owned());
    assert_eq!(limits, ["1000", "10", "0"]);
}

#[tokio::test]
async fn a_path_that_others_can_change_is_refused_with_the_reason() {
    let lab = Lab::new();
    let (programs, open) = (lab.programs.path(), lab.open.path());
    let path = |name: &str| programs.join(name);
    let directory = |name: &str, mode, owner: Option<u32>| {
        std::fs::create_dir(path(name)).unwrap();
        write_script(&path(name).join("load"), &format!("echo ran >{}/ran; {GOOD}", open.display()));
        chmod(&path(name), mode);
        chown(path(name), owner, None).unwrap();
        path(name).join("load")
    };
    let file = |name: &str, mode, owner: Option<u32>| {
        write_script(&path(name), &format!("echo ran >{}/ran; {GOOD}", open.display()));
        chmod(&path(name), mode);
        chown(path(name), owner, None).unwrap();
        path(name)
    };
    let link = |name: &str, to: &Path| {
        symlink(to, path(name)).unwrap();
        path(name)
    };
    write_script(&open.join("load"), GOOD);
    std::fs::create_dir(path("directory")).unwrap();
    std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let in_tmp = open.join("load");
    for (refused, wanted) in [
        (in_tmp.clone(), "can be written by others than root"),
        (link("to-tmp", &in_tmp), "can be written by others than root"),
        (link("to-link", Path::new("to-tmp")), "can be written by others than root"),
        (file("of-a-user", 0o755, Some(1)), "of-a-user belongs to user 1"),
        (
            file("group-writable", 0o775, None),
            "group-writable can be written by others than root (mode 0775)",
        ),
        (
            file("world-writable", 0o757, None),
            "world-writable can be written by others than root (mode 0757)",
        ),
        (directory("dir-of-a-user", 0o755, Some(1)), "dir-of-a-user belongs to user 1"),
        (
            directory("dir-writable", 0o1777, None),
            "dir-writable can be written by others than root (mode 1777)",
        ),
        (path("dir-of-a-user/../of-a-user"), "dir-of-a-user belongs to user 1"),
        (link("circle", Path::new("circle")), "symbolic links"),
        (file("no-program", 0o644, None), "is not executable (mode 0644)"),
        (path("directory"), "directory is no regular file"),
        (path("socket"), "socket is no regular file"),
        (path("of-a-user/load"), "of-a-user"),
        (path("missing"), "missing: No such file"),
    ] {
        let reason = first(&refused).await.unwrap_err();
        assert!(reason.contains("not run: ") && reason.contains(wanted), "{}: {reason}", refused.display());
    }
    assert_eq!(lab.found("ran"), "");

    // A link of root's to a file of root's is as good as the file.
    file("good", 0o755, None);
    let good = link("link", Path::new("../").join(programs.file_name().unwrap()).join("./good").as_path());
    assert_eq!(first(&good).await, Ok(40));
    // What the account may not read is named as such.
    let reason = first(&file("hidden", 0o700, None)).await.unwrap_err();
    assert!(reason.contains("chmod o+rx"), "{reason}");
}

#[tokio::test]
async fn the_path_is_checked_at_every_execution() {
    let lab = Lab::new();
    let path = lab.script("echo ran >>ran; echo half_open=0 ike=7 child=8");
    let mut source = Source::start(SourceSpec::Script { path: path.clone() }, INTERVAL, &[]);
    until(&mut source, healthy).await;
    chmod(&path, 0o775);
    let reading = until(&mut source, |reading| !healthy(reading)).await;
    assert!(
        matches!(&reading, Reading::Unhealthy { reason, .. } if reason.contains("mode 0775")),
        "{reading:?}"
    );
    let ran = lab.found("ran");
    source.changed().await;
    assert_eq!(lab.found("ran"), ran);
    chmod(&path, 0o755);
    until(&mut source, healthy).await;
}

#[tokio::test]
async fn a_source_that_fails_is_unhealthy_since_its_first_failure_and_comes_back() {
    let lab = Lab::new();
    let path = lab.script(&format!("[ ! -e broken ] || {{ echo no gateway here >&2; exit 3; }}\n{GOOD}"));
    let mut source = Source::start(SourceSpec::Script { path }, INTERVAL, &[]);
    until(&mut source, healthy).await;
    std::fs::write(lab.open.path().join("broken"), "").unwrap();
    let Reading::Unhealthy { reason, since_ns } = until(&mut source, |reading| !healthy(reading)).await
    else {
        panic!("healthy")
    };
    assert!(reason.starts_with("script ") && reason.contains("exit status: 3: no gateway here"), "{reason}");
    source.changed().await;
    assert!(matches!(source.latest(), Reading::Unhealthy { since_ns: still, .. } if still == since_ns));
    std::fs::remove_file(lab.open.path().join("broken")).unwrap();
    until(&mut source, healthy).await;
    let reason = first(&lab.script("kill -9 $$")).await.unwrap_err();
    assert!(reason.contains("signal: 9"), "{reason}");
}

#[tokio::test]
async fn output_without_end_is_cut() {
    let lab = Lab::new();
    let reason = first(&lab.script("yes half_open=1")).await.unwrap_err();
    assert!(reason.contains("more than 4096 bytes"), "{reason}");
    // Its error output does not hold it up either.
    assert_eq!(first(&lab.script("yes no >&2 & echo half_open=1 ike=2 child=3; kill $!")).await, Ok(3));
}

fn is_gone(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    state.is_empty() || state.contains(") Z ")
}

async fn until_gone(pid: &str) {
    let start = Instant::now();
    while !is_gone(pid) {
        assert!(start.elapsed() < Duration::from_secs(10), "{pid} lives");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_late_script_is_killed_with_what_it_started() {
    let lab = Lab::new();
    let reason = first(&lab.script("sleep 60 & echo $! >child; echo $$ >parent; wait")).await.unwrap_err();
    assert!(reason.contains("not done within 1000 ms, killed"), "{reason}");
    for pid in [lab.found("child"), lab.found("parent")] {
        until_gone(&pid).await;
    }
}

#[tokio::test]
async fn a_source_that_is_dropped_leaves_no_process() {
    let lab = Lab::new();
    let source =
        Source::start(SourceSpec::Script { path: lab.script("echo $$ >pid; sleep 60") }, INTERVAL, &[]);
    let start = Instant::now();
    while !lab.found("pid").ends_with('\n') {
        assert!(start.elapsed() < Duration::from_secs(10), "the script does not start");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(source);
    until_gone(&lab.found("pid")).await;
}

/// A `whack` whose pluto has `ike` IKE SAs and lists `states`.
fn whack(lab: &Lab, ike: u32, states: &str, exit: u32) -> PathBuf {
    std::fs::write(lab.open.path().join("states"), states).unwrap();
    let path = lab.programs.path().join("whack");
    write_script(
        &path,
        &format!(
            "cd {}\nid -u >uid\ncase $1 in\n--showstates) cat states;;\n--globalstatus) for c in ipsec=0 iketype.anonymous=0 \
             iketype.halfopen=0 iketype.open=0 iketype.authenticated={ike}; do echo current.states.$c; done;;\n\
             --name) echo \"$@\" >>asked;;\nesac\nexit {exit}",
            lab.open.path().display()
        ),
    );
    path
}

fn drain(program: PathBuf) -> Drain {
    let orders = Orders { pace: 60_000, targets: vec![("192.0.2.7".parse().unwrap(), 1)] };
    Drain::start(Daemon::Pluto { program: Some(program) }, Duration::from_secs(40), orders)
}

async fn progress(drain: &Drain, what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}: {:?}", drain.progress());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_whack_of_the_administrator_s_choice_has_no_privileges_either() {
    let lab = Lab::new();
    let mut source = Source::start(SourceSpec::Whack { program: Some(whack(&lab, 3, "", 0)) }, INTERVAL, &[]);
    let reading = until(&mut source, healthy).await;
    assert!(matches!(reading, Reading::Ok { sample, .. } if sample.ike == 3));
    assert!(!["", "0"].contains(&lab.found("uid").trim()), "{}", lab.found("uid"));
}

#[tokio::test]
async fn a_drain_of_pluto_asks_all_that_are_listed_and_names_what_is_wrong() {
    let lab = Lab::new();
    let rest = "(established IKE SA); REKEY in 27873s; newest; idle;";
    let line = |id: u32| format!("#{id}: \"v\"[{id}] 198.51.100.{id}:4500(tcp) ESTABLISHED_IKE_SA {rest}\n");
    let moving = drain(whack(&lab, 2, &(line(1) + &line(2)), 0));
    progress(&moving, "both are asked", || lab.found("asked").ends_with('\n')).await;
    assert_eq!(moving.progress().asked, 2);
    assert_eq!(lab.found("asked").trim(), "--name v --redirect-to 192.0.2.7,192.0.2.7");
    assert_eq!(moving.progress().problem, None);
    drop(moving);

    let problem = |drain: &Drain| drain.progress().problem.unwrap_or_default();
    let empty = drain(whack(&lab, 2, "", 0));
    progress(&empty, "an empty list", || problem(&empty).contains("lists none of pluto's 2 IKE SAs")).await;
    assert!(!empty.progress().done());
    let odd = drain(whack(&lab, 2, &format!("{}#2 is up\n", line(1)), 0));
    progress(&odd, "an odd line", || problem(&odd).contains("`#2 is up`") && odd.progress().asked == 1).await;
    let broken = drain(whack(&lab, 2, &line(1), 1));
    progress(&broken, "exit 1", || problem(&broken).contains("whack --showstates: exit status: 1")).await;
    let none = drain(whack(&lab, 0, "", 0));
    progress(&none, "nothing to move", || none.progress().done()).await;
}
