//! `usher-dataplane replay`: a capture through the very same worker loop, as an ordinary user.
//!
//! Time is the capture's, and the hash key is fixed, so the same capture always gives the same bytes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dpdk::{Eal, Mempool, Port, PortConfig};
use platform::host::cores::CorePlan;
use platform::profile::Profile;
use platform::snapshot::{Feedback, FeedbackSpec, PortIdentity};
use platform::wire::ethernet::{self, Mac};
use serde::Serialize;

use crate::capture::{self, Captured};
use crate::reassemble::Reassembler;
use crate::worker::{Observer, Queues, Settings, Source, Worker};
use crate::{Action, Police, PortView, Reason, View, fixed};

/// The profile of a replay, built in so that it needs no installation.
const PROFILE: &str = include_str!("../../platform/profiles/replay.toml");
/// Fixed, so that a replay is repeatable; a running node draws its own.
const KEY: [u64; 2] = [0x7573_6865_7220_7265, 0x706c_6179_206b_6579];
/// Passes without a frame after which the capture is at its end. net_pcap gives a full burst until then.
const IDLE_PASSES: usize = 4;

/// What to replay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take a frame to a foreign address as if it were to the first --vip of its family; its checksums, which cover
    /// the address, are then not checked
    #[arg(long)]
    any_destination: bool,
    /// Virtual address that is asked; IPv4 or IPv6, may be repeated
    #[arg(long, value_name = "ADDR", required = true)]
    vip: Vec<IpAddr>,
    /// Gateway to name in the answers, to requests of its own family; may be repeated
    #[arg(long, value_name = "ADDR", required = true)]
    redirect_to: Vec<IpAddr>,
    /// Check that frames are addressed to this MAC [default: every destination MAC is ours]
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    mac: Option<Mac>,
    /// Print the verdict of every frame and the counts as JSON
    #[arg(long)]
    json: bool,
    /// Capture to read: pcap or pcapng
    input: PathBuf,
    /// Capture to write: the answers, each with the time of its request
    output: PathBuf,
}

fn parse_mac(text: &str) -> Result<Mac, &'static str> {
    ethernet::parse_mac(text).ok_or("a MAC has the form 02:00:00:00:00:01")
}

#[derive(Serialize)]
struct Report<'a> {
    frames: usize,
    answers: usize,
    verdicts: BTreeMap<&'a str, u64>,
    frame: Vec<FrameReport<'a>>,
}

#[derive(Serialize)]
struct FrameReport<'a> {
    number: usize,
    action: &'a str,
    verdict: &'a str,
}

/// Notes how each frame ended, and in which order the answers left.
struct Notes {
    ended: Vec<Option<Reason>>,
    answered: Vec<usize>,
}

impl Observer for Notes {
    fn ended(&mut self, frame: u64, reason: Reason) {
        let frame = frame as usize;
        if let Some(slot) = self.ended.get_mut(frame) {
            *slot = Some(reason);
        }
        if reason.action() == Action::Answer {
            self.answered.push(frame);
        }
    }
}

/// Replays a capture and prints the verdict counts.
///
/// # Errors
/// One message with the remedy.
pub fn replay(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let mac = args.mac.unwrap_or([2, 0, 0, 0, 0, 1]);
    let body = fixed::body(&args.vip, &args.redirect_to, mac, KEY)?;
    let input = capture::read(&args.input)?;
    let profile = Profile::parse(PROFILE, Path::new("replay.toml (built in)"))?;
    let folder = tempfile::tempdir()?;
    let (converted, answers) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
    let frames = input.iter().map(|captured| (captured.time, captured.frame.as_slice()));
    capture::write(&converted, frames)?;

    let notes = run(&profile, &converted, &answers, args, &input, View::fixed(body))?;
    let answers = capture::read(&answers)?;
    if answers.len() != notes.answered.len() {
        return Err(
            format!("{} answers were decided, {} written", notes.answered.len(), answers.len()).into()
        );
    }
    let stamped = notes.answered.iter().zip(&answers).map(|(frame, answer)| {
        let time = input.get(*frame).map_or(Duration::ZERO, |captured| captured.time);
        (time, answer.frame.as_slice())
    });
    capture::write(&args.output, stamped)?;
    report(&notes, args.json)
}

