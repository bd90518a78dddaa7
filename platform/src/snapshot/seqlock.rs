//! Two buffers under a seqlock of atomic words: one writer that never waits, readers that never wait on it.
//!
//! Generation `g` (from 1) lies in buffer `g & 1`. Each buffer has a mark: odd while it is written, `2 * g` when generation
//! `g` is complete in it. The generation word moves last, so that a writer killed in the middle leaves it on the other
//! buffer, which is whole.
//!
//! Generic over the word, so that loom can model the very code that runs: `RUSTFLAGS="--cfg loom"`.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::memfd::ReadOnlyWord;

/// Attempts of a reader before it gives up and keeps what it has.
pub(super) const TRIES: u32 = 3;

/// A word that can be read: relaxed, acquire by a fence behind it (see [`ReadOnlyWord`] for the reason).
pub(super) trait Word {
    fn get(&self) -> u64;
    fn acquire_fence() {
        fence(Ordering::Acquire);
    }
}

/// A word whose only writer is this process.
pub(super) trait OwnWord: Word {
    fn store(&self, value: u64, order: Ordering);
    fn release_fence() {
        fence(Ordering::Release);
    }
}

impl Word for ReadOnlyWord {
    #[inline(always)]
    fn get(&self) -> u64 {
        ReadOnlyWord::load(self)
    }
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn get(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }
}

impl OwnWord for AtomicU64 {
    #[inline(always)]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
}

/// Where a seqlock lies in its memory: indices of words.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) generation: usize,
    pub(super) marks: [usize; 2],
    pub(super) buffers: [usize; 2],
    /// Words of one buffer.
    pub(super) len: usize,
}

/// Publishes `data` (at most a buffer long; what lies behind it keeps older content) as `generation`, which must be one
/// more than the last.
pub(super) fn publish<W: OwnWord>(words: &[W], place: &Place, generation: u64, data: &[u64]) {
    let side = (generation & 1) as usize;
    let buffer = &words[place.buffers[side]..][..place.len];
    let mark = &words[place.marks[side]];
    mark.store(2 * generation - 1, Ordering::Relaxed);
    // The odd mark before the data: who sees any of the new data sees the mark too.
    W::release_fence();
    for (word, value) in buffer.iter().zip(data) {
        word.store(*value, Ordering::Relaxed);
    }
    // The data before the even mark, both before the generation.
    mark.store(2 * generation, Ordering::Release);
    words[place.generation].store(generation, Ordering::Release);
}

