//! The control plane's end of the feedback memory: bounds checked once, no count in it trusted after.

use std::os::fd::OwnedFd;

use super::applied;
use super::destination::{self, PAIRS, RedirectView, Sums};
use super::error::SnapshotError;
use super::feedback::{
    ACTION_WORDS, BOND_WORD, BOND_WORDS, COUNTER_WORDS, DRIVER_WORDS, EXCEPTION_WORDS, HELP_WORDS, Layout,
    MAC_WORD, MAGIC, MEMBER_NAME_WORDS, MEMBERS_NAMES_WORD, NAME_WORDS, PORT_NAME_WORDS, PORT_WORDS,
    PortIdentity, PortStatus, STAGES, STATUS_WORDS, WHAT, field, hex, worker,
};
use super::memfd::{self, ReadOnlyWord, ReadOnlyWords};
use super::seqlock;

/// The reading end, a read-only mapping of a data plane's memory.
pub struct FeedbackReader {
    words: ReadOnlyWords,
    instance: u64,
    layout: Layout,
}

/// Everything in the memory at about one moment: single words are exact, different words may be some loops apart.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FeedbackView {
    /// Tells the counters of this data plane from those of one before: differences across instances are 0.
    #[serde(serialize_with = "hex")]
    pub instance: u64,
    /// Process id the data plane gave.
    pub pid: u32,
    /// When it started, CLOCK_MONOTONIC in ns.
    pub started_ns: u64,
    /// When its main thread last said that it lives, CLOCK_MONOTONIC in ns; 0: not yet.
    pub heartbeat_ns: u64,
    /// The workers by index.
    pub workers: Vec<WorkerView>,
    /// The ports by index.
    pub ports: Vec<PortView>,
    /// The counters by index.
    pub counters: Vec<CounterView>,
    /// Redirects since the start, without those that are 0; empty while a worker takes snapshot after snapshot.
    pub redirects: Vec<RedirectView>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WorkerView {
    /// Its index.
    pub index: usize,
    /// The core it is pinned to.
    pub core: u32,
    /// When it last said that it lives, CLOCK_MONOTONIC in ns; 0: not yet.
    pub heartbeat_ns: u64,
    /// Snapshot it works by.
    #[serde(serialize_with = "hex")]
    pub applied_instance: u64,
    /// Generation it works by; 0: none yet.
    pub applied_generation: u64,
    /// Cycles spent on frames.
    pub busy_cycles: u64,
    /// All cycles.
    pub total_cycles: u64,
    /// Polling loops.
    pub loops: u64,
    /// Refreshes of the snapshot copy that were given up after three tries.
    pub kept: u64,
    /// The stages by index; empty unless the profile has them timed.
    pub stages: Vec<StageView>,
}

