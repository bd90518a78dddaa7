//! Two nodes on one bridge, each with usherd and a data plane that the test plays. The exception devices are veths, so that
//! hellos really cross the bridge.

use super::{FakeDataplane, Node, Usherd, run};
use rustix::process::Signal;
use std::process::Command;
use std::time::{Duration, Instant};

// The exception device comes from outside: with net_tap nobody would carry its frames here.
pub const PROFILE: &str = "
name = \"test\"
[[port]]
interface = \"TenGigabitEthernet0/0/0\"
device = \"vdev:net_null0\"
exception = \"exc0\"
exception_kind = \"virtio_user\"
";

const VIRTUAL_MAC: &str = "00:00:0c:9f:f0:01";

/// A node of group 1 with timers 50/150 ms, and what else its interface is to have.
pub fn config(node: u8, more: &str) -> String {
    format!(
        "hostname node{node}\ninterface Te0/0/0\n ip address 10.0.0.{node} 255.255.255.0\n standby version 2\n \
         standby delay minimum 0 reload 0\n standby 1 ip 10.0.0.100\n standby 1 timers msec 50 msec 150\n{more}"
    )
}

/// One node, running.
pub struct Member {
    pub node: Node,
    pub dataplane: Option<FakeDataplane>,
    pub usherd: Option<Usherd>,
    pub number: u8,
}

impl Member {
    pub fn start_dataplane(&mut self) {
        let socket = self.node.path("run/dataplane.sock");
        self.dataplane = Some(FakeDataplane::with_mac(&socket, [2, 0, 0, 0, 0, self.number]));
    }

    pub fn state(&self) -> String {
        let output = self.node.usher("--json show standby");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        json[0]["state"].as_str().unwrap_or_default().to_owned()
    }

    pub fn is(&self, state: &str) -> bool {
        self.state() == state
    }

    pub fn answers(&self) -> bool {
        self.dataplane.as_ref().and_then(FakeDataplane::last).is_some_and(|seen| seen.answers)
    }

    /// Spans of time in which the data plane answered, ns, from the first to the last look of each.
    pub fn answering(&self) -> Vec<(u64, u64)> {
        let mut spans: Vec<(u64, u64)> = Vec::new();
        let mut open = false;
        let Some(dataplane) = &self.dataplane else { return spans };
        for seen in dataplane.seen.lock().unwrap().iter() {
            match (seen.answers, open) {
                (true, true) => spans.last_mut().unwrap().1 = seen.at,
                (true, false) => spans.push((seen.at, seen.at)),
                _ => {}
            }
            open = seen.answers;
        }
        spans
    }

    /// Another configuration, while it runs.
    pub fn configure(&self, text: &str) {
        self.node.configure(text);
        self.signal(Signal::HUP);
    }

    pub fn signal(&self, signal: Signal) {
        self.usherd.as_ref().unwrap().signal(signal);
    }

    pub fn kill(&mut self) {
        self.usherd = None;
    }
}

/// The bridge with two nodes.
pub struct Lan {
    pub name: String,
    pub members: Vec<Member>,
}

impl Lan {
    pub fn new(configs: [String; 2]) -> Lan {
        Lan::with(PROFILE, configs)
    }

    /// Nodes of another profile, with `exc0` on the bridge.
    pub fn with(profile: &str, configs: [String; 2]) -> Lan {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("lan-{}-{next}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]));
        let mut lan = Lan { name, members: Vec::new() };
        // A switch, not a host that asks for routers.
        let quiet = ["all", "default"].map(|which| format!("net.ipv6.conf.{which}.disable_ipv6=1"));
        run(Command::new("ip").args(["netns", "exec", &lan.name, "sysctl", "-qw"]).args(quiet));
        lan.ip("link add lan type bridge mcast_snooping 0");
        lan.ip("link set lan up");
        for (number, config) in (1..).zip(configs) {
            let node = Node::new(profile, &config);
            lan.ip(&format!("link add p{number} type veth peer name exc0 netns {}", node.name));
            lan.ip(&format!("link set p{number} master lan up"));
            let mut member = Member { node, dataplane: None, usherd: None, number };
            member.start_dataplane();
            lan.members.push(member);
        }
        lan
    }

    pub fn ip(&self, words: &str) -> String {
        run(Command::new("ip").args(["-n", &self.name]).args(words.split(' ')))
    }

    pub fn start(&mut self, index: usize) {
        self.start_with(index, &[]);
    }

    pub fn start_with(&mut self, index: usize, options: &[&str]) {
        let usherd = self.members[index].node.start(options);
        self.members[index].usherd = Some(usherd);
    }

    /// The bridge port behind which the virtual MAC was last seen.
    pub fn learned(&self) -> Option<String> {
        let text = run(Command::new("bridge").args(["-n", &self.name, "fdb", "show", "br", "lan"]));
        let line = text.lines().find(|line| line.starts_with(VIRTUAL_MAC))?;
        line.split(' ').nth(2).map(str::to_owned)
    }

    pub fn wait(&self, what: &str, done: impl Fn(&Lan) -> bool) -> Duration {
        let start = Instant::now();
        while !done(self) {
            if start.elapsed() > Duration::from_secs(10) {
                let logs: Vec<String> = self.members.iter().map(|member| member.node.log()).collect();
                panic!("never: {what}\n{}\n----\n{}", logs[0], logs[1]);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        start.elapsed()
    }

    pub fn nobody_answered_together(&self) {
        let (one, two) = (self.members[0].answering(), self.members[1].answering());
        for (from, to) in &one {
            for (other_from, other_to) in &two {
                assert!(
                    to < other_from || other_to < from,
                    "both answered: {from}-{to} and {other_from}-{other_to}\n{}\n----\n{}",
                    self.members[0].node.log(),
                    self.members[1].node.log()
                );
            }
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.members.clear();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}
