//! The worker: one thread, one pass after the other over its queues.
//!
//! A pass takes a burst from each port, ends every frame of it, sends what is to be sent, and does the same for the
//! exception device's side. It allocates nothing, takes no lock and makes no system call.

use std::sync::Arc;

use crossbeam::utils::CachePadded;
use dpdk::{Burst, Mbuf, RxQueue, TxQueue, rdtsc};
use platform::lines::Lines;
use platform::profile::Profile;
use platform::snapshot::{Reader, Refresh, WorkerBlock};
use platform::wire::ethernet::{self, Frame, Mac};

use crate::classify::{classify_timed, touches_fenced};
use crate::clients::SeenClients;
use crate::limit::AnswerLimit;
use crate::reassemble::{Offer, Reassembler, assemble};
use crate::stages::Stage;
use crate::vlan::{self, VlanQueues};
use crate::{
    Action, Class, Decision, FragmentInfo, Police, PortView, Reason, Request, Verdict, View, answer,
    classify, decide,
};

/// Tries to hand a burst to a full queue before the rest of it is counted lost.
const SEND_TRIES: usize = 4;
/// The bytes of so many frames are on their way while one is in work: the walk reads all of a request.
const AHEAD: usize = 8;

/// Is told how each frame ended; production uses `()`, which compiles to nothing.
pub trait Observer {
    /// Frame number `frame` (counted from 0 in the order of reception) ended for `reason`.
    fn ended(&mut self, frame: u64, reason: Reason);

    /// Work on a burst begins.
    #[inline(always)]
    fn begin(&mut self) {}

    /// What was done since the last lap, or since the beginning, was this stage of so many frames.
    #[inline(always)]
    fn lap(&mut self, _stage: Stage, _frames: usize) {}

    /// Now and then: figures may be told to the control plane.
    fn hand_over(&mut self, _block: &WorkerBlock) {}
}

impl Observer for () {
    #[inline(always)]
    fn ended(&mut self, _: u64, _: Reason) {}
}

/// The queues that a worker owns on one port, and on the port's exception device.
pub struct Queues {
    /// What the worker knows of the port.
    pub port: PortView,
    /// Frames from the wire.
    pub rx: RxQueue,
    /// Frames to the wire.
    pub tx: TxQueue,
    /// The kernel's side.
    pub exception: Option<(RxQueue, TxQueue)>,
    /// The kernel's side of each VLAN that has a subinterface.
    pub vlans: Vec<VlanQueues>,
    /// The kernel keeps the port: what passes goes back to it as if sent to this MAC, and nothing is relayed from it.
    pub way_back: Option<Mac>,
    /// Fragments from this port that wait for their other half.
    pub fragments: Fragments,
}

/// The fragments that wait on one port.
pub type Fragments = Reassembler<Numbered>;

/// Where the worker's view comes from.
pub enum Source {
    /// A snapshot that the control plane publishes; `None` until there is one.
    Snapshot(Option<Arc<Reader>>),
    /// A body that never changes.
    Fixed,
}

/// A frame with its number.
pub struct Numbered {
    mbuf: Mbuf,
    frame: u64,
}

/// One worker. It and all that it points to lie on cache lines that no other thread writes: [`Worker::writes`].
#[repr(align(128))]
pub struct Worker<O: Observer> {
    queues: Vec<CachePadded<Queues>>,
    state: State<O>,
    inbox: Burst,
    burst: usize,
}

/// All of a worker but its queues, so that both can be borrowed at once.
struct State<O: Observer> {
    view: View,
    source: Source,
    police: Police,
    limit: Option<AnswerLimit>,
    seen: SeenClients,
    /// Still to be looked up there.
    redirected: Option<Redirected>,
    counts: Counts,
    observer: O,
    to_wire: Burst,
    to_kernel: Burst,
    now_ns: u64,
    received: u64,
}

/// A client that was redirected, by the keyed hash; to which gateway of which virtual address, by index.
struct Redirected {
    hash: u64,
    vip: usize,
    gateway: usize,
}

/// Settings of a worker.
pub struct Settings {
    /// Frames taken from a queue at once, 1 to 64.
    pub burst: usize,
    /// Meters of what passes.
    pub police: Police,
    /// Limit of answers per source prefix.
    pub limit: Option<AnswerLimit>,
}

