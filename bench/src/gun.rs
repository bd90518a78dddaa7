//! The gun: sends requests at a rate or by a window, matches each answer with its request, and keeps the accounts.
//!
//! Request number n has the SPI n times an odd constant, so that SPIs look random and an answer leads back to its
//! request without a search. A ring remembers each request until it is answered or its time is over; everything sent is
//! at the end either answered or lost, and what came twice, late or unasked is counted by name.

use std::net::IpAddr;
use std::time::Duration;

use dpdk::{Burst, Mempool, RxQueue, TxQueue, rdtsc};
use hdrhistogram::Histogram;

use crate::answer::{Checker, Expect, Received, Wrong};
use crate::request::{Flaw, Kind, RequestError, Size, Spec, Template};

/// Odd, its bits well mixed (Knuth, the golden ratio); `BACK` is its inverse modulo 2^64.
const FORTH: u64 = 0x9e37_79b9_7f4a_7c15;
const BACK: u64 = 0xf1de_83e1_9937_733d;
/// Requests of one burst.
const AT_ONCE: u64 = 32;
/// The ring never holds more requests than this: 64 MiB.
const RING_MAX: u64 = 1 << 22;
/// Longest latency that is told from longer ones, ns: 100 s.
const LATENCY_MAX: u64 = 100_000_000_000;
/// Gateways told apart in reports.
const GATEWAYS_MAX: usize = 256;

/// The mixture of requests.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Of 10,000 requests so many do not signal redirect support.
    pub unsignalled: u32,
    /// Of 10,000 requests so many are malformed, in all ways in turn.
    pub malformed: u32,
    /// Of 10,000 requests so many are sent as two fragments.
    pub pairs: u32,
    /// Clients: source addresses in turn, 1 to 65536.
    pub sources: u32,
    /// Times that each request is sent, 1 to 4; with several queues each time on another.
    pub copies: u32,
    /// So many requests in a row are plain, so many are the mixture, so many are what is mixed in and nothing else, and from the
    /// start again; 0: the mixture all the time. What differs between them then differs on the same machine in the same second.
    pub spell: u64,
}

/// A class of requests by number: [`Kind::Request`], [`Kind::Unsignalled`], the flaws, and the request as a pair.
const KINDS: usize = PAIR + 1;
const PAIR: usize = 2 + Flaw::ALL.len();

/// Whether a class of requests is to be answered.
fn answerable(kind: usize) -> bool {
    matches!(kind, 0 | PAIR)
}

impl Mix {
    /// All requests are of one kind.
    #[inline]
    fn is_plain(&self) -> bool {
        self.unsignalled | self.malformed | self.pairs == 0
    }

    /// The kind of request number `n`, as an index into the templates.
    #[inline]
    fn kind(&self, n: u64) -> usize {
        if self.is_plain() {
            return 0;
        }
        let others = self.unsignalled + self.malformed + self.pairs;
        let of = match n.checked_div(self.spell).map(|spell| spell % 3) {
            Some(0) => return 0,
            Some(2) => others,
            _ => 10_000,
        };
        // A hash spreads the kinds evenly and always in the same way.
        let ticket = (((n.wrapping_mul(BACK) >> 32) * u64::from(of)) >> 32) as u32;
        if ticket < self.unsignalled {
            1
        } else if ticket < self.unsignalled + self.malformed {
            2 + n as usize % Flaw::ALL.len()
        } else if ticket < self.unsignalled + self.malformed + self.pairs {
            PAIR
        } else {
            0
        }
    }
}

/// The port's queues and the pool that frames come from.
pub struct Link {
    /// Where frames come from.
    pub pool: Mempool,
    /// Receive queues.
    pub rx: Vec<RxQueue>,
    /// Transmit queues, at least one.
    pub tx: Vec<TxQueue>,
    /// TSC cycles a second.
    pub hz: u64,
}

/// Which answers are right.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'a> {
    /// What the other side does.
    pub expect: Expect,
    /// Gateways that may be named; none: every unicast address other than the one asked.
    pub gateways: &'a [IpAddr],
    /// Whatever protocol id the notify has is right.
    pub any_protocol_id: bool,
}

/// How a run goes.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// Requests a second; `None`: as many as the window allows.
    pub rate: Option<f64>,
    /// Requests that may be unanswered at once; with a rate it is not looked at.
    pub window: u64,
    /// How long.
    pub time: Duration,
    /// End after so many requests, even before the time.
    pub count: Option<u64>,
    /// An answer later than this is lost.
    pub timeout: Duration,
    /// The latency of every so many answers is recorded, at least 1.
    pub latency_every: u32,
}

