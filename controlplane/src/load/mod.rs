//! Sources of this node's load: the IKE daemon's sessions and the system's processors and memory.
//!
//! A [`Source`] is a task that asks again and again; whoever wants the load looks at the newest [`Reading`] and never
//! waits. A source that is dead, slow or talks nonsense is unhealthy, with a reason that says what to do.

mod charon;
pub mod drain;
pub mod probe;
mod program;
mod script;
mod session;
mod system;
pub mod trusted;
pub mod vici;
mod whack;

use crate::types::{Nanos, Percent, nanos};
use std::path::PathBuf;
use std::time::Duration;
use system::Meter;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A source that has not answered is asked again after this, or earlier where the interval is shorter.
const RETRY: Duration = Duration::from_secs(1);
/// The longest and the shortest time that one answer may take.
const LIMIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Measurement of a load source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sample {
    /// IKE SAs that are being negotiated
    pub half_open: u32,
    /// Established IKE SAs
    pub ike: u32,
    /// IPsec SAs (CHILD_SAs)
    pub child: u32,
    /// Busy share of all cores since the sample before
    pub cpu: Percent,
    /// Memory that is not available
    pub mem: Percent,
}

/// The sessions that a source counts, and what it says of the system where it says that too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// IKE SAs that are being negotiated
    pub half_open: u32,
    /// Established IKE SAs
    pub ike: u32,
    /// IPsec SAs (CHILD_SAs)
    pub child: u32,
    /// In place of this system's own processors
    pub cpu: Option<Percent>,
    /// In place of this system's own memory
    pub mem: Option<Percent>,
}

/// `load-source ...`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// strongSwan's charon over VICI
    Vici {
        /// Its UNIX socket, as `/run/charon.vici`
        socket: PathBuf,
    },
    /// libreswan's pluto through `ipsec whack --globalstatus`
    Whack {
        /// `ipsec`, or `whack` itself; `None`: the distribution's
        program: Option<PathBuf>,
    },
    /// A program that prints `half_open=N ike=N child=N [cpu=PCT] [mem=PCT]`
    Script {
        /// Path
        path: PathBuf,
    },
    /// The same for ever, for laboratories; processors and memory are this system's own where not given
    Fixed(Counts),
}

/// The newest that is known of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The source answers
    Ok {
        /// Measurement
        sample: Sample,
        /// When, ns of the monotonic clock
        at_ns: Nanos,
    },
    /// The source is dead, slow or talks nonsense: this node must not be chosen
    Unhealthy {
        /// Fault and remedy
        reason: String,
        /// Since when, ns of the monotonic clock
        since_ns: Nanos,
    },
}

impl Reading {
    /// Returns the reading at `now_ns`: a measurement older than `stale_ns` is none.
    fn judged(self, now_ns: Nanos, stale_ns: Nanos) -> Reading {
        match self {
            Reading::Ok { at_ns, .. } if now_ns.since(at_ns) > stale_ns => Reading::Unhealthy {
                reason: format!("no answer since {} ms", now_ns.since(at_ns).as_millis()),
                since_ns: at_ns + stale_ns,
            },
            fresh => fresh,
        }
    }
}

/// A load source at work. It ends when this is dropped.
#[derive(Debug)]
pub struct Source {
    readings: watch::Receiver<Reading>,
    stale_ns: Nanos,
    task: AbortHandle,
}

impl Source {
    /// Starts to ask the source, now and every `interval`. `polling` are cores on which a data plane polls: they look busy
    /// when there is nothing to do, and are left out of the processors' load.
    ///
    /// To be called inside a tokio runtime with time and IO.
    #[must_use]
    pub fn start(spec: SourceSpec, interval: Duration, polling: &[usize]) -> Source {
        let interval = interval.max(Duration::from_millis(10));
        let reason = format!("{}: no answer yet", spec.name());
        let (tell, readings) = watch::channel(Reading::Unhealthy { reason, since_ns: nanos::now() });
        let stale_ns = (interval * 2).max(LIMIT.0).into();
        let task = tokio::spawn(follow(spec, interval, Meter::new(polling), tell)).abort_handle();
        Source { readings, stale_ns, task }
    }