/// Lets `take` copy the newest buffer, at most [`TRIES`] times; gives the generation once a copy is whole, `None` if none
/// was. `take` sees words that may change under it; what it took is to be used only when this gives `Some`. `attempts`
/// counts the calls of `take`, and those that were spared as hopeless.
pub(super) fn read<W: Word>(
    words: &[W],
    place: &Place,
    attempts: &mut u64,
    mut take: impl FnMut(&[W]),
) -> Option<u64> {
    for _ in 0..TRIES {
        *attempts += 1;
        let generation = words[place.generation].get();
        W::acquire_fence();
        let side = (generation & 1) as usize;
        let mark = &words[place.marks[side]];
        let whole = generation.wrapping_mul(2);
        if mark.get() != whole {
            continue;
        }
        take(&words[place.buffers[side]..][..place.len]);
        // The data before the mark: data of a later write carries its odd mark with it.
        W::acquire_fence();
        if mark.get() == whole {
            return Some(generation);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { generation: 0, marks: [1, 2], buffers: [3, 5], len: 2 };

    fn memory() -> Vec<AtomicU64> {
        (0..7).map(|_| AtomicU64::new(0)).collect()
    }

    fn take(words: &[AtomicU64], attempts: &mut u64) -> Option<(u64, [u64; 2])> {
        let mut copy = [0; 2];
        let generation = read(words, &PLACE, attempts, |from| copy = [from[0].get(), from[1].get()])?;
        Some((generation, copy))
    }

    #[test]
    fn each_generation_is_read_as_published() {
        let words = memory();
        for generation in 1..10 {
            publish(&words, &PLACE, generation, &[generation, generation * 7]);
            assert_eq!(take(&words, &mut 0), Some((generation, [generation, generation * 7])));
        }
    }

    #[test]
    fn a_writer_that_died_in_the_middle_leaves_the_generation_before() {
        let words = memory();
        publish(&words, &PLACE, 1, &[1, 1]);
        publish(&words, &PLACE, 2, &[2, 2]);
        words[PLACE.marks[1]].store(5, Ordering::Relaxed);
        words[PLACE.buffers[1]].store(3, Ordering::Relaxed);
        assert_eq!(take(&words, &mut 0), Some((2, [2, 2])));
    }

    #[test]
    fn a_buffer_that_is_never_whole_costs_three_tries() {
        let words = memory();
        publish(&words, &PLACE, 1, &[1, 1]);
        words[PLACE.marks[1]].store(5, Ordering::Relaxed);
        let mut attempts = 0;
        assert_eq!(take(&words, &mut attempts), None);
        assert_eq!(attempts, u64::from(TRIES));
    }

    #[test]
    fn a_buffer_rewritten_under_each_copy_costs_three_copies() {
        let words = memory();
        publish(&words, &PLACE, 1, &[1, 1]);
        let (mut generation, mut attempts, mut calls) = (1, 0, 0);
        let got = read(&words, &PLACE, &mut attempts, |_| {
            calls += 1;
            for _ in 0..2 {
                generation += 1;
                publish(&words, &PLACE, generation, &[generation, generation]);
            }
        });
        assert_eq!((got, calls, attempts), (None, TRIES, u64::from(TRIES)));
        assert_eq!(take(&words, &mut 0), Some((7, [7, 7])));
    }
}

#[cfg(all(test, loom))]
mod snapshot_loom {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU64 as LoomWord, Ordering, fence};
    use loom::thread;

    use super::*;

    impl Word for LoomWord {
        fn get(&self) -> u64 {
            self.load(Ordering::Relaxed)
        }
        fn acquire_fence() {
            fence(Ordering::Acquire);
        }
    }

    impl OwnWord for LoomWord {
        fn store(&self, value: u64, order: Ordering) {
            self.store(value, order);
        }
        fn release_fence() {
            fence(Ordering::Release);
        }
    }

    const PLACE: Place = Place { generation: 0, marks: [1, 2], buffers: [3, 5], len: 2 };

    fn memory() -> Arc<Vec<LoomWord>> {
        Arc::new((0..7).map(|_| LoomWord::new(0)).collect())
    }

    fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.max_branches = 20_000;
        builder.check(test);
    }

    /// Reads as a worker does and asserts what a worker relies on.
    fn read_checked(words: &[LoomWord], last: &mut u64) {
        let (mut copy, mut attempts) = ([0; 2], 0);
        let got = read(words, &PLACE, &mut attempts, |from| copy = [from[0].get(), from[1].get()]);
        assert!(attempts <= u64::from(TRIES), "tries are bounded");
        if let Some(generation) = got {
            assert_eq!(copy, [generation * 10, generation * 10 + u64::from(generation > 0)], "a torn copy");
            assert!(generation >= *last, "the generation went back");
            *last = generation;
        }
    }

    fn publishes(generations: u64, reads: usize, preemptions: usize) {
        model(preemptions, move || {
            let words = memory();
            let writer = {
                let words = words.clone();
                thread::spawn(move || {
                    for generation in 1..=generations {
                        publish(&words, &PLACE, generation, &[generation * 10, generation * 10 + 1]);
                    }
                })
            };
            let mut last = 0;
            for _ in 0..reads {
                read_checked(&words, &mut last);
            }
            writer.join().unwrap();
            let before = last;
            read_checked(&words, &mut last);
            assert!(last == generations && last >= before, "a quiet memory gives its newest generation");
        });
    }

    #[test]
    fn two_generations_against_two_reads() {
        publishes(2, 2, 5);
    }

    #[test]
    fn three_generations_against_one_read() {
        publishes(3, 1, 4);
    }

    #[test]
    fn a_writer_stopped_at_any_point_of_the_third_publish_harms_no_copy() {
        // The writer's stores of a publish are mark, data, data, mark, generation: it dies behind the first `stop`.
        for stop in 0..5 {
            model(3, move || {
                let words = memory();
                publish(&words, &PLACE, 1, &[10, 11]);
                publish(&words, &PLACE, 2, &[20, 21]);
                let writer = {
                    let words = words.clone();
                    thread::spawn(move || {
                        let stores =
                            [(PLACE.marks[1], 5), (PLACE.buffers[1], 30), (PLACE.buffers[1] + 1, 31)];
                        for (at, (word, value)) in stores.into_iter().take(stop).enumerate() {
                            words[word].store(value, Ordering::Relaxed);
                            if at == 0 {
                                fence(Ordering::Release);
                            }
                        }
                        if stop > 3 {
                            words[PLACE.marks[1]].store(6, Ordering::Release);
                        }
                    })
                };
                let mut last = 0;
                read_checked(&words, &mut last);
                assert_eq!(last, 2, "the generation before stays readable");
                writer.join().unwrap();
                read_checked(&words, &mut last);
                assert_eq!(last, 2);
            });
        }
    }

    /// The model bites: a writer that marks its buffer only when done is caught.
    #[test]
    #[should_panic(expected = "a torn copy")]
    fn a_writer_without_the_odd_mark_is_caught() {
        model(4, || {
            let words = memory();
            let writer = {
                let words = words.clone();
                thread::spawn(move || {
                    for generation in 1..=3u64 {
                        let side = (generation & 1) as usize;
                        words[PLACE.buffers[side]].store(generation * 10, Ordering::Relaxed);
                        words[PLACE.buffers[side] + 1].store(generation * 10 + 1, Ordering::Relaxed);
                        words[PLACE.marks[side]].store(2 * generation, Ordering::Release);
                        words[PLACE.generation].store(generation, Ordering::Release);
                    }
                })
            };
            read_checked(&words, &mut 0);
            writer.join().unwrap();
        });
    }
}