/// What happened in a run or in a part of it.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Requests sent that must be answered; copies count.
    pub sent: u64,
    /// Requests sent that must not be answered.
    pub unanswerable: u64,
    /// Frames sent.
    pub frames: u64,
    /// Right answers in time.
    pub answered: u64,
    /// Requests without an answer in time.
    pub lost: u64,
    /// Right answers after their time: their requests are among the lost.
    pub late: u64,
    /// Wrong answers by [`Wrong`].
    pub wrong: [u64; Wrong::ALL.len()],
    /// Frames that are no answers at all.
    pub foreign: u64,
    /// Requests that the rate asked for and the generator could not send.
    pub behind: u64,
    /// Measured seconds of sending.
    pub seconds: f64,
    /// Latency in ns.
    pub latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Tally {
        let latency = match Histogram::new_with_bounds(1, LATENCY_MAX, 3) {
            Ok(histogram) => histogram,
            Err(_) => unreachable!("the bounds are constants in range"),
        };
        Tally {
            sent: 0,
            unanswerable: 0,
            frames: 0,
            answered: 0,
            lost: 0,
            late: 0,
            wrong: [0; Wrong::ALL.len()],
            foreign: 0,
            behind: 0,
            seconds: 0.0,
            latency,
        }
    }
}

impl Tally {
    /// All wrong answers.
    pub fn wrong_total(&self) -> u64 {
        self.wrong.iter().sum()
    }

    fn add(&mut self, part: &Tally) {
        self.sent += part.sent;
        self.unanswerable += part.unanswerable;
        self.frames += part.frames;
        self.answered += part.answered;
        self.lost += part.lost;
        self.late += part.late;
        for (sum, part) in self.wrong.iter_mut().zip(&part.wrong) {
            *sum += part;
        }
        self.foreign += part.foreign;
        self.behind += part.behind;
        self.seconds += part.seconds;
        // Both have the same bounds: nothing can be out of range.
        let _ = self.latency.add(&part.latency);
    }

    fn clear(&mut self) {
        *self = Tally::default();
    }
}

/// What is remembered of a request.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// TSC of sending.
    sent: u64,
    /// Frames of answers still awaited.
    left: u32,
    /// Gateway that the first answer named, as an index plus 1; 0: none yet.
    gateway: u16,
    /// Its time is over: an answer is late.
    over: bool,
}

/// The load generator.
pub struct Gun {
    link: Link,
    templates: Vec<Template>,
    checker: Checker,
    expect: Expect,
    mix: Mix,
    ring: Vec<Slot>,
    /// Number of the next request.
    next: u64,
    /// Number of the oldest request that may still be answered.
    oldest: u64,
    outstanding: u64,
    out: Vec<Burst>,
    scratch: Vec<u8>,
    gateways: Vec<([u8; 16], u64)>,
    part: Tally,
    sample: u32,
    ns_per_cycle: f64,
    frames: u64,
}

impl Gun {
    /// Requests are numbered from `seed` times 2^40 plus 1.
    ///
    /// # Errors
    /// A spec that cannot be built.
    pub fn new(
        link: Link,
        spec: &Spec,
        mix: Mix,
        answers: &Answers<'_>,
        seed: u64,
    ) -> Result<Gun, RequestError> {
        let mut kinds = vec![Kind::Request, Kind::Unsignalled];
        kinds.extend(Flaw::ALL.map(Kind::Malformed));
        let mut templates =
            kinds.into_iter().map(|kind| Template::new(spec, kind)).collect::<Result<Vec<_>, _>>()?;
        templates.push(Template::new(&Spec { size: Size::Pair, ..*spec }, Kind::Request)?);
        debug_assert_eq!(templates.len(), KINDS);
        let expect = answers.expect;
        let sent: &[&Template] =
            if mix.pairs > 0 { &[&templates[0], &templates[PAIR]] } else { &[&templates[0]] };
        let checker =
            Checker::new(spec, sent, expect, answers.gateways).with_any_protocol_id(answers.any_protocol_id);
        let first = (seed << 40) + 1;
        let ns_per_cycle = 1e9 / link.hz as f64;
        let out = link.tx.iter().map(|_| Burst::new()).collect();
        let scratch =
            vec![0; templates.iter().map(|template| template.frame.len()).max().unwrap_or_default()];
        Ok(Gun {
            link,
            templates,
            checker,
            expect,
            mix,
            ring: Vec::new(),
            next: first,
            oldest: first,
            outstanding: 0,
            out,
            scratch,
            gateways: Vec::new(),
            part: Tally::default(),
            sample: 0,
            ns_per_cycle,
            frames: 0,
        })
    }

