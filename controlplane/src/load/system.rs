//! Processors and memory of this system, from /proc/stat and /proc/meminfo (proc(5)).

use super::{Counts, Sample};
use crate::types::Percent;

/// Time of the cores in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// Measures between one sample and the next.
#[derive(Debug)]
pub(super) struct Meter {
    polling: Vec<usize>,
    before: Option<Ticks>,
    cpu: Percent,
}

impl Meter {
    /// Leaves the cores `polling` out.
    pub(super) fn new(polling: &[usize]) -> Meter {
        let mut meter = Meter { polling: polling.to_vec(), before: None, cpu: Percent::default() };
        // The first sample already has something to compare with.
        meter.before = meter.read().ok();
        meter
    }

    /// `counts` with what it does not say of the system.
    pub(super) fn complete(&mut self, counts: Counts) -> Result<Sample, String> {
        let cpu = counts.cpu.map_or_else(|| self.cpu(), Ok)?;
        let mem = counts.mem.map_or_else(memory, Ok)?;
        Ok(Sample { half_open: counts.half_open, ike: counts.ike, child: counts.child, cpu, mem })
    }

    fn cpu(&mut self) -> Result<Percent, String> {
        let now = self.read()?;
        let before = self.before.unwrap_or_default();
        // The kernel's counters of a core may step back a little, or all of them when a core goes offline.
        let all = now.all.saturating_sub(before.all);
        if all > 0 {
            self.cpu = Percent::of(now.busy.saturating_sub(before.busy), all);
        }
        // Within one tick the share before still holds.
        if all > 0 || now.all < before.all {
            self.before = Some(now);
        }
        Ok(self.cpu)
    }

    fn read(&self) -> Result<Ticks, String> {
        ticks(&read("/proc/stat")?, &self.polling)
            .ok_or_else(|| "/proc/stat: no line of a core: is /proc mounted?".into())
    }
}

/// The share of memory that is not available.
fn memory() -> Result<Percent, String> {
    not_available(&read("/proc/meminfo")?)
        .ok_or_else(|| "/proc/meminfo: no MemTotal and MemAvailable: a kernel older than 3.14?".into())
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}: is /proc mounted?"))
}

/// The sum over the cores that are not `polling`; over all of them when every one is.
fn ticks(stat: &str, polling: &[usize]) -> Option<Ticks> {
    let mut sums = [None::<Ticks>; 2];
    for line in stat.lines() {
        let Some(Ok(core)) =
            line.strip_prefix("cpu").and_then(|rest| Some(rest.split_once(' ')?.0.parse::<usize>()))
        else {
            continue;
        };
        // user nice system idle iowait irq softirq steal; guest time is part of user.
        let fields = line.split_ascii_whitespace().skip(1).take(8).map(|field| field.parse().unwrap_or(0));
        let mut times = [0u64; 8];
        times.iter_mut().zip(fields).for_each(|(time, field)| *time = field);
        let all = times.iter().fold(0u64, |sum, time| sum.saturating_add(*time));
        let sum = sums[usize::from(polling.contains(&core))].get_or_insert_default();
        sum.all = sum.all.saturating_add(all);
        sum.busy = sum.busy.saturating_add(all.saturating_sub(times[3].saturating_add(times[4])));
    }
    sums[0].or(sums[1])
}

fn not_available(meminfo: &str) -> Option<Percent> {
    let field = |name: &str| {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let total = field("MemTotal")?;
    Some(Percent::of(total.saturating_sub(field("MemAvailable")?), total))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  400 0 100 500 0 0 0 0 0 0\ncpu0 100 0 50 740 10 50 50 0 0 0\ncpu1 900 0 0 100 0 0 0 0 0 0\n\
                        intr 1 2 3\nctxt 5\n";

    #[test]
    fn idle_and_waiting_cores_are_not_busy() {
        assert_eq!(ticks(STAT, &[]), Some(Ticks { busy: 1150, all: 2000 }));
    }

    #[test]
    fn polling_cores_are_left_out_unless_there_is_no_other() {
        assert_eq!(ticks(STAT, &[1]), Some(Ticks { busy: 250, all: 1000 }));
        assert_eq!(ticks(STAT, &[0, 1]), Some(Ticks { busy: 1150, all: 2000 }));
        assert_eq!(ticks("intr 1\n", &[]), None);
    }

    #[test]
    fn memory_that_can_be_had_is_available() {
        let text = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    830 kB\n";
        assert_eq!(not_available(text), Some(Percent::of(17, 100)));
        assert_eq!(not_available("MemTotal: 5 kB\n"), None);
    }

    #[test]
    fn this_system_is_measured_and_a_given_share_is_kept() {
        let mut meter = Meter::new(&[]);
        let given = Counts { cpu: Some(Percent::of(1, 4)), ike: 3, ..Counts::default() };
        let sample = meter.complete(given).unwrap();
        assert_eq!((sample.cpu, sample.ike), (Percent::of(1, 4), 3));
        assert!(sample.mem > Percent::default() && sample.mem < Percent::FULL);
        // Some core burns until the kernel has counted it.
        let start = std::time::Instant::now();
        while meter.complete(Counts::default()).unwrap().cpu == Percent::default() {
            assert!(start.elapsed().as_secs() < 10, "no time was counted");
        }
    }
}