impl Settings {
    /// Those of one of `workers` under a profile; `key` keys the hash of source prefixes.
    pub fn of(profile: &Profile, workers: usize, key: [u64; 2]) -> Settings {
        let limit = &profile.answer_limit;
        let rate = limit.rate.div_ceil(workers.max(1) as u64);
        Settings {
            burst: profile.worker.burst,
            police: Police::new(&profile.police, workers),
            limit: AnswerLimit::new(rate, limit.v4_prefix, limit.v6_prefix, key),
        }
    }
}

impl<O: Observer> Worker<O> {
    /// A worker over its queues.
    pub fn new(
        queues: Vec<Queues>,
        view: View,
        source: Source,
        block: WorkerBlock,
        settings: Settings,
        observer: O,
    ) -> Self {
        let state = State {
            view,
            source,
            police: settings.police,
            limit: settings.limit,
            seen: SeenClients::default(),
            redirected: None,
            counts: Counts { block, dirty: 0, pending: [0; Reason::COUNT] },
            observer,
            to_wire: Burst::new(),
            to_kernel: Burst::new(),
            now_ns: 0,
            received: 0,
        };
        let queues = queues.into_iter().map(CachePadded::new).collect();
        Worker { queues, state, inbox: Burst::new(), burst: settings.burst.clamp(1, dpdk::BURST) }
    }

    /// The counters' words, for the loop's own figures.
    pub fn block(&self) -> &WorkerBlock {
        &self.state.counts.block
    }

    /// The memory that a pass writes, but for frames and what DPDK keeps for a queue and a thread.
    pub fn writes(&self) -> Lines {
        let mut lines = Lines::default();
        lines.add("worker", self);
        lines.add("queues", &self.queues[..]);
        for queues in &self.queues {
            queues.fragments.writes(&mut lines);
            lines.add("vlans", &queues.vlans[..]);
        }
        self.state.view.writes(&mut lines);
        self.state.police.writes(&mut lines);
        self.state.limit.iter().for_each(|limit| limit.writes(&mut lines));
        self.state.seen.writes(&mut lines);
        self.state.counts.block.writes(&mut lines);
        lines
    }

    /// The observer.
    pub fn observer(&mut self) -> &mut O {
        &mut self.state.observer
    }

    /// Frames received from the wire so far.
    pub fn received(&self) -> u64 {
        self.state.received
    }

    /// Exchanges the snapshot for that of a newer instance; gives back the old one, for somebody else to unmap.
    pub fn set_reader(&mut self, reader: Arc<Reader>) -> Option<Arc<Reader>> {
        match &mut self.state.source {
            Source::Snapshot(slot) => slot.replace(reader),
            Source::Fixed => Some(reader),
        }
    }

    /// One pass at `now_ns` (CLOCK_MONOTONIC). Returns the frames moved, and adds the pass's cycles to the figures.
    #[inline]
    pub fn pass(&mut self, now_ns: u64, last_tsc: &mut u64) -> usize {
        self.state.now_ns = now_ns;
        self.state.refresh();
        let mut moved = 0;
        for queues in &mut self.queues {
            moved += self.state.take_from_wire(queues, &mut self.inbox, self.burst);
            moved += self.state.take_from_kernel(queues, &mut self.inbox, self.burst);
        }
        let now = rdtsc();
        let cycles = now.wrapping_sub(*last_tsc);
        *last_tsc = now;
        self.state.counts.block.add_cycles(if moved > 0 { cycles } else { 0 }, cycles);
        moved
    }

    /// Now and then: fragments whose time is over pass on (with `all`, every fragment that waits does), and bonds speak to
    /// their switch.
    pub fn housekeep(&mut self, now_ns: u64, all: bool) {
        self.state.now_ns = now_ns;
        let limit = if all { u64::MAX } else { now_ns };
        for queues in &mut self.queues {
            while let Some(held) = queues.fragments.expire(limit) {
                self.state.pass(held.mbuf, held.frame, Class::VipOther, Reason::FragmentTimeout);
                self.state.send(queues);
            }
            queues.tx.keep_alive();
        }
        self.state.counts.flush();
        self.state.observer.hand_over(&self.state.counts.block);
        self.state.counts.block.set_heartbeat(now_ns);
    }
}

