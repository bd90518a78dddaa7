//! The pair (instance, generation) by which a worker says what it works by: two words that must not be read mixed.

use std::sync::atomic::Ordering;

use super::seqlock::{OwnWord, Word};

/// Stores the pair. Between two instances the generation is 0, so that the old one's never stands beside the new instance.
pub(super) fn store<W: OwnWord>(instance: &W, generation: &W, to: (u64, u64)) {
    if instance.get() != to.0 {
        generation.store(0, Ordering::Relaxed);
        instance.store(to.0, Ordering::Release);
    }
    generation.store(to.1, Ordering::Release);
}

/// Loads the pair; a generation of 0: none, or it is just changing.
pub(super) fn load<W: Word>(instance: &W, generation: &W) -> (u64, u64) {
    let first = instance.get();
    W::acquire_fence();
    let applied = generation.get();
    W::acquire_fence();
    let second = instance.get();
    (second, if first == second { applied } else { 0 })
}

#[cfg(all(test, loom))]
mod snapshot_loom {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_generation_never_shows_with_another_instance() {
        loom::model(|| {
            let words = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
            let worker = {
                let words = words.clone();
                loom::thread::spawn(move || {
                    for (instance, generation) in [(1, 17), (1, 18), (2, 25)] {
                        store(&words[0], &words[1], (instance, generation));
                    }
                })
            };
            let (instance, generation) = load(&words[0], &words[1]);
            assert!(
                matches!((instance, generation), (_, 0) | (1, 17 | 18) | (2, 25)),
                "{instance} {generation}"
            );
            worker.join().unwrap();
            assert_eq!(load(&words[0], &words[1]), (2, 25));
        });
    }
}