    /// The newest; it never waits. Older than two intervals (but at least 1 s) it is unhealthy.
    #[must_use]
    pub fn latest(&self) -> Reading {
        self.readings.borrow().clone().judged(nanos::now(), self.stale_ns)
    }

    /// Waits until the source has answered, or failed, once more. That a measurement grows stale wakes nobody.
    pub async fn changed(&mut self) {
        if self.readings.changed().await.is_err() {
            // Its task is gone: nothing will ever change.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SourceSpec {
    /// As errors name it.
    fn name(&self) -> String {
        match self {
            SourceSpec::Vici { socket } => format!("vici {}", socket.display()),
            SourceSpec::Whack { program: Some(program) } => format!("whack {}", program.display()),
            SourceSpec::Whack { program: None } => "whack".to_owned(),
            SourceSpec::Script { path } => format!("script {}", path.display()),
            SourceSpec::Fixed(_) => "fixed".to_owned(),
        }
    }
}

async fn follow(spec: SourceSpec, interval: Duration, mut meter: Meter, tell: watch::Sender<Reading>) {
    let limit = interval.clamp(LIMIT.0, LIMIT.1);
    let mut charon = None;
    loop {
        let began = Instant::now();
        let counts = match &spec {
            SourceSpec::Vici { socket } => charon::counts(&mut charon, socket, limit).await,
            SourceSpec::Whack { program } => whack::counts(program.as_deref(), limit).await,
            SourceSpec::Script { path } => script::counts(path, limit).await,
            SourceSpec::Fixed(counts) => Ok(*counts),
        };
        let result = counts.and_then(|counts| meter.complete(counts));
        let failed = result.is_err();
        let now_ns = nanos::now();
        tell.send_modify(|reading| {
            *reading = match result {
                Ok(sample) => Reading::Ok { sample, at_ns: now_ns },
                Err(what) => {
                    let since_ns = match reading {
                        Reading::Unhealthy { since_ns, .. } => *since_ns,
                        Reading::Ok { .. } => now_ns,
                    };
                    Reading::Unhealthy { reason: format!("{}: {what}", spec.name()), since_ns }
                }
            };
        });
        let pause = if failed { interval.min(RETRY) } else { interval };
        // A source that needs the whole interval for an answer is left alone for a moment all the same.
        tokio::time::sleep_until((began + pause).max(Instant::now() + pause / 4)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    async fn until(source: &mut Source, done: impl Fn(&Reading) -> bool) -> Reading {
        let wait = async {
            while !done(&source.latest()) {
                source.changed().await;
            }
            source.latest()
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the reading that is waited for")
    }

    fn healthy(reading: &Reading) -> bool {
        matches!(reading, Reading::Ok { .. })
    }

    #[test]
    fn a_measurement_that_is_too_old_is_none() {
        let reading = Reading::Ok { sample: Sample::default(), at_ns: Nanos::from_secs(5) };
        assert_eq!(reading.clone().judged(Nanos::from_secs(6), Nanos::from_secs(1)), reading);
        let Reading::Unhealthy { reason, since_ns } =
            reading.judged(Nanos::from_millis(6500), Nanos::from_secs(1))
        else {
            panic!("it is not too old")
        };
        assert_eq!((reason.as_str(), since_ns), ("no answer since 1500 ms", Nanos::from_secs(6)));
    }

    #[tokio::test]
    async fn fixed_counts_come_with_what_the_system_shows() {
        let given = Counts { half_open: 1, ike: 2, child: 3, cpu: Some(Percent::FULL), mem: None };
        let mut source = Source::start(SourceSpec::Fixed(given), TICK, &[]);
        let Reading::Ok { sample, at_ns } = until(&mut source, healthy).await else { panic!("unhealthy") };
        assert_eq!((sample.half_open, sample.ike, sample.child, sample.cpu), (1, 2, 3, Percent::FULL));
        assert!(sample.mem > Percent::default() && at_ns <= nanos::now());
        until(&mut source, |reading| matches!(reading, Reading::Ok { at_ns: later, .. } if *later > at_ns))
            .await;
    }
}
