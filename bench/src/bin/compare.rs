//! `compare`: what `make bench` runs. The data plane beside dpdk-testpmd on the same link, interleaved; beside a plain
//! server and libreswan over a veth; and what the budgets ask for besides. Prints as it goes and keeps the results.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bench::lab::{Failure, HugePages, Process, Veth, machine, median, ping_pong, steal};
use bench::plot::{Chart, Group, draw};
use bench::report::short;
use clap::Parser;
use platform::clock::monotonic_ns;
use platform::snapshot::{FeedbackReader, FeedbackView, Writer, handover};
use serde::Serialize;
use serde_json::{Value, json};

/// The generator's core and that of the program under test.
const CORES: (usize, usize) = (0, 1);
/// The data plane's end of the link: the fastest that both sides have without hardware.
const VIRTIO: &str = "packed_vq=1,in_order=1,mrg_rxbuf=0,queue_size=1024,mac=02:00:00:00:00:01";
const GATEWAYS: [[&str; 2]; 2] = [["192.0.2.10", "192.0.2.11"], ["2001:db8::10", "2001:db8::11"]];
const VIPS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
/// The generator's MAC address, which testpmd's csum mode does not take from the frame.
const CLIENT: &str = "02:00:00:00:00:09";

/// Preamble, frame check sequence and gap that a frame has on the wire beside its own bytes.
const WIRE_OVERHEAD: f64 = 24.0;
/// Bytes of an answer over IPv4 with a nonce of 32 bytes.
const ANSWER: f64 = 116.0;
/// Bytes of descriptors read and written for one frame, with their headers.
const DESCRIPTOR: f64 = 32.0;

const SCALE: &str = "\
# From cycles to ports

Written by `make bench`; the figures follow from its run, the formulas are these:

- Line rate of a port: bit rate / 8 / (frame + 24) requests a second; 24 bytes are preamble, check sequence and gap. No
  server answers more, whatever it is made of.
- Cores of a port: line rate x cycles / clock, rounded up; a core serves queues of one port. Assumed: the cycles measured here
  over virtio hold for a NIC's driver (its rings cost less than virtio's copying, its cache misses more), requests spread
  evenly over the queues, and cores do not share execution units (no hyper-threads of one core).
- Memory, at most: both frames written and read once, whole cache lines, and a line of mbuf and one of descriptors each way.
  With DDIO most of it stays in the last-level cache. One channel of DDR4-3200 brings 25.6 GB/s.
- PCIe each way: frame, 24 bytes of TLP header for every 256, and 32 bytes of descriptors. Usable: 6.9 GB/s of a gen 3 x8
  slot (a card of four 10G ports needs at most 5.0), 13.8 GB/s of a gen 4 x8 slot, 27.6 GB/s of a gen 4 x16 slot.
- libreswan: what it answers on one core here, times cores, as if it could spread over them.
";

/// Measures the data plane beside dpdk-testpmd, a plain server and libreswan; root, and nothing else should run
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Folder of the programs to measure [default: this program's]
    #[arg(long, value_name = "DIR")]
    bin: Option<PathBuf>,
    /// Root of the source tree: profiles, scripts, results
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Pairs of runs at 186 bytes over IPv4
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=50))]
    repeats: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds to hold the load below the no-drop rate
    #[arg(long, default_value_t = 60.0)]
    hold: f64,
    /// Only the repeated pairs: a look at one change
    #[arg(long)]
    short: bool,
    /// Only this part, may be repeated; nothing is kept unless --results says where
    #[arg(long, value_name = "PART", value_parser = PARTS.map(|(name, _)| name), conflicts_with = "short")]
    only: Vec<String>,
    /// Where the results go [default: bench/results below --root]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
}

type Part = fn(&mut Bench) -> Result<(), Failure>;

/// The parts of a run in their order; the first two are those of `--short`.
const PARTS: [(&str, Part); 11] = [
    ("instructions", Bench::instructions),
    ("pairs", Bench::pairs),
    ("sizes", Bench::sizes),
    ("fragments", Bench::fragments),
    ("stages", Bench::stages),
    ("latency", Bench::latency),
    ("hold", Bench::hold),
    ("mixture", Bench::mixture),
    ("two-workers", Bench::two_workers),
    ("snapshots", Bench::snapshots),
    ("veth", Bench::veth),
];
const SHORT: usize = 2;

fn main() -> ExitCode {
    match Bench::new(Args::parse()).and_then(|mut bench| bench.all()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The program under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dut {
    Usher,
    FiveTupleSwap,
    MacSwap,
    /// testpmd writes the checksums anew, in software: it reads the whole frame, as an answer must.
    Checksum,
}

impl Dut {
    fn name(self) -> &'static str {
        match self {
            Dut::Usher => "usher",
            Dut::FiveTupleSwap => "5tswap",
            Dut::MacSwap => "macswap",
            Dut::Checksum => "csum",
        }
    }
}

/// What the generator is to do.
#[derive(Debug, Clone, Default)]
struct Load<'a> {
    v6: bool,
    size: &'a str,
    seconds: f64,
    more: Vec<String>,
    /// The data plane times its stages, which costs it.
    stages: bool,
    /// The data plane has an exception device, a TAP, that takes what passes.
    kernel: bool,
}

/// A run and its figures.
#[derive(Debug, Clone, Serialize)]
struct Run {
    who: String,
    link: &'static str,
    family: u8,
    size: String,
    /// Datagrams answered: a pair of fragments is one.
    answers_per_second: f64,
    /// Frames sent to the program under test.
    frames_per_second: f64,
    /// Busy cycles of the worker a frame received.
    #[serde(skip_serializing_if = "Option::is_none")]
    cycles: Option<f64>,
    /// Busy share of the worker while loaded: cycles a frame times frames a second by the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    utilisation: Option<f64>,
    lost: u64,
    wrong: u64,
    latency_ns: Value,
    /// Round trip of a cache line between the cores before and after, ns.
    probe_ns: [f64; 2],
    /// Seconds that the hypervisor took meanwhile.
    steal: f64,
}

impl Run {
    /// What held the rate: the worker if it was busy for 95 % of the time.
    fn bound(&self) -> &'static str {
        match self.utilisation {
            Some(busy) if busy >= 0.95 => "worker-bound",
            Some(_) => "generator-bound",
            None => "",
        }
    }

    /// What the rate counts, where that is not one frame in and one frame out.
    fn counted(&self) -> String {
        if self.size != "pair" {
            return String::new();
        }
        let out = if self.who == "usher" { 1.0 } else { 2.0 };
        format!(
            "  of datagrams: {}frames/s in, {}frames/s out",
            short(self.frames_per_second),
            short(self.answers_per_second * out)
        )
    }
}

/// What the data plane says at its end.
#[derive(Debug, Default)]
struct Summary {
    busy: f64,
    /// Counter by name: action, total, share of each worker.
    counters: BTreeMap<String, (String, u64, Vec<u64>)>,
    /// Name, cycles a frame and frames of each timed stage.
    stages: Vec<(String, f64, u64)>,
}

