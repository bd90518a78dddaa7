//! What the tests of the programs share: a node in a network namespace of its own, and a data plane that the test plays.
#![allow(dead_code)] // each test uses a part of it

pub mod lan;

use platform::clock::monotonic_ns;
use platform::snapshot::handover::{self, Connection};
use platform::snapshot::{
    Body, Copy, CounterName, Feedback, FeedbackSpec, PortIdentity, PortStatus, Reader, VipState, WorkerBlock,
};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One port, whose exception device usherd makes.
pub const PROFILE: &str = "
name = \"test\"
[[port]]
interface = \"TenGigabitEthernet0/0/0\"
device = \"vdev:net_null0\"
exception = \"exc0\"
exception_kind = \"tap\"
";

/// One group on it, alone on its LAN.
pub const GROUP: &str = "
hostname R1
interface Te0/0/0
 ip address 10.0.0.1 255.255.255.0
 standby version 2
 standby delay minimum 0 reload 0
 standby 1 timers msec 50 msec 150
 standby 1 ip 10.0.0.100
";

/// A network namespace with the files of one node; everything goes with it.
pub struct Node {
    pub name: String,
    pub dir: tempfile::TempDir,
}

impl Node {
    pub fn new(profile: &str, config: &str) -> Node {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]));
        let node = Node { name, dir: tempfile::tempdir().unwrap() };
        std::fs::write(node.path("profile.toml"), profile).unwrap();
        node.configure(config);
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn configure(&self, text: &str) {
        std::fs::write(self.path("usher.conf"), text).unwrap();
    }

    pub fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_usherd"), "--config"]);
        command.arg(self.path("usher.conf")).arg("--profile").arg(self.path("profile.toml"));
        command.arg("--run-dir").arg(self.path("run")).args(more);
        command
    }

    pub fn start(&self, more: &[&str]) -> Usherd {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = self.command(more).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        let usherd = Usherd { child };
        let socket = self.path("run/usherd.sock");
        until("usherd answers", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        usherd
    }

    /// Runs usherd to its end.
    pub fn refused(&self) -> String {
        let output = self.command(&[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn usher(&self, words: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        command.arg("--run-dir").arg(self.path("run")).args(words.split(' ')).output().unwrap()
    }

    /// `usher` with lines on its standard input.
    pub fn batch(&self, lines: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usher"));
        command.arg("--run-dir").arg(self.path("run"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn show(&self, words: &str) -> String {
        let output = self.usher(words);
        assert!(output.status.success(), "{words}: {output:?}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn ip(&self, words: &str) -> String {
        run(Command::new("ip").args(["-n", &self.name]).args(words.split(' ')))
    }

    /// The addresses on a device, as `ip` writes them; none while it does not exist.
    pub fn addresses(&self, device: &str) -> Vec<String> {
        let shown = Command::new("ip").args(["-n", &self.name, "-o", "addr", "show", "dev", device]).output();
        let text = String::from_utf8(shown.unwrap().stdout).unwrap();
        text.lines().filter_map(|line| line.split_whitespace().nth(3).map(str::to_owned)).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

pub struct Usherd {
    pub child: Child,
}

impl Usherd {
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn ends(&mut self) -> std::process::ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "usherd does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Usherd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A data plane that attaches, takes every snapshot at once, and attaches again when usherd has gone.
pub struct FakeDataplane {
    pub stop: Arc<AtomicBool>,
    /// It stands still, as after SIGSTOP
    pub frozen: Arc<AtomicBool>,
    /// Its ports have no link, one bit each
    pub unlinked: Arc<AtomicU32>,
    /// Clients to count, by index of the virtual address and of the gateway in the snapshot of that moment
    pub clients: Arc<Mutex<Vec<(usize, usize, u64)>>>,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub thread: Option<JoinHandle<()>>,
}

/// A generation as it was taken.
#[derive(Clone)]
pub struct Seen {
    pub instance: u64,
    pub states: Vec<VipState>,
    pub body: Arc<Body>,
    pub lease_ms: u64,
    /// Whether a data plane answers now for the first address
    pub answers: bool,
    /// Whether it fences it now
    pub fences: bool,
    /// Time since usherd's loop last ran, as its heartbeat says
    pub heartbeat_age_ms: u64,
    pub at: u64,
}

pub const COUNTERS: &[CounterName<'static>] =
    &[CounterName { name: "redirected", action: "answer", help: "IKE_SA_INIT answered with a REDIRECT" }];

impl FakeDataplane {
    pub fn start(socket: &Path) -> FakeDataplane {
        FakeDataplane::with_mac(socket, [2, 0, 0, 0, 0, 0x11])
    }

    pub fn with_mac(socket: &Path, mac: [u8; 6]) -> FakeDataplane {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (frozen, unlinked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let clients = Arc::new(Mutex::new(vec![(0, 0, 5)]));
        let thread = {
            let (stop, seen, socket) = (stop.clone(), seen.clone(), socket.to_owned());
            let (frozen, unlinked, clients) = (frozen.clone(), unlinked.clone(), clients.clone());
            std::thread::spawn(move || {
                fake_dataplane(&socket, mac, [&stop, &frozen], &unlinked, &clients, &seen)
            })
        };
        FakeDataplane { stop, frozen, unlinked, clients, seen, thread: Some(thread) }
    }

    /// Redirects so many clients, and waits until they are counted.
    pub fn redirect(&self, vip: usize, gateway: usize, clients: u64) {
        self.clients.lock().unwrap().push((vip, gateway, clients));
        until("clients are counted", || self.clients.lock().unwrap().is_empty());
    }

    pub fn freeze(&self, still: bool) {
        self.frozen.store(still, Ordering::Relaxed);
    }

    /// Takes the link from a port, or gives it back.
    pub fn link(&self, port: u32, up: bool) {
        match up {
            true => self.unlinked.fetch_and(!(1 << port), Ordering::Relaxed),
            false => self.unlinked.fetch_or(1 << port, Ordering::Relaxed),
        };
    }

    pub fn last(&self) -> Option<Seen> {
        self.seen.lock().unwrap().last().cloned()
    }

    pub fn states(&self) -> Vec<VipState> {
        self.last().map(|seen| seen.states).unwrap_or_default()
    }
}

impl Drop for FakeDataplane {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn fake_dataplane(
    socket: &Path,
    mac: [u8; 6],
    [stop, frozen]: [&AtomicBool; 2],
    unlinked: &AtomicU32,
    clients: &Mutex<Vec<(usize, usize, u64)>>,
    seen: &Mutex<Vec<Seen>>,
) {
    let port = |number: u8| PortIdentity {
        name: format!("TenGigabitEthernet0/0/{number}"),
        mac: [mac[0], mac[1], mac[2], mac[3], number, mac[5]],
        mtu: 1400,
        driver: "net_null".to_owned(),
        exception: format!("exc{number}"),
        ..PortIdentity::default()
    };
    let spec = FeedbackSpec { workers: 1, ports: vec![port(0), port(1)], counters: COUNTERS };
    let feedback = Feedback::create(&spec).unwrap();
    let worker = feedback.worker(0).unwrap();
    worker.add(0, 5);
    let mut copy = Copy::empty();
    let mut attached: Option<(Reader, Connection)> = None;
    let mut body = Arc::new((**copy.body).clone());
    let mut known = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        if frozen.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        if attached.as_ref().is_none_or(|(_, connection)| !connection.is_alive())
            && let Ok(new) = handover::connect(socket, &feedback, Duration::from_millis(500))
        {
            attached = Some(new);
        }
        // As the true one, it goes by the last snapshot while usherd is away.
        if let Some((reader, _)) = &attached {
            reader.refresh(&mut copy);
            if known != (copy.instance, copy.generation) {
                known = (copy.instance, copy.generation);
                worker.set_destinations(&copy.body);
                body = Arc::new((**copy.body).clone());
            }
            // Those that the snapshot does not have yet wait.
            clients.lock().unwrap().retain(|(vip, gateway, count)| {
                let there = copy.body.vips().get(*vip).is_some_and(|vip| vip.gateways().len() > *gateway);
                if there {
                    worker.add_redirect(*vip, *gateway, *count);
                    (0..*count).for_each(|_| worker.add_new_client(*vip, *gateway));
                }
                !there
            });
            seen.lock().unwrap().push(work(reader, &feedback, &worker, &copy, body.clone(), unlinked));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn work(
    reader: &Reader,
    feedback: &Feedback,
    worker: &WorkerBlock,
    copy: &Copy,
    body: Arc<Body>,
    unlinked: &AtomicU32,
) -> Seen {
    let now = monotonic_ns();
    worker.set_applied(copy.instance, copy.generation);
    worker.set_heartbeat(now);
    feedback.heartbeat(now);
    let status = |port: usize| PortStatus {
        link_up: unlinked.load(Ordering::Relaxed) & (1 << port) == 0,
        speed_mbps: 10_000,
        filter_ok: true,
        filter_instance: copy.instance,
        filter_generation: copy.generation,
        ..PortStatus::default()
    };
    (0..2).for_each(|port| feedback.set_port(port, &status(port)));
    let lease = reader.lease(0);
    let states: Vec<VipState> = copy.body.vips().iter().map(|vip| vip.state()).collect();
    let active = states.first() == Some(&VipState::Active);
    Seen {
        instance: copy.instance,
        states,
        body,
        lease_ms: lease.until_ns.saturating_sub(now) / 1_000_000,
        answers: active && lease.until_ns > now,
        fences: active && lease.until_ns <= now && lease.peer_known,
        heartbeat_age_ms: now.saturating_sub(reader.heartbeat()) / 1_000_000,
        at: now,
    }
}

pub fn slots(body: &Body) -> Vec<Vec<u8>> {
    body.vips().iter().map(|vip| vip.slots.to_vec()).collect()
}