impl<O: Observer> State<O> {
    #[inline]
    fn refresh(&mut self) {
        if let Source::Snapshot(Some(reader)) = &self.source {
            match self.view.refresh(reader, self.now_ns) {
                Refresh::Unchanged => {}
                Refresh::Copied => {
                    let (instance, generation) = self.view.applied();
                    self.counts.block.set_destinations(self.view.body());
                    self.counts.block.set_applied(instance, generation);
                }
                Refresh::Kept => self.counts.block.add_kept(),
            }
        }
    }

    #[inline]
    fn take_from_wire(&mut self, queues: &mut Queues, inbox: &mut Burst, burst: usize) -> usize {
        self.observer.begin();
        let count = queues.rx.burst_at_most(inbox, burst);
        if count == 0 {
            return 0;
        }
        for mbuf in inbox.as_slice().iter().take(AHEAD) {
            mbuf.prefetch();
        }
        self.observer.lap(Stage::Rx, count);
        let mut rest = inbox.drain();
        while let Some(mbuf) = rest.next() {
            if let Some(later) = rest.ahead(AHEAD - 1) {
                later.prefetch();
            }
            let frame = self.received;
            self.received += 1;
            self.one(mbuf, frame, queues);
        }
        self.send(queues);
        let last = self.redirected.take();
        self.look_up(last);
        self.counts.flush();
        self.observer.lap(Stage::Tx, count);
        count
    }

    #[inline]
    fn one(&mut self, mut mbuf: Mbuf, frame: u64, queues: &mut Queues) {
        if !mbuf.is_contiguous() && mbuf.linearize().is_err() {
            return self.pass(mbuf, frame, Class::Rest, Reason::Scattered);
        }
        queues.port.checksums_good = mbuf.ip_cksum_good() && mbuf.l4_cksum_good();
        let observer = &mut self.observer;
        let verdict =
            classify_timed(mbuf.data(), &self.view, &queues.port, &mut |stage| observer.lap(stage, 1));
        match verdict {
            Verdict::Request(request) => self.request(mbuf, frame, &request),
            Verdict::Pass(class, reason) => self.pass(mbuf, frame, class, reason),
            Verdict::Drop(reason) => self.ended(frame, reason),
            Verdict::Fragment(info) => self.fragment(Numbered { mbuf, frame }, info, queues),
        }
    }

    #[inline]
    fn request(&mut self, mut mbuf: Mbuf, frame: u64, request: &Request) {
        match self.redirect(mbuf.data_mut(), request) {
            Ok((len, reason)) => {
                // The answer is never longer than the request: it fits.
                let _ = mbuf.set_len(len);
                self.ended(frame, reason);
                let _ = self.to_wire.push(mbuf);
            }
            Err(reason) if reason.action() == Action::Drop => self.ended(frame, reason),
            Err(reason) => self.pass(mbuf, frame, Class::Ike, reason),
        }
    }

    /// Decides about a request and writes the answer over it.
    #[inline]
    fn redirect(&mut self, frame: &mut [u8], request: &Request) -> Result<(usize, Reason), Reason> {
        let (address, gateway, mac, reason, hash) = match decide(request, &self.view) {
            Decision::Redirect { address, gateway, mac, reason, hash } => {
                (address, gateway, mac, reason, hash)
            }
            Decision::Pass(reason) => return Err(reason),
        };
        if let Some(limit) = &mut self.limit
            && !limit.admit(request.family, &request.source, self.now_ns)
        {
            return Err(Reason::AnswerLimit);
        }
        self.observer.lap(Stage::Decide, 1);
        let len = answer(frame, request, &address, mac).ok_or(Reason::AnswerTooLong)?;
        if let Some(gateway) = gateway {
            self.counts.block.add_redirect(request.vip, gateway, 1);
            // While this client's line of the table is on its way, the one before is looked up.
            self.seen.prefetch(hash);
            let before = self.redirected.replace(Redirected { hash, vip: request.vip, gateway });
            self.look_up(before);
        }
        self.observer.lap(Stage::Answer, 1);
        Ok((len, reason))
    }

    /// Counts a client that was not redirected before.
    #[inline]
    fn look_up(&mut self, redirected: Option<Redirected>) {
        if let Some(Redirected { hash, vip, gateway }) = redirected
            && self.seen.is_new(hash)
        {
            self.counts.block.add_new_client(vip, gateway);
        }
    }

