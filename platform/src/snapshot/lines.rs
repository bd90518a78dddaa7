//! Tests of the layout: in both memories each writer has cache lines of its own.

use std::collections::BTreeMap;

use super::body::MAX_GROUPS;
use super::feedback::{CounterName, Feedback, FeedbackSpec, Layout, PortIdentity, field};
use super::memfd::LINE;
use super::writer::{HEARTBEAT, PLACE, lease_word};
use crate::lines::{self, Lines};

/// Words of a pair of lines.
const PAIR: usize = 2 * LINE;

#[test]
fn in_the_feedback_memory_each_worker_and_the_main_thread_have_lines_of_their_own() {
    for counters in [0, 1, 15, 16, 17, 95, 255] {
        for ports in [0, 1, 3] {
            let layout = Layout::new(3, ports, counters).unwrap();
            let mut writers = BTreeMap::new();
            let mut write = |writer: &'static str, words: std::ops::Range<usize>| {
                for pair in words.start / PAIR..words.end.div_ceil(PAIR) {
                    let before = writers.insert(pair, writer);
                    assert!(
                        before.is_none_or(|before| before == writer),
                        "{before:?} and {writer}, {layout:?}"
                    );
                }
            };
            // The main thread's, every tick: its heartbeat, the ports, what is counted outside.
            write("main", field::HEARTBEAT..field::HEARTBEAT + 1);
            for port in 0..layout.ports {
                let place = layout.port_place(port);
                write("main", place.generation..place.buffers[1] + place.len);
            }
            write("main", layout.main_block()..layout.words());
            for (worker, name) in ["first", "second", "third"].into_iter().enumerate() {
                let at = layout.worker_block(worker);
                write(name, at..at + layout.block_words());
            }
        }
    }
}

#[test]
fn a_workers_block_is_whole_pairs_of_lines_of_the_mapping() {
    let counter = CounterName { name: "n", action: "info", help: "h" };
    let counters = [counter; 17];
    let ports = vec![PortIdentity::default()];
    let feedback = Feedback::create(&FeedbackSpec { workers: 2, ports, counters: &counters }).unwrap();
    let [first, second] = [0, 1].map(|index| {
        let mut lines = Lines::default();
        feedback.worker(index).unwrap().writes(&mut lines);
        lines
    });
    assert_eq!((first.ragged(), second.ragged()), (vec![], vec![]));
    assert_eq!(first.shared(&second), []);
    let layout = Layout::new(2, 1, 17).unwrap();
    assert_eq!(first.bytes(), layout.block_words() * 8, "nothing of the block is left out");
    assert_eq!(lines::PAIR, PAIR * 8);
}

/// Workers read these words once a burst and write none: a word that moves takes nothing else along.
#[test]
fn in_the_snapshot_each_word_that_moves_by_itself_has_a_line_of_its_own() {
    let mut words = vec![
        ("header", 0),
        ("generation", PLACE.generation),
        ("heartbeat", HEARTBEAT),
        ("marks", PLACE.marks[0]),
    ];
    words.extend((0..MAX_GROUPS).map(|group| ("lease", lease_word(group))));
    words.extend(PLACE.buffers.map(|buffer| ("buffer", buffer)));
    words.sort_by_key(|(_, word)| *word);
    for pair in words.windows(2) {
        assert!(pair[0].1 / LINE < pair[1].1 / LINE, "{pair:?}");
    }
    assert_eq!(PLACE.marks[0] / LINE, PLACE.marks[1] / LINE, "the marks move together");
}
