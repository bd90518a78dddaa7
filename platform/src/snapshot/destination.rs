//! Destinations of redirects: the virtual address and the gateway that a worker's counts belong to.
//!
//! A worker counts redirects by the indices of its snapshot, in one plain word each. An index may mean another gateway in
//! the next snapshot, so the addresses lie beside the counts. When a worker takes a snapshot that gives an index another
//! meaning, it moves what was counted there to the list of former destinations and starts at 0. The moves of one snapshot
//! stand between two steps of a sequence number; a reader that meets one reads again.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::body::{Body, Gateway, MAX_GATEWAYS, MAX_VIPS, Vip, ip16};
use super::memfd::{LINE, ReadOnlyWord, SharedWords};

/// Pairs of indices: virtual address and gateway.
pub(super) const PAIRS: usize = MAX_VIPS * MAX_GATEWAYS;
/// Former destinations that a worker remembers; of more, the oldest counts are forgotten.
const FORMER: usize = 256;
/// Virtual address, gateway, family (0: not named).
const NAME: usize = 5;
/// A name, redirects, new clients.
const FORMER_WORDS: usize = NAME + 2;
const SEQUENCE: usize = 0;
const NAMES: usize = LINE;
const FORMERS: usize = NAMES + PAIRS * NAME;
/// Words of a worker's destinations.
pub(super) const WORDS: usize = (FORMERS + FORMER * FORMER_WORDS).next_multiple_of(2 * LINE);
/// A reader gives up after so many snapshots that were taken while it read.
const TRIES: usize = 3;

type Name = [u64; NAME];

/// Redirects from one virtual address to one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RedirectView {
    /// Index of the virtual address in the snapshot; `None`: no longer in it.
    pub vip: Option<usize>,
    /// Index of the gateway; `None`: no longer in the snapshot.
    pub gateway: Option<usize>,
    /// The virtual address; `None`: the data plane works by no snapshot.
    pub vip_address: Option<IpAddr>,
    /// The gateway; `None`: the data plane works by no snapshot.
    pub gateway_address: Option<IpAddr>,
    /// Redirects, sum over the workers; retransmissions of a client count again.
    pub total: u64,
    /// Clients (SPIi and source address) redirected for the first time, sum over the workers.
    pub new_clients: u64,
}

/// The writing end, of one worker.
pub(super) struct Destinations {
    words: SharedWords,
    /// The former destination that is replaced next when all are in use
    oldest: Cell<usize>,
}

impl Destinations {
    pub(super) fn new(words: SharedWords) -> Destinations {
        Destinations { words, oldest: Cell::new(0) }
    }

    /// The memory that the worker writes here.
    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.words[..]
    }

    /// Names the destinations of a snapshot. `redirects` and `new_clients` hold the counts by [`PAIRS`].
    pub(super) fn set(&self, body: &Body, redirects: &[AtomicU64], new_clients: &[AtomicU64]) {
        let mut moving = None;
        for (vip_index, vip) in body.vips().iter().enumerate() {
            for (gateway_index, gateway) in vip.gateways().iter().enumerate() {
                let pair = vip_index * MAX_GATEWAYS + gateway_index;
                let words = &self.words[NAMES + pair * NAME..][..NAME];
                let Some(to) = name(vip, gateway).filter(|to| load(words) != *to) else { continue };
                moving.get_or_insert_with(|| self.begin());
                let counts = [&redirects[pair], &new_clients[pair]];
                self.retire(&load(words), counts.map(|count| count.load(Ordering::Relaxed)));
                counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
                store(words, &to);
            }
        }
        if let Some(sequence) = moving {
            self.words[SEQUENCE].store(sequence + 1, Ordering::Release);
        }
    }

    /// Makes the sequence number odd, before everything that follows.
    fn begin(&self) -> u64 {
        let sequence = self.words[SEQUENCE].load(Ordering::Relaxed).wrapping_add(1);
        self.words[SEQUENCE].store(sequence, Ordering::Relaxed);
        fence(Ordering::Release);
        sequence
    }

    /// Adds counts to those of a former destination.
    fn retire(&self, of: &Name, counts: [u64; 2]) {
        if counts == [0; 2] || of[NAME - 1] == 0 {
            return;
        }
        let mut formers = self.words[FORMERS..].chunks_exact(FORMER_WORDS).take(FORMER);
        let known = formers.clone().find(|former| load(&former[..NAME]) == *of);
        let place = known.or_else(|| formers.find(|former| former[NAME - 1].load(Ordering::Relaxed) == 0));
        let place = place.unwrap_or_else(|| {
            let oldest = self.oldest.get();
            self.oldest.set((oldest + 1) % FORMER);
            let place = &self.words[FORMERS + oldest * FORMER_WORDS..][..FORMER_WORDS];
            place.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            place
        });
        store(&place[..NAME], of);
        for (word, count) in place[NAME..].iter().zip(counts) {
            word.store(word.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
        }
    }
}

