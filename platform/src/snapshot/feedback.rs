//! The feedback memory: what the data plane tells the control plane. Counters, what each worker has applied, the ports.
//!
//! Each word has one writer, each worker's block its own cache lines, and a count is a plain load and store. What is counted
//! outside the workers (by the kernel's programs of a bifurcated port) the main thread writes to a block of its own. Names, actions
//! and helps of the counters lie in the memory itself, so that a reader of any release shows the right ones.

use std::cell::Cell;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::applied;
use super::body::{Body, MAX_GATEWAYS, MAX_VIPS};
use super::destination::{self, Destinations, PAIRS};
use super::error::SnapshotError;
use super::members::{self, MEMBERS_WORDS, Members, NAMES_WORDS};
use super::memfd::{self, HEADER_WORDS, LINE, SharedWords};
use super::seqlock::{self, Place};
use crate::clock::monotonic_ns;
use crate::lines::Lines;

pub(super) const WHAT: &str = "feedback";
pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"USHRFEED");

/// Workers a data plane can have.
pub const MAX_WORKERS: usize = 64;
/// Ports a data plane can have, subinterfaces among them.
pub const MAX_PORTS: usize = 32;
/// Counters a data plane can have.
pub const MAX_COUNTERS: usize = 256;

/// The stages that a worker can time, by index (`stages` in the profile).
pub const STAGES: [&str; 8] = ["rx", "classify", "walk", "decide", "answer", "pass", "tx", "kernel"];

/// What a data plane is made of: fixed for its life.
#[derive(Clone, Debug, Default)]
pub struct FeedbackSpec<'a> {
    /// Workers, at most [`MAX_WORKERS`].
    pub workers: usize,
    /// Ports in the order of their index, at most [`MAX_PORTS`].
    pub ports: Vec<PortIdentity>,
    /// Counters in the order of their index, at most [`MAX_COUNTERS`].
    pub counters: &'a [CounterName<'a>],
}

/// What a port is. Texts are cut at the sizes given.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PortIdentity {
    /// Name of the interface or device, 64 bytes.
    pub name: String,
    /// The port's own MAC.
    #[serde(serialize_with = "mac_text")]
    pub mac: [u8; 6],
    /// MTU in bytes.
    pub mtu: u16,
    /// DPDK's driver, 32 bytes.
    pub driver: String,
    /// Kernel name of the exception device, 16 bytes; empty: none.
    pub exception: String,
    /// The mode of a bond (`lacp`), 16 bytes; empty: the port is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bond: String,
    /// DPDK's names of a bond's members (`0000:01:00.0`), 32 bytes each, at most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// The VLAN of `name` that this is the subinterface of; 0: it is the port itself.
    pub vlan: u16,
}

/// A counter's name (48 bytes), action (`answer`, `pass`, `drop` or `info`; 16 bytes) and one line of help (128 bytes).
/// Longer texts are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterName<'a> {
    /// The name.
    pub name: &'a str,
    /// What happens to the frames counted.
    pub action: &'a str,
    /// One line that explains it.
    pub help: &'a str,
}

/// State and statistics of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PortStatus {
    /// Whether the link is up.
    pub link_up: bool,
    /// Speed in Mbit/s, 0: unknown.
    pub speed_mbps: u32,
    /// The port had to be made promiscuous because a MAC filter failed.
    pub promisc_forced: bool,
    /// Snapshot whose MAC filters were last dealt with.
    #[serde(serialize_with = "hex")]
    pub filter_instance: u64,
    /// Generation whose MAC filters were last dealt with.
    pub filter_generation: u64,
    /// Frames to all virtual MACs of that generation reach us (by filter or promiscuous).
    pub filter_ok: bool,
    /// Frames received.
    pub ipackets: u64,
    /// Frames sent.
    pub opackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Bytes sent.
    pub obytes: u64,
    /// Frames the port dropped because the receive queue was full.
    pub imissed: u64,
    /// Frames received broken.
    pub ierrors: u64,
    /// Frames that could not be sent.
    pub oerrors: u64,
    /// Frames lost because no mbuf was free.
    pub rx_nombuf: u64,
    /// Receive queues, a worker's each.
    pub queues: u16,
    /// How it is shared with the kernel; `None`: the data plane owns it.
    pub shared: Option<Shared>,
    /// The members of a bond, in the order of their names.
    #[serde(serialize_with = "members::list", skip_serializing_if = "members::none")]
    pub members: Members,
}

