//! The load, the probe and the drain against strongSwan itself: charons in namespaces of their own, on one wire. Needs root,
//! iproute2, strongswan-charon and strongswan-swanctl.
#![forbid(unsafe_code)]

use controlplane::load::drain::{Daemon, Drain, Orders};
use controlplane::load::probe::{Answer, Probe, ProbeSpec, ProbeState};
use controlplane::load::{Reading, Sample, Source, SourceSpec};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(100);

/// A bridge in a namespace, and around it as many namespaces as there are charons.
struct Lan {
    name: String,
    dir: tempfile::TempDir,
    spaces: Vec<String>,
}

impl Lan {
    fn new() -> Lan {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lc-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let lan = Lan { dir: tempfile::tempdir().unwrap(), spaces: vec![name.clone()], name };
        ip(&format!("netns add {}", lan.name));
        ip(&format!("-n {} link add lan type bridge", lan.name));
        ip(&format!("-n {} link set lan up", lan.name));
        lan
    }

    /// A namespace with the address 192.0.2.NUMBER.
    fn space(&mut self, number: u8) -> String {
        let space = format!("{}-{number}", self.name);
        ip(&format!("netns add {space}"));
        self.spaces.push(space.clone());
        ip(&format!("link add p{number} netns {} type veth peer name eth0 netns {space}", self.name));
        ip(&format!("-n {} link set p{number} master lan up", self.name));
        ip(&format!("-n {space} link set lo up"));
        ip(&format!("-n {space} link set eth0 up"));
        // What kernel-libipsec protects has to be an address of its own.
        ip(&format!("-n {space} addr add 10.9.0.1/32 dev lo"));
        ip(&format!("-n {space} addr add 192.0.2.{number}/24 dev eth0"));
        space
    }