    /// Frames sent by all runs, the warm-up among them.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// How often each gateway was named in the last run, most often first.
    pub fn gateways(&self) -> Vec<([u8; 16], u64)> {
        let mut gateways = self.gateways.clone();
        gateways.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        gateways
    }

    /// Fires for a while, then waits for the last answers. `each_second` gets the account of each second as it ends, and
    /// at last that of what was left.
    pub fn fire(&mut self, trial: &Trial, each_second: &mut dyn FnMut(&Tally)) -> Tally {
        let hz = self.link.hz as f64;
        let timeout = (trial.timeout.as_secs_f64() * hz) as u64;
        let ring = match trial.rate {
            Some(rate) => (rate * trial.timeout.as_secs_f64() * 2.0) as u64,
            None => trial.window * 2,
        };
        let ring = ring.clamp(4096, RING_MAX).next_power_of_two() as usize;
        self.ring.clear();
        self.ring.resize(ring, Slot::default());
        (self.oldest, self.outstanding) = (self.next, 0);
        self.gateways.clear();
        self.part.clear();
        let per_cycle = trial.rate.map(|rate| rate / hz);
        let allowed = trial.count.unwrap_or(u64::MAX);
        let (first, begin) = (self.next, rdtsc());
        let end = begin + (trial.time.as_secs_f64() * hz) as u64;
        let (mut total, mut inbox) = (Tally::default(), Burst::new());
        let (mut second, mut part_began) = (begin + self.link.hz, begin);
        let mut now = begin;
        while now < end && self.next - first < allowed {
            self.expire(now, timeout);
            let fired = self.next - first;
            let due = match per_cycle {
                Some(per_cycle) => ((now - begin) as f64 * per_cycle) as u64,
                None => fired + trial.window.saturating_sub(self.outstanding),
            };
            let count = due.min(allowed).saturating_sub(fired).min(AT_ONCE);
            self.send(count, now);
            self.receive(&mut inbox, trial.latency_every);
            now = rdtsc();
            if now >= second {
                self.part.seconds = (now - part_began) as f64 / hz;
                each_second(&self.part);
                total.add(&self.part);
                self.part.clear();
                (part_began, second) = (now, now + self.link.hz);
            }
        }
        if let Some(per_cycle) = per_cycle.filter(|_| trial.count.is_none()) {
            let due = ((now - begin) as f64 * per_cycle) as u64;
            // What is not a whole burst was not due yet when the last one left.
            self.part.behind += due.saturating_sub(self.next - first + AT_ONCE);
        }
        self.part.seconds = (now - part_began) as f64 / hz;
        // The last frames leave and the last answers come; whatever does not is lost.
        let last = now + timeout;
        while now < last && (self.outstanding > 0 || self.out.iter().any(|out| !out.is_empty())) {
            self.flush();
            self.receive(&mut inbox, trial.latency_every);
            self.expire(now, timeout);
            now = rdtsc();
        }
        for out in &mut self.out {
            self.part.frames -= out.len() as u64;
            out.clear();
        }
        self.expire(u64::MAX, 0);
        if self.part.frames + self.part.answered > 0 {
            each_second(&self.part);
        }
        total.add(&self.part);
        self.part.clear();
        self.frames += total.frames;
        total
    }

    /// Declares lost what was sent too long ago.
    #[inline]
    fn expire(&mut self, now: u64, timeout: u64) {
        let mask = self.ring.len() - 1;
        while self.oldest < self.next {
            let slot = &mut self.ring[self.oldest as usize & mask];
            if slot.left > 0 {
                if now.saturating_sub(slot.sent) <= timeout {
                    break;
                }
                let frames = frames_back(self.expect, &self.templates[self.mix.kind(self.oldest)]);
                let lost = u64::from(slot.left.div_ceil(frames));
                self.part.lost += lost;
                self.outstanding -= lost;
            }
            slot.over = true;
            self.oldest += 1;
        }
    }

