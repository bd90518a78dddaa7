//! Cache lines: which memory one thread writes, and that nobody else writes on the same lines.
//!
//! A line that two cores write moves between them at every turn, some 100 ns each time. What a worker writes on the packet
//! path is therefore kept in blocks of whole pairs of lines ([`crossbeam::utils::CachePadded`]): a block that begins and ends at
//! a border shares no line with whatever the allocator puts beside it.

use std::ops::Range;

/// Bytes of a cache line.
pub const LINE: usize = 64;
/// Bytes that blocks of different writers are apart: some processors fetch lines in pairs.
pub const PAIR: usize = 2 * LINE;

/// Blocks of memory that one thread writes, each with a name for messages.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lines {
    blocks: Vec<(&'static str, Range<usize>)>,
}

impl Lines {
    /// Adds the memory of a value itself, not of what it points to.
    pub fn add<T: ?Sized>(&mut self, name: &'static str, value: &T) {
        self.blocks.push((name, range(value)));
    }

    /// Adds the memory from one value to another behind it, both included.
    pub fn add_all<A: ?Sized, B: ?Sized>(&mut self, name: &'static str, first: &A, last: &B) {
        self.blocks.push((name, range(first).start..range(last).end));
    }

    /// The blocks.
    pub fn blocks(&self) -> &[(&'static str, Range<usize>)] {
        &self.blocks
    }

    /// Bytes of all blocks.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(|(_, range)| range.len()).sum()
    }

    /// Blocks that begin or end inside a pair of lines, so that a neighbour of the allocator's may lie on the same line.
    pub fn ragged(&self) -> Vec<&'static str> {
        let ragged = |range: &Range<usize>| !(range.start | range.end).is_multiple_of(PAIR);
        self.blocks.iter().filter(|(_, range)| ragged(range)).map(|(name, _)| *name).collect()
    }

    /// Pairs of blocks, one of each thread, with a line in common.
    pub fn shared(&self, other: &Lines) -> Vec<(&'static str, &'static str)> {
        let lines = |range: &Range<usize>| range.start / LINE..range.end.div_ceil(LINE);
        let mut shared = Vec::new();
        for (one, a) in &self.blocks {
            for (two, b) in &other.blocks {
                let (a, b) = (lines(a), lines(b));
                if a.start < b.end && b.start < a.end {
                    shared.push((*one, *two));
                }
            }
        }
        shared
    }
}

fn range<T: ?Sized>(value: &T) -> Range<usize> {
    let start = std::ptr::from_ref(value).cast::<u8>().addr();
    start..start + size_of_val(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(128))]
    struct Memory([u8; 512]);

    fn lines(parts: &[&[u8]]) -> Lines {
        let mut lines = Lines::default();
        parts.iter().for_each(|part| lines.add("part", *part));
        lines
    }

    #[test]
    fn a_common_line_is_found_and_a_border_is_none() {
        let memory = Memory([0; 512]);
        let [a, b] = [lines(&[&memory.0[..128]]), lines(&[&memory.0[128..256]])];
        assert!(a.shared(&b).is_empty() && a.ragged().is_empty() && b.ragged().is_empty());
        let [short, rest] = [lines(&[&memory.0[..100]]), lines(&[&memory.0[100..128], &memory.0[256..]])];
        assert_eq!(
            (short.shared(&rest), short.ragged(), rest.ragged()),
            (vec![("part", "part")], vec!["part"], vec!["part"])
        );
        // Other lines of one pair: not shared, and yet not a whole pair.
        let [left, right] = [lines(&[&memory.0[..64]]), lines(&[&memory.0[64..128]])];
        assert!(left.shared(&right).is_empty() && left.ragged() == ["part"]);
        let mut all = Lines::default();
        all.add_all("all", &memory.0[..64], &memory.0[500..]);
        assert_eq!((all.bytes(), all.shared(&rest).len()), (512, 2));
    }
}