impl Summary {
    /// The same out of its memory while it runs.
    fn read(feedback: &FeedbackReader) -> Summary {
        let view: FeedbackView = feedback.read();
        let counters = view.counters.into_iter();
        Summary {
            busy: view.workers.iter().map(|worker| worker.busy_cycles as f64).sum(),
            counters: counters
                .map(|counter| (counter.name, (counter.action, counter.total, counter.per_worker)))
                .collect(),
            stages: Vec::new(),
        }
    }

    fn parse(text: &str) -> Summary {
        let mut summary = Summary::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["worker", _, "core", _, "busy", _, "%,", busy, "of", ..] => {
                    summary.busy += busy.parse::<f64>().unwrap_or_default();
                }
                ["stage", name, cycles, "cycles", "a", "frame,", frames, "frames"] => {
                    let figures = (cycles.parse().unwrap_or_default(), frames.parse().unwrap_or_default());
                    summary.stages.push(((*name).into(), figures.0, figures.1));
                }
                [action, name, total, "by", "worker", shares @ ..] => {
                    let shares = shares.iter().filter_map(|share| share.parse().ok()).collect();
                    let total = total.parse().unwrap_or_default();
                    summary.counters.insert((*name).into(), ((*action).into(), total, shares));
                }
                _ => {}
            }
        }
        summary
    }

    /// Frames from the wire that ended somewhere.
    fn frames(&self) -> u64 {
        let ended =
            self.counters.iter().filter(|(name, (action, ..))| action != "info" && *name != "from_kernel");
        let joined = self.counters.get("fragment_joined").map_or(0, |(_, total, _)| *total);
        ended.map(|(_, (_, total, _))| total).sum::<u64>() + joined
    }

    fn total(&self, name: &str) -> u64 {
        self.counters.get(name).map_or(0, |(_, total, _)| *total)
    }
}

/// Frames that take another way than the fast path.
struct Other {
    /// Of the budget.
    what: &'static str,
    /// The option that mixes them in.
    share: &'static str,
    /// How many of them a data plane had.
    count: fn(&Summary) -> u64,
}

const OTHERS: [Other; 2] = [
    Other {
        what: "cycles a redirect beside 10 % not redirected",
        share: "--unsignalled",
        count: |summary| summary.total("unsignalled") + summary.total("policed_ike"),
    },
    Other {
        what: "cycles a redirect beside 10 % in fragments",
        share: "--pairs",
        // Halves of answered datagrams.
        count: |summary| 2 * summary.total("fragment_joined"),
    },
];

/// What a data plane did in a time.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    /// Busy cycles.
    busy: f64,
    frames: f64,
    /// Those of the frames that do not take the fast path.
    other: f64,
}

/// What the generator sends in a spell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spell {
    Plain,
    Mixture,
    Others,
}

impl Span {
    fn between(before: &Summary, after: &Summary, other: Option<&Other>) -> Span {
        let more = |count: fn(&Summary) -> u64| count(after).saturating_sub(count(before)) as f64;
        Span {
            busy: after.busy - before.busy,
            frames: more(Summary::frames),
            other: other.map_or(0.0, |other| more(other.count)),
        }
    }

    fn add(&mut self, more: Span) {
        self.busy += more.busy;
        self.frames += more.frames;
        self.other += more.other;
    }

    fn cycles(&self) -> f64 {
        self.busy / self.frames
    }

    /// Cycles a frame on the fast path, where the others cost `alone` each.
    fn fast(&self, alone: f64) -> f64 {
        (self.busy - self.other * alone) / (self.frames - self.other)
    }

    /// Of which spell it is, if of one: between two it is of neither.
    fn spell(&self) -> Option<Spell> {
        match self.other / self.frames {
            share if share < 0.001 => Some(Spell::Plain),
            share if (0.05..0.3).contains(&share) => Some(Spell::Mixture),
            share if share > 0.999 => Some(Spell::Others),
            _ => None,
        }
    }
}

/// The spells in their order, each with all that was seen of it.
fn spells(spans: &[Span]) -> Vec<(Spell, Span)> {
    let mut spells: Vec<(Spell, Span)> = Vec::new();
    for (spell, span) in spans.iter().filter_map(|span| Some((span.spell()?, *span))) {
        match spells.last_mut() {
            Some((last, sum)) if *last == spell => sum.add(span),
            _ => spells.push((spell, span)),
        }
    }
    spells
}

struct Bench {
    args: Args,
    bin: PathBuf,
    folder: tempfile::TempDir,
    began: Instant,
    hz: f64,
    runs: Vec<Run>,
    notes: Vec<String>,
    budgets: Vec<(String, String, String, bool)>,
    instructions: Option<u64>,
    _pages: HugePages,
}

