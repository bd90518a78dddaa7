//! Where a worker's cycles go: a lap clock over the stages of the packet path, read by `show dataplane stages`.
//!
//! It is an [`Observer`] of its own, so that a worker without it has no instruction of it. Reading the time stamp counter
//! costs some 20 cycles a lap, and each frame has four or five: the figures say which stage to look at, while a worker
//! without the clock is faster than their sum.

use dpdk::rdtsc;
use platform::snapshot::{STAGES, WorkerBlock};

use crate::Reason;
use crate::worker::Observer;

/// A stage; the index of its name in [`STAGES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A burst from the port.
    Rx,
    /// Headers up to the IKE message.
    Classify,
    /// The walk over the payloads.
    Walk,
    /// The decision.
    Decide,
    /// Writing the answer, and counting it.
    Answer,
    /// The meters of what passes.
    Pass,
    /// Bursts to the port and to the kernel's side.
    Tx,
    /// Frames from the kernel's side.
    Kernel,
}

const _: () = assert!(Stage::Kernel as usize + 1 == STAGES.len());

/// Cycles and frames of each stage, handed over now and then.
#[derive(Debug, Default)]
pub struct StageClock {
    last: u64,
    stages: [(u64, u64); STAGES.len()],
}

impl Observer for StageClock {
    #[inline(always)]
    fn ended(&mut self, _: u64, _: Reason) {}

    #[inline(always)]
    fn begin(&mut self) {
        self.last = rdtsc();
    }

    #[inline(always)]
    fn lap(&mut self, stage: Stage, frames: usize) {
        let now = rdtsc();
        let (cycles, count) = &mut self.stages[stage as usize];
        *cycles += now.wrapping_sub(self.last);
        *count += frames as u64;
        self.last = now;
    }

    fn hand_over(&mut self, block: &WorkerBlock) {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            let (cycles, frames) = std::mem::take(stage);
            block.add_stage(index, cycles, frames);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::snapshot::{Feedback, FeedbackReader, FeedbackSpec};

    #[test]
    fn laps_are_handed_over_once_under_their_names() {
        let feedback =
            Feedback::create(&FeedbackSpec { workers: 1, ports: vec![], counters: Reason::COUNTERS })
                .unwrap();
        let block = feedback.worker(0).unwrap();
        let reader = FeedbackReader::map(feedback.fd().try_clone_to_owned().unwrap()).unwrap();
        let mut clock = StageClock::default();
        clock.begin();
        clock.lap(Stage::Rx, 32);
        std::thread::sleep(std::time::Duration::from_millis(2));
        clock.lap(Stage::Walk, 1);
        clock.hand_over(&block);
        clock.hand_over(&block);
        let stages = &reader.read().workers[0].stages;
        let named: Vec<_> = stages.iter().map(|stage| (stage.name, stage.frames)).take(3).collect();
        assert_eq!(named, [("rx", 32), ("classify", 0), ("walk", 1)]);
        assert!(stages[2].cycles > 100_000 && stages[2].cycles > stages[0].cycles);
    }
}