/// How a bifurcated port is shared with the kernel. The counts are those of the kernel's programs, each frame once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Shared {
    /// What steers.
    pub by: SharedBy,
    /// The XDP program's number in the kernel; 0: there is none.
    pub program: u32,
    /// Sockets whose frames the kernel copies.
    pub copying: u16,
    /// Sockets whose buffers the NIC uses itself.
    pub zero_copy: u16,
    /// Nothing leaves in the name of what is fenced: the filter of what the kernel sends is in place.
    pub egress_fence: bool,
    /// Frames that went to the workers.
    pub steered: u64,
    /// Frames that were left to the kernel.
    pub passed: u64,
    /// Frames for the workers that came on a queue without a socket and were left to the kernel.
    pub unserved: u64,
    /// Frames fenced when they came in.
    pub fenced: u64,
    /// Frames that the kernel sent and that were fenced.
    pub fenced_out: u64,
}

/// What steers frames of a bifurcated port to the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharedBy {
    /// An XDP program; where the kernel runs it is not known.
    #[default]
    Xdp,
    /// An XDP program that runs in the driver.
    XdpNative,
    /// An XDP program that runs in the stack, after the driver.
    XdpGeneric,
    /// An XDP program that runs on the NIC.
    XdpOffloaded,
    /// Flow rules of the NIC, which do not count.
    FlowRules,
}

impl SharedBy {
    pub(super) const ALL: [SharedBy; 5] = [
        SharedBy::Xdp,
        SharedBy::XdpNative,
        SharedBy::XdpGeneric,
        SharedBy::XdpOffloaded,
        SharedBy::FlowRules,
    ];
}

impl Shared {
    const WORDS: usize = 9;

    fn to_words(self) -> [u64; Self::WORDS] {
        [
            // 0 is a port that is not shared.
            self.by as u64 + 1,
            self.program.into(),
            u64::from(self.copying) << 16 | u64::from(self.zero_copy),
            u64::from(self.egress_fence),
            self.steered,
            self.passed,
            self.unserved,
            self.fenced,
            self.fenced_out,
        ]
    }

    fn from_words(words: &[u64; Self::WORDS]) -> Option<Shared> {
        let [by, program, sockets, egress_fence, steered, passed, unserved, fenced, fenced_out] = *words;
        Some(Shared {
            by: *SharedBy::ALL.get(usize::try_from(by.checked_sub(1)?).ok()?)?,
            program: program as u32,
            copying: (sockets >> 16) as u16,
            zero_copy: sockets as u16,
            egress_fence: egress_fence != 0,
            steered,
            passed,
            unserved,
            fenced,
            fenced_out,
        })
    }
}

/// Where a port's `shared` begins; the word before it has the queues.
const SHARED_WORD: usize = 15;
/// Where the members of a bond begin.
const MEMBERS_WORD: usize = SHARED_WORD + Shared::WORDS;
pub(super) const STATUS_WORDS: usize = MEMBERS_WORD + MEMBERS_WORDS;

impl PortStatus {
    fn to_words(self) -> [u64; STATUS_WORDS] {
        let bits = |bit: bool| u64::from(bit);
        let mut words = [0; STATUS_WORDS];
        let (own, rest) = words.split_at_mut(SHARED_WORD);
        let (shared, bond) = rest.split_at_mut(Shared::WORDS);
        own.copy_from_slice(&[
            bits(self.link_up),
            self.speed_mbps.into(),
            bits(self.promisc_forced),
            self.filter_instance,
            self.filter_generation,
            bits(self.filter_ok),
            self.ipackets,
            self.opackets,
            self.ibytes,
            self.obytes,
            self.imissed,
            self.ierrors,
            self.oerrors,
            self.rx_nombuf,
            self.queues.into(),
        ]);
        shared.copy_from_slice(&self.shared.map_or([0; Shared::WORDS], Shared::to_words));
        bond.copy_from_slice(&members::to_words(&self.members));
        words
    }