    /// A charon there. `settings` are lines of strongswan.conf, `connections` of swanctl.conf.
    fn charon(&mut self, number: u8, settings: &str, connections: &str) -> Charon {
        let space = self.space(number);
        let dir = self.dir.path().join(number.to_string());
        std::fs::create_dir_all(dir.join("swanctl")).unwrap();
        let plugins = "random nonce openssl aes sha1 sha2 hmac gmp curve25519 kdf gcm kernel-libipsec \
                       kernel-netlink socket-default vici";
        let conf = format!(
            "charon {{\n load = {plugins}\n install_routes = no\n {settings}\n plugins {{ vici {{ socket = unix://{0}/vici \
             }} }}\n filelog {{ f {{ path = {0}/log\n default = 1\n flush_line = yes }} }}\n}}\n",
            dir.display()
        );
        std::fs::write(dir.join("strongswan.conf"), conf).unwrap();
        std::fs::write(dir.join("swanctl/swanctl.conf"), connections).unwrap();
        // A distribution's AppArmor profile is bound to the path of the binary and would forbid this folder.
        std::fs::copy("/usr/lib/ipsec/charon", dir.join("charon-under-test"))
            .expect("apt install strongswan-charon");
        let mut charon = Charon { space, dir, number, child: None };
        charon.start();
        charon
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for space in &self.spaces {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

struct Charon {
    space: String,
    dir: PathBuf,
    number: u8,
    child: Option<Child>,
}

impl Charon {
    fn start(&mut self) {
        let run = "mount -t tmpfs tmpfs /run && exec \"$0\"";
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space, "unshare", "-m", "sh", "-c", run]);
        command
            .arg(self.dir.join("charon-under-test"))
            .env("STRONGSWAN_CONF", self.dir.join("strongswan.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        until("charon answers", || self.swanctl("--stats").status.success());
        let loaded = self.swanctl("--load-all --noprompt");
        assert!(loaded.status.success(), "{loaded:?}");
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("vici")
    }

    fn address(&self) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, self.number).into()
    }

    fn swanctl(&self, words: &str) -> Output {
        let mut command = Command::new("swanctl");
        command.args(words.split(' ')).arg("--uri").arg(format!("unix://{}", self.socket().display()));
        command
            .env("SWANCTL_DIR", self.dir.join("swanctl"))
            .env("STRONGSWAN_CONF", self.dir.join("strongswan.conf"));
        command.output().expect("apt install strongswan-swanctl")
    }

    fn told(&self, words: &str) {
        let output = self.swanctl(words);
        assert!(output.status.success(), "{words}: {output:?}\n{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that is stopped too.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// IKE SAs, all of them.
    fn established(&self) -> usize {
        String::from_utf8_lossy(&self.swanctl("--list-sas").stdout).matches("ESTABLISHED").count()
    }
}

impl Drop for Charon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

/// Runs in a thread of that namespace, where sockets then are.
fn within<T: Send + 'static>(space: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let path = format!("/var/run/netns/{space}");
    let thread = std::thread::spawn(move || {
        let file = std::fs::File::open(path).unwrap();
        let network = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), network).unwrap();
        run()
    });
    thread.join().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

const SECRET: &str = "secrets { ike { secret = of-no-value } }\n";
const PROPOSALS: &str = "version = 2\n proposals = aes128-sha256-x25519\n";

fn gateway_config() -> String {
    format!(
        "connections {{ up {{ {PROPOSALS} unique = never\n local {{ auth = psk\n id = vpn.example.net }}\n remote {{ auth = psk \
         }}\n pools = pool\n children {{ net {{ local_ts = 10.9.0.1/32\n esp_proposals = aes128-sha256 }} }} }} }}\n\
         pools {{ pool {{ addrs = 10.200.0.0/16 }} }}\n{SECRET}"
    )
}

/// So many connections c0, c1... to that gateway, each by an identity of its own.
fn client_config(gateway: IpAddr, connections: u32) -> String {
    let one = |n| {
        format!(
            " c{n} {{ {PROPOSALS} remote_addrs = {gateway}\n vips = 0.0.0.0\n local {{ auth = psk\n id = user{n}@example.net }}\n \
             remote {{ auth = psk\n id = vpn.example.net }}\n children {{ net{n} {{ remote_ts = 10.0.0.0/8\n esp_proposals = \
             aes128-sha256 }} }} }}\n"
        )
    };
    format!("connections {{\n{}}}\n{SECRET}", (0..connections).map(one).collect::<String>())
}

const GATEWAY: &str = "dos_protection = no";

fn sample(source: &Source) -> Option<Sample> {
    match source.latest() {
        Reading::Ok { sample, .. } => Some(sample),
        Reading::Unhealthy { .. } => None,
    }
}

fn counts(source: &Source) -> Option<(u32, u32, u32)> {
    sample(source).map(|sample| (sample.half_open, sample.ike, sample.child))
}

fn becomes(source: &Source, wanted: (u32, u32, u32)) {
    until(&format!("{wanted:?}, found {:?}", source.latest()), || counts(source) == Some(wanted));
}

/// An IKE_SA_INIT that charon takes: AES-CBC-128, HMAC-SHA2-256, x25519.
fn init_request(spi: u8) -> Vec<u8> {
    let transforms: [&[u8]; 4] = [
        &[3, 0, 0, 12, 1, 0, 0, 12, 0x80, 14, 0, 128],
        &[3, 0, 0, 8, 2, 0, 0, 5],
        &[3, 0, 0, 8, 3, 0, 0, 12],
        &[0, 0, 0, 8, 4, 0, 0, 31],
    ];
    let mut message = vec![spi; 8];
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[33, 0x20, 34, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&[34, 0, 0, 48, 0, 0, 0, 44, 1, 1, 0, 4]);
    message.extend_from_slice(&transforms.concat());
    message.extend_from_slice(&[40, 0, 0, 40, 0, 31, 0, 0]);
    message.extend_from_slice(&[spi | 9; 32]);
    message.extend_from_slice(&[0, 0, 0, 36]);
    message.extend_from_slice(&[spi; 32]);
    message[27] = message.len() as u8;
    message
}

#[test]
fn the_load_of_a_charon_is_followed_through_rekeying_hanging_and_dying() {
    let mut lan = Lan::new();
    let mut gateway = lan.charon(1, GATEWAY, &gateway_config());
    let client = lan.charon(2, "", &client_config(gateway.address(), 8));
    let runtime = runtime();
    let _guard = runtime.enter();
    // Two of them: one that is there from the start, one that comes when the SAs are there.
    let spec = SourceSpec::Vici { socket: gateway.socket() };
    let source = Source::start(spec.clone(), TICK, &[]);
    becomes(&source, (0, 0, 0));
    for n in 0..8 {
        client.told(&format!("--initiate --child net{n}"));
    }
    becomes(&source, (0, 8, 8));
    let late = Source::start(spec, TICK, &[]);
    becomes(&late, (0, 8, 8));

    // Rekeying replaces, it does not add.
    for n in 0..3 {
        client.told(&format!("--rekey --child net{n}"));
        client.told(&format!("--rekey --ike c{n}"));
    }
    gateway.told("--rekey --ike up");
    until("IKE SAs are rekeyed", || gateway.log().matches("rekeyed between").count() >= 11);
    until("CHILD_SAs are rekeyed", || gateway.log().matches("outbound CHILD_SA net").count() >= 3);
    becomes(&source, (0, 8, 8));
    client.told("--terminate --child net7");
    becomes(&source, (0, 8, 7));
    client.told("--terminate --ike c0");
    becomes(&source, (0, 7, 6));
    becomes(&late, (0, 7, 6));

    // Requests that nobody follows up.
    let to = gateway.address();
    within(&client.space, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for spi in 1..=5 {
            socket.send_to(&init_request(spi), (to, 500)).unwrap();
        }
    });
    becomes(&source, (5, 7, 6));