fn run(
    profile: &Profile,
    input: &Path,
    output: &Path,
    args: &Args,
    captured: &[Captured],
    view: View,
) -> Result<Notes, Box<dyn std::error::Error>> {
    let vdev = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
    let prefix = format!("usher-replay-{}", std::process::id());
    let eal_args = profile.eal_args(&prefix, &[vdev], &CorePlan::default());
    let eal = Eal::init(&eal_args)?;
    let _registration = eal.register_thread()?;
    let pool = Mempool::new(
        &eal,
        "replay",
        profile.mempool.mbufs,
        profile.mempool.cache,
        profile.mempool.data_room,
        -1,
    )?;
    let id = eal.port_by_name("net_pcap0").ok_or("EAL made no net_pcap0 port")?;
    let config = PortConfig { promiscuous: true, ..PortConfig::default() };
    let (port, rx, tx) = Port::configure(&eal, id, &config, &pool)?;
    let identity = PortIdentity {
        name: port.name().into(),
        mac: port.mac(),
        mtu: port.mtu(),
        driver: port.driver().into(),
        ..PortIdentity::default()
    };
    let feedback =
        Feedback::create(&FeedbackSpec { workers: 1, ports: vec![identity], counters: Reason::COUNTERS })?;
    let queues = rx
        .into_iter()
        .zip(tx)
        .map(|(rx, tx)| Queues {
            port: PortView {
                any_mac: args.mac.is_none(),
                any_address: args.any_destination,
                ..PortView::new(0, args.mac.unwrap_or_default())
            },
            rx,
            tx,
            exception: None,
            vlans: Vec::new(),
            way_back: None,
            fragments: Reassembler::new(
                profile.reassembly.entries,
                profile.reassembly.timeout_ms * 1_000_000,
                KEY,
            ),
        })
        .collect();
    let settings =
        Settings { burst: profile.worker.burst, police: Police::new(&profile.police, 1), limit: None };
    let notes = Notes { ended: vec![None; captured.len()], answered: Vec::new() };
    let block = feedback.worker(0).ok_or("the counters of worker 0 are taken")?;
    let mut worker = Worker::new(queues, view, Source::Fixed, block, settings, notes);

    let mut last_tsc = dpdk::rdtsc();
    let mut idle = 0;
    let mut now = 0;
    while idle < IDLE_PASSES {
        // The clock of a pass is the time of its first frame; it never runs backwards.
        if let Some(next) = captured.get(worker.received() as usize) {
            now = now.max(next.time.as_nanos() as u64);
        }
        worker.housekeep(now, false);
        idle = if worker.pass(now, &mut last_tsc) == 0 { idle + 1 } else { 0 };
    }
    worker.housekeep(now, true);
    let received = worker.received() as usize;
    let notes = std::mem::replace(worker.observer(), Notes { ended: Vec::new(), answered: Vec::new() });
    if received != captured.len() {
        return Err(format!("{} frames were sent in, {received} came out of net_pcap", captured.len()).into());
    }
    drop(worker);
    drop(port);
    Ok(notes)
}

fn report(notes: &Notes, json: bool) -> Result<(), Box<dyn std::error::Error>> {
    let mut verdicts = BTreeMap::new();
    let mut frame = Vec::new();
    for (index, reason) in notes.ended.iter().enumerate() {
        let Some(reason) = reason else { return Err(format!("frame {} has no verdict", index + 1).into()) };
        *verdicts.entry(reason.name()).or_insert(0) += 1;
        frame.push(FrameReport { number: index + 1, action: reason.action().name(), verdict: reason.name() });
    }
    let answers = notes.answered.len();
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&Report { frames: frame.len(), answers, verdicts, frame })?
        );
        return Ok(());
    }
    println!("{} frames, {answers} answered", frame.len());
    for reason in Reason::ALL {
        if let Some(count) = verdicts.get(reason.name()) {
            let action = reason.action().name();
            println!(
                "  {action:<6} {:<20} {count:>8}  {}",
                reason.name(),
                Reason::COUNTERS[reason.index()].help
            );
        }
    }
    Ok(())
}