    /// This state with what was counted since `before`.
    #[must_use]
    pub fn since(mut self, before: &PortStatus) -> PortStatus {
        let less = |now: &mut u64, before: u64| *now = now.wrapping_sub(before);
        less(&mut self.ipackets, before.ipackets);
        less(&mut self.opackets, before.opackets);
        less(&mut self.ibytes, before.ibytes);
        less(&mut self.obytes, before.obytes);
        less(&mut self.imissed, before.imissed);
        less(&mut self.ierrors, before.ierrors);
        less(&mut self.oerrors, before.oerrors);
        less(&mut self.rx_nombuf, before.rx_nombuf);
        if let (Some(now), Some(before)) = (&mut self.shared, &before.shared) {
            less(&mut now.steered, before.steered);
            less(&mut now.passed, before.passed);
            less(&mut now.unserved, before.unserved);
            less(&mut now.fenced, before.fenced);
            less(&mut now.fenced_out, before.fenced_out);
        }
        members::since(&mut self.members, &before.members);
        self
    }

    pub(super) fn from_words(words: [u64; STATUS_WORDS]) -> PortStatus {
        PortStatus {
            link_up: words[0] != 0,
            speed_mbps: words[1] as u32,
            promisc_forced: words[2] != 0,
            filter_instance: words[3],
            filter_generation: words[4],
            filter_ok: words[5] != 0,
            ipackets: words[6],
            opackets: words[7],
            ibytes: words[8],
            obytes: words[9],
            imissed: words[10],
            ierrors: words[11],
            oerrors: words[12],
            rx_nombuf: words[13],
            queues: words[14] as u16,
            shared: words[SHARED_WORD..].first_chunk().and_then(Shared::from_words),
            members: members::from_words(&words[MEMBERS_WORD..]),
        }
    }
}

pub(super) const NAME_WORDS: usize = 6;
pub(super) const ACTION_WORDS: usize = 2;
pub(super) const HELP_WORDS: usize = 16;
pub(super) const COUNTER_WORDS: usize = NAME_WORDS + ACTION_WORDS + HELP_WORDS;
pub(super) const PORT_NAME_WORDS: usize = 8;
pub(super) const DRIVER_WORDS: usize = 4;
pub(super) const EXCEPTION_WORDS: usize = 2;
pub(super) const MAC_WORD: usize = PORT_NAME_WORDS + DRIVER_WORDS + EXCEPTION_WORDS;
pub(super) const BOND_WORD: usize = MAC_WORD + 3;
pub(super) const BOND_WORDS: usize = 2;
pub(super) const MEMBER_NAME_WORDS: usize = 4;
pub(super) const MEMBERS_NAMES_WORD: usize = BOND_WORD + BOND_WORDS;
pub(super) const PORT_WORDS: usize = MEMBERS_NAMES_WORD + NAMES_WORDS;

/// Words of a worker's block before its counters.
pub(super) mod worker {
    pub(in super::super) const HEARTBEAT: usize = 0;
    pub(in super::super) const APPLIED_INSTANCE: usize = 1;
    pub(in super::super) const APPLIED_GENERATION: usize = 2;
    pub(in super::super) const CORE: usize = 3;
    pub(in super::super) const BUSY_CYCLES: usize = 4;
    pub(in super::super) const TOTAL_CYCLES: usize = 5;
    pub(in super::super) const LOOPS: usize = 6;
    pub(in super::super) const KEPT: usize = 7;
    /// Cycles and frames of each stage.
    pub(in super::super) const STAGES: usize = 16;
    pub(in super::super) const WORDS: usize = STAGES + 2 * super::STAGES.len();
}

/// Words of the memory's own fields, behind the common header.
pub(super) mod field {
    pub(in super::super) const PID: usize = 8;
    pub(in super::super) const STARTED: usize = 9;
    pub(in super::super) const WORKERS: usize = 10;
    pub(in super::super) const PORTS: usize = 11;
    pub(in super::super) const COUNTERS: usize = 12;
    pub(in super::super) const HEARTBEAT: usize = 16;
}

/// Blocks of different writers lie two cache lines apart, for processors that fetch lines in pairs.
const PAIR: usize = 2 * LINE;