    // A charon that hangs is named within one limit and holds nobody up.
    gateway.signal(Signal::STOP);
    let unhealthy = || until("unhealthy", || matches!(source.latest(), Reading::Unhealthy { .. }));
    let took = unhealthy();
    assert!(took < Duration::from_secs(4), "{took:?}");
    let start = Instant::now();
    for _ in 0..1000 {
        assert!(sample(&source).is_none());
    }
    assert!(start.elapsed() < Duration::from_millis(500), "a look takes {:?}", start.elapsed() / 1000);
    until(
        "the reason",
        || matches!(source.latest(), Reading::Unhealthy { reason, .. } if reason.contains("charon hangs")),
    );
    gateway.signal(Signal::CONT);
    until("the counts again", || counts(&source).is_some_and(|(_, ike, child)| (ike, child) == (7, 6)));

    // One that dies is named at once, and asked again when it is back.
    gateway.kill();
    let took = unhealthy();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let Reading::Unhealthy { reason, since_ns } = source.latest() else { panic!("healthy") };
    assert!(reason.starts_with(&format!("vici {}: ", gateway.socket().display())), "{reason}");
    std::thread::sleep(Duration::from_millis(300));
    assert!(matches!(source.latest(), Reading::Unhealthy { since_ns: now, .. } if now == since_ns));
    gateway.start();
    becomes(&source, (0, 0, 0));
    becomes(&late, (0, 0, 0));
    client.told("--initiate --child net0");
    until("the new charon's own", || counts(&source).is_some_and(|(_, ike, child)| ike >= 1 && ike == child));
}

/// A probe of that gateway from the namespace of the other, until it is `done`.
fn probed(from: &Charon, spec: ProbeSpec, done: impl Fn(&ProbeState) -> bool + Send + 'static) -> ProbeState {
    within(&from.space, move || {
        // All on this thread: sockets are made where it is.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut probe = Probe::start(spec);
            let wait = async {
                while !done(&probe.latest()) {
                    probe.changed().await;
                }
            };
            let waited = tokio::time::timeout(PATIENCE, wait).await;
            assert!(waited.is_ok(), "found {:?}", probe.latest());
            probe.latest()
        })
    })
}

fn probe_spec(gateway: &Charon, from: &Charon) -> ProbeSpec {
    let (target, from) = (gateway.address(), Some(from.address()));
    ProbeSpec { target, port: 500, from, interval: TICK, timeout: TICK, up: 2, down: 3 }
}