impl Bench {
    fn new(args: Args) -> Result<Bench, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Err("huge pages and network namespaces need root: run it with sudo".into());
        }
        if std::thread::available_parallelism()?.get() < 2 {
            return Err("two cores are needed: one for the generator, one for the program under test".into());
        }
        let own = std::env::current_exe()?;
        let bin = args.bin.clone().or_else(|| own.parent().map(Path::to_path_buf)).unwrap_or_default();
        for program in ["ikegun", "usher-dataplane", "plain", "hotpath"] {
            if !bin.join(program).exists() {
                let bin = bin.display();
                return Err(
                    format!("{bin}/{program} is missing: run `cargo build --release --workspace`").into()
                );
            }
        }
        if Command::new("dpdk-testpmd").arg("--version").output().is_err() {
            return Err("dpdk-testpmd is missing: run `apt-get install dpdk-dev`".into());
        }
        let pages = HugePages::reserve(288)?;
        let folder = tempfile::tempdir()?;
        Ok(Bench {
            args,
            bin,
            folder,
            began: Instant::now(),
            hz: tsc_hz(),
            runs: Vec::new(),
            notes: Vec::new(),
            budgets: Vec::new(),
            instructions: None,
            _pages: pages,
        })
    }

    fn say(&self, line: &str) {
        println!("[{:>3} s] {line}", self.began.elapsed().as_secs());
    }

    fn all(&mut self) -> Result<bool, Failure> {
        if self.args.only.is_empty() {
            let minutes = if self.args.short { 2 } else { 6 };
            self.say(&format!("takes about {minutes} minutes; nothing else should run meanwhile"));
        }
        let parts = if self.args.short { &PARTS[..SHORT] } else { &PARTS };
        for (name, part) in parts {
            if self.args.only.is_empty() || self.args.only.iter().any(|only| only == name) {
                part(self)?;
            }
        }
        self.finish()
    }

    // --- single measurements

    fn gun(&self, load: &Load<'_>) -> Command {
        let vip = VIPS[usize::from(load.v6)];
        let mut command = Command::new(self.bin.join("ikegun"));
        command.args(["--json", "--quiet", "--core", "0", "--vip", vip, "--size", load.size]);
        command.args(["--from-mac", CLIENT]);
        command.args(["--seconds", &load.seconds.to_string(), "--latency-every", "8"]).args(&load.more);
        command
    }

    fn usher(&self, profile: &Path, v6: bool) -> Command {
        let mut command = Command::new("unshare");
        command.arg("-n").arg(self.bin.join("usher-dataplane")).arg("run").arg("--profile").arg(profile);
        command.args(["--vip", VIPS[usize::from(v6)]]);
        for gateway in GATEWAYS[usize::from(v6)] {
            command.args(["--redirect-to", gateway]);
        }
        command
    }

    /// The profile of the data plane under this load, with its port.
    fn profile(&self, load: &Load<'_>, vdev: &str) -> Result<PathBuf, Failure> {
        let mut text = fs::read_to_string(self.args.root.join("platform/profiles/bench.toml"))?;
        if load.stages {
            text = text.replace("[worker]", "[worker]\nstages = true");
        }
        let exception = if load.kernel { "exc0" } else { "" };
        let _ = write!(
            text,
            "\n[[port]]\ninterface = \"TenGigabitEthernet0/0/0\"\ndevice = \"vdev:{vdev}\"\nexception = \"{exception}\"\n"
        );
        let path = self.folder.path().join("usher.toml");
        fs::write(&path, text)?;
        Ok(path)
    }

    fn testpmd(&self, mode: &str, vdev: &str) -> Command {
        let mut command = Command::new("dpdk-testpmd");
        command.args([
            "--in-memory",
            "--single-file-segments",
            "-m",
            "192",
            "--no-pci",
            "--no-telemetry",
            "-l",
            "0,1",
            "--main-lcore",
            "0",
        ]);
        command.args([
            &format!("--file-prefix=testpmd-{}", std::process::id()),
            &format!("--vdev={vdev}"),
            "--",
        ]);
        command.args([
            "--nb-cores=1",
            "--rxd=1024",
            "--txd=1024",
            "--record-core-cycles",
            "--no-mlockall",
            "--total-num-mbufs=16383",
        ]);
        command.arg(format!("--forward-mode={mode}")).arg(format!("--eth-peer=0,{CLIENT}"));
        command
    }

    /// One run over the vhost link: the generator first, since it makes the socket.
    fn vhost(&mut self, dut: Dut, load: &Load<'_>) -> Result<(Run, Value, Summary), Failure> {
        let socket = self.folder.path().join("link.sock");
        let _ = fs::remove_file(&socket);
        let (before, stolen) = (ping_pong(CORES), steal());
        let mut gun = self.gun(load);
        gun.args(["--vdev", &format!("net_vhost0,iface={}", socket.display())]);
        if dut != Dut::Usher {
            gun.args(["--expect", "echo"]);
        }
        let mut gun = Process::start("ikegun", &mut gun, self.folder.path())?;
        wait_for(Duration::from_secs(15), || socket.exists() || gun.is_over());
        if !socket.exists() {
            return Err(gun.complaint("made no socket"));
        }
        let vdev = format!("net_virtio_user0,path={},{VIRTIO}", socket.display());
        let mut command = match dut {
            Dut::Usher => self.usher(&self.profile(load, &vdev)?, load.v6),
            Dut::FiveTupleSwap | Dut::MacSwap | Dut::Checksum => self.testpmd(dut.name(), &vdev),
        };
        let under_test = Process::start(dut.name(), &mut command, self.folder.path())?;
        let patience = Duration::from_secs_f64(load.seconds * 20.0 + 60.0);
        let result = match gun.finish(patience) {
            Ok(text) => serde_json::from_str::<Value>(&text)?,
            Err(error) => return Err(format!("{error}; {}", under_test.complaint("said")).into()),
        };
        let (cycles, summary) = match dut {
            Dut::Usher => {
                let summary = Summary::parse(&under_test.stop());
                (Some(summary.busy / summary.frames().max(1) as f64), summary)
            }
            _ => (cycles_of_testpmd(&under_test.stop_by_line()), Summary::default()),
        };
        let run = self.run(dut.name(), "vhost", load, &result, cycles, [before, ping_pong(CORES)], stolen);
        self.told(&run);
        Ok((run, result, summary))
    }

    #[allow(clippy::too_many_arguments)]
    fn run(
        &self,
        who: &str,
        link: &'static str,
        load: &Load<'_>,
        result: &Value,
        cycles: Option<f64>,
        probe_ns: [f64; 2],
        stolen: f64,
    ) -> Run {
        let of = |name: &str| result[name].as_f64().unwrap_or_default();
        let frames = of("frames") / of("seconds").max(1e-9);
        Run {
            who: who.to_owned(),
            link,
            family: if load.v6 { 6 } else { 4 },
            size: load.size.to_owned(),
            answers_per_second: of("answers_per_second"),
            frames_per_second: frames,
            cycles,
            utilisation: cycles.map(|cycles| cycles * frames / self.hz),
            lost: of("lost") as u64,
            wrong: of("wrong") as u64,
            latency_ns: result["latency_ns"].clone(),
            probe_ns,
            steal: steal() - stolen,
        }
    }

    fn told(&self, run: &Run) {
        let cycles = run.cycles.map_or(String::new(), |cycles| format!(", {cycles:.0} cycles"));
        let [before, after] = run.probe_ns;
        self.say(&format!(
            "{:<8} {:>4} B IPv{} {}: {}/s{}{cycles} {}  lost {} wrong {}  cores {before:.0}/{after:.0} ns",
            run.who,
            run.size,
            run.family,
            run.link,
            short(run.answers_per_second),
            run.counted(),
            run.bound(),
            run.lost,
            run.wrong,
        ));
    }

    // --- the parts

    fn instructions(&mut self) -> Result<(), Failure> {
        let script = self.args.root.join("bench/instructions.sh");
        let bin = fs::canonicalize(&self.bin)?;
        let output = Command::new(&script).env("USHER_BIN", bin).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = |line: &str| line.split_whitespace().nth(3)?.parse::<u64>().ok();
        let measured = text.lines().find(|line| line.starts_with("budget decide_answer")).and_then(number);
        let measured = measured.ok_or_else(|| {
            format!("{}: {text}{}", script.display(), String::from_utf8_lossy(&output.stderr).trim())
        })?;
        self.say(&format!("decide + answer: {measured} instructions"));
        self.budget("decide + answer, instructions", "at most 450", measured.to_string(), measured <= 450);
        self.instructions = Some(measured);
        Ok(())
    }

    /// The pair at 186 bytes over IPv4, again and again.
    fn pairs(&mut self) -> Result<(), Failure> {
        let load = Load { v6: false, size: "186", seconds: self.args.seconds, ..Load::default() };
        for _ in 0..self.args.repeats {
            for dut in [Dut::Usher, Dut::FiveTupleSwap, Dut::MacSwap, Dut::Checksum] {
                let (run, ..) = self.vhost(dut, &load)?;
                self.runs.push(run);
            }
        }
        let ratio = self.ratio(Dut::Usher, Dut::FiveTupleSwap, |run| Some(run.answers_per_second));
        let cycles = self.ratio(Dut::Usher, Dut::FiveTupleSwap, |run| run.cycles);
        let usher = median(&self.of("usher", |run| run.cycles));
        let bound: Vec<&str> = self.repeated("usher").map(Run::bound).collect();
        let worker_bound = bound.iter().filter(|bound| **bound == "worker-bound").count();
        self.budget(
            "redirects/s beside testpmd 5tswap",
            "at least 0.9",
            format!("{ratio:.2} (worker-bound in {worker_bound} of {} runs)", bound.len()),
            ratio >= 0.9,
        );
        self.budget(
            "busy cycles per redirect beside testpmd 5tswap",
            "at most 1.3",
            format!("{cycles:.2}"),
            cycles <= 1.3,
        );
        self.budget(
            "busy cycles per redirect, 186 B",
            "at most 411, aim 206",
            format!("{usher:.0}"),
            usher <= 411.0,
        );
        let beside = |one, other| {
            let rate = self.ratio(one, other, |run| Some(run.answers_per_second));
            format!("rate {rate:.2}, cycles {:.2}", self.ratio(one, other, |run| run.cycles))
        };
        let (reading, answering) =
            (beside(Dut::Checksum, Dut::FiveTupleSwap), beside(Dut::Usher, Dut::Checksum));
        self.notes.push(format!(
            "testpmd csum, which reads whole frames, beside 5tswap: {reading}; usher beside csum: {answering}"
        ));
        Ok(())
    }

    /// Every other size and family, one run each.
    fn sizes(&mut self) -> Result<(), Failure> {
        for (v6, size) in [
            (false, "256"),
            (false, "400"),
            (false, "922"),
            (true, "206"),
            (true, "256"),
            (true, "400"),
            (true, "922"),
        ] {
            let load = Load { v6, size, seconds: self.args.seconds.min(1.5), ..Load::default() };
            for dut in [Dut::Usher, Dut::FiveTupleSwap] {
                let (run, ..) = self.vhost(dut, &load)?;
                self.runs.push(run);
            }
        }
        Ok(())
    }

    /// Requests in two fragments, as a post-quantum key makes them. usher puts each together and sends one answer; testpmd knows
    /// frames only and sends both back. A datagram counts once for either.
    fn fragments(&mut self) -> Result<(), Failure> {
        for v6 in [false, true] {
            let seconds = self.args.seconds.min(1.5);
            let load = Load { v6, size: "pair", seconds, ..Load::default() };
            for dut in [Dut::Usher, Dut::FiveTupleSwap, Dut::MacSwap] {
                let (run, ..) = self.vhost(dut, &load)?;
                self.runs.push(run);
            }
        }
        Ok(())
    }

    /// Where the cycles go: the same load with the stages timed.
    fn stages(&mut self) -> Result<(), Failure> {
        let load = Load { v6: false, size: "186", seconds: 1.5, stages: true, ..Load::default() };
        let (run, _, summary) = self.vhost(Dut::Usher, &load)?;
        let timed: Vec<String> = (summary.stages.iter())
            .filter(|(_, _, frames)| *frames > 0)
            .map(|(name, cycles, _)| format!("{name} {cycles:.0}"))
            .collect();
        let all = run.cycles.unwrap_or(f64::NAN);
        self.notes.push(format!(
            "cycles of each stage a frame, with the clock's own: {}; the whole loop with it {all:.0}",
            timed.join(", ")
        ));
        Ok(())
    }

    /// Latency at half of what the pair brought.
    fn latency(&mut self) -> Result<(), Failure> {
        for dut in [Dut::Usher, Dut::FiveTupleSwap] {
            let rate = self.reached(dut)? / 2.0;
            let more = vec!["--rate".into(), format!("{rate:.0}")];
            let load = Load { v6: false, size: "186", seconds: 4.0, more, ..Load::default() };
            let (run, ..) = self.vhost(dut, &load)?;
            let at = |name: &str| run.latency_ns[name].as_f64().unwrap_or(f64::NAN) / 1000.0;
            self.notes.push(format!(
                "latency of {} at half load, {}/s: p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, p99.99 {:.1} us, max {:.1} us",
                dut.name(),
                short(rate),
                at("p50"),
                at("p99"),
                at("p99.9"),
                at("p99.99"),
                at("max")
            ));
        }
        Ok(())
    }

    /// Answers a second of the pair; without its runs, of one now.
    fn reached(&mut self, dut: Dut) -> Result<f64, Failure> {
        let reached = median(&self.of(dut.name(), |run| Some(run.answers_per_second)));
        if !reached.is_nan() {
            return Ok(reached);
        }
        let load = Load { v6: false, size: "186", seconds: self.args.seconds, ..Load::default() };
        Ok(self.vhost(dut, &load)?.0.answers_per_second)
    }

    /// The no-drop rate, then a long run below it: everything is answered rightly and accounted for.
    fn hold(&mut self) -> Result<(), Failure> {
        let reached = self.reached(Dut::Usher)?;
        let ceiling = format!("{:.0}", reached * 1.2);
        let more =
            ["--search", "--trial", "1.5", "--resolution", "8", "--rate", &ceiling, "--timeout", "200"];
        let load = Load {
            v6: false,
            size: "186",
            seconds: 2.0,
            more: more.map(str::to_owned).to_vec(),
            ..Load::default()
        };
        let rate = match self.vhost(Dut::Usher, &load) {
            Ok((_, result, _)) => result["no_drop_rate"].as_f64(),
            // A machine that takes its cores away for long loses at every rate: ikegun says so by its status.
            Err(_) => None,
        };
        let found = rate.map_or("none found on this machine".to_owned(), |rate| format!("{}/s", short(rate)));
        self.notes.push(format!("no-drop rate (RFC 2544, trials of 1.5 s): {found}"));
        let rate = rate.unwrap_or(reached / 4.0) * 0.8;
        let more = ["--rate", &format!("{rate:.0}"), "--sources", "64", "--timeout", "200"];
        let load = Load {
            v6: false,
            size: "186",
            seconds: self.args.hold,
            more: more.map(str::to_owned).to_vec(),
            ..Load::default()
        };
        let (run, result, summary) = self.vhost(Dut::Usher, &load)?;
        let of = |name: &str| result[name].as_u64().unwrap_or_default();
        let taken = of("frames_ever");
        let missing = taken.abs_diff(summary.frames());
        let full = summary.total("port_full");
        self.notes.push(format!(
            "{:.0} s at {}/s: {} answers verified, {} wrong, {} lost, {} late; frames sent {taken}, ended in a counter {}, \
             answers that a full ring did not take {full}; the hypervisor took {:.2} s",
            self.args.hold,
            short(rate),
            of("answered"),
            run.wrong,
            run.lost,
            of("late"),
            summary.frames(),
            run.steal
        ));
        self.budget(
            "frames taken and not answered, passed or counted",
            "0",
            missing.to_string(),
            missing == 0 && run.wrong == 0,
        );
        Ok(())
    }

    /// A tenth of the requests goes another way than the fast path: it is not to be redirected, and passes, policed; or it comes in
    /// fragments, and is put together. What a redirect costs beside them: the mixture's cycles less those of the other frames,
    /// which are what such frames cost alone. All three take turns every few hundredths of a second, since this machine is another
    /// from one second to the next; each three is compared, and the median counts.
    fn mixture(&mut self) -> Result<(), Failure> {
        for other in OTHERS {
            let more = [other.share, "10", "--spell", "100k"].map(str::to_owned).to_vec();
            let load = Load { size: "186", seconds: 8.0, more, kernel: true, ..Load::default() };
            let spans = self.watched(&load, |look, _| {
                let mut spans = Vec::new();
                let end = Instant::now() + Duration::from_secs(6);
                let mut before = look();
                while Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(4));
                    let after = look();
                    spans.push(Span::between(&before, &after, Some(&other)));
                    before = after;
                }
                spans
            })?;
            let threes: Vec<[f64; 5]> = spells(&spans)
                .windows(3)
                .filter_map(|three| match three {
                    [(Spell::Plain, plain), (Spell::Mixture, mixture), (Spell::Others, others)] => {
                        let share = mixture.other / mixture.frames * 100.0;
                        let alone = others.cycles();
                        let fast = mixture.fast(alone);
                        Some([fast / plain.cycles(), plain.cycles(), fast, alone, share])
                    }
                    _ => None,
                })
                .collect();
            if threes.len() < 5 {
                return Err(
                    format!("{}: only {} changes of load seen in 6 s", other.what, threes.len()).into()
                );
            }
            let of = |index: usize| median(&threes.iter().map(|three| three[index]).collect::<Vec<_>>());
            let slower = (of(0) - 1.0) * 100.0;
            let measured = format!(
                "{slower:+.1} % ({:.0} -> {:.0}; the other frames {:.0} alone, {:.0} % of all; medians of {} changes)",
                of(1),
                of(2),
                of(3),
                of(4),
                threes.len()
            );
            self.budget(other.what, "at most +5 %", measured, slower <= 5.0);
        }
        Ok(())
    }

    /// Two queues on two workers, each request on both: the same gateway, and the counters add up.
    fn two_workers(&mut self) -> Result<(), Failure> {
        let socket = self.folder.path().join("two.sock");
        let profile = self.folder.path().join("two.toml");
        let vdev = format!("net_virtio_user0,path={},queues=2,{VIRTIO}", socket.display());
        fs::write(
            &profile,
            format!(
                "[eal]\nhuge = true\nmemory_mib = 192\n[worker]\ncores = [0, 1]\nidle = \"adaptive\"\n\
                 [[port]]\ninterface = \"TenGigabitEthernet0/0/0\"\ndevice = \"vdev:{vdev}\"\nqueues = 2\nexception = \"\"\n"
            ),
        )?;
        let more = ["--rate", "20k", "--queues", "2", "--copies", "2", "--sources", "64", "--timeout", "500"];
        let load = Load {
            v6: false,
            size: "186",
            seconds: 3.0,
            more: more.map(str::to_owned).to_vec(),
            ..Load::default()
        };
        let mut gun = self.gun(&load);
        gun.args(["--vdev", &format!("net_vhost0,iface={},queues=2", socket.display())]);
        let mut gun = Process::start("ikegun", &mut gun, self.folder.path())?;
        wait_for(Duration::from_secs(15), || socket.exists() || gun.is_over());
        let mut command = Command::new("unshare");
        command.arg("-n").arg(self.bin.join("usher-dataplane")).args(["run", "--profile"]).arg(&profile);
        command.args(["--vip", VIPS[0], "--redirect-to", GATEWAYS[0][0], "--redirect-to", GATEWAYS[0][1]]);
        let usher = Process::start("usher", &mut command, self.folder.path())?;
        let result: Value = match gun.finish(Duration::from_secs(60)) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(error) => return Err(format!("{error}; {}", usher.complaint("said")).into()),
        };
        let summary = Summary::parse(&usher.stop());
        let (_, total, shares) = summary.counters.get("redirected").cloned().unwrap_or_default();
        let both = shares.len() == 2 && shares.iter().all(|share| *share > 0);
        let sent = result["frames_ever"].as_u64().unwrap_or_default();
        let right = result["wrong"] == 0 && both && shares.iter().sum::<u64>() == total && total == sent;
        let measured = format!("{sent} sent, {total} redirected = {shares:?}, {} wrong", result["wrong"]);
        self.budget("two workers: same gateways, counters add up", "exactly", measured, right);
        Ok(())
    }

    /// A control plane that publishes 1,000 snapshots a second, and does not, in turn.
    fn snapshots(&mut self) -> Result<(), Failure> {
        const TURNS: usize = 56;
        let load = Load { v6: false, size: "186", seconds: 8.0, ..Load::default() };
        let turns = self.watched(&load, |look, publishing| {
            let turn = |busy: bool| {
                publishing.store(busy, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(12));
                let before = look();
                std::thread::sleep(Duration::from_millis(40));
                Span::between(&before, &look(), None).cycles()
            };
            (0..TURNS).map(|_| [turn(false), turn(true)]).collect::<Vec<_>>()
        })?;
        let of = |value: fn(&[f64; 2]) -> f64| median(&turns.iter().map(value).collect::<Vec<_>>());
        let cost = (of(|[quiet, busy]| busy / quiet) - 1.0) * 100.0;
        let [quiet, busy] = [of(|turn| turn[0]), of(|turn| turn[1])];
        let measured =
            format!("{cost:+.2} % ({quiet:.0} -> {busy:.0} cycles a frame; medians of {TURNS} changes)");
        self.budget("1,000 snapshots/s, cost", "under 1 %", measured, cost < 1.0);
        Ok(())
    }

    /// A data plane under load and under a control plane of our own, while `watch` looks at its counters; it may have a thousand
    /// snapshots a second published.
    fn watched<T: Send>(
        &self,
        load: &Load<'_>,
        watch: impl FnOnce(&dyn Fn() -> Summary, &AtomicBool) -> T + Send,
    ) -> Result<T, Failure> {
        let (socket, control) =
            (self.folder.path().join("link.sock"), self.folder.path().join("dataplane.sock"));
        for file in [&socket, &control] {
            let _ = fs::remove_file(file);
        }
        let listener = handover::Listener::bind(&control, 0o600)?;
        let mut writer = Writer::create()?;
        let gateways = GATEWAYS[0].map(|ip| ip.parse().map_err(|error| format!("{ip}: {error}")));
        let [first, second] = gateways;
        let mut body =
            dataplane::fixed::body(&[VIPS[0].parse()?], &[first?, second?], [2, 0, 0, 0, 0, 1], [1, 2])?;
        let mut gun = self.gun(load);
        gun.args(["--vdev", &format!("net_vhost0,iface={}", socket.display())]);
        let mut gun = Process::start("ikegun", &mut gun, self.folder.path())?;
        wait_for(Duration::from_secs(15), || socket.exists() || gun.is_over());
        if !socket.exists() {
            return Err(gun.complaint("made no socket"));
        }
        let vdev = format!("net_virtio_user0,path={},{VIRTIO}", socket.display());
        let mut command = Command::new("unshare");
        command.arg("-n").arg(self.bin.join("usher-dataplane")).args(["run", "--profile"]);
        command.arg(self.profile(load, &vdev)?).arg("--socket").arg(&control);
        let usher = Process::start("usher", &mut command, self.folder.path())?;
        writer.publish(&body);
        writer.set_lease(0, u64::MAX >> 1, false);
        let peer = listener.accept(&writer, Duration::from_secs(20))?;
        let peer = peer.ok_or_else(|| usher.complaint("did not connect within 20 s"))?;
        let look = || Summary::read(&peer.feedback);
        if !wait_for(Duration::from_secs(15), || look().total("redirected") > 1000) {
            return Err(usher.complaint("answers nothing"));
        }
        let (over, publishing) = (AtomicBool::new(false), AtomicBool::new(false));
        let seen = std::thread::scope(|scope| {
            // Publisher and watcher share the generator's core, as usherd shares one with the rest of the system.
            let publisher = scope.spawn(|| {
                core_affinity::set_for_current(core_affinity::CoreId { id: CORES.0 });
                while !over.load(Ordering::Relaxed) {
                    let busy = publishing.load(Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(if busy { 1 } else { 10 }));
                    writer.heartbeat(monotonic_ns());
                    if busy {
                        body.published_ns = monotonic_ns();
                        writer.publish(&body);
                    }
                }
            });
            let watcher = scope.spawn(|| {
                core_affinity::set_for_current(core_affinity::CoreId { id: CORES.0 });
                watch(&look, &publishing)
            });
            let seen = watcher.join();
            over.store(true, Ordering::Relaxed);
            let _ = publisher.join();
            seen
        });
        gun.finish(Duration::from_secs(60))?;
        drop(usher);
        seen.map_err(|_| "the watcher of the counters failed".into())
    }

    /// Programs that need a kernel's socket, and the data plane beside them on the same veth.
    fn veth(&mut self) -> Result<(), Failure> {
        let veth = Veth::make()?;
        let load = |more: &[&str]| {
            let more = more.iter().map(|word| (*word).to_owned()).collect();
            Load { v6: false, size: "186", seconds: 3.0, more, ..Load::default() }
        };
        let profile = self.folder.path().join("veth.toml");
        fs::write(
            &profile,
            "[eal]\nhuge = false\nmemory_mib = 128\n[worker]\ncores = [1]\nidle = \"spin\"\n\
             [[port]]\ninterface = \"GigabitEthernet0/0/0\"\ndevice = \"vdev:net_af_xdp0,iface=dut0\"\nexception = \"\"\n",
        )?;
        let enter = |space: String| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &space, "taskset", "-c", "1"]);
            command
        };
        let mut plain = enter(veth.dut());
        plain.arg(self.bin.join("plain")).args(["--redirect-to", GATEWAYS[0][0]]);
        let mut usher = enter(veth.dut());
        usher.arg(self.bin.join("usher-dataplane")).args([
            "run",
            "--vip",
            VIPS[0],
            "--redirect-to",
            GATEWAYS[0][0],
        ]);
        usher.arg("--profile").arg(&profile);
        let mut libreswan = Command::new(self.args.root.join("bench/libreswan.sh"));
        libreswan.args([&veth.dut(), &self.folder.path().join("lsw").display().to_string()]);
        libreswan.args([VIPS[0], GATEWAYS[0][0]]);
        let rows: [(&str, &mut Command, Load<'_>); 3] = [
            ("plain", &mut plain, load(&[])),
            ("libreswan", &mut libreswan, load(&["--window", "64", "--any-protocol-id"])),
            ("usher", &mut usher, load(&[])),
        ];
        for (who, command, load) in rows {
            match self.over_veth(who, command, &load, &veth) {
                Ok(run) => {
                    self.told(&run);
                    self.runs.push(run);
                }
                Err(error) if who == "libreswan" => {
                    self.say(&format!("libreswan: {error}"));
                    self.notes.push(format!("libreswan could not be measured: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn over_veth(
        &self,
        who: &str,
        command: &mut Command,
        load: &Load<'_>,
        veth: &Veth,
    ) -> Result<Run, Failure> {
        let (before, stolen) = (ping_pong(CORES), steal());
        let mut under_test = Process::start(who, command, self.folder.path())?;
        if who == "libreswan" {
            let up = wait_for(Duration::from_secs(100), || {
                under_test.output().contains("ready") || under_test.is_over()
            });
            if !up || under_test.is_over() {
                return Err(under_test.complaint("does not run"));
            }
        } else {
            std::thread::sleep(Duration::from_secs(2));
        }
        let mut gun = Command::new("ip");
        gun.args(["netns", "exec", &veth.gun()]).arg(self.bin.join("ikegun"));
        gun.args(["--json", "--quiet", "--core", "0", "--no-huge", "--memory", "128", "--sources", "64"]);
        gun.args(["--vdev", "net_af_packet0,iface=gun0,qdisc_bypass=1", "--from-mac", CLIENT]);
        gun.args(["--seconds", &load.seconds.to_string()]).args(&load.more);
        let gun = Process::start("ikegun", &mut gun, self.folder.path())?;
        let result = match gun.finish(Duration::from_secs(60)) {
            Ok(text) => serde_json::from_str::<Value>(&text)?,
            Err(error) => return Err(format!("{error}; {}", under_test.complaint("said")).into()),
        };
        under_test.stop();
        Ok(self.run(who, "veth", load, &result, None, [before, ping_pong(CORES)], stolen))
    }

    // --- results

    fn budget(&mut self, what: &str, budget: &str, measured: String, met: bool) {
        self.say(&format!("{what}: {measured} (budget: {budget}){}", if met { "" } else { "  MISSED" }));
        self.budgets.push((what.to_owned(), budget.to_owned(), measured, met));
    }

    fn repeated<'a>(&'a self, who: &'a str) -> impl Iterator<Item = &'a Run> {
        let here =
            move |run: &&Run| run.who == who && run.link == "vhost" && run.family == 4 && run.size == "186";
        self.runs.iter().filter(here)
    }

    fn of(&self, who: &str, value: impl Fn(&Run) -> Option<f64>) -> Vec<f64> {
        self.repeated(who).filter_map(value).collect()
    }

    /// The median of one's figure over another's, pair by pair: both were measured right after each other.
    fn ratio(&self, one: Dut, other: Dut, value: impl Fn(&Run) -> Option<f64>) -> f64 {
        let pairs = self.of(one.name(), &value).into_iter().zip(self.of(other.name(), &value));
        median(&pairs.map(|(one, other)| one / other).collect::<Vec<_>>())
    }

    fn finish(&mut self) -> Result<bool, Failure> {
        let ratio = self.ratio(Dut::Usher, Dut::FiveTupleSwap, |run| Some(run.answers_per_second));
        let cycles = self.ratio(Dut::Usher, Dut::FiveTupleSwap, |run| run.cycles);
        let own = median(&self.of("usher", |run| Some(run.answers_per_second)));
        let rate_on = |who: &str, link: &str| {
            let run = self.runs.iter().find(|run| run.who == who && run.link == link);
            run.map(|run| run.answers_per_second).filter(|rate| *rate > 0.0)
        };
        let libreswan = rate_on("libreswan", "veth");
        let x_libreswan = libreswan.map(|rate| own / rate);
        if let (Some(rate), Some(factor)) = (libreswan, x_libreswan) {
            let same = rate_on("usher", "veth").map_or(f64::NAN, |usher| usher / rate);
            let plain = rate_on("plain", "veth").map_or(f64::NAN, |plain| plain / rate);
            self.budget(
                "redirects/s beside libreswan",
                "at least 100",
                format!("{factor:.0} (vhost against veth; on the same veth {same:.1}, the plain server {plain:.1})"),
                factor >= 100.0,
            );
        }
        let x_text = x_libreswan.map_or("not-measured".to_owned(), |factor| format!("{factor:.0}"));
        let instructions = self.instructions.map_or("not-measured".to_owned(), |count| count.to_string());
        let last = format!(
            "bench ratio_5tswap={ratio:.2} cycles_ratio={cycles:.2} x_libreswan={x_text} instructions={instructions}"
        );
        let date = date();
        let text = self.text(&date, &last);
        if self.args.only.is_empty() || self.args.results.is_some() {
            self.keep(&date, &text, [ratio, cycles], libreswan, x_libreswan)?;
        }
        println!("\n{text}");
        // Figures are reported, never judged: a wrong answer or a frame that vanished is.
        let wrong: u64 = self.runs.iter().map(|run| run.wrong).sum();
        let exact = self.budgets.iter().filter(|(_, budget, ..)| budget == "0" || budget == "exactly");
        Ok(wrong == 0 && exact.into_iter().all(|(.., met)| *met))
    }

    /// Writes the results.
    fn keep(
        &self,
        date: &str,
        text: &str,
        [ratio, cycles]: [f64; 2],
        libreswan: Option<f64>,
        x_libreswan: Option<f64>,
    ) -> Result<(), Failure> {
        let folder = self.args.results.clone().unwrap_or(self.args.root.join("bench/results"));
        fs::create_dir_all(&folder)?;
        let file = |extension: &str| folder.join(format!("bench-{date}.{extension}"));
        fs::write(file("txt"), text)?;
        let facts: BTreeMap<String, String> = machine().into_iter().collect();
        let budgets: Vec<Value> = self.budgets.iter().map(|(what, budget, measured, met)| {
            json!({"what": what, "budget": budget, "measured": measured, "met": met})
        }).collect();
        let all = json!({
            "date": date, "machine": facts, "tsc_hz": self.hz, "runs": self.runs, "budgets": budgets,
            "notes": self.notes, "ratio_5tswap": ratio, "cycles_ratio": cycles, "x_libreswan": x_libreswan,
            "instructions": self.instructions, "seconds": self.began.elapsed().as_secs(),
        });
        fs::write(file("json"), serde_json::to_string_pretty(&all)? + "\n")?;
        self.plot(&file("svg"))?;
        if !self.args.short && self.args.only.is_empty() {
            fs::write(folder.join("scale.md"), self.scale(date, libreswan))?;
        }
        Ok(())
    }

    /// What the measured cycles mean for ports that this machine does not have.
    fn scale(&self, date: &str, libreswan: Option<f64>) -> String {
        let mut text = format!("{SCALE}\nMeasured on {date}, clock {:.2} GHz.\n\n", self.hz / 1e9);
        text.push_str(
            "| ports | request | line rate, M/s | cycles a redirect | cores at this clock | at 3.5 GHz | memory, GB/s, at most | PCIe in / out, GB/s | libreswan cores |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for size in ["186", "256", "400", "922"] {
            let here = self.runs.iter().filter(|run| {
                run.who == "usher" && run.link == "vhost" && run.family == 4 && run.size == size
            });
            let cycles = median(&here.filter_map(|run| run.cycles).collect::<Vec<_>>());
            for (name, ports, gbit) in [("12x10G", 12.0, 10.0), ("1x25G", 1.0, 25.0), ("1x100G", 1.0, 100.0)]
            {
                let frame: f64 = size.parse().unwrap_or(f64::NAN);
                let line = gbit * 1e9 / 8.0 / (frame + WIRE_OVERHEAD);
                let total = line * ports;
                // A core serves queues of one port: cores of a port are rounded up before they are multiplied.
                let cores = |hz: f64| ports * (line * cycles / hz).ceil();
                let lines = |bytes: f64| (bytes / 64.0).ceil() * 64.0;
                let memory = total * (2.0 * lines(frame) + 2.0 * lines(ANSWER) + 2.0 * 64.0) / 1e9;
                let tlp = |bytes: f64| bytes + (bytes / 256.0).ceil() * 24.0 + DESCRIPTOR;
                let (inward, outward) = (total * tlp(frame) / 1e9, total * tlp(ANSWER) / 1e9);
                let other = libreswan.map_or("-".to_owned(), |rate| format!("{:.0}", (total / rate).ceil()));
                let _ = writeln!(
                    text,
                    "| {name} | {size} B | {:.2} | {cycles:.0} | {:.0} | {:.0} | {memory:.1} | {inward:.1} / {outward:.1} | {other} |",
                    total / 1e6,
                    cores(self.hz),
                    cores(3.5e9),
                );
            }
        }
        text
    }

    fn groups(&self, value: impl Fn(&Run) -> Option<f64>) -> Vec<Group> {
        let mut cells: Vec<(u8, String)> = Vec::new();
        for run in self.runs.iter().filter(|run| run.link == "vhost") {
            let cell = (run.family, run.size.clone());
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        let label = |(family, size): &(u8, String)| format!("{size} IPv{family}");
        let values = |(family, size): &(u8, String)| {
            let of = |who: &str| {
                let here = self.runs.iter().filter(|run| {
                    run.who == who && run.link == "vhost" && run.family == *family && run.size == *size
                });
                median(&here.filter_map(&value).collect::<Vec<_>>())
            };
            ["usher", "5tswap", "macswap"].map(of).to_vec()
        };
        cells.iter().map(|cell| (label(cell), values(cell))).collect()
    }

    fn plot(&self, path: &Path) -> Result<(), Failure> {
        let programs = ["usher", "testpmd 5tswap", "testpmd macswap"];
        let (rates, cycles) =
            (self.groups(|run| Some(run.answers_per_second / 1e6)), self.groups(|run| run.cycles));
        let rates = Chart {
            title: "Answers of one core, million a second (net_vhost to net_virtio_user)",
            programs: &programs,
            groups: &rates,
            line: None,
        };
        let cycles = Chart {
            title: "Busy cycles a frame",
            programs: &programs,
            groups: &cycles,
            line: Some((411.0, "12x10G at 186 B: 411")),
        };
        draw(path, &[rates, cycles])
    }

    fn text(&self, date: &str, last: &str) -> String {
        let mut text = format!("date: {date}\n");
        for (name, fact) in machine() {
            let _ = writeln!(text, "{name}: {fact}");
        }
        let _ = writeln!(
            text,
            "\n{:<10} {:<5} {:>4} {:>5} {:>5} {:>9} {:>9} {:>9} {:>7} {:>7} {:>6} {:>8}  bound by",
            "who", "link", "IP", "size", "runs", "M/s", "min", "max", "cycles", "busy", "lost", "near/far"
        );
        let mut seen: Vec<(String, &str, u8, String)> = Vec::new();
        for run in &self.runs {
            let cell = (run.who.clone(), run.link, run.family, run.size.clone());
            if seen.contains(&cell) {
                continue;
            }
            let same: Vec<&Run> = (self.runs.iter())
                .filter(|other| {
                    (&other.who, other.link, other.family, &other.size)
                        == (&run.who, run.link, run.family, &run.size)
                })
                .collect();
            let of = |value: &dyn Fn(&Run) -> f64| same.iter().map(|run| value(run)).collect::<Vec<f64>>();
            let rates = of(&|run| run.answers_per_second / 1e6);
            let optional = |value: f64, digits: usize| {
                if value.is_nan() { "-".to_owned() } else { format!("{value:.digits$}") }
            };
            let probes = of(&|run| (run.probe_ns[0] + run.probe_ns[1]) / 2.0);
            let bounds: Vec<&str> = same.iter().map(|run| run.bound()).collect();
            let _ = writeln!(
                text,
                "{:<10} {:<5} {:>4} {:>5} {:>5} {:>9.3} {:>9.3} {:>9.3} {:>7} {:>7} {:>6} {:>8.0}  {}{}",
                run.who,
                run.link,
                run.family,
                run.size,
                same.len(),
                median(&rates),
                rates.iter().copied().fold(f64::INFINITY, f64::min),
                rates.iter().copied().fold(0.0, f64::max),
                optional(median(&of(&|run| run.cycles.unwrap_or(f64::NAN))), 0),
                optional(median(&of(&|run| run.utilisation.unwrap_or(f64::NAN))), 2),
                same.iter().map(|run| run.lost).sum::<u64>(),
                median(&probes),
                bounds
                    .iter()
                    .max_by_key(|bound| bounds.iter().filter(|other| other == bound).count())
                    .unwrap_or(&""),
                run.counted(),
            );
            seen.push(cell);
        }
        text.push('\n');
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        let _ = writeln!(text, "\n{:<52} {:<22} {:<6} measured", "budget", "wanted", "");
        for (what, budget, measured, met) in &self.budgets {
            let _ = writeln!(
                text,
                "{what:<52} {budget:<22} {:<6} {measured}",
                if *met { "met" } else { "MISSED" }
            );
        }
        text.push_str(
            "\nM/s: right answers a second, million (median, min, max); cycles: busy cycles of the worker a frame; busy: its\n\
             share of the time under load; near/far: round trip of a cache line between the two cores, ns.\n\
             pair: requests in two fragments; M/s counts datagrams, cycles are a frame's. usher sends one answer for both, testpmd sends\n\
             both back, and a datagram is answered when both are there.\n\
             csum: testpmd writes the checksums anew in software, and so reads the whole frame as an answer must; 5tswap and macswap\n\
             touch its first line, and on this link the others never leave the generator's cache.\n\
             The link vhost is net_vhost to net_virtio_user; rows over veth go through the kernel and stand for themselves.\n",
        );
        let _ = writeln!(text, "{last}");
        text
    }
}

/// `CPU cycles/packet=166.02 (total cycles=... / total RX packets=...)` of dpdk-testpmd.
fn cycles_of_testpmd(output: &str) -> Option<f64> {
    let (_, rest) = output.rsplit_once("CPU cycles/packet=")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn wait_for(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !done() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Cycles a second of the time stamp counter, measured against the clock.
fn tsc_hz() -> f64 {
    let (began, first) = (Instant::now(), dpdk::rdtsc());
    std::thread::sleep(Duration::from_millis(200));
    (dpdk::rdtsc() - first) as f64 / began.elapsed().as_secs_f64()
}

/// Now in UTC, as 20261125T000436Z.
fn date() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970, after Howard Hinnant's algorithm.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + carry;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_planes_summary_is_read() {
        let text = "worker 0 core 1 busy 93.2 %, 1000 of 1073 cycles\nworker 1 core 2 busy 1.0 %, 10 of 1000 cycles\n\
                    stage rx           12.5 cycles a frame, 7 frames\n\
                    answer redirected                     7  by worker 4 3\ndrop   bad_ike                        2  by worker 2 0\n\
                    info   fragment_held                  1  by worker 1 0\ninfo   fragment_joined                1  by worker 1 0\n";
        let summary = Summary::parse(text);
        assert_eq!((summary.busy, summary.frames(), summary.total("redirected")), (1010.0, 10, 7));
        assert_eq!(summary.counters["redirected"].2, [4, 3]);
        assert_eq!(summary.stages, [("rx".to_owned(), 12.5, 7)]);
    }

    #[test]
    fn a_redirect_in_a_mixture_costs_what_the_others_leave() {
        let mixture = Span { busy: 11_000.0, frames: 100.0, other: 25.0 };
        assert_eq!((mixture.cycles(), mixture.fast(200.0)), (110.0, 80.0));
        let text = "answer redirected  75 by worker 75\npass unsignalled 5 by worker 5\ndrop policed_ike 20 by worker 20\n";
        let summary = Summary::parse(text);
        assert_eq!(OTHERS.map(|other| (other.count)(&summary)), [25, 0]);
        let pairs = "answer redirected 90 by worker 90\ninfo fragment_held 10 by worker 10\ninfo fragment_joined 10 by worker 10\n";
        let summary = Summary::parse(pairs);
        assert_eq!((OTHERS.map(|other| (other.count)(&summary)), summary.frames()), ([0, 20], 100));
    }

    #[test]
    fn spans_make_spells() {
        let span = |frames, other| Span { busy: 2.0 * frames, frames, other };
        // Between the others and the plain ones a span is of neither; nothing was sent in one.
        let spans =
            [span(9.0, 0.0), span(7.0, 0.0), span(10.0, 1.0), span(8.0, 8.0), span(5.0, 4.0), span(0.0, 0.0)];
        let got: Vec<(Spell, f64)> =
            spells(&spans).iter().map(|(spell, span)| (*spell, span.frames)).collect();
        assert_eq!(got, [(Spell::Plain, 16.0), (Spell::Mixture, 10.0), (Spell::Others, 8.0)]);
    }

    #[test]
    fn testpmds_cycles_are_read() {
        let text = "  CPU cycles/packet=166.02 (total cycles=16 / total RX packets=1) at 2450 MHz Clock\n";
        assert_eq!(cycles_of_testpmd(text), Some(166.02));
        assert_eq!(cycles_of_testpmd("nothing"), None);
    }
}