    #[cold]
    fn fragment(&mut self, held: Numbered, info: FragmentInfo, queues: &mut Queues) {
        match queues.fragments.offer(info, held, self.now_ns) {
            Offer::Held(evicted) => {
                self.counts.add(Reason::FragmentHeld);
                if let Some(old) = evicted {
                    self.pass(old.mbuf, old.frame, Class::VipOther, Reason::FragmentEvicted);
                }
            }
            Offer::Pair { first, last } => self.pair(first, last, queues),
            Offer::Overlap(a, b) => {
                self.ended(a.frame, Reason::FragmentOverlap);
                self.ended(b.frame, Reason::FragmentOverlap);
            }
            Offer::Other(this, other) => {
                for held in [other, Some(this)].into_iter().flatten() {
                    self.pass(held.mbuf, held.frame, Class::VipOther, Reason::FragmentOther);
                }
            }
        }
    }

    /// Both halves are here: the whole datagram takes the way of any frame, in the scratch buffer. Its answer leaves in
    /// the first half's buffer; unanswered, both halves share its end, in the order in which they came.
    fn pair(&mut self, first: (Numbered, FragmentInfo), last: (Numbered, FragmentInfo), queues: &mut Queues) {
        let ((mut first, first_info), (last, last_info)) = (first, last);
        let port = PortView { checksums_good: false, ..queues.port };
        let scratch = queues.fragments.scratch();
        let whole = assemble(scratch, (first.mbuf.data(), &first_info), (last.mbuf.data(), &last_info));
        let outcome = match whole.map(|len| classify(&scratch[..len], &self.view, &port)) {
            Some(Verdict::Request(request)) => {
                self.redirect(scratch, &request).map_err(|reason| (Class::Ike, reason))
            }
            Some(Verdict::Pass(class, reason)) => Err((class, reason)),
            Some(Verdict::Drop(reason)) => Err((Class::VipOther, reason)),
            Some(Verdict::Fragment(_)) | None => Err((Class::VipOther, Reason::FragmentOther)),
        };
        let outcome = outcome.and_then(|(len, reason)| {
            first.mbuf.set_len(len).map_err(|_| (Class::Ike, Reason::AnswerTooLong))?;
            first.mbuf.data_mut().copy_from_slice(&scratch[..len]);
            Ok(reason)
        });
        let (class, reason) = match outcome {
            Ok(reason) => {
                self.ended(first.frame.max(last.frame), reason);
                self.ended(first.frame.min(last.frame), Reason::FragmentJoined);
                let _ = self.to_wire.push(first.mbuf);
                return;
            }
            Err(unanswered) => unanswered,
        };
        let halves = if first.frame < last.frame { [first, last] } else { [last, first] };
        for half in halves {
            if reason.action() == Action::Drop {
                self.ended(half.frame, reason);
            } else {
                self.pass(half.mbuf, half.frame, class, reason);
            }
        }
    }

    #[inline]
    fn pass(&mut self, mbuf: Mbuf, frame: u64, class: Class, reason: Reason) {
        if self.police.admit(class, mbuf.data(), self.now_ns) {
            self.ended(frame, reason);
            if self.to_kernel.push(mbuf).is_err() {
                self.counts.add(Reason::ExceptionFull);
            }
        } else {
            self.ended(frame, class.policed());
        }
        self.observer.lap(Stage::Pass, 1);
    }

    #[inline]
    fn ended(&mut self, frame: u64, reason: Reason) {
        self.counts.add(reason);
        self.observer.ended(frame, reason);
    }

    #[inline]
    fn take_from_kernel(&mut self, queues: &mut Queues, inbox: &mut Burst, burst: usize) -> usize {
        let mut moved = 0;
        if let Some((rx, _)) = &queues.exception {
            self.observer.begin();
            let count = rx.burst_at_most(inbox, burst);
            if count > 0 {
                self.relay(queues, inbox, None);
                self.observer.lap(Stage::Kernel, count);
            }
            moved += count;
        }
        for at in 0..queues.vlans.len() {
            let of = &queues.vlans[at];
            self.observer.begin();
            let (count, vlan) = (of.rx.burst_at_most(inbox, burst), of.vlan);
            if count > 0 {
                self.relay(queues, inbox, Some(vlan));
                self.observer.lap(Stage::Kernel, count);
            }
            moved += count;
        }
        moved
    }

