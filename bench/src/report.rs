//! Results as text, JSON, CSV and an HdrHistogram log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde::Serialize;

use crate::answer::Wrong;
use crate::gun::Tally;

/// Latency in ns.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    #[serde(rename = "p99.9")]
    pub p99_9: u64,
    /// 99.99 %.
    #[serde(rename = "p99.99")]
    pub p99_99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: histogram.max(),
        }
    }
}

/// A run in figures.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Bytes of a request as a frame, without a VLAN tag.
    pub size: usize,
    /// Requests a second asked for; absent: as many as the window allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Seconds of sending.
    pub seconds: f64,
    /// Requests sent that had to be answered.
    pub sent: u64,
    /// Requests sent that must not be answered.
    pub unanswerable: u64,
    /// Frames sent.
    pub frames: u64,
    /// Right answers in time.
    pub answered: u64,
    /// Wrong answers.
    pub wrong: u64,
    /// Wrong answers by how.
    pub wrong_by: BTreeMap<&'static str, u64>,
    /// Not answered in time.
    pub lost: u64,
    /// Answered after their time.
    pub late: u64,
    /// Frames that were no answers.
    pub foreign: u64,
    /// Asked for, but not sent.
    pub behind: u64,
    /// Right answers a second.
    pub answers_per_second: f64,
    /// Latency in ns.
    pub latency_ns: Latency,
    /// Answers by the gateway that they named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gateways: BTreeMap<IpAddr, u64>,
}

impl Figures {
    /// The figures of a run with requests of `size` bytes.
    pub fn of(tally: &Tally, size: usize, rate: Option<f64>) -> Figures {
        let wrong_by = Wrong::ALL.iter().zip(tally.wrong).filter(|(_, count)| *count > 0);
        Figures {
            size,
            rate,
            seconds: (tally.seconds * 1e6).round() / 1e6,
            sent: tally.sent,
            unanswerable: tally.unanswerable,
            frames: tally.frames,
            answered: tally.answered,
            wrong: tally.wrong_total(),
            wrong_by: wrong_by.map(|(wrong, count)| (wrong.name(), count)).collect(),
            lost: tally.lost,
            late: tally.late,
            foreign: tally.foreign,
            behind: tally.behind,
            answers_per_second: (tally.answered as f64 / tally.seconds.max(1e-9)).round(),
            latency_ns: Latency::of(&tally.latency),
            gateways: BTreeMap::new(),
        }
    }

    /// Adds the gateways named.
    #[must_use]
    pub fn with_gateways(mut self, named: &[([u8; 16], u64)], v6: bool) -> Figures {
        let real = named.iter().filter(|(address, _)| *address != [0; 16]);
        self.gateways = real.map(|(address, count)| (ip(address, v6), *count)).collect();
        self
    }

    /// The header of [`Figures::csv`].
    pub const CSV_HEADER: &str = "size,rate,seconds,sent,unanswerable,frames,answered,wrong,lost,late,foreign,behind,\
        answers_per_second,p50_ns,p90_ns,p99_ns,p99.9_ns,p99.99_ns,max_ns";

    /// One line of CSV.
    pub fn csv(&self) -> String {
        let rate = self.rate.map_or(String::new(), |rate| rate.to_string());
        let l = &self.latency_ns;
        format!(
            "{},{rate},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
            self.size,
            self.seconds,
            self.sent,
            self.unanswerable,
            self.frames,
            self.answered,
            self.wrong,
            self.lost,
            self.late,
            self.foreign,
            self.behind,
            self.answers_per_second,
            l.p50,
            l.p90,
            l.p99,
            l.p99_9,
            l.p99_99,
            l.max
        )
    }

    /// Some lines for a person.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} requests of {} bytes in {:.2} s, {} more that must not be answered\n\
             {} answered ({}/s), {} wrong, {} lost ({:.6} %), {} late\n",
            self.sent,
            self.size,
            self.seconds,
            self.unanswerable,
            self.answered,
            short(self.answers_per_second),
            self.wrong,
            self.lost,
            self.lost as f64 * 100.0 / self.sent.max(1) as f64,
            self.late
        );
        for (wrong, count) in &self.wrong_by {
            text += &format!("wrong {wrong}: {count}\n");
        }
        if self.behind > 0 {
            text += &format!("generator-bound: {} requests asked for could not be sent\n", self.behind);
        }
        let l = &self.latency_ns;
        text += &format!(
            "latency p50 {}, p90 {}, p99 {}, p99.9 {}, p99.99 {}, max {}\n",
            time(l.p50),
            time(l.p90),
            time(l.p99),
            time(l.p99_9),
            time(l.p99_99),
            time(l.max)
        );
        for (gateway, count) in &self.gateways {
            let share = *count as f64 * 100.0 / self.answered.max(1) as f64;
            text += &format!("gateway {gateway}: {count} ({share:.1} %)\n");
        }
        text
    }
}