/// The name of a destination; `None` for an index that no gateway has.
fn name(vip: &Vip, gateway: &Gateway) -> Option<Name> {
    let words = |address: &[u8; 16]| {
        let (halves, _) = address.as_chunks::<8>();
        [u64::from_ne_bytes(halves[0]), u64::from_ne_bytes(halves[1])]
    };
    let ([a, b], [c, d]) = (words(&vip.addr), words(&gateway.addr));
    (c | d != 0).then_some([a, b, c, d, vip.family.into()])
}

fn load(words: &[AtomicU64]) -> Name {
    std::array::from_fn(|index| words[index].load(Ordering::Relaxed))
}

fn store(words: &[AtomicU64], name: &Name) {
    words.iter().zip(name).for_each(|(word, part)| word.store(*part, Ordering::Relaxed));
}

/// Sums of redirects by destination.
#[derive(Default)]
pub(super) struct Sums(BTreeMap<Name, RedirectView>);

impl Sums {
    /// Adds what a worker has counted. `None`: it took one snapshot after the other meanwhile, or died in the middle.
    pub(super) fn add(
        &mut self,
        words: &[ReadOnlyWord],
        redirects: &[ReadOnlyWord],
        new_clients: &[ReadOnlyWord],
    ) -> Option<()> {
        let found = (0..TRIES).find_map(|_| read(words, redirects, new_clients))?;
        for (key, view) in found {
            let sum = self.0.entry(key).or_insert(RedirectView { total: 0, new_clients: 0, ..view });
            (sum.vip, sum.gateway) = (view.vip.or(sum.vip), view.gateway.or(sum.gateway));
            sum.total = sum.total.wrapping_add(view.total);
            sum.new_clients = sum.new_clients.wrapping_add(view.new_clients);
        }
        Some(())
    }

    /// All, those of the snapshot first, by index.
    pub(super) fn into_views(self) -> Vec<RedirectView> {
        let mut views: Vec<RedirectView> = self.0.into_values().collect();
        views.sort_by_key(|view| (view.vip.is_none(), view.vip, view.gateway));
        views
    }
}

fn read(
    words: &[ReadOnlyWord],
    redirects: &[ReadOnlyWord],
    new_clients: &[ReadOnlyWord],
) -> Option<Vec<(Name, RedirectView)>> {
    let sequence = words[SEQUENCE].load();
    fence(Ordering::Acquire);
    let mut found = Vec::new();
    for pair in 0..PAIRS {
        let (total, new_clients) = (redirects[pair].load(), new_clients[pair].load());
        if total == 0 {
            continue;
        }
        let (vip, gateway) = (pair / MAX_GATEWAYS, pair % MAX_GATEWAYS);
        let named = std::array::from_fn(|index| words[NAMES + pair * NAME + index].load());
        let key = if named[NAME - 1] == 0 { [vip as u64, gateway as u64, 0, 0, 0] } else { named };
        found.push((key, view(&named, Some((vip, gateway)), [total, new_clients])));
    }
    for former in words[FORMERS..].chunks_exact(FORMER_WORDS).take(FORMER) {
        let named = std::array::from_fn(|index| former[index].load());
        if named[NAME - 1] != 0 {
            found.push((named, view(&named, None, [former[NAME].load(), former[NAME + 1].load()])));
        }
    }
    fence(Ordering::Acquire);
    (sequence.is_multiple_of(2) && words[SEQUENCE].load() == sequence).then_some(found)
}