    /// Sends up to `count` requests; what a full queue did not take leaves first.
    #[inline]
    fn send(&mut self, count: u64, now: u64) {
        let copies = self.mix.copies as usize;
        let queues = self.out.len();
        let mask = self.ring.len() as u64 - 1;
        if queues == 1 && copies == 1 {
            // The common case in bulk, all on one queue.
            let count =
                if self.out[0].is_empty() { count.min(mask + 1 - (self.next - self.oldest)) } else { 0 };
            let requests = self.next..self.next + count;
            let frames: usize = match self.mix.is_plain() {
                true => count as usize * self.templates[0].frames(),
                false => requests.map(|n| self.templates[self.mix.kind(n)].frames()).sum(),
            };
            let allocated = self.link.pool.alloc_bulk(&mut self.out[0], frames);
            let mut at = 0;
            while at < allocated {
                let n = self.next;
                let kind = self.mix.kind(n);
                let template = &self.templates[kind];
                // The pool's buffers hold every frame, main sees to that.
                match (template.fragments(), &mut self.out[0].as_mut_slice()[at..]) {
                    (Some((first, second)), [head, tail, ..]) => {
                        let whole = &mut self.scratch[..template.frame.len()];
                        template.vary(whole, n.wrapping_mul(FORTH), self.mix.client(n));
                        let _ = (head.set_len(first), tail.set_len(second));
                        template.split(whole, n as u32, head.data_mut(), tail.data_mut());
                    }
                    (_, [mbuf, ..]) => {
                        let _ = mbuf.set_len(template.frame.len());
                        template.vary(mbuf.data_mut(), n.wrapping_mul(FORTH), self.mix.client(n));
                    }
                    (_, []) => break,
                }
                at += template.frames();
                self.note(n, kind, now);
            }
            self.part.frames += allocated as u64;
        } else {
            for _ in 0..count {
                let room = 2 * copies;
                let blocked = self.out.iter().any(|out| out.room() < room);
                if blocked || self.next - self.oldest > mask {
                    break;
                }
                let n = self.next;
                let kind = self.mix.kind(n);
                let template = &self.templates[kind];
                let whole = &mut self.scratch[..template.frame.len()];
                template.vary(whole, n.wrapping_mul(FORTH), self.mix.client(n));
                for copy in 0..copies {
                    let out = &mut self.out[(n as usize + copy) % queues];
                    // Each copy is a datagram of its own: another identification.
                    let id = (n as u32).wrapping_mul(4).wrapping_add(copy as u32);
                    if !push(&self.link.pool, out, template, whole, id) {
                        return self.flush();
                    }
                    self.part.frames += template.frames() as u64;
                }
                self.note(n, kind, now);
            }
        }
        self.flush();
    }

    /// Remembers request `n`, just sent.
    #[inline]
    fn note(&mut self, n: u64, kind: usize, now: u64) {
        let copies = self.mix.copies;
        let awaited = if answerable(kind) && self.expect != Expect::Nothing || self.expect == Expect::Echo {
            self.part.sent += u64::from(copies);
            self.outstanding += u64::from(copies);
            copies * frames_back(self.expect, &self.templates[kind])
        } else if answerable(kind) {
            self.part.sent += u64::from(copies);
            0
        } else {
            self.part.unanswerable += u64::from(copies);
            0
        };
        let mask = self.ring.len() - 1;
        self.ring[n as usize & mask] = Slot { sent: now, left: awaited, gateway: 0, over: false };
        self.next = n + 1;
    }

    #[inline]
    fn flush(&mut self) {
        for (tx, out) in self.link.tx.iter().zip(&mut self.out) {
            if !out.is_empty() {
                tx.burst(out);
            }
        }
    }

    #[inline]
    fn receive(&mut self, inbox: &mut Burst, latency_every: u32) {
        for queue in 0..self.link.rx.len() {
            if self.link.rx[queue].burst(inbox) == 0 {
                continue;
            }
            let now = rdtsc();
            for mbuf in inbox.as_slice() {
                mbuf.prefetch();
            }
            for mbuf in inbox.as_slice() {
                match self.checker.check(mbuf.data()) {
                    Received::Answer { spi, client, gateway } => {
                        self.answer(spi, client, gateway, now, latency_every);
                    }
                    Received::Wrong(wrong) => self.part.wrong[wrong as usize] += 1,
                    Received::Foreign => self.part.foreign += 1,
                }
            }
            inbox.clear();
        }
    }