/// Where things lie, computed from the counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) workers: usize,
    pub(super) ports: usize,
    pub(super) counters: usize,
}

impl Layout {
    pub(super) const SMALLEST: Layout = Layout { workers: 0, ports: 0, counters: 0 };
    pub(super) const LARGEST: Layout =
        Layout { workers: MAX_WORKERS, ports: MAX_PORTS, counters: MAX_COUNTERS };

    /// Refuses counts beyond the limits: from then on every index below is within [`Layout::words`].
    pub(super) fn new(workers: u64, ports: u64, counters: u64) -> Result<Layout, SnapshotError> {
        let limits = [
            ("workers", workers, MAX_WORKERS),
            ("ports", ports, MAX_PORTS),
            ("counters", counters, MAX_COUNTERS),
        ];
        for (object, found, limit) in limits {
            if found > limit as u64 {
                return Err(SnapshotError::Count { what: WHAT, object, found, limit });
            }
        }
        Ok(Layout { workers: workers as usize, ports: ports as usize, counters: counters as usize })
    }

    pub(super) const fn counter_name(&self, counter: usize) -> usize {
        HEADER_WORDS + 2 * LINE + counter * COUNTER_WORDS
    }

    pub(super) const fn port_identity(&self, port: usize) -> usize {
        self.counter_name(self.counters) + port * PORT_WORDS
    }

    const fn port_status(&self, port: usize) -> usize {
        self.port_identity(self.ports).next_multiple_of(PAIR)
            + port * (LINE + 2 * STATUS_WORDS).next_multiple_of(PAIR)
    }

    pub(super) const fn port_place(&self, port: usize) -> Place {
        let at = self.port_status(port);
        let first = at + LINE;
        Place {
            generation: at,
            marks: [at + 1, at + 2],
            buffers: [first, first + STATUS_WORDS],
            len: STATUS_WORDS,
        }
    }

    pub(super) const fn redirects_in_block(&self) -> usize {
        worker::WORDS + self.counters.next_multiple_of(PAIR)
    }

    pub(super) const fn new_clients_in_block(&self) -> usize {
        self.redirects_in_block() + PAIRS
    }

    pub(super) const fn destinations_in_block(&self) -> usize {
        self.new_clients_in_block() + PAIRS
    }

    pub(super) const fn block_words(&self) -> usize {
        self.destinations_in_block() + destination::WORDS
    }

    pub(super) const fn worker_block(&self, worker: usize) -> usize {
        self.port_status(self.ports) + worker * self.block_words()
    }

    /// The counters of the main thread.
    pub(super) const fn main_block(&self) -> usize {
        self.worker_block(self.workers)
    }

    pub(super) const fn words(&self) -> usize {
        self.main_block() + self.counters.next_multiple_of(PAIR)
    }

    pub(super) const fn bytes(&self) -> usize {
        (self.words() * 8).next_multiple_of(4096)
    }
}

/// The writing end: the data plane makes one at each start and hands its descriptor to usherd.
pub struct Feedback {
    fd: OwnedFd,
    words: SharedWords,
    instance: u64,
    layout: Layout,
    taken: Mutex<[bool; MAX_WORKERS]>,
    /// Generation of each port's status; the lock makes the ports' writer one.
    statuses: Mutex<[u64; MAX_PORTS]>,
}