/// One stage of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StageView {
    /// Its name, of [`STAGES`].
    pub name: &'static str,
    /// Cycles spent in it.
    pub cycles: u64,
    /// Frames that went through it.
    pub frames: u64,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PortView {
    /// Its index.
    pub index: usize,
    /// What it is.
    #[serde(flatten)]
    pub identity: PortIdentity,
    /// Its state; `None`: not told yet.
    pub status: Option<PortStatus>,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CounterView {
    /// Its name.
    pub name: String,
    /// `answer`, `pass`, `drop` or `info`.
    pub action: String,
    /// One line that explains it.
    pub help: String,
    /// Sum over the workers and what was counted outside them.
    pub total: u64,
    /// By worker.
    pub per_worker: Vec<u64>,
    /// Outside the workers: by the kernel's programs of bifurcated ports.
    pub outside: u64,
}

impl FeedbackReader {
    /// Maps a memory handed over by a data plane, after checking seals, size, magic, layout version and counts.
    pub fn map(fd: OwnedFd) -> Result<FeedbackReader, SnapshotError> {
        let sizes = Layout::SMALLEST.bytes() as u64..Layout::LARGEST.bytes() as u64 + 1;
        let (words, instance) = memfd::open(WHAT, MAGIC, fd, sizes)?;
        let count = |word: usize| words[word].load();
        let layout = Layout::new(count(field::WORKERS), count(field::PORTS), count(field::COUNTERS))?;
        if words.len() * 8 != layout.bytes() {
            let (found, expected) = (words.len() as u64 * 8, layout.bytes() as u64);
            return Err(SnapshotError::Size { what: WHAT, found, expected });
        }
        Ok(FeedbackReader { words, instance, layout })
    }

    /// The instance id of the memory.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Process id the data plane gave.
    pub fn pid(&self) -> u32 {
        self.words[field::PID].load() as u32
    }

    /// Workers of the data plane.
    pub fn workers(&self) -> usize {
        self.layout.workers
    }

    /// Ports of the data plane.
    pub fn ports(&self) -> usize {
        self.layout.ports
    }

    /// The oldest of all heartbeats (main thread and workers), CLOCK_MONOTONIC in ns; 0: one has not spoken yet. A data
    /// plane one of whose threads is wedged shows here.
    pub fn oldest_heartbeat(&self) -> u64 {
        let workers = (0..self.layout.workers).map(|index| self.worker_word(index, worker::HEARTBEAT));
        workers.fold(self.words[field::HEARTBEAT].load(), u64::min)
    }

    /// Whether every worker works by this generation of this snapshot, or a later one. Without a worker: `false`.
    pub fn applied(&self, instance: u64, generation: u64) -> bool {
        self.layout.workers > 0
            && (0..self.layout.workers).all(|index| {
                let applied = self.worker_applied(index);
                applied.0 == instance && applied.1 >= generation
            })
    }

    /// Whether the MAC filters of this generation of this snapshot, or a later one, are in place on every port: `None`
    /// until every port has dealt with them, then whether all succeeded.
    pub fn filters(&self, instance: u64, generation: u64) -> Option<bool> {
        let mut ok = true;
        for port in 0..self.layout.ports {
            let status = self.port_status(port)?;
            if status.filter_instance != instance || status.filter_generation < generation {
                return None;
            }
            ok &= status.filter_ok;
        }
        Some(ok)
    }

    /// The state of a port; `None`: not told yet, no such port, or three tries met a write in the middle (ask again).
    pub fn port_status(&self, port: usize) -> Option<PortStatus> {
        if port >= self.layout.ports {
            return None;
        }
        let mut words = [0; STATUS_WORDS];
        let take = |from: &[ReadOnlyWord]| {
            for (to, from) in words.iter_mut().zip(from) {
                *to = from.load();
            }
        };
        let generation = seqlock::read(&self.words, &self.layout.port_place(port), &mut 0, take)?;
        (generation > 0).then(|| PortStatus::from_words(words))
    }

    /// Everything.
    pub fn read(&self) -> FeedbackView {
        FeedbackView {
            instance: self.instance,
            pid: self.pid(),
            started_ns: self.words[field::STARTED].load(),
            heartbeat_ns: self.words[field::HEARTBEAT].load(),
            workers: (0..self.layout.workers).map(|index| self.worker_view(index)).collect(),
            ports: (0..self.layout.ports).map(|index| self.port_view(index)).collect(),
            counters: (0..self.layout.counters).map(|index| self.counter_view(index)).collect(),
            redirects: self.redirects().unwrap_or_default(),
        }
    }

    /// Redirects since the start by virtual address and gateway, without those that are 0. `None`: a worker took snapshot
    /// after snapshot meanwhile, or died while it took one.
    pub fn redirects(&self) -> Option<Vec<RedirectView>> {
        let mut sums = Sums::default();
        for index in 0..self.layout.workers {
            let block = self.layout.worker_block(index);
            let part = |at: usize, words: usize| &self.words[block + at..][..words];
            sums.add(
                part(self.layout.destinations_in_block(), destination::WORDS),
                part(self.layout.redirects_in_block(), PAIRS),
                part(self.layout.new_clients_in_block(), PAIRS),
            )?;
        }
        Some(sums.into_views())
    }

    fn worker_word(&self, index: usize, word: usize) -> u64 {
        self.words[self.layout.worker_block(index) + word].load()
    }

    fn worker_applied(&self, index: usize) -> (u64, u64) {
        let at = self.layout.worker_block(index);
        applied::load(
            &self.words[at + worker::APPLIED_INSTANCE],
            &self.words[at + worker::APPLIED_GENERATION],
        )
    }

    fn worker_view(&self, index: usize) -> WorkerView {
        let word = |word| self.worker_word(index, word);
        let (applied_instance, applied_generation) = self.worker_applied(index);
        let stage = |(index, name): (usize, &&'static str)| StageView {
            name,
            cycles: word(worker::STAGES + 2 * index),
            frames: word(worker::STAGES + 2 * index + 1),
        };
        let mut stages: Vec<StageView> = STAGES.iter().enumerate().map(stage).collect();
        if stages.iter().all(|stage| stage.cycles == 0) {
            stages.clear();
        }
        WorkerView {
            index,
            core: word(worker::CORE) as u32,
            heartbeat_ns: word(worker::HEARTBEAT),
            applied_instance,
            applied_generation,
            busy_cycles: word(worker::BUSY_CYCLES),
            total_cycles: word(worker::TOTAL_CYCLES),
            loops: word(worker::LOOPS),
            kept: word(worker::KEPT),
            stages,
        }
    }

    fn port_view(&self, index: usize) -> PortView {
        let words = &self.words[self.layout.port_identity(index)..][..PORT_WORDS];
        let (name, rest) = words.split_at(PORT_NAME_WORDS);
        let (driver, rest) = rest.split_at(DRIVER_WORDS);
        let [_, _, mac @ ..] = words[MAC_WORD].load().to_be_bytes();
        let identity = PortIdentity {
            name: text(name),
            mac,
            mtu: words[MAC_WORD + 1].load() as u16,
            vlan: words[MAC_WORD + 2].load() as u16,
            driver: text(driver),
            exception: text(&rest[..EXCEPTION_WORDS]),
            bond: text(&words[BOND_WORD..][..BOND_WORDS]),
            members: words[MEMBERS_NAMES_WORD..]
                .chunks(MEMBER_NAME_WORDS)
                .map(text)
                .take_while(|name| !name.is_empty())
                .collect(),
        };
        PortView { index, identity, status: self.port_status(index) }
    }

    fn counter_view(&self, index: usize) -> CounterView {
        let words = &self.words[self.layout.counter_name(index)..][..COUNTER_WORDS];
        let (name, rest) = words.split_at(NAME_WORDS);
        let (action, help) = rest.split_at(ACTION_WORDS);
        let per_worker: Vec<u64> =
            (0..self.layout.workers).map(|worker| self.worker_word(worker, worker::WORDS + index)).collect();
        let outside = self.words[self.layout.main_block() + index].load();
        CounterView {
            name: text(name),
            action: text(action),
            help: text(&help[..HELP_WORDS]),
            total: per_worker.iter().fold(outside, |sum, count| sum.wrapping_add(*count)),
            per_worker,
            outside,
        }
    }
}

/// A text of the memory up to its first zero byte; control characters and what is no UTF-8 are replaced, since it ends on
/// an operator's terminal.
fn text(words: &[ReadOnlyWord]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.load().to_ne_bytes()).collect();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::super::body::{LAYOUT_VERSION, MAX_GATEWAYS, MAX_VIPS};
    use super::super::feedback::{
        CounterName, Feedback, FeedbackSpec, MAX_COUNTERS, MAX_PORTS, MAX_WORKERS, Shared, SharedBy,
    };
    use super::super::members::{MemberState, MemberStatus, Members};
    use super::super::memfd::tests::{FIXED, foreign};
    use super::*;

    const COUNTERS: [CounterName<'static>; 2] = [
        CounterName { name: "redirected", action: "answer", help: "answered with a REDIRECT" },
        CounterName { name: "esp", action: "pass", help: "ESP in UDP" },
    ];

    fn spec(workers: usize) -> FeedbackSpec<'static> {
        let port = PortIdentity {
            name: "TenGigabitEthernet0/0/0".into(),
            mac: [2, 0, 0, 0, 0, 9],
            mtu: 1500,
            driver: "net_af_xdp".into(),
            exception: "exc0".into(),
            bond: "lacp".into(),
            members: vec!["0000:01:00.0".into(), "0000:01:00.1".into()],
            vlan: 0,
        };
        FeedbackSpec { workers, ports: vec![port], counters: &COUNTERS }
    }

    fn pair(workers: usize) -> (Feedback, FeedbackReader) {
        let feedback = Feedback::create(&spec(workers)).unwrap();
        let reader = FeedbackReader::map(feedback.fd().try_clone_to_owned().unwrap()).unwrap();
        (feedback, reader)
    }

    #[test]
    fn what_the_workers_count_is_shown_by_name_and_worker() {
        let (feedback, reader) = pair(2);
        let workers = [feedback.worker(0).unwrap(), feedback.worker(1).unwrap()];
        workers[0].add(0, 5);
        workers[1].add(0, 6);
        workers[1].add(1, u64::MAX);
        workers[1].add(1, 3);
        workers[0].add(2, 1000);
        feedback.set_outside(0, 4);
        feedback.set_outside(0, 1);
        feedback.set_outside(2, 1000);
        workers[0].add_redirect(31, 63, 4);
        workers[1].add_redirect(31, 63, 4);
        workers[1].add_redirect(0, 2, 1);
        workers[1].add_redirect(32, 0, 1);
        workers[1].add_redirect(0, 64, 1);
        workers[0].add_new_client(31, 63);
        workers[1].add_new_client(31, 63);
        workers[1].add_new_client(32, 0);
        workers[1].add_new_client(0, 64);
        workers[1].add_cycles(10, 40);
        workers[1].add_loops(7);
        workers[1].add_kept();
        workers[1].add_stage(2, 30, 2);
        workers[1].add_stage(STAGES.len(), 1, 1);
        workers[1].set_core(3);
        let view = reader.read();
        assert_eq!(view.instance, feedback.instance());
        assert_eq!(view.pid, std::process::id());
        assert!(view.started_ns > 0 && view.started_ns <= crate::clock::monotonic_ns());
        let redirected = CounterView {
            name: "redirected".into(),
            action: "answer".into(),
            help: "answered with a REDIRECT".into(),
            total: 12,
            per_worker: vec![5, 6],
            outside: 1,
        };
        assert_eq!(view.counters[0], redirected);
        assert_eq!((view.counters[1].total, view.counters.len()), (2, 2));
        let unnamed = |vip, gateway, total, new_clients| RedirectView {
            vip: Some(vip),
            gateway: Some(gateway),
            vip_address: None,
            gateway_address: None,
            total,
            new_clients,
        };
        let redirects = [unnamed(0, 2, 1, 0), unnamed(31, 63, 8, 2)];
        assert_eq!(view.redirects, redirects);
        let worker = &view.workers[1];
        assert_eq!((worker.busy_cycles, worker.total_cycles, worker.loops), (10, 40, 7));
        assert_eq!((worker.kept, worker.core), (1, 3));
        assert!(view.workers[0].stages.is_empty() && worker.stages.len() == STAGES.len());
        assert_eq!(worker.stages[2], StageView { name: "walk", cycles: 30, frames: 2 });
        assert_eq!(view.ports[0].identity, spec(2).ports[0]);
        assert_eq!(view.ports[0].status, None);
    }

    #[test]
    fn a_block_is_taken_once() {
        let (feedback, _) = pair(1);
        assert!(feedback.worker(0).is_some());
        assert!(feedback.worker(0).is_none());
        assert!(feedback.worker(1).is_none());
        assert!(feedback.worker(usize::MAX).is_none());
    }

    #[test]
    fn a_generation_is_applied_when_every_worker_says_so_for_this_instance() {
        let (feedback, reader) = pair(2);
        let workers = [feedback.worker(0).unwrap(), feedback.worker(1).unwrap()];
        assert!(!reader.applied(7, 1));
        workers[0].set_applied(7, 2);
        assert!(!reader.applied(7, 1));
        workers[1].set_applied(7, 1);
        assert!(reader.applied(7, 1) && !reader.applied(7, 2) && !reader.applied(8, 1));
        workers[0].set_applied(8, 1);
        assert!(!reader.applied(7, 1) && !reader.applied(8, 1));
        assert_eq!(reader.oldest_heartbeat(), 0);
        feedback.heartbeat(30);
        workers[0].set_heartbeat(20);
        workers[1].set_heartbeat(25);
        assert_eq!(reader.oldest_heartbeat(), 20);
        assert!(!pair(0).1.applied(0, 0), "no worker applies nothing");
    }

    #[test]
    fn a_port_is_shown_as_last_set_and_its_filters_by_generation() {
        let (feedback, reader) = pair(1);
        assert_eq!(reader.filters(7, 1), None);
        let mut status = PortStatus {
            link_up: true,
            speed_mbps: 10_000,
            promisc_forced: true,
            filter_instance: 7,
            filter_generation: 4,
            filter_ok: true,
            ipackets: 1,
            opackets: 2,
            ibytes: 3,
            obytes: 4,
            imissed: 5,
            ierrors: 6,
            oerrors: 7,
            rx_nombuf: u64::MAX,
            queues: 2,
            shared: None,
            members: Members::default(),
        };
        for _ in 0..3 {
            feedback.set_port(0, &status);
            feedback.set_port(1, &status);
            assert_eq!(reader.port_status(0), Some(status));
        }
        assert_eq!(reader.port_status(1), None);
        assert_eq!(
            (reader.filters(7, 4), reader.filters(7, 5), reader.filters(8, 4)),
            (Some(true), None, None)
        );
        for by in SharedBy::ALL {
            let shared = Shared {
                by,
                program: u32::MAX,
                copying: 1,
                zero_copy: u16::MAX,
                egress_fence: true,
                steered: 1,
                passed: 2,
                unserved: 3,
                fenced: 4,
                fenced_out: u64::MAX,
            };
            status.shared = Some(shared);
            feedback.set_port(0, &status);
            assert_eq!(reader.port_status(0), Some(status));
        }
        assert_eq!(serde_json::to_value(status).unwrap().get("members"), None, "no bond, no members");
        let member =
            |state, ipackets| Some(MemberStatus { state, speed_mbps: u32::MAX, ipackets, opackets: 8 });
        status.members[0] = member(MemberState::Active, 7);
        status.members[1] = member(MemberState::Down, 0);
        feedback.set_port(0, &status);
        assert_eq!(reader.port_status(0), Some(status));
        let since = status.since(&PortStatus { ipackets: 1, shared: status.shared, ..PortStatus::default() });
        assert_eq!((since.ipackets, since.opackets, since.filter_generation), (0, 2, 4));
        assert_eq!(since.shared.map(|shared| (shared.fenced_out, shared.program)), Some((0, u32::MAX)));
        status.filter_ok = false;
        feedback.set_port(0, &status);
        assert_eq!(reader.filters(7, 4), Some(false));
        let json = serde_json::to_value(reader.read()).unwrap();
        assert_eq!(json["ports"][0]["status"]["shared"]["by"], "flow-rules");
        assert_eq!(json["ports"][0]["members"], serde_json::json!(["0000:01:00.0", "0000:01:00.1"]));
        assert_eq!(json["ports"][0]["bond"], "lacp");
        assert_eq!(json["ports"][0]["status"]["members"][1]["state"], "down");
        assert_eq!(json["ports"][0]["status"]["members"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["ports"][0]["mac"], "02:00:00:00:00:09");
        assert_eq!(json["ports"][0]["status"]["filter_instance"], "0000000000000007");
    }

    #[test]
    fn a_block_of_another_thread_counts_while_it_is_read() {
        let (feedback, reader) = pair(1);
        let block = feedback.worker(0).unwrap();
        let counting = std::thread::spawn(move || (0..100_000).for_each(|_| block.add(0, 1)));
        let mut last = 0;
        while !counting.is_finished() {
            let total = reader.read().counters[0].total;
            assert!(total >= last);
            last = total;
        }
        counting.join().unwrap();
        drop(feedback);
        assert_eq!(reader.read().counters[0].total, 100_000, "the memory outlives its maker");
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        let long = "é".repeat(100);
        let odd = format!("x{long}");
        let counters = [CounterName { name: &odd, action: &long, help: &long }];
        let feedback =
            Feedback::create(&FeedbackSpec { workers: 0, ports: vec![], counters: &counters }).unwrap();
        let view = FeedbackReader::map(feedback.fd().try_clone_to_owned().unwrap()).unwrap().read();
        assert_eq!(view.counters[0].name, format!("x{}", "é".repeat(23)));
        assert_eq!(view.counters[0].action, "é".repeat(8));
    }

    #[test]
    fn limits_hold_at_both_ends() {
        let counters = [COUNTERS[0]; MAX_COUNTERS + 1];
        let spec = |workers, ports, counters| FeedbackSpec {
            workers,
            ports: vec![PortIdentity::default(); ports],
            counters,
        };
        let largest = spec(MAX_WORKERS, MAX_PORTS, &counters[..MAX_COUNTERS]);
        let largest = Feedback::create(&largest).unwrap();
        largest.worker(MAX_WORKERS - 1).unwrap().add_redirect(MAX_VIPS - 1, MAX_GATEWAYS - 1, 1);
        let reader = FeedbackReader::map(largest.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(reader.read().redirects.len(), 1);
        for spec in [
            spec(MAX_WORKERS + 1, 0, &counters[..1]),
            spec(1, MAX_PORTS + 1, &counters[..1]),
            spec(1, 1, &counters[..]),
        ] {
            assert!(matches!(Feedback::create(&spec).map(drop).unwrap_err(), SnapshotError::Count { .. }));
        }
    }

    #[test]
    fn counts_in_a_foreign_memory_are_not_trusted() {
        let bytes = Layout::SMALLEST.bytes() as u64;
        let map = |workers: u64, ports: u64, counters: u64| {
            let mut words = [u64::MAX; 512];
            words[..4].copy_from_slice(&[MAGIC, LAYOUT_VERSION.into(), bytes, 5]);
            words[field::WORKERS] = workers;
            words[field::PORTS] = ports;
            words[field::COUNTERS] = counters;
            FeedbackReader::map(foreign(&words[..bytes as usize / 8], bytes, FIXED))
                .map(|reader| reader.read())
        };
        assert!(matches!(map(u64::MAX, 0, 0).unwrap_err(), SnapshotError::Count { object: "workers", .. }));
        assert!(matches!(map(0, u64::MAX, 0).unwrap_err(), SnapshotError::Count { object: "ports", .. }));
        assert!(matches!(map(0, 0, u64::MAX).unwrap_err(), SnapshotError::Count { object: "counters", .. }));
        assert!(matches!(map(1, 0, 0).unwrap_err(), SnapshotError::Size { .. }));
        // Rubbish everywhere else is shown as it is and harms nothing.
        let view = map(0, 1, 2).unwrap();
        assert_eq!((view.counters.len(), view.ports[0].status), (2, None));
        assert!(view.counters[0].name.chars().all(|c| c == '\u{fffd}'));
    }
}