fn view(name: &Name, indices: Option<(usize, usize)>, [total, new_clients]: [u64; 2]) -> RedirectView {
    let address = |at: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&name[at].to_ne_bytes());
        bytes[8..].copy_from_slice(&name[at + 1].to_ne_bytes());
        ip16(u8::try_from(name[NAME - 1]).ok()?, &bytes)
    };
    RedirectView {
        vip: indices.map(|(vip, _)| vip),
        gateway: indices.map(|(_, gateway)| gateway),
        vip_address: address(0),
        gateway_address: address(2),
        total,
        new_clients,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::body::{GATEWAY_USABLE, addr16};
    use super::super::feedback::{Feedback, FeedbackSpec};
    use super::super::feedback_reader::FeedbackReader;
    use super::*;

    fn pair(workers: usize) -> (Feedback, FeedbackReader) {
        let feedback = Feedback::create(&FeedbackSpec { workers, ..FeedbackSpec::default() }).unwrap();
        let reader = FeedbackReader::map(feedback.fd().try_clone_to_owned().unwrap()).unwrap();
        (feedback, reader)
    }

    /// A snapshot of virtual addresses 192.0.2.N, each with gateways 10.0.0.N; 0 is an index that none has.
    fn body(vips: &[(u8, &[u8])]) -> Box<Body> {
        let mut body = Body::boxed();
        body.vip_count = vips.len() as u32;
        for (vip, (host, gateways)) in body.vips.iter_mut().zip(vips) {
            *vip = Vip::empty();
            vip.family = 4;
            vip.addr = addr16([192, 0, 2, *host].into());
            vip.gateway_count = gateways.len() as u16;
            for (gateway, host) in vip.gateways.iter_mut().zip(*gateways).filter(|(_, host)| **host != 0) {
                *gateway = Gateway { addr: addr16([10, 0, 0, *host].into()), flags: GATEWAY_USABLE };
            }
        }
        body
    }

    /// Redirects and new clients by the last byte of virtual address and gateway.
    fn counted(reader: &FeedbackReader) -> BTreeMap<(u8, u8), (u64, u64)> {
        let last = |address: Option<IpAddr>| match address {
            Some(IpAddr::V4(address)) => address.octets()[3],
            other => panic!("{other:?}"),
        };
        let views = reader.redirects().unwrap();
        let by_name: BTreeMap<_, _> = views
            .iter()
            .map(|view| {
                ((last(view.vip_address), last(view.gateway_address)), (view.total, view.new_clients))
            })
            .collect();
        assert_eq!(by_name.len(), views.len(), "each destination once");
        by_name
    }

    #[test]
    fn an_index_that_is_reused_inherits_no_count() {
        let (feedback, reader) = pair(2);
        let workers = [feedback.worker(0).unwrap(), feedback.worker(1).unwrap()];
        let before = body(&[(1, &[21, 22])]);
        for worker in &workers {
            worker.set_destinations(&before);
            worker.add_redirect(0, 0, 131);
            worker.add_new_client(0, 0);
            worker.add_redirect(0, 1, 5);
        }
        // .29 takes the index of .21; the second worker still works by the snapshot before, and counts by it.
        let after = body(&[(1, &[29, 22])]);
        workers[0].set_destinations(&after);
        workers[0].add_redirect(0, 0, 7);
        workers[1].add_redirect(0, 0, 1);
        assert_eq!(counted(&reader), [((1, 21), (263, 2)), ((1, 22), (10, 0)), ((1, 29), (7, 0))].into());
        workers[1].set_destinations(&after);
        workers[1].add_redirect(0, 0, 3);
        assert_eq!(counted(&reader), [((1, 21), (263, 2)), ((1, 22), (10, 0)), ((1, 29), (10, 0))].into());
        // It comes back at another index: what it had and what it gets are one count.
        workers[1].set_destinations(&body(&[(1, &[29, 0, 21])]));
        workers[1].add_redirect(0, 2, 1);
        assert_eq!(counted(&reader)[&(1, 21)], (264, 2));
        assert_eq!(reader.redirects().unwrap()[2].gateway, Some(2));
    }

    #[test]
    fn addresses_that_move_up_take_their_counts_along() {
        let (feedback, reader) = pair(1);
        let worker = feedback.worker(0).unwrap();
        worker.set_destinations(&body(&[(1, &[21]), (2, &[21, 22]), (3, &[23])]));
        for (vip, gateway, n) in [(0, 0, 1_000_000), (1, 0, 20), (1, 1, 30), (2, 0, 40)] {
            worker.add_redirect(vip, gateway, n);
        }
        let before = counted(&reader);
        worker.set_destinations(&body(&[(2, &[21, 22]), (3, &[23])]));
        assert_eq!(counted(&reader), before);
        worker.add_redirect(0, 0, 1);
        worker.add_redirect(1, 0, 1);
        let after = counted(&reader);
        assert_eq!((after[&(2, 21)].0, after[&(3, 23)].0, after[&(1, 21)].0), (21, 41, 1_000_000));
    }

    #[test]
    fn more_former_destinations_than_there_is_room_forget_the_oldest_alone() {
        let (feedback, reader) = pair(1);
        let worker = feedback.worker(0).unwrap();
        let vips = |n: usize| body(&[((n / 200) as u8, &[(n % 200) as u8 + 1])]);
        for n in 0..FORMER + 10 {
            worker.set_destinations(&vips(n));
            worker.add_redirect(0, 0, n as u64 + 1);
        }
        let counted = counted(&reader);
        assert_eq!(counted.len(), FORMER + 1);
        assert!(!counted.contains_key(&(0, 9)) && counted[&(0, 10)] == (10, 0));
    }

    /// Whatever is taken meanwhile, a reader sees each redirect once.
    #[test]
    fn a_reader_never_sees_a_count_twice_or_too_late() {
        let (feedback, reader) = pair(1);
        let worker = feedback.worker(0).unwrap();
        let counting = std::thread::spawn(move || {
            let bodies = [body(&[(1, &[21, 22]), (2, &[22])]), body(&[(2, &[21, 22]), (1, &[22])])];
            for round in 0..20_000usize {
                worker.set_destinations(&bodies[round % 2]);
                worker.add_redirect(0, round % 2, 1);
            }
        });
        let mut last = 0;
        let mut read = 0;
        while !counting.is_finished() {
            let Some(views) = reader.redirects() else { continue };
            let total: u64 = views.iter().map(|view| view.total).sum();
            assert!(total >= last && total <= 20_000, "{last} then {total}");
            last = total;
            read += 1;
        }
        counting.join().unwrap();
        let all: u64 = counted(&reader).values().map(|(total, _)| total).sum();
        assert_eq!(all, 20_000, "after {read} readings");
        drop(feedback);
    }

    #[test]
    fn an_index_without_a_gateway_and_a_snapshot_that_names_the_same_move_nothing() {
        let (feedback, reader) = pair(1);
        let worker = feedback.worker(0).unwrap();
        worker.add_redirect(0, 0, 3);
        let unnamed = reader.redirects().unwrap();
        assert_eq!((unnamed.len(), unnamed[0].vip, unnamed[0].gateway_address), (1, Some(0), None));
        worker.set_destinations(&body(&[(1, &[0, 22])]));
        worker.add_redirect(0, 1, 3);
        let views = reader.redirects().unwrap();
        worker.set_destinations(&body(&[(1, &[0, 22])]));
        assert_eq!(reader.redirects().unwrap(), views);
        worker.set_destinations(&body(&[(1, &[0, 0])]));
        assert_eq!(reader.redirects().unwrap(), views, "an index that none has keeps its name");
    }
}