impl Feedback {
    /// Makes the memory: all counts 0, a random instance id. Refuses more than the limits of this module.
    pub fn create(spec: &FeedbackSpec<'_>) -> Result<Feedback, SnapshotError> {
        let layout = Layout::new(spec.workers as u64, spec.ports.len() as u64, spec.counters.len() as u64)?;
        let made = memfd::create(WHAT, MAGIC, layout.words())?;
        let words = made.words;
        let set = |word: usize, value: u64| words[word].store(value, Ordering::Relaxed);
        set(field::PID, u64::from(std::process::id()));
        set(field::STARTED, monotonic_ns());
        set(field::WORKERS, layout.workers as u64);
        set(field::PORTS, layout.ports as u64);
        set(field::COUNTERS, layout.counters as u64);
        for (index, counter) in spec.counters.iter().enumerate() {
            let at = layout.counter_name(index);
            put_text(&words[at..][..NAME_WORDS], counter.name);
            put_text(&words[at + NAME_WORDS..][..ACTION_WORDS], counter.action);
            put_text(&words[at + NAME_WORDS + ACTION_WORDS..][..HELP_WORDS], counter.help);
        }
        for (index, port) in spec.ports.iter().enumerate() {
            let at = layout.port_identity(index);
            put_text(&words[at..][..PORT_NAME_WORDS], &port.name);
            put_text(&words[at + PORT_NAME_WORDS..][..DRIVER_WORDS], &port.driver);
            put_text(&words[at + PORT_NAME_WORDS + DRIVER_WORDS..][..EXCEPTION_WORDS], &port.exception);
            let [a, b, c, d, e, f] = port.mac;
            set(at + MAC_WORD, u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
            set(at + MAC_WORD + 1, port.mtu.into());
            put_text(&words[at + BOND_WORD..][..BOND_WORDS], &port.bond);
            let names = words[at + MEMBERS_NAMES_WORD..][..NAMES_WORDS].chunks(MEMBER_NAME_WORDS);
            names.zip(&port.members).for_each(|(words, name)| put_text(words, name));
            set(at + MAC_WORD + 2, port.vlan.into());
        }
        let (taken, statuses) = (Mutex::new([false; MAX_WORKERS]), Mutex::new([0; MAX_PORTS]));
        Ok(Feedback { fd: made.fd, words, instance: made.instance, layout, taken, statuses })
    }

    /// Random, never 0: tells the counters of this start from those of an earlier one.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// The descriptor to hand over; its holder can map it for reading only.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The block of a worker, once; `None`: no such worker, or its block was taken.
    pub fn worker(&self, index: usize) -> Option<WorkerBlock> {
        if index >= self.layout.workers {
            return None;
        }
        let mut taken = self.taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if std::mem::replace(&mut taken[index], true) {
            return None;
        }
        let at = self.layout.worker_block(index);
        let redirects = at + self.layout.redirects_in_block();
        let new_clients = at + self.layout.new_clients_in_block();
        let destinations = at + self.layout.destinations_in_block();
        Some(WorkerBlock {
            state: self.words.part(at..at + worker::WORDS),
            counters: self.words.part(at + worker::WORDS..at + worker::WORDS + self.layout.counters),
            redirects: self.words.part(redirects..redirects + PAIRS),
            new_clients: self.words.part(new_clients..new_clients + PAIRS),
            destinations: Destinations::new(self.words.part(destinations..destinations + destination::WORDS)),
            _one_thread: PhantomData,
        })
    }

    /// Publishes the state of a port; an index beyond the ports does nothing. For the main thread, not for workers.
    pub fn set_port(&self, port: usize, status: &PortStatus) {
        if port < self.layout.ports {
            let mut generations = self.statuses.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            generations[port] += 1;
            seqlock::publish(
                &self.words,
                &self.layout.port_place(port),
                generations[port],
                &status.to_words(),
            );
        }
    }

    /// Sets what was counted outside the workers since the start, beside their own counts; an index beyond the counters
    /// does nothing. For the main thread.
    pub fn set_outside(&self, counter: usize, total: u64) {
        if counter < self.layout.counters {
            self.words[self.layout.main_block() + counter].store(total, Ordering::Relaxed);
        }
    }

    /// Says that the main thread lives (CLOCK_MONOTONIC in ns).
    pub fn heartbeat(&self, now_ns: u64) {
        self.words[field::HEARTBEAT].store(now_ns, Ordering::Relaxed);
    }
}

/// A worker's own words: it alone writes them, so a count needs no locked instruction. Counts wrap at 2^64.
pub struct WorkerBlock {
    state: SharedWords,
    counters: SharedWords,
    redirects: SharedWords,
    new_clients: SharedWords,
    destinations: Destinations,
    /// Send, but not Sync: a second thread would lose counts.
    _one_thread: PhantomData<Cell<()>>,
}

impl WorkerBlock {
    #[inline(always)]
    fn bump(word: Option<&AtomicU64>, n: u64) {
        if let Some(word) = word {
            word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    /// Adds to a counter; an index beyond the counters does nothing.
    #[inline]
    pub fn add(&self, counter: usize, n: u64) {
        Self::bump(self.counters.get(counter), n);
    }

    /// Adds to the redirects of a virtual address to a gateway, both by their index in the snapshot; an index beyond
    /// [`MAX_VIPS`] or [`MAX_GATEWAYS`] does nothing.
    #[inline]
    pub fn add_redirect(&self, vip: usize, gateway: usize, n: u64) {
        if vip < MAX_VIPS && gateway < MAX_GATEWAYS {
            Self::bump(self.redirects.get(vip * MAX_GATEWAYS + gateway), n);
        }
    }

    /// Counts a client that was redirected for the first time, beside [`add_redirect`](Self::add_redirect).
    #[inline]
    pub fn add_new_client(&self, vip: usize, gateway: usize) {
        if vip < MAX_VIPS && gateway < MAX_GATEWAYS {
            Self::bump(self.new_clients.get(vip * MAX_GATEWAYS + gateway), 1);
        }
    }

    /// Names the virtual address and the gateway that each index counts for from now on, as this snapshot has them. What was
    /// counted before stays with those it was counted for.
    pub fn set_destinations(&self, body: &Body) {
        self.destinations.set(body, &self.redirects[..], &self.new_clients[..]);
    }

    /// Says that every frame this worker takes from now on is treated by this snapshot.
    pub fn set_applied(&self, instance: u64, generation: u64) {
        let [instance_word, generation_word] =
            [worker::APPLIED_INSTANCE, worker::APPLIED_GENERATION].map(|word| &self.state[word]);
        applied::store(instance_word, generation_word, (instance, generation));
    }

    /// Says that this worker lives (CLOCK_MONOTONIC in ns).
    #[inline]
    pub fn set_heartbeat(&self, now_ns: u64) {
        self.state[worker::HEARTBEAT].store(now_ns, Ordering::Relaxed);
    }

    /// Adds cycles: those spent on frames, and all that passed.
    #[inline]
    pub fn add_cycles(&self, busy: u64, total: u64) {
        Self::bump(self.state.get(worker::BUSY_CYCLES), busy);
        Self::bump(self.state.get(worker::TOTAL_CYCLES), total);
    }

    /// Names the core this worker is pinned to.
    pub fn set_core(&self, core: u32) {
        self.state[worker::CORE].store(core.into(), Ordering::Relaxed);
    }

    /// Adds polling loops.
    #[inline]
    pub fn add_loops(&self, n: u64) {
        Self::bump(self.state.get(worker::LOOPS), n);
    }

    /// Adds to a stage the cycles spent and the frames that went through it; an index beyond [`STAGES`] does nothing.
    pub fn add_stage(&self, stage: usize, cycles: u64, frames: u64) {
        if stage < STAGES.len() {
            Self::bump(self.state.get(worker::STAGES + 2 * stage), cycles);
            Self::bump(self.state.get(worker::STAGES + 2 * stage + 1), frames);
        }
    }

    /// Adds the memory that the worker writes here.
    pub fn writes(&self, lines: &mut Lines) {
        lines.add_all("counters", &self.state[..], self.destinations.words());
    }

    /// Counts a refresh that ended in [`Refresh::Kept`](super::Refresh::Kept).
    pub fn add_kept(&self) {
        Self::bump(self.state.get(worker::KEPT), 1);
    }
}

/// Writes as much of a text as fits, cut at a character, the rest zero.
fn put_text(words: &[AtomicU64], text: &str) {
    let mut end = text.len().min(words.len() * 8);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = text.as_bytes()[..end].chunks(8);
    for word in words {
        let mut whole = [0; 8];
        let part = bytes.next().unwrap_or_default();
        whole[..part.len()].copy_from_slice(part);
        word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
    }
}

fn mac_text<S: serde::Serializer>(mac: &[u8; 6], to: S) -> Result<S::Ok, S::Error> {
    let [a, b, c, d, e, f] = mac;
    to.collect_str(&format_args!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))
}

/// Ids are random 64-bit numbers: as JSON numbers they would lose digits in most readers.
pub(super) fn hex<S: serde::Serializer>(id: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{id:016x}"))
}