#[test]
fn a_charon_answers_the_probe_and_keeps_nothing() {
    let mut lan = Lan::new();
    let mut gateway = lan.charon(1, GATEWAY, &gateway_config());
    // Asked for a cookie from the first half-open SA on.
    let careful = lan.charon(3, "cookie_threshold = 1\n cookie_threshold_ip = 1", &gateway_config());
    let asking = lan.charon(2, "", "");
    let spec = probe_spec(&gateway, &asking);
    let up = |state: &ProbeState| matches!(state, ProbeState::Up { .. });
    let state = probed(&asking, spec, up);
    assert!(matches!(state, ProbeState::Up { answer: Answer::NoProposalChosen, .. }), "{state:?}");
    let kept = || String::from_utf8(gateway.swanctl("--stats").stdout).unwrap();
    until("nothing is kept", || kept().contains("IKE_SAs: 0 total, 0 half-open"));

    let to = careful.address();
    within(&asking.space, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(&init_request(1), (to, 500)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.recv(&mut [0; 1500]).unwrap();
    });
    let state = probed(&asking, probe_spec(&careful, &asking), up);
    assert!(matches!(state, ProbeState::Up { answer: Answer::Cookie, .. }), "{state:?}");

    gateway.signal(Signal::STOP);
    let state = probed(&asking, spec, |state| matches!(state, ProbeState::Down { .. }));
    assert!(
        matches!(&state, ProbeState::Down { reason, .. } if reason.ends_with("no answer within 100 ms")),
        "{state:?}"
    );
    gateway.kill();
    let state = probed(&asking, spec, |state| matches!(state, ProbeState::Down { .. }));
    assert!(
        matches!(&state, ProbeState::Down { reason, .. } if reason.contains("its port is closed")),
        "{state:?}"
    );
    gateway.start();
    probed(&asking, spec, up);
}

#[test]
fn sessions_move_at_the_pace_and_those_without_support_are_listed() {
    let mut lan = Lan::new();
    let gateways = [1, 3, 4].map(|number| lan.charon(number, GATEWAY, &gateway_config()));
    let [from, first, second] = &gateways;
    let client = lan.charon(2, "", &client_config(from.address(), 6));
    // It does not signal that it would follow a redirect.
    let stubborn = lan.charon(5, "follow_redirects = no", &client_config(from.address(), 2));
    for (charon, clients) in [(&client, 6), (&stubborn, 2)] {
        (0..clients).for_each(|n| charon.told(&format!("--initiate --child net{n}")));
    }
    assert_eq!(from.established(), 8);

    let runtime = runtime();
    let _guard = runtime.enter();
    let orders = |pace| Orders { pace, targets: vec![(first.address(), 2), (second.address(), 1)] };
    let drain = Drain::start(Daemon::Charon { socket: from.socket() }, Duration::from_secs(6), orders(0));
    until("all wait", || drain.progress().waiting == 8);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((drain.progress().waiting, from.established()), (8, 8), "stopped from the start");
    drain.order(orders(120));
    let asked = until("the third is asked", || drain.progress().waiting <= 5);
    drain.order(orders(0));
    let waiting = drain.progress().waiting;
    assert!(asked >= Duration::from_millis(900), "two a second, but three after {asked:?}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(drain.progress().waiting, waiting, "stopped on the way");
    drain.order(orders(6000));
    until("it is done", || drain.progress().done());

    let progress = drain.progress();
    assert_eq!((progress.moved, progress.staying, progress.asked), (6, 2, 0), "{progress:?}");
    let mut stay: Vec<_> = progress.stay.iter().map(|stay| (stay.identity.as_str(), stay.peer)).collect();
    stay.sort_unstable();
    assert_eq!(
        stay,
        [("user0@example.net", Some(stubborn.address())), ("user1@example.net", Some(stubborn.address()))]
    );
    assert!(progress.stay.iter().all(|stay| stay.reason.contains("supports no redirect")));
    until("their sessions are up elsewhere", || {
        (from.established(), first.established() + second.established()) == (2, 6)
    });
    // Two to one; the two that stayed had their turns too.
    assert!(first.established() >= 3 && second.established() >= 1, "{}", first.established());

    // A charon that cannot be asked is named, and asked again.
    from.signal(Signal::STOP);
    until("the problem", || drain.progress().problem.is_some_and(|problem| problem.contains("charon hangs")));
    from.signal(Signal::CONT);
    until("no problem", || drain.progress().problem.is_none());
}