    /// Frames of the kernel's side leave on the port, those of a VLAN's with its tag.
    #[inline]
    fn relay(&mut self, queues: &mut Queues, inbox: &mut Burst, vlan: Option<u16>) {
        if queues.way_back.is_some() {
            self.counts.add_n(Reason::NotRelayed, inbox.len());
            inbox.clear();
            self.counts.flush();
            return;
        }
        let (port, fenced) = (&queues.port, self.view.any_fenced());
        for mut mbuf in inbox.drain() {
            if vlan.is_some_and(|vlan| !vlan::tag(&mut mbuf, vlan)) {
                self.counts.add(Reason::NoTagRoom);
                continue;
            }
            let out = Frame::new_checked(mbuf.data()).is_ok_and(|eth| {
                let interface = port.vlans.interface(&eth, port.index);
                self.view.gave_up_mac(&eth.source(), interface)
                    || fenced && touches_fenced(&eth, &self.view, interface)
            });
            if out {
                self.counts.add(Reason::FencedOut);
            } else {
                self.counts.add(Reason::FromKernel);
                let _ = self.to_wire.push(mbuf);
            }
        }
        self.send(queues);
        self.counts.flush();
    }

    #[inline]
    fn send(&mut self, queues: &mut Queues) {
        if !self.to_wire.is_empty() {
            self.counts.add_n(Reason::PortFull, send_all(&queues.tx, &mut self.to_wire));
        }
        if !self.to_kernel.is_empty() {
            self.send_to_kernel(queues);
        }
    }

    #[inline]
    fn send_to_kernel(&mut self, queues: &mut Queues) {
        if !queues.vlans.is_empty() {
            vlan::sort(&mut self.to_kernel, &mut queues.vlans);
            for of in &mut queues.vlans {
                let (tx, frames) = of.found();
                if !frames.is_empty() {
                    self.counts.add_n(Reason::ExceptionFull, send_all(tx, frames));
                }
            }
            if self.to_kernel.is_empty() {
                return;
            }
        }
        if let Some(mac) = queues.way_back {
            self.to_kernel.as_mut_slice().iter_mut().for_each(|mbuf| readdress(mbuf, mac));
        }
        match &queues.exception {
            Some((_, tx)) => self.counts.add_n(Reason::ExceptionFull, send_all(tx, &mut self.to_kernel)),
            None => {
                self.counts.add_n(Reason::NoException, self.to_kernel.len());
                self.to_kernel.clear();
            }
        }
    }
}

/// A frame for the kernel's exception device, which knows neither virtual MACs nor VLANs: the tags go, for the kernel takes
/// the packet by its address.
#[cold]
fn readdress(mbuf: &mut Mbuf, mac: Mac) {
    let whole = mbuf.is_contiguous();
    let frame = mbuf.data_mut();
    let Ok(eth) = Frame::new_checked(frame) else { return };
    let tags = eth.payload_offset() - ethernet::HEADER_LEN;
    let source = eth.source();
    ethernet::set_addresses(frame, mac, source);
    if tags > 0 && whole {
        let (len, ethertype) = (frame.len(), ethernet::HEADER_LEN - 2);
        frame.copy_within(ethertype + tags.., ethertype);
        let _ = mbuf.set_len(len - tags);
    }
}

/// Sends a burst; what a full queue does not take after a few tries is freed. Returns how many were lost.
#[inline]
fn send_all(tx: &TxQueue, burst: &mut Burst) -> usize {
    for _ in 0..SEND_TRIES {
        tx.burst(burst);
        if burst.is_empty() {
            return 0;
        }
    }
    let lost = burst.len();
    burst.clear();
    lost
}

/// Counters of the pass, written to shared memory once a burst.
struct Counts {
    block: WorkerBlock,
    dirty: u128,
    pending: [u32; Reason::COUNT],
}

impl Counts {
    #[inline(always)]
    fn add(&mut self, reason: Reason) {
        self.add_n(reason, 1);
    }

    #[inline(always)]
    fn add_n(&mut self, reason: Reason, count: usize) {
        self.pending[reason.index()] += count as u32;
        self.dirty |= 1 << reason.index();
    }

    #[inline]
    fn flush(&mut self) {
        while self.dirty != 0 {
            let index = self.dirty.trailing_zeros() as usize;
            self.dirty &= self.dirty - 1;
            let count = std::mem::take(&mut self.pending[index]);
            self.block.add(index, u64::from(count));
        }
    }
}

const _: () = assert!(Reason::COUNT <= 128);