    #[inline]
    fn answer(&mut self, spi: u64, client: u16, gateway: [u8; 16], now: u64, latency_every: u32) {
        let n = spi.wrapping_mul(BACK);
        let mask = self.ring.len() - 1;
        let known = n < self.next && n + (mask as u64) >= self.next;
        let slot = &mut self.ring[n as usize & mask];
        let wrong = if !known || slot.sent == 0 {
            // Nothing of this run: an answer to an earlier one that is very late, or to nothing.
            self.part.late += 1;
            return;
        } else if self.expect == Expect::Redirect && !answerable(self.mix.kind(n)) {
            Some(Wrong::Unasked)
        } else if self.expect == Expect::Redirect && client != self.mix.client(n) {
            Some(Wrong::Header)
        } else if slot.left == 0 {
            Some(Wrong::Duplicate)
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.part.wrong[wrong as usize] += 1;
            return;
        }
        slot.left -= 1;
        if !slot.left.is_multiple_of(frames_back(self.expect, &self.templates[self.mix.kind(n)])) {
            // Half of a datagram.
            return;
        }
        if slot.over {
            self.part.late += 1;
            return;
        }
        self.outstanding -= 1;
        let first_gateway = slot.gateway;
        let named = match self.gateways.iter().position(|(known, _)| *known == gateway) {
            Some(index) => index,
            None if self.gateways.len() < GATEWAYS_MAX => {
                self.gateways.push((gateway, 0));
                self.gateways.len() - 1
            }
            None => GATEWAYS_MAX - 1,
        };
        self.gateways[named].1 += 1;
        slot.gateway = named as u16 + 1;
        if first_gateway != 0 && first_gateway != named as u16 + 1 {
            self.part.wrong[Wrong::Differs as usize] += 1;
            return;
        }
        self.part.answered += 1;
        self.sample += 1;
        if self.sample >= latency_every {
            self.sample = 0;
            let ns = now.saturating_sub(slot.sent) as f64 * self.ns_per_cycle;
            self.part.latency.saturating_record(ns as u64);
        }
    }
}

impl Mix {
    /// How far the address of request `n` is from the first.
    #[inline]
    fn client(&self, n: u64) -> u16 {
        if self.sources <= 1 { 0 } else { (n % u64::from(self.sources)) as u16 }
    }
}

/// Frames that an answer to a request has: an echo sends its fragments back, one by one.
#[inline]
fn frames_back(expect: Expect, template: &Template) -> u32 {
    if expect == Expect::Echo { template.frames() as u32 } else { 1 }
}

/// Appends a varied request as one frame or two; false when the pool is empty.
fn push(pool: &Mempool, out: &mut Burst, template: &Template, whole: &[u8], id: u32) -> bool {
    let before = out.len();
    let Some((first, second)) = template.fragments() else {
        if pool.alloc_bulk(out, 1) == 0 {
            return false;
        }
        let mbuf = &mut out.as_mut_slice()[before];
        let _ = mbuf.set_len(whole.len());
        mbuf.data_mut().copy_from_slice(whole);
        return true;
    };
    if pool.alloc_bulk(out, 2) == 0 {
        return false;
    }
    if let [.., head, tail] = out.as_mut_slice() {
        let _ = (head.set_len(first), tail.set_len(second));
        template.split(whole, id, head.data_mut(), tail.data_mut());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_spi_leads_back_to_its_request() {
        assert_eq!(FORTH.wrapping_mul(BACK), 1);
        for n in [1u64, 2, 1 << 40, u64::MAX] {
            assert_eq!(n.wrapping_mul(FORTH).wrapping_mul(BACK), n);
        }
    }

    #[test]
    fn the_mixture_has_the_shares_asked_for() {
        let mix = Mix { unsignalled: 1000, malformed: 250, pairs: 500, sources: 7, copies: 1, spell: 0 };
        let counts = |mix: Mix, numbers: std::ops::Range<u64>| {
            let mut counts = [0u32; KINDS];
            numbers.for_each(|n| counts[mix.kind(n)] += 1);
            counts
        };
        let million = counts(mix, 0..1_000_000);
        assert!(million[1].abs_diff(100_000) < 1000, "{million:?}");
        assert!(million[2..PAIR].iter().sum::<u32>().abs_diff(25_000) < 500, "{million:?}");
        assert!(million[2..PAIR].iter().all(|count| *count > 5000), "{million:?}");
        assert!(million[PAIR].abs_diff(50_000) < 700, "{million:?}");
        // In spells: nothing of it, the same mixture, and only what is mixed in, in the same proportions.
        let spells = Mix { spell: 1_000_000, ..mix };
        let [plain, mixed, others, again] =
            [0, 1, 2, 3].map(|spell| counts(spells, spell * 1_000_000..(spell + 1) * 1_000_000));
        assert_eq!((plain[0], again[0]), (1_000_000, 1_000_000));
        assert_eq!(mixed, counts(mix, 1_000_000..2_000_000));
        assert!(others[0] == 0 && others[1].abs_diff(571_428) < 3000, "{others:?}");
        assert!(others[PAIR].abs_diff(285_714) < 3000, "{others:?}");
        assert_eq!((0..14).map(|n| mix.client(n)).collect::<Vec<_>>()[..8], [0, 1, 2, 3, 4, 5, 6, 0]);
    }
}