/// A line of progress.
pub fn progress(second: u64, tally: &Tally) -> String {
    let rate = |count: u64| short(count as f64 / tally.seconds.max(1e-9));
    format!(
        "{second:>4} s  sent {:>8}/s  answered {:>8}/s  lost {}  wrong {}  p50 {}  p99 {}",
        rate(tally.sent),
        rate(tally.answered),
        tally.lost,
        tally.wrong_total(),
        time(tally.latency.value_at_quantile(0.5)),
        time(tally.latency.value_at_quantile(0.99))
    )
}

/// A rate with its unit's prefix.
pub fn short(rate: f64) -> String {
    match rate {
        1e6.. => format!("{:.2} M", rate / 1e6),
        1e3.. => format!("{:.1} k", rate / 1e3),
        _ => format!("{rate:.0} "),
    }
}

fn time(ns: u64) -> String {
    match ns {
        10_000_000.. => format!("{} ms", ns / 1_000_000),
        10_000.. => format!("{} us", ns / 1000),
        _ => format!("{ns} ns"),
    }
}

fn ip(address: &[u8; 16], v6: bool) -> IpAddr {
    match (v6, *address) {
        (false, [a, b, c, d, ..]) => Ipv4Addr::new(a, b, c, d).into(),
        (true, address) => Ipv6Addr::from(address).into(),
    }
}

/// An HdrHistogram log: one histogram a second, in ns, for HistogramLogAnalyzer and its kind.
pub struct HdrLog {
    file: File,
    since: Duration,
    serializer: V2DeflateSerializer,
}

impl HdrLog {
    /// Begins a log.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> io::Result<HdrLog> {
        let mut file = File::create(path)?;
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("ikegun: latency of requests in ns, one line a second")
            .with_start_time(SystemTime::now())
            .begin_log_with(&mut file, &mut serializer)?;
        Ok(HdrLog { file, since: Duration::ZERO, serializer })
    }

    /// Appends what was recorded in the `seconds` since the last call.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, latency: &Histogram<u64>, seconds: f64) -> io::Result<()> {
        let length = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let mut log = IntervalLogWriterBuilder::new().begin_log_with(&mut self.file, &mut self.serializer)?;
        log.write_histogram(latency, self.since, length, None)
            .map_err(|error| io::Error::other(error.to_string()))?;
        self.since += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn a_log_of_histograms_is_read_back() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut log = HdrLog::create(path.path()).unwrap();
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        for value in [1000, 2000, 50_000_000] {
            histogram.record(value).unwrap();
            log.append(&histogram, 1.5).unwrap();
        }
        drop(log);
        let text = std::fs::read(path.path()).unwrap();
        let mut began = Vec::new();
        let mut counts = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            began.push(interval.start_timestamp().as_millis());
            let bytes = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            )
            .unwrap();
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            counts.push((read.len(), read.max() / 1000));
        }
        assert_eq!(began, [0, 1500, 3000]);
        assert_eq!(counts[..2], [(1, 1), (2, 2)]);
        assert_eq!(counts[2].0, 3);
    }

    #[test]
    fn a_line_of_csv_has_a_field_for_each_name() {
        let csv = Figures::CSV_HEADER.split(',').count();
        let figures = Figures::of(&Tally::default(), 186, Some(1e6));
        assert_eq!(figures.csv().split(',').count(), csv);
        assert!(figures.csv().starts_with("186,1000000,0,0,"));
        assert_eq!(Figures::of(&Tally::default(), 186, None).csv().split(',').count(), csv);
        let json = serde_json::to_value(&figures).unwrap();
        assert_eq!(json["latency_ns"]["p99.99"], 0);
    }
}
